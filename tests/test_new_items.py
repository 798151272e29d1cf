"""Metrics over what is new to a user (`R@2|new`): one more ranking without the whole history, for every model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Command

from benchmark import plugins
from benchmark.data.protocol import Protocol
from benchmark.data.ragged import Ragged
from benchmark.data.split import split_log
from benchmark.errors import BenchmarkError
from benchmark.plan import make_plan
from benchmark.scored import Scored
from benchmark.suite.load import load_suite
from benchmark.testing import checkerboard_log

INTERACTIONS = """user,item,time
p,a,1
p,b,2
p,c,3
p,a,4
q,a,1
q,b,2
q,c,3
q,d,4
r,b,1
r,a,2
r,d,3
r,c,4
s,d,1
s,b,2
s,a,3
s,b,4
t,e,1
t,a,2
t,b,3
t,d,4
"""
"""The last item of p and of s stands in their histories; with max_history 1 no history that a model reads holds it."""
SUITE = """
name: news
datasets: [{use: files, name: Log, params: {path: data}}, {use: search-only, name: Board}]
models:
  - {use: popular, name: Pop}
  - {use: faulty, name: Chance}
metrics: [R@2, R@2|new, HR]
slices: [all, head]
head_share: 0.2
depth: 5
protocol: {max_history: 1}
compare: [{model: Chance, against: [Pop]}]
significance: {min_requests: 2}
"""


def write(folder: Path, suite: str = SUITE) -> tuple[str, ...]:
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / "interactions.csv").write_text(INTERACTIONS)
    (folder / "s.yaml").write_text(suite)
    return "run", "s.yaml", "--results", "out", "--tracking", "off"


def board(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "out" / "news" / "leaderboard.json").read_text())
    return content


def only_recommendation(suite: str) -> str:
    return suite.replace(", {use: search-only, name: Board}", "")


def test_the_column_is_what_masking_seen_items_gives(here: Command, tmp_path: Path) -> None:
    words = write(tmp_path, only_recommendation(SUITE))
    done = here(*words)
    assert done.returncode == 0, done.stderr
    both = {(r["slice"], r["model"], r["metric"]): (r["n"], r["mean"]) for r in board(tmp_path)["rows"]}
    assert both["all", "Pop", "R@2"][0] == 5
    assert both["all", "Pop", "R@2|new"][0] == 3  # p and s ask for what they had
    tests = [test for test in board(tmp_path)["comparisons"] if test["slice"] == "all"]
    assert {test["metric"]: test["n"] for test in tests} == {"R@2": 5, "R@2|new": 3, "HR": 5}
    report = (tmp_path / "out" / "news" / "leaderboard.md").read_text()
    assert r"R@2\|new all (n=3)" in report
    assert r"\|new: ranked once more with all items of the user's own history left out" in report
    # The same models, told by the protocol to leave seen items out of the one ranking.
    assert here(*words, "--set", "metrics=[R@2]", "--set", "protocol.mask_seen=true").returncode == 0
    masked = {(r["slice"], r["model"]): (r["n"], r["mean"]) for r in board(tmp_path)["rows"]}
    assert masked["all", "Pop"][1] not in (0, both["all", "Pop", "R@2"][1])
    assert masked == {(s, m): value for (s, m, metric), value in both.items() if metric == "R@2|new"}


def test_a_data_set_may_mask_seen_items_where_others_do_not(here: Command, tmp_path: Path) -> None:
    log = "{use: files, name: Log, params: {path: data}}"
    own = "{use: files, name: Masked, params: {path: data}, protocol: {mask_seen: true}}"
    words = write(tmp_path, only_recommendation(SUITE).replace(log, f"{log}, {own}"))
    done = here(*words)
    assert done.returncode == 0, done.stderr
    values = {(r["dataset"], r["slice"], r["model"], r["metric"]): (r["n"], r["mean"]) for r in board(tmp_path)["rows"]}
    for place in ("all", "head"):
        for model in ("Pop", "Chance"):
            assert values["Masked", place, model, "R@2"] == values["Log", place, model, "R@2|new"]
    assert values["Log", "all", "Pop", "R@2"] != values["Masked", "all", "Pop", "R@2"]
    # Its one ranking leaves seen items out already.
    assert {metric for dataset, *_, metric in values if dataset == "Masked"} == {"R@2", "HR"}
    report = (tmp_path / "out" / "news" / "leaderboard.md").read_text()
    assert "Seen items masked on Masked, not masked on Log; head" in report
    assert "Masked: mask_seen" not in report  # which the sentence has said
    checked = here("check", "s.yaml", "--results", "out").stdout
    assert "seen items stay in the rankings of Log (mask_seen: false)" in checked


def test_search_has_no_such_row_and_who_does_not_ask_pays_nothing(here: Command, tmp_path: Path) -> None:
    words = write(tmp_path, SUITE.replace("{use: faulty, name: Chance}", "{use: popular, name: Chance}"))
    assert here(*words).returncode == 0
    rows = {(row["task"], row["metric"]) for row in board(tmp_path)["rows"]}
    assert rows == {(t, m) for t in ("recommendation", "search") for m in ("R@2", "HR")} | {
        ("recommendation", "R@2|new")
    }
    assert len(list((tmp_path / "out").rglob("ranking-*@new.parquet"))) == 2
    done = here(*words, "--set", "metrics=[HR]", "--set", "name=plain")
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "out" / "plain").rglob("ranking-*@new.parquet"))
    # A report over what a run did not rank says so.
    done = here("report", "s.yaml", *words[2:], "--set", "name=plain")
    assert done.returncode == 2
    assert "did not rank the list new" in done.stderr


def test_all_requests_may_drop_out(here: Command, tmp_path: Path) -> None:
    """Seven items in a circle, eight steps: everybody's last item is the first one again."""
    words = write(
        tmp_path, only_recommendation(SUITE).replace("use: files, name: Log, params: {path: data}", "use: circle")
    )
    done = here(*words)
    assert done.returncode == 0, done.stderr
    new = [row for row in board(tmp_path)["rows"] if row["metric"] == "R@2|new"]
    assert [(row["n"], row["mean"]) for row in new if row["slice"] == "all"] == [(0, None)] * 2


def test_scores_are_about_the_requests_that_are_left(
    here: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np
    import pandas as pd

    words = write(tmp_path, only_recommendation(SUITE))
    assert here(*words).returncode == 0
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "faulty"))
    suite, source = load_suite("s.yaml")
    plan = make_plan(suite, source, plugins.load(), tmp_path / "out")
    evaluated = Scored(plan).of(plan.cells[0])[0]
    ids = plan.datasets["Log"].test["recommendation"].requests.ids
    assert sorted(ids[evaluated.scores.own_rows["R@2|new"]]) == ["u:q", "u:r", "u:t"]
    table = pd.read_parquet(next((tmp_path / "out").rglob("Pop/*/scores-recommendation.parquet"))).set_index("request")
    assert np.isnan(table.loc[["u:p", "u:s"], "R@2|new"]).all()
    assert not table.loc[["u:q", "u:r", "u:t"]].isna().any(axis=None)


def test_what_was_seen_is_the_whole_history_in_a_joint_log_too() -> None:
    data = split_log("Joint", checkerboard_log(joint=True), Protocol(max_history=2))
    split = data.test["recommendation"]
    assert split.seen is not None
    assert split.requests.histories.lengths.tolist() == [2] * 120
    assert split.seen.lengths.tolist() == [7] * 120  # eight steps, the last one is asked for
    assert data.test["search"].seen is None


def test_answers_in_the_history_are_none_among_new_items() -> None:
    split = split_log("Board", checkerboard_log(n_items=20), Protocol()).test["recommendation"].take([0, 1])
    answers = split.relevant.values
    changed = replace(split, seen=Ragged.from_rows([[answers[0], 19], [18]])).new(21)
    assert changed.relevant.lengths.tolist() == [0, 1]
    assert changed.requests.exclude.lengths.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("history: 1", "history: 1, mask_seen: true"), r"R@2\|new: with `mask_seen: true` every ranking leaves out"),
        (
            ("compare:", "claims: [{where: {dataset: Log, task: search, metric: R@2|new},"
             " expect: {Pop > Chance: t}}]\ncompare:"),
            "unknown candidate list 'new'",
        ),
    ],
)  # fmt: skip
def test_where_it_means_nothing_it_is_refused(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    write(tmp_path, only_recommendation(SUITE).replace(*change).replace("faulty", "popular"))
    suite, source = load_suite(str(tmp_path / "s.yaml"))
    with pytest.raises(BenchmarkError, match=says):
        make_plan(suite, source, plugins.load(), tmp_path / "out")
