"""The MLflow observer on real stores: SQLite files, a server in its own process, and MLflow's pages in a browser."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import benchmark_mlflow
import pytest
from benchmark_mlflow.entries import metric_key, plain
from benchmark_mlflow.tracker import Tracker

from benchmark import BenchmarkError, Cell, CellResult, Costs, Run, Suite, Task
from benchmark.testing import checkerboard

pytest.importorskip("mlflow")

METRICS = ["R@30", "nDCG@10"]
RECALL = {"Pop_R": 0.152, "SASRec[CE]": 0.231, "Gen_R+S": 0.245}


def cell(model: str, *tasks: Task) -> Cell:
    return Cell(
        dataset="ML",
        model=model,
        seed=0,
        tasks=tasks,
        fingerprint=model.encode().hex().ljust(64, "0"),
        digest="d" * 64,
        dataset_use="movielens",
        dataset_params={"variant": "ml-100k"},
        model_use="gen",
        model_params={"layers": 2, "tasks": ["recommendation"], "note": "x" * 7000},
        versions={"gen": "0.1.0+abc"},
    )


CELLS = (
    cell("Pop_R", "recommendation"),
    cell("SASRec[CE]", "recommendation"),
    cell("Gen_R+S", "recommendation", "search"),
)


def suite(**changes: Any) -> Suite:
    values: dict[str, Any] = {
        "name": "tiny",
        "title": "Three models on three items",
        "profile": "laptop",
        "datasets": [{"use": "movielens", "name": "ML"}],
        "models": [{"use": "gen", "name": model} for model in RECALL],
        "metrics": METRICS,
        "slices": ["all", "head", "torso"],
    }
    return Suite(**(values | changes))


def result(plan: Run, cell: Cell, seconds: float = 2.5, **changes: Any) -> CellResult:
    """How a cell ended, with its folder as the worker writes it."""
    folder = plan.results / "cells" / cell.dataset / cell.model / f"seed-{cell.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    files = {"facts.json": "{}", "log.txt": f"training {cell.model}\n", "curve.csv": "step,loss\n1,0.5\n"}
    files |= {"scores-recommendation.parquet": "PAR1", "ranking-recommendation.parquet": "PAR1", "cell.json": "{}"}
    for name, text in files.items():
        (folder / name).write_text(text)
    means = {
        (task, name, metric): round(RECALL[cell.model] * share * (1 if metric == "R@30" else 0.5), 6)
        for task in cell.tasks
        for name, share in (("all", 1.0), ("head", 2.0), ("torso", 0.5))
        for metric in plan.suite.metrics
    }
    ended = CellResult(
        "finished",
        folder,
        facts={"distinct_items": 3},
        costs=Costs(fit_seconds=seconds, rank_seconds=0.5, parameters=1000.0),
        curve=[{"step": 10, "loss": 2.0, "R@30": 0.1}, {"step": 20, "loss": 1.5, "R@30": 0.2}],
        means=means,
    )
    return replace(ended, **changes)


def plan_in(folder: Path, tracking: str = "", cells: tuple[Cell, ...] = CELLS, **changes: Any) -> Run:
    results = folder / "results" / "tiny"
    results.mkdir(parents=True, exist_ok=True)
    (results / "environment.json").write_text(json.dumps({"git_commit": "c0ffee", "git_dirty": False}))
    for name in ("leaderboard.json", "leaderboard.html", "significance.csv", "claims.json", "suite.yaml"):
        (results / name).write_text(f"{name} {changes}")
    (results / "figures").mkdir(exist_ok=True)
    (results / "figures" / "sizes.svg").write_text("<svg/>")
    return Run(
        suite=suite(**changes),
        source=Path("suites/tiny.yaml"),
        results=results,
        datasets={"ML": checkerboard()},
        cells=cells,
        selected=cells,
        options={"mlflow": {"uri": tracking}},
        marks=("reduced scale",),
    )


def results_of(plan: Run, **changes: Any) -> dict[Cell, CellResult]:
    return {cell: result(plan, cell, **changes) for cell in plan.cells}


def run(
    plan: Run,
    results: Mapping[Cell, CellResult] | None = None,
    begun: Callable[[], None] = lambda: None,
) -> None:
    """Call the hooks as `benchmark run` does; `begun` before the first cell finishes."""
    results = results_of(plan) if results is None else results
    benchmark_mlflow.benchmark_suite_started(plan)
    begun()
    for cell, ended in results.items():
        benchmark_mlflow.benchmark_cell_finished(plan, cell, ended)
    benchmark_mlflow.benchmark_suite_finished(plan, results)


def report(plan: Run, results: Mapping[Cell, CellResult]) -> None:
    """Call the hook as `benchmark report` does."""
    benchmark_mlflow.benchmark_suite_finished(plan, results)


def client_of(plan: Run) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=plan.options["mlflow"]["uri"] or f"sqlite:///{plan.results.parent / 'mlflow.db'}")


def runs_of(plan: Run) -> tuple[list[Any], list[Any]]:
    """The runs of leaderboards and the runs of cells in the store, oldest first."""
    client = client_of(plan)
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id], order_by=["start_time ASC"])
    leaderboards = [run for run in runs if "benchmark.computation" not in run.data.tags]
    return leaderboards, [run for run in runs if "benchmark.computation" in run.data.tags]


def parents_of(cells: Iterable[Any]) -> set[str | None]:
    """The ids of the runs below which these runs are nested."""
    return {run.data.tags.get("mlflow.parentRunId") for run in cells}


def files_of(plan: Run, run_id: str) -> set[str]:
    return {f.path for f in client_of(plan).list_artifacts(run_id)}


def fails(error: Exception) -> Callable[..., Any]:
    """A function that raises the error."""

    def failing(*_: Any, **__: Any) -> Any:
        raise error

    return failing


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.001)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with all its tables, made once: making them takes seconds."""
    plan = plan_in(tmp_path_factory.mktemp("empty"))
    benchmark_mlflow.benchmark_suite_started(plan)
    database = plan.results.parent / "mlflow.db"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("DELETE FROM experiment_tags")
        connection.execute("DELETE FROM experiments WHERE name = 'tiny'")
        connection.commit()
    return database


@pytest.fixture
def home(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an empty store under results/, which is also the working directory."""
    (tmp_path / "results").mkdir()
    shutil.copy(empty_store, tmp_path / "results" / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (("recommendation", "all", "R@30"), "recommendation.R_30"),
        (("recommendation", "head", "R@30"), "recommendation.R_30.head"),
        (("search", "torso", "AP(rel=2)@100"), "search.AP_rel_2_100.torso"),
        (("search", "all", "HR@10|uni99"), "search.HR_10.uni99"),
    ],
)
def test_metric_names_are_what_mlflow_takes(name: tuple[str, str, str], key: str) -> None:
    assert metric_key(*name) == key


def test_names_keep_letters_of_any_language() -> None:
    assert plain("précision@5") == "précision_5"


def test_a_long_name_is_cut_to_what_databases_take(home: Path) -> None:
    plan = replace(plan_in(home, cells=CELLS[:1]), marks=("without Beauty: its files are not here",) * 9)
    run(plan)
    (parent,), _ = runs_of(plan)
    assert len(parent.info.run_name) == 250
    assert parent.data.tags["benchmark.marks"] == ", ".join(plan.marks)


def test_a_run_is_logged_whole(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = dict(os.environ)
    plan = plan_in(home)
    run(plan)

    parents, children = runs_of(plan)
    assert [p.info.run_name for p in parents] == ["tiny laptop reduced scale"]
    assert {c.info.run_name for c in children} == {"ML/Pop_R/seed-0", "ML/SASRec[CE]/seed-0", "ML/Gen_R+S/seed-0"}
    assert parents_of(children) == {parents[0].info.run_id}
    assert {r.info.status for r in (*parents, *children)} == {"FINISHED"}
    child = next(c for c in children if "Gen_R+S" in c.info.run_name)
    assert child.info.end_time - child.info.start_time == 3000  # 2.5 s of fit, 0.5 s of rank
    means = {k: v for k, v in child.data.metrics.items() if "R_30" in k}
    assert means == {
        "recommendation.R_30": 0.245,
        "recommendation.R_30.head": 0.49,
        "recommendation.R_30.torso": 0.1225,
        "search.R_30": 0.245,
        "search.R_30.head": 0.49,
        "search.R_30.torso": 0.1225,
        "curve.R_30": 0.2,
    }
    assert child.data.metrics["fit_seconds"] == 2.5
    assert "peak_memory_bytes" not in child.data.metrics
    history = client_of(plan).get_metric_history(child.info.run_id, "curve.loss")
    assert [(point.step, point.value) for point in history] == [(10, 2.0), (20, 1.5)]
    assert len(child.data.params["param.note"]) == 6000
    kept = {k: v for k, v in child.data.params.items() if k != "param.note"}
    assert kept == {
        "dataset": "ML",
        "model": "Gen_R+S",
        "use": "gen",
        "seed": "0",
        "tasks": '["recommendation", "search"]',
        "device": "cpu",
        "profile": "laptop",
        "param.layers": "2",
        "param.tasks": '["recommendation"]',
        "data.variant": "ml-100k",
    }
    tags = child.data.tags
    assert tags["benchmark.fingerprint"] == CELLS[2].fingerprint
    assert tags["benchmark.digest"] == "d" * 64
    assert tags["benchmark.marks"] == "reduced scale"
    assert tags["benchmark.plugin_version"] == "gen 0.1.0+abc"
    assert tags["mlflow.source.git.commit"] == "c0ffee"
    (data,) = child.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("ML", "d" * 36)
    assert json.loads(data.dataset.source) == {"tags": {"plugin": "movielens", "params": {"variant": "ml-100k"}}}
    assert [(tag.key, tag.value) for tag in data.tags] == [("mlflow.data.context", "evaluation")]
    cell_files = {"facts.json", "curve.csv", "log.txt", "scores-recommendation.parquet"}
    assert files_of(plan, child.info.run_id) == cell_files
    report_files = {"leaderboard.json", "leaderboard.html", "significance.csv", "claims.json"}
    report_files |= {"suite.yaml", "environment.json", "figures"}
    assert files_of(plan, parents[0].info.run_id) == report_files
    assert [f.path for f in client_of(plan).list_artifacts(parents[0].info.run_id, "figures")] == ["figures/sizes.svg"]
    assert parents[0].data.metrics == {"cells_finished": 3, "cells_failed": 0}

    assert capfd.readouterr() == ("", "")
    assert dict(os.environ) == before
    assert {path.name for path in home.iterdir()} == {"results"}
    names = {path.name for path in (home / "results").iterdir()}
    assert names == {"mlartifacts", "mlflow.db", "mlflow.db.lock", "tiny"}


def test_a_cell_is_one_batch_of_at_most_a_thousand_metrics(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    batches: list[tuple[str, int]] = []
    log_batch = SqlAlchemyStore.log_batch

    def counted(store: Any, run_id: str, metrics: Any, params: Any, tags: Any) -> Any:
        batches.append((run_id, len(metrics)))
        return log_batch(store, run_id, metrics, params, tags)

    monkeypatch.setattr(SqlAlchemyStore, "log_batch", counted)
    for single in ("log_metric", "log_param"):
        monkeypatch.setattr(SqlAlchemyStore, single, fails(AssertionError("a call for a single value")))
    plan = plan_in(home)
    long = [{"step": step, "loss": 1 / step, "R@30": 0.1} for step in range(1, 601)]
    results = {CELLS[0]: result(plan, CELLS[0]), CELLS[1]: result(plan, CELLS[1], curve=long)}
    tags: list[str] = []
    set_tag = SqlAlchemyStore.set_tag
    monkeypatch.setattr(SqlAlchemyStore, "set_tag", lambda *call: (tags.append(call[2].key), set_tag(*call)))
    run(plan, results)

    parents, children = runs_of(plan)
    assert tags == ["mlflow.parentRunId"] * 2
    sizes = {c.info.run_name: [n for run_id, n in batches if run_id == c.info.run_id] for c in children}
    assert sizes["ML/Pop_R/seed-0"] == [13]  # 2 metrics on 3 slices, 3 costs, 2 points of 2 curves
    assert sum(sizes["ML/SASRec[CE]/seed-0"]) == 1209
    assert len(sizes["ML/SASRec[CE]/seed-0"]) == 2
    assert len([1 for run_id, _ in batches if run_id == parents[0].info.run_id]) == 1


def test_a_run_that_computes_nothing_writes_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    plan = plan_in(home)
    results = results_of(plan)
    run(plan, results)

    for writing in ("create_run", "log_batch", "log_inputs", "log_artifact", "set_tag", "set_terminated"):
        monkeypatch.setattr(MlflowClient, writing, fails(AssertionError("something was written")))
    started = time.perf_counter()
    run(plan, {c: replace(ended, reused=True) for c, ended in results.items()})
    assert time.perf_counter() - started < 2


def test_a_metric_that_the_suite_gains_is_added_to_the_runs_that_are_there(home: Path) -> None:
    first = plan_in(home)
    run(first)
    plan = plan_in(home, metrics=[*METRICS, "RR@10"])
    run(plan, results_of(plan, reused=True))

    parents, children = runs_of(plan)
    assert len(children) == 3
    assert parents_of(children) == {parents[1].info.run_id}
    assert all({"recommendation.RR_10", "recommendation.RR_10.head"} <= set(c.data.metrics) for c in children)
    points = client_of(plan).get_metric_history(children[0].info.run_id, "recommendation.R_30")
    assert len(points) == 1  # what was there is not logged again
    assert "leaderboard.json" in files_of(plan, parents[0].info.run_id)


def test_a_cell_that_another_run_has_logged_in_the_meantime_is_not_logged_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is alone in the store does not even look for the cells that it has computed."""
    searches: list[str] = []
    find = Tracker._find

    def counted(tracker: Tracker, tag: str, value: str) -> Any:
        searches.append(tag)
        return find(tracker, tag, value)

    monkeypatch.setattr(Tracker, "_find", counted)
    plan = plan_in(home)
    results = results_of(plan)
    first, second = (Tracker(plan) for _ in range(2))
    first.cell_finished(CELLS[0], results[CELLS[0]])
    assert len(searches) == 1  # the second has connected in the meantime
    second.cell_finished(CELLS[0], results[CELLS[0]])
    first.cell_finished(CELLS[1], results[CELLS[1]])
    second.cell_finished(CELLS[1], results[CELLS[1]])
    assert len(searches) == 4
    for tracker in (first, second):
        tracker.suite_finished(results)
    assert [len(runs) for runs in runs_of(plan)] == [1, 3]

    searches.clear()
    third = Tracker(plan)
    for cell in CELLS:
        third.cell_finished(cell, result(plan, cell, seconds=3.5))
    assert not searches


def test_an_interrupted_run_leaves_nothing_open_and_the_next_one_takes_over_its_cells(home: Path) -> None:
    plan = plan_in(home)
    results = results_of(plan)
    benchmark_mlflow.benchmark_suite_started(plan)
    benchmark_mlflow.benchmark_cell_finished(plan, CELLS[0], results[CELLS[0]])
    _, children = runs_of(plan)
    assert [c.info.status for c in children] == ["FINISHED"]
    assert parents_of(children) == {None}

    run(plan, results | {CELLS[0]: replace(results[CELLS[0]], reused=True)})
    (parent,), children = runs_of(plan)
    assert {r.info.status for r in (parent, *children)} == {"FINISHED"}
    assert len(children) == 3
    assert parents_of(children) == {parent.info.run_id}


def test_a_half_logged_leaderboard_is_completed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    plan = plan_in(home)
    results = results_of(plan)
    tracker = Tracker(plan)
    for item in results.items():
        tracker.cell_finished(*item)
    for call, status in (("log_artifact", "RUNNING"), ("set_tag", "FINISHED")):
        with monkeypatch.context() as broken:
            broken.setattr(MlflowClient, call, fails(OSError("no space left")))
            with pytest.raises(BenchmarkError, match="no space left"):
                tracker.suite_finished(results)
        assert [p.info.status for p in runs_of(plan)[0]] == [status]
    report(plan, results)
    (parent,), children = runs_of(plan)
    assert parents_of(children) == {parent.info.run_id}
    assert len(children) == 3
    assert len(client_of(plan).get_metric_history(parent.info.run_id, "cells_finished")) == 1


def test_a_run_that_is_deleted_in_mlflow_is_logged_again(home: Path) -> None:
    plan = plan_in(home)
    results = results_of(plan)
    run(plan, results)
    (parent,), children = runs_of(plan)
    client_of(plan).delete_run(children[0].info.run_id)
    report(plan, results)
    assert [len(runs) for runs in runs_of(plan)] == [1, 3]
    client_of(plan).delete_run(parent.info.run_id)
    report(plan, results)
    (parent,), children = runs_of(plan)
    assert parents_of(children) == {parent.info.run_id}


def test_a_half_logged_cell_is_completed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    plan = plan_in(home, cells=CELLS[:2])
    results = results_of(plan)
    benchmark_mlflow.benchmark_suite_started(plan)
    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, "log_inputs", fails(OSError("no space left")))
        with pytest.raises(
            BenchmarkError, match=r"stopped answering: no space left\. No result is lost.*benchmark report"
        ):
            benchmark_mlflow.benchmark_cell_finished(plan, CELLS[0], results[CELLS[0]])
        benchmark_mlflow.benchmark_cell_finished(plan, CELLS[1], results[CELLS[1]])  # raises no second error
    assert [c.info.status for c in runs_of(plan)[1]] == ["RUNNING"]

    benchmark_mlflow.benchmark_suite_finished(plan, results)
    parents, children = runs_of(plan)
    assert {c.info.run_name for c in children} == {"ML/Pop_R/seed-0", "ML/SASRec[CE]/seed-0"}
    assert [c.info.status for c in children] == ["FINISHED"] * 2
    history = client_of(plan).get_metric_history
    assert {len(history(c.info.run_id, "recommendation.R_30")) for c in children} == {1}
    assert len(children[0].inputs.dataset_inputs) == 1
    assert [p.info.status for p in parents] == ["FINISHED"]


def test_the_end_of_a_run_takes_over_the_cells_of_a_report_during_it(home: Path) -> None:
    plan = plan_in(home, cells=CELLS[:2])
    results = results_of(plan)
    run_in_another_process = Tracker(plan)
    run_in_another_process.cell_finished(CELLS[0], results[CELLS[0]])
    report(plan, {CELLS[0]: results[CELLS[0]]})
    run_in_another_process.cell_finished(CELLS[1], results[CELLS[1]])
    run_in_another_process.suite_finished(results)
    parents, children = runs_of(plan)
    assert {r.info.status for r in (*parents, *children)} == {"FINISHED"}
    assert len(children) == 2
    finished = {p.data.metrics["cells_finished"]: p.info.run_id for p in parents}
    assert finished.keys() == {1, 2}
    assert parents_of(children) == {finished[2]}


def test_a_failed_cell_stays_when_it_later_succeeds(home: Path) -> None:
    plan = plan_in(home, cells=CELLS[:1])
    folder = result(plan, CELLS[0]).directory
    (folder / "cell.json").unlink()
    failed = CellResult("failed", folder, error="MemoryError: 64 GiB")
    run(plan, {CELLS[0]: failed})
    report(plan, {CELLS[0]: failed})  # logs no failure twice
    run(plan)

    (first, second), children = runs_of(plan)
    assert [first.info.status, second.info.status] == ["FAILED", "FINISHED"]
    by_status = {c.info.status: c for c in children}
    assert len(children) == 2
    assert by_status["FAILED"].data.tags["mlflow.parentRunId"] == first.info.run_id
    assert by_status["FAILED"].data.tags["benchmark.error"] == "MemoryError: 64 GiB"
    assert "log.txt" in files_of(plan, by_status["FAILED"].info.run_id)
    assert by_status["FINISHED"].data.tags["mlflow.parentRunId"] == second.info.run_id


def test_a_cell_that_is_computed_again_is_a_new_run(home: Path) -> None:
    plan = plan_in(home, cells=CELLS[:1])
    run(plan)
    run(plan, results_of(plan, seconds=3.5))
    parents, children = runs_of(plan)
    assert sorted(c.data.metrics["fit_seconds"] for c in children) == [2.5, 3.5]
    assert parents_of(children) == {p.info.run_id for p in parents}


def test_a_report_logs_cells_that_no_process_has_seen(home: Path) -> None:
    plan = plan_in(home, cells=CELLS[:2])
    report(plan, results_of(plan, reused=True))
    parents, children = runs_of(plan)
    assert len(parents) == 1
    assert {c.info.run_name for c in children} == {"ML/Pop_R/seed-0", "ML/SASRec[CE]/seed-0"}


def test_off_and_a_missing_mlflow_import_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(plan_in(tmp_path, tracking="off"), {})
    assert not (tmp_path / "results" / "mlflow.db").exists()
    code = "import sys, benchmark_mlflow; sys.exit('mlflow' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "mlflow" else find_spec(name, *a))
    run(plan_in(tmp_path), {})
    with pytest.raises(BenchmarkError, match=r"pip install 'genrec-benchmark\[mlflow\]'"):
        run(plan_in(tmp_path, tracking="http://localhost:1"), {})


@pytest.mark.parametrize(
    ("tracking", "reason"),
    [
        ("http://me:secret@127.0.0.1:1", "Connection refused"),
        ("postgresql://me:secret@127.0.0.1:1/runs", "Connection refused"),
        ("sqlite:///{home}/broken.db", "file is not a database"),
        ("{home}/mlruns", "maintenance mode"),
        ("ftp://127.0.0.1/runs", "ftp"),
    ],
)
def test_a_store_that_cannot_be_used_is_refused_before_training(home: Path, tracking: str, reason: str) -> None:
    (home / "broken.db").write_text("This is not a database, and long enough to be looked at. " * 20)
    plan = plan_in(home, tracking=tracking.format(home=home))
    started = time.perf_counter()
    with pytest.raises(BenchmarkError) as refused:
        benchmark_mlflow.benchmark_suite_started(plan)
    assert time.perf_counter() - started < 15
    text = str(refused.value)
    assert reason in text
    assert "--tracking off" in text
    assert "secret" not in text
    assert len(text.splitlines()) == 1


def test_a_store_that_another_run_holds(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_in(home)
    run(plan, {})
    monkeypatch.setattr("benchmark_mlflow.store.LOCK_SECONDS", 0.1)
    with next(home.rglob("mlflow.db.lock")).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BenchmarkError, match="another run is logging to it"):
            benchmark_mlflow.benchmark_suite_started(plan)


def test_a_deleted_experiment_is_named_with_the_way_back(home: Path) -> None:
    plan = plan_in(home)
    run(plan, {})
    client = client_of(plan)
    number = client.get_experiment_by_name("tiny").experiment_id
    client.delete_experiment(number)
    with pytest.raises(BenchmarkError, match=f"mlflow experiments restore --experiment-id {number}"):
        benchmark_mlflow.benchmark_suite_started(plan)


def test_an_interrupted_first_run_goes_on(tmp_path: Path, empty_store: Path) -> None:
    """A process that makes the store is killed as soon as its first tables are on the disk, then once more as if under
    an older version, which made it in place: MLflow alone then always fails with `duplicate column name: step`."""
    results = tmp_path / "results"
    new, database = results / "mlflow.db.new", results / "mlflow.db"
    code = (
        f"import sys, pathlib; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_mlflow as t\n"
        f"t.run(t.plan_in(pathlib.Path({str(tmp_path)!r})), {{}})"
    )
    making = subprocess.Popen([sys.executable, "-c", code])
    wait_until(lambda: new.exists() and new.stat().st_size > 0)
    making.kill()
    making.wait()
    assert new.stat().st_size
    assert not database.exists()

    shutil.copy(empty_store, database)
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.executescript("DELETE FROM experiments; DELETE FROM alembic_version; DROP TABLE issues")
    half_made = database.read_bytes()
    plan = plan_in(tmp_path, cells=CELLS[:1])
    run(plan)
    assert [len(runs) for runs in runs_of(plan)] == [1, 1]
    assert {path.name for path in results.glob("mlflow.db*")} == {"mlflow.db", "mlflow.db.half-made", "mlflow.db.lock"}
    assert (results / "mlflow.db.half-made").read_bytes() == half_made


def run_beside_another(folder: Path, name: str, other: str) -> None:
    """A run in which no cell finishes before both runs have begun; it would be a reused cell in one of them."""

    def both_begun() -> None:
        (folder / name).touch()
        wait_until((folder / other).exists)

    run(plan_in(folder), begun=both_begun)


def test_two_processes_may_start_on_an_empty_store(tmp_path: Path) -> None:
    """Without a lock the second dies of 'duplicate column name'; with one, both log each cell once."""
    code = (
        f"import sys, pathlib; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_mlflow as t\n"
        f"t.run_beside_another(pathlib.Path({str(tmp_path)!r}), *sys.argv[1:])"
    )
    words = [[sys.executable, "-c", code, *names] for names in ("ab", "ba")]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in words]
    assert [(p.communicate(timeout=100)[1], p.returncode) for p in both] == [("", 0), ("", 0)]
    _, children = runs_of(plan_in(tmp_path))
    assert sorted(c.info.run_name for c in children) == sorted(cell.name for cell in CELLS)


# ---------------------------------------------------------------- a server


def free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def serve(home: Path) -> Iterator[Callable[[int], subprocess.Popen[bytes]]]:
    """Starts `mlflow server` on the store of the home folder, ready to answer."""
    started: list[subprocess.Popen[bytes]] = []

    def start(port: int) -> subprocess.Popen[bytes]:
        results = home / "results"
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{results / 'mlflow.db'}"]
        command += ["--artifacts-destination", (results / "mlartifacts").as_uri()]
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (home / f"server-{len(started)}.log").open("w") as log:
            server = subprocess.Popen(
                command, stdout=log, stderr=log, env=os.environ | quiet, start_new_session=True, cwd=results
            )
        started.append(server)
        wait_until(lambda: listens(port) or server.poll() is not None)
        assert server.poll() is None, Path(log.name).read_text()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60):
            return server

    yield start
    for server in started:
        kill(server)


def kill(server: subprocess.Popen[bytes]) -> None:
    """The server and its worker, which are a process group of their own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait(timeout=20)


@pytest.mark.slow
def test_a_server_that_dies_costs_no_result(
    home: Path, serve: Callable[[int], subprocess.Popen[bytes]], capfd: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    server = serve(port)
    plan = plan_in(home, tracking=f"http://127.0.0.1:{port}")
    results = results_of(plan)
    benchmark_mlflow.benchmark_suite_started(plan)
    benchmark_mlflow.benchmark_cell_finished(plan, CELLS[0], results[CELLS[0]])
    kill(server)
    started = time.perf_counter()
    with pytest.raises(
        BenchmarkError, match=r"stopped answering.*Connection refused.*benchmark report suites/tiny\.yaml"
    ):
        benchmark_mlflow.benchmark_cell_finished(plan, CELLS[1], results[CELLS[1]])
    benchmark_mlflow.benchmark_cell_finished(plan, CELLS[2], results[CELLS[2]])
    with pytest.raises(BenchmarkError, match="benchmark report"):
        benchmark_mlflow.benchmark_suite_finished(plan, results)
    assert time.perf_counter() - started < 20

    serve(port)
    report(plan, results)
    (parent,), children = runs_of(plan)
    assert sorted(c.info.run_name for c in children) == sorted(cell.name for cell in CELLS)
    assert {c.info.status for c in children} == {"FINISHED"}
    assert parent.info.status == "FINISHED"
    assert "leaderboard.html" in files_of(plan, parent.info.run_id)
    assert "log.txt" in files_of(plan, children[0].info.run_id)
    assert capfd.readouterr() == ("", "")


def ui(home: Path, port: int) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "benchmark.cli", "ui", "--results", str(home / "results"), "--port", str(port)]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def test_the_pages_end_with_their_command_and_a_busy_port_is_refused(home: Path) -> None:
    port = free_port()
    first = ui(home, port)
    wait_until(lambda: listens(port) or first.poll() is not None)
    second = ui(home, port)
    _, message = second.communicate(timeout=60)
    assert (second.returncode, message) == (
        2,
        f"error: port {port} cannot be used (Address already in use). Give another one: --port N\n",
    )
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=60)  # ends when the last process that has its stderr has ended
    assert first.returncode == 143
    assert not listens(port)


def test_the_pages_show_all_runs_before_there_is_a_leaderboard_and_end_with_ctrl_c(home: Path) -> None:
    plan = plan_in(home)
    benchmark_mlflow.benchmark_suite_started(plan)
    benchmark_mlflow.benchmark_cell_finished(plan, CELLS[0], result(plan, CELLS[0]))
    port = free_port()
    pages = ui(home, port)
    assert pages.stderr is not None
    _, address = pages.stderr.readline(), pages.stderr.readline()
    pages.send_signal(signal.SIGINT)
    _, message = pages.communicate(timeout=60)
    assert (pages.returncode, message) == (130, "")
    number = client_of(plan).get_experiment_by_name("tiny").experiment_id
    assert (
        f"  tiny: http://127.0.0.1:{port}/#/experiments/{number}/runs?workflowType=machine_learning&searchFilter=&"
        in address
    )


# ---------------------------------------------------------------- a browser


def compared(driver: Any, metric: str, runs: int) -> list[str]:
    """The values of a metric on the comparison page, a run after the other; its table shows a few rows at a time."""
    read = """
        const [metric, top] = arguments;
        const table = document.querySelector('a[title="Plot chart"]').closest(".ReactVirtualized__Grid").parentElement;
        const grids = [...table.parentElement.querySelectorAll(".ReactVirtualized__Grid")];
        grids.at(-1).scrollTop = top;
        const cells = grids.flatMap((grid) => [...grid.firstElementChild.children]);
        const name = cells.find((cell) => cell.innerText.trim() === metric);
        const row = cells.filter((cell) => name && cell.style.top === name.style.top);
        return row.map((cell) => cell.innerText.trim());
    """
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        for top in range(0, 2000, 100):
            row = list(driver.execute_script(read, metric, top))
            if len(row) > runs:
                return row[-runs:]
            time.sleep(0.05)  # until the page has drawn the rows that it was scrolled to
    raise AssertionError(f"{metric} is not on the page")


@pytest.mark.browser
@pytest.mark.slow
def test_the_address_of_a_suite_opens_the_charts_of_all_its_models(home: Path, browser: Any) -> None:
    plan = plan_in(home)
    for seconds in (2.5, 3.5):  # the page shows the cells of the newest leaderboard
        run(plan, results_of(plan, seconds=seconds))
    port = free_port()
    pages = ui(home, port)
    try:
        assert pages.stderr is not None
        _, address = pages.stderr.readline(), pages.stderr.readline()
        wait_until(lambda: listens(port))
        browser.get(address.partition(": ")[2].strip())
        browser.find_element("xpath", "//*[text()='fit_seconds']")  # the title of a chart
        browser.find_element("xpath", "//*[name()='text' and contains(., '3.50')]")  # a bar of it
        page = browser.find_element("css selector", "body").text
        assert {model for model in RECALL if f"ML/{model}/seed-0" in page} == RECALL.keys()
        assert "3 matching runs" in page
    finally:
        pages.send_signal(signal.SIGTERM)
        pages.communicate(timeout=60)


@pytest.mark.browser
@pytest.mark.slow
def test_two_models_are_selected_and_compared_in_a_browser(
    home: Path, serve: Callable[[int], subprocess.Popen[bytes]], browser: Any
) -> None:
    """Open the experiment, unfold the run, tick two models, press Compare, read R@30 per slice."""
    plan = plan_in(home)
    run(plan)
    number = client_of(plan).get_experiment_by_name("tiny").experiment_id
    children = {c.data.tags["benchmark.model"]: c.info.run_id for c in runs_of(plan)[1]}
    port = free_port()
    serve(port)

    browser.get(f"http://127.0.0.1:{port}/#/experiments/{number}?workflowType=machine_learning")
    browser.find_element("css selector", ".ag-row [data-component-id*=runnamecellrenderer]").click()
    slices = {
        "recommendation.R_30": {"SASRec[CE]": "0.231", "Gen_R+S": "0.245"},
        "recommendation.R_30.head": {"SASRec[CE]": "0.462", "Gen_R+S": "0.49"},
        "recommendation.R_30.torso": {"SASRec[CE]": "0.116", "Gen_R+S": "0.123"},
    }
    for model in ("SASRec[CE]", "Gen_R+S"):
        row = f".ag-pinned-left-cols-container .ag-row[row-id='{children[model]}']"
        assert f"ML/{model}/seed-0" in browser.find_element("css selector", row).text
        browser.find_element("css selector", f"{row} .ag-selection-checkbox input").click()
    browser.find_element("css selector", "[data-testid=runs-compare-button]").click()
    browser.find_element("css selector", "a[title='Plot chart']")
    page = browser.find_element("css selector", "body").text
    models = sorted(("SASRec[CE]", "Gen_R+S"), key=lambda model: page.index(f"ML/{model}/seed-0"))
    assert {m: dict(zip(models, compared(browser, m, 2), strict=True)) for m in slices} == slices
