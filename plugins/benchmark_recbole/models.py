"""The models: dataclasses that train RecBole's modules on the protocol's split and rank with them for the harness."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from benchmark import BenchmarkError, Context, NotFittedError, Ragged, Ranking, Requests, Split, Task, Train, top_k
from benchmark_recbole import batches, modules, training

if TYPE_CHECKING:
    from torch import Tensor, nn

SCORED_AT_ONCE = 2**24
"""How many scores (requests × items) are held at once: 64 MB."""


@dataclass
class Recommender(ABC):
    """What the models share: fit, validation, ranking. A subclass says how its module is built, trained and asked."""

    tasks: ClassVar[frozenset[Task]] = frozenset({"recommendation"})
    requires: ClassVar[tuple[str, ...]] = ("torch", "recbole", "kmeans_pytorch")

    learning_rate: float
    batch_size: int
    epochs: int
    patience: int
    weight_decay: float

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool | str):
                continue
            rate = "dropout" in field.name or field.name in ("mask_ratio", "last_ratio")
            if rate and not 0 <= value < 1:
                raise BenchmarkError(f"{field.name} is {value}; it must be at least 0 and below 1.")
            if field.name in _MAY_BE_ZERO and value < 0:
                raise BenchmarkError(f"{field.name} is {value}; it must not be negative.")
            if not rate and field.name not in _MAY_BE_ZERO and value <= 0:
                raise BenchmarkError(f"{field.name} is {value}; it must be above 0.")

    def fit(self, train: Train, valid: Mapping[Task, Split], context: Context) -> None:
        """Train on `train`, keep the epoch with the best R@30 on `valid`; early stopping after `patience` epochs."""
        import torch

        torch.set_num_threads(context.threads)
        self.n_items_ = len(train.catalog)
        self.device_ = torch.device(context.device)
        split = valid.get("recommendation")
        key = training.fit_key(
            type(self).__name__, self, context.seed, self.n_items_, train.max_history, train.max_prefixes_per_user,
            train.histories.offsets, train.histories.values, *(() if split is None else (split.relevant.values,)),
        )  # fmt: skip
        plan = training.Plan(self.learning_rate, self.weight_decay, self.epochs, self.patience)
        devices = [self.device_] if self.device_.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(context.seed)
            self.module_ = self.build(train)
            context.record("parameters", sum(p.numel() for p in self.module_.parameters()))
            recall = None if split is None or not len(split.requests) else lambda: self.recall(split)
            training.train(self.module_, lambda rng: self.losses(self.module_, train, rng), recall, plan, context, key)

    def rank(self, requests: Requests, k: int) -> Ranking:
        if not hasattr(self, "module_"):
            raise NotFittedError(f"{type(self).__name__} must be fitted before it can rank.")
        if not len(requests):
            return top_k(np.zeros((0, self.n_items_), dtype=np.float32), requests, k)
        size = max(1, SCORED_AT_ONCE // self.n_items_)
        parts = []
        for begin in range(0, len(requests), size):
            batch = requests.take(np.arange(begin, min(begin + size, len(requests))))
            parts.append(top_k(self.score(batch.histories), batch, k))
        return Ranking(np.concatenate([p.items for p in parts]), np.concatenate([p.scores for p in parts]))

    def score(self, histories: Ragged) -> NDArray[np.float32]:
        """(R, N) scores of all items for each history."""
        import torch

        with torch.inference_mode():
            return np.asarray(self.ask(histories).float().cpu().numpy())

    def recall(self, split: Split) -> float:
        """Mean recall at 30 of the module as it is."""
        ranked = self.rank(split.requests, training.DEPTH).items
        rows = split.relevant.rows
        hit = (ranked[rows] == split.relevant.values[:, None]).any(axis=1)
        asked = np.maximum(split.relevant.lengths, 1)
        return float(np.mean(np.bincount(rows, weights=hit, minlength=len(asked)) / asked))

    def tensor(self, array: NDArray[Any]) -> Tensor:
        import torch

        return torch.from_numpy(array).to(self.device_)

    @abstractmethod
    def build(self, train: Train) -> nn.Module: ...

    @abstractmethod
    def losses(self, module: Any, train: Train, rng: np.random.Generator) -> Iterator[tuple[Tensor, int]]:
        """One epoch: the mean loss of each batch, and of how many targets."""

    @abstractmethod
    def ask(self, histories: Ragged) -> Tensor:
        """(R, N) scores of all items, in evaluation mode."""


_MAY_BE_ZERO = ("weight_decay", "noise_scale", "sampling_steps")


@dataclass
class NextItem(Recommender):
    """A causal module, which predicts the item after every position of a history.

    `training: windows` takes the loss at every position of windows over each user's history, as the SASRec paper does
    (Kang & McAuley 2018, section 3.5), with `batch_size` targets per update. `prefixes` is RecBole's own way, a row per
    prefix: the same targets, about 35 times the work.
    """

    max_length: int = 50
    training: Literal["windows", "prefixes"] = "windows"

    def length(self, train: Train) -> int:
        return min(self.max_length, train.max_history or self.max_length)

    def losses(self, module: Any, train: Train, rng: np.random.Generator) -> Iterator[tuple[Tensor, int]]:
        length = self.length(train)
        if self.training == "windows":
            made = batches.window_batches(batches.make_windows(train, length), self.batch_size, rng)
        else:
            made = batches.prefix_batches(train, length, self.batch_size, rng)
        for batch in made:
            yield self.loss_of(module, batch, train, rng), len(batch.targets)

    def loss_of(self, module: Any, batch: batches.Batch, train: Train, rng: np.random.Generator) -> Tensor:
        inputs, targets = self.tensor(batch.inputs), self.tensor(batch.targets)
        if self.training == "prefixes":
            return modules.next_item_loss(module, inputs, (inputs > 0).sum(1), targets)
        hidden = modules.states(module, inputs)[self.tensor(batch.trained)]  # (T, H)
        return modules.softmax_loss(hidden, module.item_embedding.weight, targets)

    def ask(self, histories: Ragged) -> Tensor:
        module: Any = self.module_
        inputs, lengths = batches.item_rows(histories, module.max_seq_length)
        return modules.next_item_scores(module, self.tensor(inputs), self.tensor(np.maximum(lengths, 1)))


def check_heads(hidden_size: int, heads: int) -> None:
    if hidden_size % heads:
        raise BenchmarkError(
            f"hidden_size is {hidden_size}, which {heads} heads cannot share; choose a multiple of heads."
        )


@dataclass
class SasRec(NextItem):
    """SASRec, self-attention over the history (Kang & McAuley, ICDM 2018), RecBole's module.

    `loss: CE` is the softmax over all items, RecBole's default. `loss: BCE-1` is the paper's (section 3.5, equation 6):
    one item drawn uniformly from those not in the user's history, binary cross-entropy for both. RecBole has no such
    loss; this one is ours, on its module.
    """

    learning_rate: float = 1e-3
    batch_size: int = 2048
    epochs: int = 20
    patience: int = 5
    weight_decay: float = 0.0
    loss: Literal["CE", "BCE-1"] = "CE"
    hidden_size: int = 64
    layers: int = 2
    heads: int = 2
    inner_size: int = 256
    hidden_dropout: float = 0.5
    attention_dropout: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_heads(self.hidden_size, self.heads)

    def build(self, train: Train) -> nn.Module:
        self.seen_ = batches.Seen.of(train.histories, len(train.catalog))
        return modules.build(
            "SASRec", len(train.catalog), self.device_, MAX_ITEM_LIST_LENGTH=self.length(train),
            n_layers=self.layers, n_heads=self.heads, hidden_size=self.hidden_size, inner_size=self.inner_size,
            hidden_dropout_prob=self.hidden_dropout, attn_dropout_prob=self.attention_dropout,
        )  # fmt: skip

    def loss_of(self, module: Any, batch: batches.Batch, train: Train, rng: np.random.Generator) -> Tensor:
        from torch.nn.functional import logsigmoid

        if self.loss == "CE":
            return super().loss_of(module, batch, train, rng)
        hidden = modules.states(module, self.tensor(batch.inputs))[self.tensor(batch.trained)]  # (T, H)
        drawn = self.seen_.negatives(batch.users, rng)
        positive = (hidden * module.item_embedding(self.tensor(batch.targets))).sum(-1)
        negative = (hidden * module.item_embedding(self.tensor(drawn))).sum(-1)
        return -(logsigmoid(positive) + logsigmoid(-negative)).mean()
