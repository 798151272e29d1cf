"""Auto-encoders whose latent is quantised level by level: the loss and the training that all of them share.

Axis letters: B items of a batch, N all items, D width of a vector, Z width of the latent, L levels, K codes of a level.

Vectors are centred and divided by one number, so that the learning rate does not depend on their encoder. Codes that no
item used in a whole pass restart from random residuals.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from benchmark_generative.identifiers.kmeans import kmeans, nearest, relative
from benchmark_generative.identifiers.settings import COMMITMENT, Training, reachable

LOOK = 60
"""At least this many steps between two evaluations of all items' codes, rounded up to whole epochs."""
ROWS = 1 << 14
"""Items per batch when coding all of them."""
SETTLED = 0.01
"""Reconstructions have stopped improving when their error falls by less than this share between two evaluations."""
ACCUMULATED = 0.1
"""Initial value of Adagrad's sums of squares."""


class Quantiser(nn.Module):
    """An encoder to a latent, a decoder from it, and a codebook (K, its width) per level.

    `identifiers` lists the levels of each identifier of an item. A subclass defines a level's input and how the codes'
    vectors form the latent.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        codebooks: Sequence[tuple[int, int]],
        identifiers: tuple[tuple[int, ...], ...],
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.identifiers = encoder, decoder, identifiers
        self.codebooks = nn.ParameterList(torch.zeros(shape) for shape in codebooks)

    @property
    def largest(self) -> int:
        """Codes of the largest codebook."""
        return max(map(len, self.codebooks))

    def inputs(self, latent: Tensor, quantised: list[Tensor]) -> Tensor:
        """What the next level quantises of the latent (B, Z), given `quantised`, the vectors of the levels before.

        These are detached, so that the commitment term of every level reaches the encoder.
        """
        raise NotImplementedError

    def joined(self, vectors: list[Tensor]) -> Tensor:
        """(B, Z) the quantised latent."""
        raise NotImplementedError

    def missed(self, points: Tensor, reconstruction: Tensor) -> Tensor:
        """(B,) the reconstruction term."""
        return (points - reconstruction).square().sum(dim=1)

    def total(self, terms: list[Tensor]) -> Tensor:
        """(B,) the quantisation term from the levels' terms."""
        return torch.stack(terms).sum(dim=0)

    def quantise(self, latent: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Per level its input, (B,) the nearest code, and that code's vector."""
        inputs: list[Tensor] = []
        codes: list[Tensor] = []
        vectors: list[Tensor] = []
        for codebook in self.codebooks:
            inputs.append(self.inputs(latent, vectors))
            codes.append(nearest(inputs[-1].detach(), codebook.detach())[0])
            # A look-up as a product with one-hot rows: its gradient is deterministic, on a GPU too.
            vectors.append(nn.functional.one_hot(codes[-1], len(codebook)).to(codebook) @ codebook)
        return inputs, codes, vectors

    def loss(self, latent: Tensor, decode: Callable[[Tensor], Tensor], points: Tensor) -> tuple[Tensor, ...]:
        """(B,) reconstruction and quantisation terms; then every level's input, then every level's codes."""
        inputs, codes, vectors = self.quantise(latent)
        quantised = self.joined(vectors)
        # Straight through: the decoder sees the codes, and its gradient passes to the encoder.
        reconstruction = decode(latent + (quantised - latent).detach())
        terms = [
            (r.detach() - e).square().sum(dim=1) + COMMITMENT * (r - e.detach()).square().sum(dim=1)
            for r, e in zip(inputs, vectors, strict=True)
        ]
        return self.missed(points, reconstruction), self.total(terms), *inputs, *codes


def network(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def scale(points: Tensor, seen: Tensor, kind: Literal["number", "length"] = "number") -> Tensor:
    """The points (N, D), centred and scaled by those of `seen` (N,): to a mean square of 1 per number, or to a mean
    squared length of 1."""
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
    """Initialise the networks and codebooks and train them on points (N, D); returns the number of steps."""
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
    inputs: list[Tensor] = []
    step = looked = 0
    while step < settings.steps:
        if step:
            restart(model, used, inputs, generator)
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
            inputs, codes = [g.detach() for g in levels[: len(used)]], levels[len(used) :]
            for mask, code in zip(used, codes, strict=True):
                mask[code] = True
        if step - looked < LOOK and step < settings.steps:
            continue
        looked = step
        coded, _, decoded = code_all(model, points)
        (shared, use), error = _look(model, coded), relative(points - decoded, points)
        if progress is not None:
            values = {"loss": float(total) / seen, "reconstruction_error": error, "in_collision": shared, "use": use}
            progress(step, settings.steps, **values)
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
        inputs = model.inputs(latent, vectors)
        centroids = kmeans(inputs, len(codebook), generator)
        # With fewer distinct points than codes, the other codes start as copies and are restarted later.
        codebook.copy_(centroids[torch.arange(len(codebook)) % len(centroids)])
        vectors.append(codebook[nearest(inputs, codebook)[0]])


@torch.no_grad()
def restart(model: Quantiser, used: list[Tensor], inputs: list[Tensor], generator: torch.Generator) -> None:
    """Move every unused code to a random one of its level's last inputs."""
    for codebook, mask, points in zip(model.codebooks, used, inputs, strict=True):
        dead = (~mask).nonzero().squeeze(1)
        chosen = torch.randperm(len(points), generator=generator)[: len(dead)].to(points.device)
        codebook[dead[: len(chosen)]] = points[chosen]


def _optimizer(model: Quantiser, settings: Training) -> torch.optim.Optimizer:
    """Adagrad's sums of squares start at 0.1, as in TensorFlow and optax. At 0, torch's default, the first step moves
    every weight by the whole learning rate, whatever its gradient: Rajput 2023's 0.4 then destroys any network. At 0.1
    a network survives gradients below 0.3, which takes vectors of length 1 and losses that are means.
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
    """(N, L) codes, the input of each identifier's last level, (N, D) the reconstructions; deterministic, in fp32."""
    codes, residuals, decoded = [], [], []
    for batch in torch.split(points, ROWS):
        inputs, nearest_codes, vectors = model.quantise(model.encoder(batch))
        codes.append(torch.stack(nearest_codes, dim=1))
        residuals.append([inputs[levels[-1]] for levels in model.identifiers])
        decoded.append(model.decoder(model.joined(vectors)))
    return torch.cat(codes), [torch.cat(parts) for parts in zip(*residuals, strict=True)], torch.cat(decoded)


def _look(model: Quantiser, codes: Tensor) -> tuple[float, float]:
    """The share of items in collision by codes (N, L), for the identifier with most, and the use of the least used
    codebook."""
    shared = 0.0
    for levels in model.identifiers:
        word = torch.zeros(len(codes), dtype=torch.int64, device=codes.device)
        for level in levels:
            word = torch.unique(word, return_inverse=True)[1] * len(model.codebooks[level]) + codes[:, level]
        _, group, counts = torch.unique(word, return_inverse=True, return_counts=True)
        shared = max(shared, float((counts[group] > 1).float().mean()))
    use = min(len(torch.unique(codes[:, level])) / len(c) for level, c in enumerate(model.codebooks))
    return shared, use
