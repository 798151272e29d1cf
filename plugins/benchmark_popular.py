"""Popularity: the same items for everybody, those with the most training events first (Pop_R, Pop_S)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from benchmark import (
    PAD,
    BenchmarkError,
    Context,
    NotFittedError,
    Ranking,
    Requests,
    Split,
    Task,
    Train,
    hookimpl,
    tie_break,
    top_k,
)

CELLS_PER_BLOCK = 1 << 20
"""How many (request, item) pairs are looked at together: what bounds the memory of `rank`."""


@hookimpl
def benchmark_models() -> Mapping[str, str]:
    return {"popular": "benchmark_popular:Popular"}


@dataclass
class Popular:
    """The items with the most training events first (Penha 2024, section 5.2: Pop_R and Pop_S).

    `source` says which events are counted: interactions of users, or pairs of a training query and a relevant item. It
    answers requests of both tasks, with the same counts. `counted` says whether only what is there to learn from is
    counted, or also the relevant items of the validation requests, which at the time of a test are known as well.
    Items never seen come last, in a hashed order.
    """

    source: Literal["recommendation", "search"] = "recommendation"
    counted: Literal["train", "train+validation"] = "train"
    tasks: ClassVar[frozenset[Task]] = frozenset({"recommendation", "search"})
    requires: ClassVar[tuple[str, ...]] = ()
    deterministic: ClassVar[bool] = True

    @property
    def built_for(self) -> frozenset[Task]:
        return frozenset({self.source})

    def __post_init__(self) -> None:
        if self.source not in ("recommendation", "search"):
            raise BenchmarkError(
                f"popular has no source {self.source!r}; what can be counted is 'recommendation' or 'search'."
            )
        if self.counted not in ("train", "train+validation"):
            raise BenchmarkError(
                f"popular cannot count {self.counted!r}; what can be counted is 'train' or 'train+validation'."
            )

    def fit(self, train: Train, valid: Mapping[Task, Split], context: Context) -> None:
        self.counts_ = train.popularity(self.source)  # (N,)
        if self.counted == "train+validation" and self.source in valid:
            self.counts_ += np.bincount(valid[self.source].relevant.values, minlength=len(self.counts_))

    def rank(self, requests: Requests, k: int) -> Ranking:
        if not hasattr(self, "counts_"):
            raise NotFittedError("popular was asked to rank before it was fitted; call fit first.")
        parts = list(self._blocks(requests, k))
        if not parts:
            return Ranking(np.empty((0, k), dtype=np.int32), np.empty((0, k), dtype=np.float32))
        return Ranking(np.concatenate([p.items for p in parts]), np.concatenate([p.scores for p in parts]))

    def _blocks(self, requests: Requests, k: int) -> Iterator[Ranking]:
        most_excluded = int(requests.exclude.lengths.max(initial=0))
        contenders = _leading(self.counts_, len(self.counts_) if requests.candidates else k + most_excluded)
        rows = max(1, CELLS_PER_BLOCK // max(1, len(contenders)))
        for start in range(0, len(requests), rows):
            block = requests.take(np.arange(start, min(start + rows, len(requests))))
            if block.candidates is not None:
                yield top_k(np.broadcast_to(self.counts_.astype(np.float64), (len(block), len(self.counts_))), block, k)
            else:
                yield _rank_shared(self.counts_, contenders, block, k)


def _leading(counts: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """The `n` items with the highest counts and all that tie with the last of them, highest first."""
    order = np.argsort(-counts, kind="stable")
    if n >= len(order):
        return order
    return order[: np.searchsorted(-counts[order], -counts[order[n - 1]], side="right")]


def _rank_shared(counts: NDArray[np.int64], contenders: NDArray[np.int64], requests: Requests, k: int) -> Ranking:
    """What `top_k` gives for the counts repeated for every request, when only `contenders` (C,) can reach the top."""
    column = np.full(len(counts), PAD, dtype=np.int64)
    column[contenders] = np.arange(len(contenders))
    score = np.broadcast_to(counts[contenders].astype(np.float32), (len(requests), len(contenders))).copy()
    excluded = column[requests.exclude.values]
    score[requests.exclude.rows[excluded != PAD], excluded[excluded != PAD]] = -np.inf
    words = tie_break(requests.keys[:, None], contenders[None, :])  # (R, C)
    order = np.lexsort((words, -score), axis=-1)[:, :k]
    best = np.take_along_axis(score, order, axis=1)
    out = Ranking(
        np.full((len(requests), k), PAD, dtype=np.int32), np.full((len(requests), k), -np.inf, dtype=np.float32)
    )
    out.items[:, : best.shape[1]] = np.where(best > -np.inf, contenders[order], PAD)
    out.scores[:, : best.shape[1]] = best
    return out
