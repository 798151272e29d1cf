"""One model asks for the item embeddings of another: trained once for all cells, checked when the plan is made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Command

SUITE = """
name: loans
datasets: [{use: checkerboard, name: Board}]
models:
  - {use: lender, name: Lender}
  - {use: borrower, name: Up, params: {log: LOG}}
  - {use: borrower, name: Down, params: {log: LOG, sign: -1}}
metrics: [R@5]
depth: 30
"""


def write(folder: Path, text: str) -> None:
    (folder / "s.yaml").write_text(text.replace("LOG", str(folder / "log.txt")))


def test_embeddings_are_trained_once_and_shared(command: Command, tmp_path: Path) -> None:
    write(tmp_path, SUITE)
    done = command("run", "s.yaml", "--results", "out", "--tracking", "off")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "log.txt").read_text() == "fitted\n"
    cells = {p.parent.parent.name: p.parent for p in (tmp_path / "out" / "loans" / "cells").glob("*/*/*/cell.json")}
    facts = [json.loads((cells[name] / "facts.json").read_text())["item_embeddings"] for name in ("Up", "Down")]
    assert {fact["model"] for fact in facts} == {"lender"}
    assert sorted(fact["reused"] for fact in facts) == [False, True]
    costs = [json.loads((cells[name] / "cell.json").read_text())["costs"] for name in ("Up", "Down")]
    # The lender trains for half a second: told of both who ask, and part of neither's own time.
    assert costs[0]["embeddings_seconds"] == costs[1]["embeddings_seconds"] > 0.5
    assert all(cost["fit_seconds"] < cost["embeddings_seconds"] for cost in costs)
    assert [(cost["updates"], cost["examples"]) for cost in costs] == [(120, 3840)] * 2
    machine = json.loads((cells["Up"] / "cell.json").read_text())["machine"]
    assert machine["processor"]
    assert machine["threads"] == 1
    import pyarrow.parquet as pq

    lists = {name: pq.read_table(cells[name] / "ranking-recommendation.parquet")["items"][0].as_py() for name in cells}
    # Same seed and data: the vectors are those of the lender's own cell, which ranks by them.
    assert [i for i in lists["Up"] if i >= 0] == [i for i in lists["Lender"] if i >= 0]
    assert [i for i in lists["Down"] if i >= 0] == [i for i in lists["Lender"] if i >= 0][::-1]
    assert command("run", "s.yaml", "--results", "out", "--tracking", "off", "--fresh").returncode == 0
    assert (tmp_path / "log.txt").read_text() == "fitted\nfitted\n"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("use: popular", "model 'Up' asks for item embeddings of 'popular', which offers none"),
        ("use: lenderr", "model 'Up' asks for item embeddings. unknown model 'lenderr'"),
    ],
)
def test_a_model_that_offers_none_is_found_when_planning(
    command: Command, tmp_path: Path, change: str, says: str
) -> None:
    write(tmp_path, SUITE.replace("{log: LOG}", f"{{{change}}}"))
    done = command("run", "s.yaml", "--results", "out", "--dry-run")
    assert done.returncode == 2
    assert says.lower() in done.stderr.lower()


def test_wrong_embeddings_end_the_cell_alone(command: Command, tmp_path: Path) -> None:
    write(tmp_path, SUITE.replace("{log: LOG}", "{broken: true}"))
    done = command("run", "s.yaml", "--results", "out", "--tracking", "off")
    assert done.returncode == 1
    assert "model 'lender' gave item embeddings of shape (20, 2); 21 finite rows are needed." in done.stderr
    assert "1 failed" in done.stdout
