"""The shipped suites on real data: what must hold before any finer number of them is worth reading."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import ROOT, Command

BEATS_POPULARITY = {
    ("recommendation", "SASRec[CE]"): "Pop_R",
    ("recommendation", "BERT4Rec"): "Pop_R",
    ("recommendation", "Gen_R"): "Pop_R",
    ("search", "Gen_S"): "Pop_S",
}


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_what_learns_beats_popularity_on_ml_100k(command: Command, tmp_path: Path) -> None:
    """The laptop profile of penha2024, R@30 on all items, Holm-corrected over all comparisons of the suite."""
    models = {"Pop_R", "Pop_S", *(model for _, model in BEATS_POPULARITY)}
    only = [word for model in sorted(models) for word in ("--only", model)]
    suite = ROOT / "suites" / "penha2024.yaml"
    done = command("run", suite, "--results", tmp_path, "--tracking", "off", *only, timeout=1500)
    assert done.returncode == 0, done.stderr
    tests = json.loads((tmp_path / "penha2024" / "leaderboard.json").read_text())["comparisons"]
    found = {
        (t["task"], t["model"]): t
        for t in tests
        if (t["slice"], t["metric"]) == ("all", "R@30")
        and BEATS_POPULARITY.get((t["task"], t["model"])) == t["baseline"]
    }
    assert set(found) == set(BEATS_POPULARITY)
    weak = {key: (t["difference"], t["p_corrected"]) for key, t in found.items() if not beats(t)}
    assert not weak


def beats(test: dict[str, float]) -> bool:
    return test["difference"] > 0 and test["p_corrected"] < 0.05


@pytest.mark.slow
def test_the_quickstart_ends_with_four_models(command: Command, tmp_path: Path) -> None:
    done = command("run", "quickstart", "--results", tmp_path, timeout=600)
    assert done.returncode == 0, done.stderr
    board = json.loads((tmp_path / "quickstart" / "leaderboard.json").read_text())
    assert {row["model"] for row in board["rows"]} == {"Pop", "BM25", "SASRec[CE]", "Gen_R+S"}
    assert board["failures"] == []
    assert (tmp_path / "mlflow.db").is_file()
