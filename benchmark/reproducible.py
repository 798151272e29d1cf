"""`reproducible: true`: one code path of the numerical libraries for every x86-64 CPU, instead of the fastest for each.

MKL, oneDNN, ATen, OpenBLAS and numpy choose their kernels by the CPU's instruction set, and another kernel adds in
another order: the last digits of a loss differ, and after some hundred updates the rankings do. The settings below are
read by the libraries when they are loaded, so they must be in a worker's environment before it imports any of them.
"""

from __future__ import annotations

import importlib
import importlib.util
import platform
from collections.abc import Mapping
from pathlib import Path

from benchmark.errors import BenchmarkError

ENVIRONMENT: Mapping[str, str] = {
    "PYTHONHASHSEED": "0",  # the order of sets
    "MKL_CBWR": "COMPATIBLE",  # its only branch that AMD's CPUs share with Intel's
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "OPENBLAS_CORETYPE": "Haswell",
    # The names of numpy 2.4 and of those before it; it passes over those that it does not know.
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # without it torch refuses deterministic algorithms on a GPU
}


def check_cpu(flags: str | None = None) -> None:
    """Raises BenchmarkError on an x86-64 CPU without AVX2, where ATen would end the process at its first kernel.

    `flags` is what /proc/cpuinfo says; by default it is read, and a system without it is taken to have AVX2.
    """
    if platform.machine() not in ("x86_64", "AMD64"):
        return
    cpuinfo = Path("/proc/cpuinfo")
    if flags is None:
        flags = cpuinfo.read_text() if cpuinfo.is_file() else "avx2"
    if "avx2" not in flags.split():
        raise BenchmarkError(
            "--reproducible: the CPU of this machine lacks AVX2, whose code path the numbers are to come from. Run "
            "without it, or on an x86-64 CPU of 2013 or later."
        )


def hold(environment: Mapping[str, str]) -> None:
    """Hold torch, where it is installed, to deterministic algorithms in this process.

    Raises BenchmarkError where the process was started without the settings, which would come too late now.
    """
    wrong = sorted(name for name, value in ENVIRONMENT.items() if environment.get(name) != value)
    if wrong:
        raise BenchmarkError(
            f"the suite is to be reproducible, but this process was started without {', '.join(wrong)}, which its "
            "libraries read when they are loaded. Run with `--executor local`, whose workers have them from the start."
        )
    if importlib.util.find_spec("torch") is not None:
        importlib.import_module("torch").use_deterministic_algorithms(True)
