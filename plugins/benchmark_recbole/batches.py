"""Training batches as arrays, from windows or prefixes of histories; items are RecBole's 1 … N, 0 is padding.

B rows of a batch, W the longest row's width, T trained positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark import Prefixes, Ragged, Train

Longs = NDArray[np.int64]


@dataclass(frozen=True)
class Windows:
    """Slices `values[start:end]` of histories; int64 (n,) each. Position `end` is the last slice position's target.

    Where a position's target is the item that follows, positions from `fresh` on are trained: each item of a history
    that has one before it is a target exactly once. `user` is the history's row.
    """

    values: NDArray[np.int32]
    user: Longs
    start: Longs
    end: Longs
    fresh: Longs

    def __len__(self) -> int:
        return len(self.start)

    @property
    def targets(self) -> Longs:
        """(n,) how many positions of each window are trained."""
        return self.end - self.fresh


@dataclass(frozen=True)
class Batch:
    """`inputs` (B, W) with the history from column 0 on, 0 behind it; `trained` bool (B, W); `targets` and `users` (T,)
    belong to the trained positions, row by row."""

    inputs: Longs
    trained: NDArray[np.bool_]
    targets: Longs
    users: Longs


def make_windows(train: Train, length: int) -> Windows:
    """Windows of at most `length` positions, half a window apart, so that every target but those of a history's first
    window has at least half a window of context. `max_prefixes_per_user` leaves only the newest targets."""
    n, first = train.histories.lengths, train.histories.offsets[:-1]
    stride = max(length // 2, 1)
    count = np.where(n < 2, 0, 1 + np.maximum(0, -(-(n - 1 - length) // stride)))
    user = np.repeat(np.arange(len(n)), count)
    j = np.arange(len(user)) - np.repeat(np.cumsum(count) - count, count)
    start = j * stride
    end = np.minimum(start + length, n[user] - 1)
    fresh = np.where(j == 0, 0, start + length - stride)
    if train.max_prefixes_per_user is not None:
        fresh = np.maximum(fresh, n[user] - 1 - train.max_prefixes_per_user)
    keep = fresh < end
    user, start, end, fresh = user[keep], start[keep], end[keep], fresh[keep]
    at = first[user]
    return Windows(train.histories.values, user, at + start, at + end, at + fresh)


def window_batches(windows: Windows, size: int, rng: np.random.Generator) -> Iterator[Batch]:
    """All windows in random order, in batches of at most `size` targets (one window where it alone has more)."""
    order = rng.permutation(len(windows))
    for rows in packed(order, windows.targets[order], size):
        yield window_batch(windows, rows)


def window_batch(windows: Windows, rows: Longs) -> Batch:
    start, end, fresh = windows.start[rows, None], windows.end[rows, None], windows.fresh[rows, None]
    at = start + np.arange(int((end - start).max()))
    inputs = np.where(at < end, windows.values[np.minimum(at, end)].astype(np.int64) + 1, 0)
    trained = (at >= fresh) & (at < end)
    targets = windows.values[at[trained] + 1].astype(np.int64) + 1
    return Batch(inputs, trained, targets, np.repeat(windows.user[rows], windows.targets[rows]))


def packed(rows: Longs, sizes: Longs, limit: int) -> Iterator[Longs]:
    """`rows` cut, in order, into groups whose sizes add up to at most `limit`; a larger row is a group of its own."""
    total = np.cumsum(sizes)
    begin = 0
    while begin < len(rows):
        before = total[begin - 1] if begin else 0
        stop = max(int(np.searchsorted(total, before + limit, side="right")), begin + 1)
        yield rows[begin:stop]
        begin = stop


def prefix_batches(train: Train, length: int, size: int, rng: np.random.Generator) -> Iterator[Batch]:
    """RecBole's own way: every prefix is a row, its newest `length` items predict the next; `size` rows a batch."""
    prefixes = train.prefixes()
    order = rng.permutation(len(prefixes))
    for begin in range(0, len(order), size):
        yield prefix_batch(prefixes, order[begin : begin + size], train.histories, length)


def newest_batches(
    train: Train, length: int, targets: int, size: int, rng: np.random.Generator
) -> Iterator[tuple[Longs, Longs, Longs]]:
    """Every prefix's newest `length` items, the newest in the last column, 0 before the first, and the `targets` items
    that follow, 0 behind the last of the history: inputs (B, `length`), items (B, `targets`), users (B,)."""
    prefixes = train.prefixes()
    order = rng.permutation(len(prefixes))
    for begin in range(0, len(order), size):
        rows = order[begin : begin + size]
        at = prefixes.end[rows, None] - length + np.arange(length)
        known = at >= prefixes.start[rows, None]
        inputs = np.where(known, prefixes.values[np.maximum(at, 0)].astype(np.int64) + 1, 0)
        users = prefix_users(prefixes, rows, train.histories)
        ahead = prefixes.end[rows, None] + np.arange(targets)
        there = ahead < train.histories.offsets[users + 1, None]
        following = train.histories.values[np.where(there, ahead, 0)].astype(np.int64) + 1
        yield inputs, np.where(there, following, 0), users


def prefix_users(prefixes: Prefixes, rows: Longs, histories: Ragged) -> Longs:
    """(B,) the rows of `histories` that these prefixes are of."""
    return np.searchsorted(histories.offsets, prefixes.end[rows], side="right") - 1


def prefix_batch(prefixes: Prefixes, rows: Longs, histories: Ragged, length: int) -> Batch:
    inputs, lengths = item_rows(prefixes.histories(rows), length)
    trained = np.zeros(inputs.shape, dtype=bool)
    trained[np.arange(len(rows)), lengths - 1] = True
    return Batch(inputs, trained, prefixes.targets[rows].astype(np.int64) + 1, prefix_users(prefixes, rows, histories))


def cloze_batches(
    train: Train, width: int, size: int, mask_ratio: float, last_ratio: float, mask: int, rng: np.random.Generator
) -> Iterator[tuple[Longs, Longs, Longs]]:
    """Rows of `width` items with some of them masked: inputs (B, W), the masked columns (B, M) and their items (B, M).

    A row ends in the last column, 0 before it. Histories up to `width` items are one row, longer ones rows half a width
    apart, shifted at random in each epoch but for the newest. Column 0 is never masked: RecBole's loss takes it for the
    padding of the masked columns.
    """
    n, first = train.histories.lengths, train.histories.offsets[:-1]
    user, begin, end = shifted_rows(n, width, max(width // 2, 1), rng)
    target = begin + 1  # the first item of the row that may be masked
    if train.max_prefixes_per_user is not None:
        target = np.maximum(target, n[user] - train.max_prefixes_per_user)
    rows = rng.permutation(np.flatnonzero(target < end))
    for at in range(0, len(rows), size):
        chosen = rows[at : at + size]
        place = end[chosen, None] - width + np.arange(width)
        known = place >= begin[chosen, None]
        items = train.histories.values[np.where(known, first[user[chosen], None] + place, 0)].astype(np.int64) + 1
        from_column = (target - end)[chosen] + width
        yield mask_items(np.where(known, items, 0), from_column, mask_ratio, last_ratio, mask, rng)


def shifted_rows(n: Longs, width: int, stride: int, rng: np.random.Generator) -> tuple[Longs, Longs, Longs]:
    """Rows of at most `width` items of histories of `n` items (two at least), `stride` apart: user, begin and end.

    A history's newest row is its last items; the others are shifted at random.
    """
    count = np.where(n < 2, 0, 1 + np.maximum(0, -(-(n - width) // stride)))
    user = np.repeat(np.arange(len(n)), count)
    j = np.arange(len(user)) - np.repeat(np.cumsum(count) - count, count)
    shift = np.where(j == 0, 0, rng.integers(-(stride // 2), stride - stride // 2, size=len(user)))
    end = np.clip(n[user] - j * stride + shift, np.minimum(n[user], width), n[user])
    return user, np.maximum(end - width, 0), end


def mask_items(
    inputs: Longs, begin: Longs, ratio: float, last_ratio: float, mask: int, rng: np.random.Generator
) -> tuple[Longs, Longs, Longs]:
    """Mask a share `ratio` (at least one) of each row's columns from `begin` on, the last of them among these in
    `last_ratio` of the rows."""
    width = inputs.shape[1]
    draw = rng.random(inputs.shape)
    draw[np.arange(width) < begin[:, None]] = 2
    draw[rng.random(len(inputs)) < last_ratio, -1] = -1
    wanted = np.maximum(np.rint(ratio * (width - begin)).astype(np.int64), 1)
    masked = np.argsort(draw, axis=1)[:, : int(wanted.max())]
    masked = np.where(np.arange(masked.shape[1]) < wanted[:, None], masked, 0)
    targets = np.where(masked > 0, np.take_along_axis(inputs, masked, axis=1), 0)
    row, column = np.nonzero(masked)
    hidden = inputs.copy()
    hidden[row, masked[row, column]] = mask
    return hidden, masked, targets


def pieces(histories: Ragged, length: int | None) -> Ragged:
    """Each history cut, from its newest item back, into rows of `length` items; the oldest row may be shorter."""
    if length is None:
        return histories
    count = -(-histories.lengths // length)
    user = np.repeat(np.arange(len(histories)), count)
    back = np.arange(len(user)) - np.repeat(np.cumsum(count) - count, count)  # 0 for the newest
    sizes = np.minimum(histories.lengths[user] - back * length, length)
    start = histories.offsets[1:][user] - back * length - sizes
    at = np.repeat(start - (np.cumsum(sizes) - sizes), sizes) + np.arange(int(sizes.sum()))
    return Ragged.from_lengths(sizes, histories.values[at])


def item_rows(histories: Ragged, length: int) -> tuple[Longs, Longs]:
    """Each history's newest `length` items as (B, length) RecBole numbers from column 0 on, and how many there are."""
    return histories.padded(length).astype(np.int64) + 1, np.minimum(histories.lengths, length)


@dataclass(frozen=True)
class Seen:
    """Which items every user's history holds, for negatives that are none of them."""

    keys: Longs
    n_items: int
    everything: NDArray[np.bool_]
    """(users,) whether a history holds all items."""

    @classmethod
    def of(cls, histories: Ragged, n_items: int) -> Seen:
        keys = np.unique(histories.rows * n_items + histories.values)
        return cls(keys, n_items, np.bincount(keys // n_items, minlength=len(histories)) == n_items)

    def negatives(self, users: Longs, rng: np.random.Generator) -> Longs:
        """One RecBole item per user, uniform over those not in the history (over all, for a user who has them all)."""
        items = rng.integers(self.n_items, size=len(users))
        open_ = np.flatnonzero(self.holds(users, items) & ~self.everything[users])
        while len(open_):
            items[open_] = rng.integers(self.n_items, size=len(open_))
            open_ = open_[self.holds(users[open_], items[open_])]
        return items + 1

    def holds(self, users: Longs, items: Longs) -> NDArray[np.bool_]:
        wanted = users * self.n_items + items
        at = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.asarray(self.keys[at] == wanted)
