"""From a log to training data, validation and test requests: the only place where data is split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmark.data.digest import digest
from benchmark.data.facts import interaction_facts, query_facts, task_facts
from benchmark.data.joint import split_joint
from benchmark.data.normal_form import check_log, in_normal_order
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
    timed,
    trained_only,
)
from benchmark.data.protocol import Protocol
from benchmark.data.ragged import Ragged
from benchmark.data.types import Dataset, Log, Requests, Split, Task, Train
from benchmark.errors import BenchmarkError


def split_log(name: str, log: Log, protocol: Protocol) -> Dataset:
    """The data set that every model sees; independent of the order of the log's items, users and queries.

    Users with fewer than three interactions only train (leave-one-out, ratio). A request is one user in one split: its
    relevant items are all of the user's in that split, its history all earlier ones; users without a history have no
    request. With `all-test`, training has only the catalogue, and validation no requests. A split that comes with the
    log overrides the protocol. Raises BenchmarkError if a log cannot be split.
    """
    check_log(name, log)
    counts = len(log.user), len(log.queries)
    _check_times(name, log, protocol)
    log = in_normal_order(log, protocol.seed, random=protocol.split == "random-ratio" and log.interaction_part is None)
    repeated = counts[0] - len(log.user)
    if log.searches is not None:
        return split_joint(name, log, repeated, protocol)
    if protocol.split == "all-test" and len(log.user):
        raise BenchmarkError(
            f"data set '{name}' has interactions, and `split: all-test` would leave none for a history or to train on. "
            "It is for topics and judgements alone: take another split, or leave the interactions out."
        )
    for key in ("leaky", "copies_within"):
        if getattr(protocol, key):
            raise BenchmarkError(
                f"data set '{name}' has no searches of users, so no interaction has a copy, which is what `{key}` is "
                "about; drop it from this data set's protocol."
            )
    part, query_part = _interaction_parts(log, protocol), _query_parts(name, log, protocol)
    if protocol.unseen_share:
        if len(log.queries):
            raise BenchmarkError(
                f"data set '{name}' has queries, whose relevant items still show the items that unseen_share "
                "hides. Leave the queries out (movielens: `queries: []`), or set unseen_share to 0."
            )
        log, part = _hide_items(log, part, protocol)

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
        max_history=protocol.max_history,
        max_prefixes_per_user=protocol.max_prefixes_per_user,
    )
    valid: dict[Task, Split] = {}
    test: dict[Task, Split] = {}
    if len(log.user):
        valid["recommendation"] = _recommendation_split(log, part, VALID, protocol)
        test["recommendation"] = _recommendation_split(log, part, TEST, protocol)
    if len(log.query):
        valid["search"] = _search_split(log, judged, query_part, VALID)
        test["search"] = _search_split(log, judged, query_part, TEST)
    untrained = dict[str, int]()
    if protocol.drop_untrained_targets:
        valid, test, untrained = trained_only(train, valid, test)
    if protocol.split != "all-test" or log.query_part is not None:
        check_parts(name, train, valid, test)
    facts = {
        **log.facts,
        **protocol.split_settings(),
        "items": len(log.catalog),
        "ties": log.ties,
        "has_times": log.has_times,
        **({"repeated_rows_dropped": repeated} if len(log.user) else {}),
        **({"rows_hidden": counts[0] - repeated - len(log.user)} if protocol.unseen_share else {}),
        **(interaction_facts(log, part, trains, test["recommendation"], timed(log, protocol)) if len(log.user) else {}),
        **(query_facts(log, train, valid["search"], counts[1]) if len(log.query) else {}),
        **untrained,
        **task_facts(train, test, stated_splits(log, protocol)),
    }
    return Dataset(name, train, valid, test, digest(train, valid, test, protocol), facts)


def _check_times(name: str, log: Log, protocol: Protocol) -> None:
    if not log.has_times and protocol.split == "global-time" and log.interaction_part is None:
        raise BenchmarkError(
            f"data set '{name}' says in which order things happened, not when, so that `split: global-time` has no "
            "moment to cut at. Take leave-one-out, ratio or random-ratio."
        )


def _interaction_parts(log: Log, protocol: Protocol) -> Parts:
    """0 train, 1 validation, 2 test for every interaction of a log in normal order."""
    if log.interaction_part is not None:
        return log.interaction_part
    return parts_of(log.user, log.time, np.sort(log.time), len(log.users), protocol)


def _hide_items(log: Log, part: Parts, protocol: Protocol) -> tuple[Log, Parts]:
    """The log without the interactions with hidden test items, except the test targets themselves."""
    tested = np.unique(log.item[part == TEST])
    rng = np.random.default_rng(protocol.seed)
    hidden = rng.choice(tested, size=round(protocol.unseen_share * len(tested)), replace=False)
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


def _query_parts(name: str, log: Log, protocol: Protocol) -> Parts:
    """0 train, 1 validation, 2 test for every query; queries are in random order, so the first ones are the test."""
    if log.query_part is not None:
        return log.query_part
    n = len(log.queries)
    if protocol.split == "all-test":
        return np.full(n, TEST, dtype=np.int8)
    if 0 < n < 3:
        raise BenchmarkError(
            f"data set '{name}' has {n} queries with a relevant item; "
            "training, validation and test need one each at least."
        )
    tests = max(1, min(round(n * protocol.test_share), n - 2))
    valids = max(1, min(round(n * protocol.valid_share), n - 1 - tests))
    part = np.zeros(n, dtype=np.int8)
    part[: tests + valids] = VALID
    part[:tests] = TEST
    return part


def _recommendation_split(log: Log, part: Parts, which: int, protocol: Protocol) -> Split:
    target, before = part == which, part < which
    targets = np.bincount(log.user[target], minlength=len(log.users))
    befores = np.bincount(log.user[before], minlength=len(log.users))
    asking = np.flatnonzero((targets > 0) & (befores > 0))
    n = len(log.catalog)
    relevant = distinct(Ragged.from_lengths(targets, log.item[target]).take(asking), n)
    history = Ragged.from_lengths(befores, log.item[before]).take(asking)
    later = None
    if timed(log, protocol):
        moment, newest = (np.full(len(log.users), end, dtype=np.int64) for end in (np.iinfo(np.int64).max, -1))
        np.minimum.at(moment, log.user[target], log.time[target])
        np.maximum.at(newest, log.user[before], log.time[before])
        later = (moment > newest)[asking]
    return recommendation(log, asking, relevant, history, None, later, protocol)


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
