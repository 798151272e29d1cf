"""The models' inputs as flat tensors: words of texts, histories as slices of two streams, batches by index.

Axis letters: P training examples or requests, B those of a batch, G the histories that these share, L items and S
searches of a history, C clicks of a search, W words of a query.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from benchmark import QUERY, RECOMMENDED, SEARCHED, TASKS, Events, Ragged, Requests, Task, Train, words

UNKNOWN = 1
"""The number of a word that is not in the vocabulary; 0 is padding."""
WORDS = 32
"""The number of words of a text that are read."""
CLICKS = 5
"""The number of clicks of one search in a history that are read."""
SHARED = 64
"""Training examples of one user can share one history if their histories end within the same block of this many events.
"""


class Vocabulary:
    """The words of some texts (`benchmark.words`), in alphabetical order from number 2 on."""

    def __init__(self, texts: Iterable[str]) -> None:
        distinct = {word for text in {str(text) for text in texts} for word in words(text)}
        self.numbers = {word: number for number, word in enumerate(sorted(distinct), start=2)}

    def __len__(self) -> int:
        return len(self.numbers) + 2

    def encode(self, texts: ArrayLike) -> Tensor:
        """(len(texts), W) the numbers of each text's first `WORDS` words, padded with 0."""
        distinct, row = np.unique(np.asarray(texts, dtype=object).astype(str), return_inverse=True)
        numbers = [[self.numbers.get(word, UNKNOWN) for word in words(str(text))[:WORDS]] for text in distinct]
        table = Ragged.from_rows(numbers).padded(max([1, *map(len, numbers)]), pad=0)
        return torch.from_numpy(table[row].astype(np.int64))


def vocabulary_of(train: Train) -> Vocabulary:
    """The words of all training queries, including those without a click."""
    return Vocabulary([*train.queries, *(() if train.events is None else train.events.queries)])


@dataclass(frozen=True)
class Streams:
    """The events of all histories: recommended clicks and searches, user by user, each oldest first.

    `item` and `query` (rows of `words`) have times `item_at` and `query_at`, which order both streams of one user; the
    clicks of search s are `clicked[click_start[s]:click_stop[s]]`. All int64.
    """

    item: Tensor
    item_at: Tensor
    query: Tensor
    query_at: Tensor
    click_start: Tensor
    click_stop: Tensor
    clicked: Tensor
    words: Tensor


@dataclass(frozen=True)
class Examples:
    """P requests, or training examples with their `target`, as slices of the streams, without copies.

    The history is `item[item_start:item_stop]` and the searches from `search_start` to `search_stop`. Examples with the
    same `group` share one encoded history, of which each sees its slice. `user` is -1 if unknown, `query` a row of
    `words`.
    """

    task: Task
    streams: Streams
    item_start: Tensor
    item_stop: Tensor
    search_start: Tensor
    search_stop: Tensor
    group: Tensor
    user: Tensor
    query: Tensor
    words: Tensor
    target: Tensor

    def __len__(self) -> int:
        return len(self.user)

    def to(self, device: torch.device) -> Examples:
        streams = Streams(*(getattr(self.streams, f.name).to(device) for f in fields(Streams)))
        tensors = {f.name: getattr(self, f.name).to(device) for f in fields(self) if f.name not in ("task", "streams")}
        return replace(self, streams=streams, **tensors)

    def batch(self, rows: Tensor) -> Batch:
        streams = self.streams
        number, group = torch.unique(self.group[rows], return_inverse=True)
        order = group.argsort(stable=True)
        first = torch.searchsorted(group[order], torch.arange(len(number), device=rows.device))
        slot = torch.empty_like(group)
        slot[order] = torch.arange(len(rows), device=rows.device) - first[group[order]]
        item, items_present, items_visible = _shared(self.item_start[rows], self.item_stop[rows], group, len(number))
        search, searches_present, searches_visible = _shared(
            self.search_start[rows], self.search_stop[rows], group, len(number)
        )
        start = _pick(streams.click_start, search, searches_present)[:, :, None]
        stop = _pick(streams.click_stop, search, searches_present)[:, :, None]
        click = start + torch.arange(CLICKS, device=rows.device)
        clicks_present = (click < stop) & searches_present[:, :, None]
        return Batch(
            task=self.task,
            user=self.user[rows],
            words=self.words[self.query[rows]],
            target=self.target[rows],
            group=group,
            slot=slot,
            items=_pick(streams.item, item, items_present),
            items_present=items_present,
            items_visible=items_visible,
            item_at=_pick(streams.item_at, item, items_present),
            queries=_pick(streams.query, search, searches_present),
            searches_present=searches_present,
            searches_visible=searches_visible,
            query_at=_pick(streams.query_at, search, searches_present),
            clicks=_pick(streams.clicked, click, clicks_present),
            clicks_present=clicks_present,
            query_words=streams.words,
        )


@dataclass(frozen=True)
class Batch:
    """`user`, `target` (B,), `words` (B, W) of the query, and G histories: row b has history `group[b]`, and is the
    `slot[b]`-th row with that history.

    A history's `items` (G, L), `queries` (G, S), rows of `query_words`, and `clicks` (G, S, C) are padded with 0; the
    masks `…_present` are false at padding; `item_at` and `query_at` order both. Row b sees only what
    `items_visible` (B, L) and `searches_visible` (B, S) mark.
    """

    task: Task
    user: Tensor
    words: Tensor
    target: Tensor
    group: Tensor
    slot: Tensor
    items: Tensor
    items_present: Tensor
    items_visible: Tensor
    item_at: Tensor
    queries: Tensor
    searches_present: Tensor
    searches_visible: Tensor
    query_at: Tensor
    clicks: Tensor
    clicks_present: Tensor
    query_words: Tensor


def _shared(start: Tensor, stop: Tensor, group: Tensor, groups: int) -> tuple[Tensor, Tensor, Tensor]:
    """Positions (G, longest) that cover a group's slices, a mask of those that are not padding, and a mask (B, longest)
    of each row's slice."""
    empty = stop <= start
    far = torch.iinfo(torch.int64).max
    low = torch.full((groups,), far, device=start.device)
    low = low.scatter_reduce(0, group, start.masked_fill(empty, far), "amin")
    high = torch.zeros_like(low).scatter_reduce(0, group, stop.masked_fill(empty, 0), "amax")
    low = torch.minimum(low, high)
    width = int((high - low).max()) if groups else 0
    position = low[:, None] + torch.arange(width, device=start.device)
    position_of_row = position[group]
    return position, position < high[:, None], (position_of_row >= start[:, None]) & (position_of_row < stop[:, None])


def _pick(values: Tensor, position: Tensor, present: Tensor) -> Tensor:
    if not len(values):
        return torch.zeros_like(position)
    return torch.where(present, values[position.clamp(max=len(values) - 1)], 0)


def training(train: Train, vocabulary: Vocabulary, items: int, searches: int, share: bool) -> dict[Task, Examples]:
    """The examples of each task that has any; their histories are the newest `items` clicks and `searches` searches.

    With a joint log they are its events; otherwise the prefixes of the histories, and pairs of a query and an item
    without a user. With `share`, nearby examples of one user form a group.
    """
    items, searches = train.capped(items), train.capped(searches)
    examples: dict[Task, Examples] = {}
    slices: Sequence[Any]
    empty = torch.zeros((1, 1), dtype=torch.int64)
    if (events := train.events) is not None:
        streams, place = _streams(events, vocabulary)
        kinds: tuple[tuple[Task, int], ...] = (("recommendation", RECOMMENDED), ("search", SEARCHED))
        for task, kind in kinds:
            targets = train.event_targets(kind)
            user, end = events.rows[targets], events.end[targets]
            query = events.queries_of(targets) if kind == SEARCHED else np.zeros(len(targets))
            words = streams.words if kind == SEARCHED else empty
            slices = place.slices(streams, events.offsets[user], end, items, searches)
            group = _groups(user, end - events.offsets[user], share)
            examples[task] = _examples(task, streams, slices, group, user, query, words, events.value[targets])
    else:
        prefixes, offsets = train.prefixes(), train.histories.offsets
        user = np.searchsorted(offsets, prefixes.end, side="right") - 1
        nothing = np.zeros(len(prefixes))
        slices = (np.maximum(prefixes.start, prefixes.end - items), prefixes.end, nothing, nothing)
        group = _groups(user, prefixes.end - offsets[user], share)
        examples["recommendation"] = _examples(
            "recommendation", _plain_streams(train.histories), slices, group, user, nothing, empty, prefixes.targets
        )
        nothing = np.zeros(len(train.searches.values))
        examples["search"] = _examples(
            "search", _plain_streams(Ragged.empty(0)), (nothing,) * 4, np.arange(len(nothing)), nothing - 1,
            train.searches.rows, vocabulary.encode(train.queries), train.searches.values,
        )  # fmt: skip
    return {task: examples[task] for task in TASKS if len(examples[task])}


def _groups(user: NDArray[np.int64], end: NDArray[np.int64], share: bool) -> NDArray[np.int64]:
    """A group number per example, shared by those of one user whose histories end in the same `SHARED` events."""
    if not share:
        return np.arange(len(user))
    first = np.full(int(user.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, user, end)
    block = (end - first[user]) // SHARED
    number = np.unique(user * (int(block.max(initial=0)) + 1) + block, return_inverse=True)[1]
    return np.asarray(number, dtype=np.int64)


def of_requests(requests: Requests, vocabulary: Vocabulary, items: int, searches: int) -> Examples:
    """The requests as examples, with `target` 0."""
    slices: Sequence[Any]
    number = np.arange(len(requests))
    if requests.events is None:
        histories = requests.histories.last(items)
        streams = _plain_streams(histories)
        slices = (histories.offsets[:-1], histories.offsets[1:], 0 * number, 0 * number)
    else:
        events = requests.events
        streams, place = _streams(events, vocabulary)
        slices = place.slices(streams, events.offsets[:-1], events.offsets[1:], items, searches)
    words = vocabulary.encode(requests.queries)
    return _examples(requests.task, streams, slices, number, requests.users, number, words, 0 * number)


@dataclass(frozen=True)
class _Places:
    """The positions of each kind of event, ascending."""

    items: NDArray[np.int64]
    queries: NDArray[np.int64]
    clicks: NDArray[np.int64]

    def slices(
        self, streams: Streams, start: Any, end: Any, items: int, searches: int
    ) -> tuple[NDArray[np.int64], ...]:
        """The places in the streams of the newest events between `start` and `end`, without a search that `end` cuts in
        two."""
        item_first, item_stop = np.searchsorted(self.items, start), np.searchsorted(self.items, end)
        search_first, search_stop = np.searchsorted(self.queries, start), np.searchsorted(self.queries, end)
        clicks = np.append(0, streams.click_stop.numpy())[search_stop]  # where those of the last search end
        search_stop -= (search_stop > search_first) & (clicks > np.searchsorted(self.clicks, end))
        return (
            np.maximum(item_first, item_stop - items), item_stop,
            np.maximum(search_first, search_stop - searches), search_stop,
        )  # fmt: skip


def _streams(events: Events, vocabulary: Vocabulary) -> tuple[Streams, _Places]:
    place = _Places(*(events.positions(kind) for kind in (RECOMMENDED, QUERY, SEARCHED)))
    # A search's clicks are those before the next query, or the end of the row.
    stop = np.minimum(np.append(place.queries[1:], len(events.kind)), events.offsets[1:][events.rows[place.queries]])
    streams = Streams(
        item=_long(events.value[place.items]),
        item_at=_long(place.items),
        query=_long(events.value[place.queries]),
        query_at=_long(place.queries),
        click_start=_long(np.searchsorted(place.clicks, place.queries)),
        click_stop=_long(np.searchsorted(place.clicks, stop)),
        clicked=_long(events.value[place.clicks]),
        words=vocabulary.encode(events.queries if len(events.queries) else [""]),
    )
    return streams, place


def _plain_streams(histories: Ragged) -> Streams:
    none = torch.zeros(0, dtype=torch.int64)
    items = _long(histories.values)
    return Streams(
        items, torch.arange(len(items)), none, none, none, none, none, torch.zeros((1, 1), dtype=torch.int64)
    )


def _examples(
    task: Task, streams: Streams, slices: Sequence[Any], group: Any, user: Any, query: Any, words: Tensor, target: Any
) -> Examples:
    item_start, item_stop, search_start, search_stop = map(_long, slices)
    return Examples(
        task, streams, item_start, item_stop, search_start, search_stop, _long(group), _long(user), _long(query), words,
        _long(target),
    )  # fmt: skip


def _long(values: Any) -> Tensor:
    return torch.from_numpy(np.asarray(values).astype(np.int64))
