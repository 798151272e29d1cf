"""MLflow as an observer: a parent run for each `benchmark run`, a child run for each of its cells, in any MLflow store.

The experiment is the suite. What a user of MLflow's pages finds there:

- *A child run is one computation, logged once.* It is found again by a hash of its cell, costs, facts and learning
  curve (tag `benchmark.computation`), so that a later run which reuses the cell, or a report, adds only what is
  missing: the metrics that the suite has gained, say. A cell that is computed anew gets a new child run.
- *The latest parent run holds all the cells of its leaderboard.* A run has one parent in MLflow, so a `benchmark run`
  takes over the cells that it reuses when it ends; the leaderboard stays with the earlier parent, as an artifact, and a
  failed child run stays where it failed.
- *A run that was interrupted is continued*: the next run of the same suite, data, parameters and marks in the same
  results folder goes on under the parent that is still open. A run that computes nothing opens none. The parent is
  closed by the last process that uses it, so that a report during a run leaves it open.

Metrics are called task.metric, with the slice behind it unless it is `all`: `recommendation.R_30`,
`recommendation.R_30.head`, and over a candidate list `recommendation.R_30.uni99` (MLflow forbids @ and |). The task is
always there, so that a joint model and its single-task halves can be compared by the same key. Learning curves are
`curve.loss` and so on, by step; costs keep their names.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark import BenchmarkError, Cell, CellResult, hookimpl

if TYPE_CHECKING:
    from benchmark import Leaderboard, Plan
    from benchmark_mlflow.tracker import Tracker

_current: Tracker | None = None


@dataclass(frozen=True)
class Options:
    """Where MLflow's runs go."""

    uri: str = ""
    """The store's URI; empty for SQLite in the results folder, "off" for none."""


@hookimpl
def benchmark_options() -> Mapping[str, type[Options]]:
    return {"mlflow": Options}


@hookimpl
def benchmark_commands() -> Mapping[str, str]:
    return {"ui": "benchmark_mlflow.ui:ui"}


@hookimpl
def benchmark_suite_started(plan: Plan) -> None:
    """Refuse the run where the store cannot be used."""
    _tracker(plan, anew=True)


@hookimpl
def benchmark_cell_finished(plan: Plan, cell: Cell, result: CellResult) -> None:
    """Log the cell. Raises BenchmarkError where the store has gone away, once; the rest waits for the end."""
    tracker = _tracker(plan)
    if tracker is not None:
        tracker.cell_finished(cell, result)


@hookimpl
def benchmark_suite_finished(plan: Plan, leaderboard: Leaderboard) -> None:
    """Log every cell of the leaderboard that is not in the store yet, then the leaderboard."""
    global _current
    tracker, _current = _tracker(plan), None
    if tracker is not None:
        tracker.suite_finished(leaderboard)


def _tracker(plan: Plan, anew: bool = False) -> Tracker | None:
    """What logs this plan; None where no store is wanted, or the default one is and MLflow is not installed."""
    global _current
    uri = plan.options["mlflow"]["uri"]
    if uri == "off":
        return None
    if importlib.util.find_spec("mlflow") is None:
        if not uri:
            return None
        raise BenchmarkError(
            "--tracking needs 'mlflow', which is not installed.\n"
            "Install it with: pip install 'genrec-benchmark[mlflow]'"
        )
    from benchmark_mlflow.tracker import Tracker

    if anew or _current is None or _current.plan is not plan:
        _current = Tracker(plan, running=anew)
    return _current
