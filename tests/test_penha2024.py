"""The shortest shipped suite, run on real data from beginning to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Command


@pytest.mark.slow
def test_the_quickstart_ends_with_four_models(command: Command, tmp_path: Path) -> None:
    done = command("run", "quickstart", "--results", tmp_path, timeout=600)
    assert done.returncode == 0, done.stderr
    board = json.loads((tmp_path / "quickstart" / "leaderboard.json").read_text())
    assert {row["model"] for row in board["rows"]} == {"Pop", "BM25", "SASRec[CE]", "Gen_R+S"}
    assert board["failures"] == []
    assert (tmp_path / "mlflow.db").is_file()
