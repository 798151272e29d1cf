"""Jobs for an executor: the cells of a run, or the candidate lists of its data sets, and what comes back."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmark import plugins
from benchmark.candidates import with_candidates
from benchmark.contract import Cell
from benchmark.errors import BenchmarkError, ContractError, error_text
from benchmark.execution.worker import command, worker_environment
from benchmark.jobs import Execution, Job, OnProgress
from benchmark.plan import Plan
from benchmark.plugins import Offer, Registry
from benchmark.results.cells import CellFolder, Spec
from benchmark.results.datasets import dataset_folder, with_frozen_candidates
from benchmark.results.files import DamagedError, remove_folder
from benchmark.results.lists import list_job_folder, with_made_lists, write_list_job
from benchmark.results.scratch import leave_shared

CellProgress = Callable[[Cell, str, int, int, Mapping[str, float]], None]
"""Takes the progress of a cell: phase, step, total steps, values such as the loss."""


def with_lists(plan: Plan, registry: Registry, executor: Offer, warn: Callable[[str], None]) -> Plan:
    """The plan with all candidate lists: those that lie in the results folder, those that chance alone samples, and
    those of models, which are jobs for the executor, as cells are. Raises BenchmarkError where a model fails.

    Runs on one results folder take turns: the caller holds `making_lists` until the data sets are saved."""
    datasets, jobs = dict(plan.datasets), dict[Path, str]()
    for name, lists in plan.lists.items():
        target = dataset_folder(plan.results, name, datasets[name].digest)
        try:
            datasets[name] = with_frozen_candidates(target, datasets[name], verify=plan.verify)
        except DamagedError:  # or not there yet
            if not lists.models:
                datasets[name] = with_candidates(datasets[name], lists, registry)
                continue
            folder = list_job_folder(plan.results, name, datasets[name].digest)
            remove_folder(folder)  # of a run that was interrupted
            write_list_job(folder, datasets[name], lists, plan.suite.reproducible)
            jobs[folder] = name
    suite = plan.suite
    work = [Job(folder, command(folder), CellFolder(folder).log, suite.threads) for folder in jobs]
    execution = Execution(1, worker_environment(suite.threads, suite.reproducible), (), plan.options, warn)
    with contextlib.closing(run_jobs(executor, work, execution, lambda *progress: None)) as ended:
        for folder, error in ended if work else ():
            name, job = jobs[folder], CellFolder(folder)
            if error := error or job.failure():
                raise BenchmarkError(f"data set '{name}': {error.rstrip('.')}. Its log: {job.log}")
            datasets[name] = with_made_lists(folder, datasets[name])
            remove_folder(folder)
    return replace(plan, datasets=datasets, lists={})


def run_cells(
    plan: Plan,
    waiting: Sequence[Cell],
    executor: Offer,
    jobs: int | None,
    progressed: CellProgress,
    warn: Callable[[str], None],
) -> Generator[tuple[Cell, str]]:
    """Compute the `waiting` cells, `jobs` at a time; (cell, error) of each as it ends, the error "" for none that the
    executor knows of. Raises ContractError where the executor breaks its contract."""
    cells = {CellFolder.of(plan.results, cell).path: cell for cell in waiting}

    def on_progress(folder: Path, phase: str, step: int, total: int, values: Mapping[str, float]) -> None:
        progressed(cells[folder], phase, step, total, values)

    if not cells:
        return
    suite, work = plan.suite, list[Job]()
    for path, cell in cells.items():
        folder = CellFolder(path)
        data = dataset_folder(plan.results, cell.dataset, cell.digest).resolve()
        timeout, memory = suite.limits_of(cell.model)
        folder.write_spec(
            Spec(cell, data, suite.depth, suite.threads, plan.device, suite.reproducible, timeout, memory)
        )
        work.append(Job(path, command(path), folder.log, suite.threads, plan.device, timeout, memory))
    execution = Execution(
        parallel=jobs or default_jobs(plan),
        environment=worker_environment(suite.threads, suite.reproducible),
        preload=plan.requires,
        options=plan.options,
        warn=warn,
    )
    try:
        with contextlib.closing(run_jobs(executor, work, execution, on_progress)) as ended:
            for path, error in ended:
                if not error:  # what a process of the cell wrote there after its end
                    remove_folder(CellFolder(path).scratch)
                yield cells[path], error
    finally:
        for cell in waiting:
            leave_shared(dataset_folder(plan.results, cell.dataset, cell.digest))


def run_jobs(
    executor: Offer, jobs: Sequence[Job], execution: Execution, on_progress: OnProgress
) -> Generator[tuple[Path, str]]:
    """(folder, error) of every job, once, as an executor gives them; one that it has lost ends with an error.

    Raises ContractError where the executor fails or gives something else.
    """
    run, left = plugins.resolve(executor), {job.folder for job in jobs}
    fault = f"{executor} of {executor.plugin}"
    try:
        answers = run(jobs, execution, on_progress)
        try:
            for folder, error in answers:
                if folder not in left:
                    raise ContractError(f"{fault} gave {folder}, which is not a job of this run or had ended before.")
                left.remove(folder)
                yield folder, error
        finally:
            getattr(answers, "close", lambda: None)()
    except (BenchmarkError, OSError):
        raise
    except Exception as error:
        raise ContractError(f"{fault} failed, which is a fault in it: {error_text(error)}") from error
    for folder in (job.folder for job in jobs if job.folder in left):
        yield folder, f"{fault} ended without running this cell"


def default_jobs(plan: Plan) -> int:
    """As many cells at a time as there are cores for their threads; one at a time on a GPU."""
    if plan.device != "cpu":
        return 1
    return max(1, len(os.sched_getaffinity(0)) // plan.suite.threads if hasattr(os, "sched_getaffinity") else 1)
