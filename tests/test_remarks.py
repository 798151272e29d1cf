"""Remarks on the numbers of what was trained: still learning, below popularity."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Command

from benchmark import plugins
from benchmark.data.ragged import Ragged
from benchmark.data.types import Dataset, Split
from benchmark.evaluation.remarks import below_popularity, popularity_mean, still_learning, trained
from benchmark.testing import make_requests, make_train


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"best_epoch": 4, "epochs": 4}, ["best epoch is the last (still learning)"]),
        ({"best_updates": 600, "updates": 600}, ["best checkpoint is the last (still learning)"]),
        (
            {"best_epoch": 4, "epochs": 4, "best_updates": 80, "updates": 80},
            ["best epoch is the last (still learning)"],
        ),
        ({"best_epoch": 3, "epochs": 4}, []),
        ({"best_epoch": 0, "epochs": 0}, []),
        ({"epochs": 4}, []),
        ({}, []),
    ],
)
def test_a_best_epoch_that_is_the_last_is_remarked(facts: dict[str, Any], says: list[str]) -> None:
    assert list(still_learning(facts)) == says
    assert trained(facts) == bool(facts.get("epochs") or facts.get("updates"))


def test_a_mean_below_popularity_is_remarked_by_task() -> None:
    means: Any = {("recommendation", "all", "R@1"): 0.1, ("search", "all", "R@1"): 0.5, ("search", "head", "R@1"): 0.0}
    least: Any = {"recommendation": 0.2, "search": 0.5}
    assert list(below_popularity("R@1", means, least)) == ["below popularity (R@1 of recommendation: 0.100 < 0.200)"]
    worse = below_popularity("Cost", {("search", "all", "Cost"): 0.6}, {"search": 0.5}, lower_is_better=True)
    assert list(worse) == ["worse than popularity (Cost of search: 0.600 > 0.500)"]
    assert not list(below_popularity("Cost", {("search", "all", "Cost"): 0.4}, {"search": 0.5}, lower_is_better=True))
    assert list(below_popularity("R@1", means, {"recommendation": None})) == []


def test_popularity_ranks_by_training_counts_without_what_is_excluded() -> None:
    train = make_train([[1, 1, 1, 2, 2, 3]])  # counts: 0, 3, 2, 1
    requests = make_requests([[]] * 4, users=[0] * 4, exclude=[[], [1], [1, 2], [0, 1, 2, 3]], ids=list("wxyz"))
    data = Dataset("x", train, {}, {"recommendation": Split(requests, Ragged.from_rows([[1], [2], [2], [3]]))}, "", {})
    metric = plugins.load().metric("R@1")
    assert popularity_mean(data, "recommendation", "R@1", metric, 1) == 0.5  # of w and x; z may be given nothing
    deeper = plugins.load().metric("R@2")
    assert popularity_mean(data, "recommendation", "R@2", deeper, 2) == 0.5
    nothing = replace(data, test={"recommendation": Split(requests, Ragged.empty(4))})
    assert popularity_mean(nothing, "recommendation", "R@1", metric, 1) is None


SUITE = """
name: short
datasets: [{use: checkerboard, name: Board}]
models:
  - {use: popular, name: Pop}
  - {use: gru4rec, name: GRU4Rec, params: {epochs: 1, learning_rate: 1.0e-9}}
metrics: [R@5]
depth: 5
"""


def test_a_model_that_was_stopped_while_it_learned_says_so_in_the_report(command: Command, tmp_path: Path) -> None:
    pytest.importorskip("recbole", reason="the extra recbole is not installed")
    (tmp_path / "s.yaml").write_text(SUITE)
    done = command("run", "s.yaml", "--results", "out", "--tracking", "off")
    assert done.returncode == 0, done.stderr
    report = (tmp_path / "out" / "short" / "leaderboard.md").read_text()
    assert "GRU4Rec: best epoch is the last (still learning)" in report
    assert "Pop: " not in report
