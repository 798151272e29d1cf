from __future__ import annotations

import numpy as np
import pytest

from benchmark.evaluation.slices import head_items, restrict
from benchmark.types import Ragged

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
