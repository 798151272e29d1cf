"""A cell that fails ends alone, a finished one is never computed again, and a killed run leaves the same tables."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from conftest import FAULTY_SUITE, Command, benchmark, leaderboard, marked, with_faulty_plugin

FAULTS = {
    "raise": "ValueError: the model is broken",
    "nan": "NaN",
    "memory": "out of memory: no room for 1 TB",
    "killed": "killed by SIGKILL",
    "exit": "exit code 7",
    "quit": "SystemExit",
    "seen": "second time",
    "write": "ValueError: assignment destination is read-only (what a plugin is given is read-only: copy it before",
}


def with_faults(folder: Path, faults: Iterable[str]) -> None:
    """A suite with a model for each of the faults beside two models without one."""
    models = "".join(f"\n  - {{use: faulty, name: {fault}, params: {{fault: {fault}}}}}" for fault in faults)
    (folder / "s.yaml").write_text(f"""
name: faults
datasets: [{{use: checkerboard, name: Board}}]
models:
  - {{use: popular, name: Pop}}
  - {{use: faulty, name: Good}}{models}
metrics: [R@5]
depth: 5
compare: [{{model: Good, against: [Pop, raise]}}]
""")


@pytest.fixture(scope="module")
def faulty_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The results of a run of all faults, and what it printed."""
    folder = tmp_path_factory.mktemp("faults")
    with_faults(folder, FAULTS)
    done = benchmark(folder, with_faulty_plugin(), "run", "s.yaml", "--results", "out", "--tracking", "off")
    return folder / "out" / "faults", done


@pytest.mark.parametrize(("fault", "says"), FAULTS.items())
def test_a_fault_ends_its_cell_alone(
    faulty_run: tuple[Path, subprocess.CompletedProcess[str]], fault: str, says: str
) -> None:
    home, done = faulty_run
    assert done.returncode == 1, done.stderr
    written = leaderboard(home)
    assert {row["model"] for row in written["rows"]} == {"Pop", "Good"}
    assert {failure["model"] for failure in written["failures"]} == FAULTS.keys()
    (failure,) = [failure for failure in written["failures"] if failure["model"] == fault]
    assert says in str(failure["error"])
    assert (home / str(failure["log"])).is_file()
    assert says in done.stderr
    assert f"{len(FAULTS)} failed" in done.stdout


def test_inline_gives_the_same_answer_to_a_fault(here: Command, tmp_path: Path) -> None:
    faults = [fault for fault in FAULTS if fault not in ("killed", "exit")]  # these end the process of all cells
    with_faults(tmp_path, faults)
    done = here("run", "s.yaml", "--results", "out", "--tracking", "off", "--executor", "inline")
    assert done.returncode == 1, done.stderr
    failures = leaderboard(tmp_path / "out" / "faults")["failures"]
    assert [failure["model"] for failure in failures] == faults == ["raise", "nan", "memory", "quit", "seen", "write"]
    for failure in failures:
        assert FAULTS[str(failure["model"])] in str(failure["error"])


TABLES = ("leaderboard.csv", "significance.csv", "claims.json", "leaderboard.tex")
SLOW = """
name: slow
datasets: [{use: checkerboard, name: Board}]
models:
  - {use: popular, name: Pop}
  - {use: faulty, name: A, params: {seconds: 0.3}}
  - {use: faulty, name: B, params: {seconds: 0.5}}
metrics: [R@5, nDCG@5]
slices: [all, head, torso]
seeds: [0, 1]
depth: 5
compare: [{model: A, against: [Pop, B]}]
claims:
  - {where: {dataset: Board, task: recommendation, metric: R@5}, expect: {A > B: A beats B}}
"""


def tables(folder: Path) -> dict[str, bytes]:
    found = {name: (folder / "slow" / name).read_bytes() for name in TABLES}
    markdown = (folder / "slow" / "leaderboard.md").read_bytes()
    return {**found, "leaderboard.md": markdown[: markdown.index(b"## Cost")]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The tables of a run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "s.yaml").write_text(SLOW)
    done = benchmark(folder, with_faulty_plugin(), "run", "s.yaml", "--results", "whole", "--tracking", "off")
    assert done.returncode == 0, done.stderr
    return tables(folder / "whole")


def test_a_run_killed_at_any_point_resumes_to_the_same_bytes(
    command: Command, faulty_environment: dict[str, str], tmp_path: Path, whole: dict[str, bytes]
) -> None:
    (tmp_path / "s.yaml").write_text(SLOW)
    words = [sys.executable, "-m", "benchmark.cli", "run", "s.yaml", "--results", "killed", "--tracking", "off"]
    moments, met = random.Random(20), 0
    for _ in range(5):
        process = subprocess.Popen(
            words,
            cwd=tmp_path,
            env=faulty_environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        # From the start of the first worker on: before that there is nothing to lose.
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not list((tmp_path / "killed").rglob("log.txt")):
            time.sleep(0.05)
        time.sleep(moments.uniform(0, 1.5))
        met += process.poll() is None
        # The runner alone, as `kill -9` would; its workers must notice and stop.
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert met >= 2, "the run had ended before it was killed"
    done = command("run", "s.yaml", "--results", "killed", "--tracking", "off")
    assert done.returncode == 0, done.stderr
    assert tables(tmp_path / "killed") == whole
    assert not list((tmp_path / "killed" / "slow" / "cells").rglob(".*.*")), "half-written files are left over"


def test_two_runs_at_once_share_the_work_and_agree(
    faulty_environment: dict[str, str], tmp_path: Path, whole: dict[str, bytes]
) -> None:
    (tmp_path / "s.yaml").write_text(SLOW)
    words = [sys.executable, "-m", "benchmark.cli", "run", "s.yaml", "--results", "both", "--tracking", "off"]
    runs = [
        subprocess.Popen(words, cwd=tmp_path, env=faulty_environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in range(2)
    ]
    outputs = [run.communicate(timeout=120)[0].decode() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    assert tables(tmp_path / "both") == whole


def test_ctrl_c_stops_the_workers_and_keeps_what_is_finished(
    command: Command, faulty_environment: dict[str, str], tmp_path: Path, mark: str
) -> None:
    (tmp_path / "s.yaml").write_text(SLOW.replace("0.3", "0.1").replace("0.5", "60"))
    words = [sys.executable, "-m", "benchmark.cli", "run", "s.yaml", "--results", "out", "--tracking", "off"]
    process = subprocess.Popen(
        words,
        cwd=tmp_path,
        env=faulty_environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background job ignores Ctrl-C, and so would everything that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    cells = tmp_path / "out" / "slow" / "cells" / "Board"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(list(cells.glob("[AP]*/*/cell.json"))) < 3:
        time.sleep(0.1)
        if len(list(cells.glob("B/*/log.txt"))) == 2:
            break
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "stopped" in errors
    assert "Traceback" not in errors
    assert len(list(cells.glob("[AP]*/*/cell.json"))) == 3
    assert not list(cells.glob("B/*/cell.json"))
    assert not marked(mark), "a worker lives on"


def test_a_long_temporary_folder_is_no_hindrance(
    command: Command, faulty_environment: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    faulty_environment["TMPDIR"] = str(folder)
    (tmp_path / "s.yaml").write_text(FAULTY_SUITE % ("none", ""))
    done = command("run", "s.yaml", "--results", "out", "--tracking", "off", "--only", "Good")
    assert done.returncode == 0, done.stderr
