"""Personalised search (QEM, TEM) and joint search and recommendation (JSR, UniSAR) on one small PyTorch base."""

from __future__ import annotations

from benchmark import hookimpl


@hookimpl
def benchmark_models() -> dict[str, str]:
    return {
        "jsr": "benchmark_joint.models:Jsr",
        "qem": "benchmark_joint.models:Qem",
        "tem": "benchmark_joint.models:Tem",
        "unisar": "benchmark_joint.models:UniSar",
    }
