"""Rankings: the best items of every request, and how ties are broken."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmark.data.hashing import tie_break
from benchmark.data.ragged import PAD, Ints, gather
from benchmark.data.types import Requests
from benchmark.errors import ContractError


@dataclass(frozen=True)
class Ranking:
    """`items` int32 (R, K), best first, each at most once in its row, padded with -1; `scores` float32 (R, K), never
    rising.

    The order of the items is the ranking; scores are for information only.
    """

    items: Ints
    scores: NDArray[np.float32]

    @classmethod
    def empty(cls, n: int, k: int) -> Ranking:
        """`n` empty rankings of depth `k`, all padding, to be filled in."""
        return cls(np.full((n, k), PAD, dtype=np.int32), np.full((n, k), -np.inf, dtype=np.float32))

    @classmethod
    def concat(cls, parts: Iterable[Ranking], k: int) -> Ranking:
        """The rankings of several groups of requests, all of depth `k`, concatenated."""
        parts = [cls.empty(0, k), *parts]
        return cls(np.concatenate([part.items for part in parts]), np.concatenate([part.scores for part in parts]))

    @classmethod
    def best(cls, requests: Requests, rows: ArrayLike, items: ArrayLike, scores: ArrayLike, k: int) -> Ranking:
        """The best `k` items of every request, from the items found for it: `rows` (F,) their requests' row numbers,
        `items` (F,), `scores` (F,), in any order, each item at most once per request.

        Honours `exclude` and `candidates`; an item scored -inf is never returned; equal scores are ordered by a hash of
        (request, item). Raises ContractError on NaN.
        """
        rows, items, scores = np.asarray(rows, dtype=np.int64), np.asarray(items, dtype=np.int64), np.asarray(scores)
        if not np.issubdtype(scores.dtype, np.floating):
            scores = scores.astype(np.float64)
        if np.isnan(scores).any():
            raise ContractError("the scores hold NaN")
        allowed = scores > -np.inf
        if requests.candidates is not None:
            allowed &= requests.candidates.has(rows, items)
        if len(requests.exclude.values):
            allowed &= ~requests.exclude.has(rows, items)
        if not allowed.all():
            rows, items, scores = rows[allowed], items[allowed], scores[allowed]
        order = np.lexsort((-scores, rows))
        rows, items, scores = rows[order], items[order], scores[order]
        level = np.cumsum(np.append(0, (np.diff(rows) != 0) | (np.diff(scores) != 0)))[: len(rows)]
        tied = np.flatnonzero(np.bincount(level)[level] > 1)
        items[tied] = items[tied[np.lexsort((tie_break(requests.keys[rows[tied]], items[tied]), level[tied]))]]
        place = np.arange(len(rows)) - np.searchsorted(rows, np.arange(len(requests)))[rows]
        ranking, kept = cls.empty(len(requests), k), place < k
        ranking.items[rows[kept], place[kept]] = items[kept]
        ranking.scores[rows[kept], place[kept]] = scores[kept]
        return ranking

    def __len__(self) -> int:
        return len(self.items)

    def take(self, rows: ArrayLike) -> Ranking:
        rows = np.asarray(rows, dtype=np.int64)
        return Ranking(self.items[rows], self.scores[rows])


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
