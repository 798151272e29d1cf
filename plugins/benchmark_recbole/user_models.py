"""Caser and HGN: the newest few items of a history, and an embedding of the user."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmark import Count, NonNegative, Positive, ProperFraction, Ragged, Train
from benchmark_recbole import batches, modules
from benchmark_recbole.batches import Longs
from benchmark_recbole.models import Recommender

if TYPE_CHECKING:
    from torch import Tensor, nn

NEGATIVES = 3
"""Items drawn for each target under Caser's `loss: BCE`, as in the authors' code."""


@dataclass
class Personal(Recommender):
    """A model of the user and of the newest `max_history` items, which together predict the next `targets` items: one
    in RecBole, three in the papers. At the end of a history there are fewer.

    The module has one output per row, not one per item, so every prefix is a row, with `batch_size` rows per update;
    the newest item is in the last column. RecBole pads rows on the right, so that the newest item's column depends on
    the length, and reads 50 items by default. Neither suits convolutions: an epoch of MovieLens 100K takes Caser 5 s
    with 5 items, 19 s with 10, 76 s with 20 and 1,220 s with 50, on one thread, extrapolated from a batch. A user
    without a training target is the mean of those with one.
    """

    max_history: Count = 5
    targets: Count = 1
    embedding_size: Count = 64

    def length(self, train: Train) -> int:
        return train.capped(self.max_history)

    def count_users(self, train: Train) -> int:
        """Number the users with a target from 1 on, all others 0; returns how many have one."""
        counted = train.histories.lengths >= 2
        self.user_numbers_ = np.append(np.where(counted, np.cumsum(counted), 0), 0)  # row -1: unknown
        return int(counted.sum())

    def losses(self, module: Any, train: Train, rng: np.random.Generator) -> Iterator[tuple[Tensor, int]]:
        made = batches.newest_batches(train, self.length(train), self.targets, self.batch_size, rng)
        for inputs, targets, users in made:
            hidden = module(*self.inputs(inputs, users))  # (B, H)
            row, column = np.nonzero(targets)  # P of them
            yield self.loss_of(module, hidden[self.tensor(row)], targets[row, column], users[row], rng), len(row)

    def ask(self, histories: Ragged, users: NDArray[np.int32]) -> Tensor:
        module: Any = self.module_
        rows = histories.padded(module.max_seq_length, left=True).astype(np.int64) + 1
        hidden = modules.states_with_mean_user(module, *self.inputs(rows, users))
        return (hidden @ self.items(module).T)[:, 1:]

    def item_embeddings(self) -> NDArray[np.float32]:
        """(N, H) the vectors of all items, including those never trained on. Raises NotFittedError."""
        return self.rows_of(self.items)

    @abstractmethod
    def inputs(self, rows: Longs, users: NDArray[Any]) -> tuple[Tensor, Tensor]:
        """The arguments of the module's forward pass: items (B, W) and user numbers (B,), in its own order."""

    @abstractmethod
    def items(self, module: Any) -> Tensor:
        """(N + 1, H) the vectors with which the output is compared, padding first."""

    @abstractmethod
    def loss_of(self, module: Any, hidden: Tensor, targets: Longs, users: Longs, rng: np.random.Generator) -> Tensor:
        """The mean loss over P targets (P,), given the outputs (P, H) for their histories and users (P,)."""


@dataclass
class Caser(Personal):
    """Caser, convolutions over the newest items as over an image (Tang & Wang, WSDM 2018), RecBole's module.

    `horizontal` filters of each height from 1 to `max_history` (section 3.2.1) and four vertical ones (3.2.2). `loss:
    CE` is the softmax over all items, RecBole's default. `loss: BCE` is the paper's (section 3.4): binary cross-entropy
    of each target and of three items drawn uniformly from those not in the user's history. Both losses add RecBole's
    penalty `reg_weight` on the norms of the weights. RecBole has no BCE; this one is ours, on its module, which has one
    item table where the paper compares its output, the user concatenated with the sequence, with a second one.

    The authors' code reads 5 items, predicts the next 3, and has 16 horizontal and 4 vertical filters, width 50,
    dropout 0.5, learning rate 0.001, weight decay 1e-6 and batches of 512. It trains on whole windows of 5 + 3 items
    and pads a history that is shorter; here every prefix is a row.

    Defaults that are not RecBole's, chosen on the validation requests of MovieLens 100K (RecBole's in brackets):
    max_history 5 (50), learning_rate 0.002 (0.001), batch_size 1024 (2048), epochs 12 (300), patience 4 (10). Not worth
    their time there: 16 horizontal filters, dropout 0.2, batches of 512.
    """

    learning_rate: Positive = 2e-3
    batch_size: Count = 1024
    epochs: Count = 12
    patience: Count = 4
    weight_decay: NonNegative = 0.0
    horizontal: Count = 8
    dropout: ProperFraction = 0.4
    reg_weight: NonNegative = 1e-4
    loss: Literal["CE", "BCE"] = "CE"

    def build(self, train: Train) -> nn.Module:
        self.seen_ = batches.Seen.of(train.histories, len(train.catalog))
        return modules.build(
            "Caser", len(train.catalog), self.device_, n_users=self.count_users(train),
            MAX_ITEM_LIST_LENGTH=self.length(train), embedding_size=self.embedding_size, nh=self.horizontal,
            dropout_prob=self.dropout, reg_weight=self.reg_weight,
        )  # fmt: skip

    def inputs(self, rows: Longs, users: NDArray[Any]) -> tuple[Tensor, Tensor]:
        return self.tensor(self.user_numbers_[users]), self.tensor(rows)

    def items(self, module: Any) -> Tensor:
        weight: Tensor = module.item_embedding.weight
        return weight

    def loss_of(self, module: Any, hidden: Tensor, targets: Longs, users: Longs, rng: np.random.Generator) -> Tensor:
        if self.loss == "CE":
            loss = modules.softmax_loss(hidden, self.items(module), self.tensor(targets))
        else:
            wrong = self.seen_.negatives(np.repeat(users, NEGATIVES), rng).reshape(-1, NEGATIVES)
            items = module.item_embedding
            loss = modules.binary_loss(hidden, items(self.tensor(targets)), items(self.tensor(wrong)))
        return loss + modules.caser_penalty(module) if self.reg_weight else loss


@dataclass
class Hgn(Personal):
    """HGN, user-dependent gates on the features and items of the history (Ma et al., KDD 2019), RecBole's module.

    `loss: CE` is the softmax over all items, RecBole's default. `loss: BPR` is the paper's, one item per target drawn
    uniformly from those not in the user's history. RecBole's own BPR takes the negative from the input embeddings, but
    the target from those for prediction; here both are of the latter, as in the authors' code. That code reads 5 items,
    predicts the next 3, and has width 50, weight decay 0.001 and batches of 4096. It trains on whole windows of 5 + 3
    items and pads a history that is shorter; here every prefix is a row.

    Defaults that are not RecBole's, chosen on the validation requests of MovieLens 100K (RecBole's in brackets):
    max_history 5 (50), batch_size 1024 (2048), epochs 20 (300), patience 4 (10). Worse there: 10 items (R@30 .317
    against .332), BPR with one target (.261).
    """

    learning_rate: Positive = 1e-3
    batch_size: Count = 1024
    epochs: Count = 20
    patience: Count = 4
    weight_decay: NonNegative = 0.0
    loss: Literal["CE", "BPR"] = "CE"

    def build(self, train: Train) -> nn.Module:
        self.seen_ = batches.Seen.of(train.histories, len(train.catalog))
        return modules.build(
            "HGN", len(train.catalog), self.device_, n_users=self.count_users(train),
            MAX_ITEM_LIST_LENGTH=self.length(train), embedding_size=self.embedding_size,
        )  # fmt: skip

    def inputs(self, rows: Longs, users: NDArray[Any]) -> tuple[Tensor, Tensor]:
        return self.tensor(rows), self.tensor(self.user_numbers_[users])

    def items(self, module: Any) -> Tensor:
        weight: Tensor = module.item_embedding_for_prediction.weight
        return weight

    def loss_of(self, module: Any, hidden: Tensor, targets: Longs, users: Longs, rng: np.random.Generator) -> Tensor:
        if self.loss == "CE":
            return modules.softmax_loss(hidden, self.items(module), self.tensor(targets))
        items = module.item_embedding_for_prediction
        return modules.pair_loss(
            hidden, items(self.tensor(targets)), items(self.tensor(self.seen_.negatives(users, rng)))
        )
