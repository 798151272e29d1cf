from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from benchmark.evaluation.significance import finite, holm, interval, paired_test, sign_flip


def vectors(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    b = rng.integers(0, 2, n).astype(float)
    a = np.where(rng.random(n) < 0.3, rng.random(n), b)
    return a, b


@pytest.mark.parametrize("n", [2, 3, 10, 1000])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_t_test_and_interval_equal_scipy(n: int, alpha: float) -> None:
    rng = np.random.default_rng(n)
    a, b = rng.random(n), rng.random(n)
    ours = paired_test(a, b, alpha=alpha, permutations=100)
    theirs = stats.ttest_rel(a, b)
    assert ours.n == n
    assert ours.difference == pytest.approx(a.mean() - b.mean(), abs=1e-15)
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-10)
    bounds = theirs.confidence_interval(1 - alpha)
    assert (ours.low, ours.high) == pytest.approx((bounds.low, bounds.high), rel=1e-10)
    assert interval(a, alpha) == pytest.approx(
        stats.t.interval(1 - alpha, n - 1, loc=a.mean(), scale=stats.sem(a)), rel=1e-10
    )


@pytest.mark.parametrize("n", [3, 20, 943])
def test_the_detectable_difference_equals_statsmodels(n: int) -> None:
    rng = np.random.default_rng(n)
    a, b = rng.random(n), rng.random(n)
    d = a - b
    size = TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8, alternative="two-sided")
    ours = paired_test(a, b, alpha=0.05, permutations=100).detectable
    assert ours == pytest.approx(size * d.std(ddof=1), rel=1e-4)


def test_identical_vectors_have_p_one_and_no_nan() -> None:
    a = np.array([0.0, 1.0, 0.5])
    test = paired_test(a, a.copy(), alpha=0.05, permutations=100)
    assert (test.difference, test.low, test.high, test.p, test.p_permutation) == (0, 0, 0, 1, 1)
    assert finite(test.detectable) is None


def test_a_single_request_proves_nothing() -> None:
    test = paired_test(np.array([1.0]), np.array([0.0]), alpha=0.05, permutations=100)
    assert (test.p, test.p_permutation) == (1, 1)
    assert (finite(test.low), finite(test.high), finite(test.detectable)) == (None, None, None)


def test_a_constant_difference_has_the_exact_sign_flip_p_where_t_is_infinite() -> None:
    a = np.array([0.5, 0.75, 1.0])
    test = paired_test(a, a - 0.25, alpha=0.05, permutations=1000)
    assert (test.difference, test.low, test.high, test.p) == (0.25, 0.25, 0.25, 0.25)


def test_better_on_average_is_positive_and_sides_are_symmetric() -> None:
    a, b = vectors(500)
    one, other = (paired_test(x, y, alpha=0.05, permutations=500) for x, y in ((a, b), (b, a)))
    assert one.difference == -other.difference
    assert (one.p, one.p_permutation, one.detectable) == (other.p, other.p_permutation, other.detectable)
    assert (one.low, one.high) == (-other.high, -other.low)


@pytest.mark.parametrize(
    "d",
    [
        [1.0, 1, 1, 1, -1, 0, 0],  # equal sizes: one binomial number per flip
        [0.1, 0.25, -0.4, 0.7, 0.9, 0.0],  # all sizes differ: a coin each
        [0.5, 0.5, 0.5, 0.25, -0.125, 1.0, 1.0, 0.3],
    ],
)
def test_permutation_p_equals_the_exact_one_over_all_flips(d: list[float]) -> None:
    values = np.array(d)
    flips = np.array(list(itertools.product([1, -1], repeat=len(d)))) @ values
    exact = float((np.abs(flips) >= abs(values.sum()) - 1e-12).mean())
    assert sign_flip(values, 40_000) == pytest.approx(exact, abs=0.01)


def test_permutation_p_agrees_with_scipy() -> None:
    a, b = vectors(60, seed=4)
    theirs = stats.permutation_test(
        (a - b,), np.mean, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(1)
    ).pvalue
    assert sign_flip(a - b, 20_000) == pytest.approx(theirs, abs=0.015)


def test_permutation_p_is_repeatable_blind_to_order_and_never_zero() -> None:
    a, b = vectors(300)
    d = a - b
    assert sign_flip(d, 1000) == sign_flip(d, 1000) == sign_flip(d[::-1].copy(), 1000)
    assert sign_flip(np.ones(200), 999) == 1 / 1000
    assert sign_flip(np.zeros(5), 100) == 1


def test_many_blocks_are_all_counted() -> None:
    d = np.random.default_rng(0).normal(0.01, 1, 20_000)  # 210 flips to a block
    assert sign_flip(d, 500) == pytest.approx(stats.ttest_1samp(d, 0).pvalue, abs=0.06)


@pytest.mark.parametrize(
    "p", [[0.01, 0.04, 0.03, 0.005], [0.5], [], [0.02, 0.02, 0.02], [1, 1, 0.9], [0, 0, 1e-300, 0.2]]
)
def test_holm_equals_statsmodels(p: list[float]) -> None:
    expected = multipletests(p, method="holm")[1] if p else []
    assert holm(p).tolist() == pytest.approx(list(expected), rel=1e-12)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
