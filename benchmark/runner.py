"""The path from a suite to its leaderboard, top to bottom: plan, data sets, cells, and then, from disk only, the
report."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from benchmark.contract import Analysis, Cell, CellResult
from benchmark.errors import BenchmarkError
from benchmark.evaluation.leaderboard import Leaderboard
from benchmark.execution.dispatch import run_cells, with_lists
from benchmark.isolation import frozen
from benchmark.plan import Plan
from benchmark.plugins import Offer, Registry
from benchmark.provenance import environment
from benchmark.reporting import report, warn_of
from benchmark.results.cells import CellFolder, usual_seconds
from benchmark.results.datasets import dataset_folder, save_dataset
from benchmark.results.files import DamagedError
from benchmark.results.lists import making_lists
from benchmark.results.run import RunRecord, write_run
from benchmark.results.scratch import forget_shared
from benchmark.scored import Scored


class Watcher(Protocol):
    """Who is told how a run goes: the console's progress bars, or nobody."""

    def planned(self, plan: Plan, waiting: Sequence[Cell]) -> None: ...
    def progressed(self, cell: Cell, phase: str, step: int, total: int, values: Mapping[str, float]) -> None: ...
    def finished(self, cell: Cell, result: CellResult) -> None: ...
    def warned(self, message: str) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its leaderboard, what was computed, what failed."""

    leaderboard: Leaderboard
    analyses: tuple[Analysis, ...]
    computed: int
    reused: int
    failed: tuple[Cell, ...]


def estimates(plan: Plan) -> dict[Cell, float | None]:
    """About how many seconds each selected cell takes: what those like it took in this results folder, or what the
    suite states; None where nothing is known."""
    stated = {entry.name: entry.seconds for entry in plan.suite.models}
    return {cell: usual_seconds(plan.results, cell) or stated[cell.model] for cell in plan.selected}


def run_suite(
    plan: Plan,
    registry: Registry,
    watcher: Watcher,
    *,
    executor: str = "local",
    jobs: int | None = None,
    fresh: bool = False,
) -> Outcome:
    """Compute the selected cells that are not finished, then write the report over all finished cells of the suite.

    `executor` is the name of one that a plugin offers; `jobs` are the cells at a time.

    Raises BenchmarkError where the results folder cannot be written, an observer refuses the run, or the executor
    breaks its contract. A cell that fails ends alone; it is in `failed`, on the leaderboard's list of failures, and is
    tried again by the next run.
    """
    chosen = registry.offer("executor", executor)
    plan = _prepare(plan, registry, chosen, watcher)
    scored, run = Scored(plan), plan.run
    registry.notify("benchmark_suite_started", run=run)
    seconds = estimates(plan)
    if fresh:
        for cell in plan.selected:
            CellFolder.of(plan.results, cell).forget()
            forget_shared(dataset_folder(plan.results, cell.dataset, cell.digest))
    waiting = [cell for cell in plan.selected if not _finished(plan, cell, watcher)]
    # The longest first: with several jobs no long cell is then left running alone at the end.
    waiting.sort(key=lambda cell: -(seconds[cell] or 0))
    watcher.planned(plan, waiting)

    failed: list[Cell] = []

    def tell(cell: Cell, reused: bool, error: str = "") -> None:
        folder = CellFolder.of(plan.results, cell)
        result = None if error else scored.result(cell, reused)
        if result is None:
            error = error or folder.failure() or "the model ended its process; the cell left no results"
            with contextlib.suppress(OSError):
                folder.fail(error)
            result = CellResult("failed", folder.path, error=error, reused=reused)
        if result.status == "failed":
            failed.append(cell)
        watcher.finished(cell, result)
        for variant, why in result.facts.get("variants_failed", {}).items():
            watcher.warned(f"{cell.name}: the variant '{variant}' is missing ({why})")
        told = registry.notify("benchmark_cell_finished", run=run, cell=frozen(cell), result=frozen(result))
        warn_of(watcher.warned, told)

    computed = set(waiting)
    for cell in plan.selected:
        if cell not in computed:
            tell(cell, reused=True)
    with contextlib.closing(run_cells(plan, waiting, chosen, jobs, watcher.progressed, watcher.warned)) as ended:
        for cell, error in ended:
            tell(cell, reused=False, error=error)
    leaderboard, analyses = report(plan, registry, watcher.warned, scored)
    return Outcome(leaderboard, analyses, len(computed - set(failed)), len(plan.selected) - len(waiting), tuple(failed))


def _finished(plan: Plan, cell: Cell, watcher: Watcher) -> bool:
    """Whether there is nothing to compute; a damaged cell is taken for one that has not finished."""
    folder = CellFolder.of(plan.results, cell)
    try:
        return folder.read(cell, verify=plan.verify) is not None
    except DamagedError as error:
        watcher.warned(f"{cell.name}: {error}; it is computed again")
        folder.reopen(cell, verify=plan.verify)
        return False


def _prepare(plan: Plan, registry: Registry, executor: Offer, watcher: Watcher) -> Plan:
    """Write what the workers read, and what says where the numbers come from; the plan has all candidate lists then."""
    try:
        with making_lists(plan.results) if plan.lists else contextlib.nullcontext():
            plan = with_lists(plan, registry, executor, watcher.warned)
            for name, dataset in plan.datasets.items():
                folder = dataset_folder(plan.results, name, dataset.digest)
                if damage := save_dataset(folder, dataset, verify=plan.verify):
                    watcher.warned(f"data set {name}: {damage}; it is written anew in {folder}")
        record = RunRecord(plan.suite, plan.cells, plan.marks, plan.device, plan.options)
        write_run(plan.results, record, environment(plan.source))
    except OSError as error:
        raise BenchmarkError(
            f"the results folder {plan.results} cannot be written ({error}). Free some space there, or give another "
            "folder with --results."
        ) from error
    return plan
