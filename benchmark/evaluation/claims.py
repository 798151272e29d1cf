"""What a paper says, put to the test: each claim of a suite gets a verdict with the difference that was measured."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from benchmark.errors import BenchmarkError, unknown
from benchmark.evaluation.significance import (
    Difference,
    Fits,
    corrected,
    enough_permutations,
    equivalence,
    finite,
    first_step,
    paired_test,
    showable_margin,
    too_few,
)
from benchmark.metric import parse_metric
from benchmark.suite.expectation import Expectation, parse_expectation
from benchmark.suite.schema import NEW, Claim, Suite, Where

Find = Callable[[Where, str], Fits | str]
"""The scores of a model at some place; or, as text, why there are none."""
Obstacle = Callable[[Where, Sequence[str]], str]
"""Why a test between these models at some place would say nothing about them; empty where it would."""
Outcome = Literal["holds", "fails", "holds for this fit", "fails for this fit", "undecided", "not testable"]


@dataclass(frozen=True)
class Rival:
    """What a claim's first model was compared with, a model or a number (no name), and the difference from it."""

    name: str
    mean: float
    test: Difference

    def to_json(self) -> dict[str, Any]:
        low, high = self.test.low, self.test.high
        return {
            "name": self.name,
            "mean": self.mean,
            "difference": finite(self.test.difference),
            "low": finite(low),
            "high": finite(high),
            "n": self.test.n,
            "p": finite(self.test.p),
            "p_permutation": finite(self.test.p_permutation),
        }


@dataclass(frozen=True)
class Verdict:
    """A claim and what was measured: `holds` is a significant difference of the expected sign, `fails` of the other.
    What is expected to be better has lower values where those of the metric are better.

    With `one_fit` a model was trained with one seed only: the verdict is about that fit, and says so. `undecided` and
    `not testable` have a `reason`, the former only where nothing was measured or n is too small; what is not testable
    could not have come out otherwise, or on too few requests, and does not count in the family.

    `a` is the mean of the first model, `rivals` what it was compared with, `decisive` the one that decides: of several
    the least clear one where the claim holds, the clearest one where it fails. `p` and `p_permutation` are the claim's;
    corrected they decide. `resolvable` is the smallest true difference found with 80 % power at `level`, which is
    Holm's first step; for an equality the smallest margin that could be shown. `reduced`: measured on less than the
    paper's data or models.
    """

    claim: Claim
    verdict: Outcome
    reason: str = ""
    a: float | None = None
    rivals: tuple[Rival, ...] = ()
    decisive: Rival | None = None
    p: float | None = None
    p_permutation: float | None = None
    p_corrected: float | None = None
    p_permutation_corrected: float | None = None
    level: float | None = None
    resolvable: float | None = None
    one_fit: bool = False
    reduced: bool = False

    @property
    def test(self) -> Difference | None:
        """The deciding difference."""
        return None if self.decisive is None else self.decisive.test

    @property
    def decided(self) -> bool:
        return self.verdict.startswith(("holds", "fails"))

    def to_json(self) -> dict[str, Any]:
        """Plain values; what was not measured, and what is infinite, is None."""
        rival = self.decisive.to_json() if self.decisive else {}
        bootstrap = (self.test and self.test.bootstrap) or (None, None)
        measured = {
            "a": self.a,
            "b": rival.get("mean"),
            "against": rival.get("name"),
            **{name: rival.get(name) for name in ("difference", "low", "high", "n")},
            "low_bootstrap": bootstrap[0],
            "high_bootstrap": bootstrap[1],
            "p": self.p,
            "p_corrected": self.p_corrected,
            "p_permutation": self.p_permutation,
            "p_permutation_corrected": self.p_permutation_corrected,
        }
        return {
            "id": self.claim.id,
            "text": self.claim.text,
            "source": self.claim.source,
            "where": self.claim.where.model_dump(),
            "expect": self.claim.expect,
            "verdict": self.verdict,
            "reason": self.reason,
            "measured": measured,
            "rivals": [one.to_json() for one in self.rivals],
            "level": self.level,
            "resolvable": finite(self.resolvable),
            "one_fit": self.one_fit,
            "reduced": self.reduced,
        }


def check_claims(suite: Suite) -> None:
    """Raises BenchmarkError for a claim that cannot be understood, is stated twice, or names what the suite has not."""
    models = [model.name for model in suite.models]
    datasets = [dataset.name for dataset in suite.datasets]
    ids: set[str] = set()
    for claim in suite.claims:
        place = f"claim '{claim.id}'"
        if claim.id in ids:
            raise BenchmarkError(f"{place} is stated twice. Give each claim an id of its own.")
        ids.add(claim.id)
        expectation = parse_expectation(claim.expect)
        where = claim.where
        named: list[tuple[str, str, Sequence[str]]] = [("model", name, models) for name in expectation.models]
        named += [("data set", where.dataset, datasets), ("metric", where.metric, suite.metrics)]
        named += [("slice", where.slice, suite.slices)]
        for kind, name, known in named:
            if name not in known:
                raise unknown(kind, name, known, place)
        if expectation.a in expectation.rivals:
            raise BenchmarkError(f"{place} compares '{expectation.a}' with itself.")
        (data,) = (dataset for dataset in suite.datasets if dataset.name == where.dataset)
        lists = [sampler.list_name for sampler in suite.protocol_of(data).candidates.get(where.task, ())]
        lists += [NEW] * (where.task == "recommendation")
        if (name := parse_metric(where.metric).candidates) and name not in lists:
            raise unknown("candidate list", name, lists, f"{place}, {where.task} on {where.dataset}")


def evaluate_claims(
    suite: Suite,
    find: Find,
    obstacle: Obstacle = lambda where, models: "",
    made_searches: Collection[str] = (),
    lower_is_better: Collection[str] = (),
) -> tuple[Verdict, ...]:
    """A verdict on every claim, in the suite's order; `made_searches` are the data sets whose searches nobody typed,
    `lower_is_better` the metrics by which "A > B" expects that A has the lower values.

    All claims that are tested are one family for the correction; what is not testable, or was not measured, is not in
    it. A claim is decided where its p and its permutation p, each corrected in their family, are below alpha.
    """
    settings = suite.significance
    scores_of_sides = [
        Verdict(claim, "not testable", "the searches of this data set are made from its interactions")
        if claim.real_searches and claim.where.dataset in made_searches
        else _sides(claim, find, obstacle)
        for claim in suite.claims
    ]
    family = sum(not isinstance(sides, Verdict) for sides in scores_of_sides)
    level = first_step(settings.alpha, family, settings.correction)
    permutations = enough_permutations(settings.permutations, level)
    expected = [_expected(claim, lower_is_better) for claim in suite.claims]
    verdicts = [
        sides
        if isinstance(sides, Verdict)
        else _measured(claim, expectation, sides, settings.alpha, level, permutations)
        for claim, expectation, sides in zip(suite.claims, expected, scores_of_sides, strict=True)
    ]
    return tuple(replace(verdict, reduced=suite.reduced) for verdict in _decided(verdicts, expected, suite))


def _expected(claim: Claim, lower_is_better: Collection[str]) -> Expectation:
    """What a claim says of the values: what is better is lower where the metric's lower values are better."""
    expectation = parse_expectation(claim.expect)
    if expectation.sign == "=" or claim.where.metric not in lower_is_better:
        return expectation
    return replace(expectation, sign="<" if expectation.sign == ">" else ">")


Sides = tuple[Fits, Sequence[tuple[str, Fits]]]
"""The scores of a claim's first model, and the name and the scores of what it is compared with."""


def _sides(claim: Claim, find: Find, obstacle: Obstacle) -> Sides | Verdict:
    """The scores that a claim is about, or the verdict that nothing can be tested."""
    expectation = parse_expectation(claim.expect)
    scores = {name: find(claim.where, name) for name in expectation.models}
    reasons = [reason for reason in scores.values() if isinstance(reason, str)]
    if reasons:
        return Verdict(claim, "undecided", "; ".join(dict.fromkeys(reasons)))
    if reason := obstacle(claim.where, expectation.models):
        return Verdict(claim, "not testable", reason)
    fits = {name: value for name, value in scores.items() if isinstance(value, Fits)}
    a = fits[expectation.a]
    if expectation.rivals:
        return a, [(name, fits[name]) for name in expectation.rivals]
    return a, [("", Fits(np.full((1, a.values.shape[1]), expectation.value), deterministic=True))]


def _measured(
    claim: Claim, expectation: Expectation, sides: Sides, alpha: float, level: float, permutations: int
) -> Verdict:
    """The claim's p values, not corrected yet.

    Of several rivals all must be beaten, so the largest p counts (the intersection-union test: Berger 1982), and the
    claim fails by one that is significantly better, by Bonferroni over the rivals.
    """
    a, others = sides
    rivals = [Rival(name, b.mean, paired_test(a, b, alpha=alpha, permutations=permutations)) for name, b in others]
    if expectation.sign == "=":
        (decisive,) = rivals
        p, flips = equivalence(a, others[0][1], decisive.test, expectation.margin, permutations)
        resolvable = showable_margin(decisive.test, level)
    else:
        against = [rival for rival in rivals if not _agrees(expectation, rival)]
        decisive = min(against, key=lambda r: r.test.p) if against else max(rivals, key=lambda r: r.test.p)
        p, flips = decisive.test.p, max(rival.test.p_permutation for rival in rivals)
        if against:
            p, flips = (
                min(1.0, len(rivals) * min(values))
                for values in ([r.test.p for r in against], [r.test.p_permutation for r in against])
            )
        resolvable = max(rival.test.detectable(level) for rival in rivals)
    one_fit = any(rival.test.one_fit for rival in rivals)
    reason = too_few(decisive.test.n, level)
    return Verdict(claim, "undecided", reason, a.mean, tuple(rivals), decisive, p, flips, level=level,
                   resolvable=resolvable, one_fit=one_fit)  # fmt: skip


def _agrees(expectation: Expectation, rival: Rival) -> bool:
    """Whether the difference from a rival is what is expected."""
    if expectation.sign == "=":
        return abs(rival.test.difference) < expectation.margin
    return rival.test.difference > 0 if expectation.sign == ">" else rival.test.difference < 0


def _decided(verdicts: Sequence[Verdict], expected: Sequence[Expectation], suite: Suite) -> list[Verdict]:
    settings = suite.significance
    family = [i for i, verdict in enumerate(verdicts) if verdict.p is not None]
    decided = list(verdicts)
    p = corrected([verdicts[i].p or 0.0 for i in family], settings.correction)
    flips = corrected([verdicts[i].p_permutation or 0.0 for i in family], settings.correction)
    for i, corrected_p, corrected_flips in zip(family, p, flips, strict=True):
        verdict = replace(verdicts[i], p_corrected=corrected_p, p_permutation_corrected=corrected_flips)
        if max(corrected_p, corrected_flips) < settings.alpha and not verdict.reason:
            outcome: Outcome = "holds" if all(_agrees(expected[i], rival) for rival in verdict.rivals) else "fails"
            if verdict.one_fit:
                outcome = "holds for this fit" if outcome == "holds" else "fails for this fit"
            verdict = replace(verdict, verdict=outcome)
        decided[i] = verdict
    return decided
