"""What the models read, as flat tensors: words of texts, histories as slices of two streams, batches cut by index.

Axis letters: P training examples or requests, B those of a batch, L items and S searches of a history, C clicks of a
search, W words of a query.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from benchmark import QUERY, RECOMMENDED, SEARCHED, TASKS, Events, Ragged, Requests, Task, Train

UNKNOWN = 1
"""The number of a word that is not in the vocabulary; 0 fills up."""
WORDS = 32
"""How many words of a text are read."""
CLICKS = 5
"""How many clicks of one search in a history are read."""


class Vocabulary:
    """The words of some texts, lower-cased, in alphabetical order from number 2 on."""

    def __init__(self, texts: Iterable[str]) -> None:
        found = {word for text in {str(text) for text in texts} for word in split(text)}
        self.numbers = {word: number for number, word in enumerate(sorted(found), start=2)}

    def __len__(self) -> int:
        return len(self.numbers) + 2

    def encode(self, texts: ArrayLike) -> Tensor:
        """(len(texts), W) the numbers of each text's first `WORDS` words, 0 behind them."""
        distinct, row = np.unique(np.asarray(texts, dtype=object).astype(str), return_inverse=True)
        numbers = [[self.numbers.get(word, UNKNOWN) for word in split(str(text))[:WORDS]] for text in distinct]
        table = Ragged.from_rows(numbers).padded(max([1, *map(len, numbers)]), pad=0)
        return torch.from_numpy(table[row].astype(np.int64))


def split(text: str) -> list[str]:
    return re.findall(r"\w+(?:[-']\w+)*", text.lower())


@dataclass(frozen=True)
class Streams:
    """All that histories hold: recommended clicks and searches, each oldest first, a user's behind another's.

    `item` and `query` (rows of `words`) with their times `item_at` and `query_at`, which order both streams of one
    user; the clicks of search s are `clicked[click_start[s]:click_stop[s]]`. All int64.
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
    """P requests, or training examples with their `target`: slices of the streams, which hold nothing twice.

    The history is `item[item_start:item_stop]` and the searches from `search_start` to `search_stop`, with no click
    from `click_stop` on. `user` is -1 where unknown, `query` a row of `words`.
    """

    task: Task
    streams: Streams
    item_start: Tensor
    item_stop: Tensor
    search_start: Tensor
    search_stop: Tensor
    click_stop: Tensor
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
        start, stop = self.item_start[rows], self.item_stop[rows]
        at, items_known = _slices(start, stop)
        items = _pick(streams.item, at, items_known)
        item_at = _pick(streams.item_at, at, items_known)
        at, searches_known = _slices(self.search_start[rows], self.search_stop[rows])
        queries = _pick(streams.query, at, searches_known)
        query_at = _pick(streams.query_at, at, searches_known)
        first = _pick(streams.click_start, at, searches_known)[:, :, None]
        last = _pick(streams.click_stop, at, searches_known)[:, :, None]
        last = torch.minimum(last, self.click_stop[rows][:, None, None])
        clicks = first + torch.arange(CLICKS, device=first.device)
        clicks_known = (clicks < last) & searches_known[:, :, None]
        return Batch(
            self.task, self.user[rows], self.words[self.query[rows]], self.target[rows],
            items, items_known, item_at, queries, searches_known, query_at,
            _pick(streams.clicked, clicks, clicks_known), clicks_known, streams.words,
        )  # fmt: skip


@dataclass(frozen=True)
class Batch:
    """`user`, `target` (B,), `words` (B, W) of the query; of the history `items` (B, L), `queries` (B, S), rows of
    `query_words`, and `clicks` (B, S, C), 0 where they are not `known`; `item_at` and `query_at` order both."""

    task: Task
    user: Tensor
    words: Tensor
    target: Tensor
    items: Tensor
    items_known: Tensor
    item_at: Tensor
    queries: Tensor
    searches_known: Tensor
    query_at: Tensor
    clicks: Tensor
    clicks_known: Tensor
    query_words: Tensor


def _slices(start: Tensor, stop: Tensor) -> tuple[Tensor, Tensor]:
    """Positions (B, longest slice) of slices, and which of them are inside."""
    width = int((stop - start).max()) if len(start) else 0
    at = start[:, None] + torch.arange(width, device=start.device)
    return at, at < stop[:, None]


def _pick(values: Tensor, at: Tensor, known: Tensor) -> Tensor:
    if not len(values):
        return torch.zeros_like(at)
    return torch.where(known, values[at.clamp(max=len(values) - 1)], 0)


def training(train: Train, vocabulary: Vocabulary, items: int, searches: int) -> dict[Task, Examples]:
    """The examples of each task that has any; their histories are the newest `items` clicks and `searches` searches.

    With a joint log they are its events. Without, they are the prefixes of the histories, and pairs of a query and an
    item that nobody asked.
    """
    items, searches = (n if train.max_history is None else min(n, train.max_history) for n in (items, searches))
    found: dict[Task, Examples] = {}
    if (events := train.events) is not None:
        streams, place = _streams(events, vocabulary)
        kinds: tuple[tuple[Task, int], ...] = (("recommendation", RECOMMENDED), ("search", SEARCHED))
        for task, kind in kinds:
            at = train.event_targets(kind)
            user = events.rows[at]
            query = events.queries_of(at) if kind == SEARCHED else np.zeros(len(at))
            words = streams.words if kind == SEARCHED else torch.zeros((1, 1), dtype=torch.int64)
            slices = place.slices(events.offsets[user], events.end[at], items, searches)
            found[task] = _examples(task, streams, slices, user, query, words, events.value[at])
    else:
        prefixes = train.prefixes()
        user = np.searchsorted(train.histories.offsets, prefixes.end, side="right") - 1
        start = np.maximum(prefixes.start, prefixes.end - items)
        nothing = np.zeros(len(prefixes))
        found["recommendation"] = _examples(
            "recommendation", _plain_streams(train.histories), (start, prefixes.end, nothing, nothing, nothing),
            user, nothing, torch.zeros((1, 1), dtype=torch.int64), prefixes.targets,
        )  # fmt: skip
        nothing = np.zeros(len(train.searches.values))
        found["search"] = _examples(
            "search", _plain_streams(Ragged.empty(0)), (nothing,) * 5, nothing - 1, train.searches.rows,
            vocabulary.encode(train.queries), train.searches.values,
        )  # fmt: skip
    return {task: found[task] for task in TASKS if len(found[task])}


def asked(requests: Requests, vocabulary: Vocabulary, items: int, searches: int) -> Examples:
    """The requests as examples, with `target` 0."""
    slices: Iterable[Any]
    if requests.events is None:
        histories = requests.histories.last(items)
        nothing = np.zeros(len(requests))
        streams = _plain_streams(histories)
        slices = (histories.offsets[:-1], histories.offsets[1:], nothing, nothing, nothing)
    else:
        events = requests.events
        streams, place = _streams(events, vocabulary)
        slices = place.slices(events.offsets[:-1], events.offsets[1:], items, searches)
    number = np.arange(len(requests))
    words = vocabulary.encode(requests.queries)
    return _examples(requests.task, streams, slices, requests.users, number, words, np.zeros(len(requests)))


@dataclass(frozen=True)
class _Places:
    """Where events of each kind are among all of them, ascending."""

    items: NDArray[np.int64]
    queries: NDArray[np.int64]
    clicks: NDArray[np.int64]

    def slices(self, start: Any, end: Any, items: int, searches: int) -> tuple[NDArray[np.int64], ...]:
        """Of the events from `start` to `end`, the newest ones' places in the streams, and where their clicks end."""
        item_stop, search_stop = np.searchsorted(self.items, end), np.searchsorted(self.queries, end)
        return (
            np.maximum(np.searchsorted(self.items, start), item_stop - items), item_stop,
            np.maximum(np.searchsorted(self.queries, start), search_stop - searches), search_stop,
            np.searchsorted(self.clicks, end),
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
    task: Task, streams: Streams, slices: Iterable[Any], user: Any, query: Any, words: Tensor, target: Any
) -> Examples:
    item_start, item_stop, search_start, search_stop, click_stop = map(_long, slices)
    return Examples(
        task, streams, item_start, item_stop, search_start, search_stop, click_stop, _long(user), _long(query), words,
        _long(target),
    )  # fmt: skip


def _long(values: Any) -> Tensor:
    return torch.from_numpy(np.asarray(values).astype(np.int64))
