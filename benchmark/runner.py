"""The path from a suite to its leaderboard, top to bottom: plan, data sets, cells, and then, from disk only, the
report."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmark import plugins
from benchmark.candidates import with_candidates
from benchmark.contract import Analysis, AnalysisInput, Cell, CellResult, check_analysis
from benchmark.data.ragged import Floats
from benchmark.data.types import TASKS, Task
from benchmark.errors import BenchmarkError, ContractError, error_text
from benchmark.evaluation.leaderboard import CellCosts, Evaluated, Failure, Leaderboard, build_leaderboard
from benchmark.evaluation.plausibility import ceiling, implausible
from benchmark.evaluation.remarks import below_popularity, popularity_mean, still_learning, trained
from benchmark.evaluation.scores import merged, score
from benchmark.evaluation.slices import head_size
from benchmark.execution.worker import command, describe, worker_environment
from benchmark.isolation import contained, frozen
from benchmark.jobs import Execution, Job, OnProgress
from benchmark.metric import parse_metric
from benchmark.plan import Plan, check_scoring, list_names, published_values
from benchmark.plugins import Offer, Registry
from benchmark.report.files import write_report
from benchmark.results.cells import CellFolder, CellRecord, Spec, usual_seconds
from benchmark.results.datasets import dataset_folder, load_dataset, save_dataset, with_frozen_candidates
from benchmark.results.files import DamagedError, remove_folder
from benchmark.results.lists import list_job_folder, with_made_lists, write_list_job
from benchmark.results.run import RunRecord, read_run, write_run
from benchmark.results.scratch import forget_shared, leave_shared
from benchmark.suite.load import check_names
from benchmark.suite.published import Published
from benchmark.suite.schema import NEW, Suite


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
    stated = {choice.name: choice.seconds for choice in plan.suite.models}
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
    breaks its contract. A cell that fails
    ends alone; it is in `failed`, on the leaderboard's list of failures, and is tried again by the next run.
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
        _warn(watcher, told)

    for cell in plan.selected:
        if cell not in waiting:
            tell(cell, reused=True)
    with contextlib.closing(_execute(plan, waiting, chosen, jobs, watcher)) as ended:
        for cell, error in ended:
            tell(cell, reused=False, error=error)
    leaderboard, analyses = report(plan, registry, watcher, scored)
    computed = sum(cell not in failed for cell in waiting)
    return Outcome(leaderboard, analyses, computed, len(plan.selected) - len(waiting), tuple(failed))


def report(
    plan: Plan, registry: Registry, watcher: Watcher, scored: Scored | None = None
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
            said = result.facts.get("remarks")  # of an older version it may be anything
            remarks[cell] = (
                *(remark for remark in (said if isinstance(said, list) else ()) if isinstance(remark, str)),
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
    analyses = tuple(_analyse(plan, finished, registry, watcher))
    write_report(plan.results, leaderboard, analyses)
    shown = {frozen(cell): frozen(result) for cell, result in cell_results.items()}
    told = {"run": plan.run, "leaderboard": frozen(leaderboard), "cell_results": shown}
    _warn(watcher, registry.notify("benchmark_suite_finished", **told))
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


SCORING = (
    "title",
    "metrics",
    "primary_metric",
    "slices",
    "head_share",
    "compare",
    "significance",
    "published",
    "claims",
    "analyses",
)
"""What a report takes from the suite of now; all else of it made the rankings, and is the run's."""


def stored_plan(
    suite: Suite, source: Path, registry: Registry, home: Path, options: Sequence[str] = (), *, verify: bool = False
) -> Plan:
    """The plan of the last run in this folder, its data sets read from there: the raw data is not needed.

    Metrics, slices, comparisons and claims are the given suite's, everything that trained or ranked is the run's.
    Raises BenchmarkError where there was no run, where the suite compares models that the run did not have, and where
    what the run left of itself or of a data set is damaged.
    """
    run = read_run(home)
    merged = run.suite.model_copy(update={name: getattr(suite, name) for name in SCORING})
    new = {parse_metric(metric).candidates for metric in suite.metrics} & (list_names(suite) - list_names(run.suite))
    if new:
        raise BenchmarkError(
            f"the run in {home} did not rank the list {' or '.join(sorted(new))}, which the suite has now. "
            "Run the suite again."
        )
    check_names(merged, source)
    digests = {cell.dataset: cell.digest for cell in run.cells}
    return Plan(
        suite=merged,
        source=source,
        results=home,
        datasets={
            name: load_dataset(dataset_folder(home, name, digest), verify=verify) for name, digest in digests.items()
        },
        cells=run.cells,
        selected=run.cells,
        metrics=check_scoring(merged, source, registry),
        device=run.device,
        options=plugins.plugin_options(registry, options, run.options),
        marks=run.marks,
        verify=verify,
    )


def unlike_the_run(suite: Suite, home: Path) -> list[str]:
    """The settings of the suite that are not those of the run in this folder and that a report cannot take over, such
    as `models.Gen_R.params.epochs: 8 -> 3`. Raises BenchmarkError where there was no run."""
    ran = read_run(home).suite.model_dump(mode="json", exclude=set(SCORING))
    return list(_differences("", ran, suite.model_dump(mode="json", exclude=set(SCORING))))


def _differences(path: str, old: Any, new: Any) -> Iterator[str]:
    """Where two settings differ; data sets and models are known by their names."""
    old, new = ({one["name"]: one for one in v} if _named(v) else v for v in (old, new))
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            here = f"{path}.{key}" if path else str(key)
            if key in old and key in new:
                yield from _differences(here, old[key], new[key])
            else:
                yield f"{here} {'is new' if key in new else 'is no longer there'}"
    elif old != new:
        yield f"{path}: {old} -> {new}"


def _named(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) and "name" in one for one in value)


class Scored:
    """The scores of finished cells, each computed once per run, from the rankings on disk."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._done: dict[Cell, list[Evaluated]] = {}
        self._popular: dict[tuple[str, Task], float | None] = {}

    def of(self, cell: Cell) -> list[Evaluated]:
        if cell not in self._done:
            self._done[cell] = list(self._evaluate(cell))
        return self._done[cell]

    def _evaluate(self, cell: Cell) -> Iterator[Evaluated]:
        plan, suite = self.plan, self.plan.suite
        folder = CellFolder.of(plan.results, cell)
        dataset = plan.datasets[cell.dataset]
        for task in cell.tasks:
            split, popularity = dataset.test[task], dataset.train.popularity(task)
            relevant = dict.fromkeys(("", *split.candidates), split.relevant)
            if split.seen is not None:
                relevant[NEW] = split.new(len(dataset.train.catalog)).relevant
            metrics = {c: {n: m for n, m in plan.metrics.items() if m.candidates == c} for c in relevant}
            rankings = {c: folder.load_ranking(task, c) for c, some in metrics.items() if some or not c}
            for name in suite.slices:
                if name == "other-day" and split.later is None:
                    continue
                scores = merged(
                    [
                        score(ranking, relevant[c], popularity, metrics[c], name, suite.head_share, split.later)
                        for c, ranking in rankings.items()
                    ]
                )
                if name == "all":
                    folder.save_scores(task, split.requests.ids, scores)
                yield Evaluated(cell, task, name, scores)

    def remarks(self, cell: Cell, result: CellResult) -> Iterator[str]:
        """What is odd about the numbers of a model that was trained here; see `benchmark.evaluation.remarks`."""
        if not trained(result.facts):
            return
        yield from still_learning(result.facts)
        metrics = self.plan.metrics
        names = [name for name in (self.plan.suite.primary_metric, *metrics) if name]
        whole = [name for name in names if not metrics[name].candidates and metrics[name].better != "neither"]
        if whole:
            least = {task: self._popularity(cell.dataset, task, whole[0]) for task in cell.tasks}
            yield from below_popularity(whole[0], result.means, least, metrics[whole[0]].better == "lower")

    def _popularity(self, dataset: str, task: Task, metric: str) -> float | None:
        key = dataset, task
        if key not in self._popular:
            bound, depth = self.plan.metrics[metric], self.plan.suite.depth
            self._popular[key] = popularity_mean(self.plan.datasets[dataset], task, metric, bound, depth)
        return self._popular[key]

    def implausible(self, cells: Sequence[Cell]) -> Iterator[tuple[Cell, str]]:
        """A remark on every cell whose model is too good to be believed at once, over the whole catalogue and all
        requests; seeds are averaged first."""
        suite = self.plan.suite
        for (name, dataset), task in product(self.plan.datasets.items(), TASKS):
            done = [cell for cell in cells if cell.dataset == name and task in cell.tasks]
            for metric, bound in self.plan.metrics.items() if done else ():
                unknown = bound.candidates or bound.better != "higher"
                best = None if unknown else ceiling(dataset, task, metric, bound, suite.depth)
                if best is None:
                    continue
                fits: dict[str, list[Floats]] = {}
                for cell in done:
                    fits.setdefault(cell.model, []).extend(
                        e.scores.values[metric] for e in self.of(cell) if (e.task, e.slice) == (task, "all")
                    )
                means = {model: np.mean(of, axis=0) for model, of in fits.items() if of}
                for model, remark in implausible(metric, task, means, best, suite.significance.alpha):
                    yield from ((cell, remark) for cell in done if cell.model == model)

    def result(self, cell: Cell, reused: bool = True) -> CellResult | None:
        """How a finished cell ended, None where it has not. One that cannot be scored has failed, alone."""
        folder = CellFolder.of(self.plan.results, cell)
        try:
            record = folder.read(cell, verify=self.plan.verify)
        except DamagedError as error:
            return CellResult("failed", folder.path, error=f"{error}; run again", reused=reused)
        if record is None:
            return None
        try:
            evaluations = self.of(cell)
        except Exception as error:
            return CellResult("failed", folder.path, error=f"not scored: {describe(error)}", reused=reused)
        means: dict[tuple[Task, str, str], float] = {}
        for evaluated in evaluations:
            key = evaluated.task, evaluated.slice
            means |= {(*key, name): float(v.mean()) for name, v in evaluated.scores.values.items() if len(v)}
            means |= {(*key, name): total for name, total in evaluated.scores.totals.items()}
        return CellResult("finished", folder.path, record.facts, record.costs, record.curve, means, reused=reused)


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


def with_lists(plan: Plan, registry: Registry, executor: Offer, warn: Callable[[str], None]) -> Plan:
    """The plan with all candidate lists: those that lie in the results folder, those that chance alone samples, and
    those of models, which are jobs for the executor, as cells are. Raises BenchmarkError where a model fails."""
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
    for folder, error in _run_jobs(executor, work, execution, _unwatched) if work else ():
        name, job = jobs[folder], CellFolder(folder)
        if error := error or job.failure():
            raise BenchmarkError(f"data set '{name}': {error.rstrip('.')}. Its log: {job.log}")
        datasets[name] = with_made_lists(folder, datasets[name])
        remove_folder(folder)
        with contextlib.suppress(OSError):  # there are others
            folder.parent.rmdir()
    return replace(plan, datasets=datasets, lists={})


def _unwatched(folder: Path, phase: str, step: int, total: int, values: Mapping[str, float]) -> None:
    """Progress that nobody is shown."""


def _execute(
    plan: Plan, waiting: Sequence[Cell], executor: Offer, jobs: int | None, watcher: Watcher
) -> Generator[tuple[Cell, str]]:
    cells = {CellFolder.of(plan.results, cell).path: cell for cell in waiting}

    def on_progress(folder: Path, phase: str, step: int, total: int, values: Mapping[str, float]) -> None:
        watcher.progressed(cells[folder], phase, step, total, values)

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
        warn=watcher.warned,
    )
    try:
        with contextlib.closing(_run_jobs(executor, work, execution, on_progress)) as ended:
            for path, error in ended:
                if not error:  # what a process of the cell wrote there after its end
                    remove_folder(CellFolder(path).scratch)
                yield cells[path], error
    finally:
        for cell in waiting:
            leave_shared(dataset_folder(plan.results, cell.dataset, cell.digest))


def _run_jobs(
    executor: Offer, jobs: Sequence[Job], execution: Execution, on_progress: OnProgress
) -> Generator[tuple[Path, str]]:
    """(folder, error) of every job, once, as an executor gives them; one that it has lost ends with an error.

    Raises ContractError where the executor fails or gives something else.
    """
    run, left = plugins.resolve(executor), {job.folder for job in jobs}
    fault = f"{executor} of {executor.plugin}"
    try:
        given = run(jobs, execution, on_progress)
        try:
            for folder, error in given:
                if folder not in left:
                    raise ContractError(f"{fault} gave {folder}, which is not a job of this run or had ended before.")
                left.remove(folder)
                yield folder, error
        finally:
            getattr(given, "close", lambda: None)()
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


def _analyse(plan: Plan, finished: Sequence[Cell], registry: Registry, watcher: Watcher) -> Iterator[Analysis]:
    def folder(cell: Cell) -> CellFolder:
        return CellFolder.of(plan.results, cell)

    def record(cell: Cell) -> CellRecord:
        return folder(cell).read(cell) or CellRecord()

    given = AnalysisInput(
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
                made = analysis(given)
            check_analysis(made)
        except Exception as error:
            watcher.warned(f"analysis '{name}' failed: {error_text(error)}")
        else:
            yield made


def _published(
    suite: Suite, published: Published | None, cell: Cell, task: Task, metric: str, row: str = ""
) -> float | None:
    """What the paper prints for a cell's model, or for the row of that name with more words behind it."""
    if published is None:
        return None
    (data,) = (choice for choice in suite.datasets if choice.name == cell.dataset)
    (model,) = (choice for choice in suite.models if choice.name == cell.model)
    name = f"{model.published_as or model.name} {row}".strip()
    found = published.find(data.published_as or data.name, task, "all", metric, name)
    return found.value if found else None


def _warn(watcher: Watcher, failed: Sequence[tuple[Any, Exception]]) -> None:
    for plugin, error in failed:
        watcher.warned(f"{plugin} failed: {error if isinstance(error, BenchmarkError) else error_text(error)}")


def environment(source: Path) -> dict[str, Any]:
    """Versions, the machine, and the git commit of the suite's folder: what a number must be traceable to."""
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "suite": str(source),
        "git_commit": _git(source.resolve().parent, "rev-parse", "HEAD"),
        "git_dirty": bool(_git(source.resolve().parent, "status", "--porcelain")),
        "packages": dict(
            sorted({d.metadata["Name"]: d.version for d in metadata.distributions() if d.metadata["Name"]}.items())
        ),
    }


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
