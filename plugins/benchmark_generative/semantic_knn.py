"""The items nearest to the history in the space that semantic IDs are made from (Rajput 2023, 4.4.1: Semantic_KNN).

Axis letters: R requests, N items, T items with different vectors, D the width of a vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmark import Context, NotFittedError, Ranking, Requests, Split, Task, Train, top_k

SCORES_PER_BLOCK = 1 << 24
BEHIND = 4.0
"""Subtracted from the cosine of the query's item itself: more than the range of cosines."""


@dataclass
class SemanticKnn:
    """Ranks items by the cosine of their vector and the query's. It learns nothing from interactions, so items without
    any are found as easily as others.

    The paper does not define the query; here it is the newest item of the history, which ranks after all others. A
    request without history gets an empty ranking.
    `encoder` is a sentence-transformers checkpoint by name or folder, or a file of vectors, as for `tiger`.
    """

    encoder: str = ""
    tasks: ClassVar[frozenset[Task]] = frozenset({"recommendation"})
    requires: ClassVar[tuple[str, ...]] = ("sentence_transformers", "torch")
    deterministic: ClassVar[bool] = True

    def fit(self, train: Train, valid: Mapping[Task, Split], context: Context) -> None:
        """Make the items' vectors. Raises BenchmarkError if they cannot be made."""
        import torch

        from benchmark_generative.vectors import item_vectors

        torch.set_num_threads(context.threads)
        vectors = item_vectors(train.catalog, self.encoder, device=context.device)
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)
        # Items with equal vectors share a column of the product, so that they tie exactly in any batch.
        self.vectors_, row = np.unique(vectors, axis=0, return_inverse=True)  # (T, D)
        self.vector_of_ = row.reshape(-1)  # (N,)
        context.record("distinct_vectors", len(self.vectors_))

    def rank(self, requests: Requests, k: int) -> Ranking:
        if not hasattr(self, "vectors_"):
            raise NotFittedError("semantic_knn was asked to rank before it was fitted; call fit first.")
        blocks = requests.batches(max(1, SCORES_PER_BLOCK // len(self.vector_of_)))
        return Ranking.concat((top_k(self._scores(block), block, k) for block in blocks), k)

    def _scores(self, requests: Requests) -> NDArray[np.float32]:
        """(R, N) cosines; -inf where there is no history."""
        rows, newest = np.flatnonzero(requests.histories.lengths), requests.histories.last(1).values
        scores = np.full((len(requests), len(self.vector_of_)), -np.inf, dtype=np.float32)
        if not len(rows):
            return scores
        query = self.vectors_[self.vector_of_[newest]]  # (R, D)
        query /= np.linalg.norm(query, axis=1, keepdims=True).clip(min=1e-12)
        scores[rows] = (query @ self.vectors_.T)[:, self.vector_of_]
        scores[rows, newest] -= BEHIND
        return scores
