"""What plugins are given, so that none of them can change it for the others, and what they gave, so that it stays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np


def frozen(value: Any, copy: bool = False) -> Any:
    """A plugin's own view of what others read too: dataclasses, mappings, lists, tuples and tables made anew, and every
    array in them a read-only view.

    Nothing is copied but tables; with `copy` arrays are as well, for what whoever made it may go on to change.
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
