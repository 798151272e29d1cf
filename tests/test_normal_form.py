"""The normal form of a log: checked, without duplicates, in an order that tells nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import asked, histories, random_logs, shuffled

from benchmark import BenchmarkError, ContractError, Log
from benchmark.data.normal_form import check_log, in_normal_order
from benchmark.data.protocol import Protocol
from benchmark.data.split import split_log
from benchmark.testing import make_log


def test_rows_are_dropped_only_where_user_item_and_time_are_equal() -> None:
    log = make_log([(0, 0, 1), (0, 1, 1), (0, 0, 1), (0, 0, 2), (0, 2, 3), (0, 3, 4)])
    for ties in ("hash", "file"):
        data = split_log("d", replace(log, ties=ties), Protocol())
        assert sorted(histories(data)["u0"]) == ["i0", "i0", "i1"]
        assert data.facts["repeated_rows_dropped"] == 1
        assert data.facts["tied_time_share"] == pytest.approx(2 / 5)


def test_ties_follow_the_file_only_where_asked() -> None:
    log = make_log([(u, i, 7) for u in range(50) for i in (3, 0, 4, 1, 2)])
    data = split_log("d", replace(log, ties="file"), Protocol())
    assert set(map(tuple, histories(data).values())) == {("i3", "i0", "i4")}
    lasts = [answer[1][0] for answer in asked(data, data.test["recommendation"]).values()]
    assert set(lasts) == {"i2"}
    data = split_log("d", log, Protocol())
    lasts = [answer[1][0] for answer in asked(data, data.test["recommendation"]).values()]
    assert set(lasts) == {"i0", "i1", "i2", "i3", "i4"}  # an order by id would leave one
    assert data.facts["tied_target_share"] == 1


def test_times_may_be_any_number() -> None:
    late = 2**62  # user and time no longer fit into one number
    log = make_log([(u, i, t) for u in range(3) for i, t in enumerate((late + 3, 0, late + 1, late + 2))])
    assert histories(split_log("d", log, Protocol()))["u2"] == ["i1", "i2"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time": np.array([1, 2, -3])}, r"'time' is -3 in row 2; allowed: seconds"),
        ({"time": np.array([1, np.nan, 3])}, r"'time' is NaN in row 1"),
        ({"time": np.array([1.0, 2.0, 3.0])}, r"'time' must hold integers, not float64"),
        ({"time": np.array([1, 2])}, r"'time' has 2 rows where 3 belong together"),
        ({"item": np.array([0, 9, 2], dtype=np.int32)}, r"'item' is 9 in row 1; allowed: 0 to 2"),
        ({"user": np.array([0, 0, -1], dtype=np.int32)}, r"'user' is -1 in row 2"),
        ({"users": np.array(["u0", "u0"], dtype=object)}, r"'users' has 1 duplicate ids, such as 'u0'"),
        ({"users": np.array([np.nan, "u1"], dtype=object)}, r"'users' is nan in row 0, which is not a text"),
        ({"interaction_part": np.array([0, 1, 3], dtype=np.int8)}, r"'interaction_part' is 3 in row 2"),
    ],
)
def test_a_bad_log_is_refused_with_its_first_bad_row(changes: dict[str, Any], message: str) -> None:
    log = make_log([(0, 0, 1), (0, 1, 2), (0, 2, 3)])
    with pytest.raises(BenchmarkError, match=message):
        split_log("d", replace(log, **changes), Protocol())


@settings(max_examples=20, deadline=None)
@given(random_logs(), st.integers(0, 99))
def test_the_order_of_the_file_does_not_matter_and_the_seed_does(log: Log, order: int) -> None:
    other = shuffled(log, order)
    digest = split_log("d", log, Protocol()).digest
    assert split_log("another name", other, Protocol()).digest == digest
    assert split_log("d", log, Protocol(seed=1)).digest != digest


def test_the_row_numbers_say_nothing_about_the_order_of_the_items() -> None:
    log = make_log([(u, i, i) for u in range(3) for i in range(200)])
    rows = [int(str(i)[1:]) for i in split_log("d", log, Protocol()).train.catalog.ids]
    assert abs(np.corrcoef(rows, np.arange(200))[0, 1]) < 0.2


def test_a_pair_that_is_judged_twice_keeps_its_best_grade_and_a_query_without_an_answer_is_dropped() -> None:
    log = make_log([(0, 0, 1)], [(0, 0, 1.0), (0, 0, 3.0), (0, 1, 0.0), (1, 1, 0.0), (2, 1, 2.0)])
    ordered = in_normal_order(log, 0)
    answers = zip(ordered.queries[ordered.query], ordered.catalog.ids[ordered.relevant], ordered.grade, strict=True)
    assert sorted(answers) == [("query 0", "i0", 3.0), ("query 2", "i1", 2.0)]
    assert sorted(ordered.queries) == ["query 0", "query 2"]


def test_a_click_that_is_logged_twice_counts_once_and_its_query_stays() -> None:
    log = make_log([(0, 0, 1)], searches=[(0, 1, 0, 5), (0, 1, 0, 5), (0, 1, -1, 4), (0, 1, 0, 6)])
    ordered = in_normal_order(log, 0)
    assert ordered.queries.tolist() == ["query 1"]
    assert ordered.searches is not None
    assert (ordered.searches.time.tolist(), ordered.searches.item.tolist()) == ([4, 5, 6], [-1, 0, 0])


def test_a_random_order_has_no_times_and_depends_on_the_seed_alone() -> None:
    log = make_log([(0, i, i) for i in range(20)])

    def items(log: Log, seed: int) -> list[str]:
        ordered = in_normal_order(log, seed, random=True)
        assert set(ordered.time) == {0}
        return [str(name) for name in ordered.catalog.ids[ordered.item]]

    assert items(log, 0) == items(shuffled(log, 1), 0) != items(log, 1)
    assert sorted(items(log, 0)) == sorted(log.catalog.ids) != items(log, 0)


def test_what_does_not_go_together_is_refused() -> None:
    log = make_log([(0, 0, 1)], searches=[(0, 0, 0, 5)])
    with pytest.raises(ContractError, match="the catalogue has 2 rows of attributes for 1 items"):
        check_log("d", replace(log, catalog=replace(log.catalog, attributes=pd.DataFrame(index=range(2)))))
    with pytest.raises(ContractError, match=r"has `searches` and a `query_part`; its split is that of `searches.part`"):
        check_log("d", replace(log, query_part=np.zeros(1, dtype=np.int8)))
    with pytest.raises(ContractError, match="has `searches` without a row"):
        check_log("d", make_log([(0, 0, 1)], searches=[]))
    with pytest.raises(ContractError, match="'user' must be a numpy array with one axis, not list"):
        check_log("d", replace(log, user=[0]))
