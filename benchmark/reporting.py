"""Everything after training: finished cells become a leaderboard, files and what observers are told."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from benchmark import plugins
from benchmark.contract import Analysis, AnalysisInput, Cell, CellResult, check_analysis
from benchmark.data.types import Task
from benchmark.errors import BenchmarkError, error_text
from benchmark.evaluation.leaderboard import CellCosts, Failure, Leaderboard, build_leaderboard
from benchmark.evaluation.slices import head_size
from benchmark.isolation import contained, frozen
from benchmark.plan import Plan, published_values
from benchmark.plugins import Registry
from benchmark.report.files import write_report
from benchmark.results.cells import CellFolder, CellRecord
from benchmark.scored import Scored
from benchmark.suite.published import Published
from benchmark.suite.schema import Suite


def report(
    plan: Plan, registry: Registry, warn: Callable[[str], None], scored: Scored | None = None
) -> tuple[Leaderboard, tuple[Analysis, ...]]:
    """Everything after training, from disk: score the finished cells, compare, write all files, tell the observers."""
    scored = scored or Scored(plan)
    finished, failures, costs, remarks, cell_results = [], [], [], {}, {}
    for cell in plan.cells:
        folder = CellFolder.of(plan.results, cell)
        result = scored.result(cell)
        error = _ended(folder) if result is None else result.error
        if error:
            log = os.path.relpath(folder.log, plan.results)
            failures.append(Failure(cell.dataset, cell.model, cell.seed, error, log))
            cell_results[cell] = result or CellResult("failed", folder.path, error=error)
        elif result is not None:
            cell_results[cell] = result
            finished.append(cell)
            costs.append(CellCosts(cell.dataset, cell.model, cell.seed, result.costs))
            recorded = result.facts.get("remarks")  # of an older version it may be anything
            remarks[cell] = (
                *(remark for remark in (recorded if isinstance(recorded, list) else ()) if isinstance(remark, str)),
                *scored.remarks(cell, result),
            )
    suite = plan.suite
    for cell, remark in scored.implausible(finished):
        remarks[cell] = (*remarks[cell], remark)
    leaderboard = build_leaderboard(
        suite,
        [evaluated for cell in finished for evaluated in scored.of(cell)],
        failures,
        costs,
        published_values(suite, plan.source),
        {"": (*plan.marks, *_processors(plan, finished)), **{m.name: (m.note,) for m in suite.models if m.note}},
        plan.datasets,
        remarks,
        {name: head_size(len(dataset.train.catalog), suite.head_share) for name, dataset in plan.datasets.items()},
        {name: metric.better for name, metric in plan.metrics.items() if metric.better},
    )
    analyses = tuple(_analyse(plan, finished, registry, warn))
    write_report(plan.results, leaderboard, analyses)
    shown = {frozen(cell): frozen(result) for cell, result in cell_results.items()}
    told = {"run": plan.run, "leaderboard": frozen(leaderboard), "cell_results": shown}
    warn_of(warn, registry.notify("benchmark_suite_finished", **told))
    return leaderboard, analyses


def _ended(folder: CellFolder) -> str:
    """Why a cell that has not finished is one that failed; empty where it was not begun, or is running."""
    if folder.was_interrupted():
        return "unfinished: interrupted, or its cell.json is lost; run again"
    return folder.failure()


def _processors(plan: Plan, cells: Sequence[Cell]) -> Iterator[str]:
    """A remark where cells ran on processors of several kinds: equal seeds need not give equal numbers there."""
    records = (CellFolder.of(plan.results, cell).read(cell) for cell in cells)
    machines = [record.machine for record in records if record is not None and record.machine is not None]
    kinds = sorted({f"{one['processor']} ({', '.join(one['instructions'])})" for one in machines})
    if len(kinds) > 1:
        yield f"cells ran on several kinds of processor, which do not add alike: {'; '.join(kinds)}"


def _analyse(
    plan: Plan, finished: Sequence[Cell], registry: Registry, warn: Callable[[str], None]
) -> Iterator[Analysis]:
    def folder(cell: Cell) -> CellFolder:
        return CellFolder.of(plan.results, cell)

    def record(cell: Cell) -> CellRecord:
        return folder(cell).read(cell) or CellRecord()

    analysis_input = AnalysisInput(
        datasets=tuple(plan.datasets),
        cells=frozen(tuple(finished)),
        dataset=lambda name: frozen(plan.datasets[name]),
        ranking=lambda cell, task, variant="": folder(cell).load_ranking(task, variant),
        variants=lambda cell: record(cell).variants,
        facts=lambda cell: record(cell).facts,
        published=partial(_published, plan.suite, published_values(plan.suite, plan.source)),
    )
    for name in plan.suite.analyses:
        try:
            analysis = plugins.resolve(registry.offer("analysis", name))
            with contained():
                made = analysis(analysis_input)
            check_analysis(made)
        except Exception as error:
            warn(f"analysis '{name}' failed: {error_text(error)}")
        else:
            yield made


def _published(
    suite: Suite, published: Published | None, cell: Cell, task: Task, metric: str, row: str = ""
) -> float | None:
    """What the paper prints for a cell's model, or for the row whose name has the words `row` after that."""
    if published is None:
        return None
    (data,) = (entry for entry in suite.datasets if entry.name == cell.dataset)
    (model,) = (entry for entry in suite.models if entry.name == cell.model)
    name = f"{model.published_as or model.name} {row}".strip()
    number = published.find(data.published_as or data.name, task, "all", metric, name)
    return number.value if number else None


def warn_of(warn: Callable[[str], None], failed: Sequence[tuple[Any, Exception]]) -> None:
    """Name the observers that failed, with what."""
    for plugin, error in failed:
        warn(f"{plugin} failed: {error if isinstance(error, BenchmarkError) else error_text(error)}")
