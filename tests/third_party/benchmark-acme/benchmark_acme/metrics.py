"""How surprising a list is, and how much of what was asked for it lacks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmark import PAD, Ragged, Ranking, better


@better("neither")
def novelty(
    ranking: Ranking, relevant: Ragged, k: int, base: float = 2.0, *, popularity: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The mean self-information of the first `k` items, in units of log `base`; 0 for an empty list."""
    share = (popularity + 1) / (popularity.sum() + len(popularity))  # (N,)
    items = ranking.items[:, :k]
    surprise = np.where(items == PAD, 0.0, -np.log(share)[items] / np.log(base))  # (R, k)
    return np.asarray(surprise.sum(axis=1) / np.maximum((items != PAD).sum(axis=1), 1))


@better("lower")
def missed(ranking: Ranking, relevant: Ragged, k: int) -> NDArray[np.float64]:
    """The share of a request's relevant items that are not among its first `k`."""
    hits = relevant.has(np.arange(len(ranking))[:, None], ranking.items[:, :k])  # (R, k)
    return np.asarray(1 - hits.sum(axis=1) / np.maximum(relevant.lengths, 1))
