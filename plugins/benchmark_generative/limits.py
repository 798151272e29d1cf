"""Where each request may go in a trie: items it must not or may only be given, as marks on the children of its beams.

Axis letters: N items, B requests, M beams, C possible next tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmark import Ragged
from benchmark_generative.trie import Trie


@dataclass(frozen=True)
class Limits:
    """Which children each request may not follow, or the only ones it may: per depth the parent, as row * parents +
    node, and the place among its options."""

    only: bool
    parents: tuple[Tensor, ...]
    slots: tuple[Tensor, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, trie: Trie, exclude: Ragged | None, candidates: Ragged | None, device: torch.device) -> Limits | None:
        given = exclude if candidates is None else candidates
        if given is None or (candidates is None and not len(given.values)):
            return None
        pair = np.unique(given.rows * len(trie) + given.values)
        if candidates is not None and exclude is not None:
            pair = np.setdiff1d(pair, exclude.rows * len(trie) + exclude.values, assume_unique=False)
        row, item = pair // len(trie), pair % len(trie)
        parents, slots, counts = [], [], []
        above, count = np.zeros(len(trie), dtype=np.int32), 1  # each item's node one level up
        for depth, level in enumerate(trie.levels):
            node = trie.paths[:, depth]
            there = node[item] >= 0
            size = len(level.slot)
            key, first, below = np.unique(row[there] * size + node[item[there]], return_index=True, return_counts=True)
            if candidates is None:  # a prefix is barred when all its items are
                first = first[below == level.leaves[key % size]]
            who, what = row[there][first], item[there][first]
            parents.append(torch.as_tensor(who * count + above[what], device=device))
            slots.append(torch.as_tensor(level.slot[node[what]].astype(np.int64), device=device))
            counts.append(count)
            above, count = node, level.inner
        return cls(candidates is not None, tuple(parents), tuple(slots), tuple(counts))

    def apply(self, depth: int, state: Tensor, alive: Tensor, child: Tensor) -> Tensor:
        """`child` (B, M, C) of the beams' nodes `state` (B, M), -1 where the request may not go."""
        row = torch.arange(len(state), device=state.device)[:, None]
        key, order = torch.where(alive, row * self.counts[depth] + state, -1).flatten().sort()
        wanted = self.parents[depth]
        place = torch.searchsorted(key, wanted).clamp_(max=len(key) - 1)
        beam = torch.where(key[place] == wanted, order[place], len(key))  # the row behind the last takes the rest
        marked = torch.zeros(len(key) + 1, child.shape[-1], dtype=torch.bool, device=child.device)
        marked[beam, self.slots[depth]] = True
        marked = marked[:-1].view(child.shape)
        return child.masked_fill(~marked if self.only else marked, -1)
