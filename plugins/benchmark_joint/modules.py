"""The networks of QEM, TEM and JSR, and the base of all four: a state per request, matched with every item.

Axis letters as in `data`; N items, D width of embeddings.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from benchmark import TASKS, Task
from benchmark_joint.data import UNKNOWN, Batch


class Network(nn.Module):
    """Embeddings of items and words, and scores of items for the state of a request."""

    def __init__(self, items: int, words: int, dim: int, bias: bool) -> None:
        super().__init__()
        self.item = nn.Embedding(items, dim)
        self.word = nn.Embedding(words, dim, padding_idx=0)
        for table in (self.item, self.word):
            nn.init.normal_(table.weight, std=dim**-0.5)
        with torch.no_grad():
            self.word.weight[: UNKNOWN + 1] = 0  # unknown words are never trained, so their vector stays 0
        self.bias = nn.Parameter(torch.zeros(len(TASKS), items)) if bias else None

    @abstractmethod
    def state(self, batch: Batch) -> Tensor:
        """(B, D) the vectors that are matched with the items."""

    def extra_loss(self) -> Tensor | None:
        """A loss of the last batch that is added to that of its targets, if any."""
        return None

    def score(self, state: Tensor, task: Task, items: Tensor | None = None) -> Tensor:
        """(B, N) scores of all items, or (B, n) of `items` (B, n)."""
        bias = None if self.bias is None else self.bias[TASKS.index(task)]
        scores: Tensor
        if items is None:
            scores = state @ self.item.weight.T
            return scores if bias is None else scores + bias
        scores = (self.item(items) @ state[:, :, None]).squeeze(2)
        return scores if bias is None else scores + bias[items]

    def mean_word(self, words: Tensor) -> Tensor:
        """(…, D) the mean embedding of the known words of each text (…, W); zeros for a text without any."""
        return mean(self.word(words), words > UNKNOWN)


def mean(vectors: Tensor, present: Tensor) -> Tensor:
    """The mean over the last axis but one of the vectors that are present, zeros where there are none."""
    weight = present.to(vectors.dtype)[..., None]
    return (vectors * weight).sum(-2) / weight.sum(-2).clamp(min=1)


class Attention(nn.Module):
    """One layer of a Transformer (Vaswani et al. 2017), with normalisation after each sublayer.

    `forward(asking (B, A, D), answering (B, K, D), mask)`: `mask` (B, A, K) is true where an asking position may see an
    answering one; a position that may see nothing gets no attention output. `bias` (B, heads, A, K) is added to the
    attention logits.
    """

    def __init__(self, dim: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.ask, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.inner, self.outer = nn.Linear(dim, inner), nn.Linear(inner, dim)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.drop = nn.Dropout(dropout)

    def forward(self, asking: Tensor, answering: Tensor, mask: Tensor, bias: Tensor | None = None) -> Tensor:
        if not asking.shape[1] or not answering.shape[1]:
            attended = torch.zeros_like(asking)
        else:
            sees_any = mask.any(2, keepdim=True)  # a softmax over nothing is NaN
            allowed = (mask | ~sees_any)[:, None]
            attended = F.scaled_dot_product_attention(
                self._heads(self.ask(asking)),
                self._heads(self.key(answering)),
                self._heads(self.value(answering)),
                attn_mask=allowed if bias is None else bias.masked_fill(~allowed, -1e9),
                dropout_p=self.dropout if self.training else 0.0,
            )
            attended = self.out(attended.transpose(1, 2).flatten(2)) * sees_any
        hidden = self.norms[0](asking + self.drop(attended))
        output: Tensor = self.norms[1](hidden + self.drop(self.outer(F.relu(self.inner(hidden)))))
        return output

    def _heads(self, x: Tensor) -> Tensor:
        """(B, heads, A, D / heads)"""
        return x.view(*x.shape[:2], self.heads, x.shape[2] // self.heads).transpose(1, 2)


class QueryNetwork(Network):
    """QEM: the query's mean word, projected (Ai et al. 2019, section 3.1)."""

    def __init__(self, items: int, words: int, dim: int) -> None:
        super().__init__(items, words, dim, bias=False)
        self.project = nn.Linear(dim, dim)

    def state(self, batch: Batch) -> Tensor:
        return self.query(batch.words)

    def query(self, words: Tensor) -> Tensor:
        """(B, D) f(q) = tanh(W mean(words) + b)."""
        return torch.tanh(self.project(self.mean_word(words)))


class QueryItemsNetwork(QueryNetwork):
    """TEM: a Transformer over the query and the user's past items; the state is its output at the query (Bi et al.
    2020, section 3)."""

    def __init__(
        self, items: int, words: int, dim: int, layers: int, heads: int, inner: int, dropout: float, history: int
    ) -> None:
        super().__init__(items, words, dim)
        self.age = nn.Embedding(history, dim)
        nn.init.normal_(self.age.weight, std=dim**-0.5)
        self.layers = nn.ModuleList(Attention(dim, heads, inner, dropout) for _ in range(layers))
        self.drop = nn.Dropout(dropout)

    def state(self, batch: Batch) -> Tensor:
        visible = F.pad(batch.items_visible, (1, 0), value=True)
        # Positions count back from the newest item, whose position thus does not depend on the history's length.
        age = batch.items_visible.sum(1, keepdim=True) - batch.items_visible.cumsum(1)
        items = self.item(batch.items[batch.group]) + self.age(age.clamp(max=self.age.num_embeddings - 1))
        hidden = self.drop(torch.cat([self.query(batch.words)[:, None], items], 1))  # (B, 1 + L, D)
        for number, layer in enumerate(self.layers, start=1):
            # The last layer computes only the output at the query.
            asking = hidden[:, :1] if number == len(self.layers) else hidden
            hidden = layer(asking, hidden, visible[:, None].expand(-1, asking.shape[1], -1))
        state: Tensor = hidden[:, 0]
        return state


class TwoTowers(Network):
    """JSR: a tower for users and one for queries, matched with the same items (Zamani & Croft 2018, section 3)."""

    def __init__(
        self, items: int, words: int, users: int, dim: int, hidden: int, dropout: float, by_history: bool
    ) -> None:
        super().__init__(items, words, dim, bias=True)
        self.by_history = by_history
        if not by_history:
            self.user = nn.Embedding(users + 1, dim, padding_idx=users)
            nn.init.normal_(self.user.weight, std=dim**-0.5)
            with torch.no_grad():
                self.user.weight[users] = 0
        self.importance = nn.Embedding(words, 1)
        nn.init.zeros_(self.importance.weight)
        self.towers = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, dim)) for _ in TASKS
        )
        self.match = nn.Parameter(torch.ones(len(TASKS), dim))

    def state(self, batch: Batch) -> Tensor:
        number = TASKS.index(batch.task)
        if batch.task == "search":
            present = batch.words > UNKNOWN
            weight = self.importance(batch.words).squeeze(2).masked_fill(~present, -1e9).softmax(1)
            vector = (self.word(batch.words) * (weight * present)[:, :, None]).sum(1)
        elif self.by_history:
            vector = mean(self.item(batch.items[batch.group]), batch.items_visible)
        else:
            vector = self.user(torch.where(batch.user < 0, self.user.num_embeddings - 1, batch.user))
        # Hadamard product with the item and one output unit: w · (tower ∘ item) = (w ∘ tower) · item.
        state: Tensor = self.towers[number](vector) * self.match[number]
        return state
