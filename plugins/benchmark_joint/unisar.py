"""UniSAR's network: transitions between search and recommendation, extracted, aligned and fused (Shi et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from benchmark import TASKS
from benchmark_joint.data import Batch
from benchmark_joint.modules import Attention, Network, mean

ALIGNED = 1024
"""Most pairs of a query and an item that one update contrasts: a batch's histories can have 100,000."""
EXPERTS = 4
"""The number of shared experts, and of each task's own: the authors' setting for Amazon, like all below."""
HISTORY_WEIGHT, HISTORY_TEMPERATURE = 0.01, 0.1
"""Of the contrastive loss that aligns the two transitions that lead to one kind."""
QUERY_WEIGHT, QUERY_TEMPERATURE = 0.1, 0.1
"""Of the contrastive loss that aligns a history's queries with their clicks."""


def transition_masks(item_at: Tensor, query_at: Tensor) -> dict[str, Tensor]:
    """Which event (row) may see which (column), bool, for each transition: an event sees earlier ones only.

    `item_at` (G, L) and `query_at` (G, S) are the positions of the recommended items and of the searches in one order,
    -1 at padding. "r2r" (G, L, L) and "s2s" (G, S, S) are within one kind, where an event sees itself too; "s2r"
    (G, L, S) are recommended items that see searches, "r2s" (G, S, L) searches that see recommended items.
    """

    def mask(to: Tensor, source: Tensor) -> Tensor:
        return (to[:, :, None] >= source[:, None, :]) & (source >= 0)[:, None, :]

    return {
        "r2r": mask(item_at, item_at),
        "s2s": mask(query_at, query_at),
        "s2r": mask(item_at, query_at),
        "r2s": mask(query_at, item_at),
    }


@dataclass(frozen=True)
class Transitions:
    """`r2r`, `s2r` (G, L, D) at the recommended items; `s2s`, `r2s` (G, S, D) at the searches; `masks` as above."""

    r2r: Tensor
    s2r: Tensor
    s2s: Tensor
    r2s: Tensor
    masks: dict[str, Tensor]


class Experts(nn.Module):
    """Progressive layered extraction with one level (Tang et al. 2020): shared experts, and per task its own experts, a
    gate and an output layer."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.shared = nn.Linear(width, EXPERTS * dim)
        self.specific = nn.ModuleList(nn.Linear(width, EXPERTS * dim) for _ in TASKS)
        self.gate = nn.ModuleList(nn.Linear(width, 2 * EXPERTS) for _ in TASKS)
        self.tower = nn.ModuleList(nn.Linear(dim, dim) for _ in TASKS)

    def forward(self, features: Tensor, task: int) -> Tensor:
        outputs = F.relu(torch.cat([self.shared(features), self.specific[task](features)], 1))
        gate = self.gate[task](features).softmax(1)
        mixed = (outputs.view(*gate.shape, -1) * gate[:, :, None]).sum(1)
        output: Tensor = self.tower[task](mixed)
        return output


class UniSarNetwork(Network):
    """The state of a request, from its user, its query and the four transitions in its history."""

    def __init__(
        self, items: int, words: int, users: int, dim: int, layers: int, heads: int, dropout: float, history: int
    ) -> None:
        super().__init__(items, words, dim, bias=True)
        self.user = nn.Embedding(users + 1, dim, padding_idx=users)
        self.kind = nn.Embedding(len(TASKS), dim)
        self.no_query = nn.Parameter(torch.empty(dim))
        for weight in (self.user.weight, self.kind.weight, self.no_query):
            nn.init.normal_(weight, std=dim**-0.5)
        with torch.no_grad():
            self.user.weight[users] = 0
        self.items, self.searches, self.both = (
            nn.ModuleList(Attention(dim, heads, dim, dropout) for _ in range(layers)) for _ in range(3)
        )
        self.fuse = nn.ModuleList(Attention(dim, heads, dim, dropout) for _ in TASKS)
        # Positions enter as biases, of attention by distance and of pooling by age: a target's history is encoded alike
        # however many later events are encoded with it.
        self.distance = nn.Parameter(torch.zeros(3, heads))
        self.age = nn.Parameter(torch.zeros(len(TASKS), history))
        self.pool = nn.ModuleList(nn.Linear(dim, dim) for _ in TASKS)
        self.experts = Experts(4 * dim, dim)
        self.drop = nn.Dropout(dropout)
        self.aligned: Tensor | None = None

    def state(self, batch: Batch) -> Tensor:
        query = self.mean_word(batch.words) if batch.task == "search" else self.no_query.expand(len(batch.user), -1)
        transitions = self.transitions(batch)
        if self.training:
            self.aligned = self.alignment(batch, transitions)
        # Fusion: the within-kind transitions attend to the cross-kind ones of the same events.
        items = self.fuse[0](transitions.r2r, transitions.s2r, transitions.masks["r2r"])
        searches = self.fuse[1](transitions.s2s, transitions.r2s, transitions.masks["s2s"])
        user = self.user(torch.where(batch.user < 0, self.user.num_embeddings - 1, batch.user))
        liked = self.pooled(0, query + user, items, batch.items_visible, batch)
        sought = self.pooled(1, query + user, searches, batch.searches_visible, batch)
        features = self.drop(torch.cat([user, query, liked, sought], 1))
        output: Tensor = self.experts(features, TASKS.index(batch.task))
        return output

    def extra_loss(self) -> Tensor | None:
        aligned, self.aligned = self.aligned, None
        return aligned

    def events(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(G, L, D) recommended items and (G, S, D) searches (a query's mean word plus the mean of its clicked items),
        each plus the vector of its kind."""
        numbers, inverse = torch.unique(batch.queries, return_inverse=True)
        queries = self.mean_word(batch.query_words[numbers])[inverse]
        searches = queries + mean(self.item(batch.clicks), batch.clicks_present) + self.kind.weight[1]
        return self.drop(self.item(batch.items) + self.kind.weight[0]), self.drop(searches)

    def transitions(self, batch: Batch) -> Transitions:
        """Extraction: each kind attends to itself, and each to the other, through masks."""
        items, searches = self.events(batch)
        item_at = batch.item_at.masked_fill(~batch.items_present, -1)
        query_at = batch.query_at.masked_fill(~batch.searches_present, -1)
        masks = transition_masks(item_at, query_at)
        place = torch.cat([item_at, query_at], 1).argsort(stable=True, dim=1).argsort(stable=True, dim=1)
        item, search = place[:, : items.shape[1]], place[:, items.shape[1] :]

        def bias(number: int, to: Tensor, source: Tensor) -> Tensor:
            far = (to[:, :, None] - source[:, None, :]).clamp(min=0).log1p()
            return -self.distance[number][:, None, None] * far[:, None]

        r2r, s2s, s2r, r2s = items, searches, items, searches
        of_items, of_searches = bias(0, item, item), bias(1, search, search)
        to_items, to_searches = bias(2, item, search), bias(2, search, item)
        for layer in self.items:
            r2r = layer(r2r, r2r, masks["r2r"], of_items)
        for layer in self.searches:
            s2s = layer(s2s, s2s, masks["s2s"], of_searches)
        for layer in self.both:  # one Transformer over both kinds, masked to pairs of different kinds
            s2r, r2s = layer(s2r, r2s, masks["s2r"], to_items), layer(r2s, s2r, masks["r2s"], to_searches)
        return Transitions(r2r, s2r, s2s, r2s, masks)

    def alignment(self, batch: Batch, transitions: Transitions) -> Tensor:
        """Contrastive losses: both transitions that lead to one kind, and the history's queries with their clicks."""
        loss = transitions.r2r.new_zeros(())
        both = batch.items_present.any(1) & batch.searches_present.any(1)
        for within, across, present in (
            (transitions.r2r, transitions.s2r, batch.items_present),
            (transitions.s2s, transitions.r2s, batch.searches_present),
        ):
            a, b = mean(within[both], present[both]), mean(across[both], present[both])
            loss = loss + HISTORY_WEIGHT * contrast(a, b, HISTORY_TEMPERATURE)
        query, item = clicked_pairs(batch)
        words = batch.query_words[query]
        distinct_query = torch.unique(words, dim=0, return_inverse=True)[1]
        # Another pair with the same query or item is not a negative.
        same = (distinct_query[:, None] == distinct_query) | (item[:, None] == item)
        return loss + QUERY_WEIGHT * contrast(self.mean_word(words), self.item(item), QUERY_TEMPERATURE, same)

    def pooled(self, kind: int, asking: Tensor, events: Tensor, visible: Tensor, batch: Batch) -> Tensor:
        """(B, D) the mean of the events (G, L, D) that each row sees, weighted by their match with `asking` (B, D) and
        their age; zeros without any."""
        if not visible.shape[1]:
            return torch.zeros_like(asking)
        groups, slots = len(events), int(batch.slot.max()) + 1
        placed = asking.new_zeros(groups, slots, asking.shape[1]).index_put((batch.group, batch.slot), asking)
        met = (placed @ self.pool[kind](events).transpose(1, 2))[batch.group, batch.slot] * asking.shape[1] ** -0.5
        age = (visible.sum(1, keepdim=True) - visible.cumsum(1)).clamp(max=self.age.shape[1] - 1)
        weight = (met + self.age[kind][age]).masked_fill(~visible, -1e9).softmax(1) * visible  # (B, L)
        spread = weight.new_zeros(groups, slots, weight.shape[1]).index_put((batch.group, batch.slot), weight)
        mixed: Tensor = (spread @ events)[batch.group, batch.slot]
        return mixed


def clicked_pairs(batch: Batch) -> tuple[Tensor, Tensor]:
    """(P,) rows of `query_words` and (P,) items: the distinct pairs of a search in the histories and one of its clicks;
    at most `ALIGNED`, drawn at random."""
    query = batch.queries[:, :, None].expand_as(batch.clicks)[batch.clicks_present]
    if not len(query):
        return query, query
    pairs = torch.unique(torch.stack([query, batch.clicks[batch.clicks_present]]), dim=1)
    if pairs.shape[1] > ALIGNED:
        pairs = pairs[:, torch.randperm(pairs.shape[1], device=pairs.device)[:ALIGNED]]
    return pairs[0], pairs[1]


def contrast(a: Tensor, b: Tensor, temperature: float, same: Tensor | None = None) -> Tensor:
    """InfoNCE (van den Oord et al. 2018) by cosine, of row i of `a` and of `b` against the other rows, both ways.

    `same` (B, B) marks pairs that are not negatives. 0 for fewer than two rows.
    """
    if len(a) < 2:
        return a.new_zeros(())
    scores = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / temperature
    itself = torch.eye(len(a), dtype=torch.bool, device=a.device)
    if same is not None:
        scores = scores.masked_fill(same & ~itself, -1e9)
    rows = torch.arange(len(a), device=a.device)
    return (F.cross_entropy(scores, rows) + F.cross_entropy(scores.T, rows)) / 2
