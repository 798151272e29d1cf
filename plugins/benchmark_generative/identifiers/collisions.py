"""Items with equal codes: finding them, numbering them, and moving them to other codes.

Axis letters: N items, M of them in collision, L levels, K codes of the last level, D the width of a residual.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


def group_numbers(codes: NDArray[Any]) -> NDArray[np.int64]:
    """(N,) the same number from 0 on for equal rows of codes (N, L)."""
    if not len(codes):
        return np.zeros(0, dtype=np.int64)
    return np.unique(codes, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def number_extra(codes: NDArray[Any], first: NDArray[np.bool_] | None = None) -> NDArray[np.int32]:
    """(N,) the extra token of Rajput 2023, 3.1.3: 0, 1, … among the items with equal codes (N, L), otherwise 0.

    Numbers follow the order of the rows, all of `first` (N,) before the others.
    """
    group = group_numbers(codes)
    later = np.zeros(len(codes), dtype=bool) if first is None else ~first
    order = np.lexsort((np.arange(len(codes)), later, group))
    ordered = group[order]
    start = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(codes) else order
    place = np.arange(len(codes)) - np.repeat(start, np.diff(np.append(start, len(codes))))
    out = np.empty(len(codes), dtype=np.int32)
    out[order] = place
    return out


def nearest_free(codes: NDArray[np.int32], residuals: Tensor, codebook: Tensor) -> NDArray[np.int32]:
    """The codes (N, L) with new last codes where items collide: all but the first item of a group with equal codes
    take, in the order of the rows, the nearest code that no item with the same prefix has.

    `residuals` (N, D) are the last level's inputs, `codebook` (K, D) its codes' vectors. Identical items are separated
    as well; only items for which no code is free still collide.
    """
    import torch

    codes = codes.copy()
    prefix = group_numbers(codes[:, :-1])
    moving = np.flatnonzero(number_extra(codes) > 0)
    taken = {int(p): np.zeros(len(codebook), dtype=bool) for p in np.unique(prefix[moving])}
    for row in np.flatnonzero(np.isin(prefix, prefix[moving])):
        taken[int(prefix[row])][codes[row, -1]] = True
    moving_residuals = residuals[torch.from_numpy(moving).to(residuals.device)].double()
    order = torch.cdist(moving_residuals, codebook.double()).argsort(dim=1, stable=True).cpu().numpy()  # (M, K)
    for row, wanted in zip(moving, order, strict=True):
        has = taken[int(prefix[row])]
        free = wanted[~has[wanted]]
        if len(free):
            codes[row, -1] = free[0]
            has[free[0]] = True
    return codes


def sinkhorn(
    codes: NDArray[np.int32],
    residuals: Tensor,
    codebook: Tensor,
    *,
    rounds: int = 20,
    epsilon: float = 0.003,
    iterations: int = 100,
) -> NDArray[np.int32]:
    """The codes (N, L) with new last codes where items collide, as in LC-Rec (Zheng 2024, 3.1.2).

    In each of at most `rounds`, the items of every group with equal codes are spread evenly over codes of the last
    level by optimal transport: `residuals` (N, D) are the level's inputs, `codebook` (K, D) its codes' vectors. Unlike
    in LC-Rec, codes of other items with the same prefix are left out, so that no move makes a new collision with them.
    Identical items cannot be separated this way; they still collide, as do items for which no code is free.
    """
    import torch

    codes = codes.copy()
    prefix = group_numbers(codes[:, :-1])
    for _ in range(rounds):
        group = group_numbers(codes)
        shared = np.flatnonzero(np.bincount(group)[group] > 1)
        if not len(shared):
            break
        # Numbered among the colliding items only, so that no array covers the others.
        behind, groups = (np.unique(v[shared], return_inverse=True) for v in (prefix, group))
        free = np.ones((len(behind[0]), len(codebook)), dtype=bool)
        beside = np.isin(prefix, behind[0])
        free[np.searchsorted(behind[0], prefix[beside]), codes[beside, -1]] = False
        allowed = free[behind[1].reshape(-1)]  # (M, K)
        allowed[np.arange(len(shared)), codes[shared, -1]] = True
        shared_residuals = residuals[torch.from_numpy(shared).to(residuals.device)].double()
        moved = _transport(
            torch.cdist(shared_residuals, codebook.double()).square(),
            torch.from_numpy(groups[1].reshape(-1)).to(shared_residuals.device),
            torch.from_numpy(allowed).to(shared_residuals.device),
            epsilon,
            iterations,
        )
        if np.array_equal(codes[shared, -1], moved.cpu().numpy()):
            break
        codes[shared, -1] = moved.cpu().numpy()
    return codes


def _transport(distances: Tensor, groups: Tensor, allowed: Tensor, epsilon: float, iterations: int) -> Tensor:
    """(M,) the code with the largest mass of each row, when each group is spread evenly over its allowed codes.

    Distances (M, K) are centred to [-1, 1] before `epsilon` divides them, and all is float64: epsilon is that small.
    """
    import torch

    low, high = distances.min(), distances.max()
    middle = (high + low) / 2
    cost = (distances - middle) / (high - middle).clamp(min=1e-12) / epsilon
    log = torch.where(allowed, -cost, -torch.inf)
    n_groups, width = int(groups.max()) + 1, distances.shape[1]
    share = (torch.bincount(groups)[groups] / allowed.sum(dim=1)).to(log).log()[:, None]
    spread = groups[:, None].expand(-1, width)
    for _ in range(iterations):
        top = torch.full((n_groups, width), -torch.inf).to(log).scatter_reduce(0, spread, log, "amax")
        top = top.clamp(min=-1e300)[groups]  # finite also for codes that are not allowed
        total = torch.zeros((n_groups, width)).to(log).scatter_add(0, spread, (log - top).exp())
        # Every code takes the same share of its group, then every item gives 1.
        log = torch.where(allowed, log - top - total[groups].log() + share, -torch.inf)
        log = log - log.logsumexp(dim=1, keepdim=True)
    return log.argmax(dim=1)
