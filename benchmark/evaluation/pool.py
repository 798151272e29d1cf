"""Pooling the seeds of a model, and checking that all models answered the same requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.contract import Cell, Scores
from benchmark.data.ragged import Floats, Longs
from benchmark.data.types import Task
from benchmark.errors import ContractError
from benchmark.evaluation.significance import Fits

Place = tuple[str, Task, str, str]  # data set, task, slice, model


@dataclass(frozen=True)
class Evaluated:
    """One cell's scores on one slice of one task. Cells of one data set have their requests in the same order."""

    cell: Cell
    task: Task
    slice: str
    scores: Scores


@dataclass(frozen=True)
class Pool:
    """One model on one slice, all seeds: `values` (seeds, n) and `totals` (seeds,) by metric; `cell` is the first.
    `own_rows`: see `Scores`."""

    cell: Cell
    rows: Longs
    seeds: int
    coverage: float
    values: Mapping[str, Floats]
    totals: Mapping[str, Floats]
    own_rows: Mapping[str, Longs] = field(default_factory=dict)

    def n(self, metric: str) -> int:
        """The number of requests that the metric covers."""
        return len(self.own_rows.get(metric, self.rows))

    def fits(self, metric: str) -> Fits:
        """The scores of a metric with a value per request."""
        values = self.values[metric]
        return Fits(values[:1] if self.cell.deterministic else values, self.cell.deterministic)


def pool(evaluated: Sequence[Evaluated]) -> dict[Place, Pool]:
    """All seeds of a model pooled; checks that all models have the same requests."""
    groups: dict[Place, list[Evaluated]] = {}
    reference: dict[tuple[str, Task, str], Evaluated] = {}
    for e in sorted(evaluated, key=lambda e: (e.cell.dataset, e.cell.model, e.cell.seed)):
        first = reference.setdefault((e.cell.dataset, e.task, e.slice), e)
        if e.cell.digest != first.cell.digest or not np.array_equal(e.scores.rows, first.scores.rows):
            raise ContractError(
                f"'{e.cell.name}' and '{first.cell.name}' were scored on different requests ({e.task}, {e.slice}), "
                "so they cannot be compared. Run the suite again with --fresh."
            )
        groups.setdefault((e.cell.dataset, e.task, e.slice, e.cell.model), []).append(e)
    return {place: _merge(group[0].cell, [e.scores for e in group]) for place, group in groups.items()}


def _merge(cell: Cell, scores: Sequence[Scores]) -> Pool:
    def stack(kind: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[np.float64]]:
        return {metric: np.stack([values[metric] for values in kind]) for metric in kind[0]}

    return Pool(
        cell,
        scores[0].rows,
        len(scores),
        float(np.mean([s.coverage for s in scores])),
        stack([s.values for s in scores]),
        stack([s.totals for s in scores]),
        scores[0].own_rows,
    )
