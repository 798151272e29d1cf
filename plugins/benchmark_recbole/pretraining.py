"""S3-Rec's first stage: predicting items, their attributes and segments of a history from the context."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark import Train
from benchmark_recbole.batches import Longs, Seen, shifted_rows

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MaskedBatch:
    """Rows of items from column 0 on, padded with 0; int64 (B, W) unless stated otherwise.

    `masked` is `items` with some masked; `negatives` (M,) is another item for each of these, row by row. `around` is
    `items` with one segment masked, `segment` that segment with all else masked, `other` the same with items from
    elsewhere in the segment. `last` (B,) is the column of each row's last item.
    """

    items: Longs
    masked: Longs
    negatives: Longs
    around: Longs
    segment: Longs
    other: Longs
    last: Longs


def masked_batches(
    train: Train, width: int, size: int, prefixes: bool, ratio: float, mask: int, seen: Seen, rng: np.random.Generator
) -> Iterator[MaskedBatch]:
    """All histories in rows of at most `width` items, in random order, `size` rows per batch; with `prefixes`, a row
    for the newest items of every prefix, whole histories included.

    Only items of prefixes are used: under `max_prefixes_per_user`, the newest targets and the items before them.
    """
    histories = train.histories
    if train.max_prefixes_per_user is not None:
        histories = histories.last(train.max_prefixes_per_user + width)
    if prefixes:
        count = (
            histories.lengths
            if train.max_prefixes_per_user is None
            else np.minimum(histories.lengths, train.max_prefixes_per_user)
        )
        user = np.repeat(np.arange(len(count)), count)
        end = histories.lengths[user] - (np.arange(len(user)) - np.repeat(np.cumsum(count) - count, count))
        begin = np.maximum(end - width, 0)
    else:
        user, begin, end = shifted_rows(histories.lengths, width, width, rng)
    order = rng.permutation(len(user))
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        lengths = end[rows] - begin[rows]
        place = histories.offsets[user[rows], None] + begin[rows, None] + np.arange(int(lengths.max()))
        present = np.arange(int(lengths.max())) < lengths[:, None]
        items = np.where(present, histories.values[np.where(present, place, 0)].astype(np.int64) + 1, 0)
        yield mask_rows(items, lengths, user[rows], histories.values, ratio, mask, seen, rng)


def mask_rows(
    items: Longs, lengths: Longs, users: Longs, everything: NDArray[np.int32], ratio: float, mask: int, seen: Seen,
    rng: np.random.Generator,
) -> MaskedBatch:  # fmt: skip
    """Mask a share `ratio` of the items and each row's last, and in a copy one segment of up to half of the row.

    The negative segment is cut at random from `everything`, the concatenated histories.
    """
    column, last = np.arange(items.shape[1]), lengths - 1
    chosen = ((rng.random(items.shape) < ratio) & (items > 0)) | (column == last[:, None])
    negatives = seen.negatives(np.repeat(users, chosen.sum(axis=1)), rng)
    size = rng.integers(1, np.maximum(lengths // 2, 1) + 1)
    start = rng.integers(0, lengths - size + 1)
    elsewhere = rng.integers(0, len(everything) - size + 1)
    inside = (column >= start[:, None]) & (column < (start + size)[:, None])
    taken = everything[np.where(inside, elsewhere[:, None] + column - start[:, None], 0)].astype(np.int64) + 1
    hidden = np.where(items > 0, mask, 0)
    return MaskedBatch(
        items=items,
        masked=np.where(chosen, mask, items),
        negatives=negatives,
        around=np.where(inside, mask, items),
        segment=np.where(inside, items, hidden),
        other=np.where(inside, taken, hidden),
        last=last,
    )


def loss(module: Any, batch: MaskedBatch, table: Tensor) -> Tensor:
    """The weighted sum of the four losses (Zhou et al. 2020, section 4.2), as RecBole's `pretrain` has it; `table`
    (N + 1, A) holds the items' attributes.

    RecBole's also computes attributes at positions that do not count, and pads rows on the left; for rows without
    padding the two are equal.
    """
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

    def tensor(array: Longs) -> Tensor:
        return torch.from_numpy(array).to(table.device)

    items, masked, last = tensor(batch.items), tensor(batch.masked), tensor(batch.last)
    hidden = module(masked)  # (B, W, H)
    shown, guessed = (masked != module.mask_token) & (masked != 0), masked == module.mask_token
    vectors = module.feature_embedding.weight  # (V, H)

    def attribute_loss(head: Any, where: Tensor) -> Tensor:
        scores = head(hidden[where]) @ vectors.T  # (P, V)
        held = scores.new_zeros(len(scores), len(vectors) + 1).scatter_(1, table[items[where]], 1.0)[:, 1:]
        return binary_cross_entropy_with_logits(scores, held, reduction="sum")

    context = module.mip_norm(hidden[guessed])  # (M, H)
    right = (context * module.item_embedding(items[guessed])).sum(-1).sigmoid()
    wrong = (context * module.item_embedding(tensor(batch.negatives))).sum(-1).sigmoid()
    item_loss = -logsigmoid(right - wrong).sum()

    row = torch.arange(len(items), device=table.device)
    around, segment, elsewhere = (module(tensor(x))[row, last] for x in (batch.around, batch.segment, batch.other))
    around = module.sp_norm(around)  # (B, H)
    segment_loss = -logsigmoid((around * segment).sum(-1).sigmoid() - (around * elsewhere).sum(-1).sigmoid()).sum()

    total: Tensor = (
        module.aap_weight * attribute_loss(module.aap_norm, shown)
        + module.mip_weight * item_loss
        + module.map_weight * attribute_loss(module.map_norm, guessed)
        + module.sp_weight * segment_loss
    )
    return total
