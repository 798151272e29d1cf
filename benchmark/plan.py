"""The plan: a suite and the installed plugins become cells; everything that can be checked is checked here."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import fingerprint, plugins, reproducible
from benchmark.candidates import Lists, check_sampler, known_items, listed_digest
from benchmark.contract import Cell, Model, Run
from benchmark.data.hashing import splitmix
from benchmark.data.protocol import Sampler
from benchmark.data.ragged import Ragged
from benchmark.data.ranking import Ranking
from benchmark.data.split import split_log
from benchmark.data.types import TASKS, Dataset, Split, Task
from benchmark.errors import BenchmarkError, MissingDataError, unknown
from benchmark.evaluation.claims import check_claims
from benchmark.isolation import frozen
from benchmark.metric import BoundMetric, parse_metric
from benchmark.parameters import names_path
from benchmark.plugins import Kind, Offer, Registry
from benchmark.suite.load import results_name
from benchmark.suite.published import Published, load_published
from benchmark.suite.schema import NEW, DatasetEntry, ModelEntry, Named, Suite, matches


@dataclass(frozen=True, kw_only=True)
class Plan(Run):
    """What a run will do, and what it takes: `metrics` ready to be called, the modules that the selected models
    import when they work (`requires`), and the candidate `lists` that are to be made, by data set.

    With `verify`, all files of the results are hashed, the large ones too, which are otherwise known by size and time.
    """

    metrics: Mapping[str, BoundMetric]
    requires: tuple[str, ...] = ()
    lists: Mapping[str, Lists] = field(default_factory=dict)
    verify: bool = False

    @cached_property
    def run(self) -> Run:
        """What observers are given."""
        run: Run = frozen(Run(**{part.name: getattr(self, part.name) for part in fields(Run)}))
        return run


@dataclass(frozen=True)
class CheckedModel:
    """A model of the suite, as its plugin and its parameters make it: what is known before any data is read."""

    entry: ModelEntry
    offer: Offer
    params: Mapping[str, Any]
    tasks: frozenset[Task]
    needs: Sequence[Mapping[str, Any]]
    """The models whose item embeddings it asks for: name, parameters and code."""
    needs_training: bool
    declared: Mapping[str, Any]
    seeds: Sequence[int]


@dataclass(frozen=True)
class Checked:
    """What a suite means with these plugins."""

    metrics: Mapping[str, BoundMetric]
    models: tuple[CheckedModel, ...]
    dataset_params: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Data:
    """The data sets of a suite, read and split, without their candidate `lists`. `missing` are optional ones whose
    files are not here."""

    datasets: Mapping[str, Dataset]
    lists: Mapping[str, Lists]
    missing: Mapping[str, BenchmarkError]


Key = tuple[str, str, int]
"""Data set, model, seed: what a cell is called."""


def make_plan(
    suite: Suite,
    source: Path,
    registry: Registry,
    results: Path,
    *,
    only: Sequence[str] = (),
    device: str = "auto",
    limit: int | None = None,
    options: Sequence[str] = (),
) -> Plan:
    """Check names, parameters, extras, tasks and cut-offs, read the data and list the cells.

    Raises BenchmarkError, one line per mistake, before anything has trained.
    """
    values = plugins.plugin_options(registry, options)
    checked = check(suite, source, registry)
    device = pick_device(device)
    if suite.reproducible:
        reproducible.check_cpu()
    picked = _pick(suite, checked, only)
    requires = _requirements(checked, registry, {model for _, model, _ in picked})
    data = read(suite, source, registry, checked, {dataset for dataset, _, _ in picked}, limit)
    if any(dataset.facts.get("reduced") for dataset in data.datasets.values()):
        suite = suite.model_copy(update={"reduced": True})
    every = make_cells(suite, checked, data.datasets, device)
    marks = [f"partial: --limit {limit}"] if limit is not None else []
    marks += ["reduced scale"] if suite.reduced else []
    marks += [f"without {name}: its files are not here" for name in data.missing]
    marks += [f"{name}: {d.facts['remark']}" for name, d in data.datasets.items() if d.facts.get("remark")]
    return Plan(
        suite=suite,
        source=source,
        results=results / results_name(suite, source, limit),
        datasets=data.datasets,
        cells=every,
        selected=tuple(cell for cell in every if (cell.dataset, cell.model, cell.seed) in picked),
        metrics=checked.metrics,
        device=device,
        options=values,
        marks=tuple(marks),
        requires=requires,
        lists=data.lists,
    )


def check(suite: Suite, source: Path, registry: Registry) -> Checked:
    """What can be checked without data: names, parameters, metrics, lists, claims. Raises BenchmarkError, one line per
    mistake."""
    mistakes: list[str] = []

    def attempt(action: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return action(*arguments)
        except BenchmarkError as error:
            mistakes.append(str(error))

    for data in suite.datasets:
        for task, samplers in suite.protocol_of(data).candidates.items():
            for sampler in samplers:
                attempt(check_sampler, sampler, task, registry)
    # A metric over the list of a misspelt sampler would look misspelt itself.
    metrics = {} if mistakes else attempt(check_scoring, suite, source, registry)
    datasets = {data.name: attempt(_params, registry, "dataset", data) for data in suite.datasets}
    params = {entry.name: attempt(_params, registry, "model", entry) for entry in suite.models}
    if mistakes:
        raise BenchmarkError("\n".join(dict.fromkeys(mistakes)))
    models = tuple(_checked_model(suite, entry, params[entry.name], registry) for entry in suite.models)
    return Checked(metrics, models, datasets)


def _params(registry: Registry, kind: Kind, named: Named) -> dict[str, Any]:
    return plugins.check_params(registry.offer(kind, named.use), named.params)


def _checked_model(suite: Suite, entry: ModelEntry, params: Mapping[str, Any], registry: Registry) -> CheckedModel:
    offer = registry.offer("model", entry.use)
    model = plugins.build(offer, params)  # which checks values, too
    declared = declarations(model)
    return CheckedModel(
        entry,
        offer,
        params,
        frozenset(model.tasks),
        [_needed(entry, registry, *need) for need in getattr(model, "needs", ())],
        getattr(model, "needs_training", True),
        declared,
        suite.seeds_of(entry.name, declared["deterministic"]),
    )


def _pick(suite: Suite, checked: Checked, only: Sequence[str]) -> set[Key]:
    """The cells that `--only` asks for. Raises BenchmarkError for a pattern that fits none."""
    keys = {
        (data.name, model.entry.name, seed)
        for data in suite.datasets
        for model in checked.models
        if data.wants(model.entry.name)
        for seed in model.seeds
    }
    for pattern in only:
        if not any(_matches([pattern], *key) for key in keys):
            raise BenchmarkError(
                f"--only '{pattern}' matches no cell. Cells are called DATASET/MODEL/seed-N; see --dry-run."
            )
    return {key for key in keys if _matches(only, *key)}


def _requirements(checked: Checked, registry: Registry, names: Collection[str]) -> tuple[str, ...]:
    """The modules that the models of these names import when they work. Raises BenchmarkError, with the pip command,
    where one is not installed."""
    requires: set[str] = set()
    for model in checked.models:
        if model.entry.name in names:
            for offer in (model.offer, *(registry.offer("model", need["model"]) for need in model.needs)):
                plugins.check_requirements(offer)
                requires.update(getattr(plugins.resolve(offer), "requires", ()))
    return tuple(sorted(requires))


def read(
    suite: Suite, source: Path, registry: Registry, checked: Checked, asked: Collection[str], limit: int | None
) -> Data:
    """Read and split the data sets. Raises BenchmarkError where the files of one are missing that is not optional, of
    all that are `asked` for, or where the suite asks for what the data does not have."""
    published = None if suite.reduced else published_values(suite, source)
    datasets: dict[str, Dataset] = {}
    lists: dict[str, Lists] = {}
    missing: dict[str, BenchmarkError] = {}
    for entry in suite.datasets:
        offer = registry.offer("dataset", entry.use)
        plugins.check_requirements(offer)
        try:
            log = plugins.build(offer, checked.dataset_params[entry.name])
        except MissingDataError as error:
            if not entry.optional:
                raise
            missing[entry.name] = error
            continue
        dataset = split_log(entry.name, log, suite.protocol_of(entry))
        if limit is not None:
            dataset = limit_requests(dataset, limit)
        dataset = replace(dataset, digest=digest_of(suite, entry, dataset, registry))
        if not asks_for_new(suite):
            dataset = replace(dataset, test={t: replace(split, seen=None) for t, split in dataset.test.items()})
        if not suite.reduced:  # which already says so
            dataset = _sized(dataset, entry.published_as or entry.name, published)
        if samplers := samplers_of(suite, entry, dataset):
            lists[entry.name] = Lists(known_items(log, dataset), samplers, suite.threads)
        datasets[entry.name] = dataset
    if not datasets or (asked and set(asked) <= missing.keys()):  # a run of nothing would look like one that went well
        needed = [str(error) for name, error in missing.items() if name in asked or not asked]
        raise BenchmarkError("\n".join(dict.fromkeys(needed)))
    if not missing:  # which may be what the depth is for
        _check_depth(suite, datasets)
    _check_trainable(suite, datasets, [model.entry.name for model in checked.models if not model.needs_training])
    _check_times(suite, datasets)
    return Data(datasets, lists, missing)


def make_cells(suite: Suite, checked: Checked, datasets: Mapping[str, Dataset], device: str) -> tuple[Cell, ...]:
    """Every cell of the suite, with the fingerprint of all that its numbers depend on. Raises BenchmarkError for a
    model that does none of a data set's tasks."""
    versions = {model.entry.use: fingerprint.versions(model.offer) for model in checked.models}
    files = {model.entry.name: _files(model.params) for model in checked.models}
    cells = []
    for data in suite.datasets:
        dataset = datasets.get(data.name)
        for model in checked.models:
            entry = model.entry
            if dataset is None or not data.wants(entry.name):
                continue
            answers = tuple(task for task in dataset.tasks if task in model.tasks)
            if not answers:
                raise BenchmarkError(
                    f"model '{entry.name}' does {' and '.join(sorted(model.tasks))}, but data set '{data.name}' has "
                    f"only {' and '.join(dataset.tasks)}. Take one of them out of the suite."
                )
            identity = {
                "data": dataset.digest,
                "model": entry.use,
                "params": model.params,
                "tasks": answers,
                "versions": versions[entry.use],
                "files": files[entry.name],
                **({"needs": model.needs} if model.needs else {}),
                "depth": suite.depth,
                "threads": suite.threads,
                "device": device.partition(":")[0],
                **({"environment": dict(reproducible.ENVIRONMENT)} if suite.reproducible else {}),
            }
            cells += [
                Cell(
                    dataset=data.name,
                    model=entry.name,
                    seed=seed,
                    tasks=answers,
                    fingerprint=_fingerprint({**identity, "seed": seed}),
                    digest=dataset.digest,
                    dataset_use=data.use,
                    dataset_params=checked.dataset_params[data.name],
                    model_use=entry.use,
                    model_params=model.params,
                    versions=versions[entry.use],
                    **model.declared,
                )
                for seed in model.seeds
            ]
    return tuple(cells)


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
        learn = [entry.name for entry in suite.models if data.wants(entry.name) and entry.name not in untrained]
        if learn:
            mistakes.append(
                f"data set '{data.name}' has nothing to train on (split {dataset.facts['split_search']}: all of its "
                f"queries are tested), which {', '.join(learn)} cannot do without. Give it `models: "
                f"[{', '.join(sorted(untrained)) or 'bm25'}]`, or another split."
            )
    if mistakes:
        raise BenchmarkError("\n".join(mistakes))


def _check_times(suite: Suite, datasets: Mapping[str, Dataset]) -> None:
    """Raises BenchmarkError for the slice `other-day` where no data set has times."""
    timed = any(split.later is not None for dataset in datasets.values() for split in dataset.test.values())
    if "other-day" in suite.slices and datasets and not timed:
        raise BenchmarkError(
            f"slice other-day: {' and '.join(datasets)} cannot say whether a request is later than its history: it "
            "has no times, or its queries have no users. Take the slice out of `slices`."
        )


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
        if parse_metric(spec).candidates == NEW and all(suite.protocol_of(data).mask_seen for data in suite.datasets):
            raise BenchmarkError(
                f"metric {spec}: with `mask_seen: true` every ranking leaves out the items of the history. Name the "
                f"metric without |{NEW}, or set `mask_seen: false` in the protocol to see both."
            )
    return {spec: _checked_metric(spec, registry, suite.depth, lists) for spec in suite.metrics}


def list_names(suite: Suite) -> set[str]:
    """The candidate lists of any of the suite's data sets and tasks, and `NEW` where a metric asks for it."""
    chosen = [samplers for data in suite.datasets for samplers in suite.protocol_of(data).candidates.values()]
    names = {sampler.list_name for samplers in chosen for sampler in samplers}
    return names | ({NEW} if asks_for_new(suite) else set())


def asks_for_new(suite: Suite) -> bool:
    """Whether a metric is about recommendation with the items of the history left out."""
    return any(parse_metric(metric).candidates == NEW for metric in suite.metrics)


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


def samplers_of(suite: Suite, data: DatasetEntry, dataset: Dataset) -> dict[Task, list[Sampler]]:
    """What makes the candidate lists of a data set, by the tasks that it has."""
    return {task: of for task, of in suite.protocol_of(data).candidates.items() if of and task in dataset.tasks}


def digest_of(suite: Suite, data: DatasetEntry, dataset: Dataset, registry: Registry) -> str:
    """The digest of a data set that was split, with the further rankings that the suite asks for."""
    samplers, digest = samplers_of(suite, data, dataset), dataset.digest
    if asks_for_new(suite):
        digest = hashlib.sha256(f"{digest} {NEW}".encode()).hexdigest()
    return listed_digest(digest, samplers, _origins(samplers, registry)) if samplers else digest


def _origins(samplers: Mapping[Task, Sequence[Sampler]], registry: Registry) -> dict[str, Any]:
    """The code, the parameters and the files that the lists of models come from."""
    origins: dict[str, Any] = {}
    for task, chosen in samplers.items():
        for sampler in chosen:
            if sampler.model:
                params = check_sampler(sampler, task, registry)
                code = fingerprint.versions(registry.offer("model", sampler.model))
                origins[f"{task} {sampler.list_name}"] = [params, code, _files(params)]
    return origins


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
        value = metric(one, Ragged.from_rows([[0]]), np.ones(depth, dtype=np.int64))
    except BenchmarkError:
        raise
    except Exception as error:
        raise BenchmarkError(f"metric {spec} cannot be computed: {type(error).__name__}: {error}") from error
    return replace(metric, better=metric.better or ("higher" if np.ndim(value) else "neither"))


def _needed(entry: ModelEntry, registry: Registry, model: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """A model whose item embeddings another one asks for: its name, parameters and code, for the fingerprint."""
    try:
        offer = registry.offer("model", model)
        params = plugins.check_params(offer, params)
        plugins.build(offer, params)
    except BenchmarkError as error:
        raise BenchmarkError(f"model '{entry.name}' asks for item embeddings. {error}") from error
    if not hasattr(plugins.resolve(offer), "item_embeddings"):
        raise BenchmarkError(f"model '{entry.name}' asks for item embeddings of '{model}', which offers none.")
    return {"model": model, "params": params, "versions": fingerprint.versions(offer)}


def _matches(patterns: Sequence[str], dataset: str, model: str, seed: int) -> bool:
    names = (f"{dataset}/{model}/seed-{seed}", f"{dataset}/{model}", model, dataset)
    return not patterns or any(matches(name, patterns) for name in names)


def _files(params: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """Name, size and time of every file that a parameter points to: a checkpoint trained again is another one.

    See `names_path`."""
    paths = [Path(os.path.expanduser(v)) for v in params.values() if isinstance(v, str) and names_path(v)]
    paths = [path for path in paths if os.path.exists(path)]
    files = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*")))]
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]


def _fingerprint(identity: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
