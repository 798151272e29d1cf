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

Found = tuple[NDArray[np.int32], NDArray[np.float32]]
Ask = Callable[..., Found]
"""(requests, k, tokens, mask) -> items and scores (B, M), best first, padded."""


def answer(
    network: T5ForConditionalGeneration, inputs: Sequences, ends: tuple[int, int], requests: Requests, k: int, ask: Ask
) -> Ranking:
    """What `ask` finds for the requests, asked in groups of similar length; -1 behind.

    `inputs` are the R encoder inputs, `ends` the tokens of padding and of an end.
    """
    import torch

    inputs = inputs.to(network.device)
    ranking = Ranking.empty(len(requests), k)
    network.eval()
    order = inputs.length.argsort(stable=True)  # requests of similar length pad each other little
    size = REQUESTS_AT_ONCE[network.device.type]
    with torch.inference_mode():
        for at in range(0, len(order), size):
            chosen = order[at : at + size]
            rows = chosen.cpu().numpy()
            found, score = ask(requests.take(rows), k, *inputs.batch(chosen, *ends))
            width = min(k, found.shape[1])
            ranking.items[rows, :width] = found[:, :width]
            ranking.scores[rows, :width] = score[:, :width]
    return ranking


def best_candidates(
    network: T5ForConditionalGeneration,
    tokens: torch.Tensor,
    mask: torch.Tensor,
    sequences: NDArray[np.int64],
    requests: Requests,
    k: int,
) -> Found:
    """The k best of the requests' candidates by their exact likelihood; `sequences` (N, L) are the items' tokens."""
    from benchmark_generative.beam_search import score_candidates

    assert requests.candidates is not None
    n, exclude = len(sequences), requests.exclude
    # Each once, and none that is excluded, as (request, item); no array is as wide as the catalogue.
    key = np.setdiff1d(requests.candidates.rows * n + requests.candidates.values, exclude.rows * n + exclude.values)
    asked = Ragged.from_pairs(key // n, (key % n).astype(np.int32), len(requests))
    score = score_candidates(network, tokens, mask, sequences, asked).cpu().numpy()
    best = Ranking.best(requests, asked.rows, asked.values, score, k)
    return best.items, best.scores


def sampled(split: Split | None, requests: int) -> Split | None:
    """At most so many requests of a split, chosen by a hash; None for one without any."""
    if split is None or not len(split.requests):
        return None
    rows = np.sort(np.argsort(split.requests.keys, kind="stable")[:requests])
    return Split(split.requests.take(rows), split.relevant.take(rows))
