"""A prefix tree over the token sequences of items: which tokens may follow a prefix, for many prefixes at once.

Axis letters: N items, L tokens of the longest sequence, B requests, M beams, C possible next tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmark import BenchmarkError, Ragged

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]

DENSE_LIMIT = 2**20
"""Largest table of a level's children, in cells (4 MiB); a larger level, whose nodes have few children, is a list."""


@dataclass(frozen=True)
class Level:
    """The step from the nodes of one depth to their children. Both are numbered from 0, those with children first.

    `low` is the smallest token of this level. A table (dense) has a row for every node with children and a column for
    every token from `low` on: the child, or -1. A list (CSR) has the children of node i, by token, at
    `start[i]:start[i + 1]` of `table`. `width` C is the columns of the table, or the most children of a node. `token`,
    `item`, `slot` and `leaves` describe the children (n,): the token that leads to each, an item below it (a leaf's
    only one), its place 0..C-1 among its parent's options, and the number of items below it. The first `inner` of them
    have children, the others are leaves.
    """

    low: int
    width: int
    inner: int
    table: Tensor
    start: Tensor | None
    token: Tensor
    item: Tensor
    slot: Ints
    leaves: Longs

    def children(self, state: Tensor) -> tuple[Tensor, Tensor | None]:
        """The children (…, C) of the nodes `state` (…), -1 where there is none, and their tokens (…, C).

        None for the tokens stands for `low` … `low + C - 1`, the same for every node.
        """
        import torch

        if self.start is None:
            return self.table[state], None
        first, end = self.start[state].unsqueeze(-1), self.start[state + 1].unsqueeze(-1)
        place = first + torch.arange(self.width, device=state.device)
        present = place < end
        child = self.table[place.clamp_(max=len(self.table) - 1)]
        return child.masked_fill_(~present, -1), self.token[child.clamp(min=0).long()]

    def to(self, device: torch.device | str) -> Level:
        return replace(
            self,
            table=self.table.to(device),
            start=None if self.start is None else self.start.to(device),
            token=self.token.to(device),
            item=self.item.to(device),
        )


@dataclass(frozen=True)
class Trie:
    """The prefixes of the sequences of items 0..N-1.

    `paths` (N, L) holds each item's nodes, padded with -1; `tokens` is one more than the largest token.
    """

    levels: tuple[Level, ...]
    paths: Ints
    tokens: int

    @classmethod
    def build(cls, sequences: NDArray[np.integer] | Ragged, *, dense_limit: int = DENSE_LIMIT) -> Trie:
        """From one sequence of token ids per item: an array (N, L), or rows of several lengths.

        A level with more than `dense_limit` pairs of a node and a token lists the children instead of tabulating them.
        Raises BenchmarkError if a sequence is empty, or is equal to or the beginning of another item's.
        """
        tokens = sequences.padded(int(sequences.lengths.max(initial=0))) if isinstance(sequences, Ragged) else sequences
        tokens = np.asarray(tokens, dtype=np.int32)  # (N, L)
        lengths = sequences.lengths if isinstance(sequences, Ragged) else np.full(len(tokens), tokens.shape[1])
        _check(tokens, lengths)
        order = np.lexsort(tokens.T[::-1])
        tokens, lengths = tokens[order], lengths[order]
        differs = np.ones(tokens.shape, dtype=bool)  # (N, L) from the row before, in this column or an earlier one
        differs[1:] = np.logical_or.accumulate(tokens[1:] != tokens[:-1], axis=1)
        _check_unique(differs, lengths, order)
        paths = np.full(tokens.shape, -1, dtype=np.int32)
        parent, parents, levels = np.zeros(len(tokens), dtype=np.int32), 1, []
        for depth in range(tokens.shape[1]):
            present = lengths > depth
            row = np.flatnonzero(differs[:, depth] & present)  # the first row of every node
            inner = lengths[row] > depth + 1
            number = np.where(inner, np.cumsum(inner) - 1, inner.sum() + np.cumsum(~inner) - 1)
            nodes = np.repeat(number, np.diff(np.append(row, len(tokens))))  # also covers rows that ended earlier
            node = np.zeros(len(tokens), dtype=np.int32)
            node[row[0] :] = nodes
            paths[present, depth] = node[present]
            by_number = row[np.argsort(number)]  # row of node 0, 1, …
            levels.append(
                _level(
                    tokens[by_number, depth],
                    parent[by_number],
                    parents,
                    order[by_number],
                    int(inner.sum()),
                    np.bincount(node[present]),
                    dense_limit,
                )
            )
            parent, parents = node, int(inner.sum())
        back = np.empty_like(paths)
        back[order] = paths
        return cls(tuple(levels), back, int(tokens.max()) + 1)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def depth(self) -> int:
        """Tokens of the longest sequence."""
        return len(self.levels)

    @property
    def nodes(self) -> int:
        """Nodes below the root."""
        return sum(len(level.slot) for level in self.levels)

    def to(self, device: torch.device | str) -> Trie:
        return replace(self, levels=tuple(level.to(device) for level in self.levels))

    def lookup(self, sequences: Tensor) -> Tensor:
        """The item int32 (…) whose token ids each sequence (…, L) is, or -1 for no item."""
        import torch

        state = torch.zeros_like(sequences[..., 0])
        items = torch.full_like(state, -1, dtype=torch.int32)
        for depth in range(sequences.shape[-1]):
            if depth == self.depth:
                return torch.full_like(items, -1)
            level = self.levels[depth]
            alive = (state >= 0) & (state < (1 if depth == 0 else self.levels[depth - 1].inner))
            child, token = level.children(state.masked_fill(~alive, 0))
            if token is None:
                token = torch.arange(level.low, level.low + level.width, device=child.device)
            child = child.masked_fill((token != sequences[..., depth, None]) | ~alive[..., None], -1)
            state = child.amax(-1).long()
            items = level.item[state.clamp(min=0)].masked_fill((state < level.inner), -1)
        return items


def _level(token: Ints, parent: Ints, parents: int, item: Longs, inner: int, leaves: Longs, dense_limit: int) -> Level:
    """From the children's tokens, parents (of `parents` nodes that have children) and items, all (n,)."""
    import torch

    low, width = int(token.min()), int(token.max() - token.min()) + 1
    number = np.arange(len(token), dtype=np.int32)
    start = None
    if parents * width <= dense_limit:
        table = np.full((parents, width), -1, dtype=np.int32)
        table[parent, token - low] = number
        slot = token - low
    else:
        table = np.lexsort((token, parent)).astype(np.int32)
        first = np.concatenate([[0], np.cumsum(np.bincount(parent, minlength=parents))])
        slot = np.empty_like(number)
        slot[table] = number - first[parent[table]]
        width = int(slot.max()) + 1
        start = torch.from_numpy(first.astype(np.int64))
    return Level(
        low,
        width,
        inner,
        torch.from_numpy(table),
        start,
        torch.from_numpy(token.astype(np.int64)),
        torch.from_numpy(item.astype(np.int32)),
        slot,
        leaves,
    )


def _check(tokens: Ints, lengths: Longs) -> None:
    if tokens.size == 0:
        raise BenchmarkError("a trie needs at least one item; give at least one token sequence.")
    if (lengths == 0).any():
        raise BenchmarkError(f"item {int(np.argmin(lengths))} has an empty token sequence; every item needs a token.")
    if (tokens[np.arange(tokens.shape[1]) < lengths[:, None]] < 0).any():
        raise BenchmarkError("a token sequence has a negative token id; token ids count from 0.")


def _check_unique(differs: NDArray[np.bool_], lengths: Longs, order: Longs) -> None:
    """In lexical order, a sequence comes right before those that begin with it."""
    inside = ~differs[1:][np.arange(len(order) - 1), lengths[:-1] - 1]
    if inside.any():
        row = int(np.argmax(inside))
        same = lengths[row] == lengths[row + 1]
        raise BenchmarkError(
            f"items {order[row]} and {order[row + 1]} have the same token sequence, so that no decoding can tell them "
            "apart; give each item its own, for example by an extra token for collisions."
            if same
            else f"the token sequence of item {order[row]} is the beginning of that of item {order[row + 1]}, so that "
            "decoding cannot tell when to stop; end each sequence with a token that only ends them."
        )
