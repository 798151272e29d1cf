"""A cache of costly results in files that are named by a hash of all inputs."""

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
        """Write to a temporary name and rename it."""


Made = TypeVar("Made", bound=Savable)


def cached(folder: Path, parts: Sequence[Any], make: Callable[[], Made], load: Callable[[Path], Made]) -> Made:
    """The result of `make`, loaded from the folder if it is there; concurrent processes make it once.

    The key is a hash of `parts` (arrays by shape, type and numbers, all else by its repr), of the sources of this
    package and of the version of torch.
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
            fcntl.flock(lock, fcntl.LOCK_EX)  # released with the file, even if the process dies
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
