"""TIGER: T5 that writes the semantic ID of the next item, code by code (Rajput 2023, sections 3.2 and 4.1.3).

A history becomes a user token and its items' codes, oldest first; beam search over the tree of the items' IDs finds the
likeliest ones, so that every answer is an item. Differences from the paper: AdamW instead of T5X's Adafactor, a
learning rate that does not diverge under it, and training that stops by nDCG@10 on validation. Axis letters: N items, L
levels of a code, B requests, M beams, K depth of a ranking.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from benchmark import (
    PAD,
    BenchmarkError,
    Context,
    Count,
    Natural,
    NonNegative,
    NotFittedError,
    Positive,
    ProperFraction,
    Ragged,
    Ranking,
    Requests,
    Share,
    Split,
    Task,
    Train,
)
from benchmark_generative import retrieval
from benchmark_generative.identifiers.settings import IdSettings
from benchmark_torch.randomness import seeded
from benchmark_torch.validation import validate

if TYPE_CHECKING:
    import torch
    from transformers import T5ForConditionalGeneration

    from benchmark_generative.identifiers import Identifiers
    from benchmark_generative.retrieval import Decoder, Hits
    from benchmark_generative.semantic_tokens import SemanticVocabulary
    from benchmark_generative.trie import Trie
    from benchmark_generative.unseen import UnseenItems

VALIDATION = "nDCG@10"


@dataclass
class Tiger:
    """T5 over semantic IDs (Rajput 2023). Defaults are the paper's, except as the module's docstring says."""

    identifiers: IdSettings = IdSettings()
    """How IDs are made: by default the paper's RQ-VAE of 3 levels of 256 codes, trained shorter."""
    codes: str = ""
    """A published index instead: a table with item ids and their codes."""
    codes_learned: Count | None = None
    """How many of the index's codes are learned; the others only resolve collisions. None: all are learned."""
    encoder: str = ""
    """What turns an item's text into a vector: a sentence-transformers model by name or folder, or a file with ready
    vectors; empty is the bundled all-MiniLM-L6-v2. The paper: sentence-transformers/sentence-t5-base."""
    d_model: Count = 128
    """128 is in the paper's text; 384 gives the 13 million parameters that the paper also states."""
    d_ff: Count = 1024
    heads: Count = 6
    d_kv: Count = 64
    layers: Count = 4
    decoder_layers: Count = 4
    dropout: ProperFraction = 0.1
    user_tokens: Natural = 2000
    """Users are hashed to this many tokens; 0: no user tokens. An unknown user has no token."""
    max_history: Count = 20
    """The model reads this many of a history's newest items; the suite's protocol may allow fewer."""
    steps: Count = 200_000
    evaluate_every: Count = 2000
    """Steps between two validations, rounded so that they divide `steps` evenly; each writes a checkpoint."""
    patience: Count = 10
    """Stop after this many validations without a better nDCG@10."""
    validation_requests: Count = 3000
    """Validate on at most this many requests, chosen by a hash."""
    batch_size: Count = 256
    learning_rate: Positive = 1e-3
    """The paper's 0.01 is Adafactor's."""
    schedule: Literal["inverse_sqrt", "cosine", "linear", "constant"] = "inverse_sqrt"
    warmup_steps: Natural = 10_000
    """inverse_sqrt: steps of constant learning rate before it falls; otherwise steps in which it rises."""
    weight_decay: NonNegative = 0.01
    beams: Count = 30
    unseen_share: Share | None = None
    """Items without any training interaction. None: they have IDs like all others. Otherwise they have no IDs; one is
    retrieved if its learned codes equal those of a retrieved item, and they are at most this share (the paper's
    epsilon, 4.4.1) of any top K."""
    temperatures: list[Positive] = field(default_factory=list)
    """Variants `temperature-<T>`: items are sampled level by level at these temperatures, not searched (4.4.2)."""
    unconstrained: list[Count] = field(default_factory=list)
    """Variants `unconstrained-<K>`: K beams without the tree of IDs; IDs of no item are dropped (section 5)."""
    unseen_shares: list[Share] = field(default_factory=list)
    """Variants `unseen-<epsilon>`: other shares of unseen items; they need `unseen_share`."""
    record_codes: bool = False
    """Record every item's learned codes as a fact, for analyses of small catalogues."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of training; auto: bf16 on a GPU, fp32 elsewhere. bf16 also works on a CPU, but results then depend on whether
    the CPU multiplies bf16 natively. Ranking is always in fp32."""
    compile: bool = False
    """Train with torch.compile: for long training on a GPU."""

    tasks: ClassVar[frozenset[Task]] = frozenset({"recommendation"})
    requires: ClassVar[tuple[str, ...]] = ("torch", "transformers", "accelerate", "sentence_transformers")

    network_: T5ForConditionalGeneration = field(init=False, repr=False, compare=False)
    identifiers_: Identifiers = field(init=False, repr=False, compare=False)
    vocabulary_: SemanticVocabulary = field(init=False, repr=False, compare=False)
    trie_: Trie = field(init=False, repr=False, compare=False)
    """Over the items that have IDs of their own, in the order of `retrievable_`."""
    retrievable_: NDArray[np.int64] = field(init=False, repr=False, compare=False)
    unseen_: UnseenItems | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.unseen_shares and self.unseen_share is None:
            raise BenchmarkError("`unseen_shares` needs `unseen_share`, which separates unseen items from seen ones.")
        if self.codes_learned is not None and not self.codes:
            raise BenchmarkError(f"`codes_learned` is {self.codes_learned}, but there is no `codes` file; give both.")
        if self.codes and self.identifiers != IdSettings():
            raise BenchmarkError("`codes` are ready, and `identifiers` says how to make some; give one of the two.")

    @property
    def variants(self) -> tuple[str, ...]:
        names = [f"temperature-{t:g}" for t in self.temperatures]
        names += [f"unconstrained-{k}" for k in self.unconstrained]
        return (*names, *(f"unseen-{share:g}" for share in self.unseen_shares))

    def fit(self, train: Train, valid: Mapping[Task, Split], context: Context) -> None:
        """Make the IDs, train on every prefix, keep the checkpoint with the best nDCG@10 on `valid`.

        Raises BenchmarkError when there is nothing to train on, or item texts cannot be turned into vectors.
        """
        import torch

        from benchmark_generative import training
        from benchmark_generative.semantic_tokens import END, PADDING

        torch.set_num_threads(context.threads)
        prefixes = train.prefixes()
        if not len(prefixes):
            raise BenchmarkError("tiger: no user has two training interactions, so there is no next item to learn.")
        self.seed_ = context.seed
        self._index(train, context)
        cuda = torch.device(context.device).type == "cuda"
        with seeded(context):
            self.network_ = self._network().to(context.device)
            context.record("parameters", sum(p.numel() for p in self.network_.parameters()))
            split = retrieval.sampled(valid.get("recommendation"), self.validation_requests)
            epochs = max(1, round(self.steps / self.evaluate_every))
            every = round(self.steps / epochs)
            training.train(
                self.network_,
                [
                    training.Pairs(
                        self.vocabulary_.prefixes(train, prefixes, self.max_history),
                        torch.from_numpy(self.vocabulary_.items[prefixes.targets]),
                    )
                ],
                PADDING,
                END,
                lambda: {} if split is None else validate(self.rank, {"recommendation": split}, VALIDATION),
                training.TrainSettings(
                    epochs=epochs,
                    batch_size=self.batch_size,
                    learning_rate=self.learning_rate,
                    weight_decay=self.weight_decay,
                    patience=self.patience,
                    warmup=min(self.warmup_steps / self.steps, 0.99),
                    precision=("bf16" if cuda else "fp32") if self.precision == "auto" else self.precision,
                    schedule=self.schedule,
                    pairs_per_epoch=every * self.batch_size,
                    compile=self.compile,
                ),
                context,
            )

    def rank(self, requests: Requests, k: int) -> Ranking:
        """The likeliest items that the search finds, at most `beams`, with their log-likelihoods as scores.

        `candidates` are all scored exactly, without beam search.
        """
        return self._likeliest(requests, k, self.unseen_share)

    def rank_variant(self, variant: str, requests: Requests, k: int) -> Ranking:
        """The ranking of one of `variants`. `unconstrained-<K>` returns what the model writes and ignores `exclude` and
        `candidates`."""
        kind, _, value = variant.partition("-")
        if kind == "unseen":
            return self._likeliest(requests, k, float(value))
        if kind == "temperature":
            ranking = self._retrieved(requests, k, partial(self._sample, float(value)))
            return self._with_unseen(ranking, requests, k, self.unseen_share)
        return self._retrieved(requests, k, partial(self._unconstrained, int(value)))

    def _index(self, train: Train, context: Context) -> None:
        """IDs, their tokens, and the trie of those that can be retrieved."""
        from benchmark_generative.semantic_tokens import SemanticVocabulary
        from benchmark_generative.trie import Trie
        from benchmark_generative.unseen import UnseenItems

        seen = train.popularity("recommendation") > 0  # (N,)
        self.identifiers_ = self._identify(train, seen, context)
        context.record("identifiers", {**self.identifiers_.facts, "digest": self.identifiers_.digest})
        for remark in self.identifiers_.facts.get("remarks", ()):
            context.remark(remark)
        if self.record_codes:
            context.record("codes", self.identifiers_.semantic.tolist())
        self.vocabulary_ = SemanticVocabulary.of(self.identifiers_, train.users, self.user_tokens)
        self.unseen_ = None
        self.retrievable_ = np.arange(len(seen))
        if self.unseen_share is not None:
            self.unseen_ = UnseenItems.of(self.identifiers_.semantic, seen)
            self.retrievable_ = np.flatnonzero(seen)
            context.record("unseen_items", int((~seen).sum()))
            context.record("unseen_items_beside_a_seen_one", len(np.unique(self.unseen_.beside.values)))
        self.trie_ = Trie.build(self.vocabulary_.items[self.retrievable_]).to(context.device)

    def _identify(self, train: Train, seen: NDArray[np.bool_], context: Context) -> Identifiers:
        from benchmark_generative import identifiers

        if self.codes:
            return identifiers.Identifiers.read(
                Path(self.codes).expanduser(), train.catalog.ids, learned=self.codes_learned
            )
        settings, trained_on = self.identifiers.on(context.device), seen if self.unseen_share is not None else None
        if settings.method == "random":  # needs only the number of vectors
            none = np.zeros((len(train.catalog), 1), dtype=np.float32)
            made = identifiers.make(none, settings, seed=context.seed, trained_on=trained_on)
            return replace(made, facts={**made.facts, "prefix_error": None})  # the vectors are not real
        from benchmark_generative.vectors import item_vectors

        vectors = item_vectors(train.catalog, self.encoder, device=context.device)
        if len(vectors) > 1 and (vectors == vectors[0]).all():
            raise BenchmarkError(
                "tiger: all items have the same vector, perhaps because the data set has no item texts. Semantic IDs "
                "need a title or another text; or give ready vectors as `encoder`, ready `codes`, or "
                "`identifiers: {method: random}`."
            )
        # Cached for all models with the same settings: remaking them costs time, and differs on another machine.
        return identifiers.cached(
            context.shared or context.workdir,
            (settings, context.seed, context.device.partition(":")[0], context.threads, trained_on, vectors),
            lambda: identifiers.make(
                vectors, settings, seed=context.seed, device=context.device, threads=context.threads,
                trained_on=trained_on, progress=lambda step, total, **values: context.progress(step, total),
            ),
            identifiers.Identifiers.load,
        )  # fmt: skip

    def _network(self) -> T5ForConditionalGeneration:
        from benchmark_generative import t5

        # Smaller initial weights were no better. On the validation requests of MovieLens 100K in the laptop's sizes,
        # one fit each, 1,000 updates over 10 items, nDCG@10 (standard error about .004) and R@30 were, for these
        # factors of the token table and of all other matrices, (1, 1) .032 and .177, (.3, 1) .032 and .164, (1, .3)
        # .029 and .153, (.3, .3) .030 and .163. After 2,000 over 5 items (1, 1) has .040 with two decoder layers and
        # .036 with one.
        return t5.from_scratch(
            self.vocabulary_.size, self.d_model, self.d_ff, self.heads, self.layers, self.decoder_layers, self.dropout,
            d_kv=self.d_kv,
        )  # fmt: skip

    def _likeliest(self, requests: Requests, k: int, share: float | None) -> Ranking:
        ranking = self._retrieved(requests, k, self._search if requests.candidates is None else self._candidates)
        return self._with_unseen(ranking, requests, k, share)

    def _retrieved(self, requests: Requests, k: int, decode: Decoder) -> Ranking:
        """Rank the requests with `decode`, in batches of similar length; short rows end in PAD."""
        if not hasattr(self, "network_"):
            raise NotFittedError("tiger: rank was called before fit.")
        if requests.task != "recommendation":
            raise BenchmarkError(f"tiger does recommendation, and was asked for {requests.task}.")
        from benchmark_generative.semantic_tokens import END, PADDING

        inputs = self.vocabulary_.histories(requests.histories, requests.users, self.max_history)
        return retrieval.answer(self.network_, inputs, (PADDING, END), requests, k, decode)

    def _search(self, requests: Requests, k: int, tokens: torch.Tensor, mask: torch.Tensor) -> Hits:
        from benchmark_generative.beam_search import beam_search

        numbers, scores = beam_search(
            self.network_, tokens, mask, self.trie_, beams=self.beams, exclude=self._in_trie(requests.exclude),
            keys=requests.keys,
        )  # fmt: skip
        return self._rows(numbers), scores.cpu().numpy()

    def _sample(self, temperature: float, requests: Requests, k: int, tokens: torch.Tensor, mask: torch.Tensor) -> Hits:
        from benchmark_generative.beam_search import sample

        numbers, scores = sample(
            self.network_, tokens, mask, self.trie_, k=k, temperature=temperature, seed=self.seed_, keys=requests.keys,
            exclude=self._in_trie(requests.exclude),
            candidates=None if requests.candidates is None else self._in_trie(requests.candidates),
        )  # fmt: skip
        return self._rows(numbers), scores.cpu().numpy()

    def _unconstrained(self, beams: int, requests: Requests, k: int, tokens: torch.Tensor, mask: torch.Tensor) -> Hits:
        from benchmark_generative.beam_search import unconstrained

        numbers, scores = unconstrained(self.network_, tokens, mask, self.trie_, beams=beams)
        items = self._rows(numbers)
        order = np.argsort(items == PAD, axis=1, kind="stable")  # IDs of no item go last
        items, values = (np.take_along_axis(a, order, 1) for a in (items, scores.cpu().numpy()))
        return items, np.where(items == PAD, -np.inf, values).astype(np.float32)

    def _candidates(self, requests: Requests, k: int, tokens: torch.Tensor, mask: torch.Tensor) -> Hits:
        """All candidates by their exact likelihood, unseen ones included, by the ID made for them."""
        return retrieval.best_candidates(self.network_, tokens, mask, self.vocabulary_.items, requests, k)

    def _in_trie(self, rows: Ragged) -> Ragged:
        """The same rows in the trie's numbers, without items that it lacks."""
        if self.unseen_ is None or not len(rows.values):
            return rows
        number = np.full(len(self.identifiers_), -1, dtype=np.int32)
        number[self.retrievable_] = np.arange(len(self.retrievable_))
        kept = rows.keep(number[rows.values] >= 0)
        return Ragged(kept.offsets, number[kept.values])

    def _rows(self, numbers: torch.Tensor) -> NDArray[np.int32]:
        """From the trie's numbers to the catalogue's rows."""
        places = numbers.cpu().numpy()
        return np.where(places >= 0, self.retrievable_[places], PAD).astype(np.int32)

    def _with_unseen(self, ranking: Ranking, requests: Requests, k: int, share: float | None) -> Ranking:
        if self.unseen_ is None or share is None or requests.candidates is not None:
            return ranking
        return self.unseen_.merged(ranking, requests, k, share)
