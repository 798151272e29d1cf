"""Recall and nDCG per request, averaged over seeds, and means with their intervals.

Axis letters: R requests, R' requests with relevant items, K the depth of a ranking.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmark import AnalysisInput, Cell, Ragged, Ranking, Task
from benchmark_analyses.cells import TASK

Floats = NDArray[np.float64]
NAN_INTERVAL = (float("nan"), float("nan"))
"""The interval of a mean that does not exist."""


def recall(ranking: Ranking, relevant: Ragged, ks: Sequence[int]) -> Floats:
    """(len(ks), R') the share of a request's relevant items among its first k."""
    hits = relevant.has(np.arange(len(ranking))[:, None], ranking.items)
    within = hits.cumsum(axis=1)[:, [min(k, hits.shape[1]) - 1 for k in ks]].T
    answerable = relevant.lengths > 0
    share: Floats = within[:, answerable] / relevant.lengths[answerable]
    return share


def mean_recall(run: AnalysisInput, cells: Sequence[Cell], variant: str, relevant: Ragged, ks: Sequence[int]) -> Floats:
    """(len(ks), R') recall per request, averaged over the seeds."""
    mean: Floats = np.mean([recall(run.ranking(cell, TASK, variant), relevant, ks) for cell in cells], axis=0)
    return mean


def ndcg(ranking: Ranking, relevant: Ragged, k: int) -> Floats:
    """(R,) nDCG@k with linear gains, as in trec_eval; NaN for a request without relevant items."""
    base = 1 + max(int(ranking.items.max(initial=0)), int(relevant.values.max(initial=0)))
    grades = np.ones(len(relevant.values)) if relevant.grades is None else relevant.grades.astype(np.float64)
    best = np.lexsort((-grades, relevant.rows))
    discount = 1 / np.log2(np.arange(2, 2 + max(k, int(relevant.lengths.max(initial=0)))))
    place = np.arange(len(best)) - relevant.offsets[:-1][relevant.rows]
    counted = place < k
    ideal = np.bincount(
        relevant.rows[counted], (grades[best] * discount[place])[counted], minlength=len(relevant)
    )  # fmt: skip
    keys = relevant.rows * base + relevant.values
    order = np.argsort(keys)
    shown = ranking.items[:, :k]
    wanted = np.arange(len(ranking), dtype=np.int64)[:, None] * base + shown
    positions = np.searchsorted(keys[order], wanted)
    hits = (shown >= 0) & (np.append(keys[order], -1)[positions] == wanted)
    gain = np.where(hits, np.append(grades[order], 0)[positions], 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        values: Floats = (gain @ discount[: shown.shape[1]]) / ideal
    return np.where(ideal > 0, values, np.nan)


def mean_ndcg(run: AnalysisInput, cells: Sequence[Cell], task: Task, k: int, candidates: str = "") -> Floats:
    """(R,) nDCG@k per request, averaged over the seeds; NaN for a request without relevant items.

    Over all items, or over the candidate list with the name `candidates`.
    """
    relevant = run.dataset(cells[0].dataset).test[task].relevant
    mean: Floats = np.mean([ndcg(run.ranking(cell, task, candidates), relevant, k) for cell in cells], axis=0)
    return mean


def interval(values: Floats) -> tuple[float, float]:
    """The mean of values per request and half the width of its 95 % interval (Student's t); NaN where undefined."""
    from scipy.stats import t

    n = len(values)
    if n < 2:
        return (float(values.mean()) if n else float("nan")), float("nan")
    return float(values.mean()), float(t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))
