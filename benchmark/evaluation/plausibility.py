"""Results that are suspiciously good: near the ceiling of their metric, or far above every other model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from benchmark.data.ragged import PAD, Floats
from benchmark.data.ranking import Ranking
from benchmark.data.types import Dataset, Task
from benchmark.errors import ContractError
from benchmark.evaluation.scores import score
from benchmark.evaluation.significance import detectable_difference
from benchmark.metric import BoundMetric

NEAR = 0.95
"""Share of the ceiling above which a result gets a remark."""
FAR = 3
"""A lead of more than this many times the detectable difference gets a remark."""
LEAST = 30
"""The fewest requests: with fewer, both happen by chance."""


def ceiling(dataset: Dataset, task: Task, name: str, metric: BoundMetric, depth: int) -> float | None:
    """The metric's mean if every request has the best ranking of `depth` items: its relevant items, by falling
    grade. None for a metric that is not about finding these: one about all lists together, or one that
    gives something to a ranking without any of them."""
    split, counts = dataset.test[task], dataset.train.popularity(task)
    relevant, n = split.relevant, len(split.relevant)
    grades = np.ones(len(relevant.values)) if relevant.grades is None else relevant.grades
    order = np.lexsort((-grades, relevant.rows))
    place = np.arange(len(order)) - relevant.offsets[:-1][relevant.rows]
    kept = (place < depth) & (grades[order] > 0)
    best = np.full((n, depth), PAD, dtype=np.int32)
    best[relevant.rows[kept], place[kept]] = relevant.values[order][kept]
    worst = np.full((n, depth), PAD, dtype=np.int32)
    worst[:, 0] = len(dataset.train.catalog)  # an item outside the catalogue is never relevant
    means = []
    for items in (worst, best):
        ranking = Ranking(items, np.where(items == PAD, -np.inf, -np.arange(depth)).astype(np.float32))
        try:
            values = score(ranking, relevant, counts, {name: metric}, "all", 1.0).values.get(name)
        except ContractError:  # a metric that looks up the item's popularity
            return None
        means.append(None if values is None or not len(values) else float(values.mean()))
    return means[1] if means[0] == 0 and means[1] else None


def implausible(
    metric: str, task: Task, of: Mapping[str, Floats], best: float, alpha: float
) -> Iterator[tuple[str, str]]:
    """(model, remark) for every model whose mean is near the ceiling `best`, and for the first where it leads by far
    over at least two others. `of` has the per-request scores of each model, (R,) each."""
    means = {model: float(values.mean()) for model, values in of.items() if len(values) >= LEAST}
    for model, mean in means.items():
        if mean > NEAR * best:
            yield model, f"check for leakage ({metric} of {task}: {mean:.3f} of at most {best:.3f})"
    ranked = sorted(means, key=lambda model: -means[model])
    if len(ranked) < 3 or means[ranked[0]] > NEAR * best:
        return
    first, second = ranked[:2]
    difference = of[first] - of[second]
    error = float(difference.std(ddof=1)) / len(difference) ** 0.5
    lead = float(difference.mean())
    if error > 0 and lead > FAR * detectable_difference(error, len(difference), alpha):
        yield first, f"check for leakage ({metric} of {task}: {lead:.3f} above {second}, the best other model)"
