"""Auto-encoders whose latent is quantised level by level: the loss and the training that all of them share.

Axis letters: B items of a batch, N all items, D width of a vector, Z width of the latent, L levels, K codes of a level.

Vectors come centred and divided by one number, so that the learning rate does not depend on what made them. Codes that
no item of a pass over all of them had start again from random residuals.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from benchmark_generative.identifiers.kmeans import kmeans, nearest, relative
from benchmark_generative.identifiers.settings import Training, reachable

LOOK = 60
"""Steps between two looks at the codes of all items, at least; then whole epochs."""
ROWS = 1 << 14
"""Items that are coded at once."""
SETTLED = 0.01
"""Reconstructions hardly improve when their error falls by less than this share between two looks."""
ACCUMULATED = 0.1
"""What Adagrad's sums of squares start at."""


class Quantiser(nn.Module):
    """An encoder to a latent, a decoder from it, and a codebook (K, its width) per level.

    `identifiers` are the levels that make each identifier of an item. A subclass says what a level is given and how the
    codes' vectors make a latent. `beta` weighs the commitment terms.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        codebooks: Sequence[tuple[int, int]],
        identifiers: tuple[tuple[int, ...], ...],
        beta: float,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.identifiers, self.beta = encoder, decoder, identifiers, beta
        self.codebooks = nn.ParameterList(torch.zeros(shape) for shape in codebooks)

    @property
    def largest(self) -> int:
        """Codes of the largest codebook."""
        return max(map(len, self.codebooks))

    def inputs(self, latent: Tensor, quantised: list[Tensor]) -> Tensor:
        """What the next level has to say of the latent (B, Z), when the levels before have said `quantised`.

        Their vectors are detached, so that the commitment term of every level reaches the encoder.
        """
        raise NotImplementedError

    def joined(self, vectors: list[Tensor]) -> Tensor:
        """(B, Z) the quantised latent."""
        raise NotImplementedError

    def missed(self, points: Tensor, reconstruction: Tensor) -> Tensor:
        """(B,) the reconstruction term."""
        return (points - reconstruction).square().sum(dim=1)

    def total(self, terms: list[Tensor]) -> Tensor:
        """(B,) the quantisation term from those of the levels."""
        return torch.stack(terms).sum(dim=0)

    def quantise(self, latent: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Per level what it was given, (B,) the nearest code, and that code's vector."""
        given: list[Tensor] = []
        codes: list[Tensor] = []
        vectors: list[Tensor] = []
        for codebook in self.codebooks:
            given.append(self.inputs(latent, vectors))
            codes.append(nearest(given[-1].detach(), codebook.detach())[0])
            # A product with one-hot rows is a look-up whose gradient is the same every time, on a GPU too.
            vectors.append(nn.functional.one_hot(codes[-1], len(codebook)).to(codebook) @ codebook)
        return given, codes, vectors

    def loss(self, latent: Tensor, decode: Callable[[Tensor], Tensor], points: Tensor) -> tuple[Tensor, ...]:
        """(B,) reconstruction and quantisation terms; then per level what it was given and its codes."""
        given, codes, vectors = self.quantise(latent)
        quantised = self.joined(vectors)
        # Straight through: the decoder sees the codes, and its gradient passes to the encoder.
        reconstruction = decode(latent + (quantised - latent).detach())
        terms = [
            (r.detach() - e).square().sum(dim=1) + self.beta * (r - e.detach()).square().sum(dim=1)
            for r, e in zip(given, vectors, strict=True)
        ]
        return self.missed(points, reconstruction), self.total(terms), *given, *codes


def network(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def scale(points: Tensor, seen: Tensor, kind: Literal["number", "length"] = "number") -> Tensor:
    """The points (N, D) around the mean of those of `seen` (N,), whose numbers then have a mean square of 1, or whose
    squared lengths a mean of 1."""
    middle = points[seen].mean(dim=0)
    squares = (points[seen] - middle).square()
    size = (squares.mean() if kind == "number" else squares.sum(dim=1).mean()).sqrt().clamp(min=1e-12)
    return (points - middle) / size


def train(
    model: Quantiser,
    points: Tensor,
    settings: Training,
    generator: torch.Generator,
    progress: Callable[..., None] | None,
) -> int:
    """Start the networks and codebooks and train them on points (N, D); gives the number of steps."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            start = torch.empty(layer.weight.shape)  # where the generator is, whatever device the layer is on
            layer.weight.data.copy_(nn.init.kaiming_uniform_(start, nonlinearity="relu", generator=generator))
            nn.init.zeros_(layer.bias)
    first = points if settings.start == "all" else points[: settings.batch_size]
    start_codebooks(model, first, generator)
    optimizer = _optimizer(model, settings)
    device = points.device.type
    half = settings.on(device).precision == "bf16"
    least, best_error, best_step = 2.0, torch.inf, 0
    used: list[Tensor] = []
    given: list[Tensor] = []
    step = looked = 0
    while step < settings.steps:
        if step:
            restart(model, used, given, generator)
        used = [torch.zeros(len(c), dtype=torch.bool, device=points.device) for c in model.codebooks]
        total, seen = torch.zeros((), device=points.device), 0
        for batch in itertools.islice(_batches(points, settings.batch_size, generator), settings.steps - step):
            with torch.autocast(device, torch.bfloat16, enabled=half):
                latent = model.encoder(batch)
            missed, terms, *levels = model.loss(latent.float(), lambda z: _decode(model, z, device, half), batch)
            loss = (missed + terms).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            step, seen = step + 1, seen + len(batch)
            total += loss.detach() * len(batch)
            given, codes = [g.detach() for g in levels[: len(used)]], levels[len(used) :]
            for mask, code in zip(used, codes, strict=True):
                mask[code] = True
        if step - looked < LOOK and step < settings.steps:
            continue
        looked = step
        coded, _, decoded = code_all(model, points)
        (shared, use), error = _look(model, coded), relative(points - decoded, points)
        if progress is not None:
            said = {"loss": float(total) / seen, "reconstruction_error": error, "in_collision": shared, "use": use}
            progress(step, settings.steps, **said)
        if settings.enough is None:
            continue
        settled = error > best_error * (1 - SETTLED)
        if shared < least or not settled:
            best_step = step
        least, best_error = min(least, shared), min(best_error, error)
        done = settled and shared <= settings.enough and use >= reachable(len(points), model.largest)
        if done or step - best_step >= settings.patience:
            break
    return step


def _decode(model: Quantiser, quantised: Tensor, device: str, half: bool) -> Tensor:
    with torch.autocast(device, torch.bfloat16, enabled=half):
        decoded: Tensor = model.decoder(quantised)
    return decoded.float()


@torch.no_grad()
def start_codebooks(model: Quantiser, points: Tensor, generator: torch.Generator) -> None:
    """k-means of the latents of these points, level by level."""
    latent = model.encoder(points)
    vectors: list[Tensor] = []
    for codebook in model.codebooks:
        given = model.inputs(latent, vectors)
        found = kmeans(given, len(codebook), generator)
        # Where there are fewer different points than codes, the others start beside them and are restarted later.
        codebook.copy_(found[torch.arange(len(codebook)) % len(found)])
        vectors.append(codebook[nearest(given, codebook)[0]])


@torch.no_grad()
def restart(model: Quantiser, used: list[Tensor], given: list[Tensor], generator: torch.Generator) -> None:
    """Put every code that was not used where a random one of what the level was given last is."""
    for codebook, mask, some in zip(model.codebooks, used, given, strict=True):
        dead = (~mask).nonzero().squeeze(1)
        chosen = torch.randperm(len(some), generator=generator)[: len(dead)].to(some.device)
        codebook[dead[: len(chosen)]] = some[chosen]


def _optimizer(model: Quantiser, settings: Training) -> torch.optim.Optimizer:
    """Adagrad's sums of squares start at 0.1, as in TensorFlow and optax. At 0, torch's default, the first step moves
    every weight by the whole learning rate, whatever its gradient: with the 0.4 of Rajput 2023 no network survives it.
    At 0.1 one survives where gradients are below 0.3, which takes vectors of length 1 and losses that are means.
    """
    groups: list[dict[str, Any]] = [
        {"params": [*model.encoder.parameters(), *model.decoder.parameters()]},
        {"params": list(model.codebooks.parameters()), "lr": settings.codebook_rate},
    ]
    if settings.optimizer == "adagrad":
        return torch.optim.Adagrad(groups, lr=settings.learning_rate, initial_accumulator_value=ACCUMULATED)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=0.0)


def _batches(points: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """All points once, in a new order, in batches of even size near `size`."""
    order = torch.randperm(len(points), generator=generator).to(points.device)
    for rows in order.tensor_split(_count(len(points), size)):
        yield points[rows]


def _count(n: int, size: int) -> int:
    return max(1, round(n / size))


@torch.no_grad()
def code_all(model: Quantiser, points: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
    """(N, L) codes, per identifier what its last level was given, (N, D) the reconstructions; in fp32 and without
    chance."""
    codes, residuals, decoded = [], [], []
    for some in torch.split(points, ROWS):
        given, found, vectors = model.quantise(model.encoder(some))
        codes.append(torch.stack(found, dim=1))
        residuals.append([given[levels[-1]] for levels in model.identifiers])
        decoded.append(model.decoder(model.joined(vectors)))
    return torch.cat(codes), [torch.cat(parts) for parts in zip(*residuals, strict=True)], torch.cat(decoded)


def _look(model: Quantiser, codes: Tensor) -> tuple[float, float]:
    """The share of items that share all codes (N, L) of an identifier with another, of the identifier where it is
    largest, and the use of the least used codebook."""
    shared = 0.0
    for levels in model.identifiers:
        word = torch.zeros(len(codes), dtype=torch.int64, device=codes.device)
        for level in levels:
            word = torch.unique(word, return_inverse=True)[1] * len(model.codebooks[level]) + codes[:, level]
        _, group, counts = torch.unique(word, return_inverse=True, return_counts=True)
        shared = max(shared, float((counts[group] > 1).float().mean()))
    use = min(len(torch.unique(codes[:, level])) / len(c) for level, c in enumerate(model.codebooks))
    return shared, use
