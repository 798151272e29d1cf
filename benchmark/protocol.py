"""The protocol, the same for every model: how a log becomes training data, validation and test requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmark.types import Dataset, Log


@dataclass(frozen=True)
class ProtocolSettings:
    """What a suite says under `protocol:`.

    `split` divides the interactions: leave-one-out by time (Penha 2024, section 5: test = a user's last, validation = the
    one before), `ratio` of each user's interactions, or `global-time` (everything before one moment trains, for everybody).
    `valid_share` and `test_share` are shares of interactions (ratio, global-time) and, for search, of the queries, whose
    training, validation and test sets are disjoint. `seed` orders items and partitions queries.
    """

    split: Literal["leave-one-out", "ratio", "global-time"] = "leave-one-out"
    max_history: int | None = 50
    max_prefixes_per_user: int | None = None
    valid_share: float = 0.1
    test_share: float = 0.1
    mask_seen: bool = False
    seed: int = 0


def split_log(name: str, log: Log, settings: ProtocolSettings) -> Dataset:
    """The data set that every model sees. Raises BenchmarkError for a log that cannot be split."""
    raise NotImplementedError
