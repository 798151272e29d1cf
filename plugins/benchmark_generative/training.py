"""A training loop for any sequence-to-sequence model: pairs of token sequences in, the best weights out.

Batches are indexed out of integer tensors made once, grouped by length, and shuffled from (seed, epoch) alone, so that
training resumed after an epoch continues exactly as if never interrupted. accelerate handles precision, several GPUs
and checkpoint files. Axis letters: P pairs, C target tokens.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Module

from benchmark import BenchmarkError, Context, ContractError
from benchmark_generative.tokens import Sequences, concat
from benchmark_torch.randomness import seed_of
from benchmark_torch.training import fit_key

IGNORED = -100
"""Padding of targets: ignored by the loss."""
WINDOW = 50
"""Pairs are sorted by length within windows of this many batches, so that batches have little padding and the order
stays random. Each source is sorted separately and every batch holds its share of each, so that every update learns from
all tasks."""


@dataclass(frozen=True)
class Pairs:
    """Training examples: `inputs` (P sequences) and `targets` integers (P, C), the tokens to write for each.

    A target shorter than C ends in `IGNORED`; sources may differ in C.
    """

    inputs: Sequences
    targets: Tensor


@dataclass(frozen=True)
class TrainSettings:
    """How long, how fast and in which precision; the optimiser is AdamW."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    patience: int
    """Stop after this many epochs without a better validation score."""
    warmup: float
    """Share of all steps before the learning rate falls; see `schedule`."""
    precision: Literal["fp32", "bf16"]
    schedule: Literal["linear", "cosine", "inverse_sqrt", "constant"] = "linear"
    """linear, cosine: rises in the warm-up and falls to 0; inverse_sqrt: constant in the warm-up and falls with
    1/sqrt(step) (Rajput 2023, 4.1.3); constant: rises in the warm-up and stays."""
    pairs_per_epoch: int | None = None
    """Pairs per epoch, drawn from consecutive shuffled passes; None: one whole pass. Validation and checkpoints are per
    epoch."""
    compile: bool = False
    """Compile the model with torch.compile: worth its minute on a GPU, not on a CPU."""
    mixing: Literal["concat", "balanced"] = "concat"
    """concat: all pairs of every source once. balanced: oversample every source to the size of the largest."""
    shares: tuple[float, ...] | None = None
    """Instead of `mixing`: the share of each source's pairs in one pass; 0.1 draws a new tenth in every pass, 2 repeats
    each pair."""


@dataclass
class Progress:
    """The state of training, saved with every checkpoint: `epoch` whole epochs are done; all epochs have `steps` steps.

    `updates` and `examples` (with repetitions) were trained so far, `best_updates` and `best_examples` up to the best
    epoch. `curve` holds the points passed to `Context.progress`.
    """

    epoch: int = 0
    steps: int = 0
    best_epoch: int = 0
    best: float = -math.inf
    updates: int = 0
    examples: int = 0
    best_updates: int = 0
    best_examples: int = 0
    curve: list[tuple[int, dict[str, float]]] = field(default_factory=list)


def train(
    model: Module,
    sources: Sequence[Pairs],
    pad: int,
    eos: int,
    validate: Callable[[], Mapping[str, float]],
    settings: TrainSettings,
    context: Context,
) -> Progress:
    """Train `model` in place; it ends with the weights of the epoch that validated best.

    `model` is called with input_ids, attention_mask and labels, and returns a loss. `validate` is called after every
    epoch; the first of its values decides, higher is better; if it has none, the last epoch is kept. An interrupted
    call with the same arguments continues from the last whole epoch in `context.workdir`; a finished one returns its
    result again. The budget, in updates and examples, and the precision are recorded as facts. Raises BenchmarkError
    when the loss or a weight is NaN or infinite.
    """
    # accelerate keeps one state per process, which an earlier model of another precision may have left
    AcceleratorState._reset_state(reset_partial_state=True)
    device = torch.device(context.device)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    precision = "bf16" if settings.precision == "bf16" else "no"
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=precision)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    sizes = [len(source.targets) for source in sources]
    pairs = Pairs(
        concat([source.inputs for source in sources]).to(accelerator.device),
        _stacked([source.targets for source in sources]).to(accelerator.device),
    )
    inputs = pairs.inputs
    key = fit_key(
        *(settings, context.seed, model, *model.state_dict().values()),
        *(inputs.tokens, inputs.start, inputs.length, pairs.targets),
    )
    store = _Checkpoints(context.workdir / "training", accelerator, key)
    progress = store.load()
    for step, values in progress.curve:
        context.progress(step, progress.steps, **values)

    trained: Module = torch.compile(wrapped, dynamic=True) if settings.compile else wrapped  # type: ignore[assignment]
    while progress.epoch < settings.epochs and progress.epoch - progress.best_epoch < settings.patience:
        order = batches(pairs.inputs.length, sizes, settings, context.seed, progress.epoch)
        progress.steps = len(order) * settings.epochs
        loss = _epoch(trained, optimizer, accelerator, pairs, order, pad, eos, progress.epoch, settings, context)
        progress.epoch += 1
        progress.updates += len(order)
        progress.examples += sum(len(rows) for rows in order)
        model.eval()
        try:
            values = dict(validate())
            finite = all(bool(weight.isfinite().all()) for weight in model.parameters())
        except ContractError:  # scores that are not numbers
            finite = False
        if not finite:  # diverged in the epoch's last update, after its loss was computed
            raise _diverged("a weight", len(order), progress.epoch, settings)
        score = next(iter(values.values()), float(progress.epoch))
        if score > progress.best:
            progress.best, progress.best_epoch = score, progress.epoch
            progress.best_updates, progress.best_examples = progress.updates, progress.examples
            store.save_best(model)
        progress.curve.append((len(order) * progress.epoch, {"loss": loss, **values}))
        store.save(progress)
        context.progress(len(order) * progress.epoch, progress.steps, loss=loss, **values)
    for name in ("updates", "examples", "best_updates", "best_examples"):
        context.record(name, getattr(progress, name))
    context.record("precision", settings.precision)
    store.load_best(model)
    accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False).eval()  # ranking is in full precision
    # The checkpoint stays: a cell that is stopped while it ranks need not train again.
    return progress


def batches(length: Tensor, sizes: Sequence[int], settings: TrainSettings, seed: int, epoch: int) -> list[Tensor]:
    """Row numbers of one epoch's batches, in the order they are trained: the same for the same seed and epoch.

    `length` (P,) are the input lengths; the rows of the first source come first, then those of the next, `sizes` of
    each. A batch holds every source in its share of all rows. Batches are of equal size, as near to `batch_size` as
    possible; a single batch may exceed it by half.
    """
    take = _take(sizes, settings)
    total = sum(take)
    count = settings.pairs_per_epoch or total
    begin = epoch * count
    passes = range(begin // total, (begin + count - 1) // total + 1)
    rows = np.concatenate([_shuffled(sizes, take, np.random.default_rng([seed, number])) for number in passes])
    rows = rows[begin - passes.start * total :][:count]
    rng = np.random.default_rng([seed, epoch, 1])
    window = np.arange(len(rows)) // (WINDOW * settings.batch_size)
    source = np.searchsorted(np.cumsum(sizes), rows, side="right")
    order = np.lexsort((length.cpu().numpy()[rows], source, window))
    _, group, many = np.unique(window[order] * len(sizes) + source[order], return_inverse=True, return_counts=True)
    # A row's relative rank (0 to 1) in its window and source: rows of all sources with equal ranks go together.
    place = (np.arange(len(rows)) - (np.cumsum(many) - many)[group] + 0.5) / many[group]
    rows = rows[order[np.lexsort((place, window[order]))]]
    parts = np.array_split(rows, max(1, round(len(rows) / settings.batch_size)))
    return [torch.as_tensor(parts[i], device=length.device) for i in rng.permutation(len(parts))]


def _take(sizes: Sequence[int], settings: TrainSettings) -> Sequence[int]:
    """The number of pairs of each source in a pass."""
    if settings.shares is not None:
        return [max(1, round(size * share)) for size, share in zip(sizes, settings.shares, strict=True)]
    return [max(sizes)] * len(sizes) if settings.mixing == "balanced" else sizes


def _stacked(targets: Sequence[Tensor]) -> Tensor:
    """All targets, padded to the widest."""
    width = max(part.shape[1] for part in targets)
    return torch.cat([torch.nn.functional.pad(part, (0, width - part.shape[1]), value=IGNORED) for part in targets])


def _shuffled(sizes: Sequence[int], take: Sequence[int], rng: np.random.Generator) -> NDArray[np.int64]:
    """The rows of one pass in random order: `take` of each source, its rows repeated where it has fewer."""
    first = np.cumsum([0, *sizes])
    rows = [
        start + np.concatenate([rng.permutation(size) for _ in range(math.ceil(count / size))])[:count]
        for start, size, count in zip(first, sizes, take, strict=False)
    ]
    return rng.permutation(np.concatenate(rows))


def _epoch(
    model: Module,
    optimizer: torch.optim.Optimizer,
    accelerator: Accelerator,
    pairs: Pairs,
    order: Sequence[Tensor],
    pad: int,
    eos: int,
    epoch: int,
    settings: TrainSettings,
    context: Context,
) -> float:
    """Train one epoch and return its mean loss."""
    # for dropout: seeded per epoch, so that resuming needs no generator state
    torch.manual_seed(seed_of(context.seed, epoch, accelerator.process_index))
    model.train()
    total, mean = torch.zeros((), device=accelerator.device), math.nan
    lengths = (pairs.targets != IGNORED).sum(1)
    for step, rows in enumerate(order):
        mine = rows[accelerator.process_index :: accelerator.num_processes]
        tokens, mask = pairs.inputs.batch(mine, pad, eos)
        done = (epoch + step / len(order)) / settings.epochs
        rate = settings.learning_rate * _schedule(done, settings.warmup, settings.schedule)
        for group in optimizer.param_groups:
            group["lr"] = rate
        labels = pairs.targets[mine, : int(lengths[mine].max())].long()  # no wider than the batch's longest target
        loss = model(input_ids=tokens, attention_mask=mask, labels=labels, use_cache=False).loss
        optimizer.zero_grad()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        total += loss.detach()
        if step % 20 == 19 or step == len(order) - 1:
            mean = float(total) / (step + 1)  # waits for the device, hence not at every step
            if not math.isfinite(mean):
                raise _diverged("the loss", step + 1, epoch + 1, settings)
            context.progress(len(order) * epoch + step + 1, len(order) * settings.epochs)
    return mean


def _diverged(what: str, steps: int, epoch: int, settings: TrainSettings) -> BenchmarkError:
    return BenchmarkError(
        f"{what} is not a number after {steps} steps of epoch {epoch}. Lower `learning_rate` "
        f"(now {settings.learning_rate}), or set `precision: fp32` (now {settings.precision})."
    )


def _schedule(done: float, warmup: float, kind: str = "linear") -> float:
    """The factor of the learning rate when the share `done` of training is over."""
    rising = done / warmup if warmup else 1.0
    if kind == "inverse_sqrt":
        return min(1.0, math.sqrt(warmup / done)) if done and warmup else 1.0
    if rising < 1 or kind == "constant":
        return min(rising, 1.0)
    remaining = (1 - done) / (1 - warmup)
    return remaining if kind == "linear" else (1 - math.cos(math.pi * remaining)) / 2


class _Checkpoints:
    """The state after the last whole epoch and the best weights so far, written to a temporary name and renamed."""

    def __init__(self, folder: Path, accelerator: Accelerator, signature: str) -> None:
        self.folder, self.accelerator, self.signature = folder, accelerator, signature

    def save(self, progress: Progress) -> None:
        target, draft = self.folder / f"epoch-{progress.epoch:06d}", self.folder / "draft"
        self.accelerator.save_state(str(draft), safe_serialization=False)
        self.accelerator.wait_for_everyone()  # each process writes its part
        if self.accelerator.is_main_process:
            (draft / "progress.json").write_text(json.dumps({"signature": self.signature, **asdict(progress)}))
            os.replace(draft, target)
            for old in self.folder.glob("epoch-*"):
                if old != target:
                    shutil.rmtree(old)

    def load(self) -> Progress:
        """The progress of an interrupted training with this signature, its state loaded; a fresh one otherwise."""
        for folder in sorted(self.folder.glob("epoch-*"), reverse=True):
            saved: dict[str, Any] = json.loads((folder / "progress.json").read_text())
            if saved.pop("signature") == self.signature:
                self.accelerator.load_state(str(folder))
                return Progress(**saved)
        self.clear()
        return Progress()

    def save_best(self, model: Module) -> None:
        if self.accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
            torch.save(model.state_dict(), self.folder / "best.draft")
            os.replace(self.folder / "best.draft", self.folder / "best.pt")

    def load_best(self, model: Module) -> None:
        self.accelerator.wait_for_everyone()
        best = torch.load(self.folder / "best.pt", map_location="cpu", weights_only=True)
        model.load_state_dict(best)

    def clear(self) -> None:
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            shutil.rmtree(self.folder, ignore_errors=True)
