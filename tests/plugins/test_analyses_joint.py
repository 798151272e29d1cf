"""The analyses of joint models, on rankings and facts that a person can check."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from benchmark_analyses.cells import base_of
from benchmark_analyses.codebook_sweep import codebook_sweep
from benchmark_analyses.identifiers import identifiers
from benchmark_analyses.measures import ndcg
from benchmark_analyses.model_variants import model_variants
from benchmark_analyses.trade_off import covariance_of_means, ellipse, trade_off

from benchmark import Analysis, AnalysisInput, Cell, Dataset, Ragged, Ranking, Split, Task
from benchmark.testing import make_catalog, make_requests, make_train

Rows = Sequence[Sequence[int]]
BOTH: tuple[Task, ...] = ("recommendation", "search")


def cell(model: str, tasks: Sequence[Task] = BOTH, seed: int = 0, **params: Any) -> Cell:
    return Cell("D", model, seed, tuple(tasks), f"{model}{seed}", "d", "x", {}, "gensar", params, {})


def dataset(recommendation: Rows, search: Rows, users: Sequence[int]) -> Dataset:
    """Three items; relevant items per request, the recommendations by users 0, 1, …, the searches by `users`."""

    def split(task: Task, relevant: Rows, users: Sequence[int]) -> Split:
        ids = [f"{task}{i}" for i in range(len(relevant))]
        return Split(make_requests([[]] * len(relevant), users=users, task=task, ids=ids), Ragged.from_rows(relevant))

    train = make_train(catalog=make_catalog([""] * 3))
    test = {"recommendation": split("recommendation", recommendation, range(len(recommendation)))}
    return Dataset("D", train, {}, test | {"search": split("search", search, users)}, "d", {})


def finished(data: Dataset, rankings: Mapping[Cell, Mapping[Task, Rows]], **more: Any) -> AnalysisInput:
    def ranking(cell: Cell, task: Task, variant: str = "") -> Ranking:
        items = np.array(rankings[cell][task], dtype=np.int32)
        return Ranking(items, np.zeros(items.shape, dtype=np.float32))

    return AnalysisInput(["D"], list(rankings), lambda name: data, ranking, **more)


def column(analysis: Analysis, name: str) -> list[Any]:
    return [None if value != value else value for value in analysis.table[name].tolist()]


def texts(figure: str) -> set[str]:
    root = ElementTree.fromstring(figure)
    return {"".join(node.itertext()).strip() for node in root.iter("{http://www.w3.org/2000/svg}text")}


FIRST, THIRD, NOT = [0, 1, 2], [1, 2, 0], [1, 2, -1]  # where item 0 stands: nDCG 1, 1/2, 0


def test_ndcg_has_linear_gains_and_divides_by_the_best_that_k_places_can_hold() -> None:
    relevant = Ragged.from_lengths([1, 1, 1, 0, 2], [0, 0, 0, 0, 2], [1, 1, 1, 1, 3])
    items = np.array([FIRST, THIRD, NOT, FIRST, THIRD], dtype=np.int32)
    ranking = Ranking(items, np.zeros(items.shape, dtype=np.float32))
    # The last: grade 3 at the second place, 1 at the third; at best 3 at the first and 1 at the second.
    second = 1 / math.log2(3)
    expected = [1, 0.5, 0, math.nan, (3 * second + 0.5) / (3 + second)]
    assert ndcg(ranking, relevant, 10).tolist() == pytest.approx(expected, nan_ok=True)
    assert ndcg(ranking, relevant, 2).tolist() == pytest.approx(
        [1, 0, 0, math.nan, 3 * second / (3 + second)], nan_ok=True
    )
    assert ndcg(ranking, relevant, 1).tolist() == pytest.approx([1, 0, 0, math.nan, 0], nan_ok=True)


def test_a_variant_is_known_by_its_name() -> None:
    models = ["GenSAR", "GenSAR[-NSIP]", "SASRec[CE]"]
    assert [base_of(model, models) for model in models] == ["", "GenSAR", ""]


# ---------------------------------------------------------------- trade-off


def test_the_covariance_of_two_means_pairs_the_values_of_a_user() -> None:
    values = np.array([1.0, 0.0, 1.0, 0.0])
    users, none = np.arange(4, dtype=np.int32), np.full(4, -1, dtype=np.int32)
    error = 1 / 12  # variance 1/3 over 4 values
    together = covariance_of_means(values, values, users, users)
    assert together == pytest.approx(np.array([[error, error], [error, error]]))
    against = covariance_of_means(values, 1 - values, users, users)
    assert against == pytest.approx(np.array([[error, -error], [-error, error]]))
    for users_b in (users + 4, none):
        apart = covariance_of_means(values, values, users, users_b)
        assert apart == pytest.approx(np.array([[error, 0], [0, error]]))
    assert np.isnan(covariance_of_means(values[:1], values, users[:1], users)[0, 0])


def test_several_requests_of_a_user_are_one_observation() -> None:
    values, users = np.array([1.0, 1.0, 0.0, 0.0]), np.array([0, 0, 1, 1], dtype=np.int32)
    covariance = covariance_of_means(values, values, users, users)
    assert covariance == pytest.approx(np.full((2, 2), 1 / 4))  # two users, 1 and 0: variance 1/2 over 2


def test_the_ellipse_of_a_covariance() -> None:
    # The 95 % quantile of chi-square with two degrees of freedom is 5.9915, its root 2.4477.
    assert ellipse(np.diag([4.0, 1.0])) == pytest.approx((4 * 2.44775, 2 * 2.44775, 0), abs=1e-4)
    assert ellipse(np.diag([1.0, 4.0])) == pytest.approx((4 * 2.44775, 2 * 2.44775, 90), abs=1e-4)
    assert ellipse(np.ones((2, 2))) == pytest.approx((2 * 2.44775 * math.sqrt(2), 0, 45), abs=1e-4)
    assert ellipse(np.array([[1.0, -0.5], [-0.5, 1.0]]))[2] == pytest.approx(135)


def test_the_trade_off_has_a_point_per_joint_model_and_a_line_for_the_others() -> None:
    data = dataset([[0]] * 4, [[0]] * 4, [0, 1, 2, 3])
    rankings: dict[Cell, Mapping[Task, Rows]] = {
        cell("BM25", ["search"]): {"search": [FIRST] * 4},
        cell("GenSAR"): {"recommendation": [FIRST, NOT, FIRST, NOT], "search": [THIRD, NOT, THIRD, NOT]},
        cell("GenSAR", seed=1): {"recommendation": [FIRST, NOT, FIRST, NOT], "search": [FIRST, THIRD, FIRST, THIRD]},
        cell("GenSAR[-NSIP]"): {"recommendation": [FIRST] * 4, "search": [FIRST] * 4},
        cell("SASRec[CE]", ["recommendation"]): {"recommendation": [FIRST, THIRD, NOT, NOT]},
    }
    result = trade_off(finished(data, rankings))
    assert column(result, "over") == ["all items"] * 3
    assert column(result, "model") == ["GenSAR", "SASRec[CE]", "BM25"]
    assert column(result, "recommendation") == [0.5, 0.375, None]
    assert column(result, "search") == [0.5, None, 1.0]  # 3/4 and 1/4 when the seeds are averaged
    # t(3) is 3.1824; the standard errors are the roots of 1/12 and of a quarter of that
    assert column(result, "± recommendation")[0] == pytest.approx(3.1824 / math.sqrt(12), abs=1e-4)
    assert column(result, "± search")[0] == pytest.approx(3.1824 / math.sqrt(48), abs=1e-4)
    assert column(result, "correlation") == [pytest.approx(1.0), None, None]
    assert {"GenSAR", "BM25", "SASRec[CE]", "recommendation, nDCG@10", "search, nDCG@10"} <= texts(result.figure)


def test_the_trade_off_over_candidate_lists_stands_beside_that_over_all_items() -> None:
    data = dataset([[0]] * 2, [[0]] * 2, [0, 1])
    lists = {"recommendation": "uni2", "search": "bm25-2"}
    test = {task: replace(split, candidates={lists[task]: Ragged.from_rows([[0, 1, 2]] * 2)})
            for task, split in data.test.items()}  # fmt: skip
    asked = []

    def ranking(cell: Cell, task: Task, name: str = "") -> Ranking:
        asked.append((task, name))
        items = np.array([FIRST, FIRST] if name else [THIRD, NOT], dtype=np.int32)
        return Ranking(items, np.zeros(items.shape, dtype=np.float32))

    result = trade_off(AnalysisInput(["D"], [cell("GenSAR")], lambda name: replace(data, test=test), ranking))
    assert asked == [("recommendation", ""), ("search", ""), ("recommendation", "uni2"), ("search", "bm25-2")]
    assert column(result, "over") == ["all items", "uni2 and bm25-2"]
    assert column(result, "search") == [0.25, 1.0]
    assert {"D, all items", "D, uni2 and bm25-2"} <= texts(result.figure)


def test_no_trade_off_without_a_model_of_both_tasks() -> None:
    data = dataset([[0]], [[0]], [0])
    alone = {cell("BM25", ["search"]): {"search": [FIRST]}}
    assert len(trade_off(finished(data, alone)).table) == 0
    one = trade_off(finished(data, {cell("GenSAR"): {"recommendation": [FIRST], "search": [NOT]}}))
    assert column(one, "± search") == [None]  # one request has no interval, and the figure no ellipse
    assert "GenSAR" in texts(one.figure)


# ---------------------------------------------------------------- variants


def test_variants_are_paired_with_the_model_itself() -> None:
    data = dataset([[0]] * 4, [[0]] * 4, [0, 1, 2, 3])
    rankings: dict[Cell, Mapping[Task, Rows]] = {
        cell("Pop"): {"recommendation": [NOT] * 4, "search": [NOT] * 4},
        cell("GenSAR[-NSIP]", ["recommendation"]): {"recommendation": [FIRST, NOT, NOT, NOT]},
        cell("GenSAR"): {"recommendation": [FIRST] * 4, "search": [THIRD] * 4},
        cell("GenSAR[semantic]"): {"recommendation": [THIRD] * 4, "search": [FIRST] * 4},
    }
    result = model_variants(finished(data, rankings))
    assert column(result, "model") == ["GenSAR", "GenSAR[-NSIP]", "GenSAR[semantic]"]
    assert column(result, "recommendation") == [1.0, 0.25, 0.5]
    assert column(result, "recommendation: difference") == [None, -0.75, -0.5]
    # differences 0, -1, -1, -1: sd 1/2, error 1/4, t(3) 3.1824
    assert column(result, "± recommendation") == [None, pytest.approx(3.1824 / 4, abs=1e-4), 0.0]
    assert column(result, "search: difference") == [None, None, 0.5]
    assert {"GenSAR[-NSIP]", "GenSAR[semantic]", "D: recommendation", "D: search"} <= texts(result.figure)
    assert "Pop" not in texts(result.figure)


def test_a_model_without_variants_has_no_table() -> None:
    data = dataset([[0]], [[0]], [0])
    rankings = {cell("SASRec[CE]", ["recommendation"]): {"recommendation": [FIRST]}}
    assert len(model_variants(finished(data, rankings)).table) == 0


# ---------------------------------------------------------------- identifiers


def recorded(kind: str = "joint", shared: int = 2, levels: int = 4, **more: Any) -> dict[str, Any]:
    def one(rate: float) -> dict[str, Any]:
        return {"items": 1000, "prefixes": [10, 100], "collision_rate_before": rate, "collision_rate": 0.0}

    both = {"semantic": one(0.002 * levels), "collaborative": one(0.004)}
    return {"identifiers": {"kind": kind, "shared": shared, "levels": levels, **both, **more}}


def test_both_identifiers_of_a_joint_model_stand_beside_those_of_one_kind_of_vectors() -> None:
    alone = {"semantic": {"collision_rate_before": 0.014}, "collaborative": {"collision_rate_before": 0.009}}
    cells = [cell("GenSAR"), cell("GenSAR[semantic]"), cell("TIGER"), cell("Pop")]
    facts = [recorded(alone=alone), recorded("semantic"), {"identifiers": {"collision_rate_before": 0.5}}, {}]
    by_cell = dict(zip(cells, facts, strict=True))
    result = identifiers(finished(dataset([[0]], [[0]], [0]), {c: {} for c in cells}, facts=by_cell.__getitem__))
    assert column(result, "model") == ["GenSAR"] * 4 + ["GenSAR[semantic]", "TIGER"]
    kinds = ["semantic", "collaborative", "only semantic", "only collaborative", "only semantic", ""]
    assert column(result, "identifier") == kinds
    assert column(result, "colliding before") == [0.008, 0.004, 0.014, 0.009, 0.008, 0.5]
    assert "0.18 %" in result.note
    assert {"D, GenSAR: only semantic", "D, TIGER"} <= texts(result.figure)


# ---------------------------------------------------------------- codebooks


def test_a_sweep_has_the_variants_that_differ_in_the_numbers_of_codes_alone() -> None:
    def gensar(name: str, shared: int = 2, specific: int = 2, **more: Any) -> tuple[Cell, dict[str, Any]]:
        settings = {"shared": shared, "specific": specific, "size": 64}
        return cell(name, identifiers=settings, **more), recorded(shared=shared, levels=shared + specific)

    cells = dict(
        [
            gensar("GenSAR", compare_identifiers=True),
            gensar("GenSAR[L_m=3]", 3, 1),
            gensar("GenSAR[L_m=1]", 1, 3),
            gensar("GenSAR[L_n=3]", 2, 3),
            gensar("GenSAR[-NSIP]", tasks_trained=["NRIP"]),
        ]
    )
    rows: dict[Task, Rows] = {"recommendation": [FIRST, NOT], "search": [THIRD, THIRD]}
    result = codebook_sweep(
        finished(dataset([[0]] * 2, [[0]] * 2, [0, 1]), dict.fromkeys(cells, rows), facts=cells.__getitem__)
    )
    assert column(result, "model") == ["GenSAR[L_m=1]", "GenSAR", "GenSAR[L_m=3]", "GenSAR[L_n=3]"]
    assert list(zip(column(result, "L_m"), column(result, "L_n"), strict=True)) == [(1, 3), (2, 2), (3, 1), (2, 3)]
    assert column(result, "recommendation") == [0.5] * 4
    assert column(result, "± search") == [0.0] * 4
    assert column(result, "colliding: semantic") == pytest.approx([0.008, 0.008, 0.008, 0.01])
    assert {"L_m (L_m + L_n = 4)", "L_m + L_n (L_m = 2)", "D, GenSAR: search"} <= texts(result.figure)


def test_no_sweep_of_a_model_whose_variants_differ_in_more() -> None:
    cells = {cell("GenSAR"): recorded(), cell("GenSAR[small]", d_model=8): recorded(shared=1)}
    rows: dict[Task, Rows] = {"recommendation": [FIRST], "search": [THIRD]}
    data = dataset([[0]], [[0]], [0])
    assert len(codebook_sweep(finished(data, dict.fromkeys(cells, rows), facts=cells.__getitem__)).table) == 0
