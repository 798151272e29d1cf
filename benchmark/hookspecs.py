"""The contract: what a plugin can add. A plugin is a module with some of these functions, marked with `@hookimpl`.

Hooks that offer something return data and import nothing heavy; a target is the thing itself or "module:attribute",
which is imported when it is used. An implementation may take fewer arguments than the specification.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pluggy

from benchmark.contract import Cell, CellResult, Metric, Model, Run
from benchmark.data.types import Log

if TYPE_CHECKING:
    import argparse

    from benchmark.evaluation.leaderboard import Leaderboard
    from benchmark.jobs import Executor

NAME = "benchmark"
hookspec = pluggy.HookspecMarker(NAME)
hookimpl = pluggy.HookimplMarker(NAME)
"""Marks a function of a plugin as the implementation of the hook of its name."""


@hookspec
def benchmark_datasets() -> Mapping[str, Callable[..., Log] | str]:
    """Called once, when plugins are loaded: data sets by name. Each takes typed keyword arguments and returns a Log."""
    raise AssertionError("a specification is never called")


@hookspec
def benchmark_models() -> Mapping[str, type[Model] | str]:
    """Called once, when plugins are loaded: model classes by name."""
    raise AssertionError("a specification is never called")


@hookspec
def benchmark_metrics() -> Mapping[str, Metric | str]:
    """Called once, when plugins are loaded: metrics by name without the cut-off, "nDCG" as in nDCG@10."""
    raise AssertionError("a specification is never called")


@hookspec
def benchmark_analyses() -> Mapping[str, Callable[..., Any] | str]:
    """Called once, when plugins are loaded: analyses by name. Each takes an `AnalysisInput` and returns an
    `Analysis`."""
    raise AssertionError("a specification is never called")


@hookspec
def benchmark_executors() -> Mapping[str, Executor | str]:
    """Called once, when plugins are loaded: executors by name, for `--executor NAME`. Each runs the jobs that it is
    given, wherever it likes; see `Executor`."""
    raise AssertionError("a specification is never called")


@hookspec
def benchmark_commands() -> Mapping[
    str, Callable[[argparse.ArgumentParser], Callable[[argparse.Namespace], int]] | str
]:
    """Called once, when plugins are loaded: commands by name, for `benchmark NAME`. Each adds its options to a parser
    and returns what runs the command with these options and gives the exit code. The first line of its docstring is
    its line in `benchmark --help`, which reads the source and imports nothing."""
    raise AssertionError("a specification is never called")


@hookspec
def benchmark_options() -> Mapping[str, Callable[..., Any] | str]:
    """Called once, when plugins are loaded: the options of a plugin by name, for `--option NAME.option=value`, as a
    class or a function with typed keyword arguments that have defaults. Observers read them in `run.options`,
    executors in `execution.options`."""
    raise AssertionError("a specification is never called")


@hookspec
def benchmark_suite_started(run: Run) -> None:
    """Called before the first cell. A BenchmarkError raised here refuses the run: nothing has been trained yet."""


@hookspec
def benchmark_cell_finished(run: Run, cell: Cell, result: CellResult) -> None:
    """Called when a cell has finished or failed, also when it had been finished by an earlier run (`result.reused`)."""


@hookspec
def benchmark_suite_finished(run: Run, leaderboard: Leaderboard, cell_results: Mapping[Cell, CellResult]) -> None:
    """Called at the end, and by `benchmark report`, when all files of the report are written. `cell_results` holds
    every cell of the suite that has finished or failed, in this run or earlier. May be called again later."""
