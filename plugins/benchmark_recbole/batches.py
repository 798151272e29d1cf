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

    A position's target is the next item. Positions from `fresh` on are trained, so that every item of a history except
    the first is a target exactly once. `user` is the history's row.
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
        """(n,) the number of trained positions of each window."""
        return self.end - self.fresh


@dataclass(frozen=True)
class Batch:
    """`inputs` (B, W) hold the history from column 0 on, padded with 0; `trained` bool (B, W); `targets` and `users`
    (T,) belong to the trained positions, row by row."""

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
    origin = first[user]
    return Windows(train.histories.values, user, origin + start, origin + end, origin + fresh)


def window_batches(windows: Windows, size: int, rng: np.random.Generator) -> Iterator[Batch]:
    """All windows in random order, in batches of at most `size` targets (a larger window is a batch of its own)."""
    order = rng.permutation(len(windows))
    for rows in packed(order, windows.targets[order], size):
        yield window_batch(windows, rows)


def window_batch(windows: Windows, rows: Longs) -> Batch:
    start, end, fresh = windows.start[rows, None], windows.end[rows, None], windows.fresh[rows, None]
    position = start + np.arange(int((end - start).max()))
    inputs = np.where(position < end, windows.values[np.minimum(position, end)].astype(np.int64) + 1, 0)
    trained = (position >= fresh) & (position < end)
    targets = windows.values[position[trained] + 1].astype(np.int64) + 1
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
    """As in RecBole: every prefix is a row, its newest `length` items predict the next; `size` rows per batch."""
    prefixes = train.prefixes()
    order = rng.permutation(len(prefixes))
    for begin in range(0, len(order), size):
        yield prefix_batch(prefixes, order[begin : begin + size], train.histories, length)


def newest_batches(
    train: Train, length: int, targets: int, size: int, rng: np.random.Generator
) -> Iterator[tuple[Longs, Longs, Longs]]:
    """Every prefix's newest `length` items, padded with 0 on the left, and the `targets` items that follow, padded with
    0 on the right: inputs (B, `length`), items (B, `targets`), users (B,)."""
    prefixes = train.prefixes()
    order = rng.permutation(len(prefixes))
    for begin in range(0, len(order), size):
        rows = order[begin : begin + size]
        position = prefixes.end[rows, None] - length + np.arange(length)
        inside = position >= prefixes.start[rows, None]
        inputs = np.where(inside, prefixes.values[np.maximum(position, 0)].astype(np.int64) + 1, 0)
        users = prefix_users(prefixes, rows, train.histories)
        ahead = prefixes.end[rows, None] + np.arange(targets)
        present = ahead < train.histories.offsets[users + 1, None]
        following = train.histories.values[np.where(present, ahead, 0)].astype(np.int64) + 1
        yield inputs, np.where(present, following, 0), users


def prefix_users(prefixes: Prefixes, rows: Longs, histories: Ragged) -> Longs:
    """(B,) the rows of `histories` to which these prefixes belong."""
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

    Rows are padded with 0 on the left. A history of up to `width` items is one row; a longer one is several rows half a
    width apart, all but the newest shifted at random in each epoch. Column 0 is never masked: RecBole's loss uses it as
    the padding of the masked columns.
    """
    n, first = train.histories.lengths, train.histories.offsets[:-1]
    user, begin, end = shifted_rows(n, width, max(width // 2, 1), rng)
    target = begin + 1  # the first item of the row that may be masked
    if train.max_prefixes_per_user is not None:
        target = np.maximum(target, n[user] - train.max_prefixes_per_user)
    rows = rng.permutation(np.flatnonzero(target < end))
    for start in range(0, len(rows), size):
        chosen = rows[start : start + size]
        place = end[chosen, None] - width + np.arange(width)
        inside = place >= begin[chosen, None]
        items = train.histories.values[np.where(inside, first[user[chosen], None] + place, 0)].astype(np.int64) + 1
        from_column = (target - end)[chosen] + width
        yield mask_items(np.where(inside, items, 0), from_column, mask_ratio, last_ratio, mask, rng)


def shifted_rows(n: Longs, width: int, stride: int, rng: np.random.Generator) -> tuple[Longs, Longs, Longs]:
    """Rows of at most `width` items, `stride` apart, of histories of `n` items (at least two): user, begin and end.

    A history's newest row holds its last items; the others are shifted at random.
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
    """Mask a share `ratio` of each row's columns from `begin` on, at least one; in `last_ratio` of the rows this
    includes the last column."""
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
    position = np.repeat(start - (np.cumsum(sizes) - sizes), sizes) + np.arange(int(sizes.sum()))
    return Ragged.from_lengths(sizes, histories.values[position])


def item_rows(histories: Ragged, length: int) -> tuple[Longs, Longs]:
    """Each history's newest `length` items as (B, length) RecBole numbers from column 0 on, and their number."""
    return histories.padded(length).astype(np.int64) + 1, np.minimum(histories.lengths, length)


@dataclass(frozen=True)
class Seen:
    """The items of every user's history, for drawing negatives from all others."""

    keys: Longs
    n_items: int
    everything: NDArray[np.bool_]
    """(users,) whether a history contains all items."""

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
        place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.asarray(self.keys[place] == wanted)
