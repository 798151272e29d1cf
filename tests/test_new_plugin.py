from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark import BenchmarkError
from benchmark.new_plugin import create


def test_the_package_installs_lists_itself_and_passes_its_own_test(tmp_path: Path) -> None:
    package = create("good_guess", tmp_path)
    assert package == tmp_path / "benchmark-good-guess"
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--disable-pip-version-check", "--target", site, package], check=True, timeout=120)
    assert sorted(p.name for p in site.glob("benchmark_*")) == [
        "benchmark_good_guess-0.1.0.dist-info",
        "benchmark_good_guess.py",
    ]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    listing = "from benchmark.plugins import load\nprint(load().models['good_guess'].plugin)"
    listed = subprocess.run(
        [sys.executable, "-c", listing], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert listed.stdout == "plugin 'good_guess' (benchmark-good-guess 0.1.0)\n"
    tested = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", package / "tests"],
        env=environment, cwd=package, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "1 passed" in tested.stdout


def test_the_package_meets_the_rules_of_this_project(tmp_path: Path) -> None:
    package = create("train", tmp_path)
    config = str(Path(__file__).parents[1] / "pyproject.toml")
    for tool in (["ruff", "check", "--config", config], ["ruff", "format", "--check", "--config", config]):
        done = subprocess.run([sys.executable, "-m", *tool, package], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("My-Model", "'my_model' would do"),
        ("benchmark_x", "'x' would do"),
        ("2fast", "begins with a letter"),
        ("", "begins with a letter"),
        ("../x", "'x' would do"),
        ("a__b", "'a_b' would do"),
        ("tail_", "'tail' would do"),
        ("popular", "already a module 'benchmark_popular'"),
    ],
)
def test_a_name_that_will_not_do_is_refused(tmp_path: Path, name: str, hint: str) -> None:
    with pytest.raises(BenchmarkError, match=hint):
        create(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    create("acme", tmp_path)
    with pytest.raises(BenchmarkError, match=r"is already there\. Take another name, or another folder with --folder"):
        create("acme", tmp_path)
