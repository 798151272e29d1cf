"""Metrics of all lists together: catalogue coverage, Gini of exposure, average popularity of the items."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from benchmark import PAD, Metric, Ragged, Ranking, better, hookimpl

ROWS_PER_BLOCK = 4096


@hookimpl
def benchmark_metrics() -> Mapping[str, Metric | str]:
    return {
        "ItemCoverage": "benchmark_exposure:item_coverage",
        "Gini": "benchmark_exposure:gini",
        "ARP": "benchmark_exposure:average_popularity",
    }


@better("higher")
def item_coverage(ranking: Ranking, relevant: Ragged, k: int, popularity: NDArray[np.int64]) -> float:
    """The share of the catalogue, 0-1, that occurs in at least one request's first k."""
    return float(np.count_nonzero(_exposure(ranking, k, len(popularity))) / max(1, len(popularity)))


@better("lower")
def gini(ranking: Ranking, relevant: Ragged, k: int, popularity: NDArray[np.int64]) -> float:
    """How unequally the places among the first k are spread over the whole catalogue.

    0 if every item has equally many, 1 - 1/N if one of N items has all; 0 without any places.
    Lower is more equal and counts as better, as in RecBole.
    """
    exposure = np.sort(_exposure(ranking, k, len(popularity)))  # (N,) ascending
    n, total = len(exposure), int(exposure.sum())
    if total == 0:
        return 0.0
    return float((2 * np.arange(1, n + 1) - n - 1) @ exposure / (n * total))


@better("neither")
def average_popularity(
    ranking: Ranking, relevant: Ragged, k: int, popularity: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(R,) the mean number of training events of each request's first k items; 0 for a request without a ranking."""
    counts = np.append(popularity, 0)  # an item of padding, -1, is the last
    out = np.empty(len(ranking))
    for start in range(0, len(ranking), ROWS_PER_BLOCK):
        items = ranking.items[start : start + ROWS_PER_BLOCK, :k]
        filled = np.maximum((items != PAD).sum(axis=1), 1)
        out[start : start + ROWS_PER_BLOCK] = counts[items].sum(axis=1) / filled
    return out


def _exposure(ranking: Ranking, k: int, n: int) -> NDArray[np.int64]:
    """(n,) how often each item of the catalogue is among the first k."""
    counts = np.zeros(n + 1, dtype=np.int64)
    for start in range(0, len(ranking), ROWS_PER_BLOCK):
        counts += np.bincount(ranking.items[start : start + ROWS_PER_BLOCK, :k].ravel() + 1, minlength=n + 1)
    return counts[1:]
