"""The folders in which cells work, outside the results."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmark.errors import BenchmarkError
from benchmark.results.files import locked, remove_folder, replacing

WORK = "work"
"""The folder of what is unfinished, such as checkpoints, in a scratch folder and anywhere in what cells share."""


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
        if not any(path.is_dir() for path in scratch.rglob(WORK)):
            remove_folder(scratch)


def _copy_missing(source: Path, target: Path, *, changed: bool = False) -> None:
    """Copy every file that is not there yet, or has `changed` by its size or time, but for what is being written
    (hidden files, the folders `WORK`)."""
    if not source.is_dir():
        return
    with locked(target):
        for folder, folders, names in os.walk(source):
            folders[:] = [name for name in folders if name != WORK]
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
