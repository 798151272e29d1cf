"""k-means as matrix products, and identifiers made by it: residual (GRID's RK-means) and hierarchical (DSI).

Axis letters: N points, D their width, K centroids.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ROWS = 1 << 16
"""Points per block of distances to all centroids."""
PER_CODE = 16
"""Points per centroid in the sample from which k-means is initialised."""
ROUNDS = 25
"""Rounds of k-means, at most."""
COMPONENTS = 32
"""Principal components that residual k-means clusters; GRID clusters the vectors as they are. Residuals of few items in
many dimensions are almost orthogonal, and k-means leaves most of them in one cluster."""
ENOUGH = 1e-4
"""k-means ends when a round lowers the squared error by less than this share."""


def nearest(points: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) the index of the nearest centroid (K, D) of each point (N, D), and (N,) the squared distance to it."""
    squares = centroids.square().sum(dim=1)
    minima = [
        torch.addmm(squares, batch, centroids.T, alpha=-2).min(dim=1) for batch in torch.split(points, ROWS)
    ]  # |c|² - 2 x·c
    index = torch.cat([f.indices for f in minima])
    value = torch.cat([f.values for f in minima]) + points.square().sum(dim=1)
    return index, value.clamp(min=0)


def kmeans(points: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """(K', D) centroids of points (N, D), K' at most `k`: fewer only if there are fewer distinct points.

    Initialised by k-means++. A centroid that loses all its points moves to a random point of a cluster with several.
    """
    if len(points) <= k:
        distinct: Tensor = torch.unique(points, dim=0)
        return distinct
    centroids = _spread(points, k, generator)
    last = torch.inf
    for _ in range(ROUNDS):
        index, distance = nearest(points, centroids)
        counts = torch.bincount(index, minlength=k)
        centroids = _sums(points, index, k) / counts.clamp(min=1)[:, None]
        empty = (counts == 0).nonzero().squeeze(1)
        if len(empty):
            movable = ((counts[index] > 1) & (distance > 0)).nonzero().squeeze(1)
            chosen = movable[torch.randperm(len(movable), generator=generator)[: len(empty)].to(points.device)]
            centroids[empty[: len(chosen)]] = points[chosen]
        error = float(distance.sum(dtype=torch.float64))
        if not len(empty) and error > last * (1 - ENOUGH):
            break
        last = error
    return centroids


def _spread(points: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """(K, D) points far from each other: k-means++ on a sample, each the best of a few draws, as scikit-learn does."""
    sample = points[torch.randperm(len(points), generator=generator)[: PER_CODE * k].to(points.device)]
    squares = sample.square().sum(dim=1)
    draws = 2 + int(math.log(k))
    chosen = [int(torch.randint(len(sample), (1,), generator=generator))]
    nearest_distance = nearest(sample, sample[chosen])[1]
    for _ in range(k - 1):
        # Drawn on the CPU, so that a seed draws the same on every device; the floor is for when all points are chosen.
        drawn = torch.multinomial(nearest_distance.cpu().double() + 1e-30, draws, replacement=True, generator=generator)
        rows = drawn.to(points.device)
        distance = torch.addmm(squares, sample[rows], sample.T, alpha=-2) + squares[rows, None]
        distance = torch.minimum(distance, nearest_distance).clamp(min=0)
        best = int(distance.sum(dim=1).argmin())
        nearest_distance = distance[best]
        chosen.append(int(drawn[best]))
    return sample[chosen]


def _sums(points: Tensor, index: Tensor, k: int) -> Tensor:
    """(K, D) the sum of the points of each cluster."""
    if points.device.type == "cpu":
        return points.new_zeros(k, points.shape[1]).index_add_(0, index, points)
    # On a GPU a product is deterministic; adding by index is not.
    parts = zip(torch.split(points, ROWS), torch.split(index, ROWS), strict=True)
    total = points.new_zeros(k, points.shape[1])
    for block, clusters in parts:
        total += torch.nn.functional.one_hot(clusters, k).to(points).T @ block
    return total


@dataclass(frozen=True)
class Quantised:
    """Codes int32 (N, L) that may collide, with what resolves and describes them.

    `error` is the reconstructions' sum of squared errors, divided by the sum of squares around the mean; None without
    reconstruction. `residuals` (N, D) and `codebook` (K, D) are the last level's, if it has one; `steps` is the number
    of an auto-encoder's training steps.
    """

    codes: NDArray[np.int32]
    error: float | None = None
    residuals: Tensor | None = None
    codebook: Tensor | None = None
    steps: int = 0


def relative(missed: Tensor, points: Tensor) -> float:
    """The squared errors (N, D) as a share of the points' squares around their mean."""
    around = (points - points.mean(dim=0)).square().sum(dtype=torch.float64)
    return float(missed.square().sum(dtype=torch.float64) / around.clamp(min=1e-30))


def principal(points: Tensor, seen: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """(N, n) the points along the `n` directions in which those of `seen` vary most, and (N, D) the remainder.

    Returns all D directions if D is at most `n`.
    """
    centred = points - points[seen].mean(dim=0)
    if n >= points.shape[1]:
        return centred, torch.zeros_like(points)
    training = centred[seen].double()
    axes = torch.linalg.eigh(training.T @ training).eigenvectors[:, -n:].to(points)
    kept = centred @ axes
    return kept, centred - kept @ axes.T


def residual_kmeans(points: Tensor, seen: Tensor, sizes: tuple[int, ...], generator: torch.Generator) -> Quantised:
    """k-means of the principal components, then k-means of its residuals, and so on; learned from the points (N, D) of
    `seen` (N,) alone."""
    residuals, left_out = principal(points, seen, COMPONENTS)
    codes = []
    for size in sizes:
        codebook = kmeans(residuals[seen], size, generator)
        before, index = residuals, nearest(residuals, codebook)[0]
        residuals = residuals - codebook[index]
        codes.append(index)
    return Quantised(
        torch.stack(codes, dim=1).to(torch.int32).cpu().numpy(),
        relative(residuals, points) + relative(left_out, points),
        before,
        codebook,
    )


def hierarchical_kmeans(points: Tensor, seen: Tensor, sizes: tuple[int, ...], generator: torch.Generator) -> Quantised:
    """k-means, then k-means within every cluster, and so on (DSI, Tay 2022, 3.2); learned from `seen` (N,) alone.

    If a cluster has at most as many distinct points as a level has codes, each gets its own code, and 0 on all levels
    below, so that identifiers have the same length. An unseen point goes to the nearest centroid at every level.
    """
    n = len(points)
    codes = torch.zeros((n, len(sizes)), dtype=torch.int64, device=points.device)
    missed = points.clone()
    clusters = [torch.arange(n, device=points.device)]
    for level, size in enumerate(sizes):
        below = []
        for rows in clusters:
            learned = rows[seen[rows]]
            centroids = kmeans(points[learned], size, generator)
            index = nearest(points[rows], centroids)[0]
            codes[rows, level] = index
            missed[rows] = points[rows] - centroids[index]
            if len(learned) > size:
                order = index.argsort(stable=True)
                parts = torch.split(rows[order], torch.bincount(index).tolist())
                below += [part for part in parts if seen[part].sum() > 1]
        clusters = below
    return Quantised(codes.to(torch.int32).cpu().numpy(), relative(missed, points))
