"""Validation metrics, defined like the reported ones, with binary relevance."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from benchmark import BenchmarkError, Ragged, Ranking, Requests, Split, Task


def validate(rank: Callable[[Requests, int], Ranking], splits: Mapping[Task, Split], *metrics: str) -> dict[str, float]:
    """The mean of each metric over a split's requests, and of these means over the splits.

    `rank` is the model's own method; `metrics` are R, RR or nDCG with a cut-off, such as "nDCG@10". Splits without
    requests do not count; for two or more, each one's own mean follows as "nDCG@10.search". Without any, the result is
    empty. Raises BenchmarkError for any other metric.
    """
    parsed = {metric: _parse(metric) for metric in metrics}
    splits = {task: split for task, split in splits.items() if len(split.requests)}
    depth = max((k for _, k in parsed.values()), default=0)
    items = {task: rank(split.requests, depth).items for task, split in splits.items()}
    values: dict[str, float] = {}
    for metric, (name, k) in parsed.items() if splits else ():
        means = {
            task: float(_MEASURES[name](items[task][:, :k], split.relevant).mean()) for task, split in splits.items()
        }
        values[metric] = float(np.mean(list(means.values())))
        if len(means) > 1:
            values |= {f"{metric}.{task}": mean for task, mean in means.items()}
    return values


def _parse(metric: str) -> tuple[str, int]:
    name, _, k = metric.partition("@")
    if name not in _MEASURES or not k.isdecimal() or int(k) < 1:
        known = ", ".join(f"{name}@10" for name in _MEASURES)
        raise BenchmarkError(f"there is no validation metric {metric!r}; take one of {known}, or another cut-off.")
    return name, int(k)


def _found(items: NDArray[np.int32], relevant: Ragged) -> NDArray[np.bool_]:
    """(v, K) true in the column of its request's row (R, K) that holds each of the v relevant items."""
    return np.equal(items[relevant.rows], relevant.values[:, None])


def _recall(items: NDArray[np.int32], relevant: Ragged) -> NDArray[np.float64]:
    hits = np.bincount(relevant.rows, weights=_found(items, relevant).any(axis=1), minlength=len(items))
    return hits / np.maximum(relevant.lengths, 1)


def _reciprocal_rank(items: NDArray[np.int32], relevant: Ragged) -> NDArray[np.float64]:
    values = np.zeros(len(items))
    np.maximum.at(values, relevant.rows, (_found(items, relevant) / np.arange(1, items.shape[1] + 1)).max(axis=1))
    return values


def _ndcg(items: NDArray[np.int32], relevant: Ragged) -> NDArray[np.float64]:
    discount = 1 / np.log2(np.arange(2, items.shape[1] + 2))
    gain = np.bincount(relevant.rows, weights=_found(items, relevant) @ discount, minlength=len(items))
    ideal = np.append(0, np.cumsum(discount))[np.minimum(relevant.lengths, items.shape[1])]
    return gain / np.where(ideal > 0, ideal, 1)


_MEASURES = {"R": _recall, "RR": _reciprocal_rank, "nDCG": _ndcg}
