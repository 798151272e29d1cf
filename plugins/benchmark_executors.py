"""How cells are computed on this machine: each in a process of its own (local), or all in this one (inline)."""

from __future__ import annotations

from collections.abc import Mapping

from benchmark import hookimpl


@hookimpl
def benchmark_executors() -> Mapping[str, str]:
    return {"local": "benchmark.execution.local:run", "inline": "benchmark.execution.inline:run"}
