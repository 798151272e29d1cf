"""The training loop: epochs, checkpoints that a killed fit resumes from, early stopping on validation."""

from __future__ import annotations

import copy
import hashlib
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark import BenchmarkError, Context, ContractError

if TYPE_CHECKING:
    from torch import Tensor, nn

Losses = Callable[[np.random.Generator], Iterator[tuple["Tensor", int]]]
"""One epoch: the mean loss of each batch and over how many examples; the module is updated between two batches."""

Quality = tuple[float, float]
"""Recall and reciprocal rank on validation, both at `DEPTH`; the second decides where the first is the same, as in a
catalogue of fewer items than that."""

DEPTH = 30


@dataclass(frozen=True)
class Plan:
    """How long to train: at most `epochs`, until `patience` of them in a row were no better on validation.

    A fit of several stages has a plan for each, with `before` and `after` epochs in the others. All but the last have a
    name in `stage`, which their checkpoint, facts and losses bear.
    """

    learning_rate: float
    weight_decay: float
    epochs: int
    patience: int
    stage: str = ""
    before: int = 0
    after: int = 0

    @property
    def prefix(self) -> str:
        return f"{self.stage}_" if self.stage else ""


@dataclass
class Progress:
    """What a checkpoint holds beside the weights. `curve` has (epoch, loss, quality or None) of each epoch."""

    epoch: int = 0
    updates: int = 0
    examples: int = 0
    best: Quality = (-1.0, -1.0)
    best_epoch: int = 0
    curve: list[tuple[int, float, Quality | None]] = field(default_factory=list)


def train(
    module: nn.Module, losses: Losses, quality: Callable[[], Quality] | None, plan: Plan, context: Context, key: str
) -> None:
    """Train `module` and leave it with the weights of the epoch of the best `quality` (of the last one, without it).

    Each epoch draws from generators seeded by (seed, epoch), so a fit resumed from the checkpoint of `key` in
    `context.workdir` gives the weights of an uninterrupted one. Records `best_epoch`, `epochs` and, over the stages so
    far, the `updates` of the weights and the `examples`, which are what a batch's mean loss is over. Raises
    BenchmarkError where it diverges.
    """
    import torch

    optimizer = torch.optim.Adam(module.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    checkpoint = context.workdir / f"{plan.prefix}checkpoint.pt"
    progress, best = Progress(), copy.deepcopy(module.state_dict())
    saved = _load(checkpoint, key)
    if saved is not None:
        progress, best = Progress(**saved["progress"]), saved["best"]
        module.load_state_dict(saved["module"])
        optimizer.load_state_dict(saved["optimizer"])
        for epoch, loss, value in progress.curve:
            _tell(context, plan, epoch, loss, value)
    while progress.epoch < plan.epochs and progress.epoch - progress.best_epoch < plan.patience:
        epoch = progress.epoch + 1
        loss, updates, examples = _epoch(module, losses, optimizer, _seed(context.seed, plan.before + epoch))
        module.eval()
        try:
            value = None if quality is None or not math.isfinite(loss) else quality()
        except ContractError:  # scores that are not numbers, from the epoch's last update
            loss = math.nan
        if not math.isfinite(loss):
            raise BenchmarkError(
                f"the loss became infinite or NaN in epoch {plan.before + epoch}, "
                f"with learning_rate {plan.learning_rate:g}. Set a lower learning_rate, "
                f"{plan.learning_rate / 10:g} for example."
            )
        progress.epoch = epoch
        progress.updates += updates
        progress.examples += examples
        progress.curve.append((epoch, loss, value))
        if value is None or value > progress.best:
            progress.best, progress.best_epoch = (progress.best if value is None else value), epoch
            best = copy.deepcopy(module.state_dict())
        _save(
            checkpoint,
            {
                "key": key,
                "progress": vars(progress),
                "module": module.state_dict(),
                "best": best,
                "optimizer": optimizer.state_dict(),
            },
        )
        _tell(context, plan, epoch, loss, value)
    module.load_state_dict(best)
    module.eval()
    if not plan.stage:
        context.record("best_epoch", plan.before + progress.best_epoch)
    context.record(f"{plan.prefix}epochs", progress.epoch if plan.stage else plan.before + progress.epoch)
    earlier = context.facts if plan.before else {}
    context.record("updates", earlier.get("updates", 0) + progress.updates)
    context.record("examples", earlier.get("examples", 0) + progress.examples)


def _epoch(module: nn.Module, losses: Losses, optimizer: Any, seed: int) -> tuple[float, int, int]:
    """The mean loss over one epoch's examples, after its updates; how many updates and examples these were."""
    import torch

    module.train()
    torch.manual_seed(seed)
    total, updates, count = torch.zeros((), dtype=torch.float64), 0, 0
    for loss, n in losses(np.random.default_rng(seed)):
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total = total.to(loss.device) + loss.detach().double() * n
        updates, count = updates + 1, count + n
    if not count:
        raise BenchmarkError("no user has two training interactions, so there is nothing to learn a next item from.")
    return float(total) / count, updates, count


def _tell(context: Context, plan: Plan, epoch: int, loss: float, value: Quality | None) -> None:
    measured = {} if value is None else {f"R@{DEPTH}": value[0], f"RR@{DEPTH}": value[1]}
    total = plan.before + plan.epochs + plan.after
    context.progress(plan.before + epoch, total, **{f"{plan.prefix}loss": loss}, **measured)


def _seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)


def fit_key(*parts: Any) -> str:
    """A name for what a fit computes, so that no other fit's checkpoint in the same folder is taken for its own."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()


def _load(path: Path, key: str) -> dict[str, Any] | None:
    import torch

    if not path.exists():
        return None
    # weights_only: a checkpoint is data; nothing in it may run.
    saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return saved if saved["key"] == key else None


def _save(path: Path, state: dict[str, Any]) -> None:
    """Written beside and renamed, so that a kill leaves the last whole file."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    with open(beside, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
