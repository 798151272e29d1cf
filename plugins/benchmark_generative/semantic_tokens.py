"""Token ids of semantic IDs and users, and the sequences made of them (Rajput 2023, sections 3.2 and 4.1.3).

Code c of level l is token `FIRST_CODE + sizes[0] + … + sizes[l-1] + c`; user tokens come after the codes. Axis letters:
N items, L levels, U users, P sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark import Prefixes, Ragged, Train, stable_hash
from benchmark_generative.identifiers import Identifiers
from benchmark_generative.tokens import Sequences

PADDING, END, FIRST_CODE = 0, 1, 2
"""Special tokens, and the first code's. Padding also starts the decoder, as in T5."""


@dataclass(frozen=True)
class SemanticVocabulary:
    """`items` int64 (N, L), the tokens of every item; `users` int64 (U,), every user's token or -1; `size`, the number
    of tokens."""

    items: NDArray[np.int64]
    users: NDArray[np.int64]
    size: int

    @classmethod
    def of(cls, identifiers: Identifiers, users: Sequence[Any] | NDArray[Any], user_tokens: int) -> SemanticVocabulary:
        """Users share `user_tokens` tokens by a hash of their ids (the hashing trick, 4.1.3); 0: no user tokens."""
        first = FIRST_CODE + np.cumsum((0, *identifiers.sizes))
        hashed = np.full(len(users), -1, dtype=np.int64)
        if user_tokens:
            hashed = first[-1] + (stable_hash(users) % np.uint64(user_tokens)).astype(np.int64)
        return cls(identifiers.codes + first[:-1], hashed, int(first[-1]) + user_tokens)

    def histories(self, histories: Ragged, users: NDArray[np.int32], limit: int) -> Sequences:
        """The user's token, then the history's last `limit` items, oldest first; `users` are rows, -1 unknown."""
        leading = np.where(users >= 0, self.users[users], -1) if len(self.users) else np.full(len(users), -1)
        return self._sequences(histories.last(limit), leading)

    def prefixes(self, train: Train, prefixes: Prefixes, limit: int) -> Sequences:
        """Like `histories`, for training examples; items are stored once, however many prefixes share them."""
        levels = self.items.shape[1]
        start = np.maximum(prefixes.start, prefixes.end - limit)
        user = np.searchsorted(train.histories.offsets, prefixes.end, side="right") - 1
        return Sequences(
            torch.from_numpy(self.items[prefixes.values].reshape(-1)),
            torch.from_numpy(start * levels),
            torch.from_numpy((prefixes.end - start) * levels),
            torch.from_numpy(self.users[user]),
        )

    def _sequences(self, rows: Ragged, leading: NDArray[np.int64]) -> Sequences:
        levels = self.items.shape[1]
        return Sequences(
            torch.from_numpy(self.items[rows.values].reshape(-1)),
            torch.from_numpy(rows.offsets[:-1] * levels),
            torch.from_numpy(rows.lengths * levels),
            torch.from_numpy(leading.astype(np.int64)),
        )
