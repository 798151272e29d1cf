"""Rows of varying length as flat arrays."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark import PAD, Ragged
from benchmark.data.ragged import gather


def lists(rows: Ragged) -> list[list[int]]:
    return [rows[i].tolist() for i in range(len(rows))]


class TestRagged:
    rows = Ragged.from_rows([[5, 6, 7], [], [8]])

    def test_two_arrays(self) -> None:
        assert self.rows.offsets.tolist() == [0, 3, 3, 4]
        assert self.rows.values.tolist() == [5, 6, 7, 8]
        assert (str(self.rows.offsets.dtype), str(self.rows.values.dtype)) == ("int64", "int32")
        assert self.rows.lengths.tolist() == [3, 0, 1]
        assert self.rows.rows.tolist() == [0, 0, 0, 2]

    def test_a_row_is_a_view(self) -> None:
        assert np.shares_memory(self.rows[0], self.rows.values)
        assert self.rows[-1].tolist() == [8]
        with pytest.raises(IndexError):
            self.rows[3]

    def test_from_pairs_keeps_the_order_of_each_row(self) -> None:
        made = Ragged.from_pairs([2, 0, 2, 0], [1, 9, 0, 3], 4, grades=[1, 2, 3, 4])
        assert lists(made) == [[9, 3], [], [1, 0], []]
        assert made.grades is not None
        assert made.grades.tolist() == [2, 4, 1, 3]

    def test_no_rows(self) -> None:
        assert len(Ragged.from_rows([])) == 0
        assert lists(Ragged.empty(2)) == [[], []]

    def test_take(self) -> None:
        assert lists(self.rows.take([2, 0, 2, 1])) == [[8], [5, 6, 7], [8], []]

    def test_last(self) -> None:
        assert lists(self.rows.last(2)) == [[6, 7], [], [8]]
        assert lists(self.rows.last(0)) == [[], [], []]

    def test_keep(self) -> None:
        assert lists(self.rows.keep(np.array([True, False, True, False]))) == [[5, 7], [], []]

    def test_grades_go_with_their_values(self) -> None:
        graded = Ragged.from_lengths([2, 1], [5, 6, 7], grades=[1, 2, 3])
        for part, wanted in [
            (graded.take([1, 0]), [3, 1, 2]),
            (graded.last(1), [2, 3]),
            (graded.keep(np.array([False, True, True])), [2, 3]),
        ]:
            assert part.grades is not None
            assert part.grades.tolist() == wanted

    def test_padded(self) -> None:
        assert self.rows.padded(2).tolist() == [[6, 7], [-1, -1], [8, -1]]
        assert self.rows.padded(4, left=True, pad=0).tolist() == [[0, 5, 6, 7], [0, 0, 0, 0], [0, 0, 0, 8]]

    def test_gather(self) -> None:
        assert gather(np.array([10, 0, 4]), np.array([2, 0, 3])).tolist() == [10, 11, 4, 5, 6]


def test_pairs_are_looked_up_in_rows() -> None:
    rows = Ragged.from_rows([[3, 1], [], [2]])
    assert rows.has([0, 0, 1, 2, 2], [1, 2, 1, 2, 9]).tolist() == [True, False, False, True, False]
    assert Ragged.empty(2).has([0, 1], [0, 5]).tolist() == [False, False]
    # Rows of ranked items: padding is in none, not even after the largest item of the row before.
    ranked = [[2, 1], [PAD, 1], [2, PAD]]
    assert rows.has([[0], [1], [2]], ranked).tolist() == [[False, True], [False, False], [True, False]]
