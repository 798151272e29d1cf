"""What a reader of a result table must know about its data: the split, how much of a history is read, and how much of
the answers a model may have read before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmark.data.facts import TaskFacts
from benchmark.data.types import Task
from benchmark.evaluation.leaderboard import Leaderboard

NAMES = {
    "leave-one-out": "leave-one-out (the last of each user)",
    "ratio": "ratio",
    "random-ratio": "random-ratio (a share of each user's in random order)",
    "global-time": "global-time (what happened after one moment)",
    "all-test": "all-test (nothing to train on)",
    "given": "given with the data",
}


def data_notes(lb: Leaderboard, dataset: str, task: Task) -> Iterator[str]:
    """The lines below the results of one data set and task; none where its facts are not known."""
    facts = lb.data.get(dataset, {})
    task_facts = TaskFacts.of(facts, task)
    if task_facts.test_requests is not None:
        yield f"Data: {'; '.join(_parts(facts, task_facts, task))}."
    for entry in lb.suite.datasets:
        if entry.name == dataset and entry.note:
            yield f"{dataset}: {entry.note}."


def _parts(facts: Mapping[str, Any], known: TaskFacts, task: Task) -> Iterator[str]:
    n, joint, split = known.test_requests, "searches" in facts, NAMES.get(known.split, known.split)
    if task == "recommendation":
        yield f"{n:,} users tested, split {split}"
    elif joint:
        yield f"{n:,} of {facts['searches']:,} searches tested, split {split}"
    else:
        yield f"{n:,} of {facts['queries']:,} queries tested, split {split}"
    if task == "recommendation" or joint:
        most = facts.get("max_history")
        yield "histories are read whole" if most is None else f"of a history at most the {most} newest are read"
        if facts.get("has_times") is False:
            yield "the data has no times"
        yield f"{_share(known.target_in_history_share)} of the requests have an answer in their own history"
    if known.split == "all-test":
        return
    pair = "user" if task == "recommendation" else "query"
    yield f"training holds {_share(known.test_pairs_in_training_share)} of the tested pairs of {pair} and item"
    if task == "search" and joint:
        yield f"and {_share(known.test_users_items_in_training_share)} of those of user and item"
    if joint and facts.get("copies_within"):
        yield f"copies are recognised within {facts['copies_within']} s"


def _share(value: float | None) -> str:
    return "an unknown share" if value is None else f"{100 * value:.1f} %"
