"""Popularity: the same items for everybody, those with the most training events first (Pop_R, Pop_S)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from benchmark import (
    Context,
    NotFittedError,
    Ranking,
    Requests,
    Split,
    Task,
    Train,
    hookimpl,
)

PAIRS_PER_BLOCK = 1 << 20
"""(Request, item) pairs per block, which bounds the memory of `rank`."""


@hookimpl
def benchmark_models() -> Mapping[str, str]:
    return {"popular": "benchmark_popular:Popular"}


@dataclass
class Popular:
    """The items with the most training events first (Penha 2024, section 5.2: Pop_R and Pop_S).

    `source` says which events are counted: interactions of users, or pairs of a training query and a relevant item. It
    answers requests of both tasks, with the same counts. Items never seen come last, in a hashed order.
    """

    source: Literal["recommendation", "search"] = "recommendation"
    tasks: ClassVar[frozenset[Task]] = frozenset({"recommendation", "search"})
    requires: ClassVar[tuple[str, ...]] = ()
    deterministic: ClassVar[bool] = True

    @property
    def built_for(self) -> frozenset[Task]:
        return frozenset({self.source})

    def fit(self, train: Train, valid: Mapping[Task, Split], context: Context) -> None:
        self.counts_ = train.popularity(self.source)  # (N,)

    def rank(self, requests: Requests, k: int) -> Ranking:
        if not hasattr(self, "counts_"):
            raise NotFittedError("popular was asked to rank before it was fitted; call fit first.")
        most_excluded = int(requests.exclude.lengths.max(initial=0))
        leading = _leading(self.counts_, len(self.counts_) if requests.candidates else k + most_excluded)
        blocks = requests.batches(max(1, PAIRS_PER_BLOCK // max(1, len(leading))))
        return Ranking.concat((_best(self.counts_, leading, block, k) for block in blocks), k)


def _leading(counts: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """The `n` items with the highest counts and all that tie with the last of them, highest first."""
    order = np.argsort(-counts, kind="stable")
    if n >= len(order):
        return order
    return order[: np.searchsorted(-counts[order], -counts[order[n - 1]], side="right")]


def _best(counts: NDArray[np.int64], leading: NDArray[np.int64], requests: Requests, k: int) -> Ranking:
    """The result of `top_k` on the counts repeated for every request, if only `leading` (C,) can reach the top."""
    if requests.candidates is not None:
        lists = requests.candidates
        return Ranking.best(requests, lists.rows, lists.values, counts[lists.values], k)
    rows, items = np.repeat(np.arange(len(requests)), len(leading)), np.tile(leading, len(requests))
    return Ranking.best(requests, rows, items, counts[items], k)
