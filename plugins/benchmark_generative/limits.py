"""A request's excluded or candidate items in a trie, as masks over the children of its beams.

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
    """The children that each request may not follow or, with `only`, the only ones that it may: per depth the parent,
    as row * parents + node, and the child's place among the parent's options."""

    only: bool
    parents: tuple[Tensor, ...]
    slots: tuple[Tensor, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, trie: Trie, exclude: Ragged | None, candidates: Ragged | None, device: torch.device) -> Limits | None:
        listed = exclude if candidates is None else candidates
        if listed is None or (candidates is None and not len(listed.values)):
            return None
        pair = np.unique(listed.rows * len(trie) + listed.values)
        if candidates is not None and exclude is not None:
            pair = np.setdiff1d(pair, exclude.rows * len(trie) + exclude.values, assume_unique=False)
        row, item = pair // len(trie), pair % len(trie)
        parents, slots, counts = [], [], []
        above, count = np.zeros(len(trie), dtype=np.int32), 1  # each item's node one level up
        for depth, level in enumerate(trie.levels):
            node = trie.paths[:, depth]
            alive = node[item] >= 0
            size = len(level.slot)
            key, first, below = np.unique(row[alive] * size + node[item[alive]], return_index=True, return_counts=True)
            if candidates is None:  # a prefix is barred when all its items are
                first = first[below == level.leaves[key % size]]
            row_of, item_of = row[alive][first], item[alive][first]
            parents.append(torch.as_tensor(row_of * count + above[item_of], device=device))
            slots.append(torch.as_tensor(level.slot[node[item_of]].astype(np.int64), device=device))
            counts.append(count)
            above, count = node, level.inner
        return cls(candidates is not None, tuple(parents), tuple(slots), tuple(counts))

    def apply(self, depth: int, state: Tensor, alive: Tensor, child: Tensor) -> Tensor:
        """`child` (B, M, C) of the beams' nodes `state` (B, M), -1 for children that the request may not follow."""
        row = torch.arange(len(state), device=state.device)[:, None]
        key, order = torch.where(alive, row * self.counts[depth] + state, -1).flatten().sort()
        wanted = self.parents[depth]
        place = torch.searchsorted(key, wanted).clamp_(max=len(key) - 1)
        beam = torch.where(key[place] == wanted, order[place], len(key))  # one extra row takes the rest
        marked = torch.zeros(len(key) + 1, child.shape[-1], dtype=torch.bool, device=child.device)
        marked[beam, self.slots[depth]] = True
        marked = marked[:-1].view(child.shape)
        return child.masked_fill(~marked if self.only else marked, -1)
