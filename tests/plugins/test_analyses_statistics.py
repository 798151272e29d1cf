from __future__ import annotations

import numpy as np
import pytest
from benchmark_analyses import benchmark_analyses
from benchmark_analyses.dataset_statistics import dataset_statistics, gini, kl_divergence, ks_distance, statistics
from scipy.stats import entropy, ks_2samp

from benchmark import AnalysisInput
from benchmark.testing import checkerboard


def test_hook() -> None:
    assert benchmark_analyses()["dataset-statistics"] == "benchmark_analyses.dataset_statistics:dataset_statistics"


def test_gini() -> None:
    assert gini(np.array([5, 5, 5, 0])) == pytest.approx(0)  # what does not occur is no item of the task
    assert gini(np.array([1, 3])) == pytest.approx(0.25)  # mean difference 1, twice the mean 4
    assert gini(np.array([1] * 999 + [10**9])) == pytest.approx(0.999, abs=1e-5)
    assert gini(np.zeros(3, dtype=np.int64)) == 0


def test_distances_equal_scipy() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.poisson(2, 500), generator.poisson(3, 500)
    assert ks_distance(a / a.sum(), b / b.sum()) == pytest.approx(ks_2samp(a / a.sum(), b / b.sum()).statistic)
    assert kl_divergence(a, b) == pytest.approx(entropy(a + 1, b + 1))
    assert kl_divergence(a, a) == pytest.approx(0)
    # shares 3/4 and 1/4 against 1/4 and 3/4, after adding 1
    assert kl_divergence(np.array([2, 0]), np.array([0, 2])) == pytest.approx(np.log(3) / 2)


def test_statistics_of_a_data_set_that_is_known() -> None:
    # 120 users take 8 steps around 20 items; each item is asked for 8 times, by a query that means it alone
    numbers = statistics(checkerboard())
    assert {k: numbers[k] for k in ("items (R)", "users", "items (S)", "queries", "relevant per query")} == {
        "items (R)": 20,
        "users": 120,
        "items (S)": 20,
        "queries": 160,
        "relevant per query": 1,
    }
    assert numbers["interactions"] == 120 * 8
    assert numbers["density"] == pytest.approx(0.4)
    assert numbers["Gini (R)"] == pytest.approx(0)
    assert numbers["KLD(S ‖ R)"] == pytest.approx(0)
    assert numbers["KS(S, R)"] == pytest.approx(0)


def test_a_joint_log_has_the_counts_of_the_log_itself() -> None:
    # every step of the 120 users is an interaction and a search with one click; what is held out counts as well
    numbers = statistics(checkerboard(joint=True))
    names = ("users", "interactions", "searches", "interactions (S)", "items (S)", "queries")
    assert [numbers[name] for name in names] == [120, 960, 960, 960, 20, 160]
    assert "relevant per query" not in numbers


def test_one_column_per_data_set() -> None:
    sets = {"both": checkerboard(), "search": checkerboard(tasks=["search"])}
    analysis = dataset_statistics(
        AnalysisInput(list(sets), [], sets.__getitem__, lambda cell, task: pytest.fail("no ranking is needed"))
    )
    assert analysis.table.columns.tolist() == ["statistic", "both", "search"]
    rows = dict(zip(analysis.table["statistic"], analysis.table[["both", "search"]].to_numpy().tolist(), strict=True))
    assert rows["queries"] == [160, 160]
    assert rows["users"] == [120, ""]
    assert "adding 1" in analysis.note
