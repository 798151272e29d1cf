"""The suite gensar2025: what its paper prints, what its profiles ask for, and what must hold on the laptop's data."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Command

from benchmark.errors import BenchmarkError
from benchmark.evaluation.claims import evaluate_claims
from benchmark.plan import make_plan
from benchmark.plugins import build, check_params, load
from benchmark.runner import estimates
from benchmark.suite.expectation import parse_expectation
from benchmark.suite.load import load_suite
from benchmark.suite.published import Published, load_published
from benchmark.suite.schema import Suite

SUITE = ROOT / "suites" / "gensar2025.yaml"
PROFILES = ("laptop", "gpu", "paper")
LISTS = {"recommendation": "pop99-history", "search": "bm25-99"}
JOINT = {"JSR", "UniSAR", "GenSAR"}
ABLATIONS: dict[str, dict[str, Any]] = {
    "GenSAR[-behaviour]": {"behaviour_tokens": False},
    "GenSAR[-NRIP]": {"tasks_trained": {"nrip": 0.0}},
    "GenSAR[-NSQP]": {"tasks_trained": {"nsqp": 0.0}},
    "GenSAR[-NSIP]": {"tasks_trained": {"nsip": 0.0}},
    "GenSAR[-Desc2ID]": {"tasks_trained": {"desc2id": 0.0}},
    "GenSAR[-ID2Desc]": {"tasks_trained": {"id2desc": 0.0}},
    "GenSAR[semantic]": {"identifiers": {"kind": "semantic"}},
    "GenSAR[collaborative]": {"identifiers": {"kind": "collaborative"}},
    "GenSAR[L_m=1]": {"identifiers": {"shared": 1, "specific": 3}},
    "GenSAR[L_m=3]": {"identifiers": {"shared": 3, "specific": 1}},
    "GenSAR[L_n=1]": {"identifiers": {"shared": 2, "specific": 1}},
    "GenSAR[L_n=3]": {"identifiers": {"shared": 2, "specific": 3}},
}


@pytest.fixture(scope="module")
def published() -> Published:
    return load_published(SUITE.parent / "published" / "gensar2025.yaml")


@pytest.fixture(params=PROFILES)
def suite(request: pytest.FixtureRequest) -> Suite:
    return load_suite(str(SUITE), request.param)[0]


# ---------------------------------------------------------------- published values


def test_the_published_values_are_those_of_tables_3_and_4(published: Published) -> None:
    def printed(dataset: str, metric: str, *models: str) -> list[float]:
        (table,) = (t for t in published.tables if (t.dataset, t.metric) == (dataset, metric))
        return [table.values[model] for model in models]

    assert printed("Amazon", "HR@1|pop99-history", "SASRec", "TIGER", "GenSAR") == [0.0544, 0.1073, 0.1261]
    assert printed("Amazon", "HR@10|pop99-history", "UniSAR", "SESRec", "JSR", "GenSAR") == [
        0.3319,
        0.3209,
        0.3188,
        0.3063,
    ]
    assert printed("Commercial", "HR@10|pop99-history", "UniSAR", "GenSAR") == [0.4056, 0.4031]
    assert printed("Commercial", "nDCG@10|pop99-history", "P5-CID", "GenSAR") == [0.3240, 0.3411]
    assert printed("Amazon", "HR@1|bm25-99", "QEM", "BGE", "GenRet", "GenSAR") == [0.1512, 0.4030, 0.4173, 0.5262]
    assert printed("Amazon", "nDCG@10|bm25-99", "QEM", "TEM", "JSR", "UniSAR") == [0.2809, 0.2722, 0.1962, 0.2533]
    assert printed("Commercial", "HR@1|bm25-99", "E5", "GenSAR") == [0.1277, 0.1249]
    rates = {(t.task, name): v for t in published.tables if t.table == "Figure 5" for name, v in t.values.items()}
    assert rates == {
        ("search", "GenSAR"): 0.0018,
        ("recommendation", "GenSAR"): 0.0039,
        ("search", "GenSAR[semantic]"): 0.0137,
        ("recommendation", "GenSAR[collaborative]"): 0.0090,
    }


def test_no_published_value_contradicts_what_its_metric_is(published: Published) -> None:
    """One relevant item: HR grows with k, HR@1 is nDCG@1, and nDCG@k lies between HR@1 and HR@k."""
    tables = {(t.dataset, t.metric): t.values for t in published.tables if t.table.startswith("Table")}
    assert len(tables) == 2 * 2 * 5
    for dataset in ("Amazon", "Commercial"):
        for kind, models in (("pop99-history", 12), ("bm25-99", 12)):
            of = {m: tables[dataset, f"{m}|{kind}"] for m in ("HR@1", "HR@5", "HR@10", "nDCG@5", "nDCG@10")}
            assert {len(values) for values in of.values()} == {models}
            for model in of["HR@1"]:
                one, five, ten, ndcg_5, ndcg_10 = (values[model] for values in of.values())
                assert one <= ndcg_5 <= five <= ten, (dataset, model)
                assert ndcg_5 <= ndcg_10 <= ten, (dataset, model)


# ---------------------------------------------------------------- the profiles


def test_every_model_of_every_profile_can_be_built(suite: Suite) -> None:
    registry = load()
    for choice in suite.models:
        offer = registry.offer("model", choice.use)
        model = build(offer, check_params(offer, choice.params))
        for name, params in getattr(model, "needs", ()):
            check_params(registry.offer("model", name), params)


def test_a_variant_differs_from_gensar_in_what_its_name_says(suite: Suite) -> None:
    params = {choice.name: choice.params for choice in suite.models}
    base = {key: value for key, value in params["GenSAR"].items() if key != "compare_identifiers"}
    checked = 0
    for name, change in ABLATIONS.items():
        if any(data.wants(name) for data in suite.datasets):
            (key,) = change
            nested = isinstance(change[key], dict)
            assert params[name] == {**base, key: {**base.get(key, {}), **change[key]} if nested else change[key]}
            checked += 1
    assert checked == (1 if suite.profile == "laptop" else len(ABLATIONS))


def test_the_laptop_runs_offline_within_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCHMARK_DATA", raising=False)
    suite, path = load_suite(str(SUITE), "laptop")
    plan = make_plan(suite, path, load(), tmp_path, device="cpu")
    asked = {cell.model for cell in plan.cells}
    assert {"TIGER", "SASRec[CE]", "BM25", "Bi-encoder", "Gen_R+S", "QEM", "TEM", "GenSAR[-behaviour]"} | JOINT <= asked
    assert {"Pop_R", "Pop_S"} <= asked
    assert {cell.model for cell in plan.cells if len(cell.tasks) == 2} >= JOINT
    assert sum(seconds or 0 for seconds in estimates(plan).values()) <= 2 * 20 * 60
    facts = plan.datasets["ML-joint"].facts
    assert (facts["test_requests_recommendation"], facts["test_requests_search"]) == (943, 943)


def test_the_gpu_profile_runs_on_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHMARK_DATA", str(tmp_path))
    suite, path = load_suite(str(SUITE), "gpu")
    with pytest.raises(BenchmarkError, match="Cell_Phones_and_Accessories is not in"):
        make_plan(suite, path, load(), tmp_path)
    folder = tmp_path / "amazon14_joint" / "Cell_Phones_and_Accessories"
    folder.mkdir(parents=True)
    bought = [(user, item) for user in range(4) for item in range(5)]  # one a day, each with the only query
    tables = {
        "interactions": ["reviewer\tasin\ttime", *(f"u{u}\ti{i}\t{86_400 * i}" for u, i in bought)],
        "items": ["asin\ttext", *(f"i{i}\tphone {i}" for i in range(5))],
        "queries": ["query\ttext", "0\tcell phones"],
        "search_train": ["reviewer\tquery\tasin", *(f"u{u}\t0\ti{i}" for u, i in bought)],
        "search_test": ["reviewer\tquery\tasin"],
    }
    for name, lines in tables.items():
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    plan = make_plan(suite, path, load(), tmp_path, device="cpu")
    models = {name: {cell.model for cell in plan.cells if cell.dataset == name} for name in plan.datasets}
    assert set(models) == {"Cell_Phones", "Cell_Phones-leaky"}
    assert models["Cell_Phones"] > {*ABLATIONS, *JOINT, "GRU4Rec"}
    assert models["Cell_Phones-leaky"] == {"Pop_R", "Pop_S", "SASRec[CE]", "BM25", "UniSAR", "GenSAR"}
    assert [plan.datasets[name].facts["leaky"] for name in models] == [False, True]
    assert any("without Beauty" in mark for mark in plan.marks)


# ---------------------------------------------------------------- claims


def test_every_claim_of_a_table_states_the_tables_numbers(published: Published) -> None:
    suite, _ = load_suite(str(SUITE), "paper")
    claims = [c for c in suite.claims if c.where.dataset == "Electronics" and c.source.startswith("Table")]
    assert len(claims) >= 25
    rows = {model.name: model.published_as or model.name for model in suite.models}
    for claim in claims:
        expected = parse_expectation(claim.expect)
        where = claim.where
        assert where.metric.endswith(f"|{LISTS[where.task]}")
        said = re.findall(r"(0\.\d{4}) vs (0\.\d{4}) on (\w+)", claim.source)
        assert [place for _, _, place in said] == ["Amazon", "Commercial"]
        for *numbers, place in said:
            found = [published.find(place, where.task, "all", where.metric, rows[model]) for model in expected.models]
            assert [f"{value.value:.4f}" for value in found if value is not None] == numbers, claim.id


def test_what_the_papers_own_tables_contradict_is_expected_as_they_have_it() -> None:
    suite, _ = load_suite(str(SUITE), "paper")
    claims = {claim.id: claim for claim in suite.claims if claim.where.dataset == "Electronics"}
    against = {claim.expect: claim for claim in claims.values() if "but not in its text" in claim.text}
    assert set(against) == {
        "UniSAR > GenSAR",
        "JSR > GenSAR",
        *(f"{search} > {joint}" for search in ("QEM", "TEM") for joint in ("JSR", "UniSAR")),
    }

    def find(where: Any, model: str) -> str:
        return f"{model} has not run"

    verdicts = evaluate_claims(suite, find)
    assert {verdict.verdict for verdict in verdicts} == {"undecided"}
    assert len(verdicts) == len(suite.claims)


SHORT = (
    *("steps=20", "evaluate_every=20", "validation_requests=20", "beams=20"),
    *("identifiers={size: 64, steps: 20}", "collaborative={use: sasrec, params: {epochs: 1}}"),
)


@pytest.mark.slow
def test_the_laptops_report_shows_the_identifiers_and_the_trade_off(command: Command, tmp_path: Path) -> None:
    """Trained for 20 steps: tests/benchmarks/bench_beats_popularity.py asks for more than a report."""
    short = [word for one in SHORT for word in ("--set", f"models.GenSAR.params.{one}")]
    models = ("Pop_R", "Pop_S", "GenSAR")
    only = [word for model in models for word in ("--only", f"ML-joint/{model}")]
    done = command(
        "run", SUITE, "--results", tmp_path, "--tracking", "off", *short, *only, "--limit", "20", timeout=600
    )
    assert done.returncode == 0, done.stderr
    home = tmp_path / "gensar2025-limit-20"
    assert {row["model"] for row in json.loads((home / "leaderboard.json").read_text())["rows"]} == set(models)
    report = (home / "leaderboard.md").read_text()
    assert "only semantic" in report  # Figure 5
    assert (home / "figures" / "trade-off-of-recommendation-and-search.svg").is_file()
