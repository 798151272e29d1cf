"""Planted faults: each is found, and the same data without it is not blamed for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command

from benchmark.data.lint import (
    answers_in_texts,
    answers_seen_before,
    coverage,
    derived_answers,
    faults,
    repeated_interactions,
    same_queries,
    times_and_ties,
    untrained_items,
)
from benchmark.data.protocol import Protocol
from benchmark.data.split import split_log
from benchmark.data.types import Dataset, Log
from benchmark.testing import checkerboard_log, make_catalog, make_log

Check = Callable[[Dataset], Iterator[str]]


def words(values: Sequence[str]) -> Any:
    return np.array(values, dtype=object)


def log_of(
    rows: Sequence[tuple[int, int, int]],
    queries: Sequence[tuple[str, Sequence[int], int]] = (),
    ids: Sequence[str] = (),
    searches: Sequence[tuple[int, int, int, int]] | None = None,
    **more: Any,
) -> Log:
    """A log of (user, item, time) and of queries with their answers and part; item i has the text "thing i"."""
    judgements = [(q, i, 1.0) for q, (_, answers, _) in enumerate(queries) for i in answers]
    n = 1 + max(item for _, item, _ in [*rows, *judgements])
    catalog = make_catalog([f"thing {i}" for i in range(n)], title=[f"Thing {i}" for i in range(n)])
    catalog = replace(catalog, ids=words(ids or [f"i{i:03d}" for i in range(n)]))
    log = make_log(rows, judgements, searches, catalog=catalog, queries=[text for text, _, _ in queries], **more)
    parts = None if searches or not queries else np.array([part for *_, part in queries], dtype=np.int8)
    return replace(log, query_part=parts)


def said(check: Check, log: Log, **settings: Any) -> str:
    return " ".join(check(split_log("planted", log, Protocol(**settings))))


def visits(times: Sequence[int], users: int = 6, step: int = 1) -> list[tuple[int, int, int]]:
    """Every user takes another item at each of these times, the ids rising with them, or falling with step -1."""
    n = len(times)
    return [
        (u, (u + (t if step > 0 else n - 1 - t)) % (n + users), time + 1000 * u)
        for u in range(users)
        for t, time in enumerate(times)
    ]


def test_a_target_in_its_own_history_is_found() -> None:
    clean = visits([1, 2, 3, 4])
    again = [row if (row[0], row[2] % 1000) != (0, 4) else (0, clean[0][1], 4) for row in clean]
    assert said(answers_seen_before, log_of(clean)) == ""
    planted = said(answers_seen_before, log_of(again))
    assert "16.7% of the requests of recommendation have an answer in their own history" in planted
    assert "16.7% of the tested pairs of user and item (recommendation) are in the training data" in planted


def test_a_copy_seconds_apart_in_a_joint_log_is_found_and_the_remedy_named() -> None:
    """Everything is searched as well, and something else thrice after the last click: no search is tested at its
    time."""
    rows = visits([100, 200, 300, 400])
    later = [(u, 20 + i, 500 + 100 * i + 1000 * u) for u in range(6) for i in range(3)]

    def joint(shift: int) -> Log:
        searches = [(u, 0, i, t) for u, i, t in [*((u, i, t - shift) for u, i, t in rows), *later]]
        return log_of(rows, [("thing", range(23), 0)], searches=searches)

    assert "have an answer in their own history" not in said(answers_seen_before, joint(0))
    planted = said(answers_seen_before, joint(1))
    assert "of recommendation have an answer in their own history: a repeat or a copy (copies seconds" in planted
    assert "`protocol.copies_within`" in planted


def test_rows_that_are_equal_up_to_their_time_are_found() -> None:
    clean = visits([1, 2, 3, 4, 5])
    twice = [*clean, (0, clean[0][1], 2)]
    assert said(repeated_interactions, log_of(clean)) == ""
    planted = said(repeated_interactions, log_of(twice))
    assert planted.startswith("1 training interactions (5.3%) repeat an earlier one of the same user and item")


def test_ties_are_found_and_those_that_are_sorted_by_id_are_told_from_others() -> None:
    def ties(log: Log) -> str:
        return said(times_and_ties, log)

    assert "shares its time" not in ties(log_of(visits([1, 2, 3, 4, 5, 7])))
    same_day = [7, 7, 7, 7, 7, 7]
    rows = [(u, u + t, time + 1000 * u) for u in range(6) for t, time in enumerate(same_day)]
    by_file = ties(log_of(rows, ties="file"))
    assert "for 100% of the users the target shares its time with another item (100% of all interactions do)" in by_file
    assert "the file's order decides" in by_file
    assert "items of one time ascend by their id (100.0% of 18 neighbours)" not in by_file  # 18 are too few to say
    rows = [(u, u + t, time + 1000 * u) for u in range(9) for t, time in enumerate(same_day)]
    assert "items of one time ascend by their id (100.0% of 27 neighbours)" in ties(log_of(rows, ties="file"))
    assert "for 100% of the users the target is the largest id of its time" in ties(log_of(rows, ties="file"))
    hashed = ties(log_of(rows, ties="hash"))
    assert "a hash decides" in hashed
    assert "by their id" not in hashed
    falling = [(u, u + 6 - t, time + 1000 * u) for u in range(9) for t, time in enumerate(same_day)]
    assert "the target is the smallest id of its time" in ties(log_of(falling, ties="file"))
    numbers = [str(i + 5) for i in range(16)]  # 5 to 20: in order as numbers, not as words
    assert "items of one time ascend by their id" in ties(log_of(rows, ids=numbers[:14], ties="file"))


def test_data_without_times_is_not_given_a_leak_score_nor_advice_about_it() -> None:
    timed = said(times_and_ties, log_of(visits([1, 5, 6, 9])))
    assert "leak score" in timed
    assert "global-time" in timed
    positions = [(u, u + t, t) for u in range(6) for t in range(5)]
    assert said(times_and_ties, log_of(positions)).startswith("order, no times")
    dataset = split_log("planted", log_of(visits([1, 5, 6, 9])), Protocol())
    declared = " ".join(times_and_ties(replace(dataset, facts={**dataset.facts, "has_times": False})))
    assert declared.startswith("order, no times")
    own_clock = [(u, u + t, 50 * t * t) for u in range(6) for t in range(5)]
    relative = said(times_and_ties, log_of(own_clock))
    assert relative.startswith("times count from each user's own first event")
    for text in (said(times_and_ties, log_of(positions)), declared, relative):
        assert "leak score" not in text
        assert "global-time" not in text


PARTS = [("alpha", [0, 1], 0), ("beta", [2, 3], 0), ("valid", [8, 9], 1)]


def test_a_test_query_that_is_a_training_query_in_other_letters_is_found() -> None:
    clean = [*PARTS, ("red shoes", [4], 0), ("blue shoes", [5], 2)]
    planted = [*PARTS, ("red shoes", [4], 0), ("  Shoes, RED!", [5], 2)]
    assert said(same_queries, log_of([], clean)) == ""
    assert said(same_queries, log_of([], planted)).startswith("1 of 1 test queries equal a training query but for")


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ([0, 1, 2, 3], "1 the union of training queries' answers"),
        ([1, 2], "1 the intersection of training queries' answers"),
        ([5, 6], "1 have the same answers as a training query"),
        ([0, 1, 4], ""),
        ([3], ""),
    ],
)
def test_answers_that_follow_from_those_of_training_queries_are_found(answers: list[int], kind: str) -> None:
    trained = [("a", [0, 1, 2], 0), ("b", [1, 2, 3], 0), ("c", [5, 6], 0), ("v", [8, 9], 1)]
    planted = said(derived_answers, log_of([], [*trained, ("asked", answers, 2)]))
    assert kind in planted
    assert bool(planted) == bool(kind)


def test_a_query_that_stands_in_the_text_of_its_answer_is_found() -> None:
    def texts(query: str) -> str:
        return said(answers_in_texts, log_of([], [*PARTS, (query, [4], 2)]))

    assert texts("something else") == ""
    assert texts("thin") == ""  # whole words
    assert texts("THING").startswith("for 1 of 1 test queries the query stands word for word in an answer's text:")
    assert "for 1 it is the answer's title" in texts("thing, 4")


def test_items_that_are_tested_and_never_trained_are_found() -> None:
    clean = [(u, t, t + 10 * u) for u in range(4) for t in range(4)]
    assert (
        said(untrained_items, log_of(clean))
        == "1 relevant test items of recommendation never occur in its training data."
    )
    turned = [(u, (u + t) % 4, t + 10 * u) for u in range(4) for t in range(4)]
    assert said(untrained_items, log_of(turned)) == ""


def test_users_whom_no_request_asks_about_are_counted() -> None:
    clean = visits([1, 2, 3, 4])
    assert said(coverage, log_of(clean)) == ""
    assert said(coverage, log_of([*clean, (6, 0, 1), (7, 0, 1)])).startswith("6 of 8 users are tested")


def test_good_data_is_blamed_for_nothing() -> None:
    dataset = split_log("board", checkerboard_log(tasks=["recommendation"]), Protocol())
    assert list(faults(dataset)) == []


SUITE = """
name: limits
datasets: [{use: checkerboard, name: Board}]
models:
  - {use: popular, name: Pop}
  - {use: gru4rec, name: GRU4Rec, params: {max_history: 5}}
  - {use: sasrec, name: SASRec, params: {max_history: 50}}
  - {use: diffrec, name: DiffRec}
metrics: [R@1, R@30]
slices: [all, head, torso]
depth: 30
protocol: {mask_seen: false}
"""


def test_check_names_what_no_model_can_reach_or_miss_and_who_reads_less(here: Command, tmp_path: Path) -> None:
    pytest.importorskip("recbole", reason="the extra recbole is not installed")
    (tmp_path / "s.yaml").write_text(SUITE)
    done = here("check", "s.yaml", "--results", "out")
    assert done.returncode == 0, done.stderr
    notes = done.stdout
    # One item of 21 is the head, so R@1 and R@30 on it are found by whoever returns it.
    assert "note: Board: R@1, R@30 of recommendation on head look at no fewer items than the head has (1)" in notes
    assert re.search(r"note: Board: \d+ requests of \w+ are in the slice head: fewer than 30 decide nothing", notes)
    assert (
        "the protocol leaves the 50 newest items of a history, of which these models read fewer: GRU4Rec (5)" in notes
    )
    assert "never returns items of the history: DiffRec; others may" in notes
    assert "R@1 of recommendation is" not in notes  # one relevant item each: 1 can be reached
    assert "note: GRU4Rec, SASRec, DiffRec: 1 seed." in notes
    quiet = here("check", "s.yaml", "--results", "out", "--set", "slices=[all]", "--set",
                    "protocol.mask_seen=true", "--set", "models.GRU4Rec.params.max_history=50", "--seeds",
                    "3").stdout  # fmt: skip
    for text in ("on head look", "slice head", "read fewer", "never returned", ": 1 seed"):
        assert text not in quiet
