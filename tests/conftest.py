"""What several test modules use: the repository's root, and `benchmark` as a command beside the faulty plugin."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def faulty_environment() -> dict[str, str]:
    """The environment of a process in which the plugin of tests/faulty is installed."""
    return {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "faulty"), "COLUMNS": "200"}


@pytest.fixture
def command(faulty_environment: dict[str, str], tmp_path: Path) -> Command:
    """Run `benchmark WORDS…` in a temporary folder and give what it printed."""

    def run(*words: str | Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "benchmark.cli", *map(str, words)],
            cwd=tmp_path,
            env=faulty_environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run
