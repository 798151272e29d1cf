"""A recommender that looks one step ahead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmark import Context, NotFittedError, Ranking, Requests, Split, Task, Train, top_k


@dataclass
class Repeat:
    """The items that followed the last one in training, each counted `1 / (1 + damping)` times."""

    damping: float = 0.0
    tasks: ClassVar[frozenset[Task]] = frozenset({"recommendation"})

    def fit(self, train: Train, valid: Mapping[Task, Split], context: Context) -> None:
        n = len(train.catalog)
        examples = train.prefixes()
        self.follows_ = np.zeros((n, n))  # (last, next)
        np.add.at(self.follows_, (examples.values[examples.end - 1], examples.targets), 1 / (1 + self.damping))
        context.record("transitions", len(examples))

    def rank(self, requests: Requests, k: int) -> Ranking:
        if not hasattr(self, "follows_"):
            raise NotFittedError("acme-repeat was asked to rank before it was fitted; call fit first.")
        scores = np.zeros((len(requests), len(self.follows_)))  # (R, N)
        known = requests.histories.lengths > 0
        scores[known] = self.follows_[requests.histories.last(1).values]
        return top_k(scores, requests, k)
