"""The types of the data, from a log to the split data set.

Inside, items are row numbers in the catalogue (int32); ids are strings only at the edges. Data is columnar:
arrays for all requests at once, no Python object per request. Axis letters: U users, R requests, N items, Q queries,
K the depth of a ranking.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmark.data.events import RECOMMENDED, SEARCHED, Events
from benchmark.data.hashing import stable_hash
from benchmark.data.ragged import Ints, Longs, Ragged, Strings, gather

if TYPE_CHECKING:
    import pandas as pd


Task = Literal["recommendation", "search"]
"""The task of a request: "recommendation" or "search"."""
TASKS: tuple[Task, ...] = ("recommendation", "search")
"""All tasks."""


@dataclass(frozen=True)
class Catalog:
    """The items: `ids` (N,) str, `texts` (N,) str, `attributes` a DataFrame (categories, brand, year …), rows
    aligned."""

    ids: Strings
    texts: Strings
    attributes: pd.DataFrame

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Searches:
    """A search log: who searched when with which query, and what was clicked. One row per click; a search without
    clicks is one row with item -1.

    `user`, `query`, `item` int32 (row numbers of the log's users, queries and items) and `time` int64 (seconds); rows
    with the same user, query and time are one search. `part` (0 train, 1 validation, 2 test) if the data comes split.
    """

    user: Ints
    query: Ints
    item: Ints
    time: Longs
    part: NDArray[np.int8] | None = None


@dataclass(frozen=True)
class Log:
    """What a data set plugin returns: who did what, before splitting. Only the protocol splits it.

    `user`, `item`, `time` are the columns of the interactions (one row each; time in seconds, any epoch; int64), with
    `users` (U,) the ids. `query`, `relevant`, `grade` are the columns of the relevance judgements, with `queries` (Q,)
    the texts and `query_ids` (Q,) their ids. Both halves may be empty. `interaction_part` (per interaction) and
    `query_part` (per query) hold 0 train, 1 validation, 2 test if the data comes split, else None. `ties` says how
    simultaneous interactions of a user are ordered: by a stable hash, or as given. With `searches` this is a joint log:
    a search request is then one search of one user, its answers are the clicked items, and the judgements only keep
    other relevant items from becoming negatives. `facts` are printed with the statistics (source, licence, version).
    Without `has_times` the column `time` only gives the order.
    """

    catalog: Catalog
    users: Strings
    user: Ints
    item: Ints
    time: Longs
    query_ids: Strings
    queries: Strings
    query: Ints
    relevant: Ints
    grade: NDArray[np.float32]
    interaction_part: NDArray[np.int8] | None = None
    query_part: NDArray[np.int8] | None = None
    ties: Literal["hash", "file"] = "hash"
    facts: Mapping[str, Any] = field(default_factory=dict)
    searches: Searches | None = None
    has_times: bool = True


@dataclass(frozen=True)
class Prefixes:
    """Training examples for recommendation: the history `values[start:end]` has the target `values[end]`.

    `start` and `end` are int64 (P,); only `histories` copies.
    """

    values: Ints
    start: Longs
    end: Longs

    def __len__(self) -> int:
        return len(self.start)

    @property
    def targets(self) -> Ints:
        return self.values[self.end]

    def histories(self, rows: Longs | None = None) -> Ragged:
        """The histories of these examples (all by default), copied out."""
        start, end = (self.start, self.end) if rows is None else (self.start[rows], self.end[rows])
        lengths = end - start
        return Ragged.from_lengths(lengths, self.values[gather(start, lengths)])


@dataclass(frozen=True)
class Train:
    """Everything a model may learn from.

    `histories` has a row per user, oldest item first, and `times` (seconds) is aligned with its values. `queries` (Q,)
    are the training queries and `searches` a row of relevant items per query. `max_history` and `max_prefixes_per_user`
    are the protocol's caps (None: no cap); `prefixes()` honours both. `events`, a row per user, exists in joint logs;
    `queries` are then the distinct training queries and `searches` the items clicked for each.
    """

    catalog: Catalog
    users: Strings
    histories: Ragged
    times: Longs
    queries: Strings
    searches: Ragged
    max_history: int | None = None
    max_prefixes_per_user: int | None = None
    events: Events | None = None

    def capped(self, n: int) -> int:
        """A model's cap of `n` history items, lowered to the protocol's `max_history`."""
        return n if self.max_history is None else min(n, self.max_history)

    def popularity(self, task: Task) -> Longs:
        """(N,) training interactions per item; for search, clicks of searches or, without a joint log, judged pairs."""
        values = (self.histories if task == "recommendation" else self.searches).values
        if task == "search" and self.events is not None:
            values = self.events.value[self.events.kind == SEARCHED]
        return np.bincount(values, minlength=len(self.catalog)).astype(np.int64)

    def prefixes(self) -> Prefixes:
        """Every prefix of every history down to two items: predict its last item from those before (Penha 2024,
        section 5).

        `max_history` keeps the newest items of each history, `max_prefixes_per_user` the newest targets of each user.
        """
        lengths, first = self.histories.lengths, self.histories.offsets[:-1]
        counts = np.maximum(lengths - 1, 0)
        if self.max_prefixes_per_user is not None:
            counts = np.minimum(counts, self.max_prefixes_per_user)
        end = gather(first + lengths - counts, counts)
        start = np.repeat(first, counts)
        if self.max_history is not None:
            start = np.maximum(start, end - self.max_history)
        return Prefixes(self.histories.values, start, end)

    def event_targets(self, kind: int) -> Longs:
        """Positions in `events` of the training targets of a kind: at most the newest `max_prefixes_per_user` of each
        user, and only recommended items with a history. Their histories are `events.histories(positions, …)`. Raises
        ValueError without events."""
        if self.events is None:
            raise ValueError("this training data has no events: its log holds no searches of users")
        at = self.events.positions(kind)
        row = self.events.rows[at]
        if kind == RECOMMENDED:
            has_history = self.events.end[at] > self.events.offsets[row]
            at, row = at[has_history], row[has_history]
        if self.max_prefixes_per_user is not None:
            counts = np.bincount(row, minlength=len(self.events))
            newer = np.cumsum(counts)[row] - np.arange(len(row))
            at = at[newer <= self.max_prefixes_per_user]
        return at


@dataclass(frozen=True)
class Requests:
    """What a model must answer, without the answers: one ranking per request.

    `ids` (R,) str; `users` (R,) int32 row in `Train.users`, -1 if unknown; `histories` of recommended items, oldest
    first, empty for a search without a user; `queries` (R,) texts, empty strings for recommendation. `exclude` are
    items that must not be returned; `candidates`, unless None, the only ones that may. `events`, in a joint log, are
    the histories with searches, cut to the protocol's `max_history` recommended items and as many searches.
    """

    task: Task
    ids: Strings
    users: Ints
    histories: Ragged
    queries: Strings
    exclude: Ragged
    candidates: Ragged | None = None
    events: Events | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: ArrayLike) -> Requests:
        rows = np.asarray(rows, dtype=np.int64)
        return Requests(
            self.task,
            self.ids[rows],
            self.users[rows],
            self.histories.take(rows),
            self.queries[rows],
            self.exclude.take(rows),
            None if self.candidates is None else self.candidates.take(rows),
            None if self.events is None else self.events.take(rows),
        )

    def batches(self, size: int) -> Iterator[Requests]:
        """The requests in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield self.take(np.arange(start, min(start + size, len(self))))

    def unlimited(self) -> Requests:
        """The same requests without `exclude` and `candidates`."""
        return replace(self, exclude=Ragged.empty(len(self)), candidates=None)

    @cached_property
    def keys(self) -> NDArray[np.uint64]:
        """(R,) a stable hash of every request's id, for breaking ties."""
        return stable_hash(self.ids)


@dataclass(frozen=True)
class Split:
    """Requests and the relevant items of each, with grades.

    `candidates` are frozen lists by name ("uni99"), a row per request: its relevant items and sampled negatives. `seen`
    are the distinct items of each request's whole history, ascending, not cut to `max_history` as `Requests.histories`
    is; only for metrics over new items (`R@30|new`). `later` (R,) says whether a test request is later than the newest
    event of its history, or simultaneous; None without such times.
    """

    requests: Requests
    relevant: Ragged
    candidates: Mapping[str, Ragged] = field(default_factory=dict)
    seen: Ragged | None = None
    later: NDArray[np.bool_] | None = None

    def take(self, rows: ArrayLike) -> Split:
        lists = {name: candidates.take(rows) for name, candidates in self.candidates.items()}
        seen = None if self.seen is None else self.seen.take(rows)
        later = None if self.later is None else self.later[np.asarray(rows, dtype=np.int64)]
        return Split(self.requests.take(rows), self.relevant.take(rows), lists, seen, later)

    def new(self, n_items: int) -> Split:
        """The same requests with seen items excluded, also from the relevant ones; rows may become empty. Raises
        ValueError if `seen` is None."""
        if self.seen is None:
            raise ValueError("this split does not say which items each request has seen")
        relevant, seen = (rows.rows * n_items + rows.values for rows in (self.relevant, self.seen))
        unseen = self.relevant.keep(~np.isin(relevant, seen))
        return Split(replace(self.requests, exclude=self.seen), unseen, later=self.later)


@dataclass(frozen=True)
class SampledList:
    """How the candidate lists of one name were made for a task: `n` negatives by the sampler `kind`; for how many of
    the `requests` a model found too few, so that `fill` completed them; how many have fewer than `n`, at least
    `fewest_negatives`; `lookup_hr1` is the HR@1 of a lookup table without users."""

    task: Task
    name: str
    kind: str
    n: int
    spare: str
    fill: str | None
    seed: int
    requests: int
    requests_filled: int
    requests_with_fewer: int
    fewest_negatives: int
    lookup_hr1: float


@dataclass(frozen=True)
class Dataset:
    """A split log: `valid` and `test` map each task of the data to its Split; `digest` is the sha256 of all of it;
    `lists` say how the candidate lists were made."""

    name: str
    train: Train
    valid: Mapping[Task, Split]
    test: Mapping[Task, Split]
    digest: str
    facts: Mapping[str, Any]
    lists: tuple[SampledList, ...] = ()

    @property
    def tasks(self) -> tuple[Task, ...]:
        return tuple(task for task in TASKS if task in self.test)
