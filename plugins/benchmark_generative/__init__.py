"""Generative models: T5 that writes item identifiers (Penha 2024; Rajput 2023; Shi 2025)."""

from __future__ import annotations

from benchmark import hookimpl


@hookimpl
def benchmark_models() -> dict[str, str]:
    return {
        "gen": "benchmark_generative.gen:Gen",
        "tiger": "benchmark_generative.tiger:Tiger",
        "gensar": "benchmark_generative.gensar:GenSar",
        "semantic_knn": "benchmark_generative.semantic_knn:SemanticKnn",
    }
