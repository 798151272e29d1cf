from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from benchmark.contract import Cell, Costs, Scores
from benchmark.data.protocol import Protocol
from benchmark.data.types import Task
from benchmark.errors import ContractError
from benchmark.evaluation.leaderboard import CellCosts, Evaluated, Failure, Leaderboard, build_leaderboard
from benchmark.evaluation.significance import Fits, estimate
from benchmark.suite.published import Published, load_published
from benchmark.suite.schema import Claim, Comparison, DatasetEntry, ModelEntry, Significance, Suite, Where


def suite(**changes: Any) -> Suite:
    fields: dict[str, Any] = {
        "name": "tiny",
        "datasets": [DatasetEntry(use="movielens", name="ML")],
        "models": [
            ModelEntry(use="popular", name="Pop"),
            ModelEntry(use="gen", name="Gen_R"),
            ModelEntry(use="gen", name="Gen_S"),
            ModelEntry(use="gen", name="Joint", published_as="Gen_R+S"),
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
    costs: Sequence[CellCosts] = (),
    published: Published | None = None,
    marks: Mapping[str, Sequence[str]] | None = None,
) -> Leaderboard:
    return build_leaderboard(suite, scores, failures, costs, published, marks or {})


def test_a_row_is_the_mean_over_requests_of_the_mean_over_seeds() -> None:
    scores = [
        evaluated("Pop", [0, 1, 1, 0], seed=0, gini=0.2, coverage=1.0),
        evaluated("Pop", [1, 1, 1, 0], seed=1, gini=0.4, coverage=0.5),
    ]
    recall, gini = build(suite(seeds=[0, 1]), scores).rows
    assert (recall.metric, recall.mean, recall.n, recall.seeds, recall.coverage) == ("R@30", 0.625, 4, 2, 0.75)
    assert recall.sd == pytest.approx(np.std([0.5, 0.75], ddof=1))
    averaged = [0.5, 1, 1, 0]
    # The fits differ by a quarter in one of four requests: .03125 of variance, all of which is noise of request × fit.
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
    board = build_leaderboard(suite(seeds=[0, 1]), scores, [], [], None, {}, {}, remarks)
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


def test_fits_and_requests_are_both_what_a_test_is_about() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.random((3, 40)) + rng.normal(0, 0.2, (3, 1)), rng.random((3, 40))
    scores = [evaluated(m, v[s].tolist(), seed=s) for m, v in (("Joint", a), ("Gen_R", b)) for s in (0, 1, 2)]
    (only,) = build(suite(seeds=[0, 1, 2]), scores).comparisons
    expected = estimate(Fits(a), Fits(b))
    assert (only.test.n, only.test.one_fit) == (40, False)
    assert (only.test.p, only.test.error, only.test.df) == (expected.p, expected.error, expected.df)
    assert expected.p > stats.ttest_rel(a.mean(axis=0), b.mean(axis=0)).pvalue
    assert only.test.bootstrap is not None


def test_the_primary_question_does_not_pay_for_what_explores() -> None:
    rng = np.random.default_rng(7)
    base = rng.random(60)
    scores = [evaluated("Gen_R", base.tolist()), evaluated("Joint", (base + rng.normal(0.06, 0.2, 60)).tolist())]
    scores += [evaluated(model, rng.random(60).tolist()) for model in ("Pop", "Gen_S")]
    question = Comparison(model="Joint", against=["Gen_R"], primary=True, metric="R@30", task="recommendation")
    rest = Comparison(model="Joint", against=["Gen_R", "Pop", "Gen_S"])
    alone = {(c.baseline, c.primary): c for c in build(suite(compare=[question, rest]), scores).comparisons}
    assert list(alone) == [("Gen_R", True), ("Pop", False), ("Gen_S", False)]
    assert alone["Gen_R", True].p_corrected == alone["Gen_R", True].test.p
    assert (alone["Gen_R", True].level, alone["Pop", False].level) == (0.05, 0.025)
    together = {c.baseline: c for c in build(suite(compare=[rest]), scores).comparisons}
    assert together["Gen_R"].p_corrected > alone["Gen_R", True].p_corrected
    assert {c.level for c in together.values()} == {0.05 / 3}


def test_a_comparison_is_not_made_in_a_task_that_neither_model_was_built_for() -> None:
    values = np.random.default_rng(0).random(40).tolist()
    scores = [evaluated("Joint", values, task="search"), evaluated("Gen_R", values[::-1], task="search")]
    elsewhere = [replace(e, cell=replace(e.cell, built_for=("recommendation",))) for e in scores]
    assert len(build(suite(), scores).comparisons) == 1
    assert len(build(suite(), [scores[0], elsewhere[1]]).comparisons) == 1
    assert build(suite(), elsewhere).comparisons == ()


def test_what_never_returns_the_history_is_compared_where_nobody_may() -> None:
    values = np.random.default_rng(0).random(40).tolist()
    scores = [evaluated(model, values) for model in ("Joint", "Gen_R")]
    scores[0] = replace(scores[0], cell=replace(scores[0].cell, excludes_history=True))
    board = build(suite(), scores)
    assert board.comparisons == ()
    reasons = [u.reason for u in board.untested if u.baseline == "Gen_R"]
    assert reasons == ["recommendation all: Joint never returns the history, Gen_R may"]
    assert len(build(suite(protocol=Protocol(mask_seen=True)), scores).comparisons) == 1
    own = [DatasetEntry(use="movielens", name="ML", protocol=Protocol(mask_seen=True))]
    assert len(build(suite(datasets=own), scores).comparisons) == 1


def test_a_head_that_a_list_holds_whole_decides_nothing() -> None:
    """Whoever puts the 17 most popular items first has R@30 1 on the head."""
    other = (np.random.default_rng(0).random(40) < 0.6).astype(float).tolist()
    scores = [evaluated("Pop", [1] * 40, slice_name="head"), evaluated("Joint", other, slice_name="head")]
    place = Where(dataset="ML", task="recommendation", slice="head", metric="R@30")
    asked = suite(slices=["head"], claims=[Claim(id="c", text="", where=place, expect="Pop > Joint")])
    for head, verdict, reason in ((17, "not testable", "head of 17 ≤ 30"), (31, "holds for this fit", "")):
        board = build_leaderboard(asked, scores, [], [], None, {}, heads={"ML": head})
        assert [(v.verdict, v.reason) for v in board.claims] == [(verdict, reason)]


def test_small_slices_are_shown_and_not_tested() -> None:
    scores = [evaluated(m, v) for m, v in (("Joint", [1.0] * 20), ("Gen_R", [0.0] * 20))]
    board = build(suite(), scores)
    assert [row.mean for row in board.rows if row.metric == "R@30"] == [0, 1]
    assert board.comparisons == ()
    assert [u.reason for u in board.untested if u.baseline == "Gen_R"] == ["recommendation all: n = 20 < 30"]
    few = Significance(min_requests=20)
    assert [c.significant for c in build(suite(significance=few), scores).comparisons] == [True]


def test_a_deterministic_model_has_one_seed_and_no_remark_about_it() -> None:
    scores = [evaluated("Pop", [0, 1] * 20)]
    scores = [replace(e, cell=replace(e.cell, deterministic=True)) for e in scores]
    (row, _) = build(suite(seeds=[0, 1, 2]), scores).rows
    assert (row.seeds, row.sd, row.marks) == (1, None, ())


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
    scores = [evaluated("Joint", [1, 1, 0] * 10), evaluated("Gen_R", [1, 0, 0] * 10)]
    published = load_published(Path(__file__).parents[1] / "suites" / "published" / "penha2024.yaml")
    costs = [CellCosts("ML", "Joint", 0, Costs(1.5, 0.5, 0.1, 2e8, 1000)), CellCosts("ML", "Gen_R", 0, Costs())]
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
        "mean": pytest.approx(2 / 3),
        "sd": None,
        "n": 30,
        "low": pytest.approx(0.4876, abs=1e-4),
        "high": pytest.approx(0.8457, abs=1e-4),
        "coverage": 1.0,
        "seeds": 1,
        "marks": [],
        "published": {"value": 0.119, "source": source},
    }
    assert gen["published"]["value"] == 0.103
    (comparison,) = written["comparisons"]
    assert comparison["p_permutation"] == pytest.approx(2**-9, abs=2e-3)  # ten of ten differences positive
    del comparison["p_permutation"], comparison["p_permutation_corrected"]
    assert comparison == {
        "dataset": "ML",
        "task": "recommendation",
        "slice": "all",
        "metric": "R@30",
        "model": "Joint",
        "baseline": "Gen_R",
        "family": "exploratory",
        "difference": pytest.approx(1 / 3),
        "low": pytest.approx(0.1543, abs=1e-4),
        "high": pytest.approx(0.5124, abs=1e-4),
        "low_bootstrap": None,
        "high_bootstrap": None,
        "n": 30,
        "p": pytest.approx(0.00067, abs=1e-5),
        "p_corrected": comparison["p"],
        "significant": True,
        "one_fit": True,
        "resolvable": pytest.approx(0.2535, abs=1e-3),
    }
    assert written["failures"] == [{"dataset": "ML", "model": "Pop", "seed": 0, "error": "boom", "log": "log.txt"}]
    assert [cost["model"] for cost in written["costs"]] == ["Gen_R", "Joint"]
    assert list(written["costs"][0])[3:] == [
        *("fit_seconds", "rank_seconds", "milliseconds_per_request", "peak_memory_bytes", "parameters"),
        *("embeddings_seconds", "updates", "examples"),
    ]
