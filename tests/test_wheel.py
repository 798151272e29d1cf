"""The wheel works without the repository: in an empty folder, by the names of the shipped suites."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT


@pytest.mark.slow
def test_the_wheel_runs_a_shipped_suite_in_an_empty_folder(tmp_path: Path) -> None:
    def run(*words: str | Path, **options: object) -> str:
        done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, **options)  # type: ignore[call-overload]
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    run("-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path / "dist", ROOT)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    roots = {name.split("/")[0].split("-")[0].removesuffix(".py") for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in roots if not name.startswith("benchmark")} == {"genrec_benchmark"}
    assert "benchmark_torch" in roots  # which plugins import, and no entry point names
    run("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", tmp_path / "site", wheel)
    (tmp_path / "empty").mkdir()
    inside = {"cwd": tmp_path / "empty", "env": {**os.environ, "PYTHONPATH": str(tmp_path / "site")}}
    assert str(tmp_path / "site") in run("-c", "import benchmark; print(benchmark.__file__)", **inside)
    assert "penha2024" in run("-m", "benchmark.cli", "suites", **inside)
    board = run("-m", "benchmark.cli", "run", "penha2024", "--only", "Pop_*", "--tracking", "off", **inside)
    assert "2 cells computed" in board
    assert (tmp_path / "empty" / "results" / "penha2024" / "leaderboard.html").is_file()
