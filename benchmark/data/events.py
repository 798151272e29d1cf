"""Histories of recommendation and search together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmark.data.ragged import Ints, Longs, Strings, gather

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
