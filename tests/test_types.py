"""Training data and requests: prefixes, popularity, rows that are taken together."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark import Ragged
from benchmark.testing import make_requests, make_train


def lists(rows: Ragged) -> list[list[int]]:
    return [rows[i].tolist() for i in range(len(rows))]


class TestPrefixes:
    histories = [[1, 2, 3, 4], [5], [6, 7]]  # noqa: RUF012

    def test_every_prefix_down_to_two_items(self) -> None:
        prefixes = make_train(self.histories).prefixes()
        assert lists(prefixes.histories()) == [[1], [1, 2], [1, 2, 3], [6]]
        assert prefixes.targets.tolist() == [2, 3, 4, 7]
        assert lists(prefixes.histories(np.array([3, 1]))) == [[6], [1, 2]]
        assert len(prefixes) == 4

    def test_the_cap_on_histories_keeps_the_newest_items(self) -> None:
        prefixes = make_train(self.histories, max_history=2).prefixes()
        assert lists(prefixes.histories()) == [[1], [1, 2], [2, 3], [6]]
        assert prefixes.targets.tolist() == [2, 3, 4, 7]

    def test_the_cap_on_prefixes_keeps_the_newest_targets(self) -> None:
        prefixes = make_train(self.histories, max_prefixes_per_user=2).prefixes()
        assert lists(prefixes.histories()) == [[1, 2], [1, 2, 3], [6]]
        assert prefixes.targets.tolist() == [3, 4, 7]

    def test_popularity_counts_the_tasks_own_training_data(self) -> None:
        train = make_train([[1, 2, 1], [2]], {"a": [9], "b": [9, 1]})
        assert train.popularity("recommendation").tolist() == [0, 2, 2, 0, 0, 0, 0, 0, 0, 0]
        assert train.popularity("search").tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0, 2]


def test_taking_rows_of_requests() -> None:
    requests = make_requests([[]] * 3, exclude=[[1], [2], [3]], candidates=[[4], [5], [6]])
    part = requests.take([2, 0])
    assert part.ids.tolist() == ["r2", "r0"]
    assert lists(part.exclude) == [[3], [1]]
    assert part.candidates is not None
    assert lists(part.candidates) == [[6], [4]]
    assert part.keys.tolist() == [requests.keys[2], requests.keys[0]]


@pytest.mark.parametrize(("protocol", "read"), [(None, 20), (50, 20), (5, 5)])
def test_a_model_reads_no_more_of_a_history_than_the_protocol_leaves(protocol: int | None, read: int) -> None:
    assert make_train(max_history=protocol).capped(20) == read
