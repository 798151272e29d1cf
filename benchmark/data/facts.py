"""What is known of a data set once it is split: counts, and what its answers give away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.events import QUERY
from benchmark.data.parts import TEST, Parts
from benchmark.data.types import TASKS, Log, Split, Task, Train


@dataclass(frozen=True)
class TaskFacts:
    """What is known of one task of a data set. Among the data set's facts each has the task in its name, as in
    `test_requests_search`.

    `split` is that of the protocol, or "given" with the data. `target_in_history_share` is the share of test requests
    with an answer in their own history, as far as a model reads it. `test_pairs_in_training_share` is the share of
    pairs of a user (or a query's text, ignoring case and blanks) and an answer that also occur in training;
    `test_users_items_in_training_share`, of search in a joint log alone, that of pairs of a user and an answer. In a
    joint log, a user's events of both tasks count. What is None is not known: an older version did not state it.
    """

    split: str
    test_requests: int | None = None
    test_items_not_in_training: int | None = None
    target_in_history_share: float | None = None
    test_pairs_in_training_share: float | None = None
    test_users_items_in_training_share: float | None = None

    @classmethod
    def of(cls, facts: Mapping[str, Any], task: Task) -> TaskFacts:
        """The task's own among the facts of a data set, of which an older version stated one split for both tasks."""
        stated = {part.name: facts.get(f"{part.name}_{task}") for part in fields(cls)}
        return cls(**{**stated, "split": stated["split"] or facts.get("split", "")})

    def named(self, task: Task) -> dict[str, Any]:
        """The facts under their names among those of the data set."""
        return {f"{name}_{task}": value for name, value in vars(self).items() if value is not None}


def interaction_facts(log: Log, part: Parts, trains: NDArray[np.bool_], test: Split, timed: bool) -> dict[str, Any]:
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
    facts = {
        "users": int(active.sum()),
        "interactions": len(log.user),
        "train_interactions": len(train_times),
        "users_only_in_training": int((active & ~tested).sum()),
        "users_without_a_request": int((tested & ~asking).sum()),
    }
    if not timed:
        return facts
    return facts | {
        "tied_time_share": float((tied | np.append(tied[1:], False)).mean()),
        "tied_target_share": float(tied[first].mean()),
        "leak_share": float(later.mean() / len(train_times)),
    }


def task_facts(train: Train, test: Mapping[Task, Split], splits: Mapping[Task, str]) -> dict[str, Any]:
    """The `TaskFacts` of every task, under their names; `splits` says how each was split."""
    n, facts = len(train.catalog), dict[str, Any]()
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
        of_task = TaskFacts(
            split=splits[task],
            test_requests=len(requests),
            test_items_not_in_training=int((train.popularity(task)[np.unique(relevant.values)] == 0).sum()),
            target_in_history_share=len(np.unique(rows[inside])) / max(len(requests), 1),
        )
        users = np.isin(requests.users[rows].astype(np.int64) * n + relevant.values, trained)
        if task == "recommendation":
            facts |= replace(of_task, test_pairs_in_training_share=float(users.mean())).named(task)
            continue
        texts = np.concatenate([train.queries, requests.queries])
        text = np.unique([" ".join(str(text).casefold().split()) for text in texts], return_inverse=True)[1]
        judged = np.unique(text[: len(train.queries)][train.searches.rows] * n + train.searches.values)
        pairs = text[len(train.queries) :][rows] * n + relevant.values
        facts |= replace(
            of_task,
            test_pairs_in_training_share=float(np.isin(pairs, judged).mean()),
            test_users_items_in_training_share=None if requests.events is None else float(users.mean()),
        ).named(task)
    return facts


def query_facts(log: Log, train: Train, valid: Split, total: int) -> dict[str, Any]:
    """`log` has only the queries with a relevant item; `total` counts all."""
    return {
        "queries": len(log.queries),
        "queries_without_relevant_item_dropped": total - len(log.queries),
        "queries_with_a_text_seen_before": len(log.queries) - len({str(text).casefold() for text in log.queries}),
        "train_queries": len(train.queries),
        "valid_requests_search": len(valid.requests),
        "relevant_per_query": len(log.relevant) / len(log.queries),
        "train_pairs": len(train.searches.values),
    }
