"""The only module that knows paths under results/: what is written, where, and how it is read again.

A file is written beside its place, flushed to the disk and renamed, so that a crash leaves nothing that looks finished;
a cell is finished when `cell.json`, written last, is there and names the cell's fingerprint.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from benchmark.errors import BenchmarkError, ContractError
from benchmark.types import (
    Catalog,
    Cell,
    Dataset,
    Events,
    Ragged,
    Ranking,
    Requests,
    Scores,
    Split,
    Strings,
    Task,
    Train,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from pydantic import BaseModel


# ---------------------------------------------------------------- paths


def cell_folder(results: Path, cell: Cell) -> Path:
    return (
        results / "cells" / safe_name(cell.dataset) / safe_name(cell.model) / f"seed-{cell.seed}-{cell.fingerprint[:8]}"
    )


def dataset_folder(results: Path, name: str, digest: str) -> Path:
    return results / "datasets" / f"{safe_name(name, 246)}-{digest[:8]}"


def scratch_folder(folder: Path) -> Path:
    """Where a cell, or the cells of a data set, work: a folder of the temporary directory, the same one every time.

    It is outside the results, so that what a model is given leads to no answers: neither the folder itself nor what
    lies beside or above it, nor its name, says where the results are.
    """
    home = Path(tempfile.gettempdir(), f"benchmark-{os.getuid()}")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if home.stat().st_uid != os.getuid():
        raise BenchmarkError(f"{home} belongs to another user; set TMPDIR to a folder of your own.")
    return home / hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:32]


def safe_name(name: str, room: int = 255) -> str:
    """A file name of at most `room` bytes for any name; where the quoted one is longer, its beginning and a hash."""
    quoted = urllib.parse.quote(name, safe="[]()+=, ")
    if len(quoted) > room:
        beginning = re.sub(r"%[0-9A-F]?$", "", quoted[:60])
        return f"{beginning}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return quoted.replace(".", "%2E") if set(quoted) <= {"."} else quoted


# ---------------------------------------------------------------- writing without half-written files


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; what is written there takes its place when the block ends without an error."""
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
    """A number of a JSON file; None where it is infinite, or too large for a float."""
    value = float(digits)
    return (int(digits) if digits.lstrip("-").isdigit() else value) if math.isfinite(value) else None


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
        raise BenchmarkError(f"{path} cannot be read ({error}). Remove its folder and run again.") from error


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock, waiting for another process that has it. A dead holder's lock is free."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sweep_temporary(folder: Path) -> None:
    """Remove what killed writers left beside its place; their process numbers are in the names."""
    for path in folder.glob(".*.*.*"):
        writer = path.name.split(".")[-2]
        if writer.isdigit() and not Path("/proc", writer).exists():
            path.unlink(missing_ok=True)


# ---------------------------------------------------------------- data sets

LAYOUT = 2
"""Of a data set's folder: since 2 the relevant items of the test are apart, in `answers/`, which no cell reads."""


def save_dataset(folder: Path, dataset: Dataset) -> None:
    """Write a data set once; `dataset.json`, written last, says that it is whole. A folder of an older layout is
    written anew."""
    with locked(folder):
        if has_dataset(folder) and _read_head(folder)["layout"] == LAYOUT:
            return
        sweep_temporary(folder)
        train = dataset.train
        _write_table(folder / "items.parquet", {"id": train.catalog.ids, "text": train.catalog.texts})
        with replacing(folder / "attributes.parquet") as temporary:
            train.catalog.attributes.to_parquet(temporary)
        _write_table(
            folder / "train-histories.parquet",
            {"user": train.users, "items": _lists(train.histories), "times": _lists(train.histories, train.times)},
        )
        _write_table(
            folder / "train-searches.parquet",
            {"query": train.queries, "items": _lists(train.searches), "grades": _grades(train.searches)},
        )
        if train.events is not None:
            _write_events(folder / "train-events.parquet", train.events)
        for part, splits in (("valid", dataset.valid), ("test", dataset.test)):
            for task, split in splits.items():
                r = split.requests
                _write_table(
                    folder / f"{part}-{task}.parquet",
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
                if r.events is not None:
                    _write_events(folder / f"{part}-{task}-events.parquet", r.events)
        for task, split in dataset.test.items():
            _write_table(_answers_path(folder, task), {"request": split.requests.ids, **_answers(split)})
            for name, rows in split.candidates.items():
                path = _candidates_path(folder, task, name)
                _write_table(path, {"request": split.requests.ids, "items": _lists(rows)})
        write_json(
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
            },
        )


def load_dataset(folder: Path, *, answers: bool = True) -> Dataset:
    """The data set that `save_dataset` wrote; without `answers` no item is relevant to a test request, which is how a
    cell gets it. Raises BenchmarkError where it is missing or broken."""
    head = _read_head(folder)
    import pandas as pd

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
        events=_read_events(folder / "train-events.parquet"),
    )
    data = Dataset(
        name=head["name"],
        train=train,
        valid={task: _read_split(folder / f"valid-{task}.parquet", task) for task in head["valid"]},
        test={
            task: _read_split(
                folder / f"test-{task}.parquet",
                task,
                _answers_path(folder, task) if head["layout"] > 1 else None,
                answers,
            )
            for task in head["test"]
        },
        digest=head["digest"],
        facts=head["facts"],
    )
    return with_frozen_candidates(folder, data)


def has_dataset(folder: Path) -> bool:
    """Whether `save_dataset` has written a whole data set here."""
    return (folder / "dataset.json").is_file()


def with_frozen_candidates(folder: Path, dataset: Dataset) -> Dataset:
    """The data set with the candidate lists, and what is said of them, of the same one that `save_dataset` wrote."""
    head = _read_head(folder)
    test = {
        task: replace(
            split, candidates={name: _read_candidates(folder, task, name) for name in head["candidates"][task]}
        )
        for task, split in dataset.test.items()
    }
    return replace(dataset, test=test, facts=head["facts"])


def _read_head(folder: Path) -> dict[str, Any]:
    try:
        head: dict[str, Any] = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"{folder} holds no whole data set ({error}). Run the suite again.") from error
    # An older version wrote no lists, and before that no layout: the answers then stand among the requests.
    return {"candidates": dict.fromkeys(head["test"], ()), "layout": 1, **head}


def _answers(split: Split) -> dict[str, Any]:
    later = {} if split.later is None else {"later": split.later}
    return {"relevant": _lists(split.relevant), "grades": _grades(split.relevant), **later}


def _answers_path(folder: Path, task: Task) -> Path:
    return folder / "answers" / f"{task}.parquet"


def _candidates_path(folder: Path, task: Task, name: str) -> Path:
    return folder / f"candidates-{task}-{safe_name(name, 200)}.parquet"


def _read_candidates(folder: Path, task: Task, name: str) -> Ragged:
    return _ragged(_read_table(_candidates_path(folder, task, name))["items"])


def _read_split(path: Path, task: Task, apart: Path | None = None, answers: bool = True) -> Split:
    """The requests at `path`, with what is relevant from there, or from the file where it stands `apart`; without
    `answers` nothing is."""
    table = _read_table(path)
    requests = Requests(
        task=task,
        ids=_strings(table["request"]),
        users=table["user"].to_numpy().astype(np.int32),
        histories=_ragged(table["history"]),
        queries=_strings(table["query"]),
        exclude=_ragged(table["exclude"]),
        candidates=_ragged(table["candidates"]) if "candidates" in table.column_names else None,
        events=_read_events(path.with_name(f"{path.stem}-events.parquet")),
    )
    seen = _ragged(table["seen"]) if "seen" in table.column_names else None
    if not answers:
        return Split(requests, Ragged.empty(len(requests)), seen=seen)
    told = table if apart is None else _read_table(apart)
    later = told["later"].to_numpy().astype(np.bool_) if "later" in told.column_names else None
    return Split(requests, _ragged(told["relevant"], told["grades"]), seen=seen, later=later)


def _write_events(path: Path, events: Events) -> None:
    """A row of lists per history, and beside it the texts of the queries by their number. `end` is counted from the
    row's first event."""
    rows = Ragged(events.offsets, events.value)
    _write_table(
        path,
        {
            "kind": _lists(rows, events.kind),
            "value": _lists(rows),
            "end": _lists(rows, events.end - events.offsets[:-1][events.rows]),
        },
    )
    _write_table(path.with_name(f"{path.stem}-queries.parquet"), {"query": events.queries})


def _read_events(path: Path) -> Events | None:
    if not path.is_file():  # no joint log
        return None
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
    """Items are row numbers of the data set's items.parquet, best first, -1 behind the last one.

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


def write_spec(folder: Path, spec: Spec) -> None:
    write_json(folder / "spec.json", {**asdict(spec), "dataset": os.path.relpath(spec.dataset, folder)})


def read_spec(folder: Path) -> Spec:
    """Raises BenchmarkError where the folder is no cell's."""
    try:
        raw = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
        cell = cell_from_json(raw["cell"])
    except (OSError, ValueError, KeyError, TypeError) as error:
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
    )


def cell_from_json(raw: Mapping[str, Any]) -> Cell:
    required = {field.name for field in fields(Cell) if field.default is MISSING}
    if missing := required - raw.keys():
        raise KeyError(min(missing))
    values: dict[str, Any] = {field.name: raw[field.name] for field in fields(Cell) if field.name in raw}
    tuples = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return Cell(**{**values, **tuples})


def log_path(folder: Path) -> Path:
    return folder / "log.txt"


def save_scores(folder: Path, task: Task, requests: Strings, scores: Scores) -> None:
    """Per-request scores over all relevant items, a column per metric, NaN for the requests that a metric leaves out;
    for the user, never read again. `requests` are the ids of all requests of the task."""
    columns = {}
    for metric, values in scores.values.items():
        columns[metric] = np.full(len(requests), np.nan)
        columns[metric][scores.own_rows.get(metric, scores.rows)] = values
    path = folder / f"scores-{task}.parquet"
    _write_table(path, {"request": requests[scores.rows], **{name: of[scores.rows] for name, of in columns.items()}})


def finish_cell(folder: Path, cell: Cell, content: Mapping[str, Any]) -> None:
    """Say that the cell is finished. Every other file is on the disk already; read back as a last check."""
    for task in cell.tasks:
        for name in _ranking_names(content, task):
            load_ranking(folder, task, name)
    forget_failure(folder)
    write_json(folder / "cell.json", {**asdict(cell), **content})


def _ranking_names(content: Mapping[str, Any], task: Task) -> Sequence[str]:
    """The rankings that a finished cell has of a task: of the catalogue, of each candidate list, of each variant."""
    return ("", *content.get("candidates", {}).get(task, ()), *content.get("variants", ()))


def fail_cell(folder: Path, error: str) -> None:
    write_json(folder / "failure.json", {"error": error})


def read_cell(folder: Path, cell: Cell) -> dict[str, Any] | None:
    """What `finish_cell` wrote, or None where this very cell has not finished. Numbers that are not finite, which older
    versions let a model record, are None: not stated."""
    try:
        content = json.loads(
            (folder / "cell.json").read_text(encoding="utf-8"),
            parse_int=_stated,
            parse_float=_stated,
            parse_constant=lambda name: None,
        )
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("fingerprint") != cell.fingerprint:
        return None
    names = [(task, name) for task in cell.tasks for name in _ranking_names(content, task)]
    whole = all(_ranking_path(folder, task, name).is_file() for task, name in names)
    return content if whole else None


def computed_otherwise(results: Path, cell: Cell) -> bool:
    """Whether the results hold this model's cell of another fingerprint: of other code, data or settings."""
    own = cell_folder(results, cell)
    return any(path.parent != own for path in own.parent.glob(f"seed-{cell.seed}-*/cell.json"))


def forget_failure(folder: Path) -> None:
    (folder / "failure.json").unlink(missing_ok=True)


def read_failure(folder: Path) -> str:
    """The error of a cell that failed, empty where it did not."""
    try:
        return str(json.loads((folder / "failure.json").read_text(encoding="utf-8"))["error"])
    except (OSError, ValueError, KeyError):
        return ""


def remove_folder(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def shared_folder(dataset: Path) -> Iterator[Path]:
    """What the cells of a data set share: see `Context.shared`. What is there is kept beside the data set."""
    shared, kept = scratch_folder(dataset) / "shared", dataset / "shared"
    shared.mkdir(parents=True, exist_ok=True)
    _copy_missing(kept, shared)
    try:
        yield shared
    finally:
        _copy_missing(shared, kept)


def _copy_missing(source: Path, target: Path) -> None:
    """Copy every file that is not there yet, but for what is being written (hidden files, the folders `work`)."""
    if not source.is_dir():
        return
    with locked(target):
        for folder, folders, names in os.walk(source):
            folders[:] = [name for name in folders if name != "work"]
            for name in names:
                path = target / Path(folder).relative_to(source) / name
                if not name.startswith(".") and not path.exists():
                    with replacing(path) as temporary:
                        shutil.copyfile(Path(folder, name), temporary)


def forget_shared(dataset: Path) -> None:
    remove_folder(dataset / "shared")
    remove_folder(scratch_folder(dataset))


def forget_cell(folder: Path) -> None:
    """Remove everything about a cell, so that it is computed anew."""
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
    suite: BaseModel,
    cells: Sequence[Cell],
    marks: Sequence[str],
    device: str,
    tracking: str,
    environment: Mapping[str, Any],
) -> None:
    """What a run is about to do, so that a report can be rebuilt without the raw data."""
    resolved = yaml.safe_dump(suite.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    head = {"device": device, "tracking": tracking, "marks": list(marks)}
    with locked(results):
        sweep_temporary(results)
        write_text(results / "suite.yaml", resolved)
        write_json(results / "environment.json", environment)
        write_json(results / "plan.json", {**head, "cells": [asdict(cell) for cell in cells]})


def read_run(results: Path) -> tuple[tuple[Cell, ...], tuple[str, ...], str, str]:
    """The cells, marks, device and tracking of the last run in this folder. Raises BenchmarkError without one."""
    try:
        raw = json.loads((results / "plan.json").read_text(encoding="utf-8"))
        cells = tuple(cell_from_json(cell) for cell in raw["cells"])
        return cells, tuple(raw["marks"]), raw["device"], raw["tracking"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchmarkError(f"there is no run in {results}. Start with: benchmark run SUITE") from error


def read_suite(results: Path) -> dict[str, Any]:
    """The suite of the last run in this folder, as it was resolved. Raises BenchmarkError where there was none."""
    try:
        suite = yaml.safe_load((results / "suite.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise BenchmarkError(f"there is no run in {results}. Start with: benchmark run SUITE") from error
    return dict(suite)


def write_reports(results: Path, files: Mapping[str, str]) -> None:
    """All of them together: another run of the suite at the same time writes its own before or after.

    Figures of an earlier report that this one lacks are removed.
    """
    with locked(results):
        for name, text in files.items():
            write_text(results / name, text)
        for path in (results / "figures").glob("*.svg"):
            if f"figures/{path.name}" not in files:
                path.unlink()
