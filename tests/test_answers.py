"""The answers of the test are nowhere that a model is led to."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command

from benchmark.results.datasets import load_dataset, save_dataset
from benchmark.results.files import remove_folder
from benchmark.results.scratch import forget_shared, shared_folder
from benchmark.testing import checkerboard

SUITE = """
name: spied
datasets: [{use: checkerboard, name: Board}]
models:
  - {use: popular, name: Pop}
  - {use: spy, name: Spy, params: {file: ./given/words.txt}}
metrics: [R@5, R@5|new, R@5|uni4]
protocol: {candidates: {recommendation: {kind: uniform, n: 4}}}
depth: 5
"""


def facts(home: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(next(home.rglob("Spy/*/facts.json")).read_text())
    return content


@pytest.mark.parametrize("executor", ["local", "inline"])
def test_a_spy_finds_no_answers(
    command: Command, tmp_path: Path, faulty_environment: dict[str, str], executor: str
) -> None:
    (tmp_path / "aside" / "tmp").mkdir(parents=True)
    faulty_environment["TMPDIR"] = str(tmp_path / "aside" / "tmp")
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "words.txt").write_text("what a suite gives")
    (tmp_path / "s.yaml").write_text(SUITE)
    done = command("run", "s.yaml", "--results", "out", "--tracking", "off", "--executor", executor)
    assert done.returncode == 0, done.stderr
    told = facts(tmp_path / "out")
    assert told["found"] == []
    assert told["looked"][0] > 50
    assert told["read"] == "what a suite gives"  # by a path relative to where the command was given


def test_the_spy_finds_answers_that_lie_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "faulty"))
    from benchmark_faulty import checkerboard_answers, leads

    data = checkerboard()
    split = data.test["recommendation"]
    answers = checkerboard_answers(data.train, split.requests)
    assert np.array_equal(answers, split.relevant.values)
    for folder in ("here/or/there", "out/a/b"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here" / "or" / "there")
    assert leads(answers, data.train, data.valid, split.requests)[0] == []
    assert leads(answers, lambda: split)[0] == ["an array"]
    save_dataset(tmp_path / "out" / "a" / "data", data)
    told = str(tmp_path / "out" / "a" / "data" / "answers" / "recommendation.parquet")
    assert leads(answers, {"path": tmp_path / "out" / "a" / "b"})[0] == [told]
    monkeypatch.undo()
    sys.modules.pop("benchmark_faulty")


def test_a_cell_reads_the_requests_and_not_the_answers(tmp_path: Path) -> None:
    before = checkerboard()
    save_dataset(tmp_path, before)
    read = load_dataset(tmp_path, answers=False)
    for task, split in before.test.items():
        assert read.test[task].requests.ids.tolist() == split.requests.ids.tolist()
        assert read.test[task].relevant.lengths.tolist() == [0] * len(split.requests)
        assert load_dataset(tmp_path).test[task].relevant.values.tolist() == split.relevant.values.tolist()
        assert read.valid[task].relevant.values.tolist() == before.valid[task].relevant.values.tolist()


def test_a_folder_of_an_older_layout_is_read_and_then_written_anew(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    before = checkerboard()
    save_dataset(tmp_path, before)
    for task in before.test:  # as it was: answers among the requests, and no word on the layout
        told = tmp_path / "answers" / f"{task}.parquet"
        table = pq.read_table(told)
        path = tmp_path / f"test-{task}.parquet"
        requests = pq.read_table(path)
        for column in ("relevant", "grades"):
            requests = requests.append_column(column, table[column])
        pq.write_table(requests, path)
        told.unlink()
    head = json.loads((tmp_path / "dataset.json").read_text())
    (tmp_path / "dataset.json").write_text(
        json.dumps({k: v for k, v in head.items() if k not in ("layout", "files", "sha256")})
    )
    old = load_dataset(tmp_path)
    save_dataset(tmp_path, before)
    for task, split in before.test.items():
        assert old.test[task].relevant.values.tolist() == split.relevant.values.tolist()
        assert "relevant" not in pq.read_table(tmp_path / f"test-{task}.parquet").column_names
        assert load_dataset(tmp_path).test[task].relevant.values.tolist() == split.relevant.values.tolist()


def test_what_cells_share_is_kept_beside_the_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    data = tmp_path / "out" / "data"
    with shared_folder(data) as shared:
        assert not shared.is_relative_to(tmp_path / "out")
        (shared / "codes").mkdir()
        (shared / "codes" / "made.txt").write_text("once")
        (shared / "codes" / ".half").write_text("half")
        (shared / "codes" / "work").mkdir()
        (shared / "codes" / "work" / "checkpoint").write_text("unfinished")
    remove_folder(tmp_path / "scratch")  # as a restart of the machine may
    with shared_folder(data) as shared:
        assert sorted(path.name for path in shared.rglob("[!.]*")) == ["codes", "made.txt"]
    forget_shared(data)
    with shared_folder(data) as shared:
        assert not list(shared.rglob("[!.]*"))
