"""A data set's digest: the hash of everything that models and metrics see."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.events import Events
from benchmark.data.protocol import Protocol
from benchmark.data.ragged import Ragged
from benchmark.data.types import Split, Task, Train


def digest(train: Train, valid: Mapping[Task, Split], test: Mapping[Task, Split], protocol: Protocol) -> str:
    """The sha256 of everything that models and metrics see: ids, texts, attributes, every array, and the protocol."""
    sha = hashlib.sha256(json.dumps(protocol.split_settings(), sort_keys=True).encode())

    def add(label: str, values: NDArray[Any] | None) -> None:
        if values is None:
            return
        if values.dtype == object:
            encoded = [str(value).encode() for value in values]
            sha.update(np.array([len(e) for e in encoded], dtype="<i8").tobytes())
            body = b"".join(encoded)
        else:
            body = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes()
        sha.update(f"{label} {values.dtype.name} {values.shape} {len(body)}\n".encode())
        sha.update(body)

    def ragged(label: str, rows: Ragged) -> Iterator[tuple[str, NDArray[Any] | None]]:
        yield from ((f"{label}.{part}", getattr(rows, part)) for part in ("offsets", "values", "grades"))

    add("ids", train.catalog.ids)
    add("texts", train.catalog.texts)
    for column in train.catalog.attributes:
        add(f"attribute {column}", train.catalog.attributes[column].to_numpy(dtype=object))
    for label in ("users", "times", "queries"):
        add(label, getattr(train, label))

    def mixed(label: str, events: Events | None) -> Iterator[tuple[str, NDArray[Any] | None]]:
        if events is not None:
            yield from ((f"{label}.{p}", getattr(events, p)) for p in ("offsets", "kind", "value", "queries", "end"))

    for pair in (*ragged("histories", train.histories), *ragged("searches", train.searches)):
        add(*pair)
    for pair in mixed("events", train.events):
        add(*pair)
    for part, splits in (("valid", valid), ("test", test)):
        for task, split in sorted(splits.items()):
            for label in ("ids", "users", "queries"):
                add(f"{part} {task} {label}", getattr(split.requests, label))
            for label, rows in (
                ("histories", split.requests.histories),
                ("exclude", split.requests.exclude),
                ("relevant", split.relevant),
            ):
                for pair in ragged(f"{part} {task} {label}", rows):
                    add(*pair)
            add(f"{part} {task} later", split.later)
            for pair in mixed(f"{part} {task} events", split.requests.events):
                add(*pair)
    return sha.hexdigest()
