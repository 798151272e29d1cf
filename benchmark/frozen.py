"""What several plugins read, so that none of them can change it for the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np


def frozen(value: Any) -> Any:
    """A plugin's own view of what others read too: dataclasses, mappings, lists and tables made anew, and every array
    in them a read-only view. Nothing is copied but tables."""
    if isinstance(value, np.ndarray):
        view = value.view()
        view.flags.writeable = False
        return view
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{part.name: frozen(getattr(value, part.name)) for part in fields(value)})
    if isinstance(value, Mapping):
        return {name: frozen(part) for name, part in value.items()}
    if isinstance(value, list):
        return [frozen(part) for part in value]
    return value.copy() if hasattr(value, "iloc") else value
