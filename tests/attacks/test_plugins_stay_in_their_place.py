"""A plugin that changes the working directory or the umask, or litters, moves no result and leaves nothing behind."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.isolation import contained

ROOT = Path(__file__).resolve().parents[2]
WANDERER = '''
"""Leaves for another folder wherever it is called."""

import os

import numpy as np
import pandas as pd

from benchmark import Analysis, hookimpl, top_k
from benchmark.testing import checkerboard_log


def leave():
    os.chdir(os.environ["AWAY"])
    os.umask(0o777)


leave()


@hookimpl
def benchmark_datasets():
    leave()
    return {"wandering": reader}


@hookimpl
def benchmark_models():
    return {"wandering": Wanderer}


@hookimpl
def benchmark_metrics():
    return {"Wandering": metric}


@hookimpl
def benchmark_analyses():
    return {"wandering": "wanderer:analysis"}


@hookimpl
def benchmark_suite_started(run):
    leave()


@hookimpl
def benchmark_cell_finished(run):
    leave()


@hookimpl
def benchmark_suite_finished(run):
    leave()


def reader(file: str):
    assert os.path.isfile(file)
    leave()
    return checkerboard_log(tasks=["recommendation"])


def metric(ranking, relevant, k):
    leave()
    return np.ones(len(ranking))


def analysis(given):
    leave()
    return Analysis("Away", pd.DataFrame({"model": [cell.model for cell in given.cells]}))


class Wanderer:
    tasks = frozenset({"recommendation"})

    def __init__(self, file: str):
        self.file = file
        leave()

    def fit(self, train, valid, context):
        assert os.path.isfile(self.file)
        open("stray-of-fit", "w").close()
        leave()
        self.n = len(train.catalog)

    def rank(self, requests, k):
        open("stray-of-rank", "w").close()
        leave()
        return top_k(np.tile(np.arange(self.n), (len(requests), 1)), requests, k)
'''
SUITE = """
name: away
datasets: [{use: wandering, name: One, params: {file: here.txt}}, {use: wandering, name: Two, params: {file: here.txt}}]
models: [{use: wandering, name: W, params: {file: here.txt}}]
metrics: [Wandering@5, R@5, "R@5|wandering-5-random"]
depth: 5
analyses: [wandering]
protocol: {candidates: {recommendation: [{kind: wandering, n: 5, fill: random, params: {file: here.txt}}]}}
"""


@pytest.mark.parametrize("executor", ["local", "inline"])
def test_a_plugin_that_leaves_its_folder_moves_no_result(tmp_path: Path, executor: str) -> None:
    home, away, installed = (tmp_path / name for name in ("home", "away", "installed"))
    for folder in (home, away, installed / "wanderer-1.0.dist-info"):
        folder.mkdir(parents=True)
    (installed / "wanderer.py").write_text(WANDERER)
    (installed / "wanderer-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: wanderer\nVersion: 1\n"
    )
    (installed / "wanderer-1.0.dist-info" / "entry_points.txt").write_text("[benchmark]\nwanderer = wanderer\n")
    (home / "s.yaml").write_text(SUITE)
    (home / "here.txt").touch()

    def benchmark(*words: str) -> str:
        path = os.pathsep.join(map(str, (installed, ROOT, ROOT / "plugins")))
        done = subprocess.run(
            [sys.executable, "-m", "benchmark.cli", *words],
            cwd=home,
            env={**os.environ, "PYTHONPATH": path, "AWAY": str(away), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert "failed:" not in done.stderr
        return done.stdout

    said = benchmark("run", "s.yaml", "--tracking", "off", "--executor", executor)
    assert "2 cells computed, 0 reused, 0 failed. Report: results/away/leaderboard.html" in said
    assert "Away" in said
    benchmark("report", "s.yaml", "--tracking", "off")
    assert {path.name for path in home.iterdir()} == {"s.yaml", "here.txt", "results"}
    assert list(away.iterdir()) == []
    made = [path for path in (home / "results").rglob("*") if path.is_file()]
    assert home / "results" / "away" / "leaderboard.html" in made
    assert [path for path in made if "stray" in path.name] == []
    assert [path for path in made if not path.stat().st_mode & stat.S_IRUSR] == []


def test_a_working_directory_that_is_removed_or_renamed_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with contained():
        os.chdir("/")
        folder.rename(tmp_path / "moved")
    assert Path.cwd() == tmp_path / "moved"
    with contained():
        (tmp_path / "moved").rmdir()
        os.chdir("/")
    with pytest.raises(FileNotFoundError):
        Path.cwd()
