"""The only module that knows paths under results/: what is written, where, and how it is read again.

A file is written under a temporary name, flushed and renamed, so that a crash leaves nothing that looks finished;
a cell is finished when `cell.json`, written last, is there and names the cell's fingerprint. `cell.json` and
`dataset.json` list the other files of their folders with their sha256, which are verified before they are read.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import math
import os
import re
import shutil
import statistics
import tempfile
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark.errors import BenchmarkError, ContractError
from benchmark.suite import Suite
from benchmark.suite_file import parse_yaml
from benchmark.types import (
    TASKS,
    Catalog,
    Cell,
    Dataset,
    Events,
    Ragged,
    Ranking,
    Requests,
    SampledList,
    Scores,
    Split,
    Strings,
    Task,
    Train,
)

if TYPE_CHECKING:
    import pyarrow as pa


# ---------------------------------------------------------------- paths


def cell_folder(results: Path, cell: Cell) -> Path:
    return (
        results / "cells" / safe_name(cell.dataset) / safe_name(cell.model) / f"seed-{cell.seed}-{cell.fingerprint[:8]}"
    )


def dataset_folder(results: Path, name: str, digest: str) -> Path:
    return results / "datasets" / f"{safe_name(name, 246)}-{digest[:8]}"


def scratch_folder(folder: Path) -> Path:
    """The working folder of a cell, or of the cells of a data set: always the same one in the temporary directory.

    It is outside the results, so that a model cannot find answers: neither the folder nor its neighbours, parents or
    name lead to the results.
    """
    home = Path(tempfile.gettempdir(), f"benchmark-{os.getuid()}")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if home.stat().st_uid != os.getuid():
        raise BenchmarkError(f"{home} belongs to another user; set TMPDIR to a folder of your own.")
    return home / hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:32]


def safe_name(name: str, room: int = 255) -> str:
    """A file name of at most `room` bytes for any name; a longer one is cut and gets a hash."""
    quoted = urllib.parse.quote(name, safe="[]()+=, ")
    if len(quoted) > room:
        beginning = re.sub(r"%[0-9A-F]?$", "", quoted[:60])
        return f"{beginning}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return quoted.replace(".", "%2E") if set(quoted) <= {"."} else quoted


# ---------------------------------------------------------------- writing without half-written files


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path next to `path`, which it replaces when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.{os.getpid()}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename in this folder survive a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=_plain) + "\n")


def json_size(value: Any, name: str) -> int:
    """The bytes of a value as JSON. Raises ContractError, with its name, where it is not JSON, or holds a number that
    is not finite or too large for a float."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=_plain, allow_nan=False)
        json.loads(text, parse_int=_bounded)
        return len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise ContractError(f"{name} is not finite JSON: {error}") from None


def _bounded(digits: str) -> None:
    if not math.isfinite(float(digits)):
        raise ValueError(f"an integer of {len(digits)} digits is too large")


def _stated(digits: str) -> float | None:
    """A number of a JSON file; None if it is infinite, or too large for a float."""
    value = float(digits)
    return (int(digits) if digits.lstrip("-").isdigit() else value) if math.isfinite(value) else None


def _parse(text: str) -> Any:
    """A JSON text in which numbers that are not finite are None: not stated."""
    return json.loads(text, parse_int=_stated, parse_float=_stated, parse_constant=lambda name: None)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def _write_table(path: Path, columns: Mapping[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with replacing(path) as temporary:
        pq.write_table(pa.table(dict(columns)), temporary, compression="zstd")


def _read_table(path: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DamagedError(f"{path.name} cannot be read ({error})") from error


@contextlib.contextmanager
def locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a folder's lock, waiting for another process that has it. A dead holder's lock is free.

    Raises BlockingIOError where another process has it and this one is not to `wait`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def sweep_temporary(folder: Path) -> None:
    """Remove the temporary files of killed writers, whose process numbers are in the names."""
    for path in folder.glob(".*.*.*"):
        writer = path.name.split(".")[-2]
        if writer.isdigit() and not Path("/proc", writer).exists():
            path.unlink(missing_ok=True)


# ---------------------------------------------------------------- checksums

LARGE = 16 * 2**20
"""Bytes; a larger file is hashed only if its size or time differ from the recorded ones."""


class DamagedError(BenchmarkError):
    """A file of the results is missing, or not what was written."""


class _File(BaseModel):
    """The record of a file: `modified` is its time in nanoseconds."""

    model_config = ConfigDict(strict=True)
    sha256: str
    bytes: int
    modified: int


def checksums(folder: Path, names: Iterable[str]) -> dict[str, Any]:
    """The records of a folder's files, for `check_files`."""
    files = {}
    for name in sorted(names):
        state = (folder / name).stat()
        files[name] = {"sha256": _sha256(folder / name), "bytes": state.st_size, "modified": state.st_mtime_ns}
    return files


def check_files(folder: Path, files: Mapping[str, Any], source: str, *, verify: bool = False) -> None:
    """Raises DamagedError for a file that is missing or differs from its record in the folder's file `source`.

    A large one is hashed only if its time differs, as in a copied folder, or with `verify`.
    """
    for name, noted in files.items():
        path = folder / name
        try:
            state = path.stat()
            if state.st_size != noted["bytes"]:
                raise DamagedError(f"{name} is damaged: its size is not what {source} says")
            if state.st_size > LARGE and not verify and state.st_mtime_ns == noted["modified"]:
                continue
            if _sha256(path) != noted["sha256"]:
                raise DamagedError(f"{name} is damaged: its sha256 is not what {source} says")
        except FileNotFoundError:
            raise DamagedError(f"{name} is missing") from None
        except OSError as error:
            raise DamagedError(f"{name} cannot be read ({error.strerror})") from error


def _sha256(path: Path) -> str:
    state = path.stat()
    return _hashed(path, state.st_size, state.st_mtime_ns, state.st_ctime_ns)


@functools.cache
def _hashed(path: Path, *state: int) -> str:
    """The sha256 of a file, computed once per process while its size and times stay the same."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object with the sha256 of its content."""
    plain = _parse(json.dumps(value, default=_plain))
    write_json(path, {**plain, "sha256": _seal(plain)})


def _seal(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _read_sealed(path: Path, shape: type[BaseModel]) -> dict[str, Any]:
    """A file of `_write_sealed`, or of an older version without a sha256. Raises DamagedError if it is missing, was
    changed, or has another shape."""
    try:
        text = path.read_text(encoding="utf-8")
        value = _parse(text)
        if isinstance(value, dict) and "sha256" in value and value.pop("sha256") != _seal(value):
            raise DamagedError(f"{path.name} is damaged: its sha256 is not what it says")
        shape.model_validate(value)
    except FileNotFoundError:
        raise DamagedError(f"{path.name} is missing") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise DamagedError(f"{path.name} is damaged: {place + ': ' * bool(place)}{first['msg']}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedError(f"{path.name} is damaged: {error}") from None
    return dict(value)


# ---------------------------------------------------------------- data sets

LAYOUT = 3
"""Of a data set's folder: since 2 the relevant items of the test are apart, in `answers/`, which no cell reads; since 3
`dataset.json` lists all files."""


class _Head(BaseModel):
    """What `dataset.json` says. An older version wrote no sums, before that no lists, and before that no layout: the
    answers then stand among the requests."""

    model_config = ConfigDict(strict=True)
    layout: int = 1
    name: str
    digest: str
    facts: dict[str, Any]
    max_history: int | None
    max_prefixes_per_user: int | None
    valid: list[Task]
    test: list[Task]
    candidates: dict[Task, list[str]] = {}
    files: dict[str, _File] = {}


def save_dataset(folder: Path, dataset: Dataset, *, verify: bool = False) -> str:
    """Write a data set once; `dataset.json`, written last, says that it is whole. A folder of an older layout is
    written anew, and so is one that is damaged: the reason is returned, empty for none."""
    with locked(folder):
        damage = dataset_damage(folder, verify=verify)
        if has_dataset(folder) and not damage and _read_head(folder)["layout"] == LAYOUT:
            return ""
        sweep_temporary(folder)
        if damage:
            (folder / "dataset.json").unlink()
        _write_dataset(folder, dataset)
        return damage


def dataset_damage(folder: Path, *, verify: bool = False) -> str:
    """What is wrong with the files of a data set; empty if nothing is, or none was written here."""
    if not has_dataset(folder):
        return ""
    try:
        head = _read_head(folder)
        check_files(folder, head["files"], "dataset.json", verify=verify)
        if not head["files"]:  # of an older version
            load_dataset(folder)
    except DamagedError as error:
        return str(error)
    return ""


def _write_dataset(folder: Path, dataset: Dataset) -> None:
    train, names = dataset.train, list[str]()

    def write(name: str, columns: Mapping[str, Any]) -> None:
        _write_table(folder / name, columns)
        names.append(name)

    def write_events(name: str, events: Events | None) -> None:
        if events is not None:
            for part, columns in _events(events).items():
                write(f"{name}-{part}.parquet", columns)

    write("items.parquet", {"id": train.catalog.ids, "text": train.catalog.texts})
    with replacing(folder / "attributes.parquet") as temporary:
        train.catalog.attributes.to_parquet(temporary)
    names.append("attributes.parquet")
    write(
        "train-histories.parquet",
        {"user": train.users, "items": _lists(train.histories), "times": _lists(train.histories, train.times)},
    )
    write(
        "train-searches.parquet",
        {"query": train.queries, "items": _lists(train.searches), "grades": _grades(train.searches)},
    )
    write_events("train", train.events)
    for part, splits in (("valid", dataset.valid), ("test", dataset.test)):
        for task, split in splits.items():
            r = split.requests
            write(
                f"{part}-{task}.parquet",
                {
                    "request": r.ids,
                    "user": r.users,
                    "history": _lists(r.histories),
                    "query": r.queries,
                    "exclude": _lists(r.exclude),
                    **({} if r.candidates is None else {"candidates": _lists(r.candidates)}),
                    **({} if split.seen is None or part == "valid" else {"seen": _lists(split.seen)}),
                    **(_answers(split) if part == "valid" else {}),
                },
            )
            write_events(f"{part}-{task}", r.events)
    for task, split in dataset.test.items():
        write(_answers_name(task), {"request": split.requests.ids, **_answers(split)})
        for name, rows in split.candidates.items():
            write(_candidates_name(task, name), {"request": split.requests.ids, "items": _lists(rows)})
    _write_sealed(
        folder / "dataset.json",
        {
            "layout": LAYOUT,
            "name": dataset.name,
            "digest": dataset.digest,
            "facts": dict(dataset.facts),
            "max_history": train.max_history,
            "max_prefixes_per_user": train.max_prefixes_per_user,
            "valid": list(dataset.valid),
            "test": list(dataset.test),
            "candidates": {task: list(split.candidates) for task, split in dataset.test.items()},
            "lists": [asdict(made) for made in dataset.lists],
            "files": checksums(folder, names),
        },
    )


def load_dataset(folder: Path, *, answers: bool = True, verify: bool = False) -> Dataset:
    """The data set that `save_dataset` wrote; without `answers`, as for a cell, test requests have no relevant items.
    Raises DamagedError if a file is missing or not what was written."""
    import pyarrow as pa

    try:
        head = _read_head(folder)
        read = {name: noted for name, noted in head["files"].items() if answers or not name.startswith("answers/")}
        check_files(folder, read, "dataset.json", verify=verify)
        return _load_dataset(folder, head, answers)
    except (DamagedError, OSError, LookupError, TypeError, ValueError, pa.ArrowException) as error:
        raise DamagedError(
            f"the data set in {folder} cannot be used: {error}. `benchmark run` writes it anew where its raw data is."
        ) from error


def _load_dataset(folder: Path, head: Mapping[str, Any], answers: bool) -> Dataset:
    import pandas as pd

    def events(name: str) -> Events | None:
        written = f"{name}.parquet" in head["files"] if head["layout"] > 2 else (folder / f"{name}.parquet").is_file()
        return _read_events(folder / f"{name}.parquet") if written else None

    items = _read_table(folder / "items.parquet")
    histories = _read_table(folder / "train-histories.parquet")
    searches = _read_table(folder / "train-searches.parquet")
    train = Train(
        catalog=Catalog(_strings(items["id"]), _strings(items["text"]), pd.read_parquet(folder / "attributes.parquet")),
        users=_strings(histories["user"]),
        histories=_ragged(histories["items"]),
        times=_flat(histories["times"], np.int64),
        queries=_strings(searches["query"]),
        searches=_ragged(searches["items"], searches["grades"]),
        max_history=head["max_history"],
        max_prefixes_per_user=head["max_prefixes_per_user"],
        events=events("train-events"),
    )
    splits: dict[str, dict[Task, Split]] = {"valid": {}, "test": {}}
    for part in splits:
        for task in head[part]:
            apart = folder / _answers_name(task) if part == "test" and head["layout"] > 1 else None
            path = folder / f"{part}-{task}.parquet"
            split_events = events(f"{part}-{task}-events")
            splits[part][task] = _read_split(path, task, split_events, apart, answers or part == "valid")
    data = Dataset(
        name=head["name"],
        train=train,
        valid=splits["valid"],
        test=splits["test"],
        digest=head["digest"],
        facts=head["facts"],
    )
    return _with_candidates(folder, head, data)


def has_dataset(folder: Path) -> bool:
    """Whether `save_dataset` has written a complete data set here."""
    return (folder / "dataset.json").is_file()


def with_frozen_candidates(folder: Path, dataset: Dataset, *, verify: bool = False) -> Dataset:
    """The data set with the candidate lists (and their facts) stored in `folder`. Raises DamagedError if they are
    missing, or not what was written."""
    head = _read_head(folder)
    lists = {_candidates_name(task, name) for task, names in head["candidates"].items() for name in names}
    check_files(folder, {n: v for n, v in head["files"].items() if n in lists}, "dataset.json", verify=verify)
    return _with_candidates(folder, head, dataset)


def _with_candidates(folder: Path, head: Mapping[str, Any], dataset: Dataset) -> Dataset:
    def read(task: Task, name: str) -> Ragged:
        return _ragged(_read_table(folder / _candidates_name(task, name))["items"])

    lists = head["candidates"]
    test = {
        task: replace(split, candidates={name: read(task, name) for name in lists.get(task, ())})
        for task, split in dataset.test.items()
    }
    made = tuple(SampledList(**made) for made in head.get("lists", ()))  # an older version had them among the facts
    return replace(dataset, test=test, facts=head["facts"], lists=made)


def _read_head(folder: Path) -> dict[str, Any]:
    return {"layout": 1, "candidates": {}, "files": {}, **_read_sealed(folder / "dataset.json", _Head)}


def _answers(split: Split) -> dict[str, Any]:
    later = {} if split.later is None else {"later": split.later}
    return {"relevant": _lists(split.relevant), "grades": _grades(split.relevant), **later}


def _answers_name(task: Task) -> str:
    return f"answers/{task}.parquet"


def _candidates_name(task: Task, name: str) -> str:
    return f"candidates-{task}-{safe_name(name, 200)}.parquet"


def _read_split(path: Path, task: Task, events: Events | None, apart: Path | None, answers: bool) -> Split:
    """The requests at `path`, with the relevant items from there or from the file `apart`; without `answers`, none."""
    table = _read_table(path)
    requests = Requests(
        task=task,
        ids=_strings(table["request"]),
        users=table["user"].to_numpy().astype(np.int32),
        histories=_ragged(table["history"]),
        queries=_strings(table["query"]),
        exclude=_ragged(table["exclude"]),
        candidates=_ragged(table["candidates"]) if "candidates" in table.column_names else None,
        events=events,
    )
    seen = _ragged(table["seen"]) if "seen" in table.column_names else None
    if not answers:
        return Split(requests, Ragged.empty(len(requests)), seen=seen)
    answer_table = table if apart is None else _read_table(apart)
    later = answer_table["later"].to_numpy().astype(np.bool_) if "later" in answer_table.column_names else None
    return Split(requests, _ragged(answer_table["relevant"], answer_table["grades"]), seen=seen, later=later)


def _events(events: Events) -> dict[str, dict[str, Any]]:
    """Two tables by the endings of their names: a row of lists per history, and the texts of the queries by their
    number. `end` is counted from the row's first event."""
    rows = Ragged(events.offsets, events.value)
    return {
        "events": {
            "kind": _lists(rows, events.kind),
            "value": _lists(rows),
            "end": _lists(rows, events.end - events.offsets[:-1][events.rows]),
        },
        "events-queries": {"query": events.queries},
    }


def _read_events(path: Path) -> Events:
    table = _read_table(path)
    value = _ragged(table["value"])
    return Events(
        offsets=value.offsets,
        kind=_flat(table["kind"], np.int8),
        value=value.values,
        queries=_strings(_read_table(path.with_name(f"{path.stem}-queries.parquet"))["query"]),
        end=_flat(table["end"], np.int64) + value.offsets[:-1][value.rows],
    )


def _lists(rows: Ragged, values: Any = None) -> pa.Array:
    import pyarrow as pa

    return pa.LargeListArray.from_arrays(rows.offsets, rows.values if values is None else values)


def _grades(rows: Ragged) -> pa.Array:
    return _lists(rows, np.ones(len(rows.values), dtype=np.float32) if rows.grades is None else rows.grades)


def _strings(column: Any) -> Strings:
    out: Strings = np.asarray(column.to_pylist(), dtype=object)
    return out


def _flat(column: Any, dtype: Any) -> Any:
    return column.combine_chunks().flatten().to_numpy(zero_copy_only=False).astype(dtype)


def _ragged(column: Any, grades: Any = None) -> Ragged:
    import pyarrow.compute as pc

    lengths = pc.list_value_length(column).to_numpy()
    weights = None if grades is None else _flat(grades, np.float32)
    if weights is not None and (weights == 1).all():
        weights = None
    return Ragged.from_lengths(lengths, _flat(column, np.int32), weights)


# ---------------------------------------------------------------- cells


def _ranking_path(folder: Path, task: Task, variant: str = "") -> Path:
    return folder / f"ranking-{task}{'@' * bool(variant)}{safe_name(variant, 200)}.parquet"


def save_ranking(folder: Path, task: Task, requests: Requests, ranking: Ranking, variant: str = "") -> None:
    """Items are row numbers of the data set's items.parquet, best first, padded with -1.

    `variant` is the model's, or the name of a candidate list.
    """
    import pyarrow as pa

    depth = ranking.items.shape[1]

    def fixed(values: Any) -> pa.Array:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), depth)

    _write_table(
        _ranking_path(folder, task, variant),
        {"request": requests.ids, "items": fixed(ranking.items), "scores": fixed(ranking.scores)},
    )


def load_ranking(folder: Path, task: Task, variant: str = "") -> Ranking:
    table = _read_table(_ranking_path(folder, task, variant))
    n = table.num_rows
    return Ranking(_flat(table["items"], np.int32).reshape(n, -1), _flat(table["scores"], np.float32).reshape(n, -1))


@dataclass(frozen=True)
class Spec:
    """Everything a worker needs to know about a cell: what `spec.json` in its folder says."""

    cell: Cell
    dataset: Path
    depth: int
    threads: int
    device: str
    reproducible: bool = False
    timeout: float | None = None
    """Seconds."""
    memory: int | None = None
    """Bytes."""


def write_spec(folder: Path, spec: Spec) -> None:
    write_json(folder / "spec.json", {**asdict(spec), "dataset": os.path.relpath(spec.dataset, folder)})


def read_spec(folder: Path) -> Spec:
    """Raises BenchmarkError where the folder is no cell's."""
    try:
        raw = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
        cell = cell_from_json(raw["cell"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BenchmarkError(
            f"{folder} is not the folder of a cell: spec.json is missing or broken ({error})."
        ) from error
    return Spec(
        cell,
        (folder / raw["dataset"]).resolve(),
        raw["depth"],
        raw["threads"],
        raw["device"],
        raw.get("reproducible", False),
        raw.get("timeout"),
        raw.get("memory"),
    )


def cell_from_json(raw: Mapping[str, Any]) -> Cell:
    required = {field.name for field in fields(Cell) if field.default is MISSING}
    if missing := required - raw.keys():
        raise KeyError(min(missing))
    values: dict[str, Any] = {field.name: raw[field.name] for field in fields(Cell) if field.name in raw}
    tuples = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    cell = Cell(**{**values, **tuples})
    texts = (cell.dataset, cell.model, cell.fingerprint, cell.digest, cell.dataset_use, cell.model_use)
    if not all(isinstance(text, str) for text in texts) or not isinstance(cell.seed, int):
        raise ValueError("a name is not a text, or a seed is not a number")
    if not set(cell.tasks) <= set(TASKS):
        raise ValueError(f"tasks are {' and '.join(TASKS)}, not {cell.tasks}")
    return cell


def log_path(folder: Path) -> Path:
    return folder / "log.txt"


def save_scores(folder: Path, task: Task, requests: Strings, scores: Scores) -> None:
    """Per-request scores over all relevant items, a column per metric, NaN for requests that a metric leaves out;
    for the user, never read again. `requests` are the ids of all requests of the task."""
    columns = {}
    for metric, values in scores.values.items():
        columns[metric] = np.full(len(requests), np.nan)
        columns[metric][scores.own_rows.get(metric, scores.rows)] = values
    path = folder / f"scores-{task}.parquet"
    _write_table(
        path,
        {
            "request": requests[scores.rows],
            **{name: scores_of_metric[scores.rows] for name, scores_of_metric in columns.items()},
        },
    )


OUTCOME = ("ranking-*.parquet", "facts.json", "curve.csv")
"""The files that a cell leaves for good. The log grows with every attempt, and reports write the scores anew."""


class _Machine(BaseModel):
    processor: str
    instructions: list[str]


class _Finished(BaseModel):
    """The content of `cell.json` besides the cell itself. An older version listed no files."""

    model_config = ConfigDict(strict=True)
    fingerprint: str
    facts: dict[str, Any]
    costs: dict[str, float | bool | None]
    curve: list[dict[str, Any]]
    candidates: dict[Task, list[str]] = {}
    variants: list[str] = []
    machine: _Machine | None = None
    files: dict[str, _File] = {}


def begin_cell(folder: Path) -> None:
    """Remove the files of earlier attempts and start a log: a cell with a log and no outcome was interrupted."""
    for name in ("cell.json", "failure.json", *OUTCOME):
        for path in folder.glob(name):
            path.unlink()
    log_path(folder).touch()


def finish_cell(folder: Path, cell: Cell, content: Mapping[str, Any]) -> None:
    """Mark the cell as finished. Every other file is on the disk already; they are read back as a last check."""
    for task in cell.tasks:
        for name in _ranking_names(content, task):
            load_ranking(folder, task, name)
    forget_failure(folder)
    files = checksums(folder, (path.name for name in OUTCOME for path in folder.glob(name)))
    _write_sealed(folder / "cell.json", {**asdict(cell), **content, "files": files})


def _ranking_names(content: Mapping[str, Any], task: Task) -> Sequence[str]:
    """The rankings that a finished cell has of a task: of the catalogue, of each candidate list, of each variant."""
    return ("", *content.get("candidates", {}).get(task, ()), *content.get("variants", ()))


def fail_cell(folder: Path, error: str) -> None:
    write_json(folder / "failure.json", {"error": error})


def read_cell(folder: Path, cell: Cell, *, verify: bool = False) -> dict[str, Any] | None:
    """What `finish_cell` wrote, or None if the cell has not finished. Non-finite numbers, which older versions let a
    model record, are None.

    Raises DamagedError if one of the cell's files is missing or not what was written.
    """
    path = folder / "cell.json"
    if not path.is_file():
        return None
    content = _read_sealed(path, _Finished)
    if content["fingerprint"] != cell.fingerprint:
        raise DamagedError("cell.json is damaged: it is about another cell")
    files = content.get("files", {})
    rankings = [_ranking_path(folder, task, name) for task in cell.tasks for name in _ranking_names(content, task)]
    if missing := [ranking.name for ranking in rankings if not ranking.is_file()]:
        raise DamagedError(f"{missing[0]} is missing")
    check_files(folder, files, "cell.json", verify=verify)
    if not files:  # of an older version
        _check_tables(rankings)
    return content


def _check_tables(paths: Sequence[Path]) -> None:
    """Raises DamagedError for a truncated table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in paths:
        try:
            pq.read_metadata(path)
        except (OSError, pa.ArrowException) as error:
            raise DamagedError(f"{path.name} cannot be read ({error})") from error


def is_finished(folder: Path, cell: Cell, *, verify: bool = False) -> bool:
    """Whether a cell has finished and all its files are what was written."""
    try:
        return read_cell(folder, cell, verify=verify) is not None
    except DamagedError:
        return False


def reopen_cell(folder: Path, cell: Cell, *, verify: bool = False) -> None:
    """Mark a damaged cell as not finished, unless another process is already computing it again."""
    with contextlib.suppress(BlockingIOError), locked(folder, wait=False):
        if not is_finished(folder, cell, verify=verify):
            (folder / "cell.json").unlink(missing_ok=True)


def was_interrupted(folder: Path) -> bool:
    """Whether a cell was begun, has no outcome, and no process is working on it."""
    traces = [path for name in (log_path(folder).name, *OUTCOME) for path in folder.glob(name)]
    if not traces or not (folder / "spec.json").is_file():
        return False
    try:
        with locked(folder, wait=False):
            return not (folder / "cell.json").is_file() and not read_failure(folder)
    except BlockingIOError:
        return False


def usual_seconds(results: Path, cell: Cell) -> float | None:
    """The median of what fitting and ranking took in the finished cells of this model on this data set, whatever their
    seed, code or settings; None where there are none."""
    seconds = []
    for path in cell_folder(results, cell).parent.glob("seed-*/cell.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            costs = json.loads(path.read_text(encoding="utf-8"))["costs"]
            seconds.append(float(costs["fit_seconds"]) + float(costs["rank_seconds"]))
    return statistics.median(seconds) if seconds else None


def computed_otherwise(results: Path, cell: Cell) -> bool:
    """Whether the results hold this model's cell of another fingerprint: of other code, data or settings."""
    own = cell_folder(results, cell)
    return any(path.parent != own for path in own.parent.glob(f"seed-{cell.seed}-*/cell.json"))


def forget_failure(folder: Path) -> None:
    (folder / "failure.json").unlink(missing_ok=True)


def read_failure(folder: Path) -> str:
    """The error of a failed cell, otherwise empty."""
    try:
        return str(json.loads((folder / "failure.json").read_text(encoding="utf-8"))["error"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""


def remove_folder(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def shared_folder(dataset: Path) -> Iterator[Path]:
    """What the cells of a data set share: see `Context.shared`. What is there is kept beside the data set."""
    scratch, kept = scratch_folder(dataset), dataset / "shared"
    with _used(scratch):
        shared = scratch / "shared"
        shared.mkdir(exist_ok=True)
        _copy_missing(kept, shared)
        try:
            yield shared
        finally:
            _copy_missing(shared, kept, changed=True)


@contextlib.contextmanager
def _used(folder: Path) -> Iterator[None]:
    """Keep `leave_shared` from removing a folder."""
    path = folder / ".used"
    with contextlib.ExitStack() as stack:
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # removed at this moment
                file = stack.enter_context(path.open("w"))
                fcntl.flock(file, fcntl.LOCK_SH)
                if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                    break
        yield


def leave_shared(dataset: Path) -> None:
    """Remove the folder in which the cells of a data set share what they make, all of which is kept beside the data
    set, unless a cell of another run uses it, or something unfinished lies there, from which the next run goes on."""
    scratch = scratch_folder(dataset)
    with contextlib.suppress(OSError), (scratch / ".used").open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _copy_missing(scratch / "shared", dataset / "shared", changed=True)  # by a cell that was killed
        if not any(path.is_dir() for path in scratch.rglob("work")):
            remove_folder(scratch)


def _copy_missing(source: Path, target: Path, *, changed: bool = False) -> None:
    """Copy every file that is not there yet, or has `changed` by its size or time, but for what is being written
    (hidden files, the folders `work`)."""
    if not source.is_dir():
        return
    with locked(target):
        for folder, folders, names in os.walk(source):
            folders[:] = [name for name in folders if name != "work"]
            for name in names:
                file, path = Path(folder, name), target / Path(folder).relative_to(source) / name
                if name.startswith(".") or (path.exists() and not (changed and _differ(file, path))):
                    continue
                with replacing(path) as temporary:
                    shutil.copy2(file, temporary)


def _differ(a: Path, b: Path) -> bool:
    one, other = a.stat(), b.stat()
    return (one.st_size, one.st_mtime_ns) != (other.st_size, other.st_mtime_ns)


def forget_shared(dataset: Path) -> None:
    remove_folder(dataset / "shared")
    remove_folder(scratch_folder(dataset))


def forget_cell(folder: Path) -> None:
    """Remove all files of a cell, so that it is computed again."""
    remove_folder(scratch_folder(folder))
    if folder.is_dir():
        with locked(folder):
            (folder / "cell.json").unlink(missing_ok=True)
            for path in folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name != ".lock":
                    path.unlink()


# ---------------------------------------------------------------- a run


def write_run(
    results: Path,
    suite: Suite,
    cells: Sequence[Cell],
    marks: Sequence[str],
    device: str,
    options: Mapping[str, Mapping[str, Any]],
    environment: Mapping[str, Any],
) -> None:
    """Record what a run will do, so that a report can be rebuilt without the raw data."""
    resolved = yaml.safe_dump(suite.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    head = {"device": device, "options": options, "marks": list(marks)}
    with locked(results):
        sweep_temporary(results)
        write_text(results / "suite.yaml", resolved)
        write_json(results / "environment.json", environment)
        write_json(results / "plan.json", {**head, "cells": [asdict(cell) for cell in cells]})


def read_run(results: Path) -> tuple[tuple[Cell, ...], tuple[str, ...], str, Mapping[str, Mapping[str, Any]]]:
    """The cells, marks, device and plugins' options of the last run in this folder. Raises BenchmarkError without one,
    or where what it left about itself is damaged."""
    with _about_the_run(results / "environment.json") as text:
        if not isinstance(json.loads(text), dict):
            raise ValueError("it is not a mapping")
    with _about_the_run(results / "plan.json") as text:
        raw = json.loads(text)
        cells = tuple(cell_from_json(cell) for cell in raw["cells"])
        texts = [raw["device"], *raw["marks"]]
        if not isinstance(raw["marks"], list) or not all(isinstance(one, str) for one in texts):
            raise ValueError("device and marks are texts")
        if not isinstance(raw["options"], dict) or not all(isinstance(one, dict) for one in raw["options"].values()):
            raise ValueError("options are mappings")
        return cells, tuple(raw["marks"]), raw["device"], raw["options"]


def read_suite(results: Path) -> Suite:
    """The suite of the last run in this folder, as it was resolved. Raises BenchmarkError where there was none, or it
    is damaged."""
    with _about_the_run(results / "suite.yaml") as text:
        return Suite.model_validate(parse_yaml(text, "suite.yaml")[0])


@contextlib.contextmanager
def _about_the_run(path: Path) -> Iterator[str]:
    """The text of a file that `write_run` wrote. Raises BenchmarkError if it is missing or cannot be parsed."""
    if not path.is_file() and not (path.parent / "plan.json").is_file():
        raise BenchmarkError(f"there is no run in {path.parent}. Start with: benchmark run SUITE")
    try:
        yield path.read_text(encoding="utf-8")
    except (OSError, LookupError, TypeError, ValueError, AttributeError, RecursionError, BenchmarkError) as error:
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        else:
            reason = f"{type(error).__name__}: {error}" if isinstance(error, LookupError) else str(error)
        raise BenchmarkError(
            f"{path} is missing or damaged ({reason}). `benchmark run` with the same suite writes it anew; what is "
            "finished is kept."
        ) from error


def write_reports(results: Path, files: Mapping[str, str]) -> None:
    """Write all files together: a concurrent run of the suite writes its own before or after.

    Figures of an earlier report that this one lacks are removed.
    """
    with locked(results):
        for name, text in files.items():
            write_text(results / name, text)
        for path in (results / "figures").glob("*.svg"):
            if f"figures/{path.name}" not in files:
                path.unlink()
