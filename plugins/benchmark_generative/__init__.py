"""Generative models: T5 that writes item identifiers (Penha 2024; Rajput 2023; Shi 2025), and what is asked of them."""

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


@hookimpl
def benchmark_analyses() -> dict[str, str]:
    return {
        "cold-start": "benchmark_generative.analyses.cold_start:cold_start",
        "diversity": "benchmark_generative.analyses.diversity:diversity",
        "diversity-examples": "benchmark_generative.analyses.diversity:diversity_examples",
        "invalid-ids": "benchmark_generative.analyses.invalid_ids:invalid_ids",
        "identifiers": "benchmark_generative.analyses.identifiers:identifiers",
        "codes-and-categories": "benchmark_generative.analyses.codes:codes_and_categories",
        "trade-off": "benchmark_generative.analyses.trade_off:trade_off",
        "model-variants": "benchmark_generative.analyses.model_variants:model_variants",
        "codebook-sweep": "benchmark_generative.analyses.codebook_sweep:codebook_sweep",
    }
