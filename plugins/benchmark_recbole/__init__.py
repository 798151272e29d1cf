"""RecBole's SASRec, BERT4Rec, GRU4Rec and DiffRec, trained on the protocol's split and ranked by the harness."""

from __future__ import annotations

from benchmark import hookimpl


@hookimpl
def benchmark_models() -> dict[str, str]:
    return {
        "bert4rec": "benchmark_recbole.models:Bert4Rec",
        "diffrec": "benchmark_recbole.models:DiffRec",
        "gru4rec": "benchmark_recbole.models:Gru4Rec",
        "sasrec": "benchmark_recbole.models:SasRec",
    }
