"""The facts of a data set's tasks are read as they were written."""

from __future__ import annotations

from benchmark.data.facts import TaskFacts
from benchmark.data.protocol import Protocol
from benchmark.data.split import split_log
from benchmark.testing import checkerboard_log


def test_the_facts_of_a_task_stand_under_its_name() -> None:
    facts = TaskFacts("ratio", 22, 1, 0.25, 1.0, 0.1)
    named = {
        "split_search": "ratio",
        "test_requests_search": 22,
        "test_items_not_in_training_search": 1,
        "target_in_history_share_search": 0.25,
        "test_pairs_in_training_share_search": 1.0,
        "test_users_items_in_training_share_search": 0.1,
    }
    assert facts.named("search") == named
    assert TaskFacts.of(named, "search") == facts
    assert TaskFacts.of(named, "recommendation") == TaskFacts("")


def test_an_older_version_stated_one_split_for_both_tasks() -> None:
    assert TaskFacts.of({"split": "ratio"}, "search") == TaskFacts("ratio")


def test_a_split_states_the_facts_of_its_tasks() -> None:
    data = split_log("Board", checkerboard_log(), Protocol())
    for task, split in (("recommendation", "leave-one-out"), ("search", "given")):
        facts = TaskFacts.of(data.facts, task)
        assert (facts.split, facts.test_requests) == (split, len(data.test[task].requests))
        assert facts.test_items_not_in_training is not None
        assert facts.target_in_history_share is not None
        assert facts.test_pairs_in_training_share is not None
        assert facts.test_users_items_in_training_share is None  # of a joint log alone
