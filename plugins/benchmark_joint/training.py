"""The training losses: every step has a share of each task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from benchmark import Task
from benchmark_joint.data import Batch, Examples
from benchmark_joint.modules import Network

Loss = Literal["BCE", "softmax", "CE"]


@dataclass(frozen=True)
class LossSettings:
    """The loss to use; `weights` are those of the tasks' losses."""

    batch_size: int
    loss: Loss
    negatives: int
    weights: Mapping[Task, float] = field(default_factory=dict)


def target_loss(network: Network, batch: Batch, state: Tensor, loss: Loss, negatives: int) -> Tensor:
    """The mean loss of the targets, for `state` (B, D).

    `CE` is the softmax over all items. `BCE` and `softmax` compare each target with `negatives` uniformly drawn items;
    draws of the target itself do not count.
    """
    if loss == "CE":
        return F.cross_entropy(network.score(state, batch.task), batch.target)
    size = (len(batch.target), negatives)
    wrong = torch.randint(network.item.num_embeddings, size, device=batch.target.device)
    items = torch.cat([batch.target[:, None], wrong], 1)
    counts = torch.cat([torch.ones_like(batch.target, dtype=torch.bool)[:, None], wrong != batch.target[:, None]], 1)
    scores = network.score(state, batch.task, items)
    if loss == "softmax":
        return F.cross_entropy(scores.masked_fill(~counts, -1e9), torch.zeros_like(batch.target))
    right = torch.zeros_like(scores)
    right[:, 0] = 1
    each = F.binary_cross_entropy_with_logits(scores, right, reduction="none")
    return (each * counts).sum(1).mean()


def losses(
    network: Network, examples: Mapping[Task, Examples], settings: LossSettings, rng: np.random.Generator
) -> Iterator[tuple[Tensor, int]]:
    """One epoch: the loss of each step, which has an equal share of every task, and its number of examples."""
    steps = -(-sum(map(len, examples.values())) // settings.batch_size)
    device = network.item.weight.device
    parts = {}
    for task, task_examples in examples.items():
        # Whole groups in random order, so that examples that share a history are in one step.
        group = task_examples.group.cpu().numpy()
        order = np.argsort(rng.permutation(int(group.max()) + 1)[group], kind="stable")
        parts[task] = [torch.from_numpy(part).to(device) for part in np.array_split(order, steps)]
    for step in range(steps):
        loss, count = torch.zeros((), device=device), 0
        for task, task_examples in examples.items():
            if len(rows := parts[task][step]):
                batch = task_examples.batch(rows)
                task_loss = target_loss(network, batch, network.state(batch), settings.loss, settings.negatives)
                if (extra := network.extra_loss()) is not None:
                    task_loss = task_loss + extra
                loss = loss + settings.weights.get(task, 1.0) * task_loss
                count += len(rows)
        yield loss, count


def tensors(examples: Mapping[Task, Examples]) -> list[Tensor]:
    """All tensors of the examples."""
    owners = [owner for task_examples in examples.values() for owner in (task_examples, task_examples.streams)]
    values = [getattr(owner, field.name) for owner in owners for field in fields(owner)]
    return [value for value in values if isinstance(value, Tensor)]
