"""The types of the harness: the data from a log to a leaderboard, and the protocols that plugins implement.

Inside, items are row numbers in the catalogue (int32); ids are strings only at the edges. Data is columnar:
arrays for all requests at once, no Python object per request. Axis letters: U users, R requests, N items, Q queries,
K the depth of a ranking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmark.errors import BenchmarkError, ContractError
from benchmark.hashing import stable_hash, tie_break

if TYPE_CHECKING:
    import pandas as pd

Task = Literal["recommendation", "search"]
"""The task of a request: "recommendation" or "search"."""
TASKS: tuple[Task, ...] = ("recommendation", "search")
"""All tasks."""
PAD = -1
"""Padding after a ranking's last item."""

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Floats = NDArray[np.float64]
Strings = NDArray[np.object_]


@dataclass(frozen=True)
class Ragged:
    """Rows of varying length in two arrays; row i is a view, not a copy.

    `offsets` int64 (n+1,), `values` int32 (offsets[-1],). `grades` float32, aligned with `values`, if rows are relevant
    items; None means grade 1 for all.
    """

    offsets: Longs
    values: Ints
    grades: NDArray[np.float32] | None = None

    @classmethod
    def from_rows(cls, rows: Iterable[ArrayLike]) -> Ragged:
        arrays = [np.asarray(row, dtype=np.int32).reshape(-1) for row in rows]
        return cls.from_lengths(
            [len(a) for a in arrays], np.concatenate(arrays) if arrays else np.empty(0, dtype=np.int32)
        )

    @classmethod
    def from_lengths(cls, lengths: ArrayLike, values: ArrayLike, grades: ArrayLike | None = None) -> Ragged:
        offsets = np.concatenate([[0], np.cumsum(np.asarray(lengths, dtype=np.int64))]).astype(np.int64)
        return cls(
            offsets,
            np.asarray(values, dtype=np.int32),
            None if grades is None else np.asarray(grades, dtype=np.float32),
        )

    @classmethod
    def from_pairs(cls, rows: ArrayLike, values: ArrayLike, n: int, grades: ArrayLike | None = None) -> Ragged:
        """Group `values` by row number into `n` rows, in the order given."""
        rows = np.asarray(rows, dtype=np.int64)
        order = np.argsort(rows, kind="stable")
        lengths = np.bincount(rows, minlength=n)
        return cls.from_lengths(
            lengths, np.asarray(values)[order], None if grades is None else np.asarray(grades)[order]
        )

    @classmethod
    def empty(cls, n: int) -> Ragged:
        return cls(np.zeros(n + 1, dtype=np.int64), np.empty(0, dtype=np.int32))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> Ints:
        if i < 0:
            i += len(self)
        if not 0 <= i < len(self):
            raise IndexError(i)
        return self.values[self.offsets[i] : self.offsets[i + 1]]

    @property
    def lengths(self) -> Longs:
        lengths: Longs = np.diff(self.offsets)
        return lengths

    @property
    def rows(self) -> Longs:
        """The row number of every value, aligned with `values`."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.lengths)

    def has(self, rows: ArrayLike, values: ArrayLike) -> NDArray[np.bool_]:
        """Whether each pair of a row number and a value occurs."""
        rows, values = np.asarray(rows, dtype=np.int64), np.asarray(values, dtype=np.int64)
        n = 1 + max(int(values.max(initial=0)), int(self.values.max(initial=0)))
        pairs: NDArray[np.bool_] = np.isin(rows * n + values, self.rows * n + self.values)
        return pairs

    def take(self, rows: ArrayLike) -> Ragged:
        """The rows of these numbers, in this order."""
        rows = np.asarray(rows, dtype=np.int64)
        lengths = self.lengths[rows]
        at = gather(self.offsets[:-1][rows], lengths)
        return Ragged.from_lengths(lengths, self.values[at], None if self.grades is None else self.grades[at])

    def last(self, n: int) -> Ragged:
        """Each row cut to its last `n` values."""
        lengths = np.minimum(self.lengths, n)
        at = gather(self.offsets[1:] - lengths, lengths)
        return Ragged.from_lengths(lengths, self.values[at], None if self.grades is None else self.grades[at])

    def keep(self, mask: NDArray[np.bool_]) -> Ragged:
        """The same rows with only the values where `mask` (aligned with `values`) is true."""
        lengths = np.bincount(self.rows[mask], minlength=len(self))
        return Ragged.from_lengths(lengths, self.values[mask], None if self.grades is None else self.grades[mask])

    def padded(self, width: int, *, left: bool = False, pad: int = PAD) -> Ints:
        """A (n, width) array of each row's last `width` values, padded on the right, or with `left` on the left."""
        tail = self.last(width)
        out = np.full((len(self), width), pad, dtype=np.int32)
        column = np.arange(len(tail.values)) - np.repeat(tail.offsets[:-1], tail.lengths)
        if left:
            column = column + np.repeat(width - tail.lengths, tail.lengths)
        out[tail.rows, column] = tail.values
        return out


def gather(starts: Longs, lengths: Longs) -> Longs:
    """The positions start, start+1, … start+length-1 of every row, concatenated."""
    total = int(lengths.sum())
    first = np.cumsum(lengths) - lengths
    positions: Longs = np.arange(total, dtype=np.int64) + np.repeat(np.asarray(starts, dtype=np.int64) - first, lengths)
    return positions


RECOMMENDED, QUERY, SEARCHED = 0, 1, 2
"""The kinds of an event: a click on a recommended item, a query, a click on a search result (Shi 2025, equation 1)."""


@dataclass(frozen=True)
class Events:
    """Histories of recommendation and search together, oldest first (Shi 2025, section 3.1).

    `offsets` int64 (n+1,) are the rows. `kind` int8 (E,) is RECOMMENDED, QUERY or SEARCHED, `value` int32 (E,) the
    item, or for a query its number in `queries`. The clicks of a search follow its query. `end` int64 (E,) is the end
    of each event's history, `value[offsets[row]:end]`, which excludes the event, the rest of its search, and its copies
    in the log (a purchase that is also logged as a search).
    """

    offsets: Longs
    kind: NDArray[np.int8]
    value: Ints
    queries: Strings
    end: Longs

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Longs:
        lengths: Longs = np.diff(self.offsets)
        return lengths

    @cached_property
    def rows(self) -> Longs:
        """(E,) the row of every event."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.lengths)

    def take(self, rows: ArrayLike) -> Events:
        """The rows of these numbers, in this order."""
        rows = np.asarray(rows, dtype=np.int64)
        first, lengths = self.offsets[:-1][rows], self.lengths[rows]
        return self._cut(first, first + lengths, np.ones(int(lengths.sum()), dtype=bool))

    def positions(self, kind: int) -> Longs:
        """The positions of the events of this kind, ascending."""
        return np.flatnonzero(self.kind == kind)

    def queries_of(self, positions: ArrayLike) -> Ints:
        """The number of the query of each of these clicks (SEARCHED) or queries."""
        last = np.maximum.accumulate(np.where(self.kind == QUERY, np.arange(len(self.kind)), -1))
        return self.value[last[np.asarray(positions, dtype=np.int64)]]

    def histories(self, positions: ArrayLike, clicks: int | None = None, searches: int | None = None) -> Events:
        """The history of each of these events, a row for each: its newest `clicks` recommended items and newest
        `searches` queries with their clicks; None: all."""
        at = np.asarray(positions, dtype=np.int64)
        return self.between(self.offsets[self.rows[at]], self.end[at], clicks, searches)

    def newest(self, clicks: int | None, searches: int | None) -> Events:
        """Each row cut to its newest `clicks` recommended items and newest `searches` queries with their clicks."""
        return self.between(self.offsets[:-1], self.offsets[1:], clicks, searches)

    def keep(self, mask: NDArray[np.bool_]) -> Events:
        """The same rows with only the events where `mask` (E,) is true."""
        return self._cut(self.offsets[:-1], self.offsets[1:], mask)

    def between(self, start: Longs, stop: Longs, clicks: int | None, searches: int | None) -> Events:
        """The events from `start` to `stop`, a row for each pair, each within one row of these; cut as by `newest`."""
        limits = ((self.kind == RECOMMENDED, clicks), (self.kind == QUERY, searches))
        counts = [np.concatenate([[0], np.cumsum(mask)]) for mask, _ in limits]
        least = [
            count[start] if limit is None else np.maximum(count[start], count[stop] - limit)
            for count, (_, limit) in zip(counts, limits, strict=True)
        ]
        # From the oldest event that either limit admits; the counts before it are those of its first kept one.
        firsts = [
            np.append(np.flatnonzero(mask), len(mask))[np.minimum(n, mask.sum())]
            for (mask, _), n in zip(limits, least, strict=True)
        ]
        begin = np.minimum(np.minimum(*firsts), stop)
        begin = np.maximum(begin, start)
        at = gather(begin, stop - begin)
        row = np.repeat(np.arange(len(start)), stop - begin)
        clicked = self.kind[at] == RECOMMENDED
        # A query and its clicks share the query's number, so that a search is kept or dropped as a whole.
        keep = np.where(clicked, counts[0][at] >= least[0][row], counts[1][at + 1] > least[1][row])
        return self._cut(begin, stop, keep)

    def _cut(self, begin: Longs, stop: Longs, keep: NDArray[np.bool_]) -> Events:
        """Rows `begin` to `stop` with only the events of `keep`; `end` is adjusted."""
        positions = gather(begin, stop - begin)
        row = np.repeat(np.arange(len(begin)), stop - begin)
        kept = np.concatenate([[0], np.cumsum(keep)])
        first = np.cumsum(stop - begin) - (stop - begin)  # of each row in `at`
        end = np.clip(self.end[positions] - begin[row], 0, None) + first[row]
        offsets = np.append(kept[first], kept[-1]).astype(np.int64)
        return Events(
            offsets,
            self.kind[positions][keep],
            self.value[positions][keep],
            self.queries,
            kept[end][keep].astype(np.int64),
        )


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


@dataclass(frozen=True)
class Ranking:
    """`items` int32 (R, K), best first, each at most once in its row, padded with -1; `scores` float32 (R, K), never
    rising.

    The order of the items is the ranking; scores are for information only.
    """

    items: Ints
    scores: NDArray[np.float32]

    @classmethod
    def empty(cls, n: int, k: int) -> Ranking:
        """`n` empty rankings of depth `k`, all padding, to be filled in."""
        return cls(np.full((n, k), PAD, dtype=np.int32), np.full((n, k), -np.inf, dtype=np.float32))

    @classmethod
    def concat(cls, parts: Iterable[Ranking], k: int) -> Ranking:
        """The rankings of several groups of requests, all of depth `k`, concatenated."""
        parts = [cls.empty(0, k), *parts]
        return cls(np.concatenate([part.items for part in parts]), np.concatenate([part.scores for part in parts]))

    @classmethod
    def best(cls, requests: Requests, rows: ArrayLike, items: ArrayLike, scores: ArrayLike, k: int) -> Ranking:
        """The best `k` items of every request, from the items found for it: `rows` (F,) their requests' row numbers,
        `items` (F,), `scores` (F,), in any order, each item at most once per request.

        Honours `exclude` and `candidates`; an item scored -inf is never returned; equal scores are ordered by a hash of
        (request, item). Raises ContractError on NaN.
        """
        rows, items, scores = np.asarray(rows, dtype=np.int64), np.asarray(items, dtype=np.int64), np.asarray(scores)
        if not np.issubdtype(scores.dtype, np.floating):
            scores = scores.astype(np.float64)
        if np.isnan(scores).any():
            raise ContractError("the scores hold NaN")
        allowed = scores > -np.inf
        if requests.candidates is not None:
            allowed &= requests.candidates.has(rows, items)
        if len(requests.exclude.values):
            allowed &= ~requests.exclude.has(rows, items)
        if not allowed.all():
            rows, items, scores = rows[allowed], items[allowed], scores[allowed]
        order = np.lexsort((-scores, rows))
        rows, items, scores = rows[order], items[order], scores[order]
        level = np.cumsum(np.append(0, (np.diff(rows) != 0) | (np.diff(scores) != 0)))[: len(rows)]
        tied = np.flatnonzero(np.bincount(level)[level] > 1)
        items[tied] = items[tied[np.lexsort((tie_break(requests.keys[rows[tied]], items[tied]), level[tied]))]]
        place = np.arange(len(rows)) - np.searchsorted(rows, np.arange(len(requests)))[rows]
        ranking, kept = cls.empty(len(requests), k), place < k
        ranking.items[rows[kept], place[kept]] = items[kept]
        ranking.scores[rows[kept], place[kept]] = scores[kept]
        return ranking

    def __len__(self) -> int:
        return len(self.items)

    def take(self, rows: ArrayLike) -> Ranking:
        rows = np.asarray(rows, dtype=np.int64)
        return Ranking(self.items[rows], self.scores[rows])


@dataclass
class Context:
    """A model's training environment.

    `seed` is the only source of randomness, `device` a torch device name, `threads` the number that the cell may use,
    `workdir` a private folder of the cell, which may hold checkpoints of its interrupted fit.
    """

    seed: int
    device: str
    workdir: Path
    threads: int = 1
    facts: dict[str, Any] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)
    on_progress: Callable[[int, int, Mapping[str, float]], None] | None = None
    shared: Path | None = None
    """A folder shared by all cells of the data set, a cache of costly results: name each file by a digest of all its
    inputs, write it under a temporary name and rename it. None outside a run."""
    embed: Callable[[str, Mapping[str, Any]], NDArray[np.float32]] | None = None
    """Set by the harness; see `item_embeddings`."""

    def item_embeddings(self, model: str, params: Mapping[str, Any]) -> NDArray[np.float32]:
        """(N, d) the item embeddings of another model of the harness, trained on the same data with the same seed.

        It is trained once for all cells with the same request. A model that calls this names the other model in
        `needs`, so that a plan checks it. Raises BenchmarkError if the other model has no embeddings, or outside a run.
        """
        if self.embed is None:
            raise BenchmarkError(f"the item embeddings of '{model}' are available only in a run of the harness.")
        return self.embed(model, params)

    def record(self, name: str, value: Any) -> None:
        """Record a fact about this cell: parameters, a collision rate, the number of distinct items. JSON only."""
        self.facts[name] = value

    def remark(self, text: str) -> None:
        """Record a caveat about the model's numbers, such as a part of it that has not learned: it is printed next to
        them in every report and kept in the fact `remarks`."""
        self.facts.setdefault("remarks", []).append(text)

    def progress(self, step: int, total: int, **values: float) -> None:
        """Report how far training is; named values (loss, R@10) become points of the learning curve."""
        if values:
            self.curve.append({"step": step, **{k: float(v) for k, v in values.items()}})
        if self.on_progress is not None:
            self.on_progress(step, total, values)


@runtime_checkable
class Model(Protocol):
    """A model plugin. The constructor only stores its typed keyword arguments; `fit` sets attributes that end in `_`.
    The arrays passed to a model are read-only: it copies what it wants to change.

    The bounds of an argument are in its type (`layers: Count`, `dropout: ProperFraction`), and the harness checks every
    value against them; an argument whose type is a dataclass takes a mapping in a suite. `benchmark list NAME` prints
    the docstring below a dataclass field as the parameter's description.

    `tasks` is a class attribute, or an instance attribute if a parameter decides it. A class may also state `requires`,
    the names of the modules that it imports when it works (checked before anything trains), and `needs_training =
    False` if it ranks by the items' texts alone: it may then run on data without training data (`split: all-test`),
    where all others are refused.

    A model may offer further rankings of the same requests from one fit: `variants`, their names, and
    `rank_variant(variant, requests, k)`, which may ignore `exclude` and `candidates`. They are stored for analyses and
    are not on the leaderboard.

    A class or an instance may also declare (by default False, and `tasks` for `built_for`):

    - `deterministic = True`: every seed gives the same rankings, as for counting, or encoding without training. The
      model then runs with one seed, and comparisons assume no variance between its fits.
    - `excludes_history = True`: it never recommends an item of the request's history, even if the protocol allows it.
      Over all items it is not tested against a model that may.
    - `built_for`: the tasks for which its parameters were chosen, if it can do others too.

    A model with a vector for every item may offer them after `fit`: `item_embeddings()`, float32 (N, d). A model that
    builds on another's has `needs`, pairs of a model's name and its parameters: see `Context.item_embeddings`.
    """

    @property
    def tasks(self) -> frozenset[Task]: ...

    def fit(self, train: Train, valid: Mapping[Task, Split], context: Context) -> None:
        """Learn from `train`; choose checkpoints on `valid`. Forgets any earlier fit."""

    def rank(self, requests: Requests, k: int) -> Ranking:
        """At most `k` distinct items per request, best first; honours `exclude` and `candidates`. Raises
        NotFittedError."""


class Metric(Protocol):
    """A metric plugin: one value per request, or one number about all the lists together (catalogue coverage, say).

    A metric that has a parameter called `popularity` is given the (N,) training counts of the task. Its attribute
    `better`, "higher", "lower" or "neither", says which of its values are better (`benchmark.better` sets it for a
    function); without it the higher ones are, and of one number about all lists neither. A request without a ranking
    scores 0, and where lower is better what the metric says.
    """

    def __call__(self, ranking: Ranking, relevant: Ragged, k: int) -> Floats | float: ...


@dataclass(frozen=True)
class Cell:
    """A data set, a model and a seed: the unit that is trained once. `fingerprint` (64 hex digits) identifies exactly
    what it computes."""

    dataset: str
    model: str
    seed: int
    tasks: tuple[Task, ...]
    fingerprint: str
    digest: str
    dataset_use: str
    dataset_params: Mapping[str, Any]
    model_use: str
    model_params: Mapping[str, Any]
    versions: Mapping[str, str]
    deterministic: bool = False
    excludes_history: bool = False
    built_for: tuple[Task, ...] = TASKS
    """The model's declarations: see `Model`."""

    @property
    def name(self) -> str:
        return f"{self.dataset}/{self.model}/seed-{self.seed}"

    def __hash__(self) -> int:
        return hash((self.dataset, self.model, self.fingerprint))


@dataclass(frozen=True)
class CellResult:
    """How a cell ended. `means` maps (task, slice, metric) to the mean over requests; empty when it failed.

    `costs` holds fit_seconds, embeddings_seconds, rank_seconds, milliseconds_per_request, peak_memory_bytes,
    parameters, updates and examples (None: not stated).
    """

    status: Literal["finished", "failed"]
    directory: Path
    facts: Mapping[str, Any] = field(default_factory=dict)
    costs: Mapping[str, float | None] = field(default_factory=dict)
    curve: Sequence[Mapping[str, float]] = ()
    means: Mapping[tuple[Task, str, str], float] = field(default_factory=dict)
    error: str = ""
    reused: bool = False


@dataclass(frozen=True)
class Scores:
    """One cell's scores on one slice of one task.

    `rows` (n,) are the requests that have a relevant item in the slice; `values` maps a metric to its float64 (n,)
    values; `totals` maps a metric of all lists together to its number; `coverage` is the share of those requests with a
    ranking. `own_rows` has the requests of metrics on fewer of them (`R@30|new`); all other metrics are over `rows`.
    """

    rows: Longs
    values: Mapping[str, Floats]
    totals: Mapping[str, float]
    coverage: float
    own_rows: Mapping[str, Longs] = field(default_factory=dict)


@dataclass(frozen=True)
class Analysis:
    """A table for the report, `note` below it, and a `figure` above it: the text of an SVG file, empty for none."""

    title: str
    table: pd.DataFrame
    note: str = ""
    figure: str = ""


@dataclass(frozen=True)
class AnalysisInput:
    """The input of an analysis: the data sets by name, and the results of every finished cell.

    `dataset(name)` and `ranking(cell, task)` read from disk when called; `ranking(cell, task, variant)` is one of the
    cell's further rankings, named by `variants(cell)`, or that of a candidate list ("uni99"). `facts(cell)` are the
    facts that the model recorded. `published(cell, task, metric)` is the paper's number for the model over all
    requests, or None; `published(cell, task, metric, "T=1.5")` is that of its row "<model> T=1.5".
    """

    datasets: Sequence[str]
    cells: Sequence[Cell]
    dataset: Callable[[str], Dataset]
    ranking: Callable[..., Ranking]
    variants: Callable[[Cell], Sequence[str]] = lambda cell: ()
    facts: Callable[[Cell], Mapping[str, Any]] = lambda cell: {}
    published: Callable[..., float | None] = lambda cell, task, metric, row="": None
