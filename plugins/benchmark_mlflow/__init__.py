"""MLflow as an observer: a run for each computed cell, nested below the run of its newest leaderboard, in any store.

The experiment is the suite. A user of MLflow's pages finds there:

- *A run for each computation of a cell*, logged once, when the cell ends. It is found again by a hash of the cell, its
  costs, facts and learning curve (tag `benchmark.computation`), so that a later run which reuses the cell, or a report,
  adds only what is missing, such as a metric that the suite has gained. A cell that is computed again gets a new run.
- *A run for each leaderboard*, with the files of the report, logged when these are written. All cells of the
  leaderboard become its child runs. A run has one parent in MLflow, so the newest leaderboard takes over the cells that
  it shares with earlier ones, which keep their files. A leaderboard that is there already is not logged again.

No run stays open while cells are computed, so an interruption leaves none open: finished cells wait, without a parent,
for the next leaderboard. What a killed process has left half-logged is completed by the next run or report.

Metrics are called task.metric, followed by the slice unless it is `all`: `recommendation.R_30`,
`recommendation.R_30.head`, and over a candidate list `recommendation.R_30.uni99` (MLflow forbids @ and |). They always
name the task, so that a joint model and its single-task halves have the same keys. Learning curves are `curve.loss`
and so on, by step; costs keep their names.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark import BenchmarkError, Cell, CellResult, hookimpl

if TYPE_CHECKING:
    from benchmark import Run
    from benchmark_mlflow.tracker import Tracker

_current: Tracker | None = None


@dataclass(frozen=True)
class Options:
    """Where runs are logged."""

    uri: str = ""
    """The store's URI. Empty: SQLite in the results folder; "off": nowhere."""


@hookimpl
def benchmark_options() -> Mapping[str, type[Options]]:
    return {"mlflow": Options}


@hookimpl
def benchmark_commands() -> Mapping[str, str]:
    return {"ui": "benchmark_mlflow.ui:ui"}


@hookimpl
def benchmark_suite_started(run: Run) -> None:
    """Refuse the run if the store cannot be used."""
    _tracker(run)


@hookimpl
def benchmark_cell_finished(run: Run, cell: Cell, result: CellResult) -> None:
    """Log the cell. Raises BenchmarkError when the store stops answering, once; the rest waits for the end."""
    tracker = _tracker(run)
    if tracker is not None:
        tracker.cell_finished(cell, result)


@hookimpl
def benchmark_suite_finished(run: Run, cell_results: Mapping[Cell, CellResult]) -> None:
    """Log the cells of the leaderboard that the store lacks, then the leaderboard."""
    global _current
    tracker, _current = _tracker(run), None
    if tracker is not None:
        tracker.suite_finished(cell_results)


def _tracker(run: Run) -> Tracker | None:
    """The tracker of this run; None if no store is wanted, or if only the default one is and MLflow is missing."""
    global _current
    uri = run.options["mlflow"]["uri"]
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

    if _current is None or _current.suite_run is not run:
        _current = Tracker(run)
    return _current
