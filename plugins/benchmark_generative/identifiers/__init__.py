"""Identifiers of items: from vectors (N, d) to codes (N, L), unique, with what they are like, saved and read; one per
item, or two that share codes."""

from __future__ import annotations

from benchmark_generative.identifiers.codes import Identifiers
from benchmark_generative.identifiers.joint import JointIdentifiers, make_joint, make_pair
from benchmark_generative.identifiers.keeping import cached
from benchmark_generative.identifiers.making import make
from benchmark_generative.identifiers.settings import JointSettings, Kind, Method, Settings

__all__ = [
    "Identifiers",
    "JointIdentifiers",
    "JointSettings",
    "Kind",
    "Method",
    "Settings",
    "cached",
    "make",
    "make_joint",
    "make_pair",
]
