from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pytest
from benchmark_accuracy import ALIASES, BRIDGED, KERNELS, benchmark_metrics
from numpy.typing import NDArray

from benchmark import PAD, BenchmarkError, ContractError, Ragged, Ranking
from benchmark.testing import check_metric

METRICS: dict[str, Any] = dict(benchmark_metrics())
FIXTURES = (
    Path(os.environ.get("BENCHMARK_DATA") or Path(__file__).parents[3] / "shared" / "data")
    / "ir-small/trec_eval-fixtures"
)


def make_ranking(rows: Iterable[Iterable[int]], width: int) -> Ranking:
    items = Ragged.from_rows([list(row) for row in rows])
    out = np.full((len(items), width), PAD, dtype=np.int32)
    for i in range(len(items)):
        out[i, : len(items[i])] = items[i]
    return Ranking(out, np.zeros(out.shape, dtype=np.float32))


def by_ir_measures(measure: Any, ranking: Ranking, relevant: Ragged) -> NDArray[np.float64]:
    grades = np.ones(len(relevant.values)) if relevant.grades is None else relevant.grades
    qrels: list[ir_measures.Qrel] = [
        ir_measures.Qrel(str(row), str(item), int(grade))
        for row, item, grade in zip(relevant.rows, relevant.values, grades, strict=True)
    ]
    run = [
        ir_measures.ScoredDoc(str(row), str(item), float(1000 - column))
        for row, line in enumerate(ranking.items.tolist())
        for column, item in enumerate(line)
        if item != PAD
    ]
    out = np.zeros(len(ranking))
    for score in ir_measures.iter_calc([measure], qrels, run):
        out[int(score.query_id)] = score.value
    return out


# One request per row: a hit at rank 2 of 1 relevant; hits at 1 and 3 of 4; nothing found; no ranking; nothing relevant.
RANKING = make_ranking([[7, 5, 9], [1, 8, 2], [3, 4, 5], [], [1, 2, 3]], 3)
RELEVANT = Ragged.from_rows([[5], [4, 2, 1, 0], [8, 9], [1], []])
BY_HAND: dict[tuple[str, int], list[float]] = {
    ("R", 3): [1, 0.5, 0, 0, 0],
    ("R", 1): [0, 0.25, 0, 0, 0],
    ("P", 3): [1 / 3, 2 / 3, 0, 0, 0],
    ("P", 10): [0.1, 0.2, 0, 0, 0],
    ("RR", 3): [0.5, 1, 0, 0, 0],
    ("RR", 1): [0, 1, 0, 0, 0],
    ("Success", 2): [1, 1, 0, 0, 0],
    ("HR", 1): [0, 1, 0, 0, 0],
    ("AP", 3): [0.5, (1 + 2 / 3) / 4, 0, 0, 0],
    ("nDCG", 3): [1 / np.log2(3), 1.5 / (1.5 + 1 / np.log2(3)), 0, 0, 0],
}


@pytest.mark.parametrize(("name", "k"), list(BY_HAND))
def test_values_by_hand(name: str, k: int) -> None:
    values = METRICS[name](RANKING, RELEVANT, k)
    assert values.dtype == np.float64
    np.testing.assert_allclose(values, BY_HAND[name, k], rtol=0, atol=1e-12)


def test_graded_relevance_by_hand() -> None:
    ranking = make_ranking([[4, 2, 9]], 3)
    relevant = Ragged.from_lengths([4], [2, 4, 6, 9], grades=[3, 0, 1, 1])
    dcg, ideal = 3 / np.log2(3) + 1 / 2, 3 + 1 / np.log2(3) + 1 / 2
    assert METRICS["nDCG"](ranking, relevant, 3).tolist() == pytest.approx([dcg / ideal], abs=1e-12)
    assert METRICS["R"](ranking, relevant, 3).tolist() == pytest.approx([2 / 3])  # grade 0 is not relevant
    assert METRICS["R"](ranking, relevant, 3, rel=2).tolist() == [1]
    assert METRICS["RR"](ranking, relevant, 3, rel=2).tolist() == [0.5]
    assert METRICS["P"](ranking, Ragged.from_rows([[2]]), 3, rel=2).tolist() == [0]


def random_case(seed: int, width: int = 40, *, many: int, graded: bool) -> tuple[Ranking, Ragged]:
    rng = np.random.default_rng(seed)
    rows = [rng.choice(90, rng.choice([0, 3, width]), replace=False) for _ in range(150)]
    lengths = rng.integers(0, many + 1, 150)
    values = np.concatenate([rng.choice(90, n, replace=False) for n in lengths])
    grades = rng.integers(0, 4, len(values)) if graded else None
    return make_ranking(rows, width), Ragged.from_lengths(lengths, values, grades)


@pytest.mark.parametrize("cells", [1, 500, 1 << 17])
@pytest.mark.parametrize("graded", [False, True])
@pytest.mark.parametrize("many", [1, 60])
def test_kernels_equal_ir_measures(many: int, graded: bool, cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark_accuracy.CELLS_PER_BLOCK", cells)
    ranking, relevant = random_case(3, many=many, graded=graded)
    for name, kernel in KERNELS.items():
        for k in (1, 10, 40, 100):
            for params in [{}, {"rel": 2}] if graded and name != "nDCG" else [{}]:
                measure = getattr(ir_measures, kernel.name)(**params) @ k
                expected = by_ir_measures(measure, ranking, relevant)
                np.testing.assert_allclose(
                    kernel(ranking, relevant, k, **params), expected, rtol=0, atol=1e-9, err_msg=str(measure)
                )


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("Rprec", {}),
        ("Bpref", {"rel": 2}),
        ("infAP", {}),
        ("SetP", {}),
        ("SetR", {}),
        ("SetF", {"beta": 2.0}),
        ("NumRet", {}),
        ("NumRelRet", {}),
        ("Compat", {"p": 0.9}),
        ("IPrec", {"recall": 0.5}),
    ],
)
def test_the_bridge_gives_what_ir_measures_gives(name: str, params: dict[str, Any]) -> None:
    ranking, relevant = random_case(4, many=6, graded=True)
    measure = getattr(ir_measures, name)(**params)
    np.testing.assert_array_equal(
        METRICS[name](ranking, relevant, 40, **params), by_ir_measures(measure, ranking, relevant)
    )
    cut = Ranking(ranking.items[:, :5], ranking.scores[:, :5])
    np.testing.assert_array_equal(METRICS[name](ranking, relevant, 5, **params), by_ir_measures(measure, cut, relevant))


def test_a_parameter_that_the_kernel_lacks_goes_to_ir_measures() -> None:
    ranking, relevant = random_case(5, many=6, graded=True)
    cases: list[tuple[str, dict[str, Any]]] = [
        ("nDCG", {"judged_only": True}),
        ("P", {"judged_only": True, "rel": 2}),
        ("Judged", {}),
    ]
    for name, params in cases:
        expected = by_ir_measures(getattr(ir_measures, name)(**params) @ 10, ranking, relevant)
        np.testing.assert_array_equal(METRICS[name](ranking, relevant, 10, **params), expected)
    graded = Ragged.from_lengths([2], [1, 2], grades=[2, 1])
    exponential = METRICS["nDCG"](make_ranking([[2, 1]], 2), graded, 2, dcg="exp-log2")
    assert exponential.tolist() == pytest.approx([(1 + 3 / np.log2(3)) / (3 + 1 / np.log2(3))], abs=1e-5)


@pytest.mark.parametrize("name", [*KERNELS, "Rprec", "Bpref", "infAP", "SetP", "SetR", "Judged"])
def test_the_contract(name: str) -> None:
    check_metric(METRICS[name])


def test_the_order_counts_and_the_scores_do_not() -> None:
    ranking = Ranking(np.array([[3, 1, 2]], dtype=np.int32), np.full((1, 3), 0.25, dtype=np.float32))
    assert METRICS["RR"](ranking, Ragged.from_rows([[1]]), 3).tolist() == [0.5]
    assert METRICS["Rprec"](ranking, Ragged.from_rows([[3]]), 3).tolist() == [1]


def test_no_request_and_no_column() -> None:
    for name in ("R", "nDCG", "AP", "RR", "Rprec"):
        assert METRICS[name](make_ranking([], 5), Ragged.empty(0), 5).shape == (0,)
        assert METRICS[name](make_ranking([[]], 0), Ragged.from_rows([[1]]), 5).tolist() == [0]


def test_every_measure_of_ir_measures_is_offered() -> None:
    assert set(KERNELS) - {"HR"} | set(ALIASES) | set(BRIDGED) == set(ir_measures.measures.registry)
    for alias, name in ALIASES.items():
        assert METRICS[alias].name == ir_measures.measures.registry[alias].NAME == name


def test_offering_them_imports_nothing_heavy() -> None:
    code = (
        "import sys, benchmark_accuracy as a; a.benchmark_metrics();"
        "print([m for m in ('ir_measures', 'pandas', 'scipy', 'torch') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_mistakes_are_named() -> None:
    with pytest.raises(BenchmarkError, match=r"no parameter 'relevance'. Its parameters: judged_only, rel\."):
        METRICS["R"](RANKING, RELEVANT, 3, relevance=2)
    with pytest.raises(BenchmarkError, match=r"no parameter 'rel'\. Its parameters: dcg, gains, judged_only"):
        METRICS["nDCG"](RANKING, RELEVANT, 3, rel=2)
    with pytest.raises(BenchmarkError, match="metric nDCG: 'dcg' cannot be 'log3'"):
        METRICS["nDCG"](RANKING, RELEVANT, 3, dcg="log3")
    with pytest.raises(BenchmarkError, match="metric IPrec: 'recall' must be given"):
        METRICS["IPrec"](RANKING, RELEVANT, 3)
    with pytest.raises(BenchmarkError, match="ir_measures cannot compute RR"):
        METRICS["RR"](RANKING, RELEVANT, 1, judged_only=True)
    with pytest.raises(BenchmarkError, match="cut-off 0"):
        METRICS["R"](RANKING, RELEVANT, 0)
    with pytest.raises(BenchmarkError, match="whole grades"):
        METRICS["Rprec"](make_ranking([[1]], 1), Ragged.from_lengths([1], [1], grades=[0.5]), 1)
    with pytest.raises(ContractError, match="5 rankings"):
        METRICS["R"](RANKING, Ragged.empty(2), 3)


@pytest.mark.skipif(
    not FIXTURES.exists(), reason="trec_eval's fixtures are not there; BENCHMARK_DATA names their folder"
)
def test_trec_evals_own_run_and_expected_output() -> None:
    def lines(name: str) -> list[list[str]]:
        with gzip.open(FIXTURES / name, "rt") as file:
            return [line.split() for line in file]

    numbers: dict[str, int] = {}
    judged: dict[str, dict[int, int]] = {}
    for query, _, document, grade in lines("qrels.test.gz"):
        judged.setdefault(query, {})[numbers.setdefault(document, len(numbers))] = int(grade)
    retrieved: dict[str, list[tuple[np.float32, str]]] = {query: [] for query in judged}
    for query, _, document, _, score, _ in lines("results.test.gz"):
        retrieved[query].append((np.float32(score), document))
    ordered = [
        [numbers.setdefault(document, len(numbers)) for _, document in sorted(found, reverse=True)]
        for found in retrieved.values()
    ]
    ranking = make_ranking(ordered, max(map(len, ordered)))
    relevant = Ragged.from_lengths(
        [len(row) for row in judged.values()],
        [document for row in judged.values() for document in row],
        [grade for row in judged.values() for grade in row.values()],
    )
    patterns = {"P_{}": "P", "recall_{}": "R", "ndcg_cut_{}": "nDCG", "map_cut_{}": "AP", "success_{}": "Success"}
    names = {pattern.format(k): (name, k) for pattern, name in patterns.items() for k in (5, 10, 30, 100, 500)}
    names |= {"recip_rank": ("RR", 500), "map": ("AP", 500), "Rprec": ("Rprec", 500), "bpref": ("Bpref", 500)}
    printed = [line for line in lines("out.test.aq.gz") if line[0] in names and line[1] != "all"]
    place = {query: row for row, query in enumerate(judged)}
    values = {key: METRICS[name](ranking, relevant, k) for key, (name, k) in names.items()}
    for key, query, value in printed:
        assert abs(values[key][place[query]] - float(value)) < 5.01e-5, key  # four digits are printed
    assert len({line[0] for line in printed}) == 26
