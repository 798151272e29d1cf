"""What a stranger's package adds: its hooks, which import nothing but the marker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmark import hookimpl


@hookimpl
def benchmark_datasets() -> Mapping[str, str]:
    return {"acme-circle": "benchmark_acme.data:circle", "acme-diary": "benchmark_acme.diary:diary"}


@hookimpl
def benchmark_models() -> Mapping[str, str]:
    return {"acme-repeat": "benchmark_acme.models:Repeat"}


@hookimpl
def benchmark_metrics() -> Mapping[str, str]:
    return {"Novelty": "benchmark_acme.metrics:novelty", "Missed": "benchmark_acme.metrics:missed"}


@hookimpl
def benchmark_analyses() -> Mapping[str, str]:
    return {"acme-first-places": "benchmark_acme.tables:first_places"}


@hookimpl
def benchmark_executors() -> Mapping[str, str]:
    return {"acme-queue": "benchmark_acme.executor:run"}


@hookimpl
def benchmark_commands() -> Mapping[str, str]:
    return {"acme-answer": "benchmark_acme.command:answer"}


@dataclass(frozen=True)
class Options:
    """How the queue starts its jobs."""

    prefix: str = ""
    """A word in front of each command."""
    most: int = 100
    """Jobs that it takes."""


@hookimpl
def benchmark_options() -> Mapping[str, type[Options]]:
    return {"acme": Options}
