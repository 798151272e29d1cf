"""Joint logs: one order for clicks and searches, and no target in its own history, by literals and by a property."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import shuffled

from benchmark import PAD, QUERY, RECOMMENDED, SEARCHED, BenchmarkError, Dataset, Events, Log, Searches, Split
from benchmark.data.normal_form import in_normal_order
from benchmark.data.protocol import Protocol
from benchmark.data.split import split_log
from benchmark.data.timeline import SearchRows, timeline
from benchmark.results.datasets import load_dataset, save_dataset
from benchmark.testing import make_catalog, make_log

NAMES = {RECOMMENDED: "click", QUERY: "query", SEARCHED: "found"}


def joint_log(clicks: list[tuple[int, int, int]], searches: list[tuple[int, int, int, int]]) -> Log:
    """`clicks` are (user, item, time), `searches` (user, query, item, time), item -1 for no click."""
    queries = [f"words {q}" for q in range(8)]
    return make_log(clicks, searches=searches, catalog=make_catalog([""] * 40), queries=queries)


def copied(users: int = 4, length: int = 6) -> Log:
    """Every click is also the click of a search at the same time, as in the semi-synthetic Amazon data."""
    clicks = [(u, (7 * u + t) % 40, 100 * t) for u in range(users) for t in range(length)]
    return joint_log(clicks, [(u, i % 8, i, t) for u, i, t in clicks])


def spell(data: Dataset, events: Events, row: int) -> list[str]:
    """A history in words: "click i3", "query words 1", "found i3"."""
    span = slice(events.offsets[row], events.offsets[row + 1])
    names = {True: events.queries, False: data.train.catalog.ids}
    return [f"{NAMES[k]} {names[k == QUERY][v]}" for k, v in zip(events.kind[span], events.value[span], strict=True)]


def request_of(data: Dataset, split: Split, user: str) -> int:
    (row,) = np.flatnonzero(split.requests.users == np.flatnonzero(data.train.users == user)[0])
    return int(row)


def test_what_a_purchase_logged_twice_becomes() -> None:
    data = split_log("copies", copied(), Protocol())
    # User 0 bought i0 … i5, each through the query of its number: the last tests both tasks, the one before validates.
    before = [word for i in range(4) for word in (f"query words {i}", f"found i{i}", f"click i{i}")]
    assert data.train.events is not None
    row = int(np.flatnonzero(data.train.users == "u0")[0])
    assert spell(data, data.train.events, row) == before
    assert list(data.train.catalog.ids[data.train.histories[row]]) == ["i0", "i1", "i2", "i3"]
    for task, name in (("recommendation", "u:u0"), ("search", "s:u0:5")):
        split = data.test[task]  # type: ignore[index]
        r = request_of(data, split, "u0")
        assert split.requests.ids[r] == name
        assert list(data.train.catalog.ids[split.relevant[r]]) == ["i5"]
        assert split.requests.events is not None
        assert spell(data, split.requests.events, r) == [*before, "query words 4", "found i4", "click i4"]
        assert list(data.train.catalog.ids[split.requests.histories[r]]) == ["i0", "i1", "i2", "i3", "i4"]
        valid = data.valid[task]  # type: ignore[index]
        r = request_of(data, valid, "u0")
        assert valid.requests.events is not None
        assert spell(data, valid.requests.events, r) == before
    assert data.test["search"].requests.queries[request_of(data, data.test["search"], "u0")] == "words 5"
    assert data.facts["searches_that_copy_an_interaction"] == 1.0


def test_the_newest_of_a_history_are_counted_by_kind() -> None:
    # click 1, search "a" (2, 3), click 4, search "b" (5), click 6, click 7
    kind = [RECOMMENDED, QUERY, SEARCHED, SEARCHED, RECOMMENDED, QUERY, SEARCHED, RECOMMENDED, RECOMMENDED]
    events = Events(
        offsets=np.array([0, 9]),
        kind=np.array(kind, dtype=np.int8),
        value=np.array([1, 0, 2, 3, 4, 1, 5, 6, 7], dtype=np.int32),
        queries=np.array(["a", "b"], dtype=object),
        end=np.array([0, 1, 1, 1, 4, 5, 5, 7, 8]),
    )
    assert list(events.newest(2, 1).value) == [1, 5, 6, 7]
    assert list(events.newest(1, None).value) == [0, 2, 3, 1, 5, 7]
    assert list(events.newest(0, 0).value) == []
    assert list(events.queries_of([2, 3, 6])) == [0, 0, 1]
    past = events.histories([8, 3, 6], clicks=2, searches=1)
    assert [list(past.value[a:b]) for a, b in zip(past.offsets, past.offsets[1:], strict=False)] == [
        [4, 1, 5, 6],
        [1],
        [1, 0, 2, 3, 4],
    ]
    assert list(past.end) == [0, 1, 1, 3, 4, 5, 6, 6, 6, 9]  # positions in `past`, whose last rows begin at 4 and 5


def test_a_history_of_training_ends_before_the_moment_of_its_target() -> None:
    data = split_log("copies", copied(), Protocol())
    train, row = data.train, int(np.flatnonzero(data.train.users == "u0")[0])
    assert train.events is not None
    for kind in (RECOMMENDED, SEARCHED, QUERY):
        at = train.event_targets(kind)
        at = at[train.events.rows[at] == row]
        lengths = train.events.histories(at).lengths
        # i0 has no history, so it is no target of recommendation; a search needs none.
        assert list(lengths) == ([3, 6, 9] if kind == RECOMMENDED else [0, 3, 6, 9])


def test_leaky_leaves_copies_in_some_histories() -> None:
    log = copied(users=12)
    leaky = split_log("copies", log, Protocol(leaky=True))
    honest = split_log("copies", log, Protocol())
    assert honest.digest != leaky.digest
    assert "own history" in leaky.facts["remark"]
    assert "remark" not in honest.facts
    inside = {}
    for name, data in (("leaky", leaky), ("honest", honest)):
        for task in ("recommendation", "search"):
            split = data.test[task]  # type: ignore[index]
            inside[name, task] = sum(target_in_history(split, row) for row in range(len(split.requests)))
    assert inside["honest", "recommendation"] == inside["honest", "search"] == 0
    assert 0 < inside["leaky", "recommendation"] < 12
    assert 0 < inside["leaky", "search"] < 12


def target_in_history(split: Split, row: int) -> bool:
    events = split.requests.events
    assert events is not None
    span = slice(events.offsets[row], events.offsets[row + 1])
    items = events.value[span][events.kind[span] != QUERY]
    return bool(np.isin(split.relevant[row], [*items, *split.requests.histories[row]]).any())


@st.composite
def logs(draw: st.DrawFn) -> Log:
    """Users who have every item once; some clicks are searches too, within three seconds, and days hold several
    things."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    copies, days = draw(st.sampled_from([0.0, 0.5, 1.0])), draw(st.sampled_from([2, 5, 50]))
    late = draw(st.sampled_from([0, 3]))
    clicks, searches = [], []
    for user in range(12):
        items = rng.permutation(40)[: rng.integers(4, 15)]
        for item in items:
            time, query = int(rng.integers(days)), int(rng.integers(8))
            kind = rng.random()
            if kind < 0.7:
                clicks.append((user, int(item), time))
            if kind >= 0.7 or rng.random() < copies:
                searches.append((user, query, int(item), time + int(rng.integers(late + 1))))
        searches.append((user, int(rng.integers(8)), PAD, int(rng.integers(days))))
    return joint_log(clicks, searches)


@settings(max_examples=60, deadline=None)
@given(logs(), st.sampled_from(["leave-one-out", "ratio", "global-time"]), st.booleans())
def test_no_target_is_in_its_own_history(log: Log, split: Any, mask_seen: bool) -> None:
    try:
        options = Protocol(split=split, test_share=0.2, mask_seen=mask_seen, copies_within=3)
        data = split_log("random", log, options)
    except BenchmarkError:  # too little happened before the cut
        return
    events = data.train.events
    assert events is not None
    for kind in (RECOMMENDED, SEARCHED):
        at = data.train.event_targets(kind)
        past = events.histories(at)
        same = (past.value == events.value[at][past.rows]) & (past.kind != QUERY)
        assert not same.any()
    # What a user is asked for is in no training data of that user, and in no history of the same part.
    asked = {
        part: set().union(*(pairs(s.requests.users, s.relevant.rows, s.relevant.values) for s in splits.values()))
        for part, splits in (("valid", data.valid), ("test", data.test))
    }
    clicked = events.kind != QUERY
    trained = pairs(np.arange(12), events.rows[clicked], events.value[clicked])
    assert not trained & (asked["valid"] | asked["test"])
    for part, splits in (("valid", data.valid), ("test", data.test)):
        for requests in (task.requests for task in splits.values()):
            past = requests.events
            assert past is not None
            clicked = past.kind != QUERY
            read = pairs(requests.users, past.rows[clicked], past.value[clicked])
            read |= pairs(requests.users, requests.histories.rows, requests.histories.values)
            assert not read & asked[part]
            assert part == "test" or not read & asked["test"]


@settings(max_examples=20, deadline=None)
@given(logs(), st.integers(0, 4))
def test_a_history_is_what_happened_before_the_earliest_of_its_moment(log: Log, within: int) -> None:
    line = timeline(log := in_normal_order(log, 0), rows := SearchRows.of(log), copies_within=within)
    time = np.concatenate([log.time, rows.time])[line.unit]
    for group in range(int(line.group.max()) + 1):
        members = np.flatnonzero(line.group == group)
        assert np.array_equal(members, np.arange(members[0], members[-1] + 1))  # a moment is in one piece
        assert set(line.events.end[members]) == {members[0]}
        assert set(line.time[members]) == {time[members].min()}
    same_user = line.events.rows[1:] == line.events.rows[:-1]
    assert (np.diff(line.time)[same_user] >= 0).all()


def test_chains_of_near_times_are_one_moment_and_a_second_more_is_another() -> None:
    # User 0 meets item 5 at 10 (click), 12 and 14 (searches), and again at 17; between them item 6 at 11.
    rest = [(u, 20 + t, 100 * t + 100) for u in range(3) for t in range(4)]
    near = [(0, 5, 10), (0, 6, 11), (0, 5, 17)]
    searches = [(0, 1, 5, 12), (0, 2, 5, 14), *((u, t, 30 + t, 100 * t + 50) for u in range(3) for t in range(3))]
    log = in_normal_order(joint_log([*near, *rest], searches), 0)
    for within, moments in ((0, 5), (1, 5), (2, 3), (3, 2)):
        line = timeline(log, SearchRows.of(log), copies_within=within)
        early = np.isin(line.group, line.group[(line.time < 20)])
        assert len(np.unique(line.group[early])) == moments, within
    data = split_log("chain", log, Protocol(copies_within=2))
    assert data.train.events is not None
    row = int(np.flatnonzero(data.train.users == "u0")[0])
    words = spell(data, data.train.events, row)
    assert words[:6] == ["query words 1", "found i5", "query words 2", "found i5", "click i5", "click i6"]


def test_the_shares_of_a_leak_are_counted() -> None:
    """Every purchase is searched one second earlier: the copy of the last one stands in the history of the test."""
    clicks = [(u, (7 * u + t) % 40, 100 * t) for u in range(4) for t in range(1, 7)]
    log = joint_log(clicks, [(u, i % 8, i, t - 1) for u, i, t in clicks])
    facts = split_log("late", log, Protocol()).facts
    # Recommendation reads the search before; the search reads what came before it, and its item is new.
    assert facts["target_in_history_share_recommendation"] == 0  # the search of the target is itself a test
    assert facts["near_copies"] == 24
    joined = split_log("late", log, Protocol(copies_within=1)).facts
    assert joined["near_copies"] == 0
    assert joined["searches_that_copy_an_interaction"] == 1
    # Searches later, for something else: now the copy of the last purchase validates, or even trains (users 2 and 3).
    later = [(u, 1, 39 - u, 900) for u in range(4)] + [(u, 1, 35 - u, 800) for u in (2, 3)]
    log = joint_log(clicks, [*((u, i % 8, i, t - 1) for u, i, t in clicks), *later])
    apart = split_log("late", log, Protocol()).facts
    assert apart["target_in_history_share_recommendation"] == 1
    assert apart["target_in_history_share_search"] == 0
    assert apart["test_pairs_in_training_share_recommendation"] == 1 / 2
    joined = split_log("late", log, Protocol(copies_within=1)).facts
    assert joined["target_in_history_share_recommendation"] == joined["target_in_history_share_search"] == 0
    assert joined["test_pairs_in_training_share_recommendation"] == 0


def test_test_pairs_that_training_holds_are_counted() -> None:
    # Users 0 and 1 click i0 … i4, then i0 again, which they had; all search "words 1" and find i9 each time.
    clicks = [(u, i, 10 * i) for u in range(4) for i in range(5)] + [(u, 0 if u < 2 else 9, 50) for u in range(4)]
    searches = [(u, 1, 9 if t < 3 or u == 3 else 8, 1000 * t + u) for u in range(4) for t in range(4)]
    facts = split_log("again", joint_log(clicks, searches), Protocol()).facts
    assert facts["test_pairs_in_training_share_recommendation"] == 1  # i0 by a click, i9 by a search
    assert facts["test_pairs_in_training_share_search"] == 1 / 4  # i8 was never found with these words
    assert facts["test_users_items_in_training_share_search"] == 1 / 4
    assert facts["target_in_history_share_recommendation"] == 1


def pairs(users: Any, rows: Any, items: Any) -> set[tuple[int, int]]:
    """(user, item) of items in the rows of requests."""
    return set(zip(users[rows].tolist(), items.tolist(), strict=True))


def test_what_happens_at_one_time_is_held_out_for_both_tasks_alike() -> None:
    # Everything is logged at one time: which purchase is the last is the same in both streams.
    clicks = [(u, (7 * u + t) % 40, 5) for u in range(12) for t in range(6)]
    data = split_log("one day", joint_log(clicks, [(u, i % 8, i, t) for u, i, t in clicks]), Protocol())
    both = [data.test[task] for task in ("recommendation", "search")]  # type: ignore[index]
    assert [len(split.requests) for split in both] == [12, 12]
    for user in range(12):
        purchase, found = (set(s.relevant[int(np.flatnonzero(s.requests.users == user)[0])].tolist()) for s in both)
        assert purchase <= found


def test_the_order_of_the_file_does_not_matter() -> None:
    log = copied()
    digest = split_log("x", log, Protocol()).digest
    assert split_log("x", shuffled(log, 0), Protocol()).digest == digest


def test_several_clicks_of_one_search_are_one_request() -> None:
    clicks = [(u, i, 10 * i) for u in range(4) for i in range(4)]
    searches = [(u, q, 20 + q, 10 * q + 5) for u in range(4) for q in range(3)]
    searches += [(u, 3, item, 100) for u in range(4) for item in (30, 31)]
    data = split_log("several", joint_log(clicks, searches), Protocol())
    split = data.test["search"]
    assert [len(row) for row in (split.relevant[r] for r in range(len(split.requests)))] == [2, 2, 2, 2]
    assert data.facts["searches"] == 16
    assert data.facts["search_clicks"] == 20


def test_a_joint_data_set_is_read_as_it_was_written(tmp_path: Path) -> None:
    data = split_log("copies", copied(), Protocol())
    save_dataset(tmp_path, data)
    again = load_dataset(tmp_path)
    both = [(data.train.events, again.train.events)]
    both += [(s.requests.events, again.test[t].requests.events) for t, s in data.test.items()]
    for mine, read in both:
        assert mine is not None
        assert read is not None
        for name in ("offsets", "kind", "value", "queries", "end"):
            np.testing.assert_array_equal(getattr(mine, name), getattr(read, name))


def test_what_is_kept_out_of_training_is_not_counted_as_training() -> None:
    """Users buy seven things and search for the first five: the last two searches take a purchase each with them."""
    clicks = [(u, 7 * u + t, 100 * t) for u in range(4) for t in range(7)]
    log = joint_log(clicks, [(u, i % 8, i, t) for u, i, t in clicks if t < 500])
    facts = split_log("fewer", log, Protocol()).facts
    assert facts["train_interactions"] == 4 * 3
    assert facts["train_searches"] == 4 * 3
    assert facts["targets_dropped_as_copies"] == 0
    leaky = split_log("all", log, Protocol(leaky=True)).facts
    assert leaky["train_interactions"] == 4 * 5
    assert "searches_that_copy_an_interaction" not in leaky  # nobody looked


def test_too_few_searches_are_called_that() -> None:
    log = joint_log([(u, t, 100 * t) for u in range(4) for t in range(6)], [(u, u, 30 + u, 5) for u in range(4)])
    with pytest.raises(BenchmarkError, match="validation part of search is empty; of a user's searches at least three"):
        split_log("few", log, Protocol())


def test_mistakes_are_named() -> None:
    log = copied()
    assert log.searches is not None
    wrong = Searches(log.searches.user, log.searches.query, np.full_like(log.searches.item, 99), log.searches.time)
    with pytest.raises(BenchmarkError, match=r"'searches.item' is 99 in row 0; allowed: -1 to 39"):
        split_log("wrong", replace(log, searches=wrong), Protocol())
    with pytest.raises(BenchmarkError, match="no searches of users"):
        split_log("none", replace(log, searches=None), Protocol(leaky=True))
    with pytest.raises(BenchmarkError, match="copies_within"):
        split_log("none", replace(log, searches=None), Protocol(copies_within=1))
    with pytest.raises(BenchmarkError, match="whose histories go by time; `split: random-ratio` does not"):
        split_log("joint", log, Protocol(split="random-ratio"))
    with pytest.raises(BenchmarkError, match="unseen_share"):
        split_log("joint", log, Protocol(unseen_share=0.1))
