"""Caveats about a finished cell's numbers: it was still learning when training ended, or popularity is better."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from benchmark.data.hashing import splitmix
from benchmark.data.ragged import PAD, Longs, Ragged
from benchmark.data.ranking import Ranking
from benchmark.data.types import Dataset, Requests, Task
from benchmark.evaluation.scores import score
from benchmark.metric import BoundMetric

PROGRESS = {"epoch": ("best_epoch", "epochs"), "checkpoint": ("best_updates", "updates")}
"""Facts that models record of their training: when validation was best, and when it ended."""
BATCH = 4096
"""Requests per batch."""


def trained(facts: Mapping[str, Any]) -> bool:
    """Whether a model recorded how long it trained."""
    return any(facts.get(end) for _, end in PROGRESS.values())


def still_learning(facts: Mapping[str, Any]) -> Iterator[str]:
    """A remark if validation was best when training ended: more training could change the numbers."""
    last = [name for name, (best, end) in PROGRESS.items() if facts.get(end) and facts.get(best) == facts[end]]
    yield from (f"best {name} is the last (still learning)" for name in last[:1])


def below_popularity(
    metric: str,
    means: Mapping[tuple[Task, str, str], float],
    popularity: Mapping[Task, float | None],
    lower_is_better: bool = False,
) -> Iterator[str]:
    """A remark for every task where the mean over all requests is worse than that of the most popular items."""
    for task, least in popularity.items():
        mean = means.get((task, "all", metric))
        if mean is None or least is None:
            continue
        if lower_is_better and mean > least:
            yield f"worse than popularity ({metric} of {task}: {mean:.3f} > {least:.3f})"
        if not lower_is_better and mean < least:
            yield f"below popularity ({metric} of {task}: {mean:.3f} < {least:.3f})"


def popularity_mean(dataset: Dataset, task: Task, name: str, metric: BoundMetric, depth: int) -> float | None:
    """The metric's mean of ranking, for every request, the items by their training counts of the task; None for one
    about all lists together, and where nothing is relevant. Equal counts are in an order that a hash decides."""
    split, counts = dataset.test[task], dataset.train.popularity(task)
    ranking = _most_popular(split.requests, counts, depth)
    values = score(ranking, split.relevant, counts, {name: metric}, "all", 1.0).values.get(name)
    return None if values is None or not len(values) else float(values.mean())


def _most_popular(requests: Requests, counts: Longs, depth: int) -> Ranking:
    """The `depth` items of the highest counts that each request does not exclude."""
    order = np.lexsort((splitmix(np.arange(len(counts), dtype=np.uint64)), -counts))
    place = np.argsort(order)
    items = np.full((len(requests), depth), PAD, dtype=np.int32)
    for start in range(0, len(requests), BATCH):
        exclude: Ragged = requests.exclude.take(np.arange(start, min(start + BATCH, len(requests))))
        width = min(len(counts), depth + int(exclude.lengths.max(initial=0)))
        gone = np.zeros((len(exclude), width), dtype=bool)
        position = place[exclude.values]
        gone[exclude.rows[position < width], position[position < width]] = True
        kept = np.argsort(gone, axis=1, kind="stable")[:, :depth]
        best = np.where(np.take_along_axis(gone, kept, axis=1), PAD, order[kept])
        items[start : start + len(exclude), : best.shape[1]] = best
    scores = np.broadcast_to(-np.arange(depth, dtype=np.float32), items.shape)
    return Ranking(items, scores)
