"""Paired tests of two score vectors: t-test, permutation, interval, detectable difference, Holm's correction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from benchmark.types import Floats

POWER = 0.8
_BLOCK = 1 << 22  # signs drawn at a time: 32 MB as float64


@dataclass(frozen=True)
class Difference:
    """Mean difference over n requests, its two-sided 1-alpha interval, p values, and what could have been seen.

    `detectable` is the smallest true difference that this test finds with 80 % power, given how much the requests
    differ. The interval is infinite for one request; `detectable` is infinite there, and where no two requests differ.
    """

    n: int
    difference: float
    low: float
    high: float
    p: float
    p_permutation: float
    detectable: float


def interval(values: Floats, alpha: float) -> tuple[float, float]:
    """The two-sided 1-alpha interval of the mean by Student's t; infinite for fewer than two values."""
    from scipy.special import stdtrit

    n = len(values)
    if n < 2:
        return -np.inf, np.inf
    half = float(stdtrit(n - 1, 1 - alpha / 2)) * float(values.std(ddof=1)) / np.sqrt(n)
    mean = float(values.mean())
    return mean - half, mean + half


def paired_test(a: Floats, b: Floats, *, alpha: float, permutations: int, seed: int = 0) -> Difference:
    """Student's paired t-test, two-sided, of two (n,) score vectors whose requests are aligned; n is at least 1.

    As in Penha 2024, section 5, with a sign-flip permutation test beside it. Identical vectors have p = 1.
    """
    from scipy.special import stdtr

    d = a - b
    n = len(d)
    low, high = interval(d, alpha)
    error = float(d.std(ddof=1)) / np.sqrt(n) if n > 1 else np.inf
    mean = float(d.mean())
    if not d.any() or n < 2:
        p, detectable = 1.0, np.inf
    elif d.min() == d.max():
        # The variance is zero but for rounding, so the t statistic is infinite at any n > 1. That a few requests agree
        # is weaker evidence: the exact sign-flip probability of it.
        return Difference(n, mean, mean, mean, 2.0 ** (1 - n), sign_flip(d, permutations, seed), np.inf)
    else:
        p = float(2 * stdtr(n - 1, -abs(mean) / error))
        detectable = detectable_difference(error, n, alpha)
    return Difference(n, mean, low, high, p, sign_flip(d, permutations, seed), detectable)


def detectable_difference(error: float, n: int, alpha: float) -> float:
    """The smallest true mean difference that a paired t-test over n > 1 requests finds with 80 % power.

    `error` is the standard error of the mean difference.
    """
    from scipy.special import nctdtrinc, stdtrit

    # The non-centrality at which a t variable exceeds the critical value with probability POWER.
    return error * float(nctdtrinc(n - 1, 1 - POWER, stdtrit(n - 1, 1 - alpha / 2)))


def sign_flip(differences: Floats, permutations: int, seed: int = 0) -> float:
    """The two-sided p of the mean difference when every sign may flip: (b + 1) / (m + 1) over m random flips."""
    size, count = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    observed = abs(float(differences.sum()))
    slack = 1e-12 * float(size @ count)  # sums in another order may differ in their last bits
    extreme = sum(int((np.abs(total) >= observed - slack).sum()) for total in _flipped(size, count, permutations, seed))
    return (extreme + 1) / (permutations + 1)


def _flipped(size: Floats, count: np.ndarray[tuple[int], np.dtype[np.int64]], m: int, seed: int) -> Iterator[Floats]:
    """Sums of randomly signed differences, m in all, in blocks.

    Differences of equal size need no coin each: how many of them stay positive is one binomial number.
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
    """p values corrected for being a family, by Holm's step-down method; in the order given."""
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(steps, 1.0)
    return corrected


def finite(value: float | None) -> float | None:
    """The number, or None where there is none: JSON knows neither NaN nor infinity."""
    return None if value is None or not np.isfinite(value) else float(value)
