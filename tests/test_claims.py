from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from benchmark.data.ragged import Floats
from benchmark.errors import BenchmarkError
from benchmark.evaluation.claims import check_claims, evaluate_claims
from benchmark.evaluation.significance import Estimate, Fits
from benchmark.suite.expectation import Expectation, parse_expectation
from benchmark.suite.file import read_suite, shipped_suites
from benchmark.suite.load import load_suite
from benchmark.suite.published import load_published
from benchmark.suite.schema import Claim, DatasetEntry, ModelEntry, Significance, Suite, Where

GOOD = np.tile([1.0, 1.0, 0.0, 1.0], 25)
POOR = np.tile([0.0, 1.0, 0.0, 0.0], 25)  # half a point below GOOD
NEAR = np.concatenate([1 - GOOD[:2], GOOD[2:]])  # like GOOD but for two requests


def suite(*expectations: str, correction: str = "holm", reduced: bool = False) -> Suite:
    return Suite(
        name="s",
        reduced=reduced,
        datasets=[DatasetEntry(use="movielens", name="ML")],
        models=[ModelEntry(use="x", name=name) for name in ("Gen_R+S", "Gen_R", "SASRec[CE]", "Gone")],
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


def find(where: Where, model: str) -> Fits | str:
    scores = {"Gen_R+S": GOOD, "Gen_R": POOR, "SASRec[CE]": NEAR}
    return deterministic(scores[model]) if model in scores else f"{model} failed on {where.dataset}"


def deterministic(values: Floats) -> Fits:
    return Fits(values[None], deterministic=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Gen_R+S > Gen_R", Expectation("Gen_R+S", ">", ("Gen_R",))),
        ("  SASRec[CE]   <  Bi-encoder (MiniLM) ", Expectation("SASRec[CE]", "<", ("Bi-encoder (MiniLM)",))),
        ("a->b < c", Expectation("a->b", "<", ("c",))),
        ("A > B, C[x=1,y=2], D", Expectation("A", ">", ("B", "C[x=1,y=2]", "D"))),
        ("A = 0 ± 0.01", Expectation("A", "=", (), 0.0, 0.01)),
        ("A = GenSAR[L_m=1] ± 0.02", Expectation("A", "=", ("GenSAR[L_m=1]",), 0.0, 0.02)),
    ],
)
def test_an_expectation_is_a_model_a_sign_and_what_it_is_compared_with(text: str, expected: Expectation) -> None:
    assert parse_expectation(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "A", "A = B", "A = 0", "A = 0 ± -1", "A >= B", "A >", "> B", "A > B > C", "A>B", "A > B, B", "A > B ± 0.1"],
)
def test_anything_else_is_refused_with_the_forms_to_write(text: str) -> None:
    with pytest.raises(BenchmarkError, match=r"Write two models as 'A > B' or 'A < B', several as 'A > B, C'"):
        parse_expectation(text)


def test_a_claim_holds_fails_or_stays_undecided() -> None:
    verdicts = evaluate_claims(
        suite("Gen_R+S > Gen_R", "Gen_R > Gen_R+S", "Gen_R < Gen_R+S", "Gen_R+S > SASRec[CE]"), find
    )
    assert [v.verdict for v in verdicts] == ["holds", "fails", "holds", "undecided"]
    first = verdicts[0]
    assert first.decisive is not None
    assert (first.a, first.decisive.mean, first.decisive.test.difference) == (0.75, 0.25, 0.5)
    # 3.90 × the standard error, 0.1414 / √100, at .05 / 4; at .05 it would be 2.83 ×
    assert verdicts[3].resolvable == pytest.approx(0.0477, abs=1e-3)
    assert verdicts[3].level == 0.0125


def test_by_a_metric_whose_lower_values_are_better_the_better_model_has_the_lower_ones() -> None:
    texts = ("Gen_R > Gen_R+S", "Gen_R+S > Gen_R", "Gen_R+S < Gen_R", "Gen_R > Gen_R+S, SASRec[CE]", "Gen_R = 0 ± 0.5")
    verdicts = evaluate_claims(suite(*texts), find, lower_is_better={"R@30"})
    assert [v.verdict for v in verdicts] == ["holds", "fails", "holds", "holds", "holds"]
    assert verdicts[0].test is not None
    assert verdicts[0].test.difference == -0.5


def test_one_fit_of_a_model_that_has_fits_decides_about_this_fit_only() -> None:
    def one(where: Where, model: str) -> Fits | str:
        scores = find(where, model)
        return Fits(scores.values) if isinstance(scores, Fits) and model == "Gen_R+S" else scores

    verdicts = evaluate_claims(suite("Gen_R+S > Gen_R", "Gen_R+S < Gen_R", "SASRec[CE] > Gen_R"), one)
    assert [v.verdict for v in verdicts] == ["holds for this fit", "fails for this fit", "holds"]
    assert [v.to_json()["one_fit"] for v in verdicts] == [True, True, False]


def test_three_fits_that_differ_decide_nothing_where_one_would() -> None:
    def fitted(where: Where, model: str) -> Fits | str:
        shift = {"Gen_R+S": 0.1, "Gen_R": 0.0}[model]
        return Fits(NEAR + shift + np.array([[-0.1], [0.0], [0.12]]))

    (verdict,) = evaluate_claims(suite("Gen_R+S > Gen_R"), fitted)
    assert verdict.verdict == "undecided"
    assert verdict.test is not None
    assert verdict.test.bootstrap is not None
    (lucky,) = evaluate_claims(suite("Gen_R+S > Gen_R"), lambda w, m: Fits(fitted(w, m).values[:1] + 0))  # type: ignore[union-attr]
    assert lucky.test is not None
    assert lucky.test.one_fit


def test_a_claim_against_several_models_holds_where_all_are_beaten() -> None:
    beaten, not_all, worse = evaluate_claims(
        suite("Gen_R+S > Gen_R, SASRec[CE]", "Gen_R+S > SASRec[CE], Gen_R", "Gen_R > Gen_R+S, SASRec[CE]"),
        find,
    )
    assert (beaten.verdict, not_all.verdict, worse.verdict) == ("undecided", "undecided", "fails")
    assert beaten.decisive is not None
    assert beaten.decisive.name == "SASRec[CE]"  # two of 100 requests differ, as often up as down
    assert [rival["name"] for rival in worse.to_json()["rivals"]] == ["Gen_R+S", "SASRec[CE]"]
    (both,) = evaluate_claims(suite("SASRec[CE] > Gen_R", correction="none"), find)
    (all_of,) = evaluate_claims(
        suite("Gen_R+S > Gen_R, Gone", correction="none"),
        lambda where, model: deterministic(POOR) if model == "Gone" else find(where, model),
    )
    assert (both.verdict, all_of.verdict) == ("holds", "holds")
    assert all_of.p == max(rival.test.p for rival in all_of.rivals)


def test_a_model_finds_nothing_where_it_is_zero_but_for_a_margin() -> None:
    def nothing(where: Where, model: str) -> Fits | str:
        return deterministic(np.zeros(100)) if model == "Gone" else find(where, model)

    verdicts = evaluate_claims(
        suite("Gone = 0 ± 0.01", "Gen_R = 0 ± 0.01", "Gen_R+S = Gen_R ± 0.7", "Gen_R+S = SASRec[CE] ± 0.0001"), nothing
    )
    assert [v.verdict for v in verdicts] == ["holds", "fails", "holds", "undecided"]
    assert verdicts[0].to_json()["measured"]["against"] == ""


def test_what_could_not_come_out_otherwise_is_not_testable_and_not_counted() -> None:
    def obstacle(where: Where, models: Sequence[str]) -> str:
        return "head of 17 ≤ 30" if "SASRec[CE]" in models else ""

    first, other = evaluate_claims(suite("Gen_R+S > SASRec[CE]", "Gen_R+S > Gen_R"), find, obstacle)
    assert (first.verdict, first.reason, first.p) == ("not testable", "head of 17 ≤ 30", None)
    assert other.level == 0.05
    assert other.p == other.p_corrected


def test_what_people_search_is_not_testable_on_searches_that_nobody_typed() -> None:
    claims = suite("Gen_R+S > Gen_R", "Gen_R+S > Gen_R")
    claims = claims.model_copy(
        update={"claims": [claims.claims[0], claims.claims[1].model_copy(update={"real_searches": True})]}
    )
    tested, made = evaluate_claims(claims, find, made_searches={"ML"})
    assert (tested.verdict, made.verdict) == ("holds", "not testable")
    assert tested.p_corrected == tested.p  # a family of one
    assert "made from its interactions" in made.reason
    assert [verdict.verdict for verdict in evaluate_claims(claims, find, made_searches={"other"})] == ["holds"] * 2


def test_few_requests_are_undecided_because_they_are_few() -> None:
    def three(where: Where, model: str) -> Fits | str:
        return deterministic(np.array([1, 1, 0.9469]) * (model == "Gen_R+S"))

    (verdict,) = evaluate_claims(suite("Gen_R+S > Gen_R"), three)
    assert (verdict.verdict, verdict.reason) == ("undecided", "n = 3 is too few")
    assert verdict.p is not None
    assert verdict.p < 0.001


def test_the_correction_is_over_all_tested_claims() -> None:
    texts = ["Gen_R+S > Gen_R", "Gone > Gen_R", "SASRec[CE] > Gen_R"]
    raw = evaluate_claims(suite(*texts, correction="none"), find)
    corrected = evaluate_claims(suite(*texts), find)
    assert raw[0].p_corrected == raw[0].p
    ps = [v.p_corrected for v in raw if v.p_corrected is not None]
    assert len(ps) == 2
    assert sorted(v.p_corrected for v in corrected if v.p_corrected is not None) == [
        2 * min(ps),
        max(2 * min(ps), max(ps)),
    ]


def test_a_true_difference_of_the_resolvable_size_holds_four_times_in_five_beside_twenty_null_claims() -> None:
    """Scores of 0 or 1; the stated resolvable difference, taken from the same requests without a difference, is given
    to one claim of 21. Holm over all of them and the permutation test beside it are what decides."""
    rng = np.random.default_rng(3)
    names = [f"M{i}" for i in range(21)]
    place = Where(dataset="ML", task="recommendation", metric="R@30")
    claims = [Claim(id=name, text="", where=place, expect=f"{name} > Base") for name in names]
    # As few flips as asked for; evaluate_claims draws as many as the family needs.
    few = Significance(permutations=100)
    many = suite("Gen_R+S > Gen_R").model_copy(update={"claims": claims, "significance": few})
    n, agree = 400, 0.7
    # A model answers as the base does where they agree and is right half the time elsewhere: the difference of a null
    # pair is -1, 0 or 1 with a variance of .15, and its standard error is known.
    error = np.sqrt((1 - agree) / 2 / n)
    size = Estimate(n, 0.0, float(error), n - 1).detectable(0.05 / 21)

    def scores(base: Floats, more: float) -> Floats:
        own = rng.random(n) < 0.5 + more / (1 - agree)
        return np.where(rng.random(n) < agree, base, own)

    held = []
    for _ in range(400):
        base = (rng.random(n) < 0.5).astype(float)
        drawn = {"Base": base} | {name: scores(base, size if name == "M0" else 0.0) for name in names}
        verdicts = evaluate_claims(many, lambda where, model: deterministic(drawn[model]))  # noqa: B023
        held.append(verdicts[0].verdict == "holds")
    assert 0.75 < np.mean(held) < 0.85


def test_a_model_that_failed_leaves_its_claim_undecided_with_the_reason() -> None:
    verdict = evaluate_claims(suite("Gone > Gen_R", reduced=True), find)[0]
    assert (verdict.verdict, verdict.reason) == ("undecided", "Gone failed on ML")
    measured = ("a", "b", "against", "difference", "low", "high", "n", "low_bootstrap", "high_bootstrap", "p")
    measured += ("p_corrected", "p_permutation", "p_permutation_corrected")
    assert verdict.to_json() == {
        "id": "claim-0",
        "text": "One helps the other.",
        "source": "Table 5",
        "where": {"dataset": "ML", "task": "recommendation", "slice": "all", "metric": "R@30"},
        "expect": "Gone > Gen_R",
        "verdict": "undecided",
        "reason": "Gone failed on ML",
        "measured": dict.fromkeys(measured),
        "rivals": [],
        "level": None,
        "resolvable": None,
        "one_fit": False,
        "reduced": True,
    }


def test_identical_scores_are_undecided_and_resolve_nothing() -> None:
    verdict = evaluate_claims(suite("Gen_R > Gone"), lambda where, model: deterministic(POOR))[0]
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
        expected, where = parse_expectation(claim.expect), claim.where
        place = places[where.dataset]
        if place not in measured or not claim.source.startswith("Table"):
            continue
        metric = where.metric.removesuffix("|new")
        printed = [published.find(place, where.task, where.slice, metric, rows[m]) for m in expected.models]
        a, *others = [value.value for value in printed if value is not None]
        assert len(others) == len(expected.rivals), claim.id
        if expected.sign == "=":
            assert abs(a - (others[0] if others else expected.value)) < expected.margin, claim.id
        assert expected.sign != ">" or all(a > b for b in others), claim.id
        assert expected.sign != "<" or all(a < b for b in others), claim.id
