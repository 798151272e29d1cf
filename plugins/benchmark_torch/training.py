"""The training loop: epochs, checkpoints that a killed fit resumes from, early stopping on validation."""

from __future__ import annotations

import copy
import hashlib
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from benchmark import BenchmarkError, Context, ContractError
from benchmark_torch.randomness import seed_of

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

Losses = Callable[[np.random.Generator], Iterable[tuple["Tensor", int]]]
"""One epoch, drawn from the generator: each batch's mean loss, a scalar, and its number of examples; the module is
updated after every batch."""
Validate = Callable[[], Mapping[str, float]]
"""Values by name, higher is better; each one breaks ties of those before it. Empty: no validation."""


@dataclass(frozen=True)
class Schedule:
    """How to train with Adam: at most `epochs`, until `patience` of them in a row were no better on validation.

    An epoch's loss is the mean over its examples, or over its updates if batches mix tasks. A fit of several stages has
    a schedule for each, with `before` and `after` epochs in the other stages. All but the last have a name, `stage`,
    which is part of the names of their checkpoint, facts and losses.
    """

    learning_rate: float
    epochs: int
    patience: int
    weight_decay: float = 0.0
    mean_over: Literal["examples", "updates"] = "examples"
    stage: str = ""
    before: int = 0
    after: int = 0

    @property
    def prefix(self) -> str:
        return f"{self.stage}_" if self.stage else ""


@dataclass
class _State:
    """A checkpoint's contents other than the weights. `curve` has (epoch, loss, validation values) of each epoch."""

    epoch: int = 0
    updates: int = 0
    examples: int = 0
    best: tuple[float, ...] = ()
    best_epoch: int = 0
    curve: list[tuple[int, float, dict[str, float]]] = field(default_factory=list)


def train(
    module: nn.Module,
    losses: Losses,
    schedule: Schedule,
    context: Context,
    *,
    identity: Sequence[object],
    validate: Validate | None = None,
) -> None:
    """Train `module` in place; it ends in evaluation mode, with the weights of the epoch that validated best.

    `validate` is called after every epoch, in evaluation mode; without values the last epoch is kept. `losses` should
    draw only from its generator and torch's global ones: each epoch seeds both by (seed, epoch), so that a killed fit,
    called again, continues from `checkpoint.pt` in `context.workdir` to the weights of an uninterrupted one. A
    checkpoint is used only if the initial weights, the schedule, the seed and `identity` are the same; name in
    `identity` all else that determines the outcome: the model with its parameters, the training arrays (see `fit_key`).

    Reports each epoch to `context.progress`, with its "loss" and the values of validation, and records `best_epoch`,
    `epochs` and, over the stages so far, the `updates` of the weights and the `examples`, repeats counted. Raises
    BenchmarkError if training diverges or an epoch has no batch, and ContractError for a validation value that is not
    finite.
    """
    import torch

    optimizer = torch.optim.Adam(module.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay)
    key = fit_key(module, *module.state_dict().values(), schedule, context.seed, *identity)
    checkpoint = context.workdir / f"{schedule.prefix}checkpoint.pt"
    state, best = _State(), copy.deepcopy(module.state_dict())
    saved = _load(checkpoint, key)
    if saved is not None:
        state, best = _State(**saved["state"]), saved["best"]
        module.load_state_dict(saved["module"])
        optimizer.load_state_dict(saved["optimizer"])
        for epoch, loss, values in state.curve:
            _report(context, schedule, epoch, loss, values)
    while state.epoch < schedule.epochs and state.epoch - state.best_epoch < schedule.patience:
        epoch = state.epoch + 1
        loss, updates, examples = _epoch(module, losses, optimizer, schedule, context.seed, epoch)
        values = _validated(module, loss, validate, schedule, epoch)
        state.epoch = epoch
        state.updates += updates
        state.examples += examples
        state.curve.append((epoch, loss, values))
        score = tuple(values.values())
        if not score or score > state.best:
            state.best, state.best_epoch = score, epoch
            best = copy.deepcopy(module.state_dict())
        weights = {"module": module.state_dict(), "best": best, "optimizer": optimizer.state_dict()}
        _save(checkpoint, {"key": key, "state": vars(state), **weights})
        _report(context, schedule, epoch, loss, values)
    module.load_state_dict(best)
    module.eval()
    if not schedule.stage:
        context.record("best_epoch", schedule.before + state.best_epoch)
    context.record(f"{schedule.prefix}epochs", state.epoch if schedule.stage else schedule.before + state.epoch)
    earlier = context.facts if schedule.before else {}
    context.record("updates", earlier.get("updates", 0) + state.updates)
    context.record("examples", earlier.get("examples", 0) + state.examples)


def fit_key(*parts: object) -> str:
    """A hash of what a fit computes, so that it never resumes from another fit's checkpoint in the same folder.

    Arrays and tensors count by shape, type and content, all else by its `repr`: the fields of a dataclass, the layers
    of a module. `repr` shortens an array inside another object; pass it separately.
    """
    import torch

    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, torch.Tensor):
            digest.update(str(part.dtype).encode())
            part = part.detach().cpu()
            part = (part.float() if part.dtype == torch.bfloat16 else part).numpy()  # numpy has no bfloat16
        if isinstance(part, np.ndarray) and not part.dtype.hasobject:
            digest.update(f"{part.shape} {part.dtype}".encode())
            digest.update(part.tobytes())
        else:
            digest.update(repr(part.tolist() if isinstance(part, np.ndarray) else part).encode())
        digest.update(b"\0")
    return digest.hexdigest()


def _epoch(
    module: nn.Module, losses: Losses, optimizer: Optimizer, schedule: Schedule, seed: int, epoch: int
) -> tuple[float, int, int]:
    """Train one epoch: its mean loss and its numbers of updates and examples."""
    import torch

    module.train()
    seed = seed_of(seed, schedule.before + epoch)
    torch.manual_seed(seed)
    total, updates, examples = torch.zeros((), dtype=torch.float64), 0, 0
    for loss, n in losses(np.random.default_rng(seed)):
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        weight = n if schedule.mean_over == "examples" else 1
        total = total.to(loss.device) + loss.detach().double() * weight
        updates, examples = updates + 1, examples + n
    if not examples:
        raise BenchmarkError("there is no training example, so there is nothing to learn from.")
    return float(total) / (examples if schedule.mean_over == "examples" else updates), updates, examples


def _validated(
    module: nn.Module, loss: float, validate: Validate | None, schedule: Schedule, epoch: int
) -> dict[str, float]:
    """The validation values. Raises BenchmarkError if the loss or the scores are NaN or infinite."""
    module.eval()
    values: dict[str, float] = {}
    try:
        if validate is not None and math.isfinite(loss):
            values = {name: float(value) for name, value in validate().items()}
    except ContractError:  # the epoch's last update made scores NaN
        loss = math.nan
    if not math.isfinite(loss):
        raise BenchmarkError(
            f"the loss became infinite or NaN in epoch {schedule.before + epoch}, "
            f"with learning_rate {schedule.learning_rate:g}. Set a lower learning_rate, "
            f"{schedule.learning_rate / 10:g} for example."
        )
    for name, value in values.items():
        if not math.isfinite(value):
            raise ContractError(f"validation gave {name} = {value} after epoch {epoch}; it must be a finite number.")
    return values


def _report(context: Context, schedule: Schedule, epoch: int, loss: float, values: Mapping[str, float]) -> None:
    total = schedule.before + schedule.epochs + schedule.after
    context.progress(schedule.before + epoch, total, **{f"{schedule.prefix}loss": loss}, **values)


def _load(path: Path, key: str) -> dict[str, Any] | None:
    import torch

    if not path.exists():
        return None
    # weights_only: a checkpoint is data; nothing in it may run.
    saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return saved if saved["key"] == key else None


def _save(path: Path, content: dict[str, Any]) -> None:
    """Write to a temporary name and rename, so that a kill leaves the last complete file."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with open(temporary, "wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
