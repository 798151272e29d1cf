"""From the scores of all items to a ranking: exclusions, candidates, and the order of equal scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from benchmark.errors import ContractError
from benchmark.types import Ranking, Requests, gather


def top_k(scores: ArrayLike, requests: Requests, k: int) -> Ranking:
    """The best `k` items of every request from the scores of all items, float (R, N).

    Honours `exclude` and `candidates`; an item scored -inf is never returned; equal scores are ordered by a hash of
    (request, item). `scores` may be overwritten. Raises ContractError on NaN or a wrong shape.
    """
    scores = np.asarray(scores)
    if scores.ndim != 2 or len(scores) != len(requests):
        raise ContractError(f"scores have shape {scores.shape}; {len(requests)} requests need one row each")
    if not np.issubdtype(scores.dtype, np.floating):
        scores = scores.astype(np.float64)
    n = scores.shape[1]
    if requests.candidates is not None:
        only = requests.candidates.rows, requests.candidates.values
        allowed = np.full_like(scores, -np.inf)
        allowed[only] = scores[only]
        scores = allowed
    elif len(requests.exclude.values) and not scores.flags.writeable:
        scores = scores.copy()
    if len(requests.exclude.values):
        scores[requests.exclude.rows, requests.exclude.values] = -np.inf
    width = min(k, n)
    # One pass over the scores finds the best of each group of items j, j + groups, j + 2·groups …; the remaining items
    # are a group each. The width-th best group is at most as good as the width-th best item, so all items that can be
    # returned are in groups whose best reaches it.
    size = max(1, min(32, n // max(4 * width, 1)))
    groups = n // size
    best = np.concatenate([scores[:, :groups], scores[:, groups * size :]], axis=1)
    for begin in range(groups, groups * size, groups):
        np.maximum(best[:, :groups], scores[:, begin : begin + groups], out=best[:, :groups])
    if np.isnan(best).any():
        raise ContractError("the scores hold NaN")
    border = np.full(len(scores), -np.inf, dtype=scores.dtype)
    if 0 < width < best.shape[1]:
        border = np.partition(best, best.shape[1] - width, axis=1)[:, best.shape[1] - width]
    row, group = np.nonzero((best >= border[:, None]) & (best > -np.inf))
    members = np.where(group < groups, size, 1)
    item = np.where(group < groups, group, group + groups * (size - 1))
    row, item = np.repeat(row, members), np.repeat(item, members) + groups * gather(np.zeros_like(members), members)
    value = scores[row, item]
    kept = (value >= border[row]) & (value > -np.inf)
    return Ranking.best(requests, row[kept], item[kept], value[kept], k)
