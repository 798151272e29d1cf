"""The answers of the test are nowhere that a model is led to, and what looks too good says so."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command

from benchmark import plugins
from benchmark.data.ragged import Ragged
from benchmark.evaluation.plausibility import ceiling, implausible
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


def test_the_ceiling_is_what_perfect_rankings_have() -> None:
    registry = plugins.load()
    data = checkerboard()
    split = data.test["recommendation"]
    # Two relevant items for the first half of the requests: R@1 finds one of them at best.
    two = Ragged.from_rows([[i % 20, (i + 1) % 20] if i < 60 else [i % 20] for i in range(120)])
    changed = replace(data, test={"recommendation": replace(split, relevant=two)})
    assert ceiling(changed, "recommendation", "R@1", registry.metric("R@1"), 5) == pytest.approx(0.75)
    assert ceiling(changed, "recommendation", "nDCG@2", registry.metric("nDCG@2"), 5) == pytest.approx(1)


def test_what_is_near_the_ceiling_or_far_above_all_others_is_remarked_on() -> None:
    rows = np.arange(200)
    low, middle = (rows % 10 == 0).astype(float), (rows % 10 < 2).astype(float)

    def remarked(**others: Any) -> dict[str, str]:
        models = {"low": low, "middle": middle, **others}
        return dict(implausible("R@5", "recommendation", models, 1.0, 0.05))

    assert remarked(fair=(rows % 10 < 3).astype(float)) == {}
    assert remarked(thief=(rows < 192).astype(float)) == {
        "thief": "check for leakage (R@5 of recommendation: 0.960 of at most 1.000)"
    }
    assert remarked(leader=(rows % 10 < 8).astype(float)) == {
        "leader": "check for leakage (R@5 of recommendation: 0.600 above middle, the best other model)"
    }
    assert dict(implausible("R@5", "search", {"few": np.ones(29)}, 1.0, 0.05)) == {}


def test_a_thief_is_remarked_on_in_the_report(command: Command, tmp_path: Path) -> None:
    """The checkerboard's own answers, as a model that reads them from the disk would rank them."""
    (tmp_path / "s.yaml").write_text(SUITE.replace("use: spy, name: Spy, params: {file: ./given/words.txt}",
                                                   "use: thief, name: Thief"))  # fmt: skip
    done = command("run", "s.yaml", "--results", "out", "--tracking", "off")
    assert done.returncode == 0, done.stderr
    home = tmp_path / "out" / "spied"
    rows = json.loads((home / "leaderboard.json").read_text())["rows"]
    marks = {row["model"]: " ".join(row["marks"]) for row in rows}
    assert "check for leakage (R@5 of recommendation: 1.000 of at most 1.000)" in marks["Thief"]
    assert "check for leakage" not in marks["Pop"]
    for name in ("md", "html", "tex", "csv"):
        assert "check for leakage" in (home / f"leaderboard.{name}").read_text()
    assert "check for leakage" in done.stdout
