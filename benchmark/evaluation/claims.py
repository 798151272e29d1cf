"""What a paper says, put to the test: each claim of a suite gets a verdict with the difference that was measured."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from benchmark.errors import BenchmarkError, unknown
from benchmark.evaluation.significance import Difference, finite, holm, paired_test
from benchmark.suite import NEW, Claim, Suite, Where, candidate_list
from benchmark.types import Floats

_EXPECT = re.compile(r"\s*(?P<a>\S.*?)\s+(?P<sign>[<>])\s+(?P<b>.*\S)\s*")

Find = Callable[[Where, str], Floats | str]
"""The scores (n,) of a model at some place, seeds averaged; or, as text, why there are none."""


@dataclass(frozen=True)
class Verdict:
    """A claim and what was measured: `holds` is a significant difference of the expected sign, `fails` of the other.

    `a` and `b` are the means of the two models in the order of `expect`, and `test` their difference a - b; all are
    None where nothing could be tested, and `reason` says why. `reduced`: measured on less than the paper's data or
    models.
    """

    claim: Claim
    verdict: Literal["holds", "fails", "undecided"]
    reason: str = ""
    a: float | None = None
    b: float | None = None
    test: Difference | None = None
    p_corrected: float | None = None
    reduced: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values; what was not measured, and what is infinite, is None."""
        test = self.test
        measured = {
            "a": self.a,
            "b": self.b,
            "difference": test and finite(test.difference),
            "low": test and finite(test.low),
            "high": test and finite(test.high),
            "n": test and test.n,
            "p": test and finite(test.p),
            "p_corrected": self.p_corrected,
            "p_permutation": test and finite(test.p_permutation),
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
            "resolvable": test and finite(test.detectable),
            "reduced": self.reduced,
        }


def parse_expectation(text: str) -> tuple[str, Literal[1, -1], str]:
    """The two models and the sign of their difference: "A > B" is ("A", 1, "B"). Raises BenchmarkError."""
    found = _EXPECT.fullmatch(text)
    if found is None or re.search(r"\s[<>]\s", found["b"]):
        raise BenchmarkError(f"expect: '{text}' is not a comparison. Write two models as 'A > B' or 'A < B'.")
    return found["a"], 1 if found["sign"] == ">" else -1, found["b"]


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
        a, _, b = parse_expectation(claim.expect)
        where = claim.where
        named: list[tuple[str, str, Sequence[str]]] = [("model", a, models), ("model", b, models)]
        named += [("data set", where.dataset, datasets), ("metric", where.metric, suite.metrics)]
        named += [("slice", where.slice, suite.slices)]
        for kind, name, known in named:
            if name not in known:
                raise unknown(kind, name, known, place)
        (data,) = (dataset for dataset in suite.datasets if dataset.name == where.dataset)
        lists = [sampler.list_name for sampler in suite.protocol_of(data).candidates.get(where.task, ())]
        lists += [NEW] * (where.task == "recommendation")
        if (name := candidate_list(where.metric)) and name not in lists:
            raise unknown("candidate list", name, lists, f"{place}, {where.task} on {where.dataset}")


def evaluate_claims(suite: Suite, find: Find) -> tuple[Verdict, ...]:
    """A verdict on every claim, in the suite's order; all tested claims are one family for the correction."""
    settings = suite.significance
    verdicts: list[Verdict] = []
    for claim in suite.claims:
        a_name, _, b_name = parse_expectation(claim.expect)
        a, b = find(claim.where, a_name), find(claim.where, b_name)
        reasons = [x for x in (a, b) if isinstance(x, str)]
        if isinstance(a, str) or isinstance(b, str):
            verdicts.append(Verdict(claim, "undecided", "; ".join(dict.fromkeys(reasons)), reduced=suite.reduced))
            continue
        test = paired_test(a, b, alpha=settings.alpha, permutations=settings.permutations)
        verdicts.append(Verdict(claim, "undecided", "", float(a.mean()), float(b.mean()), test, test.p, suite.reduced))
    return _decide(verdicts, suite)


def _decide(verdicts: list[Verdict], suite: Suite) -> tuple[Verdict, ...]:
    raw = [v.test.p for v in verdicts if v.test is not None]
    corrected = iter(holm(raw).tolist() if suite.significance.correction == "holm" else raw)
    decided = []
    for verdict in verdicts:
        if verdict.test is None:
            decided.append(verdict)
            continue
        p = next(corrected)
        _, sign, _ = parse_expectation(verdict.claim.expect)
        outcome: Literal["holds", "fails", "undecided"] = "undecided"
        if p < suite.significance.alpha:
            outcome = "holds" if verdict.test.difference * sign > 0 else "fails"
        decided.append(replace(verdict, verdict=outcome, p_corrected=p))
    return tuple(decided)
