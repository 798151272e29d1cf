"""RQ-VAE, an auto-encoder whose latent is quantised level by level (Rajput 2023, 3.1 and 4.1.3), and VQ-VAE, which
splits the latent into one part per level.

Axis letters: B items of a batch, N all items, D width of a vector, Z width of the latent, L levels.

Default differences from the paper: AdamW with a stopping rule instead of 20,000 epochs of Adagrad, a separate learning
rate for the codebooks, and k-means over all items to initialise them. Always different: vectors are centred and divided
by one number, and codes that no item used in a whole pass restart from random residuals.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmark_generative.identifiers import autoencoder
from benchmark_generative.identifiers.kmeans import Quantised, relative
from benchmark_generative.identifiers.settings import IdSettings


class AutoEncoder(autoencoder.Quantiser):
    """ReLU networks to a latent and back, and a codebook per level; `split` gives every level its own part."""

    def __init__(
        self,
        width: int,
        hidden: tuple[int, ...],
        latent: int,
        sizes: tuple[int, ...],
        split: bool,
        mean: bool = False,
    ) -> None:
        parts = torch.arange(latent).tensor_split(len(sizes))
        self.split, self.widths, self.mean = split, [len(part) if split else latent for part in parts], mean
        super().__init__(
            autoencoder.network(width, *hidden, latent),
            autoencoder.network(latent, *hidden[::-1], width),
            list(zip(sizes, self.widths, strict=True)),
            (tuple(range(len(sizes))),),
        )

    def inputs(self, latent: Tensor, quantised: list[Tensor]) -> Tensor:
        """The level's part of the latent (B, Z), or the residual of the levels before."""
        if self.split:
            return torch.split(latent, self.widths, dim=1)[len(quantised)]
        for vector in quantised:
            latent = latent - vector.detach()
        return latent

    def missed(self, points: Tensor, reconstruction: Tensor) -> Tensor:
        squares = (points - reconstruction).square()
        return squares.mean(dim=1) if self.mean else squares.sum(dim=1)

    def total(self, terms: list[Tensor]) -> Tensor:
        if not self.mean:
            return super().total(terms)
        return super().total([term / width for term, width in zip(terms, self.widths, strict=True)]) / len(terms)

    def joined(self, vectors: list[Tensor]) -> Tensor:
        return torch.cat(vectors, dim=1) if self.split else torch.stack(vectors).sum(dim=0)


def quantise(
    points: Tensor,
    seen: Tensor,
    settings: IdSettings,
    generator: torch.Generator,
    progress: Callable[..., None] | None = None,
) -> Quantised:
    """Train on the points (N, D) of `seen` (N,), then code all of them."""
    scaled = autoencoder.scale(points, seen, settings.scale)
    model = AutoEncoder(
        points.shape[1],
        settings.hidden,
        settings.latent,
        settings.sizes,
        settings.method == "vqvae",
        settings.reduction == "mean",
    ).to(points.device)
    steps = autoencoder.train(model, scaled[seen], settings, generator, progress)
    codes, residuals, decoded = autoencoder.code_all(model, scaled)
    return Quantised(
        codes.to(torch.int32).cpu().numpy(),
        relative(scaled - decoded, scaled),
        residuals[0],
        model.codebooks[-1].detach(),
        steps,
    )
