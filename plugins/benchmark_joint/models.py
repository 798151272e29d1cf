"""The models: dataclasses that build a network, train it on the protocol's split and rank with it for the harness."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from benchmark import (
    TASKS,
    BenchmarkError,
    Context,
    Count,
    NonNegative,
    NotFittedError,
    Positive,
    ProperFraction,
    Ranking,
    Requests,
    Split,
    Task,
    Train,
    top_k,
)
from benchmark_torch.randomness import seeded
from benchmark_torch.training import Schedule
from benchmark_torch.training import train as train_network
from benchmark_torch.validation import validate

if TYPE_CHECKING:
    from benchmark_joint.modules import Network

SCORED_AT_ONCE = 2**22
"""Scores (requests × items) in memory at once: 16 MB."""
ASKED_AT_ONCE = 1024
VALIDATED = 2000
"""Most validation requests of each task; of more, evenly spaced ones are used."""


@dataclass
class Joint(ABC):
    """What the four models share: fit, validation, ranking. A subclass builds its network.

    `loss: BCE` is binary cross-entropy of the target and `negatives` uniformly drawn items, `softmax` the softmax over
    the same, `CE` the softmax over all items, which suits rankings of the whole catalogue best and is affordable for
    small ones. The epoch with the best nDCG@10 on the validation requests, mean over the tasks, is kept; training stops
    after `patience` epochs without a better one. Words are those of `benchmark.words`, without stemming; words unseen
    in training queries are ignored.
    """

    tasks: ClassVar[frozenset[Task]]
    requires: ClassVar[tuple[str, ...]] = ("torch",)
    shares: ClassVar[bool] = False
    """Whether nearby targets of a user are trained on one encoding of the history."""

    learning_rate: Positive
    batch_size: Count
    epochs: Count
    patience: Count
    weight_decay: NonNegative
    loss: Literal["BCE", "softmax", "CE"]
    negatives: Count
    dim: Count

    def __post_init__(self) -> None:
        heads = getattr(self, "heads", 1)
        if self.dim % heads:
            raise BenchmarkError(f"dim is {self.dim}, which is not a multiple of {heads} heads; choose a multiple.")

    def fit(self, train: Train, valid: Mapping[Task, Split], context: Context) -> None:
        """Train on `train`, keep the epoch with the best nDCG@10 on `valid`.

        Raises BenchmarkError if there are no training examples, or training diverges.
        """
        import torch

        from benchmark_joint import data, training

        self.device_ = torch.device(context.device)
        self.vocabulary_ = data.vocabulary_of(train)
        self.history_ = {stream: train.capped(n) for stream, n in self.reads.items()}
        all_examples = data.training(train, self.vocabulary_, **self.history_, share=self.shares)
        examples = {
            task: all_examples[task].to(self.device_) for task in TASKS if task in self.tasks and task in all_examples
        }
        if not examples:
            raise BenchmarkError(
                f"{type(self).__name__} has nothing to learn from: the data set has no training example for "
                f"{' or '.join(sorted(self.tasks))}."
            )
        splits = {task: _sampled(valid[task]) for task in examples if task in valid}
        with seeded(context):
            self.network_ = self.build(train).to(self.device_)
            context.record("parameters", sum(p.numel() for p in self.network_.parameters()))
            settings = training.LossSettings(
                self.batch_size, self.loss, self.negatives, {"search": getattr(self, "search_weight", 1.0)}
            )  # fmt: skip
            train_network(
                self.network_,
                lambda rng: training.losses(self.network_, examples, settings, rng),
                Schedule(self.learning_rate, self.epochs, self.patience, self.weight_decay, mean_over="updates"),
                context,
                identity=[self, *training.tensors(examples)],
                validate=lambda: self._validate(splits),
            )

    def rank(self, requests: Requests, k: int) -> Ranking:
        if not hasattr(self, "network_"):
            raise NotFittedError(f"{type(self).__name__} must be fitted before it can rank.")
        if requests.task not in self.tasks:
            raise BenchmarkError(f"{type(self).__name__} answers {', '.join(sorted(self.tasks))} only.")
        import torch

        from benchmark_joint import data

        n = self.network_.item.num_embeddings
        if not len(requests):
            return Ranking.empty(0, k)
        examples = data.of_requests(requests, self.vocabulary_, **self.history_).to(self.device_)
        size = max(1, min(ASKED_AT_ONCE, SCORED_AT_ONCE // n))
        parts = []
        with torch.inference_mode():
            for begin in range(0, len(requests), size):
                rows = np.arange(begin, min(begin + size, len(requests)))
                batch = examples.batch(torch.from_numpy(rows).to(self.device_))
                scores = self.network_.score(self.network_.state(batch), requests.task).float().cpu().numpy()
                parts.append(top_k(scores, requests.take(rows), k))
        return Ranking.concat(parts, k)

    def item_embeddings(self) -> NDArray[np.float32]:
        """(N, dim) the items' learned vectors. Raises NotFittedError."""
        if not hasattr(self, "network_"):
            raise NotFittedError(f"{type(self).__name__} must be fitted before it has item embeddings.")
        vectors: NDArray[np.float32] = self.network_.item.weight.detach().float().cpu().numpy().copy()
        return vectors

    @property
    def reads(self) -> dict[str, int]:
        """The most recommended `items` and `searches` of a history that the model reads."""
        return {"items": 0, "searches": 0}

    @abstractmethod
    def build(self, train: Train) -> Network: ...

    def _validate(self, splits: Mapping[Task, Split]) -> dict[str, float]:
        """The mean nDCG@10 of the tasks."""
        values = validate(self.rank, splits, "nDCG@10")
        return {name: value for name, value in values.items() if name == "nDCG@10"}


def _sampled(split: Split) -> Split:
    n = len(split.requests)
    return split if n <= VALIDATED else split.take(np.linspace(0, n - 1, VALIDATED).astype(np.int64))


@dataclass
class Search(Joint):
    """The two search models, trained on pairs of a query and an item clicked for it.

    The papers also let an item's embedding generate the words of its reviews (Ai 2019, section 3.1). No data set here
    has reviews, so that loss is left out.
    """

    tasks: ClassVar[frozenset[Task]] = frozenset({"search"})


@dataclass
class Qem(Search):
    """QEM, the query embedding model: no user, no history (Ai et al., CIKM 2019, section 3.1).

    An item's score is the dot product of its embedding with f(q) = tanh(W·mean(words of q) + b). Defaults are the
    settings of ProdSearch, the code of Bi et al. (SIGIR 2020), for TEM, where the papers share them.
    """

    learning_rate: Positive = 5e-4
    batch_size: Count = 384
    epochs: Count = 20
    patience: Count = 5
    weight_decay: NonNegative = 0.0
    loss: Literal["BCE", "softmax", "CE"] = "BCE"
    negatives: Count = 5
    dim: Count = 128

    def build(self, train: Train) -> Network:
        from benchmark_joint.modules import QueryNetwork

        return QueryNetwork(len(train.catalog), len(self.vocabulary_), self.dim)


@dataclass
class Tem(Search):
    """TEM, a Transformer over the query and the user's past items (Bi et al., SIGIR 2020).

    The output at the query, which decides how much of the history to heed, is matched with the items. Past items are
    the newest `max_history` recommended ones; a searched purchase that is logged as an interaction too is one of them.
    Without a joint log there is no user history; the model sees only the query. Defaults are the settings of
    ProdSearch, the authors' code; of 1 and 2 layers, which it tries, the smaller. Positions count back from the newest
    item, and layer normalisation follows each sublayer; the paper says neither.
    """

    learning_rate: Positive = 5e-4
    batch_size: Count = 384
    epochs: Count = 20
    patience: Count = 5
    weight_decay: NonNegative = 0.0
    loss: Literal["BCE", "softmax", "CE"] = "BCE"
    negatives: Count = 5
    dim: Count = 128
    layers: Count = 1
    heads: Count = 8
    inner: Count = 512
    dropout: ProperFraction = 0.1
    max_history: Count = 20

    @property
    def reads(self) -> dict[str, int]:
        return {"items": self.max_history, "searches": 0}

    def build(self, train: Train) -> Network:
        from benchmark_joint.modules import QueryItemsNetwork

        return QueryItemsNetwork(
            len(train.catalog), len(self.vocabulary_), self.dim, self.layers, self.heads, self.inner, self.dropout,
            self.max_history,
        )  # fmt: skip


@dataclass
class Jsr(Joint):
    """JSR, one item table for a recommender and a search engine that learn together (Zamani & Croft, DESIRES 2018).

    A user's vector, and a query's words weighted by learned word importance, each go through a tower (an MLP with one
    hidden layer); the Hadamard product with the item goes into one output unit; the loss is that of recommendation plus
    `search_weight` times that of search. An item is its embedding: the paper's model reads the item's text, the later
    one (WSDM 2020) reconstructs it; neither is done here. `users: id` is the paper's embedding per user, so unknown
    users get popular items; `history` instead uses the mean of the newest `max_history` recommended items. Sizes and
    rates are ours: the paper tuned its own, and there is no public code.
    """

    tasks: ClassVar[frozenset[Task]] = frozenset(TASKS)
    learning_rate: Positive = 1e-3
    batch_size: Count = 1024
    epochs: Count = 20
    patience: Count = 5
    weight_decay: NonNegative = 0.0
    loss: Literal["BCE", "softmax", "CE"] = "BCE"
    negatives: Count = 5
    dim: Count = 64
    hidden: Count = 128
    dropout: ProperFraction = 0.1
    users: Literal["id", "history"] = "id"
    max_history: Count = 20
    search_weight: NonNegative = 1.0

    @property
    def reads(self) -> dict[str, int]:
        return {"items": self.max_history if self.users == "history" else 0, "searches": 0}

    def build(self, train: Train) -> Network:
        from benchmark_joint.modules import TwoTowers

        return TwoTowers(
            len(train.catalog), len(self.vocabulary_), len(train.users), self.dim, self.hidden, self.dropout,
            self.users == "history",
        )  # fmt: skip


@dataclass
class UniSar(Joint):
    """UniSAR, transitions between search and recommendation (Shi et al., SIGIR 2024).

    A history is the newest `max_history` recommended items and as many searches, each the mean of its words plus the
    mean of its clicked items. Transformers masked to events of one kind (r2r, s2s) or to pairs of different kinds (s2r,
    r2s) extract four kinds of transitions; contrastive losses align the two that lead to one kind and, in both tasks,
    each query of the history with its clicked items; cross-attention fuses them. The pooled events of both kinds, the
    user and the query go to shared experts and to those of each task (PLE), and the output is matched with the items.
    The loss is that of recommendation plus `search_weight` times that of search, each with its contrastive losses.
    `search_weight` is 0.01 in the authors' settings for Amazon and 1 here, where one model serves both tasks.

    Embedding size, layers, heads, rate, batch, L2, weights and temperatures of the contrastive losses, history and
    experts are the authors' settings for Amazon. Differences from the paper:

    - The paper's pooling and experts also read the candidate item, which takes a forward pass for each pair of a
      request and an item; here the item enters last, by a dot product and a popularity for each task, so that the whole
      catalogue can be ranked.
    - A contrastive loss compares a pair with the others of its batch, at most 1,024 pairs of a query and an item;
      pairs with the same query or item are not negatives.
    - An event sees only earlier ones, with a learned weight for their distance, so that all targets of a user share one
      encoding, which trains several times as fast as one for each.
    - Not stated in the paper and chosen by us: the width of the inner layers (that of the embeddings), dropout, one
      number of negatives for both tasks, epochs.
    """

    tasks: ClassVar[frozenset[Task]] = frozenset(TASKS)
    shares: ClassVar[bool] = True
    learning_rate: Positive = 1e-3
    batch_size: Count = 1024
    epochs: Count = 20
    patience: Count = 5
    weight_decay: NonNegative = 1e-5
    loss: Literal["BCE", "softmax", "CE"] = "BCE"
    negatives: Count = 5
    dim: Count = 64
    layers: Count = 1
    heads: Count = 2
    dropout: ProperFraction = 0.1
    max_history: Count = 30
    search_weight: NonNegative = 1.0

    @property
    def reads(self) -> dict[str, int]:
        return {"items": self.max_history, "searches": self.max_history}

    def build(self, train: Train) -> Network:
        from benchmark_joint.unisar import UniSarNetwork

        return UniSarNetwork(
            len(train.catalog), len(self.vocabulary_), len(train.users), self.dim, self.layers, self.heads,
            self.dropout, self.max_history,
        )  # fmt: skip
