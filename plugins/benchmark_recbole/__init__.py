"""RecBole's SASRec, BERT4Rec, GRU4Rec and DiffRec, trained on the protocol's split and ranked by the harness."""

from __future__ import annotations

from benchmark import hookimpl


@hookimpl
def benchmark_models() -> dict[str, str]:
    return {
        "sasrec": "benchmark_recbole.models:SasRec",
    }
