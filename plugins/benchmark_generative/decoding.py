"""Rankings from a model whose items are one token each: one decoder step scores the whole catalogue.

Axis letters: B requests, L tokens, V vocabulary, N items, K depth of a ranking, M beams.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from benchmark import PAD, ContractError, Ranking, Requests

if TYPE_CHECKING:
    from transformers import T5ForConditionalGeneration


@torch.inference_mode()
def first_token(model: T5ForConditionalGeneration, tokens: Tensor, mask: Tensor) -> Tensor:
    """Log-likelihoods (B, V) of the first token the decoder writes, over the whole vocabulary."""
    start = torch.full_like(tokens[:, :1], model.config.decoder_start_token_id)
    logits = model(input_ids=tokens, attention_mask=mask, decoder_input_ids=start, use_cache=False).logits
    scores: Tensor = logits[:, -1].float().log_softmax(-1)  # (B, V)
    return scores


def exact(scores: Tensor, requests: Requests, k: int) -> Ranking:
    """The k best items by scores (B, N): what beam search of any width from k on finds when an item is one token.

    Honours `exclude` and `candidates`; equal scores are ordered by a hash of (request, item). As `benchmark.top_k`, but
    the k-th score is found on the model's device, so that only items that reach it leave the device. Raises
    ContractError on NaN.
    """
    if scores.isnan().any():  # NaN reaches no k-th score: the list would be short or empty
        raise ContractError("the scores hold NaN")
    if requests.candidates is not None:
        allowed = torch.zeros_like(scores, dtype=torch.bool)
        allowed[_index(requests.candidates.rows, scores), _index(requests.candidates.values, scores)] = True
        scores = scores.masked_fill(~allowed, -torch.inf)
    if len(requests.exclude.values):
        scores = scores.clone()
        scores[_index(requests.exclude.rows, scores), _index(requests.exclude.values, scores)] = -torch.inf
    border = scores.topk(min(k, scores.shape[1]), sorted=False).values.amin(1, keepdim=True)  # (B, 1)
    above = torch.nonzero((scores >= border) & (scores > -torch.inf))
    value = scores[above[:, 0], above[:, 1]].cpu().numpy()
    row, item = above.cpu().numpy().T
    return Ranking.best(requests, row, item, value, k)


def diverse_beam(scores: Tensor, requests: Requests, k: int, beams: int, groups: int, penalty: float) -> Ranking:
    """The ranking of diverse beam search (Vijayakumar 2016) with `groups` groups of beams / groups beams.

    As in transformers 4, which later removed it: the groups choose in turn, each the best items after an item has lost
    `penalty` for every earlier group that chose it. The first choice of an item costs nothing, so the distinct items
    are the beginning of the exact ranking; only their number has to be computed. It is at most `beams`, and nothing
    refills the list.
    """
    best = exact(scores, requests, beams)
    value = torch.as_tensor(best.scores)  # (B, M)
    chosen = torch.zeros_like(value)
    for _ in range(groups):
        order = (value - penalty * chosen).sort(dim=1, descending=True, stable=True).indices
        chosen.scatter_add_(1, order[:, : beams // groups], torch.ones_like(value))
    kept = (chosen > 0).numpy()
    items, likelihood = np.where(kept, best.items, PAD), np.where(kept, best.scores, -np.inf)
    out = Ranking.empty(len(items), k)
    width = min(k, beams)
    out.items[:, :width], out.scores[:, :width] = items[:, :width], likelihood[:, :width]
    return out


def _index(values: np.ndarray, like: Tensor) -> Tensor:
    return torch.as_tensor(values, dtype=torch.int64, device=like.device)
