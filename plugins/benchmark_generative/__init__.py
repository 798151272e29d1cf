"""Generative models: T5 that writes item identifiers (Penha 2024)."""

from __future__ import annotations

from benchmark import hookimpl


@hookimpl
def benchmark_models() -> dict[str, str]:
    return {"gen": "benchmark_generative.gen:Gen"}
