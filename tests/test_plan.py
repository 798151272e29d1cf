"""What makes a cell another one, and what does not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from benchmark import BenchmarkError, plugins
from benchmark.plan import Plan, _files, make_plan
from benchmark.suite.load import load_suite


def test_a_checkpoint_trained_again_is_another_one(tmp_path: Path) -> None:
    weights = tmp_path / "checkpoint" / "weights"
    weights.parent.mkdir()
    weights.write_text("1")
    os.utime(weights, ns=(5, 5))
    params = {"checkpoint": str(weights.parent), "hub": "google/flan-t5-base", "epochs": 3}
    assert _files(params) == [("weights", 1, 5)]
    weights.write_text("12")
    assert _files(params)[0][:2] == ("weights", 2)


def test_a_file_in_the_home_folder_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vectors.npz").write_text("123")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert [found[:2] for found in _files({"encoder": "~/vectors.npz"})] == [("vectors.npz", 3)]


def test_a_word_that_is_also_a_folder_here_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "notes").write_text("")
    monkeypatch.chdir(tmp_path)
    assert _files({"source": "search"}) == []
    (tmp_path / "codes.tsv").write_text("a")
    assert [found[:2] for found in _files({"codes": "codes.tsv"})] == [("codes.tsv", 1)]
    assert _files({"codes": "gone.tsv"}) == []


TOPICS = """
name: topics
datasets: [{use: files, name: T, params: {path: PATH, format: trec}}]
models:
  - {use: bm25, name: BM25}
  - {use: popular, name: Pop, params: {source: search}}
  - {use: gen, name: Gen_S, params: {tasks: [search]}}
metrics: [R@1]
protocol: {split: SPLIT}
"""


def test_models_that_train_are_refused_where_all_is_tested(tmp_path: Path) -> None:
    words = {"topics": "1\tred hat\n2\tblue\n3\tgreen\n", "qrels": "1 0 a 1\n2 0 b 1\n3 0 c 1\n"}
    for name, text in {**words, "docs": "a\tred hat\nb\tblue\nc\tgreen\n"}.items():
        (tmp_path / name).write_text(text)
    suite = tmp_path / "s.yaml"
    suite.write_text(TOPICS.replace("PATH", str(tmp_path)).replace("SPLIT", "all-test"))
    message = r"nothing to train on \(split all-test.*\), which Pop, Gen_S cannot do without. .*`models: \[BM25\]`"
    with pytest.raises(BenchmarkError, match=message):
        make_plan(*load_suite(str(suite)), plugins.load(), tmp_path, device="cpu")
    some = load_suite(str(suite), settings=["datasets.T.models=[BM25]"])
    plan = make_plan(*some, plugins.load(), tmp_path, device="cpu")
    assert [cell.model for cell in plan.cells] == ["BM25"]
    limited = make_plan(*some, plugins.load(), tmp_path, device="cpu", limit=2).datasets["T"]
    assert len(limited.test["search"].requests) == limited.facts["test_requests_search"] == 2
    assert limited.facts["queries"] == 3
    whole = load_suite(str(suite), settings=["datasets.T.protocol.split=ratio"])
    assert len(make_plan(*whole, plugins.load(), tmp_path, device="cpu").cells) == 3


SEEDED = """
name: seeded
datasets: [{use: movielens, name: ML}]
models:
  - {use: popular, name: Pop}
  - {use: bm25, name: BM25}
  - {use: sasrec, name: SASRec}
  - {use: gru4rec, name: GRU4Rec, seeds: [7]}
metrics: [R@30]
seeds: [3, 4, 5]
"""


def test_a_deterministic_model_runs_once_and_a_model_may_have_seeds_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SEEDED)

    def seeds(**options: Any) -> dict[str, list[int]]:
        suite, path = load_suite(str(tmp_path / "s.yaml"), **options)
        cells = make_plan(suite, path, plugins.load(), tmp_path, device="cpu").cells
        return {
            name: [cell.seed for cell in cells if cell.model == name] for name in ("Pop", "BM25", "SASRec", "GRU4Rec")
        }

    assert seeds() == {"Pop": [3], "BM25": [3], "SASRec": [3, 4, 5], "GRU4Rec": [7]}
    assert seeds(seeds=2) == {"Pop": [0], "BM25": [0], "SASRec": [0, 1], "GRU4Rec": [0, 1]}
    with pytest.raises(BenchmarkError, match="seeds of GRU4Rec holds 7 twice"):
        seeds(settings=["models.GRU4Rec.seeds=[7, 7]"])


SIZED = """
name: sized
datasets: [{use: movielens, name: Ours, published_as: ML}]
models: [{use: popular, name: Pop}]
metrics: [R@30]
published: sizes.yaml
"""


def test_data_of_another_size_than_the_papers_are_a_reduced_scale(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SIZED)

    def plan(items: int, queries: int, *settings: str) -> Plan:
        size = f"{{table: Table 3, items: {items}, queries: {queries}}}"
        (tmp_path / "sizes.yaml").write_text(f"{{paper: Somebody 2024, tables: [], sizes: {{ML: {size}}}}}")
        return make_plan(
            *load_suite(str(tmp_path / "s.yaml"), settings=settings), plugins.load(), tmp_path, device="cpu"
        )

    near = plan(1650, 250)  # ml-100k has 1,664 films with a query, and 248 queries
    assert not near.suite.reduced
    assert near.marks == ()
    far = plan(20000, 250)
    assert far.suite.reduced
    assert far.marks == (
        "reduced scale",
        f"Ours: not the size of Somebody 2024, Table 3: {far.datasets['Ours'].facts['items']:,} items (paper: 20,000)",
    )
    assert plan(20000, 250, "reduced=true").marks == ("reduced scale",)  # said already
    assert plan(0, 0).marks == ()  # the paper prints none
