"""What the analyses share: cells by model, recall and nDCG per request, and means with their intervals.

Axis letters: R requests, K the depth of a ranking.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark import AnalysisInput, Cell, Ragged, Ranking, Task

TASK: Task = "recommendation"
Floats = NDArray[np.float64]


def runs(given: AnalysisInput, dataset: str, task: Task = TASK) -> dict[str, list[Cell]]:
    """The finished cells of a task on a data set, by model: one per seed."""
    found: dict[str, list[Cell]] = {}
    for cell in given.cells:
        if cell.dataset == dataset and task in cell.tasks:
            found.setdefault(cell.model, []).append(cell)
    return found


def whole(given: AnalysisInput) -> list[str]:
    """The data sets without items held out of training, on which the paper looks at all but cold start; or else all."""
    named = [name for name in given.datasets if not given.dataset(name).facts.get("unseen_share")]
    return named or list(given.datasets)


def with_variants(given: AnalysisInput, kind: str) -> Iterator[tuple[str, str, list[Cell], dict[float, str]]]:
    """Data set, model, cells and variants `<kind>-<number>` by ascending number, where a model has such."""
    for dataset in whole(given):
        for model, cells in runs(given, dataset).items():
            if found := numbered(given.variants(cells[0]), kind):
                yield dataset, model, cells, found


def numbered(variants: Sequence[str], kind: str) -> dict[float, str]:
    named = {float(v.removeprefix(f"{kind}-")): v for v in variants if v.startswith(f"{kind}-")}
    return dict(sorted(named.items()))


def recall(ranking: Ranking, relevant: Ragged, ks: Sequence[int]) -> Floats:
    """(len(ks), R') the share of a request's relevant items among its first k, of the requests that have such items."""
    base = 1 + max(int(ranking.items.max(initial=0)), int(relevant.values.max(initial=0)))
    keys = np.arange(len(ranking), dtype=np.int64)[:, None] * base + ranking.items
    found = (ranking.items >= 0) & np.isin(keys, relevant.rows * base + relevant.values)
    within = found.cumsum(axis=1)[:, [min(k, found.shape[1]) - 1 for k in ks]].T
    asked = relevant.lengths > 0
    share: Floats = within[:, asked] / relevant.lengths[asked]
    return share


def mean_recall(given: AnalysisInput, cells: Sequence[Cell], variant: str, relevant: Ragged, ks: Sequence[int]) -> Any:
    """(len(ks), R') recall per request, averaged over the seeds."""
    return np.mean([recall(given.ranking(cell, TASK, variant), relevant, ks) for cell in cells], axis=0)


def ndcg(ranking: Ranking, relevant: Ragged, k: int) -> Floats:
    """(R,) with linear gains, as trec_eval has it; NaN for a request without relevant items."""
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
    at = np.searchsorted(keys[order], wanted)
    found = (shown >= 0) & (np.append(keys[order], -1)[at] == wanted)
    gain = np.where(found, np.append(grades[order], 0)[at], 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        values: Floats = (gain @ discount[: shown.shape[1]]) / ideal
    return np.where(ideal > 0, values, np.nan)


def interval(values: Floats) -> tuple[float, float]:
    """The mean of values per request and half the width of its 95 % interval (Student's t); NaN where undefined."""
    from scipy.stats import t

    n = len(values)
    if n < 2:
        return (float(values.mean()) if n else float("nan")), float("nan")
    return float(values.mean()), float(t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))


def ndcg_by_request(given: AnalysisInput, cells: Sequence[Cell], task: Task, k: int, candidates: str = "") -> Floats:
    """(R,) nDCG@k over all items, or over the candidate list of this name, averaged over the seeds; NaN for a request
    without relevant items."""
    relevant = given.dataset(cells[0].dataset).test[task].relevant
    values: Floats = np.mean([ndcg(given.ranking(cell, task, candidates), relevant, k) for cell in cells], axis=0)
    return values


def base_of(model: str, models: Collection[str]) -> str:
    """The model among `models` that this one is a variant of, by its name (`GenSAR` of `GenSAR[-NSIP]`), or ""."""
    base, bracket, _ = model.partition("[")
    return base if bracket and base in models else ""
