"""The models: dataclasses that train RecBole's modules on the protocol's split and rank with them for the harness."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from benchmark import (
    BenchmarkError,
    Context,
    Count,
    NonNegative,
    NotFittedError,
    Positive,
    ProperFraction,
    Ragged,
    Ranking,
    Requests,
    Split,
    Task,
    Train,
    top_k,
)
from benchmark_recbole import batches, modules
from benchmark_torch.randomness import seeded
from benchmark_torch.training import Losses, Schedule
from benchmark_torch.training import train as train_module
from benchmark_torch.validation import validate

if TYPE_CHECKING:
    from torch import Tensor, nn

SCORED_AT_ONCE = 2**22
"""Scores (requests × items) in memory at once: 16 MB."""
VALIDATION = ("R@30", "RR@30")
"""The second breaks ties of the first, as in a catalogue of at most 30 items."""


@dataclass
class Recommender(ABC):
    """What the models share: fit, validation, ranking. A subclass builds, trains and queries its module."""

    tasks: ClassVar[frozenset[Task]] = frozenset({"recommendation"})
    requires: ClassVar[tuple[str, ...]] = ("torch", "recbole", "kmeans_pytorch")

    learning_rate: Positive
    batch_size: Count
    epochs: Count
    patience: Count
    weight_decay: NonNegative

    def fit(self, train: Train, valid: Mapping[Task, Split], context: Context) -> None:
        """Train on `train`, keep the epoch with the best R@30 on `valid`, stop after `patience` epochs without a
        better."""
        import torch

        if train.histories.lengths.max(initial=0) < 2:
            raise BenchmarkError("no user has two training interactions, so there is no next item to learn.")
        self.n_items_ = len(train.catalog)
        self.device_ = torch.device(context.device)
        splits = {task: valid[task] for task in self.tasks if task in valid}
        identity = [
            self, train.max_history, train.max_prefixes_per_user, train.histories.offsets, train.histories.values,
            *(split.relevant.values for split in splits.values()), *self.content(train),
        ]  # fmt: skip
        with seeded(context):
            self.module_ = self.build(train)
            context.record("parameters", sum(p.numel() for p in self.module_.parameters()))
            for losses, schedule in self.stages(train):
                quality = None if schedule.stage else lambda: validate(self.rank, splits, *VALIDATION)
                train_module(self.module_, losses, schedule, context, identity=identity, validate=quality)

    def content(self, train: Train) -> list[Any]:
        """Training inputs other than histories; part of the checkpoint's key."""
        return []

    def stages(self, train: Train) -> list[tuple[Losses, Schedule]]:
        """The stages of training, in order; validation chooses the last one's epoch."""
        schedule = Schedule(self.learning_rate, self.epochs, self.patience, self.weight_decay)
        return [(lambda rng: self.losses(self.module_, train, rng), schedule)]

    def rank(self, requests: Requests, k: int) -> Ranking:
        if not hasattr(self, "module_"):
            raise NotFittedError(f"{type(self).__name__} must be fitted before it can rank.")
        batches = requests.batches(max(1, SCORED_AT_ONCE // self.n_items_))
        return Ranking.concat((top_k(self.score(batch.histories, batch.users), batch, k) for batch in batches), k)

    def score(self, histories: Ragged, users: NDArray[np.int32] | None = None) -> NDArray[np.float32]:
        """(R, N) scores of all items for each history; `users` (R,) are rows of `Train.users`, -1 if unknown."""
        import torch

        users = np.full(len(histories), -1, dtype=np.int32) if users is None else users
        with torch.inference_mode():
            return np.asarray(self.ask(histories, users).float().cpu().numpy())

    def rows_of(self, table: Callable[[Any], Tensor]) -> NDArray[np.float32]:
        """(N, H) the items' rows of a table of the fitted module, whose first row is padding."""
        if not hasattr(self, "module_"):
            raise NotFittedError(f"{type(self).__name__} must be fitted before it has item embeddings.")
        rows = table(self.module_)[1 : self.n_items_ + 1]  # a mask token may follow the items
        return rows.detach().float().cpu().numpy().copy()

    def tensor(self, array: NDArray[Any]) -> Tensor:
        import torch

        return torch.from_numpy(array).to(self.device_)

    @abstractmethod
    def build(self, train: Train) -> nn.Module: ...

    @abstractmethod
    def losses(self, module: Any, train: Train, rng: np.random.Generator) -> Iterator[tuple[Tensor, int]]:
        """One epoch: the mean loss of each batch and its number of targets."""

    @abstractmethod
    def ask(self, histories: Ragged, users: NDArray[np.int32]) -> Tensor:
        """(R, N) scores of all items, in evaluation mode."""


@dataclass
class NextItem(Recommender):
    """A causal module, which predicts the item after every position of a history.

    `training: windows` takes the loss at every position of windows over each user's history, as the SASRec paper does
    (Kang & McAuley 2018, section 3.5), with `batch_size` targets per update. `prefixes` is as in RecBole, a row per
    prefix: the same targets, about 35 times the work.
    """

    max_history: Count = 50
    training: Literal["windows", "prefixes"] = "windows"

    def length(self, train: Train) -> int:
        return train.capped(self.max_history)

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
        return modules.softmax_loss(self.trained(module, batch), self.items(module), targets)

    def sampled_loss(self, module: Any, batch: batches.Batch, seen: batches.Seen, rng: np.random.Generator) -> Tensor:
        """Binary cross-entropy against one item, drawn uniformly from those not in the user's history (Kang & McAuley
        2018, section 3.5, equation 6)."""
        hidden = self.trained(module, batch)
        positive = module.item_embedding(self.tensor(batch.targets))
        negative = module.item_embedding(self.tensor(seen.negatives(batch.users, rng)))
        return modules.binary_loss(hidden, positive, negative[:, None])

    def trained(self, module: Any, batch: batches.Batch) -> Tensor:
        """(T, H) hidden states of the trained positions."""
        return modules.states(module, self.tensor(batch.inputs))[self.tensor(batch.trained)]

    def items(self, module: Any) -> Tensor:
        """(N + 1, H) what a hidden state is compared with, padding first."""
        weight: Tensor = module.item_embedding.weight
        return weight

    def item_embeddings(self) -> NDArray[np.float32]:
        """(N, H) rows of the catalogue, also of items that were never trained on. Raises NotFittedError."""
        return self.rows_of(self.items)

    def ask(self, histories: Ragged, users: NDArray[np.int32]) -> Tensor:
        module: Any = self.module_
        inputs, lengths = batches.item_rows(histories, module.max_seq_length)
        return modules.next_item_scores(module, self.tensor(inputs), self.tensor(np.maximum(lengths, 1)))


def check_heads(hidden_size: int, heads: int) -> None:
    if hidden_size % heads:
        raise BenchmarkError(
            f"hidden_size is {hidden_size}, which is not a multiple of {heads} heads; choose a multiple of heads."
        )


@dataclass
class SasRec(NextItem):
    """SASRec, self-attention over the history (Kang & McAuley, ICDM 2018), RecBole's module.

    `loss: CE` is the softmax over all items, RecBole's default. `loss: BCE-1` is the paper's (section 3.5, equation 6):
    binary cross-entropy of the target and one item drawn uniformly from those not in the user's history. RecBole has no
    such loss; this one is ours, on its module.

    Defaults that are not RecBole's, chosen on the validation requests of MovieLens 100K (RecBole's in brackets):
    hidden_dropout 0.3 (0.5), attention_dropout 0.1 (0.5), batch_size 1024 (2048), epochs 12 (300), patience 4 (10).
    """

    learning_rate: Positive = 1e-3
    batch_size: Count = 1024
    epochs: Count = 12
    patience: Count = 4
    weight_decay: NonNegative = 0.0
    loss: Literal["CE", "BCE-1"] = "CE"
    hidden_size: Count = 64
    layers: Count = 2
    heads: Count = 2
    inner_size: Count = 256
    hidden_dropout: ProperFraction = 0.3
    attention_dropout: ProperFraction = 0.1

    def __post_init__(self) -> None:
        check_heads(self.hidden_size, self.heads)

    def build(self, train: Train) -> nn.Module:
        self.seen_ = batches.Seen.of(train.histories, len(train.catalog))
        return modules.build(
            "SASRec", len(train.catalog), self.device_, MAX_ITEM_LIST_LENGTH=self.length(train),
            n_layers=self.layers, n_heads=self.heads, hidden_size=self.hidden_size, inner_size=self.inner_size,
            hidden_dropout_prob=self.hidden_dropout, attn_dropout_prob=self.attention_dropout,
        )  # fmt: skip

    def loss_of(self, module: Any, batch: batches.Batch, train: Train, rng: np.random.Generator) -> Tensor:
        if self.loss == "CE":
            return super().loss_of(module, batch, train, rng)
        return self.sampled_loss(module, batch, self.seen_, rng)


@dataclass
class Gru4Rec(NextItem):
    """GRU4Rec, a recurrent network over the history (Hidasi et al., ICLR 2016), RecBole's module and softmax loss.

    Defaults that are not RecBole's, chosen on the validation requests of MovieLens 100K (RecBole's in brackets):
    learning_rate 0.002 (0.001), batch_size 512 (2048), epochs 12 (300), patience 4 (10).
    """

    learning_rate: Positive = 2e-3
    batch_size: Count = 512
    epochs: Count = 12
    patience: Count = 4
    weight_decay: NonNegative = 0.0
    embedding_size: Count = 64
    hidden_size: Count = 128
    layers: Count = 1
    dropout: ProperFraction = 0.3

    def build(self, train: Train) -> nn.Module:
        return modules.build(
            "GRU4Rec", len(train.catalog), self.device_, MAX_ITEM_LIST_LENGTH=self.length(train),
            embedding_size=self.embedding_size, hidden_size=self.hidden_size, num_layers=self.layers,
            dropout_prob=self.dropout,
        )  # fmt: skip


@dataclass
class Bert4Rec(Recommender):
    """BERT4Rec, masked items of a history from both sides (Sun et al., CIKM 2019), RecBole's module and loss.

    A row is a window of `max_history` + 1 items. Each epoch masks a new `mask_ratio` of its items; in `last_ratio` of
    the rows these include the last item, the test-time task (RecBole's `ft_ratio` masks it alone). To append the mask,
    RecBole's `reconstruct_test_data` drops the oldest item even of short histories; here the module has one position
    more than the longest history, so nothing is dropped. RecBole pads rows on the right, so that a long history's mask
    is in a column that was never masked in training; here rows are padded on the left and the mask is always last.
    `batch_size` counts rows. Known to need many epochs (Petrov & Macdonald, RecSys 2022).

    Defaults that are not RecBole's, chosen on the validation requests of MovieLens 100K (RecBole's in brackets):
    mask_ratio 0.3 (0.2), last_ratio 0.9 (ft_ratio 0.5), hidden_dropout 0.1 (0.2), attention_dropout 0 (0.2), batch_size
    16 (2048), epochs 12 (300), patience 4 (10).
    """

    learning_rate: Positive = 1e-3
    batch_size: Count = 16
    epochs: Count = 12
    patience: Count = 4
    weight_decay: NonNegative = 0.0
    max_history: Count = 50
    mask_ratio: ProperFraction = 0.3
    last_ratio: ProperFraction = 0.9
    hidden_size: Count = 64
    layers: Count = 2
    heads: Count = 2
    inner_size: Count = 256
    hidden_dropout: ProperFraction = 0.1
    attention_dropout: ProperFraction = 0.0

    def __post_init__(self) -> None:
        check_heads(self.hidden_size, self.heads)

    def build(self, train: Train) -> nn.Module:
        length = train.capped(self.max_history)
        return modules.build(
            "BERT4Rec", len(train.catalog), self.device_, MAX_ITEM_LIST_LENGTH=length + 1,
            mask_ratio=self.mask_ratio, n_layers=self.layers, n_heads=self.heads, hidden_size=self.hidden_size,
            inner_size=self.inner_size, hidden_dropout_prob=self.hidden_dropout,
            attn_dropout_prob=self.attention_dropout,
        )  # fmt: skip

    def losses(self, module: Any, train: Train, rng: np.random.Generator) -> Iterator[tuple[Tensor, int]]:
        made = batches.cloze_batches(
            train, module.max_seq_length, self.batch_size, self.mask_ratio, self.last_ratio, module.mask_token, rng
        )
        for inputs, masked, targets in made:
            loss = modules.cloze_loss(module, self.tensor(inputs), self.tensor(masked), self.tensor(targets))
            yield loss, int((masked > 0).sum())

    def item_embeddings(self) -> NDArray[np.float32]:
        """(N, H) rows of the catalogue, also of items that were never trained on. Raises NotFittedError."""
        return self.rows_of(lambda module: module.item_embedding.weight)

    def ask(self, histories: Ragged, users: NDArray[np.int32]) -> Tensor:
        module: Any = self.module_
        inputs = histories.padded(module.max_seq_length - 1, left=True).astype(np.int64) + 1
        return modules.masked_item_scores(module, self.tensor(inputs))


@dataclass
class DiffRec(Recommender):
    """DiffRec, diffusion that denoises a user's row of items (Wang et al., SIGIR 2023): RecBole's module and loss.

    The order of a history is not used. A request's row is its history, at most the protocol's `max_history` items, as
    for every model. Training rows have the same size: histories cut into pieces of at most that many items. On
    ml-100k's validation all pieces gave R@30 .316, whole histories .281 (requests' rows are shorter), and the newest
    pieces alone .300 (half of the data). `batch_size` counts rows. A row has no prefixes, so the protocol's
    `max_prefixes_per_user` does not apply.

    The model reconstructs its input, so items of the history score highest by construction; the authors' code and
    RecBole leave them out of the ranking. Here they are ranked after all others, whatever the suite's `mask_seen`.
    """

    learning_rate: Positive = 1e-3
    batch_size: Count = 100
    epochs: Count = 60
    patience: Count = 10
    weight_decay: NonNegative = 0.0
    width: Count = 300
    excludes_history: ClassVar[bool] = True

    def build(self, train: Train) -> nn.Module:
        return modules.build("DiffRec", len(train.catalog), self.device_, dims_dnn=[self.width])

    def losses(self, module: Any, train: Train, rng: np.random.Generator) -> Iterator[tuple[Tensor, int]]:
        pieces = batches.pieces(train.histories, train.max_history)
        order = rng.permutation(len(pieces))
        for begin in range(0, len(order), self.batch_size):
            rows = pieces.take(order[begin : begin + self.batch_size])
            yield module.calculate_loss({module.USER_ID: self.dense(rows)}), len(rows)

    def ask(self, histories: Ragged, users: NDArray[np.int32]) -> Tensor:
        module: Any = self.module_
        rows = self.dense(histories)
        scores: Tensor = module.full_sort_predict({module.USER_ID: rows})
        spread = scores.amax(1, keepdim=True) - scores.amin(1, keepdim=True)
        return (scores - rows * (spread + 1))[:, 1:]

    def dense(self, histories: Ragged) -> Tensor:
        """(B, N + 1) 1 where an item is in the history; column 0 is padding."""
        rows = np.zeros((len(histories), self.n_items_ + 1), dtype=np.float32)
        rows[histories.rows, histories.values + 1] = 1
        return self.tensor(rows)
