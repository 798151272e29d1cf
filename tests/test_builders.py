"""Data for tests that is written as lists."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from benchmark import PAD, Ragged, builders, top_k
from benchmark.data.protocol import Protocol
from benchmark.data.split import split_log
from benchmark.testing import make_catalog, make_log, make_requests, make_train


def test_the_examples_are_true() -> None:
    assert doctest.testmod(builders).failed == 0


def test_training_data_has_as_many_items_as_occur_and_counts_them() -> None:
    train = make_train([[1, 4], []], {"red": [2], "blue": []}, max_history=3)
    assert (train.users.tolist(), train.catalog.ids.tolist()) == (["u0", "u1"], ["i0", "i1", "i2", "i3", "i4"])
    assert train.queries.tolist() == ["red", "blue"]
    assert train.popularity("recommendation").tolist() == [0, 1, 0, 0, 1]
    assert train.popularity("search").tolist() == [0, 0, 1, 0, 0]
    assert (train.times.tolist(), train.max_history) == ([0, 1], 3)
    assert len(make_train().catalog) == len(make_train().prefixes()) == 0
    assert make_train(catalog=make_catalog(["a", "b"])).popularity("search").tolist() == [0, 0]


def test_requests_are_about_what_they_have() -> None:
    assert make_requests([[1], []]).task == "recommendation"
    search = make_requests(queries=["red", "blue"], exclude=[[0], []], candidates=Ragged.from_rows([[0, 1], [2]]))
    assert (search.task, search.ids.tolist(), search.users.tolist()) == ("search", ["r0", "r1"], [-1, -1])
    assert top_k(np.zeros((2, 3)), search, 2).items.tolist() == [[1, PAD], [2, PAD]]
    assert make_requests([[1]], ["red"], users=[7]).histories[0].tolist() == [1]
    assert len(make_requests()) == len(make_requests(queries=[])) == 0


def test_columns_that_are_not_aligned_are_named() -> None:
    with pytest.raises(ValueError, match="there are 1 requests, and queries has 2 rows"):
        make_requests([[1]], ["red", "blue"])
    with pytest.raises(ValueError, match="there are 2 requests, and exclude has 1 rows"):
        make_requests([[1], [2]], exclude=[[0]])


def test_a_log_is_split_as_any_other() -> None:
    visits = [(user, item, 10 * item) for user in range(2) for item in range(4)]
    data = split_log("lists", make_log(visits, [(query, query, 1.0) for query in range(4)]), Protocol())
    assert sorted(data.train.users) == ["u0", "u1"]
    assert sorted(data.train.catalog.ids) == ["i0", "i1", "i2", "i3"]
    assert data.tasks == ("recommendation", "search")
    joint = make_log(visits, searches=[(2, 0, 4, 5), (0, 1, -1, 50)], queries=["red", "blue"])
    assert (joint.users.tolist(), len(joint.catalog)) == (["u0", "u1", "u2"], 5)
    assert joint.searches is not None
    assert joint.searches.item.tolist() == [4, -1]
