"""The auto-encoder of joint identifiers: two encoders, codebooks that both share, codebooks of each, two decoders
(Shi 2025, 3.2.1 to 3.2.3).

Axis letters: B items of a batch, N all items, S and C the widths of a semantic and a collaborative vector, D = S + C
(a point is both, concatenated), d the width of a latent, L levels: first the shared ones, then those of the
semantic identifier, then those of the collaborative one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmark_generative.identifiers import autoencoder
from benchmark_generative.identifiers.kmeans import Quantised, relative
from benchmark_generative.identifiers.settings import JointSettings


class Both(nn.Module):
    """Two networks, each for its part of a point; their outputs are concatenated."""

    def __init__(self, width: int, semantic: nn.Module, collaborative: nn.Module) -> None:
        super().__init__()
        self.width, self.semantic, self.collaborative = width, semantic, collaborative

    def forward(self, points: Tensor) -> Tensor:
        return torch.cat([self.semantic(points[:, : self.width]), self.collaborative(points[:, self.width :])], dim=1)


class JointAutoEncoder(autoencoder.Quantiser):
    """Points (B, S + C) to the latent [z_s; z_c] (B, 2 d) and back."""

    def __init__(self, semantic: int, collaborative: int, settings: JointSettings) -> None:
        m, n, d = settings.shared, settings.specific, settings.latent
        hidden, network = settings.hidden, autoencoder.network
        self.semantic, self.shared, self.specific, self.latent = semantic, m, n, d
        self.mean = settings.reduction == "mean"
        super().__init__(
            Both(semantic, network(semantic, *hidden, d), network(collaborative, *hidden, d)),
            Both(d, network(d, *hidden[::-1], semantic), network(d, *hidden[::-1], collaborative)),
            [(settings.size, 2 * d)] * m + [(settings.size, d)] * (2 * n),
            (tuple(range(m + n)), (*range(m), *range(m + n, m + 2 * n))),
        )

    def inputs(self, latent: Tensor, quantised: list[Tensor]) -> Tensor:
        """The residual of the levels before: of both latents for a shared level, of its own half for a specific one
        (equations 3 and 4)."""
        level, m, n = len(quantised), self.shared, self.specific
        for vector in quantised[:m]:
            latent = latent - vector.detach()
        if level < m:
            return latent
        first = m if level < m + n else m + n
        half = latent[:, : self.latent] if first == m else latent[:, self.latent :]
        for vector in quantised[first:]:
            half = half - vector.detach()
        return half

    def joined(self, vectors: list[Tensor]) -> Tensor:
        """(B, 2 d) equation 6, for both latents."""
        m, n = self.shared, self.specific
        shared, semantic, collaborative = (
            torch.stack(part).sum(dim=0) for part in (vectors[:m], vectors[m : m + n], vectors[m + n :])
        )
        return shared + torch.cat([semantic, collaborative], dim=1)

    def missed(self, points: Tensor, reconstruction: Tensor) -> Tensor:
        """(B,) equation 8."""
        squares = (points - reconstruction).square()
        if not self.mean:
            return squares.sum(dim=1)
        return squares[:, : self.semantic].mean(dim=1) + squares[:, self.semantic :].mean(dim=1)

    def total(self, terms: list[Tensor]) -> Tensor:
        """(B,) equation 9."""
        if not self.mean:
            return super().total(terms)
        m, n, d = self.shared, self.specific, self.latent
        widths = [2 * d * m] * m + [d * n] * (2 * n)
        return super().total([term / width for term, width in zip(terms, widths, strict=True)])


def quantise(
    semantic: Tensor,
    collaborative: Tensor,
    seen: Tensor,
    settings: JointSettings,
    generator: torch.Generator,
    progress: Callable[..., None] | None = None,
) -> tuple[Quantised, Quantised]:
    """Train on the items of `seen` (N,), then code all of them: the semantic (N, S) and the collaborative (N, C)
    identifiers, whose first codes are the same."""
    parts = [autoencoder.scale(part, seen, settings.scale) for part in (semantic, collaborative)]
    points, width = torch.cat(parts, dim=1), semantic.shape[1]
    model = JointAutoEncoder(width, collaborative.shape[1], settings).to(points.device)
    steps = autoencoder.train(model, points[seen], settings, generator, progress)
    codes, residuals, decoded = autoencoder.code_all(model, points)
    codes_of = [
        Quantised(
            codes[:, list(levels)].to(torch.int32).cpu().numpy(),
            relative(part - again, part),
            residual,
            model.codebooks[levels[-1]].detach(),
            steps,
        )
        for levels, part, again, residual in zip(
            model.identifiers, parts, (decoded[:, :width], decoded[:, width:]), residuals, strict=True
        )
    ]
    return codes_of[0], codes_of[1]
