"""The plan: a suite and the installed plugins become cells; everything that can be checked is checked here."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import fingerprint, plugins, reproducible
from benchmark.candidates import check_sampler, known_items, listed_digest, with_candidates
from benchmark.errors import BenchmarkError, MissingDataError, unknown
from benchmark.evaluation.claims import check_claims
from benchmark.evaluation.published import Published, load_published
from benchmark.hashing import splitmix
from benchmark.parameters import names_path
from benchmark.plugins import BoundMetric, Kind, Registry
from benchmark.protocol import ProtocolSettings, split_log
from benchmark.suite import NEW, Choice, DataChoice, Named, Sampler, Suite, candidate_list, matches, results_name
from benchmark.types import TASKS, Cell, CellResult, Dataset, Model, Ragged, Ranking, Split, Task


@dataclass(frozen=True)
class Plan:
    """What a run will do: the data sets, read and split; every cell of the suite; those `selected` for this run.

    `results` is the suite's own folder, `marks` what every row must carry (partial, reduced scale), `tracking` the
    MLflow store asked for (empty: the default one, "off": none).
    """

    suite: Suite
    source: Path
    results: Path
    datasets: Mapping[str, Dataset]
    cells: tuple[Cell, ...]
    selected: tuple[Cell, ...]
    metrics: Mapping[str, BoundMetric]
    device: str = "cpu"
    tracking: str = ""
    marks: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    """Modules that the selected models import when they work."""
    unlisted: Mapping[str, Callable[[], Dataset]] = field(default_factory=dict)
    """What makes the data sets whose candidate lists are not made yet. The runner calls it where none are frozen."""
    result: Callable[[Cell], CellResult | None] = lambda cell: None
    """How a cell ended, from disk; None where it has not finished. Set by the runner."""

    @cached_property
    def seconds(self) -> Mapping[Cell, float | None]:
        """The suite's own estimate per cell, None where it states none."""
        stated = {choice.name: choice.seconds for choice in self.suite.models}
        return {cell: stated[cell.model] for cell in self.cells}


def make_plan(
    suite: Suite,
    source: Path,
    registry: Registry,
    results: Path,
    *,
    only: Sequence[str] = (),
    device: str = "auto",
    limit: int | None = None,
    tracking: str = "",
) -> Plan:
    """Check names, parameters, extras, tasks and cut-offs, read the data and list the cells.

    Raises BenchmarkError, one line per mistake, before anything has trained.
    """
    mistakes: list[str] = []
    for data in suite.datasets:
        for task, of in suite.protocol_of(data).candidates.items():
            for sampler in of:
                try:
                    check_sampler(sampler, task, registry)
                except BenchmarkError as error:
                    mistakes.append(str(error))
    if not mistakes:  # a metric over the list of a misspelt sampler would look misspelt itself
        try:
            metrics = check_scoring(suite, source, registry)
        except BenchmarkError as error:
            mistakes.append(str(error))
    params = {}
    kinds: tuple[tuple[Kind, Sequence[Named]], ...] = (("dataset", suite.datasets), ("model", suite.models))
    for kind, choices in kinds:
        for choice in choices:
            try:
                params[kind, choice.name] = plugins.check_params(registry.offer(kind, choice.use), choice.params)
            except BenchmarkError as error:
                mistakes.append(str(error))
    if mistakes:
        raise BenchmarkError("\n".join(dict.fromkeys(mistakes)))
    tasks, needs, untrained, declared = {}, {}, set(), {}
    for choice in suite.models:
        model = plugins.build(registry.offer("model", choice.use), params["model", choice.name])  # checks values, too
        tasks[choice.name] = frozenset(model.tasks)
        untrained |= set() if getattr(model, "needs_training", True) else {choice.name}
        declared[choice.name] = declarations(model)
        needs[choice.name] = [_needed(choice, registry, *need) for need in getattr(model, "needs", ())]
    chosen_device = pick_device(device)
    if suite.reproducible:
        reproducible.check_cpu()
    seeds = {m.name: suite.seeds_of(m.name, declared[m.name]["deterministic"]) for m in suite.models}
    wanted = {
        (d.name, m.name, seed)
        for d in suite.datasets
        for m in suite.models
        if d.wants(m.name)
        for seed in seeds[m.name]
    }
    for pattern in only:
        if not any(_matches([pattern], *key) for key in wanted):
            raise BenchmarkError(
                f"--only '{pattern}' matches no cell. Cells are called DATASET/MODEL/seed-N; see --dry-run."
            )
    picked = {key for key in wanted if _matches(only, *key)}
    requires: set[str] = set()
    for choice in suite.models:
        if any(model == choice.name for _, model, _ in picked):
            for name in (choice.use, *(need["model"] for need in needs[choice.name])):
                offer = registry.offer("model", name)
                plugins.check_requirements(offer)
                requires.update(getattr(plugins.resolve(offer), "requires", ()))
    datasets: dict[str, Dataset] = {}
    unlisted: dict[str, Callable[[], Dataset]] = {}
    missing: dict[str, BenchmarkError] = {}
    for data in suite.datasets:
        offer = registry.offer("dataset", data.use)
        plugins.check_requirements(offer)
        try:
            log = plugins.build(offer, params["dataset", data.name])
        except MissingDataError as error:
            if not data.optional:
                raise
            missing[data.name] = error
            continue
        dataset = split_log(data.name, log, protocol_settings(suite, data))
        if limit is not None:
            dataset = limit_requests(dataset, limit)
        dataset = replace(dataset, digest=digest_of(suite, data, dataset, registry))
        if not asks_for_new(suite):
            dataset = replace(dataset, test={t: replace(split, seen=None) for t, split in dataset.test.items()})
        if not suite.reduced:  # which already says so
            dataset = _sized(dataset, data.published_as or data.name, published_values(suite, source))
        if samplers := samplers_of(suite, data, dataset):
            known = known_items(log, dataset)
            unlisted[data.name] = partial(with_candidates, dataset, known, samplers, registry, suite.threads)
        datasets[data.name] = dataset
    asked = {dataset for dataset, _, _ in picked}
    if not datasets or (asked and asked <= missing.keys()):  # a run of nothing would look like one that went well
        needed = [str(error) for name, error in missing.items() if name in asked or not asked]
        raise BenchmarkError("\n".join(dict.fromkeys(needed)))
    if not missing:  # which may be what the depth is for
        _check_depth(suite, datasets)
    _check_trainable(suite, datasets, untrained)
    timed = any(split.later is not None for dataset in datasets.values() for split in dataset.test.values())
    if "other-day" in suite.slices and datasets and not timed:
        raise BenchmarkError(
            f"slice other-day: {' and '.join(datasets)} cannot say whether a request is later than its history: it "
            "has no times, or its queries have no users. Take the slice out of `slices`."
        )
    if any(dataset.facts.get("reduced") for dataset in datasets.values()):
        suite = suite.model_copy(update={"reduced": True})
    versions = {choice.name: fingerprint.versions(registry.offer("model", choice.use)) for choice in suite.models}
    files = {choice.name: _files(params["model", choice.name]) for choice in suite.models}
    cells = []
    for data in suite.datasets:
        if data.name not in datasets:
            continue
        dataset = datasets[data.name]
        for choice in suite.models:
            if not data.wants(choice.name):
                continue
            answers = tuple(task for task in dataset.tasks if task in tasks[choice.name])
            if not answers:
                raise BenchmarkError(
                    f"model '{choice.name}' does {' and '.join(sorted(tasks[choice.name]))}, but data set "
                    f"'{data.name}' has only {' and '.join(dataset.tasks)}. Take one of them out of the suite."
                )
            identity = {
                "data": dataset.digest,
                "model": choice.use,
                "params": params["model", choice.name],
                "tasks": answers,
                "versions": versions[choice.name],
                "files": files[choice.name],
                **({"needs": needs[choice.name]} if needs[choice.name] else {}),
                "depth": suite.depth,
                "threads": suite.threads,
                "device": chosen_device.partition(":")[0],
                **({"environment": dict(reproducible.ENVIRONMENT)} if suite.reproducible else {}),
            }
            cells += [
                Cell(
                    dataset=data.name,
                    model=choice.name,
                    seed=seed,
                    tasks=answers,
                    fingerprint=_fingerprint({**identity, "seed": seed}),
                    digest=dataset.digest,
                    dataset_use=data.use,
                    dataset_params=params["dataset", data.name],
                    model_use=choice.use,
                    model_params=params["model", choice.name],
                    versions=versions[choice.name],
                    **declared[choice.name],
                )
                for seed in seeds[choice.name]
            ]
    marks = [f"partial: --limit {limit}"] if limit is not None else []
    marks += ["reduced scale"] if suite.reduced else []
    marks += [f"without {name}: its files are not here" for name in missing]
    marks += [f"{name}: {d.facts['remark']}" for name, d in datasets.items() if d.facts.get("remark")]
    return Plan(
        suite=suite,
        source=source,
        results=results / results_name(suite, source, limit),
        datasets=datasets,
        cells=tuple(cells),
        selected=tuple(c for c in cells if (c.dataset, c.model, c.seed) in picked),
        metrics=metrics,
        device=chosen_device,
        tracking=tracking,
        marks=tuple(marks),
        requires=tuple(sorted(requires)),
        unlisted=unlisted,
    )


def _sized(dataset: Dataset, name: str, published: Published | None) -> Dataset:
    """The data set with a remark where it is not as large as the paper's of this name."""
    remark = published.size_remark(name, dataset.facts) if published else ""
    if not remark:
        return dataset
    remarks = [remark for remark in (dataset.facts.get("remark"), remark) if remark]
    return replace(dataset, facts={**dataset.facts, "remark": "; ".join(remarks), "reduced": True})


PADDED_DEPTH = 1_000
"""A ranking may be this deep over fewer items; its last places are then empty, which costs nothing that counts."""


def _check_depth(suite: Suite, datasets: Mapping[str, Dataset]) -> None:
    """Raises BenchmarkError for rankings that are deeper than every data set: empty places in memory and on disk."""
    most = max(len(dataset.train.catalog) for dataset in datasets.values())
    if suite.depth > max(most, PADDED_DEPTH):
        raise BenchmarkError(
            f"depth: {suite.depth:,} items cannot be ranked where there are {most:,}. Set at most that."
        )


def _check_trainable(suite: Suite, datasets: Mapping[str, Dataset], untrained: Collection[str]) -> None:
    """Raises BenchmarkError for models that learn from what a data set does not have."""
    mistakes = []
    for data in suite.datasets:
        dataset = datasets.get(data.name)
        if dataset is None or len(dataset.train.searches.values) or len(dataset.train.histories.values):
            continue
        learn = [choice.name for choice in suite.models if data.wants(choice.name) and choice.name not in untrained]
        if learn:
            mistakes.append(
                f"data set '{data.name}' has nothing to train on (split {dataset.facts['split_search']}: all of its "
                f"queries are tested), which {', '.join(learn)} cannot do without. Give it `models: "
                f"[{', '.join(sorted(untrained)) or 'bm25'}]`, or another split."
            )
    if mistakes:
        raise BenchmarkError("\n".join(mistakes))


def declarations(model: Model) -> dict[str, Any]:
    """What a model says of itself beside its tasks, as a cell holds it: see `Model`."""
    return {
        "deterministic": bool(getattr(model, "deterministic", False)),
        "excludes_history": bool(getattr(model, "excludes_history", False)),
        "built_for": tuple(task for task in TASKS if task in getattr(model, "built_for", model.tasks)),
    }


def check_scoring(suite: Suite, source: Path, registry: Registry) -> dict[str, BoundMetric]:
    """The suite's metrics, ready to be called; claims, published values and analyses are in order too."""
    for name in suite.analyses:
        registry.offer("analysis", name)
    check_claims(suite)
    published_values(suite, source)
    lists = list_names(suite)
    for spec in suite.metrics:
        if candidate_list(spec) == NEW and suite.mask_seen:
            raise BenchmarkError(
                f"metric {spec}: with `mask_seen: true` every ranking leaves out the items of the history. Name the "
                f"metric without |{NEW}, or set `mask_seen: false` to see both."
            )
    return {spec: _checked_metric(spec, registry, suite.depth, lists) for spec in suite.metrics}


def list_names(suite: Suite) -> set[str]:
    """The candidate lists of any of the suite's data sets and tasks, and `NEW` where a metric asks for it."""
    of = [samplers for data in suite.datasets for samplers in suite.protocol_of(data).candidates.values()]
    names = {sampler.list_name for samplers in of for sampler in samplers}
    return names | ({NEW} if asks_for_new(suite) else set())


def asks_for_new(suite: Suite) -> bool:
    """Whether a metric is about recommendation with the items of the history left out."""
    return any(candidate_list(metric) == NEW for metric in suite.metrics)


def published_values(suite: Suite, source: Path) -> Published | None:
    """The published values that the suite names, in a file beside its own."""
    return load_published(source.parent / suite.published) if suite.published else None


def pick_device(device: str) -> str:
    """`auto` is cuda where torch sees one, else cpu. A GPU that is asked for and missing is an error."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise BenchmarkError(f"--device {device}: known are auto, cpu, cuda and cuda:N.")
    # Asking costs a second, so only where the driver is there at all.
    if device == "cpu" or (device == "auto" and not Path("/dev/nvidiactl").exists()):
        return "cpu"
    number = int(device.partition(":")[2] or 0)
    seen = _gpus()
    if number < seen:
        return "cuda" if device == "auto" else device
    if device == "auto":
        return "cpu"
    raise BenchmarkError(f"--device {device}: torch sees {seen} GPUs. Use --device cpu.")


def _gpus() -> int:
    """How many GPUs torch sees, asked in a process of its own: the core imports no torch."""
    code = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return int(done.stdout) if done.returncode == 0 else 0


def limit_requests(dataset: Dataset, n: int) -> Dataset:
    """The same data set with at most `n` test requests per task, chosen by a hash of their ids; its digest says so."""
    if n < 1:
        raise BenchmarkError(f"--limit {n}: at least one request is needed.")

    def first(split: Split) -> Split:
        rows = np.sort(np.argsort(splitmix(split.requests.keys), kind="stable")[:n])
        return split.take(rows)

    digest = hashlib.sha256(f"{dataset.digest} limit {n}".encode()).hexdigest()
    test = {task: first(split) for task, split in dataset.test.items()}
    asked = {f"test_requests_{task}": len(split.requests) for task, split in test.items()}
    return replace(dataset, test=test, digest=digest, facts={**dataset.facts, **asked})


def protocol_settings(suite: Suite, data: DataChoice) -> ProtocolSettings:
    """The protocol of this data set."""
    return ProtocolSettings(**suite.protocol_of(data).model_dump(exclude={"candidates"}), mask_seen=suite.mask_seen)


def samplers_of(suite: Suite, data: DataChoice, dataset: Dataset) -> dict[Task, list[Sampler]]:
    """What makes the candidate lists of a data set, by the tasks that it has."""
    return {task: of for task, of in suite.protocol_of(data).candidates.items() if of and task in dataset.tasks}


def digest_of(suite: Suite, data: DataChoice, dataset: Dataset, registry: Registry) -> str:
    """The digest of a data set that was split, with the further rankings that the suite asks for."""
    samplers, digest = samplers_of(suite, data, dataset), dataset.digest
    if asks_for_new(suite):
        digest = hashlib.sha256(f"{digest} {NEW}".encode()).hexdigest()
    return listed_digest(digest, samplers, _origins(samplers, registry)) if samplers else digest


def _origins(samplers: Mapping[Task, Sequence[Sampler]], registry: Registry) -> dict[str, Any]:
    """The code, the parameters and the files that the lists of models come from."""
    found: dict[str, Any] = {}
    for task, of in samplers.items():
        for sampler in of:
            if sampler.model:
                params = check_sampler(sampler, task, registry)
                code = fingerprint.versions(registry.offer("model", sampler.model))
                found[f"{task} {sampler.list_name}"] = [params, code, _files(params)]
    return found


def _checked_metric(spec: str, registry: Registry, depth: int, lists: Collection[str]) -> BoundMetric:
    metric = registry.metric(spec)
    if metric.candidates and metric.candidates not in lists:
        error = unknown("candidate list", metric.candidates, lists, f"metric {spec}")
        hint = (
            "" if lists else " A suite says them under protocol: candidates: {recommendation: {kind: uniform, n: 99}}."
        )
        raise BenchmarkError(f"{error}{hint}")
    if metric.k is not None and metric.k > depth:
        raise BenchmarkError(
            f"metric {spec} looks at {metric.k} items, but rankings hold {depth}. Set `depth: {metric.k}` in the suite "
            "(every cell is then computed again)."
        )
    # Tried once on one request: a wrong parameter of a metric is better found now than after training.
    one = Ranking(np.arange(depth, dtype=np.int32)[None], np.arange(depth, 0, -1, dtype=np.float32)[None])
    try:
        metric(one, Ragged.from_rows([[0]]), np.ones(depth, dtype=np.int64))
    except BenchmarkError:
        raise
    except Exception as error:
        raise BenchmarkError(f"metric {spec} cannot be computed: {type(error).__name__}: {error}") from error
    return metric


def _needed(choice: Choice, registry: Registry, model: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """A model whose item embeddings another one asks for: its name, parameters and code, for the fingerprint."""
    try:
        offer = registry.offer("model", model)
        params = plugins.check_params(offer, params)
        plugins.build(offer, params)
    except BenchmarkError as error:
        raise BenchmarkError(f"model '{choice.name}' asks for item embeddings. {error}") from error
    if not hasattr(plugins.resolve(offer), "item_embeddings"):
        raise BenchmarkError(f"model '{choice.name}' asks for item embeddings of '{model}', which offers none.")
    return {"model": model, "params": params, "versions": fingerprint.versions(offer)}


def _matches(patterns: Sequence[str], dataset: str, model: str, seed: int) -> bool:
    names = (f"{dataset}/{model}/seed-{seed}", f"{dataset}/{model}", model, dataset)
    return not patterns or any(matches(name, patterns) for name in names)


def _files(params: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """Name, size and time of every file that a parameter points to: a checkpoint trained again is another one.

    See `names_path`."""
    paths = [Path(os.path.expanduser(v)) for v in params.values() if isinstance(v, str) and names_path(v)]
    files = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*")))]
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]


def _fingerprint(identity: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
