"""What keeps plugins from changing each other's world: read-only views, and calls that leave the process as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np


def frozen(value: Any, copy: bool = False) -> Any:
    """A plugin's own view of what others read too: dataclasses, mappings, lists, tuples and tables made anew, and every
    array in them a read-only view.

    Nothing is copied but tables; with `copy` arrays are as well, for values that their maker may still change.
    """
    if isinstance(value, np.ndarray):
        array = np.array(value) if copy else value.view()
        array.flags.writeable = False
        return array
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{part.name: frozen(getattr(value, part.name), copy) for part in fields(value)})
    if isinstance(value, Mapping):
        return {name: frozen(part, copy) for name, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(frozen(part, copy) for part in value)
    return value.copy() if hasattr(value, "iloc") else value


@contextmanager
def contained() -> Iterator[None]:
    """For a call of a plugin: its working directory and its umask are not those of whoever comes after it.

    The environment stays as the plugin leaves it, because a library that it loads may have set itself up there; what
    counts of it for numbers is set anew for the cells.
    """
    folder = os.open(".", getattr(os, "O_PATH", os.O_RDONLY))  # found again even if it is renamed or removed
    mask = os.umask(0o022)
    os.umask(mask)
    try:
        yield
    finally:
        os.fchdir(folder)
        os.close(folder)
        os.umask(mask)
