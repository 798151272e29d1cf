"""The split of each interaction and query into training, validation and test, and what plain and joint logs share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchmark.data.events import Events
from benchmark.data.protocol import Protocol
from benchmark.data.ragged import Ints, Longs, Ragged
from benchmark.data.types import Log, Requests, Split, Task, Train
from benchmark.errors import BenchmarkError

TRAIN, VALID, TEST = 0, 1, 2
Parts = NDArray[np.int8]


def timed(log: Log, protocol: Protocol) -> bool:
    """Whether times order the events."""
    return log.has_times and (protocol.split != "random-ratio" or log.interaction_part is not None)


def stated_splits(log: Log, protocol: Protocol) -> dict[Task, str]:
    """How each task was split: by the protocol (queries without users always by ratio), or as the log says."""
    splits: dict[Task, str] = {}
    if len(log.user):
        splits["recommendation"] = protocol.split if log.interaction_part is None else "given"
    if log.searches is not None:
        splits["search"] = protocol.split if log.searches.part is None else "given"
    elif len(log.query):
        ratio = "all-test" if protocol.split == "all-test" else "ratio"
        splits["search"] = ratio if log.query_part is None else "given"
    return splits


def parts_of(user: Ints, time: Longs, ordered: Longs, n_users: int, protocol: Protocol) -> Parts:
    """The split of every event, sorted by user and time; `ordered` are the times that `global-time` cuts."""
    n = len(user)
    part = np.zeros(n, dtype=np.int8)
    if protocol.split == "global-time":
        total = len(ordered)
        for value, share in ((VALID, protocol.valid_share + protocol.test_share), (TEST, protocol.test_share)):
            cut = min(max(int(np.ceil(total * (1 - share))), 1), total - 1) if total > 1 else 0
            if total:
                part[time >= ordered[cut]] = value
        return part
    lengths = np.bincount(user, minlength=n_users)
    if protocol.split == "leave-one-out":
        tests = valids = np.ones_like(lengths)
    else:
        tests = np.maximum(np.minimum((lengths * protocol.test_share).astype(np.int64), lengths - 2), 1)
        valids = np.maximum(np.minimum((lengths * protocol.valid_share).astype(np.int64), lengths - 1 - tests), 1)
    from_end = np.cumsum(lengths)[user] - np.arange(n)  # 1 for a user's last
    enough = lengths >= 3
    part[(from_end <= (tests + valids)[user]) & enough[user]] = VALID
    part[(from_end <= tests[user]) & enough[user]] = TEST
    return part


def recommendation(
    log: Log,
    asking: Longs,
    relevant: Ragged,
    history: Ragged,
    events: Events | None,
    later: NDArray[np.bool_] | None,
    protocol: Protocol,
) -> Split:
    """The requests of the users `asking`, with their histories as the protocol caps them."""
    n = len(log.catalog)
    requests = Requests(
        task="recommendation",
        ids=np.array([f"u:{user}" for user in log.users[asking]], dtype=object),
        users=asking.astype(np.int32),
        histories=history if protocol.max_history is None else history.last(protocol.max_history),
        queries=np.full(len(asking), "", dtype=object),
        exclude=Ragged.empty(len(asking)),
        events=events,
    )
    split = Split(requests, relevant, seen=distinct(history, n), later=later)
    if not protocol.mask_seen:
        return split
    # A seen item is not an answer: leaving it out of `exclude` would reveal the answer to a model.
    masked = split.new(n)
    return masked.take(np.flatnonzero(masked.relevant.lengths))


def distinct(rows: Ragged, n: int) -> Ragged:
    """Each row's distinct values, ascending."""
    keys = np.unique(rows.rows * n + rows.values)
    return Ragged.from_lengths(np.bincount(keys // n, minlength=len(rows)), keys % n)


def trained_only(
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


def check_parts(name: str, train: Train, valid: Mapping[Task, Split], test: Mapping[Task, Split]) -> None:
    """Raises BenchmarkError where a part of a task is empty."""
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
