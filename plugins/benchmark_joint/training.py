"""The training loop: a part of each task in every step, checkpoints that a killed fit resumes from, early stopping."""

from __future__ import annotations

import copy
import hashlib
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from benchmark import BenchmarkError, Context, ContractError, Task
from benchmark_joint.data import Batch, Examples
from benchmark_joint.modules import Network, first_is_right

Loss = Literal["BCE", "softmax", "CE"]


@dataclass(frozen=True)
class Plan:
    """How to train. `weights` are those of the tasks' whole losses, `beside` that of what a network adds to each."""

    learning_rate: float
    weight_decay: float
    batch_size: int
    epochs: int
    patience: int
    loss: Loss
    negatives: int
    weights: Mapping[Task, float] = field(default_factory=dict)
    beside: float = 1.0


@dataclass
class Progress:
    """What a checkpoint holds beside the weights. `curve` has (epoch, loss, nDCG@10 or None) of each epoch."""

    epoch: int = 0
    best: float = -1.0
    best_epoch: int = 0
    curve: list[tuple[int, float, float | None]] = field(default_factory=list)


def train(
    network: Network,
    examples: Mapping[Task, Examples],
    quality: Callable[[], float] | None,
    plan: Plan,
    context: Context,
) -> None:
    """Train `network` and leave it with the weights of the epoch of the best `quality` (of the last one, without it).

    Each epoch draws from generators seeded by (seed, epoch), so a fit resumed from the checkpoint in `context.workdir`
    gives the weights of an uninterrupted one. Records `best_epoch`, `epochs` and, over all of these, the `updates` of
    the weights and the `examples` trained on. Raises BenchmarkError where it diverges.
    """
    optimizer = torch.optim.Adam(network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    key = _key(network, examples, plan, context.seed)
    checkpoint = context.workdir / "checkpoint.pt"
    progress, best = Progress(), copy.deepcopy(network.state_dict())
    saved = _load(checkpoint, key)
    if saved is not None:
        progress, best = Progress(**saved["progress"]), saved["best"]
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        for epoch, loss, value in progress.curve:
            _tell(context, plan, epoch, loss, value)
    while progress.epoch < plan.epochs and progress.epoch - progress.best_epoch < plan.patience:
        epoch = progress.epoch + 1
        loss = _epoch(network, examples, optimizer, plan, _seed(context.seed, epoch))
        network.eval()
        try:
            value = None if quality is None or not math.isfinite(loss) else quality()
        except ContractError:  # scores that are not numbers, from the epoch's last update
            loss = math.nan
        if not math.isfinite(loss):
            raise BenchmarkError(
                f"the loss became infinite or NaN in epoch {epoch}, with learning_rate {plan.learning_rate:g}. "
                f"Set a lower learning_rate, {plan.learning_rate / 10:g} for example."
            )
        progress.epoch = epoch
        progress.curve.append((epoch, loss, value))
        if value is None or value > progress.best:
            progress.best, progress.best_epoch = (progress.best if value is None else value), epoch
            best = copy.deepcopy(network.state_dict())
        state = {"network": network.state_dict(), "best": best, "optimizer": optimizer.state_dict()}
        _save(checkpoint, {"key": key, "progress": vars(progress), **state})
        _tell(context, plan, epoch, loss, value)
    network.load_state_dict(best)
    network.eval()
    context.record("best_epoch", progress.best_epoch)
    context.record("epochs", progress.epoch)
    context.record("updates", progress.epoch * updates_per_epoch(examples, plan))
    context.record("examples", progress.epoch * sum(map(len, examples.values())))


def updates_per_epoch(examples: Mapping[Task, Examples], plan: Plan) -> int:
    return -(-sum(map(len, examples.values())) // plan.batch_size)


def target_loss(network: Network, batch: Batch, state: Tensor, loss: Loss, negatives: int) -> Tensor:
    """The mean loss of the targets, for `state` (B, D).

    `CE` is the softmax over all items. `BCE` and `softmax` compare the target with `negatives` items, drawn uniformly
    for each; one that is the target itself does not count.
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
    each = F.binary_cross_entropy_with_logits(scores, first_is_right(scores), reduction="none")
    return (each * counts).sum(1).mean()


def _epoch(
    network: Network, examples: Mapping[Task, Examples], optimizer: torch.optim.Adam, plan: Plan, seed: int
) -> float:
    """The mean loss over the steps of one epoch, each with an equal part of every task."""
    network.train()
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    steps = updates_per_epoch(examples, plan)
    device = network.item.weight.device
    parts = {}
    for task, some in examples.items():
        # Groups in random order, so that those that share a history are in one step.
        group = some.group.cpu().numpy()
        order = np.argsort(rng.permutation(int(group.max()) + 1)[group], kind="stable")
        parts[task] = [torch.from_numpy(part).to(device) for part in np.array_split(order, steps)]
    total = torch.zeros((), dtype=torch.float64, device=device)
    for step in range(steps):
        loss = torch.zeros((), device=device)
        for task, some in examples.items():
            if len(rows := parts[task][step]):
                batch = some.batch(rows)
                own = target_loss(network, batch, network.state(batch), plan.loss, plan.negatives)
                if (beside := network.beside(batch)) is not None:
                    own = own + plan.beside * beside
                loss = loss + plan.weights.get(task, 1.0) * own
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += loss.detach().double()
    return float(total) / steps


def _tell(context: Context, plan: Plan, epoch: int, loss: float, value: float | None) -> None:
    context.progress(epoch, plan.epochs, loss=loss, **({} if value is None else {"nDCG@10": value}))


def _seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)


def _key(network: Network, examples: Mapping[Task, Examples], plan: Plan, seed: int) -> str:
    """A name for what a fit computes, so that no other fit's checkpoint in the same folder is taken for its own."""
    digest = hashlib.sha256(repr((network, plan, seed)).encode())
    tensors = [*network.state_dict().values()]
    for some in examples.values():
        for owner in (some, some.streams):
            tensors += [v for f in fields(owner) if isinstance(v := getattr(owner, f.name), Tensor)]
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _load(path: Path, key: str) -> dict[str, Any] | None:
    if not path.exists():
        return None
    # weights_only: a checkpoint is data; nothing in it may run.
    saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return saved if saved["key"] == key else None


def _save(path: Path, state: dict[str, Any]) -> None:
    """Written beside and renamed, so that a kill leaves the last whole file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    with open(beside, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
