"""The settings of the protocol, the same for every model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmark.errors import BenchmarkError


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


def check_settings(settings: ProtocolSettings) -> None:
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
