"""FDSA and S3-Rec: self-attention over the history that also learns from the items' attributes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from annotated_types import MinLen

from benchmark import Count, Natural, NonNegative, Positive, ProperFraction, Train
from benchmark_recbole import batches, modules, pretraining
from benchmark_recbole.attributes import combine, read_attributes
from benchmark_recbole.models import NextItem, check_heads
from benchmark_torch.training import Losses, Schedule

if TYPE_CHECKING:
    from torch import Tensor, nn


LOSS_WEIGHTS: dict[str, Any] = {"aap_weight": 0.2, "mip_weight": 1.0, "map_weight": 1.0, "sp_weight": 0.5}
"""Of S3-Rec's first stage: those of the paper (Zhou et al. 2020); RecBole has AAP and MIP at 1 and 0.2."""


@dataclass
class ContentAware(NextItem):
    """A causal module that also reads item attributes: `attributes` names columns of the catalogue; null: all the usual
    ones (categories, brand, genres, attributes)."""

    attributes: Annotated[list[str], MinLen(1)] | None = None
    hidden_size: Count = 64
    layers: Count = 2
    heads: Count = 2
    inner_size: Count = 256

    def __post_init__(self) -> None:
        check_heads(self.hidden_size, self.heads)

    def content(self, train: Train) -> list[Any]:
        self.attributes_ = read_attributes(train.catalog, self.attributes, type(self).__name__)
        return [p for name, a in self.attributes_.items() for p in (name, a.values, a.rows.offsets, a.rows.values)]


@dataclass
class Fdsa(ContentAware):
    """FDSA, parallel self-attention over the items and over their attributes (Zhang et al., IJCAI 2019), RecBole's
    module and softmax loss.

    Each attribute of an item is one vector, the mean of its values; attention merges these vectors into one (the
    paper's vanilla attention). The paper also uses topics of the texts, which are not used here.

    Defaults that are not RecBole's, chosen on the validation requests of MovieLens 100K (RecBole's in brackets):
    layers 1 (2), hidden_dropout 0.3 (0.5), attention_dropout 0.1 (0.5), batch_size 512 (2048), epochs 10 (300),
    patience 4 (10). Two layers take 1.6 times as long there, for an R@10 of .151 against .127 and an R@30 of .310
    against .319 (batches of 1024, 12 epochs).
    """

    learning_rate: Positive = 1e-3
    batch_size: Count = 512
    epochs: Count = 10
    patience: Count = 4
    weight_decay: NonNegative = 0.0
    layers: Count = 1
    hidden_dropout: ProperFraction = 0.3
    attention_dropout: ProperFraction = 0.1

    def build(self, train: Train) -> nn.Module:
        return modules.build(
            "FDSA", len(train.catalog), self.device_, attributes=self.attributes_,
            selected_features=list(self.attributes_), MAX_ITEM_LIST_LENGTH=self.length(train), n_layers=self.layers,
            n_heads=self.heads, hidden_size=self.hidden_size, inner_size=self.inner_size,
            hidden_dropout_prob=self.hidden_dropout, attn_dropout_prob=self.attention_dropout,
        )  # fmt: skip


@dataclass
class S3Rec(ContentAware):
    """S3-Rec, SASRec pretrained to predict masked items, attributes and segments of histories (Zhou et al., CIKM 2020),
    RecBole's module.

    First stage, `pretrain_epochs` (section 4.2), with bidirectional attention: predict the attributes of visible items
    (AAP) and of masked ones (MAP), and tell masked items (MIP) and segments (SP) from random ones, a fifth of the items
    masked. `pretrain_batch_size` counts rows. `pretraining: prefixes` is the authors' way, a row for every prefix of a
    history, its newest `max_history` items. With `windows` a history is cut anew in each epoch into rows of at most
    `max_history` items, each item in one row: an epoch of Amazon Beauty then has 23,692 rows instead of 153,776. As in
    the authors' code, and not in RecBole's, a row's last item is always masked.

    Second stage (section 4.3): as SASRec. `loss: CE` is RecBole's softmax, here over the items without the mask token;
    `loss: BCE-1` is the paper's.

    Both stages have the oldest item in the first column. In RecBole the first stage pads rows on the left and the
    second on the right, so that positions mean different things in the two.

    Defaults that are not RecBole's, chosen on the validation requests of MovieLens 100K (RecBole's in brackets):
    pretrain_epochs 2 (500), pretrain_batch_size 16 (2048), hidden_dropout 0.3 (0.5), attention_dropout 0.1 (0.5),
    batch_size 512 (2048), epochs 7 (300), patience 4 (10). R@30 is .333 there, and .321 with two more epochs of the
    second stage in place of the first: less than a standard error apart.
    """

    learning_rate: Positive = 1e-3
    batch_size: Count = 512
    epochs: Count = 7
    patience: Count = 4
    weight_decay: NonNegative = 0.0
    loss: Literal["CE", "BCE-1"] = "CE"
    hidden_dropout: ProperFraction = 0.3
    attention_dropout: ProperFraction = 0.1
    pretrain_epochs: Natural = 2
    pretrain_batch_size: Count = 16
    pretraining: Literal["windows", "prefixes"] = "windows"

    def build(self, train: Train) -> nn.Module:
        from torch.nn import CrossEntropyLoss

        values = combine(train.catalog, list(self.attributes_))
        self.table_ = self.tensor(values.table())
        self.seen_ = batches.Seen.of(train.histories, len(train.catalog))
        module: Any = modules.build(
            "S3Rec", len(train.catalog), self.device_, attributes={"attributes": values}, item_attribute="attributes",
            MAX_ITEM_LIST_LENGTH=self.length(train), n_layers=self.layers, n_heads=self.heads,
            hidden_size=self.hidden_size, inner_size=self.inner_size, hidden_dropout_prob=self.hidden_dropout,
            attn_dropout_prob=self.attention_dropout, **LOSS_WEIGHTS,
        )  # fmt: skip
        # RecBole builds the second stage from a file of the first; here both are one module.
        module.train_stage, module.loss_fct = "finetune", CrossEntropyLoss()
        return module  # type: ignore[no-any-return]

    def stages(self, train: Train) -> list[tuple[Losses, Schedule]]:
        stages = super().stages(train)
        if not self.pretrain_epochs:
            return stages
        ((losses, second),) = stages
        first = replace(second, epochs=self.pretrain_epochs, stage="pretrain", after=second.epochs)
        return [
            (lambda rng: self.first_losses(train, rng), first),
            (losses, replace(second, before=self.pretrain_epochs)),
        ]

    def first_losses(self, train: Train, rng: np.random.Generator) -> Iterator[tuple[Tensor, int]]:
        module: Any = self.module_
        made = pretraining.masked_batches(
            train, self.length(train), self.pretrain_batch_size, self.pretraining == "prefixes", module.mask_ratio,
            module.mask_token, self.seen_, rng,
        )  # fmt: skip
        for batch in made:
            yield pretraining.loss(module, batch, self.table_) / len(batch.items), len(batch.items)

    def loss_of(self, module: Any, batch: batches.Batch, train: Train, rng: np.random.Generator) -> Tensor:
        if self.loss == "CE":
            return super().loss_of(module, batch, train, rng)
        return self.sampled_loss(module, batch, self.seen_, rng)

    def trained(self, module: Any, batch: batches.Batch) -> Tensor:
        hidden: Tensor = module(self.tensor(batch.inputs), bidirectional=False)[self.tensor(batch.trained)]
        return hidden

    def items(self, module: Any) -> Tensor:
        weight: Tensor = module.item_embedding.weight[: module.mask_token]
        return weight
