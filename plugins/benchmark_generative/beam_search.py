"""Decoding items from a T5 along a trie: beam search, exact scores of candidates, free decoding, sampling.

Beams are rows of tensors: nothing loops over requests or beams. A score is the exact log-likelihood of an item's
tokens over the whole vocabulary; the trie only decides which tokens are considered. Except for rounding, a request's
result does not depend on its batch. Batches of requests of similar length are faster, since attention is over the
longest. Axis letters: B requests, M beams, C possible next tokens, V vocabulary, L tokens of an item, K depth
of a result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark import BenchmarkError, ContractError, Ragged
from benchmark_generative.limits import Limits
from benchmark_generative.noise import conditioned, gumbel, tie
from benchmark_generative.t5_steps import Memory, Precision, T5Steps
from benchmark_generative.trie import Level, Trie

if TYPE_CHECKING:
    from transformers import T5ForConditionalGeneration

Keys = NDArray[np.uint64]

TOGETHER = 128
"""Candidates of one request that share a decoder pass; attention's cost grows with their square."""


@torch.inference_mode()
def beam_search(
    model: T5ForConditionalGeneration,
    tokens: Tensor,
    mask: Tensor,
    trie: Trie,
    *,
    beams: int,
    exclude: Ragged | None = None,
    candidates: Ragged | None = None,
    keys: Keys | None = None,
    precision: Precision = "fp32",
) -> tuple[Tensor, Tensor]:
    """The likeliest items int32 (B, M), best first, and their log-likelihoods float32 (B, M), never rising.

    Rows with fewer than M reachable items end in -1 and -inf; no item comes twice. At every depth the M best prefixes
    continue, and the M best complete items are kept. `tokens` and `mask` (B, S) are the encoder's input. `exclude` and
    `candidates` have a row of items per request: prefixes that lead to no allowed item are not followed. `keys` (B,)
    hash the requests: equal scores are ordered by `benchmark.tie_break(keys, item)`. Raises ContractError on NaN.
    """

    def extend(logits: Tensor, options: Tensor, front: _Front) -> tuple[Tensor, Tensor]:
        score = front.score[..., None] + (options - logits.logsumexp(-1, keepdim=True))
        return score, score

    search = _Search.of(trie, tokens, beams, exclude, candidates, keys)
    return search.run(T5Steps(model, precision), tokens, mask, extend)


@torch.inference_mode()
def sample(
    model: T5ForConditionalGeneration,
    tokens: Tensor,
    mask: Tensor,
    trie: Trie,
    *,
    k: int,
    temperature: float,
    seed: int,
    keys: Keys,
    exclude: Ragged | None = None,
    candidates: Ragged | None = None,
    precision: Precision = "fp32",
) -> tuple[Tensor, Tensor]:
    """K distinct items int32 (B, K) in the order in which they are drawn, and their perturbed log-probabilities.

    Drawn without replacement from the model that divides the logits by `temperature` at every level and writes only
    tokens that the request may write (TIGER 4.4.2 samples at the levels of the hierarchy): the first item of a row is
    one such draw, the second another given that it differs, and so on. By stochastic beam search (Kool 2019): the K
    items with the largest sum of log-probability and Gumbel noise, found along the trie with the noise of a node
    conditioned on its parent's. The scores are these sums, float32, never rising from 0 (the noise is conditioned on
    the largest being 0). Noise is a hash of `seed`, the request's key and the node: a request's sample does not depend
    on its batch. Raises ContractError on NaN.
    """
    if temperature <= 0:
        raise BenchmarkError(f"`temperature` is {temperature}; it must be above 0 (close to 0 is almost no noise).")
    search = _Search.of(trie, tokens, k, exclude, candidates, keys)

    def extend(logits: Tensor, options: Tensor, front: _Front) -> tuple[Tensor, Tensor]:
        score = front.score[..., None].double() + (options.double() / temperature).log_softmax(-1)
        node = front.child + sum(len(level.slot) for level in trie.levels[: front.depth])
        return score, conditioned(score + gumbel(search.keys, node, seed), front.rank[..., None].double())

    return search.run(T5Steps(model, precision), tokens, mask, extend)


@torch.inference_mode()
def unconstrained(
    model: T5ForConditionalGeneration,
    tokens: Tensor,
    mask: Tensor,
    trie: Trie,
    *,
    beams: int,
    length: int | None = None,
    precision: Precision = "fp32",
) -> tuple[Tensor, Tensor]:
    """Beam search over the whole vocabulary: items int32 (B, M), -1 where the `length` tokens (by default the trie's
    depth) spell no item, and log-likelihoods float32 (B, M), never rising (TIGER 4.5, Figure 6).

    There is no end token. Equal scores are in no particular order. Raises ContractError on NaN.
    """
    _check_beams(beams)
    steps, n, device = T5Steps(model, precision), len(tokens), tokens.device
    length = trie.depth if length is None else length
    memory = steps.encode(tokens, mask)
    cache = steps.cache(memory, 1 + beams * (length - 1))
    score, parents = torch.zeros(n, 1, device=device), torch.zeros(n, 1, dtype=torch.int64, device=device)
    token = torch.full_like(parents, steps.start)
    written = token.new_empty(n, 1, 0)  # (B, M, tokens so far)
    for _ in range(length):
        logits = steps.step(memory, cache, token, parents)
        pool = (score[..., None] + logits.log_softmax(-1)).flatten(1)  # (B, M*V)
        score, place = pool.topk(min(beams, pool.shape[1]))
        parents, token = place // logits.shape[-1], place % logits.shape[-1]
        written = torch.cat(
            [written.gather(1, parents[..., None].expand(-1, -1, written.shape[2])), token[..., None]], 2
        )
    _refuse_nan(score)
    return trie.to(device).lookup(written), score


@torch.inference_mode()
def score_candidates(
    model: T5ForConditionalGeneration,
    tokens: Tensor,
    mask: Tensor,
    sequences: NDArray[np.integer] | Ragged,
    candidates: Ragged,
    *,
    precision: Precision = "fp32",
    pairs: int = 4096,
) -> Tensor:
    """The exact log-likelihood float32 of every candidate, aligned with `candidates.values`; a row per request.

    `sequences` are the items' token ids, (N, L) or of several lengths. Teacher-forced: a prefix that candidates of one
    request share is decoded once. About `pairs` candidates are in memory at a time. Raises ContractError on NaN.
    """
    _check_rows(tokens, len(sequences), candidates=candidates)
    if not isinstance(sequences, Ragged):
        sequences = Ragged.from_lengths(np.full(len(sequences), sequences.shape[1]), sequences.reshape(-1))
    steps = T5Steps(model, precision)
    scores = torch.zeros(len(candidates.values), device=tokens.device)
    table = sequences.padded(int(sequences.lengths.max(initial=0)))
    order = np.lexsort((*table[candidates.values].T[::-1], candidates.rows))  # groups shared prefixes
    parts, owner = _split(candidates.lengths, order)
    done = 0
    while done < len(parts):
        rows = np.arange(done, min(len(parts), done + max(1, pairs // int(parts.lengths[done]))))
        done += len(rows)
        part, who = parts.take(rows), torch.as_tensor(owner[rows], device=tokens.device)
        scores[torch.as_tensor(part.values, device=tokens.device).long()] = _forced(
            steps, steps.encode(tokens[who], mask[who]), part.rows, sequences.take(candidates.values[part.values])
        )
    _refuse_nan(scores)
    return scores


def _split(lengths: NDArray[np.int64], places: NDArray[np.int64]) -> tuple[Ragged, NDArray[np.int64]]:
    """The places of each row's values in parts of at most `TOGETHER`, the longest first; and the parts' rows."""
    count = -(-lengths // TOGETHER)
    owner = np.repeat(np.arange(len(lengths)), count)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    parts = Ragged.from_lengths(np.minimum(lengths[owner] - TOGETHER * number, TOGETHER), places)
    order = np.argsort(-parts.lengths, kind="stable")
    return parts.take(order), owner[order]


def _forced(steps: T5Steps, memory: Memory, rows: NDArray[np.int64], sequences: Ragged) -> Tensor:
    """Log-likelihoods of `sequences` given rows `rows` (rising) of the memory."""
    n, device = len(memory.mask), memory.mask.device
    width = int(sequences.lengths.max())
    tokens, lengths = sequences.padded(width).astype(np.int64), sequences.lengths
    score = torch.zeros(len(rows), device=device)
    cache = steps.cache(memory, 1 + int(np.bincount(rows).max()) * (width - 1))
    parents = torch.zeros(n, 1, dtype=torch.int64, device=device)
    token = torch.full_like(parents, steps.start)
    prefix, beam = rows, np.zeros_like(rows)  # the sequence's prefix among all, and among those of its request
    for depth in range(width):
        logits = steps.step(memory, cache, token, parents)
        total = logits.logsumexp(-1)
        live = np.flatnonzero(lengths > depth)
        row, place, tokens_here = (torch.as_tensor(x[live], device=device) for x in (rows, beam, tokens[:, depth]))
        score[torch.as_tensor(live, device=device)] += logits[row, place, tokens_here] - total[row, place]
        on = np.flatnonzero(lengths > depth + 1)
        if not len(on):
            break
        _, first, group = np.unique(
            prefix[on] * logits.shape[-1] + tokens[on, depth], return_index=True, return_inverse=True
        )
        owner = rows[on][first]  # of every prefix, rising
        number = np.arange(len(first)) - np.searchsorted(owner, owner)
        shape = (n, int(number.max()) + 1)
        grid, above = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        grid[owner, number], above[owner, number] = tokens[on, depth][first], beam[on][first]
        token, parents = torch.as_tensor(grid, device=device), torch.as_tensor(above, device=device)
        prefix, beam = prefix.copy(), beam.copy()
        prefix[on], beam[on] = group, number[group]
    return score


@dataclass(frozen=True)
class _Front:
    """The prefixes (B, M) at one depth: scores, the ranks by which they were chosen, and children (B, M, C), -1 where
    the request allows none."""

    depth: int
    score: Tensor
    rank: Tensor
    child: Tensor


Extend = Callable[[Tensor, Tensor, _Front], tuple[Tensor, Tensor]]
"""Logits (B, M, V) and those of the children (B, M, C), -inf where none -> the children's score and rank."""


@dataclass(frozen=True)
class _Search:
    """The descent of the trie that beam search and sampling share."""

    trie: Trie
    beams: int
    limits: Limits | None
    keys: Tensor

    @classmethod
    def of(
        cls,
        trie: Trie,
        tokens: Tensor,
        beams: int,
        exclude: Ragged | None,
        candidates: Ragged | None,
        keys: Keys | None,
    ) -> _Search:
        _check_beams(beams)
        _check_rows(tokens, len(trie), exclude=exclude, candidates=candidates)
        if keys is not None and len(keys) != len(tokens):
            raise BenchmarkError(f"there are {len(keys)} keys for {len(tokens)} requests; give one key per request.")
        keys = np.zeros(len(tokens), dtype=np.uint64) if keys is None else keys
        return cls(
            trie.to(tokens.device),
            beams,
            Limits.of(trie, exclude, candidates, tokens.device),
            torch.as_tensor(keys.view(np.int64), device=tokens.device),
        )

    def run(self, steps: T5Steps, tokens: Tensor, mask: Tensor, extend: Extend) -> tuple[Tensor, Tensor]:
        """The best items (B, M) by rank, and their ranks, padded with -1 and -inf."""
        if self.trie.tokens > len(steps.head):
            raise BenchmarkError(
                f"the trie has token {self.trie.tokens - 1}, but the model's vocabulary ends at {len(steps.head) - 1}; "
                "widen the model or number the tokens from 0 on."
            )
        memory = steps.encode(tokens, mask)
        cache = steps.cache(memory, 1 + self.beams * (self.trie.depth - 1))
        state = torch.zeros(len(tokens), 1, dtype=torch.int64, device=tokens.device)
        score = rank = torch.zeros(state.shape, device=tokens.device)
        token, parents = torch.full_like(state, steps.start), state
        items, ranks = [], []
        for depth, level in enumerate(self.trie.levels):
            logits = steps.step(memory, cache, token, parents)
            child, follow = level.children(state)  # (B, M, C)
            if self.limits is not None:
                child = self.limits.apply(depth, state, rank > -torch.inf, child)
            options = logits[..., level.low : level.low + level.width] if follow is None else logits.gather(-1, follow)
            none = (child < 0) | (rank == -torch.inf)[..., None]
            options = options.masked_fill(none, -torch.inf)
            score, rank = extend(logits, options, _Front(depth, score, rank, child))
            rank = rank.masked_fill(none, -torch.inf)
            width, child, rank, score = child.shape[-1], child.flatten(1), rank.flatten(1), score.flatten(1)
            if level.inner < len(level.slot):
                place = self.best(
                    rank.masked_fill(child < level.inner, -torch.inf) if level.inner else rank, level, child
                )
                leaf = child.gather(1, place)
                items.append(level.item[leaf.clamp(min=0).long()])
                ranks.append(rank.gather(1, place).masked_fill(leaf < level.inner, -torch.inf))
            if level.inner:
                rank = rank.masked_fill(child >= level.inner, -torch.inf) if level.inner < len(level.slot) else rank
                place = self.best(rank, level, child)
                state = child.gather(1, place).long()
                rank, score = rank.gather(1, place), score.gather(1, place)
                gone = rank == -torch.inf  # fewer prefixes than beams: these lead nowhere from any node
                state, score = state.masked_fill(gone, 0), score.masked_fill(gone, -torch.inf)
                token, parents = level.token[state], place // width
        return self.ordered(torch.cat(items, 1), torch.cat(ranks, 1))

    def best(self, rank: Tensor, level: Level, child: Tensor) -> Tensor:
        """The positions of the M best of `rank` (B, M*C); ties for the last place go by the hash of an item below."""
        k = min(self.beams, rank.shape[1])
        top = rank.topk(min(k + 1, rank.shape[1]))
        place = top.indices[:, :k]
        if rank.shape[1] > k:
            border = top.values[:, k - 1]
            tied = (border == top.values[:, k]) & (border > -torch.inf)
            if tied.any():
                rows = tied.nonzero().squeeze(1)
                rank, border = rank[rows], border[rows, None]
                word = tie(self.keys[rows, None], level.item[child[rows].clamp(min=0).long()])
                ends = torch.iinfo(torch.int64)
                word = word.masked_fill(rank > border, ends.min).masked_fill(~(rank >= border), ends.max)
                place[rows] = word.topk(k, largest=False).indices
        return place

    def ordered(self, items: Tensor, ranks: Tensor) -> tuple[Tensor, Tensor]:
        _refuse_nan(ranks)
        ranks = ranks.float()
        order = tie(self.keys[:, None], items).argsort(1)
        ranks, second = ranks.gather(1, order).sort(dim=1, descending=True, stable=True)
        items = items.gather(1, order.gather(1, second)).masked_fill(ranks == -torch.inf, -1)
        short = max(self.beams - items.shape[1], 0)
        cut = slice(None, self.beams)
        return (
            torch.nn.functional.pad(items[:, cut], (0, short), value=-1),
            torch.nn.functional.pad(ranks[:, cut], (0, short), value=-torch.inf),
        )


def _check_beams(beams: int) -> None:
    if beams < 1:
        raise BenchmarkError(f"`beams` is {beams}; at least 1 is needed.")


def _check_rows(tokens: Tensor, items: int, **arguments: Ragged | None) -> None:
    for name, rows in arguments.items():
        if rows is not None and len(rows) != len(tokens):
            raise BenchmarkError(f"`{name}` has {len(rows)} rows for {len(tokens)} requests; give one row per request.")
        if rows is not None and len(rows.values) and not 0 <= rows.values.min() <= rows.values.max() < items:
            raise BenchmarkError(f"`{name}` names an item outside 0..{items - 1}; give row numbers of the items.")


def _refuse_nan(scores: Tensor) -> None:
    if scores.isnan().any():
        raise ContractError("the model's scores hold NaN")
