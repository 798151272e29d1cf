from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import asked, histories, named, random_logs

from benchmark import BenchmarkError, Log, Task
from benchmark.data.protocol import Protocol, Sampler
from benchmark.data.split import split_log
from benchmark.testing import make_catalog, make_log

# u0 has five interactions, given out of order; u1 three; u2 two, which is too few to be tested
LOG = make_log([(0, 3, 40), (0, 0, 10), (0, 1, 20), (0, 2, 30), (0, 4, 50), (1, 1, 5), (1, 2, 6), (1, 0, 7),
                (2, 0, 1), (2, 1, 2)], catalog=make_catalog([""] * 5, year=range(5)))  # fmt: skip


def test_leave_one_out_tests_the_last_and_validates_the_one_before() -> None:
    data = split_log("d", LOG, Protocol())
    assert histories(data) == {"u0": ["i0", "i1", "i2"], "u1": ["i1"], "u2": ["i0", "i1"]}
    assert asked(data, data.valid["recommendation"]) == {
        "u:u0": (["i0", "i1", "i2"], ["i3"]),
        "u:u1": (["i1"], ["i2"]),
    }
    assert asked(data, data.test["recommendation"]) == {
        "u:u0": (["i0", "i1", "i2", "i3"], ["i4"]),
        "u:u1": (["i1", "i2"], ["i0"]),
    }
    requests = data.test["recommendation"].requests
    assert [f"u:{data.train.users[row]}" for row in requests.users] == requests.ids.tolist()
    assert data.tasks == ("recommendation",)
    assert data.facts["users_only_in_training"] == 1
    row = data.train.users.tolist().index("u0")
    assert data.train.times[data.train.histories.rows == row].tolist() == [10, 20, 30]
    assert data.train.catalog.attributes["year"].tolist() == [int(str(i)[1:]) for i in data.train.catalog.ids]


def test_ratio_takes_shares_of_each_user_and_one_at_least() -> None:
    log = make_log([(0, i, i) for i in range(10)] + [(1, i, i) for i in range(3)])
    data = split_log("d", log, Protocol(split="ratio", valid_share=0.2, test_share=0.3))
    assert asked(data, data.test["recommendation"])["u:u0"] == ([f"i{i}" for i in range(7)], ["i7", "i8", "i9"])
    assert asked(data, data.valid["recommendation"])["u:u0"] == ([f"i{i}" for i in range(5)], ["i5", "i6"])
    assert asked(data, data.test["recommendation"])["u:u1"] == (["i0", "i1"], ["i2"])
    assert histories(data)["u1"] == ["i0"]


def test_global_time_cuts_everybody_at_the_same_moments() -> None:
    # ten interactions at times 0-9: validation from time 6, test from time 8; u1 appears at 8 and has no history
    log = make_log([(0, t, t) for t in range(8)] + [(0, 8, 9), (1, 1, 8)])
    data = split_log("d", log, Protocol(split="global-time", valid_share=0.2, test_share=0.2))
    assert histories(data) == {"u0": [f"i{i}" for i in range(6)], "u1": []}
    assert asked(data, data.valid["recommendation"]) == {"u:u0": ([f"i{i}" for i in range(6)], ["i6", "i7"])}
    assert asked(data, data.test["recommendation"]) == {"u:u0": ([f"i{i}" for i in range(8)], ["i8"])}
    assert data.facts["users_without_a_request"] == 1
    assert data.facts["leak_share"] == 0


def test_a_given_split_wins() -> None:
    part = np.array([0, 2, 0, 1], dtype=np.int8)
    log = make_log([(0, 0, 1), (0, 1, 2), (0, 2, 3), (0, 3, 4)], interaction_part=part)
    data = split_log("d", log, Protocol())
    assert asked(data, data.valid["recommendation"]) == {"u:u0": (["i0", "i2"], ["i3"])}
    assert asked(data, data.test["recommendation"]) == {"u:u0": (["i0", "i2", "i3"], ["i1"])}
    judged = [(q, q % 3, 1.0) for q in range(4)]
    log = make_log([], judged, query_part=np.array([2, 0, 1, 0], dtype=np.int8))
    data = split_log("d", log, Protocol())
    assert data.test["search"].requests.ids.tolist() == ["q:q0"]
    assert data.valid["search"].requests.ids.tolist() == ["q:q2"]
    assert sorted(data.train.queries) == ["query 1", "query 3"]


def test_queries_are_disjoint_and_keep_their_grades() -> None:
    judged = [(q, i, 1.0 + i) for q in range(20) for i in range(3)] + [(20, 0, 0.0), (3, 1, 1.0)]
    data = split_log("d", make_log([], judged), Protocol(valid_share=0.1, test_share=0.2))
    test, valid = data.test["search"], data.valid["search"]
    assert (len(data.train.queries), len(valid.requests), len(test.requests)) == (14, 2, 4)
    texts = [*data.train.queries, *valid.requests.queries, *test.requests.queries]
    assert sorted(texts) == sorted(f"query {q}" for q in range(20))  # query 20 has no relevant item
    assert data.facts["queries_without_relevant_item_dropped"] == 1
    assert test.relevant.grades is not None
    for i in range(4):
        assert test.relevant.grades[test.relevant.rows == i].tolist() == [
            1.0 + int(name[1:]) for name in named(data, test.relevant, i)
        ]
    assert test.requests.users.tolist() == [-1] * 4
    assert test.requests.histories.lengths.tolist() == [0] * 4


def test_a_random_ratio_takes_any_of_a_users_items_and_each_once() -> None:
    rows = [(u, (u + i) % 30, i) for u in range(40) for i in (*range(10), 0)]  # everybody has the first item twice
    options = Protocol(split="random-ratio", valid_share=0.2, test_share=0.3)
    data = split_log("d", make_log(rows), options)
    assert data.facts["repeated_rows_dropped"] == 40
    places = np.zeros(10)
    for request, (history, items) in asked(data, data.test["recommendation"]).items():
        assert len(history) == 7
        assert len(items) == 3
        assert not set(history) & set(items)
        places[[(int(item[1:]) - int(request[3:])) % 30 for item in items]] += 1
    assert places.min() > 3  # the oldest item is tested as the newest is: 12 of 40 users are expected for each
    assert [len(items) for items in histories(data).values()] == [5] * 40
    assert data.facts["split_recommendation"] == "random-ratio"
    assert not {"leak_share", "tied_target_share"} & data.facts.keys()  # no moment, no leak of the future
    back = make_log(rows[::-1])
    assert split_log("d", back, options).digest == data.digest
    other = split_log("d", back, options.model_copy(update={"seed": 1}))
    assert asked(other, other.test["recommendation"]) != asked(data, data.test["recommendation"])


def test_without_times_none_is_invented() -> None:
    facts = split_log("d", replace(LOG, has_times=False, ties="file"), Protocol()).facts
    assert facts["has_times"] is False
    assert not {"leak_share", "tied_time_share", "tied_target_share"} & facts.keys()
    assert split_log("d", LOG, Protocol()).facts["has_times"] is True
    with pytest.raises(BenchmarkError, match="in which order things happened, not when"):
        split_log("d", replace(LOG, has_times=False), Protocol(split="global-time"))


def test_targets_that_never_train_can_be_dropped() -> None:
    # Everybody ends with an own item, but u3 with i0; so has q3.
    early = [(u, (u + i) % 4, i) for u in range(4) for i in range(4)]
    late = [(0, 10, 9), (1, 11, 9), (2, 12, 9), (3, 0, 9)]
    log = make_log([*early, *late], [(q, q % 2 if q != 3 else 13, 1.0) for q in range(20)])
    parts = np.array([2 if q in (3, 4) else 1 if q == 5 else 0 for q in range(20)], dtype=np.int8)
    log = replace(log, query_part=parts)
    whole = split_log("d", log, Protocol())
    data = split_log("d", log, Protocol(drop_untrained_targets=True))
    assert len(whole.test["recommendation"].requests) == 4
    assert asked(data, data.test["recommendation"]) == {"u:u3": (["i3", "i0", "i1", "i2"], ["i0"])}
    assert data.test["search"].requests.ids.tolist() == ["q:q4"]
    assert data.facts["untrained_targets_dropped_recommendation"] == 3
    assert data.facts["untrained_targets_dropped_search"] == 1
    assert data.facts["test_items_not_in_training_recommendation"] == 0
    assert data.facts["queries"] == 20


def test_all_topics_can_be_tested() -> None:
    data = split_log("d", make_log([], [(q, q, 1.0) for q in range(2)]), Protocol(split="all-test"))
    assert sorted(data.test["search"].requests.ids) == ["q:q0", "q:q1"]
    assert (len(data.train.queries), len(data.valid["search"].requests)) == (0, 0)
    assert data.facts["split_search"] == "all-test"
    assert (data.facts["queries"], data.facts["test_requests_search"]) == (2, 2)
    with pytest.raises(BenchmarkError, match="has interactions, and `split: all-test` would leave none"):
        split_log("d", LOG, Protocol(split="all-test"))


def test_seen_items_are_excluded_beyond_the_cap_and_are_no_answers() -> None:
    # User 1 gets i1 again at the end: with seen items masked nobody can answer that, so it is not asked.
    log = make_log([(0, 0, 0), (0, 1, 1), (0, 2, 2), (0, 3, 3), (0, 4, 4), (1, 1, 0), (1, 0, 1), (1, 2, 2), (1, 1, 3)])
    capped = Protocol(max_history=2, mask_seen=True)
    requests = split_log("d", log, capped).test["recommendation"].requests
    data = split_log("d", log, capped)
    assert named(data, requests.histories, 0) == ["i2", "i3"]
    assert sorted(named(data, requests.exclude, 0)) == ["i0", "i1", "i2", "i3"]
    assert len(requests) == 1
    open_ = split_log("d", log, Protocol(max_history=None))
    asked_open = asked(open_, open_.test["recommendation"])
    assert asked_open == {"u:u0": (["i0", "i1", "i2", "i3"], ["i4"]), "u:u1": (["i1", "i0", "i2"], ["i1"])}
    assert open_.test["recommendation"].requests.exclude.lengths.tolist() == [0, 0]
    assert len({data.digest, open_.digest, split_log("d", log, Protocol()).digest}) == 3


def test_unseen_items_occur_only_as_test_targets() -> None:
    log = make_log([(u, (u + step) % 10, step) for u in range(10) for step in range(5)])
    data = split_log("d", log, Protocol(unseen_share=0.2))
    n = len(data.train.catalog)
    unseen = np.flatnonzero(data.train.popularity("recommendation") == 0)
    assert len(unseen) == 2
    test, valid = data.test["recommendation"], data.valid["recommendation"]
    for rows in (data.train.histories, valid.requests.histories, valid.relevant, test.requests.histories):
        assert not np.isin(rows.values, unseen).any()
    assert sorted(test.relevant.values.tolist()) == list(range(n))  # each item is the target of one user, as before
    assert data.facts["test_items_not_in_training_recommendation"] == 2
    assert (data.facts["repeated_rows_dropped"], data.facts["rows_hidden"]) == (0, 8)  # of 5 per item, 4 are no target
    same = split_log("d", log, Protocol(unseen_share=0.2))
    assert same.digest == data.digest != split_log("d", log, Protocol()).digest
    assert len(split_log("d", log, Protocol()).train.histories.values) == 30
    asked = make_log([(0, 0, 1), (0, 1, 2), (0, 2, 3)], [(0, 1, 1), (1, 2, 1), (2, 0, 1)])
    with pytest.raises(BenchmarkError, match="has queries"):
        split_log("d", asked, Protocol(unseen_share=0.5))


def test_leak_share_is_the_training_that_is_later_than_the_request() -> None:
    # u0 is asked at time 3; of the two training rows the other user's, at time 10, is later. u1 is asked at 12.
    log = make_log([(0, 0, 1), (0, 1, 2), (0, 2, 3), (1, 0, 10), (1, 1, 11), (1, 2, 12)])
    assert split_log("d", log, Protocol()).facts["leak_share"] == pytest.approx((1 / 2 + 0) / 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"interaction_part": np.array([0, 1, 0], dtype=np.int8)}, r"the test part of recommendation is empty"),
        (
            {"user": np.array([0, 0, 1], dtype=np.int32), "users": np.array(["a", "b"], dtype=object)},
            r"validation part .* is empty",
        ),
    ],
)
def test_a_part_without_a_request_is_refused(changes: dict[str, Any], message: str) -> None:
    log = make_log([(0, 0, 1), (0, 1, 2), (0, 2, 3)])
    with pytest.raises(BenchmarkError, match=message):
        split_log("d", replace(log, **changes), Protocol())


def test_too_little_is_refused() -> None:
    with pytest.raises(BenchmarkError, match="neither interactions nor a query"):
        split_log("d", make_log([], [(0, 0, 0.0)]), Protocol())
    with pytest.raises(BenchmarkError, match="2 queries with a relevant item"):
        split_log("d", make_log([], [(0, 0, 1.0), (1, 0, 1.0)]), Protocol())


def test_candidate_lists_are_not_part_of_the_split() -> None:
    listed = Protocol(candidates={"recommendation": [Sampler(kind="uniform", n=2)]})
    plain, data = (split_log("d", LOG, protocol) for protocol in (Protocol(), listed))
    assert (data.digest, data.facts) == (plain.digest, plain.facts)
    assert {"mask_seen", "seed"} <= plain.facts.keys()


@settings(max_examples=40, deadline=None)
@given(random_logs(), st.sampled_from(["leave-one-out", "ratio"]), st.integers(1, 4), st.booleans())
def test_whatever_the_log(log: Log, split: Any, cap: int, mask_seen: bool) -> None:
    options = Protocol(split=split, max_history=cap, mask_seen=mask_seen, valid_share=0.2, test_share=0.2)
    data = split_log("d", log, options)
    given_pairs = set(zip(log.users[log.user], log.catalog.ids[log.item], strict=True))
    train = {(u, i) for u, items in histories(data).items() for i in items}
    answers: dict[str, set[tuple[str, str]]] = {}
    for part, splits in (("valid", data.valid), ("test", data.test)):
        requests, relevant = splits["recommendation"].requests, splits["recommendation"].relevant
        assert (requests.histories.lengths >= 1).all()
        assert (requests.histories.lengths <= cap).all()
        for request, (history, items) in asked(data, splits["recommendation"]).items():
            assert not set(history) & set(items)
            answers.setdefault(part, set()).update((request[2:], item) for item in items)
        excluded = set(zip(requests.exclude.rows, requests.exclude.values, strict=True))
        assert not excluded & set(zip(relevant.rows, relevant.values, strict=True))
        if mask_seen:
            assert set(zip(requests.histories.rows, requests.histories.values, strict=True)) <= excluded
    assert train | answers["valid"] | answers["test"] == given_pairs
    assert not train & answers["valid"]
    assert not train & answers["test"]
    assert not answers["valid"] & answers["test"]
    texts = [*data.train.queries, *data.valid["search"].requests.queries, *data.test["search"].requests.queries]
    assert sorted(texts) == sorted(log.queries)


@pytest.mark.parametrize("task", ["recommendation", "search"])
def test_one_half_is_enough(task: Task) -> None:
    log = (
        make_log([(0, i, i) for i in range(4)])
        if task == "recommendation"
        else make_log([], [(q, q, 1.0) for q in range(3)])
    )
    data = split_log("d", log, Protocol())
    assert data.tasks == (task,)
    assert data.train.popularity("search").sum() == (1 if task == "search" else 0)
