"""Identifiers of items: from vectors (N, d) to codes (N, L), unique, with what they are like, saved and read."""

from __future__ import annotations

from benchmark_generative.identifiers.codes import Identifiers
from benchmark_generative.identifiers.making import make
from benchmark_generative.identifiers.settings import PAPER, Method, Settings

__all__ = ["PAPER", "Identifiers", "Method", "Settings", "make"]
