"""What is written is read again as it was, and nothing half-written looks finished."""

from __future__ import annotations

import fcntl
from pathlib import Path

import numpy as np
import pytest

from benchmark.contract import Cell, Costs
from benchmark.data.ragged import Ragged
from benchmark.data.ranking import Ranking
from benchmark.errors import BenchmarkError
from benchmark.results.cells import CellFolder, CellRecord
from benchmark.results.datasets import load_dataset, save_dataset
from benchmark.results.files import DamagedError, locked, replacing, write_text
from benchmark.results.run import read_run
from benchmark.testing import checkerboard


def cell(**changes: object) -> Cell:
    values: dict[str, object] = {
        "dataset": "ML",
        "model": "SASRec[CE]",
        "seed": 0,
        "tasks": ("recommendation",),
        "fingerprint": "f" * 64,
        "digest": "d" * 64,
        "dataset_use": "movielens",
        "dataset_params": {},
        "model_use": "sasrec",
        "model_params": {"loss": "CE"},
        "versions": {},
    }
    return Cell(**{**values, **changes})  # type: ignore[arg-type]


def test_the_suite_of_a_run_of_another_version_is_refused_with_a_way_out(tmp_path: Path) -> None:
    old = "name: s\nmask_seen: true\ndatasets: [{use: movielens}]\nmodels: [{use: popular}]\nmetrics: [R@5]\n"
    (tmp_path / "suite.yaml").write_text(old)
    (tmp_path / "environment.json").write_text("{}")
    (tmp_path / "plan.json").write_text('{"device": "cpu", "marks": [], "options": {}, "cells": []}')
    with pytest.raises(BenchmarkError, match=r"another version \(mask_seen: .*\. `benchmark run` with"):
        read_run(tmp_path)


def same(a: Ragged, b: Ragged) -> bool:
    return bool(np.array_equal(a.offsets, b.offsets) and np.array_equal(a.values, b.values))


def test_a_data_set_survives_the_disk(tmp_path: Path) -> None:
    before = checkerboard()
    save_dataset(tmp_path, before)
    after = load_dataset(tmp_path)
    assert (after.name, after.digest, after.tasks) == (before.name, before.digest, before.tasks)
    assert same(after.train.histories, before.train.histories)
    assert same(after.train.searches, before.train.searches)
    assert np.array_equal(after.train.times, before.train.times)
    assert after.train.catalog.texts.tolist() == before.train.catalog.texts.tolist()
    assert after.train.max_history == before.train.max_history
    for part in ("valid", "test"):
        for task, split in getattr(before, part).items():
            read = getattr(after, part)[task]
            assert read.requests.ids.tolist() == split.requests.ids.tolist()
            assert read.requests.queries.tolist() == split.requests.queries.tolist()
            assert same(read.requests.histories, split.requests.histories)
            assert same(read.requests.exclude, split.requests.exclude)
            assert same(read.relevant, split.relevant)


def test_a_ranking_survives_the_disk(tmp_path: Path) -> None:
    requests = checkerboard().test["recommendation"].requests.take([0, 1])
    before = Ranking(
        np.array([[3, 1, -1], [2, -1, -1]], dtype=np.int32),
        np.array([[0.5, 0.25, -np.inf], [1, -np.inf, -np.inf]], dtype=np.float32),
    )
    CellFolder(tmp_path).save_ranking("recommendation", requests, before)
    after = CellFolder(tmp_path).load_ranking("recommendation")
    assert np.array_equal(after.items, before.items)
    assert np.array_equal(after.scores, before.scores)


def test_a_cell_is_finished_only_when_all_of_it_is_there(tmp_path: Path) -> None:
    folder, requests = CellFolder(tmp_path), checkerboard().test["recommendation"].requests.take([0])
    with pytest.raises(BenchmarkError, match="cannot be read"):
        folder.finish(cell(), CellRecord())
    ranking = Ranking(np.array([[3]], dtype=np.int32), np.array([[0.5]], dtype=np.float32))
    folder.save_ranking("recommendation", requests, ranking)
    assert folder.read(cell()) is None
    left = CellRecord({"parameters": 7}, ({"step": 1, "loss": 0.5},), costs=Costs(fit_seconds=1.5))
    folder.finish(cell(), left)
    assert folder.read(cell()) == left
    with pytest.raises(DamagedError, match="about another cell"):
        folder.read(cell(fingerprint="e" * 64))
    (tmp_path / "cell.json").write_text('{"finger')
    assert not folder.is_finished(cell())


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def interrupted() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("name", ["..", "a/b", "SASRec[CE]", "Gen_R+S", "ünïcode"])
def test_any_name_becomes_one_folder_of_its_own(tmp_path: Path, name: str) -> None:
    folder = CellFolder.of(tmp_path, cell(model=name)).path
    folder.mkdir(parents=True)
    assert folder.resolve().parent.parent == (tmp_path / "cells" / "ML").resolve()


def test_a_lock_is_held_once(tmp_path: Path) -> None:
    def taken() -> bool:
        with (tmp_path / ".lock").open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    with locked(tmp_path):
        assert taken()
    assert not taken()
