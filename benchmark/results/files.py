"""Files that are never half-written: temporary names, flushes and renames; JSON and tables."""

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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.errors import BenchmarkError, ContractError

if TYPE_CHECKING:
    import pyarrow as pa


def safe_name(name: str, room: int = 255) -> str:
    """A file name of at most `room` bytes for any name; a longer one is cut and gets a hash."""
    quoted = urllib.parse.quote(name, safe="[]()+=, ")
    if len(quoted) > room:
        beginning = re.sub(r"%[0-9A-F]?$", "", quoted[:60])
        return f"{beginning}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return quoted.replace(".", "%2E") if set(quoted) <= {"."} else quoted


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
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=plain) + "\n")


def json_size(value: Any, name: str) -> int:
    """The bytes of a value as JSON. Raises ContractError, with its name, where it is not JSON, or holds a number that
    is not finite or too large for a float."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=plain, allow_nan=False)
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


def parse(text: str) -> Any:
    """A JSON text in which numbers that are not finite are None: not stated."""
    return json.loads(text, parse_int=_stated, parse_float=_stated, parse_constant=lambda name: None)


def plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def write_table(path: Path, columns: Mapping[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with replacing(path) as temporary:
        pq.write_table(pa.table(dict(columns)), temporary, compression="zstd")


def read_table(path: Path) -> pa.Table:
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


class DamagedError(BenchmarkError):
    """A file of the results is missing, or not what was written."""


def remove_folder(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
