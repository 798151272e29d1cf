"""The sha256 of files, and of JSON objects within them."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark.results.files import DamagedError, parse, plain, write_json

LARGE = 16 * 2**20
"""Bytes; a larger file is hashed only if its size or time differ from the recorded ones."""


class FileRecord(BaseModel):
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


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object with the sha256 of its content."""
    content = parse(json.dumps(value, default=plain))
    write_json(path, {**content, "sha256": _seal(content)})


def _seal(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def read_sealed(path: Path, shape: type[BaseModel]) -> dict[str, Any]:
    """A file of `write_sealed`, or of an older version without a sha256. Raises DamagedError if it is missing, was
    changed, or has another shape."""
    try:
        text = path.read_text(encoding="utf-8")
        value = parse(text)
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
