"""The analyses of one task and of identifiers, on rankings and facts that a person can check."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

import benchmark_analyses
import numpy as np
import pandas as pd
import pytest
from benchmark_analyses.categories import Categories, categories, entropy
from benchmark_analyses.codes import codes_and_categories, nmi
from benchmark_analyses.cold_start import cold_start
from benchmark_analyses.diversity import diversity, diversity_examples
from benchmark_analyses.identifiers import identifiers
from benchmark_analyses.invalid_ids import invalid_ids

from benchmark import Analysis, AnalysisInput, Catalog, Cell, Dataset, Ragged, Ranking, Split
from benchmark.plugins import load, resolve
from benchmark.testing import make_catalog, make_requests, make_train

PATHS = [
    ("Beauty > Makeup > Nails > Polish",),
    ("Beauty > Makeup > Nails > Remover",),
    ("Beauty > Makeup > Eyes",),
    ("Beauty > Skin",),
    (),
]
LN2 = math.log(2)


def cell(model: str, use: str = "tiger", seed: int = 0, dataset: str = "D", **params: Any) -> Cell:
    return Cell(dataset, model, seed, ("recommendation",), f"{model}{seed}", "d", "x", {}, use, params, {})


def dataset(
    relevant: Sequence[int], kinds: Any = PATHS, trained: Sequence[int] = (0, 1, 2, 3), **facts: Any
) -> Dataset:
    """As many items as `kinds`, of which `trained` occur in training; a request per relevant item."""
    attributes = {} if kinds is None else {"categories": kinds}
    catalog = make_catalog([""] * (5 if kinds is None else len(kinds)), **attributes)
    n = len(relevant)
    requests = make_requests([[]] * n, users=range(n), ids=[f"u{i}" for i in range(n)])
    train = make_train([trained], catalog=catalog)
    split = Split(requests, Ragged.from_rows([[item] for item in relevant]))
    return Dataset("D", train, {}, {"recommendation": split}, "d", facts)


def finished(data: Dataset, rankings: Mapping[Cell, Mapping[str, Any]], **more: Any) -> AnalysisInput:
    """Rankings by cell and variant, rows of items padded with -1; "" is the cell's own."""

    def ranking(cell: Cell, task: str, variant: str = "") -> Ranking:
        items = np.array(rankings[cell][variant], dtype=np.int32)
        return Ranking(items, np.zeros(items.shape, dtype=np.float32))

    return AnalysisInput(
        ["D"],
        list(rankings),
        lambda name: data,
        ranking,
        variants=lambda cell: [variant for variant in rankings[cell] if variant],
        **more,
    )


def column(analysis: Analysis, name: str) -> list[Any]:
    return [None if value != value else value for value in analysis.table[name].tolist()]


def texts(figure: str) -> set[str]:
    """The words of a well-formed SVG, which has no script and fetches nothing."""
    root = ElementTree.fromstring(figure)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "<script" not in figure
    return {"".join(node.itertext()).strip() for node in root.iter("{http://www.w3.org/2000/svg}text")}


def test_every_analysis_is_found_and_has_a_note_where_there_is_nothing() -> None:
    # dataset-statistics has numbers of any data
    offered = [name for name in benchmark_analyses.benchmark_analyses() if name != "dataset-statistics"]
    nothing = AnalysisInput([], [], lambda name: dataset([0]), lambda *of: Ranking(np.empty(0), np.empty(0)))
    plain = finished(dataset([0]), {cell("Pop"): {"": [[0, 1]]}})
    for name in offered:
        analysis = resolve(load().offer("analysis", name))
        for run in (nothing, plain):
            result = analysis(run)
            assert (len(result.table), result.figure) == (0, "")
            assert result.note.rstrip(".)").endswith(
                ("does it", "recorded identifiers", "on a data set does"),
            )


# ---------------------------------------------------------------- categories


def test_categories_are_two_names_below_the_root_however_they_are_stored() -> None:
    catalog = dataset([0]).train.catalog
    fine = categories(catalog)
    assert fine is not None
    assert fine.names == ("Makeup > Eyes", "Makeup > Nails", "Skin")
    assert [list(fine.by_item[i]) for i in range(5)] == [[1], [1], [0], [2], []]
    coarse = categories(catalog, coarse=True)
    assert coarse is not None
    assert coarse.names == ("Makeup", "Skin")
    for kinds in (
        ["B > M > N | B > S", "B > S", None, float("nan"), ""],
        [("B > M > N", "B > S"), ["B > S"], np.array([], dtype=object), (), ("",)],
        [(("B", "M", "N"), ("B", "S")), [["B", "S"]], (), (), ()],
    ):
        same = categories(dataset([0], kinds).train.catalog)
        assert same is not None
        assert same.names == ("M > N", "S")
        assert [list(same.by_item[i]) for i in range(5)] == [[0, 1], [1], [], [], []]
    assert categories(dataset([0], None).train.catalog) is None
    genres = pd.DataFrame({"genres": [("Comedy", "Drama")]})
    fine = categories(Catalog(catalog.ids[:1], catalog.texts[:1], genres))
    assert fine is not None
    assert fine.names == ("Comedy", "Drama")


def test_entropy_of_halves_is_the_logarithm_of_two() -> None:
    kinds = Categories(("a", "b", "c"), Ragged.from_rows([[0], [0], [1], [0, 1], []]))
    items = np.array([[0, 2], [0, 1], [3, -1], [4, -1], [-1, -1], [0, 4]], dtype=np.int32)
    expected = [LN2, 0.0, LN2, math.nan, math.nan, 0.0]
    assert entropy(kinds, items).tolist() == pytest.approx(expected, nan_ok=True)
    # one of a, half of a and half of b: 3/4 and 1/4
    uneven = entropy(kinds, np.array([[0, 3]], dtype=np.int32))
    assert uneven.tolist() == pytest.approx([-(0.75 * math.log(0.75) + 0.25 * math.log(0.25))])


# ---------------------------------------------------------------- cold start


def test_cold_start_counts_unseen_targets_apart_and_pairs_with_semantic_knn() -> None:
    # Items 3 and 4 do not occur in training; they are the targets of the last two requests.
    data = dataset([0, 1, 3, 4], trained=(0, 1, 2), unseen_share=0.4)
    tiger, knn = cell("TIGER", unseen_share=0.1), cell("KNN", "semantic_knn")
    result = cold_start(
        finished(
            data,
            {
                knn: {"": [[2] * 5, [1, 2, 0, 3, 4], [3, 0, 1, 2, 4], [0, 1, 2, 3, -1]]},
                tiger: {
                    "": [[0, 1, 2, 3, 4], [1, 0, 2, 3, 4], [0, 3, 1, 2, 4], [0, 1, 2, -1, -1]],
                    "unseen-0": [[0, 1, 2, -1, -1], [1, 0, 2, -1, -1], [0] + [-1] * 4, [0, 1, 2, -1, -1]],
                    "unseen-0.1": [[0, 1, 2, 3, 4]] * 4,  # what the ranking itself has
                    "unseen-1": [[3, 4, 0, 1, 2], [3, 4, 1, 0, 2], [3, 4, 0, 1, 2], [4, 3, 0, 1, 2]],
                },
            },
        )
    )
    assert column(result, "model") == ["KNN", "TIGER", "TIGER", "TIGER"]
    assert column(result, "ε") == ["", "0", "0.1", "1"]
    assert column(result, "R@1") == [0.5, 0.5, 0.5, 0.5]
    assert column(result, "R@5") == [0.5, 0.5, 0.75, 1.0]
    assert column(result, "unseen targets R@5") == [0.5, 0.0, 0.5, 1.0]
    assert column(result, "n unseen") == [2, 2, 2, 2]
    assert column(result, "minus Semantic_KNN") == [None, 0.0, 0.25, 0.5]
    # differences 1, 0, 0, 0: sd 1/2, error 1/4, t(3) 3.1824
    assert column(result, "± difference")[2] == pytest.approx(3.1824 / 4, abs=1e-4)
    assert {"TIGER, ε = 0.1", "KNN", "ε", "The same, 2 unseen targets"} <= texts(result.figure)


def test_seeds_are_averaged_before_anything_else() -> None:
    data = dataset([0, 1], trained=(0,), unseen_share=0.5)
    one = {cell("TIGER", seed=0): {"": [[0, 1], [0, 2]]}, cell("TIGER", seed=1): {"": [[0, 1], [1, 0]]}}
    result = cold_start(finished(data, one))
    assert column(result, "R@1") == [0.75]
    assert column(result, "unseen targets R@1") == [0.5]


# ---------------------------------------------------------------- diversity


def test_diversity_shows_entropy_recall_and_the_papers_number_by_temperature() -> None:
    kinds = ["a", "b"] * 10
    same, mixed, short = list(range(0, 20, 2)), list(range(10)), [0, 1] + [-1] * 8
    tiger = cell("TIGER")
    rankings = {
        tiger: {
            "": [same, same],
            "temperature-2": [mixed, mixed],
            "temperature-1.5": [mixed, same],
            "temperature-3": [short, short],
        }
    }
    asked = []

    def published(cell: Cell, task: str, metric: str, row: str = "") -> float | None:
        asked.append((cell, task))
        return {("Entropy@10", "T=1.5"): 1.14}.get((metric, row))

    result = diversity(finished(dataset([0, 1], kinds), rankings, published=published))
    assert column(result, "decoding") == ["beam search", "T = 1.5", "T = 2", "T = 3"]
    assert column(result, "Entropy@10") == pytest.approx([0.0, LN2 / 2, LN2, None])
    assert column(result, "Entropy@10 in the paper") == [None, 1.14, None, None]
    assert column(result, "R@10") == [0.5, 0.5, 1.0, 1.0]
    assert column(result, "items") == [10, 10, 10, 2]
    assert "Entropy@20" not in result.table
    assert set(asked) == {(tiger, "recommendation")}
    assert {"K = 10", "K = 10, beam search", "K = 10, the paper", "temperature"} <= texts(result.figure)
    without = diversity(finished(dataset([0, 1], None), rankings))
    assert without.note.endswith("No data set of these models has a column of categories or genres.")


def test_examples_are_one_request_of_each_frequent_target_category() -> None:
    kinds = ["a", "b", "a", "b", "c"]
    rankings = {
        cell("TIGER"): {
            "": [[0, 2, 1]] * 5,
            "temperature-2": [[0, 1, 3], [0, 1, 3], [1, 3, 4], [1, 3, 4], [1, 3, 4]],
        }
    }
    result = diversity_examples(finished(dataset([0, 2, 0, 1, 3], kinds), rankings))
    assert column(result, "target category") == ["a", "b"]
    assert column(result, "beam search") == ["a 2, b 1", "a 2, b 1"]
    assert column(result, "T = 2")[1] == "b 2, c 1"
    again = diversity_examples(finished(dataset([0, 2, 0, 1, 3], kinds), rankings))
    pd.testing.assert_frame_equal(result.table, again.table)


# ---------------------------------------------------------------- identifiers


def test_invalid_ids_are_those_that_the_search_wrote_and_no_item_has() -> None:
    rankings = {
        cell("TIGER"): {
            "": [[0, 1, 2, 3], [0, 1, 2, 3]],
            "unconstrained-4": [[0, 1, 2, -1], [0, 1, -1, -1]],
            "unconstrained-2": [[0, 1, -1, -1], [0, 1, -1, -1]],
            "unconstrained-8": [[0, 1, 2, 3], [0, 1, 2, 3]],
        }
    }
    result = invalid_ids(finished(dataset([0, 1]), rankings))
    assert column(result, "K") == [2, 4]
    assert column(result, "invalid share") == [0.0, 0.375]  # 1/4 and 2/4
    assert result.note.endswith("keeps fewer items per request: TIGER K = 8.")
    assert {"K", "Identifiers of no item", "D, TIGER"} <= texts(result.figure)


def test_identifiers_shows_what_was_recorded_and_tolerates_what_was_not() -> None:
    whole = {
        "method": "rqvae",
        "items": 5,
        "sizes": [2, 2],
        "codes_used": [2, 1],
        "perplexity": [1.96, 1.0],
        "prefixes": [2, 4],
        "largest_group": 2,
        "collision_rate_before": 0.2,
        "collision_rate": 0.0,
        "reconstruction_error": 0.31,
        "steps": 1300,
        "precision": "fp32",
        "seconds": 12.5,
        "remarks": ["it has not learned", "codes are unused"],
    }
    cells = [cell("TIGER"), cell("TIGER[random]"), cell("Pop")]
    facts = dict(zip(cells, ({"identifiers": whole}, {"identifiers": {"method": "random"}}, {}), strict=True))
    result = identifiers(finished(dataset([0]), {c: {} for c in cells}, facts=facts.__getitem__))
    assert column(result, "model") == ["TIGER", "TIGER[random]"]
    assert result.table.iloc[0].drop(["data set", "model"]).to_dict() == {
        "method": "rqvae",
        "sizes": "2 · 2",
        "in use": "2 · 1",
        "perplexity": "1.96 · 1",
        "prefixes": "2 · 4",
        "largest group": 2,
        "colliding before": 0.2,
        "colliding after": 0.0,
        "error": 0.31,
        "steps": "1,300",
        "precision": "fp32",
        "seconds": 12.5,
        "remark": "it has not learned; codes are unused",
    }
    assert {"D, TIGER", "D, TIGER[random]", "before", "after", "20"} <= texts(result.figure)


def test_codes_that_say_the_category_have_an_nmi_of_one() -> None:
    kinds = Categories(("a", "b"), Ragged.from_rows([[0], [0], [1], [1]]))
    assert nmi(np.array([1, 1, 0, 0]), kinds) == pytest.approx(1.0)
    assert nmi(np.array([0, 1, 0, 1]), kinds) == pytest.approx(0.0)
    assert nmi(np.zeros(4, dtype=np.int64), kinds) == 0.0
    # four codes of one item each: I = ln 2, and the entropies are ln 4 and ln 2
    assert nmi(np.arange(4), kinds) == pytest.approx(2 / 3)


def test_codes_and_categories_are_compared_level_by_level() -> None:
    codes = [[3, 0], [3, 1], [3, 2], [5, 0], [5, 0]]
    kinds = ["B > M > N", "B > M > N", "B > M > E", "B > S", ("B > S",)]
    result = codes_and_categories(
        finished(dataset([0], kinds), {cell("TIGER"): {}}, facts=lambda cell: {"codes": codes})
    )
    assert column(result, "categories") == ["2 coarse", "3 fine"] * 2
    assert column(result, "code: different") == [2, 2, 3, 3]
    assert column(result, "codes up to it: different") == [2, 2, 4, 4]
    assert column(result, "code: NMI")[0] == pytest.approx(1.0)
    assert {"3", "5", "M", "S", "first code"} <= texts(result.figure)
    wrong = codes_and_categories(finished(dataset([0]), {cell("TIGER"): {}}, facts=lambda cell: {"codes": codes[:2]}))
    assert len(wrong.table) == 0


# ---------------------------------------------------------------- figures


def test_a_figure_has_the_same_bytes_each_time_and_whatever_the_users_own_settings() -> None:
    import matplotlib

    run = finished(dataset([0]), {cell("50% $x$ <b>"): {"": [[0, 1]], "unconstrained-2": [[0, -1]]}})
    first = invalid_ids(run).figure
    with matplotlib.rc_context({"font.size": 30, "svg.hashsalt": "mine", "lines.linewidth": 9}):
        assert invalid_ids(run).figure == first
        assert matplotlib.rcParams["font.size"] == 30
    assert "D, 50% $x$ <b>" in texts(first)
    assert "<dc:date>" not in first
