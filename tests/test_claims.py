from __future__ import annotations

import numpy as np
import pytest

from benchmark.errors import BenchmarkError
from benchmark.evaluation.claims import check_claims, evaluate_claims, parse_expectation
from benchmark.evaluation.published import load_published
from benchmark.suite import Choice, Claim, DataChoice, Significance, Suite, Where, load_suite
from benchmark.suite_file import read_suite, shipped_suites
from benchmark.types import Floats

GOOD = np.tile([1.0, 1.0, 0.0, 1.0], 25)
POOR = np.tile([0.0, 1.0, 0.0, 0.0], 25)  # half a point below GOOD
NEAR = np.concatenate([1 - GOOD[:2], GOOD[2:]])  # like GOOD but for two requests


def suite(*expectations: str, correction: str = "holm", reduced: bool = False) -> Suite:
    return Suite(
        name="s",
        reduced=reduced,
        datasets=[DataChoice(use="movielens", name="ML")],
        models=[Choice(use="x", name=name) for name in ("Gen_R+S", "Gen_R", "SASRec[CE]", "Gone")],
        metrics=["R@30"],
        significance=Significance.model_validate({"correction": correction}),
        claims=[
            Claim(
                id=f"claim-{i}",
                text="One helps the other.",
                source="Table 5",
                where=Where(dataset="ML", task="recommendation", metric="R@30"),
                expect=expect,
            )
            for i, expect in enumerate(expectations)
        ],
    )


def find(where: Where, model: str) -> Floats | str:
    return {"Gen_R+S": GOOD, "Gen_R": POOR, "SASRec[CE]": NEAR}.get(model, f"{model} failed on {where.dataset}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Gen_R+S > Gen_R", ("Gen_R+S", 1, "Gen_R")),
        ("  SASRec[CE]   <  Bi-encoder (MiniLM) ", ("SASRec[CE]", -1, "Bi-encoder (MiniLM)")),
        ("a->b < c", ("a->b", -1, "c")),
    ],
)
def test_an_expectation_is_two_models_and_a_sign(text: str, expected: tuple[str, int, str]) -> None:
    assert parse_expectation(text) == expected


@pytest.mark.parametrize("text", ["", "A", "A = B", "A >= B", "A >", "> B", "A > B > C", "A>B"])
def test_anything_else_is_refused_with_the_form_to_write(text: str) -> None:
    with pytest.raises(BenchmarkError, match="Write two models as 'A > B' or 'A < B'"):
        parse_expectation(text)


def test_a_claim_holds_fails_or_stays_undecided() -> None:
    verdicts = evaluate_claims(
        suite("Gen_R+S > Gen_R", "Gen_R > Gen_R+S", "Gen_R < Gen_R+S", "Gen_R+S > SASRec[CE]"), find
    )
    assert [v.verdict for v in verdicts] == ["holds", "fails", "holds", "undecided"]
    first = verdicts[0]
    assert (first.a, first.b) == (0.75, 0.25)
    assert first.test is not None
    assert first.test.difference == 0.5
    assert verdicts[3].test is not None
    assert verdicts[3].test.detectable == pytest.approx(0.0398, abs=1e-3)  # 2.83 × the standard error, 0.1414 / √100


def test_the_correction_is_over_all_tested_claims() -> None:
    texts = ["Gen_R+S > Gen_R", "Gone > Gen_R", "SASRec[CE] > Gen_R"]
    raw = evaluate_claims(suite(*texts, correction="none"), find)
    corrected = evaluate_claims(suite(*texts), find)
    assert raw[0].test is not None
    assert raw[0].p_corrected == raw[0].test.p
    ps = [v.p_corrected for v in raw if v.p_corrected is not None]
    assert len(ps) == 2
    assert sorted(v.p_corrected for v in corrected if v.p_corrected is not None) == [
        2 * min(ps),
        max(2 * min(ps), max(ps)),
    ]


def test_a_model_that_failed_leaves_its_claim_undecided_with_the_reason() -> None:
    verdict = evaluate_claims(suite("Gone > Gone", reduced=True), find)[0]
    assert (verdict.verdict, verdict.reason) == ("undecided", "Gone failed on ML")
    assert verdict.to_json() == {
        "id": "claim-0",
        "text": "One helps the other.",
        "source": "Table 5",
        "where": {"dataset": "ML", "task": "recommendation", "slice": "all", "metric": "R@30"},
        "expect": "Gone > Gone",
        "verdict": "undecided",
        "reason": "Gone failed on ML",
        "measured": dict.fromkeys(("a", "b", "difference", "low", "high", "n", "p", "p_corrected", "p_permutation")),
        "resolvable": None,
        "reduced": True,
    }


def test_identical_scores_are_undecided_and_resolve_nothing() -> None:
    verdict = evaluate_claims(suite("Gen_R > Gen_R"), find)[0]
    assert verdict.verdict == "undecided"
    measured = verdict.to_json()["measured"]
    assert (measured["difference"], measured["p"], measured["n"]) == (0, 1, 100)
    assert verdict.to_json()["resolvable"] is None


def test_a_claim_about_an_unknown_model_is_refused_with_the_closest_name() -> None:
    check_claims(suite("Gen_R+S > Gen_R"))
    with pytest.raises(BenchmarkError, match=r"unknown model 'Gen_RS' in claim 'claim-0'\. Did you mean 'Gen_R\+S'"):
        check_claims(suite("Gen_RS > Gen_R"))
    base = suite("Gen_R+S > Gen_R")
    twice = base.model_copy(update={"claims": [*base.claims, *base.claims]})
    with pytest.raises(BenchmarkError, match="'claim-0' is stated twice"):
        check_claims(twice)


PROFILES = [
    (name, profile)
    for name, path in shipped_suites().items()
    for profile in read_suite(str(path)).raw.get("profiles", [""])
]


@pytest.mark.parametrize(("name", "profile"), PROFILES)
def test_every_claim_of_a_shipped_suite_agrees_with_the_published_values(name: str, profile: str) -> None:
    shipped, path = load_suite(name, profile)
    check_claims(shipped)
    if not shipped.claims:
        return
    published = load_published(path.parent / shipped.published)
    measured = {table.dataset for table in published.tables}
    rows = {model.name: model.published_as or model.name for model in shipped.models}
    places = {data.name: data.published_as or data.name for data in shipped.datasets}
    for claim in shipped.claims:
        a, sign, b = parse_expectation(claim.expect)
        where = claim.where
        place = places[where.dataset]
        if place not in measured or not claim.source.startswith("Table"):
            continue
        printed = [published.find(place, where.task, where.slice, where.metric, rows[m]) for m in (a, b)]
        values = [value.value for value in printed if value is not None]
        assert len(values) == 2, claim.id
        assert (values[0] - values[1]) * sign > 0, claim.id
