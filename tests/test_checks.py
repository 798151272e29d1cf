"""What `benchmark check` works out before anything runs."""

from __future__ import annotations

from pathlib import Path

from benchmark import plugins
from benchmark.checks import families, resolvable
from benchmark.plan import make_plan
from benchmark.suite.load import load_suite


def test_a_plan_knows_the_families_of_its_tests_and_the_levels_that_decide(tmp_path: Path) -> None:
    text = """
name: families
datasets: [{use: movielens, name: ML}]
models: [{use: popular, name: Pop}, {use: bm25}, {use: sasrec}, {use: gru4rec}]
metrics: [R@30, R@30|new, RR]
compare:
  - {model: sasrec, against: [Pop], primary: true, metric: R@30, slice: all}
  - {model: sasrec, against: [Pop, gru4rec]}
  - {model: bm25, against: [Pop]}
"""
    (tmp_path / "s.yaml").write_text(text)
    suite, path = load_suite(str(tmp_path / "s.yaml"))
    plan = make_plan(suite, path, plugins.load(), tmp_path, device="cpu")
    # Of the pairs in recommendation 2 × 3, of which one is primary; BM25 against Pop in search by R@30 and RR.
    assert families(plan) == {"primary": (1, 0.05), "exploratory": (7, 0.05 / 7)}
    assert resolvable(943, 0.05) < resolvable(943, 0.05 / 7)
