"""UniSAR's network: transitions between search and recommendation, extracted, aligned and fused (Shi et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from benchmark import TASKS
from benchmark_joint.data import Batch
from benchmark_joint.modules import Attention, Network, mean


def transition_masks(items_known: Tensor, searches_known: Tensor) -> dict[str, Tensor]:
    """Which event (row) may see which (column), bool, for each transition: what it comes from, and what it leads to.

    `items_known` (B, L), `searches_known` (B, S). "r2r" (B, L, L) and "s2s" (B, S, S) are within one kind; "s2r"
    (B, L, S) are recommended items that see searches, "r2s" (B, S, L) searches that see recommended items.
    """

    def mask(to: Tensor, of: Tensor) -> Tensor:
        return to[:, :, None] & of[:, None, :]

    return {
        "r2r": mask(items_known, items_known),
        "s2s": mask(searches_known, searches_known),
        "s2r": mask(items_known, searches_known),
        "r2s": mask(searches_known, items_known),
    }


@dataclass(frozen=True)
class Transitions:
    """`r2r`, `s2r` (B, L, D) at the recommended items; `s2s`, `r2s` (B, S, D) at the searches."""

    r2r: Tensor
    s2r: Tensor
    s2s: Tensor
    r2s: Tensor


class Experts(nn.Module):
    """Progressive layered extraction with one level (Tang et al. 2020): experts of all tasks and of each, and a gate
    and an output layer for each."""

    def __init__(self, width: int, dim: int, shared: int, own: int) -> None:
        super().__init__()
        self.shared = nn.Linear(width, shared * dim)
        self.own = nn.ModuleList(nn.Linear(width, own * dim) for _ in TASKS)
        self.gate = nn.ModuleList(nn.Linear(width, shared + own) for _ in TASKS)
        self.tower = nn.ModuleList(nn.Linear(dim, dim) for _ in TASKS)

    def forward(self, features: Tensor, task: int) -> Tensor:
        known = F.relu(torch.cat([self.shared(features), self.own[task](features)], 1))
        gate = self.gate[task](features).softmax(1)
        mixed = (known.view(*gate.shape, -1) * gate[:, :, None]).sum(1)
        output: Tensor = self.tower[task](mixed)
        return output


class UniSarNetwork(Network):
    """The state of a request, from its user, its query and the four transitions in its history."""

    def __init__(
        self, items: int, words: int, users: int, dim: int, layers: int, heads: int, dropout: float, history: int,
        experts: int, history_weight: float, history_temperature: float, query_weight: float, query_temperature: float,
    ) -> None:  # fmt: skip
        super().__init__(items, words, dim, bias=True)
        self.user = nn.Embedding(users + 1, dim, padding_idx=users)
        self.kind, self.age = nn.Embedding(2, dim), nn.Embedding(history, dim)
        self.no_query = nn.Parameter(torch.empty(dim))
        for weight in (self.user.weight, self.kind.weight, self.age.weight, self.no_query):
            nn.init.normal_(weight, std=dim**-0.5)
        with torch.no_grad():
            self.user.weight[users] = 0
        self.items, self.searches, self.both = (
            nn.ModuleList(Attention(dim, heads, dim, dropout) for _ in range(layers)) for _ in range(3)
        )
        self.fuse = nn.ModuleList(Attention(dim, heads, dim, dropout) for _ in TASKS)
        self.pool = nn.ModuleList(nn.Linear(dim, dim) for _ in TASKS)
        self.experts = Experts(4 * dim, dim, experts, experts)
        self.drop = nn.Dropout(dropout)
        self.history_weight, self.history_temperature = history_weight, history_temperature
        self.query_weight, self.query_temperature = query_weight, query_temperature
        self.aligned: Tensor | None = None

    def state(self, batch: Batch) -> Tensor:
        query = self.mean_word(batch.words) if batch.task == "search" else self.no_query.expand(len(batch.user), -1)
        found = self.transitions(batch)
        masks = transition_masks(batch.items_known, batch.searches_known)
        if self.training:
            self.aligned = self.alignment(batch, query, found)
        # Fusion: what an event is within its kind asks what the other kind says of the same events.
        pairs = ((found.r2r, found.s2r, "r2r"), (found.s2s, found.r2s, "s2s"))
        fused = [fuse(own, other, masks[name]) for fuse, (own, other, name) in zip(self.fuse, pairs, strict=True)]
        user = self.user(torch.where(batch.user < 0, self.user.num_embeddings - 1, batch.user))
        known = (batch.items_known, batch.searches_known)
        pooled = [
            attend(query + user, part, pool(part), of) for part, pool, of in zip(fused, self.pool, known, strict=True)
        ]
        output: Tensor = self.experts(self.drop(torch.cat([user, query, *pooled], 1)), TASKS.index(batch.task))
        return output

    def beside(self, batch: Batch) -> Tensor | None:
        aligned, self.aligned = self.aligned, None
        return aligned

    def events(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B, L, D) recommended items and (B, S, D) searches: a query's mean word plus the mean of what was clicked,
        each with its kind and its place in the history, counted from the newest event back."""
        numbers, inverse = torch.unique(batch.queries, return_inverse=True)
        queries = self.mean_word(batch.query_words[numbers])[inverse]
        searches = queries + mean(self.item(batch.clicks), batch.clicks_known)
        at = torch.cat([batch.item_at.masked_fill(~batch.items_known, -1),
                        batch.query_at.masked_fill(~batch.searches_known, -1)], 1)  # fmt: skip
        age = self.age(at.argsort(stable=True, dim=1, descending=True).argsort(stable=True, dim=1))
        split = batch.items.shape[1]
        items = self.item(batch.items) + self.kind.weight[0] + age[:, :split]
        return self.drop(items), self.drop(searches + self.kind.weight[1] + age[:, split:])

    def transitions(self, batch: Batch) -> Transitions:
        """Extraction: each kind attends to itself, and each to the other, through masks."""
        items, searches = self.events(batch)
        masks = transition_masks(batch.items_known, batch.searches_known)
        r2r, s2s = items, searches
        for layer in self.items:
            r2r = layer(r2r, r2r, masks["r2r"])
        for layer in self.searches:
            s2s = layer(s2s, s2s, masks["s2s"])
        s2r, r2s = items, searches
        for layer in self.both:  # one Transformer over both kinds, whose mask leaves only pairs of different ones
            s2r, r2s = layer(s2r, r2s, masks["s2r"]), layer(r2s, s2r, masks["r2s"])
        return Transitions(r2r, s2r, s2s, r2s)

    def alignment(self, batch: Batch, query: Tensor, found: Transitions) -> Tensor:
        """Contrastive losses: both transitions that lead to one kind, and a query with what is clicked for it."""
        loss = query.new_zeros(())
        both = batch.items_known.any(1) & batch.searches_known.any(1)
        for own, other, known in (
            (found.r2r, found.s2r, batch.items_known),
            (found.s2s, found.r2s, batch.searches_known),
        ):
            a, b = mean(own[both], known[both]), mean(other[both], known[both])
            loss = loss + self.history_weight * contrast(a, b, self.history_temperature)
        if batch.task == "search":
            asked, target = torch.unique(batch.words, dim=0, return_inverse=True)[1], batch.target
            # Another row with the same query or item is no negative.
            same = (asked[:, None] == asked) | (target[:, None] == target)
            clicked = self.item(target)
            loss = loss + self.query_weight * contrast(query, clicked, self.query_temperature, same)
        return loss


def attend(asking: Tensor, values: Tensor, keys: Tensor, known: Tensor) -> Tensor:
    """(B, D) the mean of `values` (B, L, D) weighted by how `asking` (B, D) meets their keys; zeros without any."""
    if not values.shape[1]:
        return torch.zeros_like(asking)
    weight = (keys @ asking[:, :, None]).squeeze(2) * asking.shape[1] ** -0.5
    weight = weight.masked_fill(~known, -1e9).softmax(1) * known
    pooled: Tensor = (weight[:, :, None] * values).sum(1)
    return pooled


def contrast(a: Tensor, b: Tensor, temperature: float, same: Tensor | None = None) -> Tensor:
    """InfoNCE (van den Oord et al. 2018) of row i of `a` and of `b`, against the other rows, by cosine; both ways.

    `same` (B, B) are pairs that are no negatives. 0 for less than two rows.
    """
    if len(a) < 2:
        return a.new_zeros(())
    scores = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / temperature
    own = torch.eye(len(a), dtype=torch.bool, device=a.device)
    if same is not None:
        scores = scores.masked_fill(same & ~own, -1e9)
    rows = torch.arange(len(a), device=a.device)
    return (F.cross_entropy(scores, rows) + F.cross_entropy(scores.T, rows)) / 2
