"""A cell as a command, and what it leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import FAULTY_SUITE, Command

from benchmark import PAD, BenchmarkError, Cell, Ranking, Requests
from benchmark.errors import reason
from benchmark.execution import worker
from benchmark.execution.worker import run_and_record, run_cell, worker_environment
from benchmark.results.cells import CellFolder, Spec
from benchmark.results.datasets import save_dataset
from benchmark.testing import checkerboard, make_requests


def test_a_worker_is_a_command(command: Command, faulty_environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(FAULTY_SUITE % ("raise", ""))
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


def popular_on_board(folder: Path, **params: str) -> tuple[CellFolder, Cell]:
    """A cell that waits for a worker: popularity on the checkerboard."""
    save_dataset(folder / "board", checkerboard())
    cell = Cell(
        "Board", "Pop", 0, ("recommendation", "search"), "f" * 64, "d", "checkerboard", {}, "popular", params, {}
    )
    path = folder / "cell"
    path.mkdir()
    CellFolder(path).write_spec(Spec(cell, folder / "board", depth=5, threads=1, device="cpu"))
    return CellFolder(path), cell


def test_a_cell_leaves_a_ranking_for_each_task_and_is_not_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    folder, cell = popular_on_board(tmp_path)
    run_cell(folder.path)
    assert folder.load_ranking("recommendation").items.shape == (120, 5)
    assert folder.load_ranking("search").items.shape == (20, 5)
    record = folder.read(cell)
    assert record is not None
    assert record.costs.fit_seconds is not None
    assert (folder.path / "curve.csv").read_text() == "step\n"
    before = (folder.path / "cell.json").stat().st_mtime_ns
    run_cell(folder.path)
    assert (folder.path / "cell.json").stat().st_mtime_ns == before


def test_a_fit_that_goes_on_from_a_checkpoint_states_no_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    folder, cell = popular_on_board(tmp_path)
    (folder.scratch / "work").mkdir(parents=True)
    (folder.scratch / "work" / "checkpoint").touch()
    run_cell(folder.path)
    record = folder.read(cell)
    assert record is not None
    assert record.costs.fit_seconds is None
    assert record.costs.rank_seconds is not None
    assert not folder.scratch.exists()


def test_a_failure_is_recorded_and_nothing_looks_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    folder, cell = popular_on_board(tmp_path, source="nowhere")
    error = run_and_record(folder.path)
    assert error.startswith("model 'popular': the parameter 'source' must be one of 'recommendation', 'search'")
    assert folder.failure() == error
    assert folder.read(cell) is None
    assert "Traceback" in capsys.readouterr().err


def test_rankings_of_batches_are_as_wide_as_the_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "BATCH", 2)
    told: list[tuple[int, int]] = []

    def rank(requests: Requests, k: int) -> Ranking:
        """As many items for a batch as it has requests."""
        n = len(requests)
        return Ranking(np.tile(np.arange(n, dtype=np.int32), (n, 1)), np.zeros((n, n), dtype=np.float32))

    ranking = worker._rank(
        rank, make_requests([[]] * 5), 3, 9, lambda phase, step, total, values: told.append((step, total))
    )
    assert ranking.items.tolist() == [[0, 1, PAD]] * 4 + [[0, PAD, PAD]]
    assert ranking.scores[4].tolist() == [0, -np.inf, -np.inf]
    assert told == [(2, 5), (4, 5), (5, 5)]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "ValueError: one"),
        (BenchmarkError("what to do\nand why"), "what to do"),
        (MemoryError("no room"), "out of memory: no room. Lower the batch size or the model's size."),
        (SystemExit(3), "SystemExit: 3"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_ended_a_cell_is_one_line(error: BaseException, line: str) -> None:
    assert reason(error) == line


def test_numerical_libraries_are_started_with_the_suites_threads() -> None:
    threads = {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    assert worker_environment(2, False) == threads
    assert worker_environment(2, True).items() >= {
        **threads, "PYTHONHASHSEED": "0", "MKL_CBWR": "COMPATIBLE", "ATEN_CPU_CAPABILITY": "avx2"
    }.items()  # fmt: skip


def test_a_worker_without_a_folder_says_how_it_is_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["worker"])
    assert worker.main() == 2
    assert "CELL_FOLDER" in capsys.readouterr().err
