from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from benchmark.evaluation.significance import (
    Difference,
    Estimate,
    Fits,
    crossed_bootstrap,
    enough_permutations,
    equivalence,
    estimate,
    finite,
    first_step,
    holm,
    interval,
    paired_test,
    showable_margin,
    sign_flip,
    too_few,
)


def vectors(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    b = rng.integers(0, 2, n).astype(float)
    a = np.where(rng.random(n) < 0.3, rng.random(n), b)
    return a, b


def fits(*values: Any, deterministic: bool = False) -> Fits:
    return Fits(np.array(values, dtype=float), deterministic)


def one_fit_each(a: Any, b: Any, alpha: float = 0.05, permutations: int = 100) -> Difference:
    return paired_test(fits(a), fits(b), alpha=alpha, permutations=permutations)


@pytest.mark.parametrize("n", [2, 3, 10, 1000])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_with_one_fit_each_the_test_and_the_interval_equal_scipys_t(n: int, alpha: float) -> None:
    rng = np.random.default_rng(n)
    a, b = rng.random(n), rng.random(n)
    ours = one_fit_each(a, b, alpha)
    theirs = stats.ttest_rel(a, b)
    assert (ours.n, ours.df, ours.one_fit, ours.bootstrap) == (n, pytest.approx(n - 1), True, None)
    assert ours.difference == pytest.approx(a.mean() - b.mean(), abs=1e-15)
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-10)
    bounds = theirs.confidence_interval(1 - alpha)
    assert (ours.low, ours.high) == pytest.approx((bounds.low, bounds.high), rel=1e-10)
    assert interval(fits(a), alpha) == pytest.approx(
        stats.t.interval(1 - alpha, n - 1, loc=a.mean(), scale=stats.sem(a)), rel=1e-10
    )


@pytest.mark.parametrize("n", [10, 20, 943])
@pytest.mark.parametrize("level", [0.05, 0.05 / 21])
def test_the_detectable_difference_equals_statsmodels_at_any_level(n: int, level: float) -> None:
    rng = np.random.default_rng(n)
    a, b = rng.random(n), rng.random(n)
    d = a - b
    size = TTestPower().solve_power(nobs=n, alpha=level, power=0.8, alternative="two-sided")
    assert one_fit_each(a, b).detectable(level) == pytest.approx(size * d.std(ddof=1), rel=1e-3)


def test_variance_components_by_hand() -> None:
    """Two fits of one model whose means differ by .5 for every request alike: all of b is variance of fits."""
    a = fits([1, 1, 0, 0], [0.5, 0.5, -0.5, -0.5])
    b = fits([0, 0, 0, 0], deterministic=True)
    test = estimate(a, b)
    over_requests = 1 / 3 / 4  # averaged: .75, .75, -.25, -.25
    over_fits = 0.125 / 2  # the variance of 0.5 and 0 is .125
    assert test.difference == 0.25
    assert test.error**2 == pytest.approx(over_requests + over_fits)
    assert test.df == pytest.approx((over_requests + over_fits) ** 2 / (over_requests**2 / 3 + over_fits**2 / 1))


def test_noise_of_request_and_fit_is_not_counted_as_variance_of_fits() -> None:
    """The fits have equal means and disagree request by request: b = 0 is less than its noise."""
    a = fits([1, 0, 1, 0], [0, 1, 0, 1], [1, 1, 0, 0])
    b = fits([0, 0, 0, 0.5], deterministic=True)
    d = a.vector - b.vector
    assert estimate(a, b).error == pytest.approx(d.std(ddof=1) / 2)
    assert estimate(a, b).df == pytest.approx(3)


def test_the_interval_excludes_zero_exactly_where_p_is_below_alpha() -> None:
    rng = np.random.default_rng(5)
    for shift in np.linspace(0, 0.2, 40):
        a, b = rng.random((3, 40)) + shift, rng.random((2, 40)) + rng.normal(0, 0.05, (2, 1))
        test = estimate(Fits(a), Fits(b))
        low, high = test.interval(0.05)
        assert (low > 0 or high < 0) == (test.p < 0.05)


def test_identical_vectors_have_p_one_and_no_nan() -> None:
    test = one_fit_each([0, 1, 0.5] * 3, [0, 1, 0.5] * 3)
    assert (test.difference, test.low, test.high, test.p, test.p_permutation) == (0, 0, 0, 1, 1)
    assert finite(test.detectable(0.05)) is None


def test_a_single_request_proves_nothing() -> None:
    for test in (one_fit_each([1], [0]), paired_test(fits([1], [0]), fits([0], [0]), alpha=0.05, permutations=100)):
        assert (test.p, test.p_permutation) == (1, 1)
        assert (finite(test.low), finite(test.high), finite(test.detectable(0.05))) == (None, None, None)


def test_equal_differences_have_the_sign_flip_p_and_an_interval_that_agrees_with_it() -> None:
    few, many = np.array([0.5, 0.75, 1.0]), np.arange(10) / 10
    test = one_fit_each(few, few - 0.25)
    assert (test.difference, test.p, test.low, test.high) == (0.25, 0.25, -np.inf, np.inf)
    test = one_fit_each(many + 0.1, many)  # equal but for rounding
    assert (test.p, test.low, test.high) == (2.0**-9, test.difference, test.difference)


def test_better_on_average_is_positive_and_sides_are_symmetric() -> None:
    a, b = vectors(500)
    one, other = one_fit_each(a, b), one_fit_each(b, a)
    assert one.difference == -other.difference
    assert (one.p, one.p_permutation, one.detectable(0.05)) == (other.p, other.p_permutation, other.detectable(0.05))
    assert (one.low, one.high) == (-other.high, -other.low)


def test_a_test_is_about_one_fit_where_a_model_that_is_not_deterministic_has_one() -> None:
    one, three = fits([0, 1]), fits([0, 1], [1, 1], [0, 1])
    counted = fits([0, 1], deterministic=True)
    pairs = {"one": (one, three), "other": (counted, one), "none": (counted, three), "neither": (counted, counted)}
    about = {name: paired_test(a, b, alpha=0.05, permutations=100).one_fit for name, (a, b) in pairs.items()}
    assert about == {"one": True, "other": True, "none": False, "neither": False}


def test_three_differences_cannot_be_significant_however_small_the_t_tests_p() -> None:
    test = one_fit_each([1, 1, 0.9469], [0, 0, 0], permutations=10_000)
    assert test.p < 0.001
    assert test.p_permutation > 0.2
    assert too_few(3, 0.05) == "n = 3 is too few"
    assert too_few(6, 0.05) == ""
    assert too_few(6, 0.05 / 4) == "n = 6 is too few"


def test_more_flips_are_drawn_where_the_asked_ones_could_not_pass_the_first_step() -> None:
    assert enough_permutations(10_000, first_step(0.05, 21, "holm")) == 10_000
    m = enough_permutations(10_000, first_step(0.05, 1000, "holm"))
    assert 1000 / (m + 1) < 0.05
    assert first_step(0.05, 21, "none") == 0.05


# ---------------------------------------------------------------- equal but for a margin


def test_equivalence_is_two_one_sided_tests() -> None:
    rng = np.random.default_rng(0)
    a, b = fits(rng.normal(0.02, 1, 400)), fits(rng.normal(0, 1, 400))
    test, d = estimate(a, b), a.vector - b.vector
    p, flips = equivalence(a, b, test, 0.3, 2000)
    theirs = max(
        stats.ttest_1samp(d, -0.3, alternative="greater").pvalue, stats.ttest_1samp(d, 0.3, alternative="less").pvalue
    )
    assert p == pytest.approx(theirs)
    assert flips == pytest.approx(p, abs=0.01)
    far = fits(a.vector + 0.5)
    outside, _ = equivalence(far, b, estimate(far, b), 0.1, 2000)
    assert outside == pytest.approx(stats.ttest_1samp(d + 0.5, 0.1).pvalue)


def test_a_model_that_finds_nothing_is_equal_to_zero() -> None:
    nothing, zero = fits(np.zeros(100), deterministic=True), fits(np.zeros(100), deterministic=True)
    p, flips = equivalence(nothing, zero, estimate(nothing, zero), 0.01, 1000)
    assert p == 2.0**-100
    assert flips < 0.001


def test_the_margin_that_can_be_shown_is_shown_in_four_of_five_samples() -> None:
    rng = np.random.default_rng(1)
    shown = []
    for _ in range(1000):
        a, b = fits(rng.random(200)), fits(rng.random(200))
        margin = showable_margin(Estimate(200, 0.0, 0.0289, 199), 0.05)  # √(2/12/200), the true error
        shown.append(equivalence(a, b, estimate(a, b), margin, 100)[0] < 0.05)
    assert 0.77 < np.mean(shown) < 0.83


# ---------------------------------------------------------------- simulations


def equal_methods(rng: np.random.Generator, pairs: int, fits: int, sd: float) -> Iterator[tuple[Fits, Fits]]:
    """Two methods of equal expected scores, 0 or 1 on 943 requests that are hard or easy for both, and a little for
    each its own; a fit's probability to find an answer is higher or lower than its method's by `sd`."""
    for _ in range(pairs):
        shared = rng.beta(0.4, 0.9, 943)
        yield tuple(  # type: ignore[misc]
            Fits(
                (rng.random((fits, 943), dtype=np.float32) < np.clip(shared + rng.normal(0, 0.1, 943), 0, 1))
                + rng.normal(0, sd, (fits, 1))
            )
            for _ in range(2)
        )


@pytest.mark.parametrize(("seeds", "least", "most"), [(3, 0.02, 0.095), (5, 0.025, 0.07)])
@pytest.mark.parametrize("sd", [0, 0.01, 0.02, 0.04])
def test_equal_methods_are_found_different_about_as_often_as_alpha_says(
    seeds: int, least: float, most: float, sd: float
) -> None:
    rng = np.random.default_rng(round(1000 * sd) + seeds)
    found = [estimate(a, b).p < 0.05 for a, b in equal_methods(rng, 2000, seeds, sd)]
    assert least < np.mean(found) < most


def test_one_fit_of_equal_methods_is_not_the_method() -> None:
    """Why a test about one fit says so: with fits of sd .02, a third of equal methods are found different."""
    rng = np.random.default_rng(0)
    found = [estimate(a, b).p < 0.05 for a, b in equal_methods(rng, 400, 1, 0.02)]
    assert 0.2 < np.mean(found) < 0.45


@pytest.mark.parametrize(
    ("seeds", "sd", "least", "most"), [(3, 0, 0.97, 1), (3, 0.04, 0.87, 0.95), (5, 0.04, 0.91, 0.98)]
)
def test_the_crossed_bootstrap_covers_the_truth_as_its_docstring_says(
    seeds: int, sd: float, least: float, most: float
) -> None:
    rng = np.random.default_rng(seeds)
    found = [crossed_bootstrap(a, b, alpha=0.05, replicates=400) for a, b in equal_methods(rng, 250, seeds, sd)]
    assert least <= np.mean([interval[0] <= 0 <= interval[1] for interval in found if interval]) <= most


def test_the_crossed_bootstrap_needs_three_fits_of_what_has_fits_and_is_repeatable() -> None:
    rng = np.random.default_rng(0)
    three, two, counted = Fits(rng.random((3, 50))), Fits(rng.random((2, 50))), Fits(rng.random((1, 50)), True)
    assert crossed_bootstrap(three, two, alpha=0.05) is None
    assert crossed_bootstrap(counted, counted, alpha=0.05) is None
    found = crossed_bootstrap(three, counted, alpha=0.05)
    assert found is not None
    assert found == crossed_bootstrap(three, counted, alpha=0.05)
    assert found[0] < three.mean - counted.mean < found[1]


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
    assert sign_flip(np.append(np.ones(200), 2), 999) == 1 / 1000
    assert sign_flip(np.ones(200), 999) == pytest.approx(2.0**-199)  # exact where all are of one size
    assert sign_flip(np.array([1, 1, 1, -1, 0]), 100) == 10 / 16
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
