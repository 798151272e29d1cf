"""The machine that a cell ran on, as far as its numbers depend on it: the last digits of a sum, and so a ranking."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

from benchmark import reproducible

VECTOR_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve")
"""Instruction sets by which the libraries under torch and numpy choose how to multiply (Linux's names)."""


def machine(threads: int) -> dict[str, Any]:
    """The processor's name and instruction sets, the threads, and what torch says of itself where it is imported."""
    lines = _processor()
    flags = (lines.get("flags") or lines.get("Features") or "").split()
    facts: dict[str, Any] = {
        "processor": lines.get("model name") or platform.processor() or platform.machine(),
        "instructions": [flag for flag in VECTOR_FLAGS if flag in flags],
        "threads": threads,
    }
    if (torch := sys.modules.get("torch")) is not None:
        facts["torch_threads"] = torch.get_num_threads()
        facts["torch_instructions"] = torch.backends.cpu.get_cpu_capability()
        facts["matmul_precision"] = torch.get_float32_matmul_precision()
    return facts | {name: os.environ[name] for name in reproducible.ENVIRONMENT if name in os.environ}


def _processor() -> dict[str, str]:
    """What Linux says of the first core; nothing elsewhere."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n", 1)[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
