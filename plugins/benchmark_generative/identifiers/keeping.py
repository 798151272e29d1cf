"""What is costly is made once and kept in a file named after all that went into it."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np


class Savable(Protocol):
    def save(self, path: Path) -> None:
        """Write beside and rename into place."""


Made = TypeVar("Made", bound=Savable)


def cached(folder: Path, parts: Sequence[Any], make: Callable[[], Made], load: Callable[[Path], Made]) -> Made:
    """What `make` gives, from the folder where it has been made before; processes that ask at once make it once.

    `parts` decide what it is: arrays count by their shape, type and numbers, all else by how it is written. So do the
    sources of this package and the version of torch.
    """
    digest = hashlib.sha256(_sources().encode())
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype} {part.shape}\n".encode() + np.ascontiguousarray(part).tobytes())
        else:
            digest.update(f"{part!r}\n".encode())
    path = folder / f"identifiers-{digest.hexdigest()[:16]}.npz"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with path.with_name(f".{path.stem}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # given up with the file, whatever becomes of the process
            if not path.is_file():
                make().save(path)
    return load(path)


@cache
def _sources() -> str:
    from importlib.metadata import version

    digest = hashlib.sha256(version("torch").encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
