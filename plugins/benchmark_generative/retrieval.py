"""What models that write identifiers share: answering requests in groups, exact scores of candidates, validation.

Axis letters: N items, R requests, B requests of a group, M beams, K depth of a ranking.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmark import Ragged, Ranking, Requests, Split

if TYPE_CHECKING:
    import torch
    from transformers import T5ForConditionalGeneration

    from benchmark_generative.tokens import Sequences

REQUESTS_AT_ONCE = {"cpu": 32, "cuda": 256}
"""Requests searched together: what is fastest on a CPU (its cache), and enough to fill a GPU."""

Hits = tuple[NDArray[np.int32], NDArray[np.float32]]
Decoder = Callable[..., Hits]
"""(requests, k, tokens, mask) -> items and scores (B, M), best first, padded."""


def answer(
    network: T5ForConditionalGeneration,
    inputs: Sequences,
    ends: tuple[int, int],
    requests: Requests,
    k: int,
    decode: Decoder,
) -> Ranking:
    """Rank the requests with `decode`, in batches of similar length; short rows end in PAD.

    `inputs` are the R encoder inputs, `ends` the padding and the end token.
    """
    import torch

    inputs = inputs.to(network.device)
    ranking = Ranking.empty(len(requests), k)
    network.eval()
    order = inputs.length.argsort(stable=True)  # requests of similar length pad each other little
    size = REQUESTS_AT_ONCE[network.device.type]
    with torch.inference_mode():
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            rows = chosen.cpu().numpy()
            items, score = decode(requests.take(rows), k, *inputs.batch(chosen, *ends))
            width = min(k, items.shape[1])
            ranking.items[rows, :width] = items[:, :width]
            ranking.scores[rows, :width] = score[:, :width]
    return ranking


def best_candidates(
    network: T5ForConditionalGeneration,
    tokens: torch.Tensor,
    mask: torch.Tensor,
    sequences: NDArray[np.int64],
    requests: Requests,
    k: int,
) -> Hits:
    """The k best of the requests' candidates by their exact likelihood; `sequences` (N, L) are the items' tokens."""
    from benchmark_generative.beam_search import score_candidates

    assert requests.candidates is not None
    n, exclude = len(sequences), requests.exclude
    # Distinct (request, item) pairs that are not excluded; no array is as wide as the catalogue.
    key = np.setdiff1d(requests.candidates.rows * n + requests.candidates.values, exclude.rows * n + exclude.values)
    allowed = Ragged.from_pairs(key // n, (key % n).astype(np.int32), len(requests))
    score = score_candidates(network, tokens, mask, sequences, allowed).cpu().numpy()
    best = Ranking.best(requests, allowed.rows, allowed.values, score, k)
    return best.items, best.scores


def sampled(split: Split | None, requests: int) -> Split | None:
    """At most `requests` requests of a split, chosen by a hash; None if it has none."""
    if split is None or not len(split.requests):
        return None
    rows = np.sort(np.argsort(split.requests.keys, kind="stable")[:requests])
    return Split(split.requests.take(rows), split.relevant.take(rows))
