"""A data set on disk: its folder, written once, read by every cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from benchmark.data.events import Events
from benchmark.data.ragged import Ragged, Strings
from benchmark.data.types import Catalog, Dataset, Requests, SampledList, Split, Task, Train
from benchmark.results.checksums import FileRecord, check_files, checksums, read_sealed, write_sealed
from benchmark.results.files import DamagedError, locked, read_table, replacing, safe_name, sweep_temporary, write_table

if TYPE_CHECKING:
    import pyarrow as pa


def dataset_folder(results: Path, name: str, digest: str) -> Path:
    return results / "datasets" / f"{safe_name(name, 246)}-{digest[:8]}"


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
    files: dict[str, FileRecord] = {}


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
        write_table(folder / name, columns)
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
    write_sealed(
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

    items = read_table(folder / "items.parquet")
    histories = read_table(folder / "train-histories.parquet")
    searches = read_table(folder / "train-searches.parquet")
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
        return _ragged(read_table(folder / _candidates_name(task, name))["items"])

    lists = head["candidates"]
    test = {
        task: replace(split, candidates={name: read(task, name) for name in lists.get(task, ())})
        for task, split in dataset.test.items()
    }
    made = tuple(SampledList(**made) for made in head.get("lists", ()))  # an older version had them among the facts
    return replace(dataset, test=test, facts=head["facts"], lists=made)


def _read_head(folder: Path) -> dict[str, Any]:
    return {"layout": 1, "candidates": {}, "files": {}, **read_sealed(folder / "dataset.json", _Head)}


def _answers(split: Split) -> dict[str, Any]:
    later = {} if split.later is None else {"later": split.later}
    return {"relevant": _lists(split.relevant), "grades": _grades(split.relevant), **later}


def _answers_name(task: Task) -> str:
    return f"answers/{task}.parquet"


def _candidates_name(task: Task, name: str) -> str:
    return f"candidates-{task}-{safe_name(name, 200)}.parquet"


def _read_split(path: Path, task: Task, events: Events | None, apart: Path | None, answers: bool) -> Split:
    """The requests at `path`, with the relevant items from there or from the file `apart`; without `answers`, none."""
    table = read_table(path)
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
    answer_table = table if apart is None else read_table(apart)
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
    table = read_table(path)
    value = _ragged(table["value"])
    return Events(
        offsets=value.offsets,
        kind=_flat(table["kind"], np.int8),
        value=value.values,
        queries=_strings(read_table(path.with_name(f"{path.stem}-queries.parquet"))["query"]),
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
