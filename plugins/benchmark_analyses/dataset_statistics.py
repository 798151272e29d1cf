"""The size, density and concentration of the data sets, and how far their two tasks differ (Penha 2024, Table 3; Shi
2025, Table 2)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark import Analysis, AnalysisInput, Dataset, Task

NOTE = (
    "As in Penha 2024, Table 3. An item of a task is one that occurs in its training, validation or test data; the "
    "density is interactions / (users × items). Popularity is counted in training alone: the Gini index is over the "
    "items that occur there; KS is the two-sample Kolmogorov-Smirnov distance between the items' shares in search and "
    "in recommendation, KLD the Kullback-Leibler divergence in nats after adding 1 to every count, all over the "
    "items that occur in the training data of either task. The paper states neither its smoothing nor its logarithm."
)
JOINT_NOTE = (
    " Where users search (Shi 2025, Table 2), a search is one user's query at one time, interactions (S) are the items "
    "clicked in searches, queries are different texts, and popularity in search counts clicks."
)
ROWS = (
    *("items (R)", "users", "interactions", "density", "Gini (R)"),
    *("items (S)", "queries", "relevant per query", "searches", "interactions (S)", "Gini (S)"),
    *("KS(S, R)", "KLD(S ‖ R)", "KLD(R ‖ S)"),
)


def dataset_statistics(run: AnalysisInput) -> Analysis:
    """One column per data set, one row per statistic; empty if a data set lacks the task."""
    import pandas as pd

    columns = {name: statistics(run.dataset(name)) for name in run.datasets}
    rows = [row for row in ROWS if any(row in column for column in columns.values())]
    table = pd.DataFrame({"statistic": rows}, dtype=object)
    for name, column in columns.items():
        table[name] = pd.Series([_rounded(column.get(row, "")) for row in rows], dtype=object)
    joint = any(run.dataset(name).train.events is not None for name in run.datasets)
    return Analysis("Data sets", table, NOTE + (JOINT_NOTE if joint else ""))


def _rounded(value: Any) -> Any:
    """Three digits, as printed in the paper; counts stay whole."""
    return float(f"{value:.3g}") if isinstance(value, float) else value


def statistics(dataset: Dataset) -> dict[str, Any]:
    """The statistics of one data set by the names in `ROWS`, without those of a task that it lacks."""
    train, out = dataset.train, dict[str, Any]()
    if "recommendation" in dataset.tasks:
        items, pairs = _occurrences(dataset, "recommendation", train.histories.values)
        users = int((train.histories.lengths > 0).sum())
        if train.events is not None:  # no split contains the copies of its targets, so that counting them falls short
            users, pairs = int(dataset.facts["users"]), int(dataset.facts["interactions"])
        out |= {"items (R)": items, "users": users, "interactions": pairs, "density": pairs / (users * items)}
        out["Gini (R)"] = gini(train.popularity("recommendation"))
    if "search" in dataset.tasks:
        items, pairs = _occurrences(dataset, "search", train.searches.values)
        out["items (S)"] = items
        if train.events is None:
            queries = len(train.queries) + len(dataset.valid["search"].requests) + len(dataset.test["search"].requests)
            out |= {"queries": queries, "relevant per query": pairs / queries}
        else:  # a query is asked many times, and only its clicked items are known to be relevant
            facts = {"queries": "queries", "searches": "searches", "interactions (S)": "search_clicks"}
            out |= {row: int(dataset.facts[fact]) for row, fact in facts.items()}
        out["Gini (S)"] = gini(train.popularity("search"))
    if len(dataset.tasks) == 2:
        searched, recommended = train.popularity("search"), train.popularity("recommendation")
        occurring = (searched > 0) | (recommended > 0)
        searched, recommended = searched[occurring], recommended[occurring]
        out["KS(S, R)"] = ks_distance(searched / searched.sum(), recommended / recommended.sum())
        out["KLD(S ‖ R)"] = kl_divergence(searched, recommended)
        out["KLD(R ‖ S)"] = kl_divergence(recommended, searched)
    return out


def _occurrences(dataset: Dataset, task: Task, trained: NDArray[np.int32]) -> tuple[int, int]:
    """The numbers of different items and of user-item or query-item pairs in the task's data."""
    values = np.concatenate([trained, dataset.valid[task].relevant.values, dataset.test[task].relevant.values])
    return len(np.unique(values)), len(values)


def gini(counts: NDArray[np.int64]) -> float:
    """The Gini index of the positive counts: 0 if all are equal, near 1 if one item has nearly everything."""
    ordered = np.sort(counts[counts > 0]).astype(np.float64)
    n = len(ordered)
    return float(2 * (np.arange(1, n + 1) @ ordered) / (n * ordered.sum()) - (n + 1) / n) if n else 0.0


def ks_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The largest difference between the empirical distribution functions of two samples."""
    points = np.concatenate([a, b])
    below_a, below_b = (np.searchsorted(np.sort(sample), points, side="right") / len(sample) for sample in (a, b))
    return float(np.abs(below_a - below_b).max())


def kl_divergence(p: NDArray[np.int64], q: NDArray[np.int64]) -> float:
    """KLD(p ‖ q) in nats between two vectors of counts, each with 1 added."""
    p_share, q_share = ((counts + 1) / (counts + 1).sum() for counts in (p, q))
    return float(p_share @ np.log(p_share / q_share))
