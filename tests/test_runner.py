"""From a plan to its leaderboard: what is computed, what is reused, and what is reported of a run that goes wrong."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import FAULTY_SUITE, ROOT, Command, Silent, leaderboard

from benchmark import ContractError, Execution, Executor, Job, OnProgress, plugins
from benchmark.execution.dispatch import default_jobs, run_jobs
from benchmark.plan import make_plan
from benchmark.plugins import Offer, Plugin
from benchmark.provenance import environment
from benchmark.runner import run_suite
from benchmark.suite.load import load_suite


def test_a_failed_cell_is_tried_again_and_a_finished_one_is_not(command: Command, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(FAULTY_SUITE % ("killed", f", once: {tmp_path / 'tried'}"))
    words = ("run", "s.yaml", "--results", "out", "--tracking", "off")
    assert command(*words).returncode == 1
    cells = tmp_path / "out" / "faults" / "cells"
    before = {path: path.stat().st_mtime_ns for path in cells.rglob("cell.json")}
    done = command(*words)
    assert done.returncode == 0, done.stderr
    assert "1 cells computed, 2 reused, 0 failed" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert leaderboard(tmp_path / "out" / "faults")["failures"] == []


def test_what_changes_a_cell_computes_it_again_and_what_does_not_does_not(here: Command, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(FAULTY_SUITE % ("none", ""))
    words = ("run", "s.yaml", "--results", "out", "--tracking", "off")
    assert "3 cells computed" in here(*words).stdout
    assert "0 cells computed, 3 reused" in here(*words, "--set", "metrics=[R@5, RR@5]").stdout
    assert "1 cells computed, 2 reused" in here(*words, "--set", "models.Good.params.seconds=0.1").stdout
    assert "3 cells computed, 0 reused" in here(*words, "--set", "protocol.max_history=3").stdout
    assert "2 cells computed, 3 reused" in here(*words, "--seeds", "2").stdout  # popularity is the same with any
    assert "1 cells computed, 0 reused" in here(*words, "--only", "Pop", "--fresh").stdout
    whole = (tmp_path / "out" / "faults" / "leaderboard.csv").read_bytes()
    assert "3 cells computed" in here(*words, "--limit", "7").stdout
    assert (tmp_path / "out" / "faults" / "leaderboard.csv").read_bytes() == whole
    rows = leaderboard(tmp_path / "out" / "faults-limit-7")["rows"]
    assert {row["n"] for row in rows if row["task"] == "recommendation"} == {7}
    assert all("partial: --limit 7" in str(row["marks"]) for row in rows)


def test_what_a_model_remarks_stands_beside_its_numbers(here: Command, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(FAULTY_SUITE % ("none", ", says: half of it learned nothing"))
    assert here("run", "s.yaml", "--results", "out", "--tracking", "off").returncode == 0
    marks = {row["model"]: row["marks"] for row in leaderboard(tmp_path / "out" / "faults")["rows"]}
    assert marks == {"Pop": [], "Good": [], "Bad": ["half of it learned nothing"]}
    assert "Bad: half of it learned nothing." in (tmp_path / "out" / "faults" / "leaderboard.md").read_text()


def test_a_metric_that_fails_fails_the_cells_and_not_the_run(here: Command, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(FAULTY_SUITE % ("none", ""))
    words = ("run", "s.yaml", "--results", "out", "--tracking", "off")
    done = here(*words, "--set", "metrics=[R@5, Faulty]")
    assert done.returncode == 1, done.stderr
    assert "metric 'Faulty' failed: ZeroDivisionError" in done.stderr
    assert "0 cells computed, 3 reused" in here(*words).stdout


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


def test_variants_are_stored_for_analyses_and_absent_data_is_left_out(here: Command, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(VARIED)
    done = here("run", "s.yaml", "--results", "out", "--tracking", "off")
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
    again = here("run", "s.yaml", "--results", "out", "--tracking", "off")
    assert "1 cells computed, 1 reused" in again.stdout
    assert "! without Gone: its files are not here" in here("run", "s.yaml", "--dry-run").stdout
    nothing = here("run", "s.yaml", "--results", "out", "--tracking", "off", "--only", "Gone")
    assert nothing.returncode == 2
    assert "nowhere.txt" in nothing.stderr


def test_a_broken_variant_costs_no_more_than_itself(here: Command, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(VARIED.replace("worst: true", "worst: true, fault: variant"))
    done = here("run", "s.yaml", "--results", "out", "--tracking", "off")
    assert done.returncode == 0, done.stderr
    assert "Board/Both/seed-0: the variant 'worst/first' is missing" in done.stderr
    written = leaderboard(tmp_path / "out" / "varied")
    assert {row["model"] for row in written["rows"]} == {"Pop", "Both"}
    assert not list((tmp_path / "out").rglob("ranking-*@*"))
    assert "2 reused" in here("run", "s.yaml", "--results", "out", "--tracking", "off").stdout


def test_a_suite_whose_data_is_all_absent_is_refused(here: Command, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "name: s\ndatasets: [{use: absent, optional: true}]\nmodels: [{use: popular}]\nmetrics: [R@5]\n"
    )
    done = here("run", "s.yaml", "--results", "out", "--tracking", "off")
    assert done.returncode == 2
    assert "nowhere.txt" in done.stderr


def test_a_report_keeps_what_the_run_was(here: Command, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(FAULTY_SUITE % ("none", ""))
    options = ("--results", "out", "--tracking", "off")
    assert here("run", "s.yaml", *options, "--set", "protocol.mask_seen=true", "--seeds", "2").returncode == 0
    before = (tmp_path / "out" / "faults" / "leaderboard.md").read_bytes()
    assert b"Seen items masked" in before
    assert here("report", "s.yaml", *options).returncode == 0
    assert (tmp_path / "out" / "faults" / "leaderboard.md").read_bytes() == before


def test_a_report_says_that_cells_ran_on_several_kinds_of_processor(here: Command, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(FAULTY_SUITE % ("none", ""))
    options = ("--results", "out", "--tracking", "off")
    here("run", "s.yaml", *options)
    page = tmp_path / "out" / "faults" / "leaderboard.md"
    assert "several kinds of processor" not in page.read_text()
    (path,) = (tmp_path / "out" / "faults" / "cells" / "Board" / "Good").glob("*/cell.json")
    content = json.loads(path.read_text())
    content["machine"] = {"processor": "Old CPU", "instructions": ["avx2"]}
    del content["sha256"]  # as an older version wrote it: what is changed is not noticed
    path.write_text(json.dumps(content))
    here("report", "s.yaml", *options)
    assert "several kinds of processor" in page.read_text()
    assert "Old CPU (avx2)" in page.read_text()


def job(name: str) -> Job:
    return Job(Path(name), (), Path(name, "log.txt"))


def ended(run: Executor) -> list[tuple[Path, str]]:
    """What the runner makes of an executor that is given the jobs a and b."""
    offer = Offer("executor", "queue", run, Plugin("acme", "benchmark_acme", "benchmark-acme", "1.5"))
    return list(run_jobs(offer, [job("a"), job("b")], Execution(parallel=1), lambda *told: None))


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
    running = run_jobs(offer, [job("a"), job("b")], Execution(parallel=1), lambda *told: None)
    assert next(running) == (Path("a"), "")
    running.close()
    assert closed == [True]


TIMED = """
name: timed
datasets: [{use: checkerboard, name: Board}]
models:
  - {use: popular, name: Unknown}
  - {use: popular, name: Quick, seconds: 1}
  - {use: popular, name: Slow, seconds: 90}
metrics: [R@5]
depth: 5
threads: 2
"""


def test_the_longest_cells_start_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "faulty"))
    monkeypatch.setenv("BENCHMARK_DISABLED_PLUGINS", "mlflow")
    (tmp_path / "s.yaml").write_text(TIMED)
    given: list[Job] = []

    def run(jobs: Sequence[Job], execution: Execution, on_progress: OnProgress) -> Iterator[tuple[Path, str]]:
        """Compute nothing."""
        given.extend(jobs)
        yield from ((job.folder, "the queue is closed") for job in jobs)

    registry = plugins.load()
    queue = Offer("executor", "queue", run, registry.executors["inline"].plugin)
    registry = replace(registry, executors={"queue": queue})
    plan = make_plan(*load_suite(str(tmp_path / "s.yaml")), registry, tmp_path / "out", device="cpu")
    outcome = run_suite(plan, registry, Silent(), executor="queue")
    assert [job.folder.parent.name for job in given] == ["Slow", "Quick", "Unknown"]
    assert {(job.threads, job.device, job.timeout) for job in given} == {(2, "cpu", None)}
    assert given[0].command[-1] == str(given[0].folder)
    assert (outcome.computed, outcome.reused, len(outcome.failed)) == (0, 0, 3)
    assert {failure.error for failure in outcome.leaderboard.failures} == {"the queue is closed"}


@pytest.mark.parametrize(("device", "cores", "threads", "jobs"), [
    ("cpu", 8, 2, 4), ("cpu", 8, 3, 2), ("cpu", 1, 2, 1), ("cuda", 8, 2, 1),
])  # fmt: skip
def test_as_many_cells_run_at_a_time_as_there_are_cores_for_their_threads(
    device: str, cores: int, threads: int, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(cores)), raising=False)
    plan: Any = SimpleNamespace(device=device, suite=SimpleNamespace(threads=threads))
    assert default_jobs(plan) == jobs


def test_a_number_can_be_traced_to_versions_machine_and_commit(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        environment = {**os.environ, **dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "a"),
                       **dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "a@b")}  # fmt: skip
        done = subprocess.run(["git", *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
        return done.stdout.strip()

    source = tmp_path / "s.yaml"
    source.write_text("name: s\n")
    assert (environment(source)["git_commit"], environment(source)["git_dirty"]) == ("", False)
    git("init")
    git("add", "s.yaml")
    git("commit", "-m", "a suite")
    clean = environment(source)
    assert clean["git_commit"] == git("rev-parse", "HEAD") != ""
    assert clean["git_dirty"] is False
    assert clean["packages"]["numpy"] == np.__version__
    assert clean["python"] == platform.python_version()
    source.write_text("name: other\n")
    assert environment(source)["git_dirty"] is True
