from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Command

from benchmark.data.protocol import Protocol
from benchmark.data.ragged import Ragged
from benchmark.data.split import split_log
from benchmark.data.types import Log
from benchmark.evaluation.slices import head_items, restrict
from benchmark.results.datasets import load_dataset, save_dataset
from benchmark.testing import checkerboard_log

POPULARITY = np.array([1, 9, 3, 0, 5], dtype=np.int64)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.01, [1]), (0.2, [1]), (0.4, [1, 4]), (0.6, [1, 2, 4]), (0.99, [0, 1, 2, 3, 4])]
)
def test_the_head_is_the_most_popular_share_of_all_items_and_at_least_one(share: float, expected: list[int]) -> None:
    assert np.flatnonzero(head_items(POPULARITY, share)).tolist() == expected


def test_equally_popular_items_at_the_border_are_chosen_by_a_hash_not_by_number() -> None:
    head = np.flatnonzero(head_items(np.full(1000, 7, dtype=np.int64), 0.1))
    assert len(head) == 100
    assert head.tolist() == np.flatnonzero(head_items(np.full(1000, 7, dtype=np.int64), 0.1)).tolist()
    assert 400 < head.mean() < 600
    with_a_star = np.full(1000, 7, dtype=np.int64)
    with_a_star[999] = 8
    assert head_items(with_a_star, 0.1)[999]


def test_a_slice_restricts_relevant_items_and_drops_requests_that_have_none_left() -> None:
    relevant = Ragged.from_lengths([2, 1, 0, 2], [1, 2, 3, 1, 0], [1, 2, 1, 0, 3])  # item 1 has grade 0 in the last row
    rows, answers = restrict(relevant, POPULARITY, "all", 0.2)
    assert rows.tolist() == [0, 1, 3]
    assert [answers[i].tolist() for i in range(3)] == [[1, 2], [3], [0]]
    assert answers.grades is not None
    assert answers.grades.tolist() == [1, 2, 1, 3]
    rows, answers = restrict(relevant, POPULARITY, "head", 0.2)
    assert rows.tolist() == [0]
    assert answers[0].tolist() == [1]
    rows, answers = restrict(relevant, POPULARITY, "torso", 0.2)
    assert rows.tolist() == [0, 1, 3]
    assert [answers[i].tolist() for i in range(3)] == [[2], [3], [0]]
    assert answers.grades.tolist() == [2, 1, 3] if answers.grades is not None else False


def test_head_and_torso_share_out_all_relevant_items() -> None:
    rng = np.random.default_rng(0)
    relevant = Ragged.from_lengths(rng.integers(0, 4, 50), np.empty(0))
    relevant = Ragged(relevant.offsets, rng.integers(0, 30, relevant.offsets[-1]).astype(np.int32))
    popularity = rng.integers(0, 100, 30)
    sizes = [len(restrict(relevant, popularity, name, 0.3)[1].values) for name in ("all", "head", "torso")]
    assert sizes[0] == sizes[1] + sizes[2] == len(relevant.values)


def test_other_day_holds_the_requests_that_are_later_than_their_history_and_none_without_times() -> None:
    relevant = Ragged.from_rows([[1], [2, 3], [4]])
    rows, answers = restrict(relevant, POPULARITY, "other-day", 0.2, np.array([False, True, True]))
    assert rows.tolist() == [1, 2]
    assert [answers[i].tolist() for i in range(2)] == [[2, 3], [4]]
    assert restrict(relevant, POPULARITY, "other-day", 0.2)[0].tolist() == []


def days(*, joint: bool = False) -> Log:
    """A log of which the odd users take their last item at the time of the one before."""
    log = checkerboard_log(joint=joint)
    time = log.time.copy()
    last = np.flatnonzero(np.append(log.user[1:] != log.user[:-1], True) & (log.user % 2 == 1))
    time[last] = time[last - 1]
    searches = None if log.searches is None else replace(log.searches, time=time)
    return replace(log, time=time, searches=searches, ties="file")


@pytest.mark.parametrize("joint", [False, True])
def test_requests_at_the_time_of_their_history_are_told_from_later_ones_and_stored(tmp_path: Path, joint: bool) -> None:
    data = split_log("days", days(joint=joint), Protocol())
    for task, split in data.test.items():
        if task == "search" and not joint:
            assert split.later is None  # nobody asks these queries
            continue
        assert split.later is not None
        odd = np.array([int(str(name).removeprefix("user-")) % 2 for name in data.train.users[split.requests.users]])
        assert split.later.tolist() == (odd == 0).tolist()
        assert split.take([0, 1]).later is not None
    save_dataset(tmp_path, data)
    for task, split in load_dataset(tmp_path).test.items():
        written = data.test[task].later
        assert (None if split.later is None else split.later.tolist()) == (
            None if written is None else written.tolist()
        )
    untimed = split_log("days", replace(checkerboard_log(tasks=["recommendation"]), has_times=False), Protocol())
    assert untimed.test["recommendation"].later is None
    assert split_log("days", days(), Protocol(split="random-ratio")).test["recommendation"].later is None
    assert data.digest != split_log("days", checkerboard_log(joint=joint), Protocol()).digest


SUITE = """
name: days
datasets: [{use: USE, name: Board}]
models: [{use: popular, name: Pop}]
metrics: [R@5]
slices: [all, other-day]
depth: 5
"""


def test_a_run_scores_other_days_where_the_data_has_times_and_says_so_where_it_has_none(
    here: Command, tmp_path: Path
) -> None:
    (tmp_path / "s.yaml").write_text(SUITE.replace("USE", "checkerboard"))
    done = here("run", "s.yaml", "--results", "out", "--tracking", "off")
    assert done.returncode == 0, done.stderr
    report = (tmp_path / "out" / "days" / "leaderboard.md").read_text()
    assert "other-day = later than the newest item of the history" in report
    assert report.count("other-day (n=120)") == 1  # of recommendation alone
    (tmp_path / "s.yaml").write_text(SUITE.replace("USE", "search-only"))
    done = here("check", "s.yaml")
    assert done.returncode == 2
    assert "slice other-day: Board cannot say whether a request is later than its history" in done.stderr
