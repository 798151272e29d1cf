"""The split of a joint log of recommendation and search (Shi 2025)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from benchmark.data.digest import digest
from benchmark.data.events import QUERY, RECOMMENDED, SEARCHED, Events
from benchmark.data.facts import interaction_facts, task_facts
from benchmark.data.parts import (
    TEST,
    TRAIN,
    VALID,
    Parts,
    check_parts,
    distinct,
    parts_of,
    recommendation,
    stated_splits,
    trained_only,
)
from benchmark.data.protocol import Protocol
from benchmark.data.ragged import Longs, Ragged
from benchmark.data.timeline import SearchRows, Timeline, compact, near_copies, timeline
from benchmark.data.types import TASKS, Dataset, Log, Requests, Split, Task, Train
from benchmark.errors import BenchmarkError

NEAR = 3600
"""Seconds: a user's search click and other interaction with one item within an hour may be one event logged twice."""


def split_joint(name: str, log: Log, repeated: int, protocol: Protocol) -> Dataset:
    """The data set of a joint log in normal order: as `split_log`, with the searches of users as search requests."""
    if protocol.split in ("all-test", "random-ratio"):
        raise BenchmarkError(
            f"data set '{name}' has searches of users, whose histories go by time; `split: {protocol.split}` does "
            "not. Take leave-one-out, ratio or global-time."
        )
    if protocol.unseen_share:
        raise BenchmarkError(
            f"data set '{name}' has searches, which still show the items that unseen_share hides. Set it to 0."
        )
    searches = SearchRows.of(log)
    line = timeline(log, searches, copies_within=protocol.copies_within, leaky=protocol.leaky)
    part = _joint_parts(log, searches, line, protocol)
    moment = np.zeros(int(line.group.max(initial=-1)) + 1, dtype=np.int8)
    np.maximum.at(moment, line.group, part[line.unit])
    # Drop a target whose copy falls into a later split: training on it would leak that split's answer.
    own, whole = part[line.unit], moment[line.group]
    events = line.events
    trains = events.keep(whole == TRAIN)
    clicks = trains.kind == RECOMMENDED
    searched = trains.positions(SEARCHED)
    query = trains.queries_of(searched)
    pairs = np.unique(query.astype(np.int64) * len(log.catalog) + trains.value[searched])
    queries, row = np.unique(pairs // len(log.catalog), return_inverse=True)
    train = Train(
        catalog=log.catalog,
        users=log.users,
        histories=Ragged.from_lengths(np.bincount(trains.rows[clicks], minlength=len(log.users)), trains.value[clicks]),
        times=line.time[whole == TRAIN][clicks],
        queries=log.queries[queries],
        searches=Ragged.from_pairs(row, pairs % len(log.catalog), len(queries)),
        max_history=protocol.max_history,
        max_prefixes_per_user=protocol.max_prefixes_per_user,
        events=compact(trains),
    )
    splits: dict[int, dict[Task, Split]] = {
        which: {
            "recommendation": _joint_recommendation(log, line, own, whole, which, protocol),
            "search": _joint_search(log, searches, line, own, whole, which, protocol),
        }
        for which in (VALID, TEST)
    }
    valid, test, untrained = splits[VALID], splits[TEST], dict[str, int]()
    if protocol.drop_untrained_targets:
        valid, test, untrained = trained_only(train, valid, test)
    check_parts(name, train, valid, test)
    copies = np.bincount(line.group[events.kind == RECOMMENDED], minlength=len(moment)) > 0
    learned = np.zeros(len(part), dtype=bool)
    learned[line.unit[whole == TRAIN]] = True
    same = _same_items(test, len(log.catalog))
    remarks = [log.facts["remark"]] if log.facts.get("remark") else []
    if log.facts.get("smoke_test"):
        remarks.append(f"for {same:.0%} of the users both tests ask for the same item at the same moment")
    if protocol.leaky:
        remarks.append("leaky protocol: the copy of a target may stand in its own history")
    facts = {
        **log.facts,
        **({"remark": "; ".join(remarks)} if remarks else {}),
        **protocol.split_settings(),
        "items": len(log.catalog),
        "ties": log.ties,
        "has_times": log.has_times,
        "repeated_rows_dropped": repeated,
        **interaction_facts(log, part[: len(log.user)], learned[: len(log.user)], test["recommendation"], timed=True),
        "queries": len(np.unique(searches.query)),
        "searches": len(searches.user),
        "search_clicks": len(searches.clicks.values),
        "train_queries": len(train.queries),
        "train_pairs": len(train.searches.values),
        "train_searches": int((trains.kind == QUERY).sum()),
        "valid_requests_search": len(valid["search"].requests),
        "targets_dropped_as_copies": int(((own > TRAIN) & (whole > own) & (events.kind != QUERY)).sum()),
        "same_item_tested_share": same,
        "near_copies": near_copies(log, searches, protocol.copies_within, NEAR),
        **untrained,
        **task_facts(train, test, stated_splits(log, protocol)),
    }
    if not protocol.leaky:  # which does not look for copies
        facts["searches_that_copy_an_interaction"] = float(copies[line.group[events.kind == QUERY]].mean())
    return Dataset(name, train, valid, test, digest(train, valid, test, protocol), facts)


def _same_items(test: Mapping[Task, Split], n_items: int) -> float:
    """The share of users with a test request whose test requests of both tasks have the same answer."""
    users, items = [], []
    for task in TASKS:
        split = test[task]
        users.append(split.requests.users)
        items.append(split.requests.users[split.relevant.rows].astype(np.int64) * n_items + split.relevant.values)
    both = np.intersect1d(users[0], users[1])
    same = np.intersect1d(items[0], items[1]) // n_items
    return float(np.isin(both, same).mean()) if len(both) else 0.0


def _joint_parts(log: Log, searches: SearchRows, line: Timeline, protocol: Protocol) -> Parts:
    """The split of every interaction, then of every search. A search without a click is not a target: it only trains.

    Both follow the order of the timeline, so that ties of time are ordered alike for both tasks.
    """
    ordered = np.sort(np.concatenate([log.time, searches.time]))
    n = len(log.user)
    parts = np.zeros(n + len(searches.user), dtype=np.int8)
    answers = np.concatenate([np.ones(n, dtype=bool), searches.clicks.lengths > 0])
    user = np.concatenate([log.user, searches.user])
    time = np.concatenate([log.time, searches.time])
    for kind, whole, own_part in (
        (RECOMMENDED, slice(0, n), log.interaction_part),
        (QUERY, slice(n, None), searches.part),
    ):
        if own_part is not None:
            parts[whole] = own_part
            continue
        unit = line.unit[line.events.kind == kind]
        unit = unit[answers[unit]]
        parts[unit] = parts_of(user[unit], time[unit], ordered, len(log.users), protocol)
    return parts


def _joint_recommendation(log: Log, line: Timeline, own: Parts, whole: Parts, which: int, protocol: Protocol) -> Split:
    events = line.events
    target = np.flatnonzero((events.kind == RECOMMENDED) & (own == which) & (whole == which))
    user = events.rows[target]
    relevant = distinct(Ragged.from_pairs(user, events.value[target], len(log.users)), len(log.catalog))
    asking, first = np.unique(user, return_index=True)
    allowed = (whole < which) | (protocol.leaky & (events.kind != RECOMMENDED))
    history = _before(events, target[first], allowed, None)
    items = _items(history)
    kept = np.flatnonzero(items.lengths)
    short = compact(history.take(kept).newest(protocol.max_history, protocol.max_history))
    later = _later(log, line, target[first], allowed)
    later = None if later is None else later[kept]
    return recommendation(log, asking[kept], relevant.take(asking[kept]), items.take(kept), short, later, protocol)


def _joint_search(
    log: Log, searches: SearchRows, line: Timeline, own: Parts, whole: Parts, which: int, protocol: Protocol
) -> Split:
    events, n = line.events, len(log.user)
    asks = np.flatnonzero((events.kind == QUERY) & (own == which) & (whole == which))
    row = line.unit[asks] - n
    answered = searches.clicks.lengths[row] > 0  # a log's own split may also name searches without clicks
    asks, row = asks[answered], row[answered]
    allowed = (whole < which) | (protocol.leaky & (events.kind == RECOMMENDED))
    history = _before(events, asks, allowed, protocol.max_history)
    user = events.rows[asks]
    number = row - np.searchsorted(searches.user, user)  # the search's number among the user's
    requests = Requests(
        task="search",
        ids=np.array([f"s:{u}:{i}" for u, i in zip(log.users[user], number, strict=True)], dtype=object),
        users=user.astype(np.int32),
        histories=_items(history),
        queries=log.queries[events.value[asks]],
        exclude=Ragged.empty(len(asks)),
        events=compact(history),
    )
    return Split(requests, searches.clicks.take(row), later=_later(log, line, asks, allowed))


def _later(log: Log, line: Timeline, positions: Longs, allowed: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """Whether these events are later than the newest of the `allowed` ones (E,) in their histories, true without
    any."""
    if not log.has_times:
        return None
    events, newest = line.events, np.flatnonzero(allowed)
    place = np.searchsorted(newest, events.end[positions]) - 1
    last = newest[np.maximum(place, 0)] if len(newest) else np.zeros(len(positions), dtype=np.int64)
    none = (place < 0) | (last < events.offsets[events.rows[positions]])
    later: NDArray[np.bool_] = none | (line.time[positions] > line.time[last])
    return later


def _before(events: Events, positions: Longs, allowed: NDArray[np.bool_], newest: int | None) -> Events:
    """The histories of these events, only of `allowed` events (E,)."""
    kept = np.concatenate([[0], np.cumsum(allowed)])
    start, stop = kept[events.offsets[events.rows[positions]]], kept[events.end[positions]]
    return events.keep(allowed).between(start, stop, newest, newest)


def _items(events: Events) -> Ragged:
    """The recommended items of histories."""
    clicks = events.kind == RECOMMENDED
    return Ragged.from_lengths(np.bincount(events.rows[clicks], minlength=len(events)), events.value[clicks])
