"""Joint logs: users' clicks and searches in one order (Shi 2025, section 3.1).

A purchase is often logged twice, as a click and as the click of a search: the semi-synthetic Amazon data (Shi 2025,
A.1) make one search of every purchase. Copies of one event form a *moment*. A history ends before its target's moment,
or it would contain the answer.

Events of one user and item form one moment if each is at most `copies_within` seconds after the previous one: 0 joins
simultaneous ones, and a chain of near times is one moment of any length. A search with several clicks joins their
moments. A moment has the time of its earliest event; events between its first and last come after it, so they are not
in the moment's histories, and the moment is in theirs, as it would be without the copy. Axis letters: I interactions, S
searches, C clicks of searches, E events.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.data.events import QUERY, RECOMMENDED, SEARCHED, Events
from benchmark.data.hashing import splitmix, stable_hash
from benchmark.data.ragged import PAD, Ints, Longs, Ragged, gather
from benchmark.data.types import Log


@dataclass(frozen=True)
class SearchRows:
    """Searches (S,) by user and time, each with a row of distinct `clicks`, which may be empty."""

    user: Ints
    query: Ints
    time: Longs
    clicks: Ragged
    part: NDArray[np.int8] | None

    @classmethod
    def of(cls, log: Log) -> SearchRows:
        """The searches of a log in normal order: rows of one user, query and time are one search."""
        s = log.searches
        assert s is not None
        key = np.stack([s.user.astype(np.int64), s.time, s.query.astype(np.int64)])
        new = np.ones(len(s.user), dtype=bool)
        new[1:] = (key[:, 1:] != key[:, :-1]).any(axis=0)
        row, first, clicked = np.cumsum(new) - 1, np.flatnonzero(new), s.item != PAD
        part = None
        if s.part is not None:
            part = np.maximum.reduceat(s.part, first).astype(np.int8) if len(first) else s.part
        clicks = Ragged.from_pairs(row[clicked], s.item[clicked], len(first))
        return cls(s.user[first], s.query[first], s.time[first].astype(np.int64), clicks, part)


@dataclass(frozen=True)
class Timeline:
    """All events of a joint log, a row per user: `time` (E,), and `unit` (E,), the interaction's number, or I plus the
    search's.

    `group` (E,) numbers the moments; `time` is the earliest of the moment.
    """

    events: Events
    time: Longs
    unit: Longs
    group: Longs


def timeline(log: Log, searches: SearchRows, *, copies_within: int = 0, leaky: bool = False) -> Timeline:
    """The events of a log in normal order, by user and the time of their moment.

    Simultaneous events are in the order of the interactions; a search without a copy among them comes before or after
    them by a hash. With `leaky` copies are not recognised, as in the public pipeline of Shi 2025: a target's copy is
    then in its history if it is sorted before it.
    """
    n, m = len(log.user), len(searches.user)
    clicks = searches.clicks
    user = np.concatenate([log.user, searches.user])
    time = np.concatenate([log.time, searches.time])
    group = np.arange(n + m) if leaky else _groups(log, searches, copies_within)
    earliest = np.full(n + m, np.iinfo(np.int64).max)
    np.minimum.at(earliest, group, time)
    time = earliest[group]
    # A unit goes to the first interaction of its group; a search without one, before or after all of its time.
    place = np.full(n + m, n, dtype=np.int64)
    np.minimum.at(place, group[:n], np.arange(n))
    place = place[group]
    words = splitmix(stable_hash(log.users)[searches.user] ^ splitmix(stable_hash(log.query_ids)[searches.query]))
    words = np.concatenate([np.zeros(n, dtype=np.uint64), words])
    first = np.full(n + m, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(first, group, words)
    words = first[group]  # one for the whole moment, which may hold two searches for one item
    place[(place == n) & (words >> np.uint64(63) == 1)] = -1
    without_interaction = (place == n) | (place == -1)
    clicked = np.arange(n + m) < n
    order = np.lexsort((np.arange(n + m), clicked, group, np.where(without_interaction, words, 0), place, time, user))
    lengths = np.concatenate([np.ones(n, dtype=np.int64), 1 + clicks.lengths])[order]
    unit = np.repeat(order, lengths)
    step = gather(np.zeros(n + m, dtype=np.int64), lengths)  # 0: the click or the query, then its clicks
    search = np.maximum(unit - n, 0)
    kind = np.where(unit < n, RECOMMENDED, np.where(step == 0, QUERY, SEARCHED)).astype(np.int8)
    value = np.empty(len(unit), dtype=np.int32)
    value[kind == RECOMMENDED] = log.item[unit[kind == RECOMMENDED]]
    value[kind == QUERY] = searches.query[search[kind == QUERY]]
    clicks_of_search = kind == SEARCHED
    value[clicks_of_search] = clicks.values[clicks.offsets[search[clicks_of_search]] + step[clicks_of_search] - 1]
    new = np.ones(len(unit), dtype=bool)
    new[1:] = group[unit[1:]] != group[unit[:-1]]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(user[unit], minlength=len(log.users)))]).astype(np.int64)
    end = np.maximum.accumulate(np.where(new, np.arange(len(unit)), 0))
    return Timeline(Events(offsets, kind, value, log.queries, end), time[unit], unit, np.cumsum(new) - 1)


def _groups(log: Log, searches: SearchRows, copies_within: int) -> Longs:
    """(I+S,) the number of each unit's moment; units with the same item at near times share one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n, m = len(log.user), len(searches.user)
    unit, same, gap = _meetings(log, searches)
    thing = np.cumsum(~(same & (gap <= copies_within))) - 1
    total = n + m + int(thing.max(initial=-1)) + 1
    links = coo_array((np.ones(len(unit), dtype=np.int8), (unit, n + m + thing)), shape=(total, total))
    group: Longs = connected_components(links, directed=False)[1][: n + m].astype(np.int64)
    return group


def _meetings(log: Log, searches: SearchRows) -> tuple[Longs, NDArray[np.bool_], Longs]:
    """Every meeting of a user and an item, by user, item and time: (I+C,) its unit, whether the row before is of the
    same user and item, and how many seconds ago that was."""
    n, rows = len(log.user), searches.clicks.rows
    user = np.concatenate([log.user, searches.user[rows]])
    time = np.concatenate([log.time, searches.time[rows]])
    item = np.concatenate([log.item, searches.clicks.values])
    unit = np.concatenate([np.arange(n), n + rows])
    order = np.lexsort((unit, time, item, user))
    user, item, time = user[order], item[order], time[order]
    same = np.zeros(len(order), dtype=bool)
    same[1:] = (user[1:] == user[:-1]) & (item[1:] == item[:-1])
    return unit[order], same, np.diff(time, prepend=time[:1])


def near_copies(log: Log, searches: SearchRows, copies_within: int, within: int) -> int:
    """The number of possible copies that are not treated as such: a user's search click and other interaction with one
    item, more than `copies_within` and at most `within` seconds apart."""
    unit, same, gap = _meetings(log, searches)
    searched = unit >= len(log.user)
    other = np.zeros(len(unit), dtype=bool)
    other[1:] = searched[1:] != searched[:-1]
    return int((same & other & (gap > copies_within) & (gap <= within)).sum())


def compact(events: Events) -> Events:
    """The same events with only the texts of queries that occur in them."""
    is_query = events.kind == QUERY
    used, number = np.unique(events.value[is_query], return_inverse=True)
    value = events.value.copy()
    value[is_query] = number
    return Events(events.offsets, events.kind, value, events.queries[used], events.end)
