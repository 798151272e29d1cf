"""Imported once by the fork server: the modules that the models of a plan need, so that no cell pays for them again."""

from __future__ import annotations

import contextlib
import importlib
import os

for _name in os.environ.get("BENCHMARK_PRELOAD", "").split(","):
    if _name:
        # A module that breaks here breaks again in the cell that needs it, and is reported there.
        with contextlib.suppress(Exception):
            importlib.import_module(_name)
