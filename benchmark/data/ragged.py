"""Rows of varying length as flat arrays."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
        """Whether each of these rows holds its value. `rows` and `values` broadcast: with the row numbers (R, 1) and
        ranked items (R, K) it is an (R, K) array of hits. No row holds PAD."""
        rows, values = np.asarray(rows, dtype=np.int64), np.asarray(values, dtype=np.int64)
        n = 1 + max(int(values.max(initial=0)), int(self.values.max(initial=0)))
        # PAD would be the largest value of the row before.
        pairs: NDArray[np.bool_] = (values >= 0) & np.isin(rows * n + values, self.rows * n + self.values)
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
