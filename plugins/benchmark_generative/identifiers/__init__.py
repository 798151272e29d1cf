"""Identifiers of items: unique codes (N, L) made from vectors (N, d), with statistics; one per item, or two that share
codes."""

from __future__ import annotations

from benchmark_generative.identifiers.codes import Identifiers
from benchmark_generative.identifiers.joint import JointIdentifiers, make_joint, make_pair
from benchmark_generative.identifiers.keeping import cached
from benchmark_generative.identifiers.making import make
from benchmark_generative.identifiers.settings import IdSettings, JointSettings, Kind, Method

__all__ = [
    "IdSettings",
    "Identifiers",
    "JointIdentifiers",
    "JointSettings",
    "Kind",
    "Method",
    "cached",
    "make",
    "make_joint",
    "make_pair",
]
