"""Gen_R, Gen_S and Gen_R+S: T5 with one token per item for search and recommendation (Penha 2024, section 4).

A history becomes its items' tokens, a query its words, and the model writes the token of one item. Differences from the
paper: the target has no end token, since a list of one-token items needs no second decoder step; `exact` decoding
returns the true best K, which the paper's diverse beam search does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import MinLen

from benchmark import (
    PAD,
    TASKS,
    BenchmarkError,
    Context,
    Count,
    NonNegative,
    NotFittedError,
    Positive,
    ProperFraction,
    Ranking,
    Requests,
    Split,
    Task,
    Train,
)
from benchmark_torch.randomness import seeded
from benchmark_torch.validation import validate

if TYPE_CHECKING:
    from transformers import T5ForConditionalGeneration

    from benchmark_generative.tokens import Sequences, Vocabulary
    from benchmark_generative.training import Pairs

TABLE_INIT, LAYER_INIT = 0.1, 0.3
"""Factors on transformers' random initial weights of the token table, N(0, 1), and of all other matrices; unused with a
`checkpoint`. Tried with Gen_R on the validation requests of MovieLens 100K, one fit each, table and layers: R@30
(standard error .014) after 800 updates (1, 1) .160, (.1, 1) .200, (.3, .1) .196, (.3, .3) .207, (.1, .1) .162, (.1, .3)
.186; after 3,000 over 10 items, with the mean log-likelihood of a target, which decided, (.3, .3) .255, -6.141,
(.1, .1) .259, -6.144, (.1, .3) .275, -6.083. Gen_S likewise: .40 with (1, 1), .56 to .63 with the smaller ones. Dropout
of .1 and learning rates of 3e-3 and 4e-3 were worse. Of 50, 20, 10 and 5 newest items the fewest were best in equal
time, .18 to .26."""
QUERY_TOKENS = 32
"""The number of tokens of a query that are read."""
VALIDATION_DEPTH = 30
"""Checkpoints are chosen by R@30, the paper's main metric; at a tenth of a catalogue that has under 300 items."""


@dataclass
class Gen:
    """T5 that answers a history or a query with the token of an item."""

    tasks: Annotated[frozenset[Literal["recommendation", "search"]], MinLen(1)] = frozenset({"recommendation"})
    """Gen_R: recommendation; Gen_S: search; Gen_R+S: both."""
    checkpoint: str = ""
    """A T5 by name or folder (the paper: google/flan-t5-base); empty: one of the sizes below with random weights."""
    # Small enough for a minute on one CPU core; with one decoder layer a step is a quarter shorter than with two.
    d_model: Count = 64
    d_ff: Count = 128
    heads: Count = 4
    layers: Count = 1
    decoder_layers: Count = 1
    dropout: ProperFraction = 0.0
    mixing: Literal["concat", "balanced"] = "concat"
    """concat: all pairs once. balanced: oversample the smaller task to the size of the larger."""
    decoding: Literal["exact", "diverse_beam"] = "exact"
    beams: Count = 30
    groups: Count = 15
    penalty: NonNegative = 0.25
    """The paper's diverse beam search: K beams in K/2 groups, K = 30."""
    epochs: Count = 5
    learning_rate: Positive = 2e-3
    batch_size: Count = 128
    weight_decay: NonNegative = 0.01
    """The paper's: 5 epochs, 2e-3, 128, AdamW with 0.01."""
    steps: Count | None = None
    """Updates in all, in `epochs` equal parts with a validation after each; None: an epoch is a pass over the pairs, so
    that a model for two tasks trains longer than one for one. With `balanced` each task fills half of every batch: the
    same number of steps is the same budget, and twice a one-task model's steps show as many examples of its task."""
    warmup: ProperFraction = 0.1
    """Share of the steps in which the learning rate rises; it falls to 0 in the rest. The paper states no schedule."""
    patience: Count = 3
    """Stop after this many epochs without a better R@30 on validation."""
    max_history: Count = 50
    """The model reads this many of a history's newest items; the suite's protocol may allow fewer."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of training; auto: bf16 on a GPU, fp32 elsewhere. bf16 also works on a CPU, but results then depend on whether
    the CPU multiplies bf16 natively. Ranking is always in fp32."""

    requires: ClassVar[tuple[str, ...]] = ("torch", "transformers", "tokenizers", "accelerate")

    network_: T5ForConditionalGeneration = field(init=False, repr=False, compare=False)
    vocabulary_: Vocabulary = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < self.epochs:
            raise BenchmarkError(f"`steps` is {self.steps}; it must be at least `epochs`, {self.epochs}.")
        if self.d_model % self.heads:
            raise BenchmarkError(f"`d_model` {self.d_model} cannot be divided among {self.heads} `heads`.")
        if self.beams % self.groups:
            raise BenchmarkError(f"{self.beams} `beams` cannot be divided into {self.groups} equal `groups`.")

    def fit(self, train: Train, valid: Mapping[Task, Split], context: Context) -> None:
        """Train on the pairs of the tasks, choose the epoch by the mean R@30 of the tasks on `valid`.

        Raises BenchmarkError when there is nothing to train on, or `checkpoint` cannot be loaded.
        """
        import torch

        from benchmark_generative import training

        cuda = torch.device(context.device).type == "cuda"
        with seeded(context):
            self.network_, self.vocabulary_ = self._build(train, context.seed)
            self.network_.to(context.device)
            context.record("parameters", sum(p.numel() for p in self.network_.parameters()))
            splits = {t: valid[t] for t in TASKS if t in self.tasks and t in valid}
            progress = training.train(
                self.network_,
                self._pairs(train),
                *self._ends(),
                lambda: self._validate(splits),
                training.TrainSettings(
                    epochs=self.epochs,
                    batch_size=self.batch_size,
                    learning_rate=self.learning_rate,
                    weight_decay=self.weight_decay,
                    patience=self.patience,
                    warmup=self.warmup,
                    precision=("bf16" if cuda else "fp32") if self.precision == "auto" else self.precision,
                    mixing=self.mixing,
                    pairs_per_epoch=self.steps and round(self.steps / self.epochs) * self.batch_size,
                ),
                context,
            )
        context.record("best_epoch", progress.best_epoch)
        context.record("epochs", progress.epoch)
        if self.decoding == "diverse_beam":
            returned = {task: self.rank(split.requests, self.beams).items != PAD for task, split in splits.items()}
            context.record("distinct_items", {task: float(f.sum(1).mean()) for task, f in returned.items()})

    def rank(self, requests: Requests, k: int) -> Ranking:
        """The likeliest items first, with their log-likelihoods over the whole vocabulary as scores.

        `diverse_beam` returns fewer than k: at most `beams`, and of those only the distinct ones.
        """
        if not hasattr(self, "network_"):
            raise NotFittedError("gen: rank was called before fit.")
        if requests.task not in self.tasks:
            raise BenchmarkError(
                f"gen was trained for {', '.join(sorted(self.tasks))}; add {requests.task} to `tasks`."
            )
        from benchmark_generative import decoding

        network, first = self.network_, self.vocabulary_.first_item
        inputs = self._inputs(requests).to(network.device)
        out = Ranking.empty(len(requests), k)
        network.eval()
        order = inputs.length.argsort(stable=True)  # requests of similar length pad each other little
        size = 512 if network.device.type == "cuda" else 32
        for start in range(0, len(order), size):
            likelihood = decoding.first_token(network, *inputs.batch(order[start : start + size], *self._ends()))
            scores = likelihood[:, first : first + self.vocabulary_.items]
            rows = order[start : start + size].cpu().numpy()
            part = requests.take(rows)
            if self.decoding == "exact":
                best = decoding.exact(scores, part, k)
            else:
                best = decoding.diverse_beam(scores, part, k, self.beams, self.groups, self.penalty)
            out.items[rows], out.scores[rows] = best.items, best.scores
        return out

    def _build(self, train: Train, seed: int) -> tuple[T5ForConditionalGeneration, Vocabulary]:
        import torch

        from benchmark_generative import t5
        from benchmark_generative.tokens import Vocabulary, train_words

        n = len(train.catalog)
        if self.checkpoint:
            network, words = t5.from_checkpoint(self.checkpoint)
            first = t5.add_tokens(network, n, torch.Generator().manual_seed(seed))
            return network, Vocabulary(words, first, n)
        words = train_words([str(query) for query in train.queries] if "search" in self.tasks else [])
        first = words.get_vocab_size()
        network = t5.from_scratch(
            first + n, self.d_model, self.d_ff, self.heads, self.layers, self.decoder_layers, self.dropout,
            table_init=TABLE_INIT, layer_init=LAYER_INIT,
        )  # fmt: skip
        return network, Vocabulary(words, first, n)

    def _pairs(self, train: Train) -> list[Pairs]:
        """The training pairs of each task that has any."""
        import torch

        from benchmark_generative.tokens import Sequences
        from benchmark_generative.training import Pairs

        vocabulary, pairs = self.vocabulary_, []
        if "recommendation" in self.tasks and len(prefixes := train.prefixes()):
            targets = torch.as_tensor(prefixes.targets, dtype=torch.int64)[:, None] + vocabulary.first_item
            pairs.append(Pairs(vocabulary.prefixes(prefixes, self.max_history), targets))
        if "search" in self.tasks and len(train.searches.values):
            queries = vocabulary.queries(train.queries, QUERY_TOKENS)
            row = torch.as_tensor(train.searches.rows)  # a query with k relevant items is k pairs
            targets = torch.from_numpy(train.searches.values.astype(np.int64))[:, None] + vocabulary.first_item
            pairs.append(Pairs(Sequences(queries.tokens, queries.start[row], queries.length[row]), targets))
        if not pairs:
            raise BenchmarkError(
                f"gen: the data set has no training pair for {' or '.join(sorted(self.tasks))}; change `tasks`, or use "
                "a data set with histories of at least two items or queries with relevant items."
            )
        return pairs

    def _inputs(self, requests: Requests) -> Sequences:
        if requests.task == "search":
            return self.vocabulary_.queries(requests.queries, QUERY_TOKENS)
        return self.vocabulary_.histories(requests.histories, self.max_history)

    def _ends(self) -> tuple[int, int]:
        config: Any = self.network_.config
        return config.pad_token_id, config.eos_token_id

    def _validate(self, splits: Mapping[Task, Split]) -> dict[str, float]:
        """The mean R@30 of the tasks, and each task's own if there are two."""
        depth = min(VALIDATION_DEPTH, max(1, self.vocabulary_.items // 10))
        return validate(self.rank, splits, f"R@{depth}")
