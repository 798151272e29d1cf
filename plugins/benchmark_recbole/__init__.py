"""RecBole's SASRec, BERT4Rec, GRU4Rec, DiffRec, Caser, HGN, FDSA and S3-Rec, trained on the protocol's split and ranked
by the harness."""

from __future__ import annotations

from benchmark import hookimpl


@hookimpl
def benchmark_models() -> dict[str, str]:
    return {
        "bert4rec": "benchmark_recbole.models:Bert4Rec",
        "caser": "benchmark_recbole.user_models:Caser",
        "diffrec": "benchmark_recbole.models:DiffRec",
        "fdsa": "benchmark_recbole.content_models:Fdsa",
        "gru4rec": "benchmark_recbole.models:Gru4Rec",
        "hgn": "benchmark_recbole.user_models:Hgn",
        "s3rec": "benchmark_recbole.content_models:S3Rec",
        "sasrec": "benchmark_recbole.models:SasRec",
    }
