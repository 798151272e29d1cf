from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats
from statsmodels.stats.multitest import multipletests

from benchmark.errors import BenchmarkError, ContractError
from benchmark.evaluation.leaderboard import Cost, Evaluated, Failure, Leaderboard, build_leaderboard
from benchmark.evaluation.published import Published, load_published
from benchmark.suite import Choice, Claim, Comparison, DataChoice, Suite, Where
from benchmark.types import Cell, Scores, Task

SHIPPED = Path(__file__).parent.parent / "suites" / "published"


def suite(**changes: Any) -> Suite:
    fields: dict[str, Any] = {
        "name": "tiny",
        "datasets": [DataChoice(use="movielens", name="ML")],
        "models": [
            Choice(use="popular", name="Pop"),
            Choice(use="gen", name="Gen_R"),
            Choice(use="gen", name="Gen_S"),
            Choice(use="gen", name="Joint", published_as="Gen_R+S"),
        ],
        "metrics": ["R@30", "Gini"],
        "compare": [Comparison(model="Joint", against=["Gen_R", "Gen_S"])],
    }
    return Suite(**fields | changes)


def evaluated(
    model: str,
    values: Sequence[float],
    *,
    seed: int = 0,
    task: Task = "recommendation",
    gini: float = 0.5,
    rows: Sequence[int] | None = None,
    slice_name: str = "all",
    coverage: float = 1.0,
) -> Evaluated:
    cell = Cell("ML", model, seed, (task,), "f" * 64, "d" * 64, "movielens", {}, "x", {}, {})
    where = np.arange(len(values)) if rows is None else np.asarray(rows)
    totals = {"Gini": gini} if len(values) else {}
    vectors = {"R@30": np.array(values, dtype=float)} | ({} if len(values) else {"Gini": np.empty(0)})
    return Evaluated(cell, task, slice_name, Scores(where, vectors, totals, coverage))


def build(
    suite: Suite,
    scores: Sequence[Evaluated],
    failures: Sequence[Failure] = (),
    costs: Sequence[Cost] = (),
    published: Published | None = None,
    marks: Mapping[str, Sequence[str]] | None = None,
) -> Leaderboard:
    return build_leaderboard(suite, "laptop", scores, failures, costs, published, marks or {})


def test_a_row_is_the_mean_over_requests_of_the_mean_over_seeds() -> None:
    scores = [
        evaluated("Pop", [0, 1, 1, 0], seed=0, gini=0.2, coverage=1.0),
        evaluated("Pop", [1, 1, 1, 0], seed=1, gini=0.4, coverage=0.5),
    ]
    recall, gini = build(suite(seeds=[0, 1]), scores).rows
    assert (recall.metric, recall.mean, recall.n, recall.seeds, recall.coverage) == ("R@30", 0.625, 4, 2, 0.75)
    assert recall.sd == pytest.approx(np.std([0.5, 0.75], ddof=1))
    averaged = [0.5, 1, 1, 0]
    assert (recall.low, recall.high) == pytest.approx(
        stats.t.interval(0.95, 3, loc=np.mean(averaged), scale=stats.sem(averaged))
    )
    assert (gini.metric, gini.low, gini.high) == ("Gini", None, None)
    assert gini.mean == pytest.approx(0.3)
    assert gini.sd == pytest.approx(np.std([0.2, 0.4], ddof=1))


def test_one_seed_has_no_spread_and_a_lost_seed_is_remarked() -> None:
    one = build(suite(), [evaluated("Pop", [0, 1])]).rows[0]
    assert (one.sd, one.marks) == (None, ())
    some = build(suite(seeds=[0, 1, 2]), [evaluated("Pop", [0, 1])], marks={"": ["partial"], "Pop": ["slow"]}).rows[0]
    assert some.marks == ("partial", "slow", "1 of 3 seeds")


def test_what_a_cell_said_of_itself_stands_on_the_rows_of_its_model_with_the_seeds_that_said_it() -> None:
    scores = [evaluated("Pop", [0, 1], seed=seed) for seed in (0, 1)] + [evaluated("Gen_R", [0, 1])]
    zero, one, other = (e.cell for e in scores)
    remarks = {one: ["it has not learned", "half is missing"], zero: ["it has not learned"], other: []}
    board = build_leaderboard(suite(seeds=[0, 1]), "laptop", scores, [], [], None, {}, {}, remarks)
    marks = {row.model: row.marks for row in board.rows}
    assert marks == {"Pop": ("it has not learned", "half is missing (seed 1)"), "Gen_R": ("1 of 2 seeds",)}


def test_rows_follow_the_suite_whatever_the_order_of_the_input() -> None:
    scores = [
        evaluated("Joint", [1, 0, 1], task="search"),
        evaluated("Joint", [1, 1]),
        evaluated("Gen_S", [1, 0, 0], task="search"),
        evaluated("Pop", [0, 1]),
        evaluated("Joint", [1], rows=[1], slice_name="head"),
        evaluated("Pop", [1], rows=[1], slice_name="head"),
    ]
    board = build(suite(slices=["all", "head"]), scores)
    assert [(r.task[0], r.slice, r.metric, r.model) for r in board.rows] == [
        ("r", "all", "R@30", "Pop"),
        ("r", "all", "R@30", "Joint"),
        ("r", "all", "Gini", "Pop"),
        ("r", "all", "Gini", "Joint"),
        ("r", "head", "R@30", "Pop"),
        ("r", "head", "R@30", "Joint"),
        ("r", "head", "Gini", "Pop"),
        ("r", "head", "Gini", "Joint"),
        ("s", "all", "R@30", "Gen_S"),
        ("s", "all", "R@30", "Joint"),
        ("s", "all", "Gini", "Gen_S"),
        ("s", "all", "Gini", "Joint"),
    ]
    assert board == build(suite(slices=["all", "head"]), scores[::-1])


def test_comparisons_are_paired_tests_in_one_family_over_all_tasks() -> None:
    rng = np.random.default_rng(1)
    a, b, c, d = (rng.random(50) for _ in range(4))
    scores = [
        evaluated("Gen_R", b.tolist()),
        evaluated("Joint", a.tolist()),
        evaluated("Gen_S", d.tolist(), task="search"),
        evaluated("Joint", (c + 0.3).tolist(), task="search"),
    ]
    first, second = build(suite(), scores).comparisons
    assert (first.model, first.baseline, first.task, first.metric) == ("Joint", "Gen_R", "recommendation", "R@30")
    assert (second.model, second.baseline, second.task) == ("Joint", "Gen_S", "search")
    raw = [stats.ttest_rel(a, b).pvalue, stats.ttest_rel(c + 0.3, d).pvalue]
    assert [first.test.p, second.test.p] == pytest.approx(raw)
    assert [first.p_corrected, second.p_corrected] == pytest.approx(multipletests(raw, method="holm")[1].tolist())


def test_seeds_are_averaged_before_the_test_not_pooled() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.random((2, 20)), rng.random((2, 20))
    scores = [evaluated(m, v[s].tolist(), seed=s) for m, v in (("Joint", a), ("Gen_R", b)) for s in (0, 1)]
    (only,) = build(suite(seeds=[0, 1]), scores).comparisons
    assert only.test.n == 20
    assert only.test.p == pytest.approx(stats.ttest_rel(a.mean(axis=0), b.mean(axis=0)).pvalue)


def test_a_failed_model_is_listed_and_its_comparisons_are_not_tested() -> None:
    failure = Failure("ML", "Gen_R", 0, "RuntimeError: boom", "cells/ML/Gen_R/log.txt")
    claim = Claim(
        id="c", text="", where=Where(dataset="ML", task="recommendation", metric="R@30"), expect="Joint > Gen_R"
    )
    board = build(suite(claims=[claim]), [evaluated("Joint", [1, 0])], [failure])
    assert board.comparisons == ()
    assert [(u.model, u.baseline, u.reason) for u in board.untested] == [
        ("Joint", "Gen_R", "Gen_R failed"),
        ("Joint", "Gen_S", "Gen_S has not run"),
    ]
    assert [(v.verdict, v.reason) for v in board.claims] == [("undecided", "Gen_R failed on ML")]
    assert board.failures == (failure,)


@pytest.mark.parametrize(
    ("where", "expect", "reason"),
    [
        ({"metric": "Gini"}, "Joint > Pop", "Gini is one number about all lists, so there is nothing to pair"),
        ({"metric": "R@30"}, "Joint > Gen_S", "Gen_S on ML is not in the run"),
        ({"metric": "R@30", "task": "search"}, "Joint > Pop", "Joint has no all scores for search on ML; Pop has no"),
        ({"metric": "R@30", "slice": "head"}, "Joint > Pop", "no request of ML has a relevant item in the head slice"),
    ],
)
def test_a_claim_that_cannot_be_tested_says_why(where: dict[str, Any], expect: str, reason: str) -> None:
    place = Where.model_validate({"dataset": "ML", "task": "recommendation"} | where)
    claims = [Claim(id="c", text="", where=place, expect=expect)]
    scores = [evaluated("Joint", [1, 0]), evaluated("Pop", [1, 1])]
    scores += [evaluated(model, [], slice_name="head") for model in ("Joint", "Pop")]
    (verdict,) = build(suite(claims=claims, slices=["all", "head"]), scores).claims
    assert verdict.verdict == "undecided"
    assert verdict.reason.startswith(reason)


def test_an_empty_slice_has_rows_without_a_mean_and_no_comparison() -> None:
    scores = [evaluated(model, [], slice_name="head") for model in ("Joint", "Gen_R")]
    board = build(suite(slices=["head"]), scores)
    assert [(r.mean, r.n, r.low) for r in board.rows] == [(None, 0, None)] * 4
    assert board.comparisons == ()


def test_scores_on_different_requests_are_never_compared() -> None:
    with pytest.raises(ContractError, match=r"'ML/Pop/seed-0' and 'ML/Joint/seed-0' were scored on different requests"):
        build(suite(), [evaluated("Joint", [1, 0], rows=[0, 1]), evaluated("Pop", [1, 0], rows=[0, 2])])


def test_json_has_the_public_keys_and_no_nan() -> None:
    scores = [evaluated("Joint", [1]), evaluated("Gen_R", [0])]
    published = load_published(SHIPPED / "penha2024.yaml")
    costs = [Cost("ML", "Joint", 0, 1.5, 0.5, 0.1, 2e8, 1000), Cost("ML", "Gen_R", 0)]
    written = build(suite(), scores, [Failure("ML", "Pop", 0, "boom", "log.txt")], costs, published).to_json()
    assert json.loads(json.dumps(written, allow_nan=False)) == written
    assert list(written) == [
        *("schema_version", "suite", "profile", "rows", "comparisons", "claims", "failures", "costs")
    ]
    gen, joint = (row for row in written["rows"] if row["metric"] == "R@30")
    source = "Penha et al. 2024, Table 5, page 8; measured on ML (MovieLens 25M; 20k items, 163k users, 55k queries)"
    assert joint == {
        "dataset": "ML",
        "task": "recommendation",
        "slice": "all",
        "model": "Joint",
        "metric": "R@30",
        "mean": 1.0,
        "sd": None,
        "n": 1,
        "low": None,
        "high": None,
        "coverage": 1.0,
        "seeds": 1,
        "marks": [],
        "published": {"value": 0.119, "source": source},
    }
    assert gen["published"]["value"] == 0.103
    assert written["comparisons"] == [
        {
            "dataset": "ML",
            "task": "recommendation",
            "slice": "all",
            "metric": "R@30",
            "model": "Joint",
            "baseline": "Gen_R",
            "difference": 1.0,
            "low": None,
            "high": None,
            "n": 1,
            "p": 1.0,
            "p_corrected": 1.0,
            "p_permutation": 1.0,
        }
    ]
    assert written["failures"] == [{"dataset": "ML", "model": "Pop", "seed": 0, "error": "boom", "log": "log.txt"}]
    assert [cost["model"] for cost in written["costs"]] == ["Gen_R", "Joint"]
    assert list(written["costs"][0])[3:] == [
        *("fit_seconds", "rank_seconds", "milliseconds_per_request", "peak_memory_bytes", "parameters"),
        *("embeddings_seconds", "updates", "examples"),
    ]


def test_the_published_table_5_is_whole() -> None:
    tables = load_published(SHIPPED / "penha2024.yaml").tables
    assert len(tables) == 18
    assert {(t.table, t.page, t.metric) for t in tables} == {("Table 5", 8, "R@30")}
    assert sum(len(t.values) for t in tables) == 9 * 7 + 9 * 4
    by_place: dict[tuple[str, str, str], dict[str, float]] = {(t.dataset, t.task, t.slice): t.values for t in tables}
    assert by_place["ML", "recommendation", "torso"]["Pop_R"] == 0
    assert by_place["Podcasts", "recommendation", "head"]["SASRec"] == 0.546
    assert by_place["MPD", "search", "torso"]["Gen_R+S"] == 0.009
    # The paper states the improvement of the joint model in whole percent, from unrounded scores.
    improvements = {
        ("ML", "recommendation", "all"): 16,
        ("MPD", "recommendation", "all"): -18,
        ("Podcasts", "recommendation", "all"): 33,
        ("MPD", "recommendation", "head"): 24,
        ("Podcasts", "recommendation", "head"): 3,
        ("ML", "search", "all"): 16,
        ("MPD", "search", "all"): 18,
        ("Podcasts", "search", "all"): 33,
        ("Podcasts", "search", "head"): 16,
    }
    for place, percent in improvements.items():
        alone = by_place[place]["Gen_R" if place[1] == "recommendation" else "Gen_S"]
        assert 100 * (by_place[place]["Gen_R+S"] / alone - 1) == pytest.approx(percent, abs=2)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("tables: [", "is not YAML"),
        ("tables: []", "paper: Field required"),
        (yaml.safe_dump({"paper": "P", "tables": [{"table": "1"}]}), r"tables\.0\.page: Field required"),
        ("paper: P\ntables: []\nnotes: 1\n", "notes: Extra inputs"),
    ],
)
def test_a_broken_file_of_published_numbers_is_refused(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(content)
    with pytest.raises(BenchmarkError, match=complaint):
        load_published(path)


def test_a_missing_file_of_published_numbers_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"nowhere\.yaml' cannot be read"):
        load_published(tmp_path / "nowhere.yaml")
