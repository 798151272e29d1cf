"""Mixing items without any training interaction into the retrieved ones (Rajput 2023, section 4.4.1).

No ID of an unseen item was ever trained; the item is retrieved if its learned codes equal those of a retrieved item.
Axis letters: N items, B requests, M retrieved items, K depth of a ranking.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark import PAD, Ragged, Ranking, Requests


@dataclass(frozen=True)
class UnseenItems:
    """`beside`: a row per item (N), the unseen items with the same learned codes; empty for items that are unseen."""

    beside: Ragged

    @classmethod
    def of(cls, semantic: NDArray[np.int32], seen: NDArray[np.bool_]) -> UnseenItems:
        """From every item's learned codes (N, L) and whether it was seen in training (N,)."""
        group = np.unique(semantic, axis=0, return_inverse=True)[1].reshape(-1)
        unseen = np.flatnonzero(~seen)
        by_group = Ragged.from_pairs(group[unseen], unseen, int(group.max(initial=-1)) + 1)
        unseen_like = by_group.take(group)
        return cls(unseen_like.keep(np.repeat(seen, unseen_like.lengths)))

    def merged(self, retrieved: Ranking, requests: Requests, k: int, share: float) -> Ranking:
        """The retrieved items (B, M), all of them seen, each followed by the unseen ones that share its codes.

        At most `share` of the first 1, 2, … k items are unseen: surplus ones move down the list. An unseen item has the
        score of the item before it. Honours `exclude` and `candidates`.
        """
        unseen, after = self._beside(retrieved, requests)
        n, seen_left = len(retrieved), (retrieved.items != PAD).sum(axis=1)
        out = Ranking.empty(n, k)
        taken, added = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        rows, score, alive = np.arange(n), np.full(n, np.inf, dtype=np.float32), np.ones(n, dtype=bool)
        for position in range(k):  # each step for all requests at once
            more = added < unseen.lengths
            place = np.minimum(unseen.offsets[:-1] + added, max(len(unseen.values) - 1, 0))
            waits = after[place] < taken if len(after) else np.zeros(n, dtype=bool)
            new = alive & more & waits & (added + 1 <= share * (position + 1) + 1e-9)
            old = ~new & (taken < seen_left)
            alive = new | old  # lists have no gaps: they end when only waiting unseen items are left
            column = np.minimum(taken, retrieved.items.shape[1] - 1)
            score = np.where(old, retrieved.scores[rows, column], score).astype(np.float32)
            out.items[old, position] = retrieved.items[rows, column][old]
            if len(unseen.values):
                out.items[new, position] = unseen.values[place[new]]
            out.scores[alive, position] = score[alive]
            taken, added = taken + old, added + new
        return out

    def _beside(self, retrieved: Ranking, requests: Requests) -> tuple[Ragged, NDArray[np.int64]]:
        """Per request, the distinct unseen items with the codes of retrieved ones, in order, and the column of the
        retrieved item that each follows."""
        row, column = np.nonzero(retrieved.items != PAD)
        unseen = self.beside.take(retrieved.items[row, column])
        row, column, item = row[unseen.rows], column[unseen.rows], unseen.values.astype(np.int64)
        n = np.int64(len(self.beside))
        key = row * n + item
        keep = np.zeros(len(key), dtype=bool)
        keep[np.unique(key, return_index=True)[1]] = True  # the first of each
        keep &= ~np.isin(key, requests.exclude.rows * n + requests.exclude.values)
        if requests.candidates is not None:
            keep &= np.isin(key, requests.candidates.rows * n + requests.candidates.values)
        return Ragged.from_pairs(row[keep], item[keep], len(retrieved)), column[keep]
