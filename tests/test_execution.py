"""A cell that fails ends alone, a finished one is never computed again, and a killed run leaves the same tables."""

from __future__ import annotations

import json
import os
import platform
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, marked

from benchmark import BenchmarkError, ContractError, Execution, Executor, Job, OnProgress
from benchmark.plugins import Offer, Plugin
from benchmark.reproducible import check_cpu
from benchmark.runner import _run_jobs

SUITE = """
name: faults
datasets: [{use: checkerboard, name: Board}]
models:
  - {use: popular, name: Pop}
  - {use: faulty, name: Good}
  - {use: faulty, name: Bad, params: {fault: %s%s}}
metrics: [R@5]
depth: 5
compare: [{model: Good, against: [Pop, Bad]}]
"""
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


def leaderboard(folder: Path) -> dict[str, list[dict[str, object]]]:
    content: dict[str, list[dict[str, object]]] = json.loads((folder / "leaderboard.json").read_text())
    return content


@pytest.mark.parametrize(("fault", "says"), FAULTS.items())
def test_a_fault_ends_its_cell_alone(command: Command, tmp_path: Path, fault: str, says: str) -> None:
    (tmp_path / "s.yaml").write_text(SUITE % (fault, ""))
    done = command("run", "s.yaml", "--results", "out", "--tracking", "off")
    assert done.returncode == 1, done.stderr
    written = leaderboard(tmp_path / "out" / "faults")
    assert {row["model"] for row in written["rows"]} == {"Pop", "Good"}
    (failure,) = written["failures"]
    assert failure["model"] == "Bad"
    assert says in str(failure["error"])
    assert (tmp_path / "out" / "faults" / str(failure["log"])).is_file()
    assert says in done.stderr
    assert "1 failed" in done.stdout


@pytest.mark.parametrize("fault", ["raise", "nan", "memory", "quit", "seen"])
def test_inline_gives_the_same_answer_to_a_fault(command: Command, tmp_path: Path, fault: str) -> None:
    (tmp_path / "s.yaml").write_text(SUITE % (fault, ""))
    done = command("run", "s.yaml", "--results", "out", "--tracking", "off", "--executor", "inline")
    assert done.returncode == 1, done.stderr
    assert FAULTS[fault] in str(leaderboard(tmp_path / "out" / "faults")["failures"][0]["error"])


def test_a_failed_cell_is_tried_again_and_a_finished_one_is_not(command: Command, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SUITE % ("killed", f", once: {tmp_path / 'tried'}"))
    words = ("run", "s.yaml", "--results", "out", "--tracking", "off")
    assert command(*words).returncode == 1
    cells = tmp_path / "out" / "faults" / "cells"
    before = {path: path.stat().st_mtime_ns for path in cells.rglob("cell.json")}
    done = command(*words)
    assert done.returncode == 0, done.stderr
    assert "1 cells computed, 2 reused, 0 failed" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert leaderboard(tmp_path / "out" / "faults")["failures"] == []


def test_what_changes_a_cell_computes_it_again_and_what_does_not_does_not(command: Command, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SUITE % ("none", ""))
    words = ("run", "s.yaml", "--results", "out", "--tracking", "off")
    assert "3 cells computed" in command(*words).stdout
    assert "0 cells computed, 3 reused" in command(*words, "--set", "metrics=[R@5, RR@5]").stdout
    assert "1 cells computed, 2 reused" in command(*words, "--set", "models.Good.params.seconds=0.1").stdout
    assert "3 cells computed, 0 reused" in command(*words, "--set", "protocol.max_history=3").stdout
    assert "2 cells computed, 3 reused" in command(*words, "--seeds", "2").stdout  # popularity is the same with any
    assert "1 cells computed, 0 reused" in command(*words, "--only", "Pop", "--fresh").stdout
    whole = (tmp_path / "out" / "faults" / "leaderboard.csv").read_bytes()
    assert "3 cells computed" in command(*words, "--limit", "7").stdout
    assert (tmp_path / "out" / "faults" / "leaderboard.csv").read_bytes() == whole
    rows = leaderboard(tmp_path / "out" / "faults-limit-7")["rows"]
    assert {row["n"] for row in rows if row["task"] == "recommendation"} == {7}
    assert all("partial: --limit 7" in str(row["marks"]) for row in rows)


def test_what_a_model_remarks_stands_beside_its_numbers(command: Command, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SUITE % ("none", ", says: half of it learned nothing"))
    assert command("run", "s.yaml", "--results", "out", "--tracking", "off").returncode == 0
    marks = {row["model"]: row["marks"] for row in leaderboard(tmp_path / "out" / "faults")["rows"]}
    assert marks == {"Pop": [], "Good": [], "Bad": ["half of it learned nothing"]}
    assert "Bad: half of it learned nothing." in (tmp_path / "out" / "faults" / "leaderboard.md").read_text()


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


def test_a_run_killed_at_any_point_resumes_to_the_same_bytes(
    command: Command, faulty_environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "s.yaml").write_text(SLOW)
    assert command("run", "s.yaml", "--results", "whole", "--tracking", "off").returncode == 0
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
    assert tables(tmp_path / "killed") == tables(tmp_path / "whole")
    assert not list((tmp_path / "killed" / "slow" / "cells").rglob(".*.*")), "half-written files are left over"


def test_two_runs_at_once_share_the_work_and_agree(
    command: Command, faulty_environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "s.yaml").write_text(SLOW)
    words = [sys.executable, "-m", "benchmark.cli", "run", "s.yaml", "--results", "both", "--tracking", "off"]
    runs = [
        subprocess.Popen(words, cwd=tmp_path, env=faulty_environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in range(2)
    ]
    outputs = [run.communicate(timeout=120)[0].decode() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    assert command("run", "s.yaml", "--results", "alone", "--tracking", "off").returncode == 0
    assert tables(tmp_path / "both") == tables(tmp_path / "alone")


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


def test_a_metric_that_fails_fails_the_cells_and_not_the_run(command: Command, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SUITE % ("none", ""))
    words = ("run", "s.yaml", "--results", "out", "--tracking", "off")
    done = command(*words, "--set", "metrics=[R@5, Faulty]")
    assert done.returncode == 1, done.stderr
    assert "metric 'Faulty' failed: ZeroDivisionError" in done.stderr
    assert "0 cells computed, 3 reused" in command(*words).stdout


VARIED = """
name: varied
datasets:
  - {use: checkerboard, name: Board, models: ["!Other"], protocol: {max_history: 7}}
  - {use: absent, name: Gone, optional: true}
models:
  - {use: popular, name: Pop}
  - {use: faulty, name: Both, params: {worst: true}}
  - {use: popular, name: Other}
metrics: [R@5]
depth: 5
compare: [{model: Both, against: [Pop, Other]}]
claims:
  - {where: {dataset: "*", task: recommendation, metric: R@5}, expect: {Both > Pop: t}}
analyses: [drawing, variants]
"""


def test_variants_are_stored_for_analyses_and_absent_data_is_left_out(command: Command, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(VARIED)
    done = command("run", "s.yaml", "--results", "out", "--tracking", "off")
    assert done.returncode == 0, done.stderr
    home = tmp_path / "out" / "varied"
    written = leaderboard(home)
    assert {row["model"] for row in written["rows"]} == {"Pop", "Both"}
    assert "without Gone: its files are not here" in str(written["rows"][0]["marks"])
    assert [claim["id"] for claim in written["claims"]] == ["Board/recommendation/R@5/Both > Pop"]
    assert "has not run" not in (home / "leaderboard.md").read_text()
    assert "seed 0. Board: max_history 7." in (home / "leaderboard.md").read_text()
    assert "analysis 'drawing' failed: ContractError: its figure is not the text of an SVG file" in done.stderr
    assert "Drawing" not in (home / "leaderboard.md").read_text()
    (stored,) = home.rglob("ranking-recommendation@*.parquet")
    assert stored.parent.name.startswith("seed-0-")
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("Both  ") and "yes" in line]
    assert len(lines) == 2
    assert "worst/first" in lines[1]
    assert lines[0][-2] != lines[1][-2]
    stored.unlink()  # without it the cell is not whole
    again = command("run", "s.yaml", "--results", "out", "--tracking", "off")
    assert "1 cells computed, 1 reused" in again.stdout
    assert "! without Gone: its files are not here" in command("run", "s.yaml", "--dry-run").stdout
    nothing = command("run", "s.yaml", "--results", "out", "--tracking", "off", "--only", "Gone")
    assert nothing.returncode == 2
    assert "nowhere.txt" in nothing.stderr


def test_a_broken_variant_costs_no_more_than_itself(command: Command, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(VARIED.replace("worst: true", "worst: true, fault: variant"))
    done = command("run", "s.yaml", "--results", "out", "--tracking", "off")
    assert done.returncode == 0, done.stderr
    assert "Board/Both/seed-0: the variant 'worst/first' is missing" in done.stderr
    written = leaderboard(tmp_path / "out" / "varied")
    assert {row["model"] for row in written["rows"]} == {"Pop", "Both"}
    assert not list((tmp_path / "out").rglob("ranking-*@*"))
    assert "2 reused" in command("run", "s.yaml", "--results", "out", "--tracking", "off").stdout


def test_a_suite_whose_data_is_all_absent_is_refused(command: Command, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "name: s\ndatasets: [{use: absent, optional: true}]\nmodels: [{use: popular}]\nmetrics: [R@5]\n"
    )
    done = command("run", "s.yaml", "--results", "out", "--tracking", "off")
    assert done.returncode == 2
    assert "nowhere.txt" in done.stderr


def test_a_report_keeps_what_the_run_was(command: Command, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SUITE % ("none", ""))
    options = ("--results", "out", "--tracking", "off")
    assert command("run", "s.yaml", *options, "--set", "protocol.mask_seen=true", "--seeds", "2").returncode == 0
    before = (tmp_path / "out" / "faults" / "leaderboard.md").read_bytes()
    assert b"Seen items masked" in before
    assert command("report", "s.yaml", *options).returncode == 0
    assert (tmp_path / "out" / "faults" / "leaderboard.md").read_bytes() == before


def test_a_report_says_that_cells_ran_on_several_kinds_of_processor(command: Command, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SUITE % ("none", ""))
    options = ("--results", "out", "--tracking", "off")
    command("run", "s.yaml", *options)
    page = tmp_path / "out" / "faults" / "leaderboard.md"
    assert "several kinds of processor" not in page.read_text()
    (path,) = (tmp_path / "out" / "faults" / "cells" / "Board" / "Good").glob("*/cell.json")
    content = json.loads(path.read_text())
    content["machine"] = {"processor": "Old CPU", "instructions": ["avx2"]}
    del content["sha256"]  # as an older version wrote it: what is changed is not noticed
    path.write_text(json.dumps(content))
    command("report", "s.yaml", *options)
    assert "several kinds of processor" in page.read_text()
    assert "Old CPU (avx2)" in page.read_text()


def test_a_long_temporary_folder_is_no_hindrance(
    command: Command, faulty_environment: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    faulty_environment["TMPDIR"] = str(folder)
    (tmp_path / "s.yaml").write_text(SUITE % ("none", ""))
    done = command("run", "s.yaml", "--results", "out", "--tracking", "off", "--only", "Good")
    assert done.returncode == 0, done.stderr


def test_a_worker_is_a_command(command: Command, faulty_environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SUITE % ("raise", ""))
    command("run", "s.yaml", "--results", "out", "--tracking", "off", "--only", "Good")
    (folder,) = (tmp_path / "out" / "faults" / "cells" / "Board" / "Good").iterdir()
    (folder / "cell.json").unlink()
    worker = [sys.executable, "-m", "benchmark.execution.worker"]
    done = subprocess.run([*worker, folder], env=faulty_environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "cell.json").read_text())["model"] == "Good"
    nothing = subprocess.run([*worker, tmp_path], env=faulty_environment, capture_output=True, text=True)
    assert nothing.returncode == 1
    assert "not the folder of a cell" in nothing.stderr


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


def job(name: str) -> Job:
    return Job(Path(name), (), Path(name, "log.txt"))


def ended(run: Executor) -> list[tuple[Path, str]]:
    """What the runner makes of an executor that is given the jobs a and b."""
    offer = Offer("executor", "queue", run, Plugin("acme", "benchmark_acme", "benchmark-acme", "1.5"))
    return list(_run_jobs(offer, [job("a"), job("b")], Execution(parallel=1), lambda *told: None))


def test_a_cell_that_an_executor_loses_has_failed() -> None:
    lost = "executor 'queue' of plugin 'acme' (benchmark-acme 1.5) ended without running this cell"
    assert ended(lambda jobs, execution, tell: iter([(Path("b"), "")])) == [(Path("b"), ""), (Path("a"), lost)]


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (lambda *_: iter([(Path("a"), ""), (Path("a"), "")]), "gave a, which is not a job of this run or had ended"),
        (lambda *_: iter([(Path("c"), "")]), "gave c, which is not a job of this run or had ended before"),
        (lambda *_: iter([1]), "failed, which is a fault in it: TypeError"),
        (lambda *_: 1 / 0, "failed, which is a fault in it: ZeroDivisionError"),
    ],
    ids=["twice", "unknown", "no pair", "raises"],
)
def test_an_executor_that_breaks_its_contract_is_named(run: Executor, says: str) -> None:
    with pytest.raises(ContractError, match=rf"^executor 'queue' of plugin 'acme' \(benchmark-acme 1.5\) {says}"):
        ended(run)


def test_an_executor_is_closed_when_the_run_stops() -> None:
    closed = []

    def run(jobs: Sequence[Job], execution: Execution, on_progress: OnProgress) -> Iterator[tuple[Path, str]]:
        try:
            for one in jobs:
                yield one.folder, ""
        finally:
            closed.append(True)

    offer = Offer("executor", "queue", run, Plugin("acme", "benchmark_acme", "benchmark-acme", "1.5"))
    running = _run_jobs(offer, [job("a"), job("b")], Execution(parallel=1), lambda *told: None)
    assert next(running) == (Path("a"), "")
    running.close()
    assert closed == [True]
