"""What looks too good says so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command

from benchmark import plugins
from benchmark.data.ragged import Ragged
from benchmark.evaluation.plausibility import ceiling, implausible
from benchmark.testing import checkerboard

SUITE = """
name: stolen
datasets: [{use: checkerboard, name: Board}]
models:
  - {use: popular, name: Pop}
  - {use: thief, name: Thief}
metrics: [R@5, R@5|new, R@5|uni4]
protocol: {candidates: {recommendation: {kind: uniform, n: 4}}}
depth: 5
"""


def test_the_ceiling_is_what_perfect_rankings_have() -> None:
    registry = plugins.load()
    data = checkerboard()
    split = data.test["recommendation"]
    # Two relevant items for the first half of the requests: R@1 finds one of them at best.
    two = Ragged.from_rows([[i % 20, (i + 1) % 20] if i < 60 else [i % 20] for i in range(120)])
    changed = replace(data, test={"recommendation": replace(split, relevant=two)})
    assert ceiling(changed, "recommendation", "R@1", registry.metric("R@1"), 5) == pytest.approx(0.75)
    assert ceiling(changed, "recommendation", "nDCG@2", registry.metric("nDCG@2"), 5) == pytest.approx(1)


def test_what_is_near_the_ceiling_or_far_above_all_others_is_remarked_on() -> None:
    rows = np.arange(200)
    low, middle = (rows % 10 == 0).astype(float), (rows % 10 < 2).astype(float)

    def remarked(**others: Any) -> dict[str, str]:
        models = {"low": low, "middle": middle, **others}
        return dict(implausible("R@5", "recommendation", models, 1.0, 0.05))

    assert remarked(fair=(rows % 10 < 3).astype(float)) == {}
    assert remarked(thief=(rows < 192).astype(float)) == {
        "thief": "check for leakage (R@5 of recommendation: 0.960 of at most 1.000)"
    }
    assert remarked(leader=(rows % 10 < 8).astype(float)) == {
        "leader": "check for leakage (R@5 of recommendation: 0.600 above middle, the best other model)"
    }
    assert dict(implausible("R@5", "search", {"few": np.ones(29)}, 1.0, 0.05)) == {}


def test_a_thief_is_remarked_on_in_the_report(command: Command, tmp_path: Path) -> None:
    """The checkerboard's own answers, as a model that reads them from the disk would rank them."""
    (tmp_path / "s.yaml").write_text(SUITE)
    done = command("run", "s.yaml", "--results", "out", "--tracking", "off")
    assert done.returncode == 0, done.stderr
    home = tmp_path / "out" / "stolen"
    rows = json.loads((home / "leaderboard.json").read_text())["rows"]
    marks = {row["model"]: " ".join(row["marks"]) for row in rows}
    assert "check for leakage (R@5 of recommendation: 1.000 of at most 1.000)" in marks["Thief"]
    assert "check for leakage" not in marks["Pop"]
    for name in ("md", "html", "tex", "csv"):
        assert "check for leakage" in (home / f"leaderboard.{name}").read_text()
    assert "check for leakage" in done.stdout
