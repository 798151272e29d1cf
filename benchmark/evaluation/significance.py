"""Paired tests of two models' scores: variance over requests and fits, permutation, bootstrap, Holm's correction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from benchmark.data.ragged import Floats

POWER = 0.8
_BLOCK = 1 << 22  # signs drawn at a time: 32 MB as float64
REPLICATES = 2000
FEWEST_FITS = 3
"""The fewest fits of a model for a bootstrap over fits."""
_RESOLUTION = 10
"""Expected number of drawn flips at least as extreme, for a permutation p that just passes Holm's first step."""


@dataclass(frozen=True)
class Fits:
    """The scores of a model on the same requests: `values` (S, n), a row per training seed.

    A `deterministic` model is the same with every seed and has one row.
    """

    values: Floats
    deterministic: bool = False

    @property
    def one_fit(self) -> bool:
        """Whether these scores are of a single fit of a model whose fits vary by an unknown amount."""
        return len(self.values) == 1 and not self.deterministic

    @property
    def vector(self) -> Floats:
        """(n,) the scores with the fits averaged."""
        return np.asarray(self.values.mean(axis=0))

    @property
    def mean(self) -> float:
        return float(self.values.mean())


@dataclass(frozen=True)
class Estimate:
    """A mean difference over n requests, its standard error, and the degrees of freedom of that.

    The error is infinite for a single request. If all n differences are equal and the fits do not differ it is 0: see
    `constant`.
    """

    n: int
    difference: float
    error: float
    df: float

    @property
    def constant(self) -> bool:
        """All requests differ by the same, so that t is infinite at any n > 1; that a few requests agree is weaker
        evidence, the exact sign-flip probability 2^(1 - n)."""
        return self.error == 0

    @property
    def p(self) -> float:
        """Two-sided: the probability of a difference at least this large if there is none."""
        return self.p_against(0.0)

    def p_against(self, value: float) -> float:
        """Two-sided: the probability of a difference at least this far from `value` if `value` is the true one."""
        from scipy.special import stdtr

        distance = abs(self.difference - value)
        if not np.isfinite(self.error) or distance == 0:
            return 1.0
        if self.constant:
            return float(2.0 ** (1 - self.n))
        return float(2 * stdtr(self.df, -distance / self.error))

    def interval(self, alpha: float) -> tuple[float, float]:
        """All values with `p_against` of at least `alpha`: 0 is outside if and only if p is below alpha."""
        from scipy.special import stdtrit

        if not np.isfinite(self.error) or (self.constant and 2.0 ** (1 - self.n) >= alpha):
            return -np.inf, np.inf
        half = 0.0 if self.constant else float(stdtrit(self.df, 1 - alpha / 2)) * self.error
        return self.difference - half, self.difference + half

    def detectable(self, level: float) -> float:
        """The smallest true difference that this level detects with 80 % power, given the variance of requests and
        fits. Infinite if no two requests differ."""
        if self.constant or not np.isfinite(self.error):
            return np.inf
        return detectable_difference(self.error, self.df, level)


@dataclass(frozen=True)
class Difference(Estimate):
    """An estimate with its interval, `low` to `high`, and its second opinions.

    `p_permutation` is of sign flips over requests. `bootstrap` is the crossed bootstrap's interval, None if a
    non-deterministic model has fewer than three fits, or both are deterministic. `one_fit`: a model was trained once,
    so that all results hold for this fit and not for the method.
    """

    low: float
    high: float
    p_permutation: float
    bootstrap: tuple[float, float] | None
    one_fit: bool


def estimate(a: Fits, b: Fits) -> Estimate:
    """The mean difference a - b of two models with aligned requests, with a standard error over requests and fits.

    The unit is request × fit. SE² = v/n + Σ over both models of max(0, b - r)/S: v is the variance over requests of the
    difference of the seed-averaged scores, b the variance of a model's S fit means, r what of b is noise of request ×
    fit and already in v (the two-way residual mean square / n). The degrees of freedom are Satterthwaite's, of parts
    with n - 1, S - 1 and S - 1 (Searle, Casella and McCulloch 1992, Variance Components, sections 3 and 4). A model
    with one fit adds no part: correct for a deterministic one; for another, the test holds for this fit only.
    With S = 1 this is Student's paired t-test, as in Penha 2024, section 5.
    """
    d = a.vector - b.vector
    n = len(d)
    mean = float(d.mean())
    if n < 2:
        return Estimate(n, mean, np.inf, 0.0)
    # Equal but for rounding is equal.
    v = 0.0 if np.ptp(d) <= 1e-12 * float(np.abs(d).max()) else float(d.var(ddof=1))
    parts = [(v / n, n - 1), *(_of_fits(model.values) for model in (a, b) if len(model.values) > 1)]
    squared = sum(part for part, _ in parts)
    df = squared**2 / sum(part**2 / own for part, own in parts) if squared else n - 1
    return Estimate(n, mean, float(np.sqrt(squared)), float(df))


def _of_fits(values: Floats) -> tuple[float, int]:
    """The part of a model's S > 1 fits in the squared standard error, and its degrees of freedom."""
    s, n = values.shape
    means = values.mean(axis=1, keepdims=True)
    residual = values - means - values.mean(axis=0) + values.mean()
    noise = float((residual**2).sum()) / ((s - 1) * (n - 1)) / n
    return max(0.0, float(means.var(ddof=1)) - noise) / s, s - 1


def interval(model: Fits, alpha: float) -> tuple[float, float]:
    """The two-sided 1 - alpha interval of a model's mean over requests and fits; infinite for one request."""
    return estimate(model, Fits(np.zeros((1, model.values.shape[1])), deterministic=True)).interval(alpha)


def paired_test(a: Fits, b: Fits, *, alpha: float, permutations: int, seed: int = 0) -> Difference:
    """The test of a difference a - b, n at least 1, with a second opinion that must agree.

    A sign-flip permutation test of the seed-averaged differences complements the test of `estimate`. It does not assume
    normal means, and with few requests it can never be significant; but it ignores the variance between fits, which
    only the first test includes. A difference is significant only if both tests say so: the larger of two p values,
    each valid for its part of the question, is never too small. The crossed bootstrap gives an interval over both
    sources of variance without these assumptions.
    """
    result = estimate(a, b)
    low, high = result.interval(alpha)
    return Difference(
        n=result.n,
        difference=result.difference,
        error=result.error,
        df=result.df,
        low=low,
        high=high,
        p_permutation=sign_flip(a.vector - b.vector, permutations, seed),
        bootstrap=crossed_bootstrap(a, b, alpha=alpha, seed=seed),
        one_fit=a.one_fit or b.one_fit,
    )


def equivalence(
    a: Fits, b: Fits, test: Estimate, margin: float, permutations: int, seed: int = 0
) -> tuple[float, float]:
    """Whether a and b differ by less than `margin`: p and permutation p.

    Inside the margin they are the larger of two one-sided tests' (Schuirmann 1987): a small p means equivalent. Outside
    they are two-sided, against the nearer end of the margin: a small p means not equivalent.
    """
    d = a.vector - b.vector
    if abs(test.difference) >= margin:
        end = np.copysign(margin, test.difference)
        return test.p_against(end), sign_flip(d - end, permutations, seed)
    flips = max(sign_flip(d + margin, permutations, seed), sign_flip(d - margin, permutations, seed))
    return max(test.p_against(-margin), test.p_against(margin)) / 2, flips / 2


def showable_margin(test: Estimate, level: float) -> float:
    """The smallest margin for which two equal models are shown to be equivalent with 80 % power."""
    from scipy.special import stdtrit

    if not np.isfinite(test.error):
        return np.inf
    return test.error * float(stdtrit(test.df, 1 - level) + stdtrit(test.df, (1 + POWER) / 2))


def detectable_difference(error: float, df: float, level: float) -> float:
    """The smallest true mean difference that a two-sided t-test at this level finds with 80 % power.

    `error` is the standard error of the mean difference, `df` > 0 its degrees of freedom.
    """
    return error * _non_centrality(df, level)


@lru_cache(4096)
def _non_centrality(df: float, level: float) -> float:
    """The non-centrality at which a t variable exceeds the critical value with probability POWER."""
    from scipy.special import nctdtrinc, stdtrit

    return float(nctdtrinc(df, 1 - POWER, stdtrit(df, 1 - level / 2)))


def crossed_bootstrap(
    a: Fits, b: Fits, *, alpha: float, replicates: int = REPLICATES, seed: int = 0
) -> tuple[float, float] | None:
    """The percentile interval of the mean difference when requests and fits are resampled independently, with the same
    requests for both models (Owen 2007, The pigeonhole bootstrap).

    A nominal 95 % interval covers the truth in 91 % of simulations if three fits vary more than requests do, in 96 %
    with five, and in nearly all if requests vary more, since noise of request × fit is then counted twice. None if a
    non-deterministic model has fewer than three fits, or both are deterministic.
    """
    fits = [model for model in (a, b) if not model.deterministic]
    if not fits or any(len(model.values) < FEWEST_FITS for model in fits) or a.values.shape[1] < 2:
        return None
    rng = np.random.default_rng(seed)
    drawn = []
    # Draw one fit fewer than there are: with so few, drawing all would vary too little (Rao and Wu 1988).
    sizes = [(s, max(1, s - 1)) for s in (len(a.values), len(b.values))]
    weights = [rng.multinomial(m, np.full(s, 1 / s), size=replicates) / m for s, m in sizes]
    n = a.values.shape[1]
    block = max(1, _BLOCK // n)
    for start in range(0, replicates, block):
        rows = min(block, replicates - start)
        chosen = rng.integers(0, n, size=(rows, n)) + n * np.arange(rows)[:, None]
        counts = np.bincount(chosen.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)
        sums = [
            ((counts @ model.values.T) * weight[start : start + rows]).sum(axis=1)
            for model, weight in zip((a, b), weights, strict=True)
        ]
        drawn.append((sums[0] - sums[1]) / n)
    low, high = np.quantile(np.concatenate(drawn), [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)


def corrected(p: Sequence[float], correction: str) -> list[float]:
    """The p values of a family after its `correction` ("holm" or "none")."""
    return holm(p).tolist() if correction == "holm" else list(p)


def first_step(alpha: float, family: int, correction: str) -> float:
    """The level of the first test of a family: alpha / family by Holm."""
    return alpha / max(1, family) if correction == "holm" else alpha


def too_few(n: int, level: float) -> str:
    """A remark if no permutation p of n requests can be below the level, else empty."""
    return f"n = {n} is too few" if 2.0 ** (1 - n) > level else ""


def enough_permutations(asked: int, level: float) -> int:
    """At least as many as asked for, and enough to distinguish a p below the level from the level."""
    return max(asked, int(np.ceil(_RESOLUTION / level)))


def sign_flip(differences: Floats, permutations: int, seed: int = 0) -> float:
    """The two-sided p of the mean difference when every sign may flip: (b + 1) / (m + 1) over m random flips.

    It is exact, without flips, if all non-zero differences have one size, as for a metric of 0 and 1.
    """
    from scipy.special import bdtr

    size, count = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    observed = abs(float(differences.sum()))
    if len(size) == 1:
        fewer = round((count[0] - observed / size[0]) / 2)  # of the rarer sign
        return min(1.0, 2 * float(bdtr(fewer, count[0], 0.5)))
    slack = 1e-12 * float(size @ count)  # sums in another order may differ in their last bits
    extreme = sum(int((np.abs(total) >= observed - slack).sum()) for total in _flipped(size, count, permutations, seed))
    return (extreme + 1) / (permutations + 1)


def _flipped(size: Floats, count: np.ndarray[tuple[int], np.dtype[np.int64]], m: int, seed: int) -> Iterator[Floats]:
    """Sums of randomly signed differences, m in all, in blocks.

    Differences of equal size need no separate coins: the number that stay positive is one binomial draw.
    """
    rng = np.random.default_rng(seed)
    once, often = size[count == 1], size[count > 1]
    repeats = count[count > 1]
    block = max(1, _BLOCK // max(1, len(size)))
    for start in range(0, m, block):
        rows = min(block, m - start)
        total = 2.0 * (rng.binomial(repeats, 0.5, size=(rows, len(often))) @ often) - repeats @ often
        if len(once):
            coins = np.frombuffer(rng.bytes(rows * ((len(once) + 7) // 8)), dtype=np.uint8).reshape(rows, -1)
            total += 2.0 * (np.unpackbits(coins, axis=1, count=len(once)) @ once) - once.sum()
        yield total


def holm(p: ArrayLike) -> Floats:
    """The p values of a family corrected by Holm's step-down method, in the order given."""
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(steps, 1.0)
    return corrected


def finite(value: float | None) -> float | None:
    """The number, or None if it is not finite: JSON has neither NaN nor infinity."""
    return None if value is None or not np.isfinite(value) else float(value)
