"""`reproducible: true` gives the same rankings on any machine."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Command

from benchmark import BenchmarkError
from benchmark.reproducible import check_cpu

HASHED = """
name: hashed
datasets: [{use: checkerboard, name: Board}]
models: [{use: hashed, name: Hashed}]
metrics: [R@5]
depth: 5
"""


def hashed(tmp_path: Path, environment: dict[str, str], seed: str, *words: str) -> tuple[bytes, dict[str, Any]]:
    """The ranking of a model that ranks in the order of a set, and its facts, from a process with this hash seed."""
    (tmp_path / "s.yaml").write_text(HASHED)
    run = [sys.executable, "-m", "benchmark.cli", "run", "s.yaml", "--results", seed, "--tracking", "off", *words]
    done = subprocess.run(
        run, cwd=tmp_path, env={**environment, "PYTHONHASHSEED": seed}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (cell,) = (tmp_path / seed / "hashed" / "cells" / "Board" / "Hashed").iterdir()
    (ranking,) = cell.glob("ranking-*.parquet")
    return ranking.read_bytes(), json.loads((cell / "facts.json").read_text())


def test_reproducible_gives_equal_rankings_whatever_the_hash_seed(
    faulty_environment: dict[str, str], tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    (one, facts), (other, same) = (hashed(tmp_path, faulty_environment, seed, "--reproducible") for seed in ("1", "2"))
    assert one == other
    assert facts == same
    assert facts["environment"] == {"PYTHONHASHSEED": "0", "MKL_CBWR": "COMPATIBLE", "ATEN_CPU_CAPABILITY": "avx2"}
    assert facts["deterministic"] is True
    plain, without = hashed(tmp_path, faulty_environment, "3")
    assert plain != one
    assert without["environment"] == {"PYTHONHASHSEED": "3", "MKL_CBWR": None, "ATEN_CPU_CAPABILITY": None}


def test_a_reproducible_cell_is_another_one_and_a_worker_of_its_own_starts_with_its_environment(
    command: Command, faulty_environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "s.yaml").write_text(HASHED)
    words = ("run", "s.yaml", "--results", "out", "--tracking", "off")
    assert "1 cells computed" in command(*words).stdout
    done = command(*words, "--reproducible", "--executor", "inline")
    assert done.returncode == 1
    assert "this process was started without ATEN_CPU_CAPABILITY" in done.stderr
    assert "--executor local" in done.stderr
    failed = next((tmp_path / "out" / "hashed" / "cells" / "Board" / "Hashed").glob("*/failure.json")).parent
    worker = [sys.executable, "-m", "benchmark.execution.worker", failed]
    subprocess.run(worker, env=faulty_environment, check=True)
    assert json.loads((failed / "facts.json").read_text())["environment"]["PYTHONHASHSEED"] == "0"
    assert "0 cells computed, 1 reused" in command(*words, "--set", "reproducible=true").stdout
    assert "0 cells computed, 1 reused" in command(*words).stdout


def test_a_cpu_without_avx2_is_refused() -> None:
    check_cpu("fpu sse4_2 avx avx2 bmi2")
    if platform.machine() == "x86_64":
        with pytest.raises(BenchmarkError, match="lacks AVX2"):
            check_cpu("fpu sse4_2 avx")
