"""What makes a cell another one, and what does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmark.plan import _files


def test_a_checkpoint_trained_again_is_another_one(tmp_path: Path) -> None:
    weights = tmp_path / "checkpoint" / "weights"
    weights.parent.mkdir()
    weights.write_text("1")
    os.utime(weights, ns=(5, 5))
    params = {"checkpoint": str(weights.parent), "hub": "google/flan-t5-base", "epochs": 3}
    assert _files(params) == [("weights", 1, 5)]
    weights.write_text("12")
    assert _files(params)[0][:2] == ("weights", 2)


def test_a_file_in_the_home_folder_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vectors.npz").write_text("123")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert [found[:2] for found in _files({"encoder": "~/vectors.npz"})] == [("vectors.npz", 3)]


def test_a_word_that_is_also_a_folder_here_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "notes").write_text("")
    monkeypatch.chdir(tmp_path)
    assert _files({"source": "search"}) == []
    (tmp_path / "codes.tsv").write_text("a")
    assert [found[:2] for found in _files({"codes": "codes.tsv"})] == [("codes.tsv", 1)]
    assert _files({"codes": "gone.tsv"}) == []
