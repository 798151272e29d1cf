"""RQ-VAE, an auto-encoder whose latent is quantised level by level (Rajput 2023, 3.1 and 4.1.3), and VQ-VAE, which
splits the latent into one part per level.

Axis letters: B items of a batch, N all items, D width of a vector, Z width of the latent, L levels, K codes of a level.

Differs from the paper where `PAPER` is not asked for: AdamW with a stop rule instead of 20,000 epochs of Adagrad, a
learning rate of their own for the codebooks, and k-means over all items for the start. Always different: vectors are
centred and divided by one number, so that the learning rate does not depend on the text encoder's scale; codes that an
epoch did not use start again from random residuals.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from benchmark_generative.identifiers.kmeans import Quantised, kmeans, nearest, relative
from benchmark_generative.identifiers.settings import Settings

LOOK = 60
"""Steps between two looks at the codes of all items, rounded up to whole epochs."""
ROWS = 1 << 14
"""Items that are coded at once."""
SETTLED = 0.05
"""Reconstructions hardly improve when their error falls by less than this share between two looks."""
IN_USE = 0.8
"""Share of every codebook that the paper wants used (4.1.3)."""


class AutoEncoder(nn.Module):
    """ReLU networks to a latent and back, and a codebook (K, Z) per level; `split` gives every level its own part."""

    def __init__(
        self, width: int, hidden: tuple[int, ...], latent: int, sizes: tuple[int, ...], beta: float, split: bool
    ) -> None:
        super().__init__()
        self.beta, self.split = beta, split
        self.encoder = _network((width, *hidden, latent))
        self.decoder = _network((latent, *hidden[::-1], width))
        parts = torch.arange(latent).tensor_split(len(sizes))
        self.widths = [len(part) if split else latent for part in parts]
        self.codebooks = nn.ParameterList(torch.zeros(size, z) for size, z in zip(sizes, self.widths, strict=True))

    def inputs(self, latent: Tensor, quantised: list[Tensor]) -> Tensor:
        """What the next level has to say: its part of the latent (B, Z), or what the levels before left over.

        Their vectors are detached, so that the commitment term of every level reaches the encoder.
        """
        if self.split:
            return torch.split(latent, self.widths, dim=1)[len(quantised)]
        for vector in quantised:
            latent = latent - vector.detach()
        return latent

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

    def joined(self, vectors: list[Tensor]) -> Tensor:
        """(B, Z) the quantised latent."""
        return torch.cat(vectors, dim=1) if self.split else torch.stack(vectors).sum(dim=0)

    def loss(self, latent: Tensor, decode: Callable[[Tensor], Tensor], points: Tensor) -> tuple[Tensor, ...]:
        """(B,) reconstruction and quantisation terms, sums over widths and levels as the paper writes them; then per
        level what it was given and its codes."""
        given, codes, vectors = self.quantise(latent)
        quantised = self.joined(vectors)
        # Straight through: the decoder sees the codes, and its gradient passes to the encoder.
        reconstruction = decode(latent + (quantised - latent).detach())
        missed = (points - reconstruction).square().sum(dim=1)
        terms = [
            (r.detach() - e).square().sum(dim=1) + self.beta * (r - e.detach()).square().sum(dim=1)
            for r, e in zip(given, vectors, strict=True)
        ]
        return missed, torch.stack(terms).sum(dim=0), *given, *codes


def _network(widths: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def quantise(
    points: Tensor,
    seen: Tensor,
    settings: Settings,
    generator: torch.Generator,
    progress: Callable[..., None] | None = None,
) -> Quantised:
    """Train on the points (N, D) of `seen` (N,), then code all of them."""
    middle = points[seen].mean(dim=0)
    scale = (points[seen] - middle).square().mean().sqrt().clamp(min=1e-12)
    scaled = (points - middle) / scale
    model = _new(settings, points.shape[1], generator).to(points.device)
    epochs = _train(model, scaled[seen], settings, generator, progress)
    codes, residuals, decoded = _code(model, scaled)
    return Quantised(
        codes.to(torch.int32).cpu().numpy(),
        relative(scaled - decoded, scaled),
        residuals,
        model.codebooks[-1].detach(),
        epochs,
    )


def _new(settings: Settings, width: int, generator: torch.Generator) -> AutoEncoder:
    model = AutoEncoder(
        width, settings.hidden, settings.latent, settings.sizes, settings.beta, settings.method == "vqvae"
    )
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(layer.bias)
    return model


def _train(
    model: AutoEncoder,
    points: Tensor,
    settings: Settings,
    generator: torch.Generator,
    progress: Callable[..., None] | None,
) -> int:
    """Gives the number of epochs."""
    first = points if settings.start == "all" else points[: settings.batch_size]
    start_codebooks(model, first, generator)
    optimizer = _optimizer(model, settings)
    device = points.device.type
    half = settings.precision == "bf16" or (settings.precision == "auto" and _has_bf16(device))
    every = math.ceil(LOOK / _count(len(points), settings.batch_size))
    least, best_error, best_epoch = 2.0, torch.inf, 0
    used: list[Tensor] = []
    given: list[Tensor] = []
    for epoch in range(1, settings.epochs + 1):
        if epoch > 1:
            restart(model, used, given, generator)
        used = [torch.zeros(len(c), dtype=torch.bool, device=points.device) for c in model.codebooks]
        total = torch.zeros((), device=points.device)
        for batch in _batches(points, settings.batch_size, generator):
            with torch.autocast(device, torch.bfloat16, enabled=half):
                latent = model.encoder(batch)
            missed, terms, *levels = model.loss(latent.float(), lambda z: _decode(model, z, device, half), batch)
            loss = (missed + terms).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.detach() * len(batch)
            given, codes = [g.detach() for g in levels[: len(used)]], levels[len(used) :]
            for mask, code in zip(used, codes, strict=True):
                mask[code] = True
        if epoch % every and epoch != settings.epochs:
            continue
        coded, _, decoded = _code(model, points)
        (shared, use), error = _look(coded, settings.sizes), relative(points - decoded, points)
        if progress is not None:
            said = {
                "loss": float(total) / len(points),
                "reconstruction_error": error,
                "in_collision": shared,
                "use": use,
            }
            progress(epoch, settings.epochs, **said)
        if settings.enough is None:
            continue
        settled = error > best_error * (1 - SETTLED)
        if shared < least or not settled:
            best_epoch = epoch
        least, best_error = min(least, shared), min(best_error, error)
        done = settled and shared <= settings.enough and use >= _reachable(settings, len(points))
        if done or epoch - best_epoch >= settings.patience:
            break
    return epoch


def _decode(model: AutoEncoder, quantised: Tensor, device: str, half: bool) -> Tensor:
    with torch.autocast(device, torch.bfloat16, enabled=half):
        decoded: Tensor = model.decoder(quantised)
    return decoded.float()


@torch.no_grad()
def start_codebooks(model: AutoEncoder, points: Tensor, generator: torch.Generator) -> None:
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
def restart(model: AutoEncoder, used: list[Tensor], given: list[Tensor], generator: torch.Generator) -> None:
    """Put every code that was not used where a random one of what the level was given last is."""
    for codebook, mask, some in zip(model.codebooks, used, given, strict=True):
        dead = (~mask).nonzero().squeeze(1)
        chosen = torch.randperm(len(some), generator=generator)[: len(dead)].to(some.device)
        codebook[dead[: len(chosen)]] = some[chosen]


def _optimizer(model: AutoEncoder, settings: Settings) -> torch.optim.Optimizer:
    groups: list[dict[str, Any]] = [
        {"params": [*model.encoder.parameters(), *model.decoder.parameters()]},
        {"params": list(model.codebooks.parameters()), "lr": settings.codebook_rate},
    ]
    if settings.optimizer == "adagrad":
        return torch.optim.Adagrad(groups, lr=settings.learning_rate)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=0.0)


def _batches(points: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """All points once, in a new order, in batches of even size near `size`."""
    order = torch.randperm(len(points), generator=generator).to(points.device)
    for rows in order.tensor_split(_count(len(points), size)):
        yield points[rows]


def _count(n: int, size: int) -> int:
    return max(1, round(n / size))


@torch.no_grad()
def _code(model: AutoEncoder, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(N, L) codes, (N, Z) what the last level was given, (N, D) the reconstructions; in fp32 and without chance."""
    codes, residuals, decoded = [], [], []
    for some in torch.split(points, ROWS):
        given, found, vectors = model.quantise(model.encoder(some))
        codes.append(torch.stack(found, dim=1))
        residuals.append(given[-1])
        decoded.append(model.decoder(model.joined(vectors)))
    return torch.cat(codes), torch.cat(residuals), torch.cat(decoded)


def _look(codes: Tensor, sizes: tuple[int, ...]) -> tuple[float, float]:
    """The share of items whose codes (N, L) another has too, and the use of the least used codebook."""
    word = torch.zeros(len(codes), dtype=torch.int64, device=codes.device)
    for level, size in enumerate(sizes):
        word = torch.unique(word, return_inverse=True)[1] * size + codes[:, level]
    _, group, counts = torch.unique(word, return_inverse=True, return_counts=True)
    use = min(len(torch.unique(codes[:, level])) / size for level, size in enumerate(sizes))
    return float((counts[group] > 1).float().mean()), use


def _reachable(settings: Settings, n: int) -> float:
    """The use to wait for: what the paper has, or half of what so few items could reach."""
    return min(IN_USE, 0.5 * n / max(settings.sizes))


def _has_bf16(device: str) -> bool:
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device == "cpu" and bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
