"""What a stranger's package adds: its hooks, which import nothing but the marker."""

from __future__ import annotations

from collections.abc import Mapping

from benchmark import hookimpl


@hookimpl
def benchmark_datasets() -> Mapping[str, str]:
    return {"acme-circle": "benchmark_acme.data:circle"}


@hookimpl
def benchmark_models() -> Mapping[str, str]:
    return {"acme-repeat": "benchmark_acme.models:Repeat"}


@hookimpl
def benchmark_metrics() -> Mapping[str, str]:
    return {"Novelty": "benchmark_acme.metrics:novelty", "Missed": "benchmark_acme.metrics:missed"}
