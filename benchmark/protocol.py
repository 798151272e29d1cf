"""The protocol, the same for every model: from a log to training data, validation and test requests."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError
from benchmark.joint_log import SearchRows, Timeline, compact, near_copies, timeline
from benchmark.normal_form import check_log, in_normal_order
from benchmark.types import (
    QUERY,
    RECOMMENDED,
    SEARCHED,
    TASKS,
    Dataset,
    Events,
    Ints,
    Log,
    Longs,
    Ragged,
    Requests,
    Split,
    Task,
    Train,
)

TRAIN, VALID, TEST = 0, 1, 2
NEAR = 3600
"""Seconds: a user's search click and other interaction with one item within an hour may be one event logged twice."""
Parts = NDArray[np.int8]


@dataclass(frozen=True)
class ProtocolSettings:
    """The settings under `protocol:` in a suite.

    `split` divides the interactions: leave-one-out by time (Penha 2024, section 5: test = a user's last, validation =
    the one before), `ratio` of each user's interactions, the newest to test, `random-ratio` of them in random order
    (for logs without times: repeated items of a user count once, and histories have no order), or `global-time` (events
    before one point in time train, for all users). `all-test` is for logs of queries and judgements alone: every query
    is tested, by models without training.

    `unseen_share` of the test items are hidden everywhere else, as if they were new (Rajput 2023, section 4.4.1: 0.05):
    from training, validation, and the histories of test requests. `drop_untrained_targets` removes items that never
    occur in a task's training from its validation and test answers, and requests without any other answer (Penha 2024,
    section 5). `valid_share` and `test_share` are shares
    of interactions (ratio, random-ratio, global-time) and, for search, of the queries, whose training, validation and
    test sets are disjoint. `seed` orders items and partitions queries.

    In a joint log, searches and interactions are split in the same way, separately: a user's last search is a test
    request. No history contains events of its own or a later split; training data contains no copy of a validation or
    test target. An interaction and a click of a search are copies if they have the same user and item and are at most
    `copies_within` seconds apart (0: simultaneous); see `joint_log`. `leaky` ignores copies between the tasks, as the
    public pipeline of Shi 2025 does, to measure their effect.
    """

    split: Literal["leave-one-out", "ratio", "random-ratio", "global-time", "all-test"] = "leave-one-out"
    max_history: int | None = 50
    max_prefixes_per_user: int | None = None
    valid_share: float = 0.1
    test_share: float = 0.1
    unseen_share: float = 0.0
    drop_untrained_targets: bool = False
    mask_seen: bool = False
    copies_within: int = 0
    leaky: bool = False
    seed: int = 0


def split_log(name: str, log: Log, settings: ProtocolSettings) -> Dataset:
    """The data set that every model sees; it does not depend on the order of the log's items, users and queries.

    Users with fewer than three interactions only train (leave-one-out, ratio). A request is one user in one split: its
    relevant items are all of the user's in that split, its history all earlier ones; users without a history have no
    request. With `all-test`, training has only the catalogue, and validation no requests. A split that comes with the
    log overrides the settings. Raises BenchmarkError if a log cannot be split.
    """
    _check_settings(settings)
    check_log(name, log)
    counts = len(log.user), len(log.queries)
    _check_times(name, log, settings)
    log = in_normal_order(log, settings.seed, random=settings.split == "random-ratio" and log.interaction_part is None)
    repeated = counts[0] - len(log.user)
    if log.searches is not None:
        return _split_joint(name, log, repeated, settings)
    if settings.split == "all-test" and len(log.user):
        raise BenchmarkError(
            f"data set '{name}' has interactions, and `split: all-test` would leave none for a history or to train on. "
            "It is for topics and judgements alone: take another split, or leave the interactions out."
        )
    for key in ("leaky", "copies_within"):
        if getattr(settings, key):
            raise BenchmarkError(
                f"data set '{name}' has no searches of users, so no interaction has a copy that `{key}` could speak "
                "of; drop it from this data set's protocol."
            )
    part, query_part = _interaction_parts(log, settings), _query_parts(name, log, settings)
    if settings.unseen_share:
        if len(log.queries):
            raise BenchmarkError(
                f"data set '{name}' has queries, whose relevant items would still tell of items that unseen_share "
                "hides. Leave the queries out (movielens: `queries: []`), or set unseen_share to 0."
            )
        log, part = _hide_items(log, part, settings)

    trains = part == TRAIN
    lengths = np.bincount(log.user[trains], minlength=len(log.users))
    judged = Ragged.from_pairs(log.query, log.relevant, len(log.queries), log.grade)
    if (log.grade == 1).all():
        judged = replace(judged, grades=None)
    train = Train(
        catalog=log.catalog,
        users=log.users,
        histories=Ragged.from_lengths(lengths, log.item[trains]),
        times=log.time[trains],
        queries=log.queries[query_part == TRAIN],
        searches=judged.take(np.flatnonzero(query_part == TRAIN)),
        max_history=settings.max_history,
        max_prefixes_per_user=settings.max_prefixes_per_user,
    )
    valid: dict[Task, Split] = {}
    test: dict[Task, Split] = {}
    if len(log.user):
        valid["recommendation"] = _recommendation_split(log, part, VALID, settings)
        test["recommendation"] = _recommendation_split(log, part, TEST, settings)
    if len(log.query):
        valid["search"] = _search_split(log, judged, query_part, VALID)
        test["search"] = _search_split(log, judged, query_part, TEST)
    untrained = dict[str, int]()
    if settings.drop_untrained_targets:
        valid, test, untrained = _trained_only(train, valid, test)
    if settings.split != "all-test" or log.query_part is not None:
        _check_parts(name, train, valid, test)
    facts = {
        **log.facts,
        **dataclasses.asdict(settings),
        **_splits(log, settings),
        "items": len(log.catalog),
        "ties": log.ties,
        "has_times": log.has_times,
        **({"repeated_rows_dropped": repeated} if len(log.user) else {}),
        **({"rows_hidden": counts[0] - repeated - len(log.user)} if settings.unseen_share else {}),
        **(
            _interaction_facts(log, part, trains, test["recommendation"], _timed(log, settings))
            if len(log.user)
            else {}
        ),
        **(_query_facts(log, train, valid["search"], test["search"], counts[1]) if len(log.query) else {}),
        **untrained,
        **_leak_facts(train, test),
    }
    return Dataset(name, train, valid, test, _digest(train, valid, test, settings), facts)


def _timed(log: Log, settings: ProtocolSettings) -> bool:
    """Whether times order the events."""
    return log.has_times and (settings.split != "random-ratio" or log.interaction_part is not None)


def _splits(log: Log, settings: ProtocolSettings) -> dict[str, str]:
    """How each task was split: by the settings, queries without users always by ratio, or by the log itself."""
    out: dict[str, str] = {}
    if len(log.user):
        out["split_recommendation"] = settings.split if log.interaction_part is None else "given"
    if log.searches is not None:
        out["split_search"] = settings.split if log.searches.part is None else "given"
    elif len(log.query):
        ratio = "all-test" if settings.split == "all-test" else "ratio"
        out["split_search"] = ratio if log.query_part is None else "given"
    return out


def _check_settings(settings: ProtocolSettings) -> None:
    for key in ("valid_share", "test_share"):
        if not 0 < getattr(settings, key) < 1:
            raise BenchmarkError(
                f"protocol {key} is {getattr(settings, key)}; give a share between 0 and 1, such as 0.1."
            )
    if settings.valid_share + settings.test_share >= 1:
        raise BenchmarkError(
            f"protocol valid_share {settings.valid_share} and test_share {settings.test_share} leave nothing to train "
            "on; their sum must be below 1."
        )
    if settings.drop_untrained_targets and (settings.unseen_share or settings.split == "all-test"):
        other = "unseen_share" if settings.unseen_share else "split: all-test"
        raise BenchmarkError(
            f"protocol {other} asks for items that nothing trains, and drop_untrained_targets drops them; take out one "
            "of the two."
        )
    if not 0 <= settings.unseen_share < 1:
        raise BenchmarkError(f"protocol unseen_share is {settings.unseen_share}; give a share from 0 to below 1.")
    if settings.copies_within < 0:
        raise BenchmarkError(f"protocol copies_within is {settings.copies_within}; give seconds, 0 or more.")
    if settings.copies_within and settings.leaky:
        raise BenchmarkError("protocol leaky leaves copies in, copies_within says what is one; drop one of the two.")
    for key in ("max_history", "max_prefixes_per_user"):
        value = getattr(settings, key)
        if value is not None and value < 1:
            raise BenchmarkError(f"protocol {key} is {value}; give a number of at least 1, or null for no cap.")


def _check_times(name: str, log: Log, settings: ProtocolSettings) -> None:
    if not log.has_times and settings.split == "global-time" and log.interaction_part is None:
        raise BenchmarkError(
            f"data set '{name}' says in which order things happened, not when, so that `split: global-time` has no "
            "moment to cut at. Take leave-one-out, ratio or random-ratio."
        )


def _interaction_parts(log: Log, settings: ProtocolSettings) -> Parts:
    """0 train, 1 validation, 2 test for every interaction of a log in normal order."""
    if log.interaction_part is not None:
        return log.interaction_part
    return _parts(log.user, log.time, np.sort(log.time), len(log.users), settings)


def _parts(user: Ints, time: Longs, ordered: Longs, n_users: int, settings: ProtocolSettings) -> Parts:
    """The split of every event, sorted by user and time; `ordered` are the times that `global-time` cuts."""
    n = len(user)
    part = np.zeros(n, dtype=np.int8)
    if settings.split == "global-time":
        total = len(ordered)
        for value, share in ((VALID, settings.valid_share + settings.test_share), (TEST, settings.test_share)):
            cut = min(max(int(np.ceil(total * (1 - share))), 1), total - 1) if total > 1 else 0
            if total:
                part[time >= ordered[cut]] = value
        return part
    lengths = np.bincount(user, minlength=n_users)
    if settings.split == "leave-one-out":
        tests = valids = np.ones_like(lengths)
    else:
        tests = np.maximum(np.minimum((lengths * settings.test_share).astype(np.int64), lengths - 2), 1)
        valids = np.maximum(np.minimum((lengths * settings.valid_share).astype(np.int64), lengths - 1 - tests), 1)
    from_end = np.cumsum(lengths)[user] - np.arange(n)  # 1 for a user's last
    enough = lengths >= 3
    part[(from_end <= (tests + valids)[user]) & enough[user]] = VALID
    part[(from_end <= tests[user]) & enough[user]] = TEST
    return part


def _hide_items(log: Log, part: Parts, settings: ProtocolSettings) -> tuple[Log, Parts]:
    """The log without the interactions with hidden test items, except the test targets themselves."""
    tested = np.unique(log.item[part == TEST])
    rng = np.random.default_rng(settings.seed)
    hidden = rng.choice(tested, size=round(settings.unseen_share * len(tested)), replace=False)
    keep = (part == TEST) | ~np.isin(log.item, hidden)
    own_part = log.interaction_part
    log = replace(
        log,
        user=log.user[keep],
        item=log.item[keep],
        time=log.time[keep],
        interaction_part=None if own_part is None else own_part[keep],
    )
    return log, part[keep]


def _query_parts(name: str, log: Log, settings: ProtocolSettings) -> Parts:
    """0 train, 1 validation, 2 test for every query; queries are in random order, so the first ones are the test."""
    if log.query_part is not None:
        return log.query_part
    n = len(log.queries)
    if settings.split == "all-test":
        return np.full(n, TEST, dtype=np.int8)
    if 0 < n < 3:
        raise BenchmarkError(
            f"data set '{name}' has {n} queries with a relevant item; "
            "training, validation and test need one each at least."
        )
    tests = max(1, min(round(n * settings.test_share), n - 2))
    valids = max(1, min(round(n * settings.valid_share), n - 1 - tests))
    part = np.zeros(n, dtype=np.int8)
    part[: tests + valids] = VALID
    part[:tests] = TEST
    return part


def _recommendation_split(log: Log, part: Parts, which: int, settings: ProtocolSettings) -> Split:
    target, before = part == which, part < which
    targets = np.bincount(log.user[target], minlength=len(log.users))
    befores = np.bincount(log.user[before], minlength=len(log.users))
    asking = np.flatnonzero((targets > 0) & (befores > 0))
    n = len(log.catalog)
    relevant = _distinct(Ragged.from_lengths(targets, log.item[target]).take(asking), n)
    history = Ragged.from_lengths(befores, log.item[before]).take(asking)
    later = None
    if _timed(log, settings):
        moment, newest = (np.full(len(log.users), end, dtype=np.int64) for end in (np.iinfo(np.int64).max, -1))
        np.minimum.at(moment, log.user[target], log.time[target])
        np.maximum.at(newest, log.user[before], log.time[before])
        later = (moment > newest)[asking]
    return _recommendation(log, asking, relevant, history, None, later, settings)


def _recommendation(
    log: Log,
    asking: Longs,
    relevant: Ragged,
    history: Ragged,
    events: Events | None,
    later: NDArray[np.bool_] | None,
    settings: ProtocolSettings,
) -> Split:
    """The requests of the users `asking`, with their histories by the settings."""
    n = len(log.catalog)
    requests = Requests(
        task="recommendation",
        ids=np.array([f"u:{user}" for user in log.users[asking]], dtype=object),
        users=asking.astype(np.int32),
        histories=history if settings.max_history is None else history.last(settings.max_history),
        queries=np.full(len(asking), "", dtype=object),
        exclude=Ragged.empty(len(asking)),
        events=events,
    )
    split = Split(requests, relevant, seen=_distinct(history, n), later=later)
    if not settings.mask_seen:
        return split
    # A seen item is not an answer: leaving it out of `exclude` would reveal the answer to a model.
    masked = split.new(n)
    return masked.take(np.flatnonzero(masked.relevant.lengths))


def _split_joint(name: str, log: Log, repeated: int, settings: ProtocolSettings) -> Dataset:
    """The data set of a joint log in normal order: as `split_log`, with the searches of users as search requests."""
    if settings.split in ("all-test", "random-ratio"):
        raise BenchmarkError(
            f"data set '{name}' has searches of users, whose histories go by time; `split: {settings.split}` does "
            "not. Take leave-one-out, ratio or global-time."
        )
    if settings.unseen_share:
        raise BenchmarkError(
            f"data set '{name}' has searches, which would still tell of items that unseen_share hides. Set it to 0."
        )
    searches = SearchRows.of(log)
    line = timeline(log, searches, copies_within=settings.copies_within, leaky=settings.leaky)
    part = _joint_parts(log, searches, line, settings)
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
        max_history=settings.max_history,
        max_prefixes_per_user=settings.max_prefixes_per_user,
        events=compact(trains),
    )
    splits: dict[int, dict[Task, Split]] = {
        which: {
            "recommendation": _joint_recommendation(log, line, own, whole, which, settings),
            "search": _joint_search(log, searches, line, own, whole, which, settings),
        }
        for which in (VALID, TEST)
    }
    valid, test, untrained = splits[VALID], splits[TEST], dict[str, int]()
    if settings.drop_untrained_targets:
        valid, test, untrained = _trained_only(train, valid, test)
    _check_parts(name, train, valid, test)
    copies = np.bincount(line.group[events.kind == RECOMMENDED], minlength=len(moment)) > 0
    learned = np.zeros(len(part), dtype=bool)
    learned[line.unit[whole == TRAIN]] = True
    same = _same_items(test, len(log.catalog))
    remarks = [log.facts["remark"]] if log.facts.get("remark") else []
    if log.facts.get("smoke_test"):
        remarks.append(f"for {same:.0%} of the users both tests ask for the same item at the same moment")
    if settings.leaky:
        remarks.append("leaky protocol: the copy of a target may stand in its own history")
    facts = {
        **log.facts,
        **({"remark": "; ".join(remarks)} if remarks else {}),
        **dataclasses.asdict(settings),
        **_splits(log, settings),
        "items": len(log.catalog),
        "ties": log.ties,
        "has_times": log.has_times,
        "repeated_rows_dropped": repeated,
        **_interaction_facts(log, part[: len(log.user)], learned[: len(log.user)], test["recommendation"], timed=True),
        "queries": len(np.unique(searches.query)),
        "searches": len(searches.user),
        "search_clicks": len(searches.clicks.values),
        "train_queries": len(train.queries),
        "train_pairs": len(train.searches.values),
        "train_searches": int((trains.kind == QUERY).sum()),
        "valid_requests_search": len(valid["search"].requests),
        "test_requests_search": len(test["search"].requests),
        "test_items_not_in_training_search": int(
            (train.popularity("search")[np.unique(test["search"].relevant.values)] == 0).sum()
        ),
        "targets_dropped_as_copies": int(((own > TRAIN) & (whole > own) & (events.kind != QUERY)).sum()),
        "same_item_tested_share": same,
        "near_copies": near_copies(log, searches, settings.copies_within, NEAR),
        **untrained,
        **_leak_facts(train, test),
    }
    if not settings.leaky:  # which does not look for copies
        facts["searches_that_copy_an_interaction"] = float(copies[line.group[events.kind == QUERY]].mean())
    return Dataset(name, train, valid, test, _digest(train, valid, test, settings), facts)


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


def _joint_parts(log: Log, searches: SearchRows, line: Timeline, settings: ProtocolSettings) -> Parts:
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
        parts[unit] = _parts(user[unit], time[unit], ordered, len(log.users), settings)
    return parts


def _joint_recommendation(
    log: Log, line: Timeline, own: Parts, whole: Parts, which: int, settings: ProtocolSettings
) -> Split:
    events = line.events
    target = np.flatnonzero((events.kind == RECOMMENDED) & (own == which) & (whole == which))
    user = events.rows[target]
    relevant = _distinct(Ragged.from_pairs(user, events.value[target], len(log.users)), len(log.catalog))
    asking, first = np.unique(user, return_index=True)
    allowed = (whole < which) | (settings.leaky & (events.kind != RECOMMENDED))
    history = _before(events, target[first], allowed, None)
    items = _items(history)
    kept = np.flatnonzero(items.lengths)
    short = compact(history.take(kept).newest(settings.max_history, settings.max_history))
    later = _later(log, line, target[first], allowed)
    later = None if later is None else later[kept]
    return _recommendation(log, asking[kept], relevant.take(asking[kept]), items.take(kept), short, later, settings)


def _joint_search(
    log: Log, searches: SearchRows, line: Timeline, own: Parts, whole: Parts, which: int, settings: ProtocolSettings
) -> Split:
    events, n = line.events, len(log.user)
    asks = np.flatnonzero((events.kind == QUERY) & (own == which) & (whole == which))
    row = line.unit[asks] - n
    answered = searches.clicks.lengths[row] > 0  # a log's own split may also name searches without clicks
    asks, row = asks[answered], row[answered]
    allowed = (whole < which) | (settings.leaky & (events.kind == RECOMMENDED))
    history = _before(events, asks, allowed, settings.max_history)
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


def _search_split(log: Log, judged: Ragged, part: Parts, which: int) -> Split:
    rows = np.flatnonzero(part == which)
    requests = Requests(
        task="search",
        ids=np.array([f"q:{query}" for query in log.query_ids[rows]], dtype=object),
        users=np.full(len(rows), -1, dtype=np.int32),
        histories=Ragged.empty(len(rows)),
        queries=log.queries[rows],
        exclude=Ragged.empty(len(rows)),
    )
    return Split(requests, judged.take(rows))


def _distinct(rows: Ragged, n: int) -> Ragged:
    """Each row's distinct values, ascending."""
    keys = np.unique(rows.rows * n + rows.values)
    return Ragged.from_lengths(np.bincount(keys // n, minlength=len(rows)), keys % n)


def _trained_only(
    train: Train, valid: Mapping[Task, Split], test: Mapping[Task, Split]
) -> tuple[dict[Task, Split], dict[Task, Split], dict[str, int]]:
    """Validation and test without answers that never occur in a task's training, and how many the test lost."""
    parts: tuple[dict[Task, Split], dict[Task, Split]] = ({}, {})
    facts = {}
    for kept, splits in zip(parts, (valid, test), strict=True):
        for task, split in splits.items():
            relevant = split.relevant.keep(train.popularity(task)[split.relevant.values] > 0)
            kept[task] = replace(split, relevant=relevant).take(np.flatnonzero(relevant.lengths))
            facts[f"untrained_targets_dropped_{task}"] = len(split.relevant.values) - len(relevant.values)
    return *parts, facts


def _check_parts(name: str, train: Train, valid: Mapping[Task, Split], test: Mapping[Task, Split]) -> None:
    for task in test:
        learned = train.histories if task == "recommendation" else train.searches
        sizes = {
            "training": len(learned.values),
            "validation": len(valid[task].requests),
            "test": len(test[task].requests),
        }
        for part, size in sizes.items():
            if not size:
                needs = (
                    "each user needs three interactions, and earlier ones than those asked for"
                    if task == "recommendation"
                    else "each part needs a query with a relevant item"
                    if train.events is None
                    else "of a user's searches at least three need a click, fewer only train"
                )
                raise BenchmarkError(f"data set '{name}': the {part} part of {task} is empty; {needs}.")


def _interaction_facts(log: Log, part: Parts, trains: NDArray[np.bool_], test: Split, timed: bool) -> dict[str, Any]:
    """Counts, and known flaws of leave-one-out: ties that decide the target, training on the future.

    `trains` marks the interactions in the training data, in a joint log not all of the training split. Without times,
    or with a random order, only the counts."""
    train_times = np.sort(log.time[trains])
    targets = np.flatnonzero(part == TEST)
    asking = np.zeros(len(log.users), dtype=bool)
    asking[test.requests.users] = True
    first = targets[np.append(True, log.user[targets][1:] != log.user[targets][:-1])]
    first = first[asking[log.user[first]]]  # a user's first target is the moment of the request
    later = len(train_times) - np.searchsorted(train_times, log.time[first], side="right")
    tied = np.zeros(len(log.user), dtype=bool)
    tied[1:] = (log.user[1:] == log.user[:-1]) & (log.time[1:] == log.time[:-1])
    tested = np.zeros(len(log.users), dtype=bool)
    tested[log.user[targets]] = True
    active = np.bincount(log.user, minlength=len(log.users)) > 0
    trained = np.bincount(log.item[trains], minlength=len(log.catalog)) > 0
    facts = {
        "users": int(active.sum()),
        "interactions": len(log.user),
        "train_interactions": len(train_times),
        "test_requests_recommendation": len(test.requests),
        "users_only_in_training": int((active & ~tested).sum()),
        "users_without_a_request": int((tested & ~asking).sum()),
        "test_items_not_in_training_recommendation": int((~trained[np.unique(test.relevant.values)]).sum()),
    }
    if not timed:
        return facts
    return facts | {
        "tied_time_share": float((tied | np.append(tied[1:], False)).mean()),
        "tied_target_share": float(tied[first].mean()),
        "leak_share": float(later.mean() / len(train_times)),
    }


def _leak_facts(train: Train, test: Mapping[Task, Split]) -> dict[str, float]:
    """How many of the answers a model has already read, for every task.

    `target_in_history_share_*`: the share of test requests with an answer in their own history, as far as a model reads
    it. `test_pairs_in_training_share_*`: the share of pairs of a user (or a query's text, ignoring case and blanks) and
    an answer that also occur in training; `test_users_items_in_training_share_search`: the same for pairs of a user and
    an answer of search, in a joint log. In a joint log, a user's events of both tasks count."""
    n, facts = len(train.catalog), dict[str, float]()
    row, item = train.histories.rows, train.histories.values
    if train.events is not None:
        clicked = train.events.kind != QUERY
        row, item = train.events.rows[clicked], train.events.value[clicked]
    trained = np.unique(row * n + item)
    for task in (task for task in TASKS if task in test):
        requests, relevant = test[task].requests, test[task].relevant
        rows = relevant.rows
        read = [requests.histories.rows * n + requests.histories.values]
        if requests.events is not None:
            clicked = requests.events.kind != QUERY
            read.append(requests.events.rows[clicked] * n + requests.events.value[clicked])
        inside = np.isin(rows * n + relevant.values, np.concatenate(read))
        facts[f"target_in_history_share_{task}"] = len(np.unique(rows[inside])) / max(len(requests), 1)
        users = np.isin(requests.users[rows].astype(np.int64) * n + relevant.values, trained)
        if task == "recommendation":
            facts["test_pairs_in_training_share_recommendation"] = float(users.mean())
            continue
        texts = np.concatenate([train.queries, requests.queries])
        text = np.unique([" ".join(str(text).casefold().split()) for text in texts], return_inverse=True)[1]
        known = np.unique(text[: len(train.queries)][train.searches.rows] * n + train.searches.values)
        pairs = text[len(train.queries) :][rows] * n + relevant.values
        facts["test_pairs_in_training_share_search"] = float(np.isin(pairs, known).mean())
        if requests.events is not None:
            facts["test_users_items_in_training_share_search"] = float(users.mean())
    return facts


def _query_facts(log: Log, train: Train, valid: Split, test: Split, total: int) -> dict[str, Any]:
    """`log` has only the queries with a relevant item; `total` counts all."""
    trained = train.popularity("search") > 0
    return {
        "queries": len(log.queries),
        "queries_without_relevant_item_dropped": total - len(log.queries),
        "queries_with_a_text_seen_before": len(log.queries) - len({str(text).casefold() for text in log.queries}),
        "train_queries": len(train.queries),
        "valid_requests_search": len(valid.requests),
        "test_requests_search": len(test.requests),
        "relevant_per_query": len(log.relevant) / len(log.queries),
        "train_pairs": len(train.searches.values),
        "test_items_not_in_training_search": int((~trained[np.unique(test.relevant.values)]).sum()),
    }


def _digest(train: Train, valid: Mapping[Task, Split], test: Mapping[Task, Split], settings: ProtocolSettings) -> str:
    """The sha256 of everything that models and metrics see: ids, texts, attributes, every array, and the protocol."""
    sha = hashlib.sha256(json.dumps(dataclasses.asdict(settings), sort_keys=True).encode())

    def add(label: str, values: NDArray[Any] | None) -> None:
        if values is None:
            return
        if values.dtype == object:
            encoded = [str(value).encode() for value in values]
            sha.update(np.array([len(e) for e in encoded], dtype="<i8").tobytes())
            body = b"".join(encoded)
        else:
            body = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes()
        sha.update(f"{label} {values.dtype.name} {values.shape} {len(body)}\n".encode())
        sha.update(body)

    def ragged(label: str, rows: Ragged) -> Iterator[tuple[str, NDArray[Any] | None]]:
        yield from ((f"{label}.{part}", getattr(rows, part)) for part in ("offsets", "values", "grades"))

    add("ids", train.catalog.ids)
    add("texts", train.catalog.texts)
    for column in train.catalog.attributes:
        add(f"attribute {column}", train.catalog.attributes[column].to_numpy(dtype=object))
    for label in ("users", "times", "queries"):
        add(label, getattr(train, label))

    def mixed(label: str, events: Events | None) -> Iterator[tuple[str, NDArray[Any] | None]]:
        if events is not None:
            yield from ((f"{label}.{p}", getattr(events, p)) for p in ("offsets", "kind", "value", "queries", "end"))

    for pair in (*ragged("histories", train.histories), *ragged("searches", train.searches)):
        add(*pair)
    for pair in mixed("events", train.events):
        add(*pair)
    for part, splits in (("valid", valid), ("test", test)):
        for task, split in sorted(splits.items()):
            for label in ("ids", "users", "queries"):
                add(f"{part} {task} {label}", getattr(split.requests, label))
            for label, rows in (
                ("histories", split.requests.histories),
                ("exclude", split.requests.exclude),
                ("relevant", split.relevant),
            ):
                for pair in ragged(f"{part} {task} {label}", rows):
                    add(*pair)
            add(f"{part} {task} later", split.later)
            for pair in mixed(f"{part} {task} events", split.requests.events):
                add(*pair)
    return sha.hexdigest()
