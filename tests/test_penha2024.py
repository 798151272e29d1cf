"""The shortest shipped suite, run on real data from beginning to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Command

from benchmark.suite.load import load_suite


def test_the_paper_profile_has_its_queries_and_notes_belong_to_a_profile() -> None:
    suites = {name: load_suite("penha2024", profile=name)[0] for name in ("laptop", "gpu", "paper")}
    paper = suites["paper"]
    assert paper.datasets[0].params == {
        "variant": "ml-25m", "queries": ["genres", "tags", "genome"], "min_interactions": 16,
    }  # fmt: skip
    assert paper.protocol.drop_untrained_targets
    assert not paper.reduced  # the data say it where they miss the counts of Table 3
    for name, suite in suites.items():
        short = [model.name for model in suite.models if "newest items" in model.note]
        assert ("Gen_R" in short) == (name == "laptop"), name
        for model in suite.models:
            if model.name in short:  # what is said is what is so
                assert f"reads the {model.params['max_history']} newest items" in model.note


@pytest.mark.slow
def test_the_quickstart_ends_with_four_models(command: Command, tmp_path: Path) -> None:
    few = ("--set", "models.SASRec[CE].params.epochs=1", "--set", "models.Gen_R+S.params.epochs=1")
    done = command("run", "quickstart", "--results", tmp_path, *few, timeout=600)
    assert done.returncode == 0, done.stderr
    board = json.loads((tmp_path / "quickstart" / "leaderboard.json").read_text())
    assert {row["model"] for row in board["rows"]} == {"Pop", "BM25", "SASRec[CE]", "Gen_R+S"}
    assert board["failures"] == []
    assert (tmp_path / "mlflow.db").is_file()
