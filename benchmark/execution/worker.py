"""What a cell is: load the data set, build and fit the model, rank, write; as a command, `python -m … worker FOLDER`.

The folder holds `spec.json`, so any batch system can run a cell. Nothing is returned: results are files, and
`cell.json` says that they are whole.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import plugins, reproducible
from benchmark.contract import Context, Costs, Model, check_ranking, variants
from benchmark.data.ranking import Ranking
from benchmark.data.types import Requests, Split
from benchmark.errors import BenchmarkError, ContractError, reason
from benchmark.execution.embeddings import Embeddings
from benchmark.execution.lists import make_lists
from benchmark.execution.machine import machine
from benchmark.execution.progress import Progress
from benchmark.execution.server import ForkServer
from benchmark.isolation import contained, frozen
from benchmark.parameters import absolute_paths
from benchmark.plugins import Registry
from benchmark.results.cells import CellFolder, CellRecord, Spec
from benchmark.results.datasets import load_dataset
from benchmark.results.files import json_size, remove_folder
from benchmark.results.lists import is_list_job, read_list_job
from benchmark.results.scratch import WORK, shared_folder
from benchmark.suite.schema import NEW

BATCH = 1024
"""Requests per call of `rank`: bounds the memory of a full-catalogue score matrix and shows progress."""


MOST_BYTES = 1_000_000
"""Of a cell's facts, and of its learning curve, as JSON."""


def worker_environment(threads: int, same_everywhere: bool) -> dict[str, str]:
    """The variables that numerical libraries read when they are loaded: a worker is started with them."""
    count = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    return {**count, **(reproducible.ENVIRONMENT if same_everywhere else {})}


def command(folder: Path) -> tuple[str, ...]:
    """What computes the cell of this folder, in any process: see `benchmark.jobs.Job`."""
    return sys.executable, "-m", "benchmark.execution.worker", str(folder.absolute())


def run_cell(folder: Path, progress: Progress | None = None) -> None:
    """Compute the cell whose spec lies in `folder`, unless it is finished; another process doing the same is waited
    for.

    The model works in a scratch folder outside the results, which is its working directory too, and is given the test
    requests without their answers: nothing that it holds leads to these. Any exception is the model's, or the disk's;
    it is left to the caller, and nothing then looks finished.
    """
    import threadpoolctl

    files = CellFolder(folder.resolve())
    spec = files.read_spec()
    with files.locked(), threadpoolctl.threadpool_limits(spec.threads):
        if files.is_finished(spec.cell):
            return
        files.begin()
        if spec.reproducible:
            reproducible.hold(os.environ)
        scratch = files.scratch
        workdir = scratch / WORK
        workdir.mkdir(parents=True, exist_ok=True)
        registry = plugins.load()
        params = absolute_paths(spec.cell.model_params)
        _listeners.append(progress or (lambda phase, step, total, values: None))
        try:
            with shared_folder(spec.dataset) as shared, contextlib.chdir(workdir):
                model: Model = plugins.build(registry.offer("model", spec.cell.model_use), params)
                _compute(files, spec, model, registry, workdir, shared)
        finally:
            _listeners.pop()
        remove_folder(scratch)


def _compute(files: CellFolder, spec: Spec, model: Model, registry: Registry, workdir: Path, shared: Path) -> None:
    """Fit, rank, write all that the cell leaves."""
    cell, tell = spec.cell, _listeners[-1]
    dataset = load_dataset(spec.dataset, answers=False)
    n_items = len(dataset.train.catalog)
    # What an interrupted fit left there may shorten this one, so its seconds would mislead.
    resumed = any(workdir.iterdir())
    context = Context(spec.cell.seed, spec.device, workdir, spec.threads, on_progress=_fitted, shared=shared)
    embeddings = Embeddings(dataset, registry, context)
    context.embed = embeddings
    started = time.perf_counter()
    valid = {task: split for task, split in dataset.valid.items() if task in cell.tasks}
    with contained():
        model.fit(frozen(dataset.train), frozen(valid), context)
    fit_seconds = time.perf_counter() - started - embeddings.waited
    _check_left(context)  # what would be refused at the end is refused before anything is ranked
    rank_seconds, answered = 0.0, 0
    for task in cell.tasks:
        requests = dataset.test[task].requests
        started = time.perf_counter()
        ranking = _rank(model.rank, requests, spec.depth, n_items, tell)
        rank_seconds += time.perf_counter() - started
        answered += len(requests)
        files.save_ranking(task, requests, ranking)
    lists = {task: dict(_further(dataset.test[task])) for task in cell.tasks}
    for task in cell.tasks:
        for name, requests in lists[task].items():
            few = spec.depth if requests.candidates is None else requests.candidates.lengths.max(initial=1)
            ranking = _rank(model.rank, requests, min(spec.depth, int(few)), n_items, tell)
            files.save_ranking(task, requests, _widened(ranking, spec.depth), name)
    # Before the variants, which do not count in what a model costs.
    peak_memory, broken = _peak_memory(spec.device), dict[str, str]()
    for task in cell.tasks:
        requests = dataset.test[task].requests
        for variant in variants(model):
            rank = partial(model.rank_variant, variant)  # type: ignore[attr-defined]
            if variant in broken:
                continue
            try:
                if variant == NEW or any(variant in names for names in lists.values()):
                    raise ContractError(f"'{variant}' is the name of a candidate list; call the variant otherwise")
                ranking = _rank(rank, requests, spec.depth, n_items, tell, variant)
            except Exception as error:  # what was trained and ranked is worth more than its variants
                traceback.print_exc()
                broken[variant] = reason(error)
                continue
            files.save_ranking(task, requests, ranking, variant)
    if broken:
        context.record("variants_failed", broken)
    _check_left(context)
    costs = Costs(
        fit_seconds=None if resumed else fit_seconds,
        rank_seconds=rank_seconds,
        milliseconds_per_request=1000 * rank_seconds / max(answered, 1),
        peak_memory_bytes=peak_memory,
        embeddings_seconds=embeddings.seconds,
        **{name: _number(context.facts.get(name)) for name in ("parameters", "updates", "examples")},
    )
    ranked = {task: list(names) for task, names in lists.items()}
    whole = [variant for variant in variants(model) if variant not in broken]
    files.finish(cell, CellRecord(context.facts, context.curve, ranked, whole, machine(spec.threads), costs))


def _check_left(context: Context) -> None:
    """Raises ContractError, naming the fact or the point of the curve, for what no report could show: a value that is
    not JSON or not finite, and facts or points of more than `MOST_BYTES` together."""
    facts = [(f"the fact '{name}'", value) for name, value in context.facts.items()]
    points = [(f"the learning curve at step {point.get('step')}", point) for point in context.curve]
    for whole, parts in (("facts", facts), ("points of the learning curve", points)):
        sizes = [(json_size(value, name), name) for name, value in parts]
        if (total := sum(size for size, _ in sizes)) > MOST_BYTES:
            size, name = max(sizes)
            raise ContractError(
                f"the {whole} take {total:,} bytes as JSON, {name} alone {size:,}; at most {MOST_BYTES:,} are kept. "
                "Record a summary."
            )
    remarks = context.facts.get("remarks", [])
    if not isinstance(remarks, list) or not all(isinstance(remark, str) for remark in remarks):
        raise ContractError("the fact 'remarks' is the list that Context.remark writes; record under another name")
    if not isinstance(context.facts.get("variants_failed", {}), dict):
        raise ContractError("the fact 'variants_failed' is the harness's own; record under another name")


_listeners: list[Progress] = []
"""Who is told how the cell that runs here goes. A function that held on to them would lead a model to the plan."""


def _fitted(step: int, total: int, values: Mapping[str, float]) -> None:
    _listeners[-1]("fit", step, total, values)


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) else None


def _further(split: Split) -> Iterator[tuple[str, Requests]]:
    """What is ranked beside the whole catalogue, by name: each candidate list, and what is new to the user."""
    for name, candidates in split.candidates.items():
        yield name, replace(split.requests, candidates=candidates)
    if split.seen is not None:
        yield NEW, replace(split.requests, exclude=split.seen)


def _rank(
    rank: Callable[[Requests, int], Ranking],
    requests: Requests,
    depth: int,
    n_items: int,
    tell: Progress,
    variant: str = "",
) -> Ranking:
    """Rank in batches; each is checked, so that a broken model ends here and names the request.

    The model is given copies, and may use its own arrays again for the next batch. The ranking of a `variant` may hold
    items that are excluded or no candidates.
    """
    out = Ranking.empty(len(requests), depth)
    for start in range(0, len(requests), BATCH):
        rows = np.arange(start, min(start + BATCH, len(requests)))
        with contained():
            part = rank(frozen(requests.take(rows)), depth)
        batch = requests.take(rows)
        if variant:
            check_ranking(part, batch.unlimited(), depth, n_items, f"the variant '{variant}'")
        else:
            check_ranking(part, batch, depth, n_items)
        width = part.items.shape[1]
        out.items[rows, :width], out.scores[rows, :width] = part.items, part.scores
        tell("rank", start + len(rows), len(requests), {})
    return out


def _widened(ranking: Ranking, depth: int) -> Ranking:
    missing = depth - ranking.items.shape[1]
    if not missing:
        return ranking
    return Ranking(
        np.pad(ranking.items, ((0, 0), (0, missing)), constant_values=-1),
        np.pad(ranking.scores, ((0, 0), (0, missing)), constant_values=-np.inf),
    )


def _peak_memory(device: str) -> int:
    """Bytes: what torch allocated on the GPU where the cell ran on one, else the largest resident set of the
    process."""
    torch = sys.modules.get("torch")
    if device.startswith("cuda") and torch is not None:
        return int(torch.cuda.max_memory_allocated(device))
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def run_and_record(folder: Path, progress: Progress | None = None) -> str:
    """`run_cell`, or `make_lists` where the folder holds that job, with a failure written to `failure.json` and its
    traceback to stderr; gives the error, "" for none."""
    try:
        if is_list_job(folder):
            make_lists(folder)
        else:
            run_cell(folder, progress)
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        text = reason(error)
        try:
            CellFolder(folder).fail(text)
        except OSError as disk:
            text = f"{text} (and the failure could not be written: {disk})"
        return text
    return ""


def _alone(folder: Path) -> str:
    """`run_and_record` in a process forked from this one, which keeps it to the limits that its spec states."""
    server = ForkServer(run_and_record)
    server.start(folder.resolve(), log=False)
    while not (ended := server.step()):
        pass
    return ended[0][1]


def main() -> int:
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m benchmark.execution.worker CELL_FOLDER\n")
        return 2
    folder = Path(sys.argv[1])
    with contextlib.suppress(BenchmarkError):  # of a folder without a job, which run_and_record reports
        spec = read_list_job(folder) if is_list_job(folder) else CellFolder(folder).read_spec()
        wanted = worker_environment(spec.threads, spec.reproducible)
        if not wanted.items() <= os.environ.items():  # numpy is loaded already: start over, in the same process
            os.execve(sys.executable, command(folder), {**os.environ, **wanted})
    error = _alone(folder)
    sys.stderr.write(f"error: {error}\n" if error else "")
    return 1 if error else 0


if __name__ == "__main__":
    sys.exit(main())
