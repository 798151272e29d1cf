"""Analyses for the report: tables and figures from the data sets and from what finished cells recorded."""

from __future__ import annotations

from benchmark import hookimpl


@hookimpl
def benchmark_analyses() -> dict[str, str]:
    return {
        "dataset-statistics": "benchmark_analyses.dataset_statistics:dataset_statistics",
        "cold-start": "benchmark_analyses.cold_start:cold_start",
        "diversity": "benchmark_analyses.diversity:diversity",
        "diversity-examples": "benchmark_analyses.diversity:diversity_examples",
        "invalid-ids": "benchmark_analyses.invalid_ids:invalid_ids",
        "identifiers": "benchmark_analyses.identifiers:identifiers",
        "codes-and-categories": "benchmark_analyses.codes:codes_and_categories",
        "trade-off": "benchmark_analyses.trade_off:trade_off",
        "model-variants": "benchmark_analyses.model_variants:model_variants",
        "codebook-sweep": "benchmark_analyses.codebook_sweep:codebook_sweep",
    }
