"""GenSAR: one T5 for search and recommendation that writes one of two identifiers of an item (Shi 2025).

Every item has a semantic and a collaborative identifier with a shared beginning (3.2). In a history of clicks, queries
and searched items, a token of the behaviour precedes each event's tokens; six kinds of examples are trained together
(3.3, and the ad-hoc search of the authors' code); beam search over the tree of the task's identifiers answers a request
(3.4). Axis letters: N items, R requests, B requests of a group, M beams, K depth of a ranking.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from benchmark import (
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
from benchmark_generative import retrieval
from benchmark_generative.identifiers.settings import JointSettings
from benchmark_torch.randomness import seeded
from benchmark_torch.validation import validate

if TYPE_CHECKING:
    import torch
    from transformers import T5ForConditionalGeneration

    from benchmark_generative.gensar_tasks import Writer
    from benchmark_generative.identifiers.joint import JointIdentifiers
    from benchmark_generative.identifiers.settings import Kind
    from benchmark_generative.retrieval import Hits
    from benchmark_generative.training import Pairs
    from benchmark_generative.trie import Trie

VALIDATION = "nDCG@10"
LOSS_EXAMPLES = 512
"""Training examples per task over which the losses among the facts are averaged."""
Trained = Literal["nrip", "nsqp", "nsip", "adhoc", "desc2id", "id2desc"]
WORDS = 8000
"""Size of the word vocabulary without a checkpoint: words of instructions, then of queries, then the most frequent of
item texts."""
SHARES: dict[Trained, float] = {"nrip": 1.0, "nsqp": 1.0, "nsip": 1.0, "adhoc": 0.0, "desc2id": 1.0, "id2desc": 1.0}
Pseudo = tuple[NDArray[np.object_], NDArray[np.int64]]
"""Texts of pseudo-queries, and the item that each is for."""
TASK_OF: dict[Task, str] = {"recommendation": "nrip", "search": "nsip"}


@dataclass(frozen=True)
class Collaborative:
    """Where collaborative vectors come from: a model of the harness, `use` with `params`, or a `file`."""

    use: str = ""
    """A model that offers item embeddings (the paper: unisar)."""
    params: dict[str, Any] = field(default_factory=dict)
    """Parameters of that model."""
    file: str = ""
    """A file of ready vectors."""

    def __post_init__(self) -> None:
        if bool(self.use) == bool(self.file) or (self.file and self.params):
            raise BenchmarkError(
                "give either a model, {use: sasrec, params: {…}}, or a file with a vector per item, {file: …}."
            )


@dataclass
class GenSar:
    """T5 that writes collaborative identifiers for recommendation and semantic ones for search (Shi 2025).

    The default sizes train in minutes; `checkpoint: t5-small` has the paper's.
    """

    identifiers: JointSettings = JointSettings()
    """How the identifiers are made; the paper's by default."""
    encoder: str = ""
    """What turns an item's text into its semantic vector: a sentence-transformers model by name or folder, or a file
    with ready vectors; empty is the bundled all-MiniLM-L6-v2. The paper: BAAI/bge-base-en-v1.5."""
    collaborative: Collaborative = Collaborative("sasrec")
    """Where collaborative vectors come from."""
    compare_identifiers: bool = False
    """Also build semantic-only and collaborative-only identifiers and record their statistics (4.4.2)."""
    tasks_trained: dict[Trained, NonNegative] = field(default_factory=dict)
    """Share of each task's examples that a pass over the data trains: 0 leaves the task out, 0.1 draws a new tenth in
    every pass, 2 repeats each. Tasks: nrip, nsqp, nsip (next recommended item, query, searched item), desc2id, id2desc,
    by default 1; and adhoc, search without a history, by default 1 with `doc2query` and otherwise 0."""
    examples_per_pass: dict[Trained, Count] = field(default_factory=dict)
    """Most examples of a task in one pass, drawn anew for each; caps the task's share. The authors' code has 100,000
    for nsip and 1,000 for all others except nrip."""
    behaviour_tokens: bool = True
    """<R_I>, <S_Q> and <S_I> in front of each event (3.2.4). Without them (Table 5) only the instruction distinguishes
    the tasks."""
    behaviour: Literal["input", "decoder"] = "input"
    """Where the token of the behaviour to predict goes: at the end of the input, as in the paper (3.4.2), or at the
    start of the decoder's output, as in the authors' code; the same in training and inference."""
    instructions: Literal["words", "tokens"] = "words"
    """How instructions are encoded: word by word, or every fixed part as one token, which is faster for a network
    without pretraining."""
    max_history: Count = 5
    """The model reads this many of the newest recommended clicks, and as many of the newest searches (A.4: 5); the
    suite's protocol may allow fewer."""
    doc2query: str = ""
    """A T5 that writes a pseudo-query for each item, by name or folder (the paper: doc2query/msmarco-t5-base-v1),
    fine-tuned on the training searches; empty: none."""
    checkpoint: str = ""
    """A T5 by name or folder (the paper: t5-small); empty: one of the sizes below with random weights."""
    d_model: Count = 64
    d_ff: Count = 256
    heads: Count = 4
    d_kv: Count = 16
    layers: Count = 2
    decoder_layers: Count = 2
    dropout: ProperFraction = 0.1
    steps: Count = 3000
    evaluate_every: Count = 500
    """Steps between two validations, rounded so that they divide `steps` evenly; each writes a checkpoint."""
    patience: Count = 5
    """Stop after this many validations without a better nDCG@10, mean over both tasks."""
    validation_requests: Count = 500
    """Validate on at most this many requests of each task, chosen by a hash."""
    batch_size: Count = 256
    learning_rate: Positive = 1e-3
    schedule: Literal["cosine", "inverse_sqrt", "linear", "constant"] = "cosine"
    warmup: ProperFraction = 0.01
    """Share of the steps in which the learning rate rises."""
    weight_decay: NonNegative = 0.0
    """0 makes AdamW the paper's Adam (A.4)."""
    beams: Count = 30
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of training; auto: bf16 on a GPU, fp32 elsewhere. bf16 also works on a CPU, but results then depend on whether
    the CPU multiplies bf16 natively. Ranking is always in fp32."""
    compile: bool = False
    """Train with torch.compile: for long training on a GPU."""

    tasks: ClassVar[frozenset[Task]] = frozenset(TASKS)
    requires: ClassVar[tuple[str, ...]] = ("torch", "transformers", "tokenizers", "accelerate", "sentence_transformers")

    network_: T5ForConditionalGeneration = field(init=False, repr=False, compare=False)
    identifiers_: JointIdentifiers = field(init=False, repr=False, compare=False)
    writer_: Writer = field(init=False, repr=False, compare=False)
    tries_: dict[str, Trie] = field(init=False, repr=False, compare=False)
    """The tree of identifiers to search, by task: nrip and nsip."""

    def __post_init__(self) -> None:
        if not any(self._shares.values()):
            raise BenchmarkError(f"`tasks_trained` is {self.tasks_trained}; at least one task needs a share above 0.")
        if self.doc2query and not self._shares["adhoc"]:
            raise BenchmarkError(
                "`doc2query` writes the examples of adhoc; give adhoc a share above 0 in `tasks_trained`, or "
                "leave out `doc2query`."
            )

    @property
    def _shares(self) -> dict[Trained, float]:
        """The share of every task."""
        return {**SHARES, "adhoc": 1.0 if self.doc2query else 0.0, **self.tasks_trained}

    def _share(self, task: Trained, n: int) -> float:
        """The share of a task's n examples that a pass trains."""
        return min(self._shares[task], self.examples_per_pass.get(task, np.inf) / n)

    @property
    def needs(self) -> tuple[tuple[str, Mapping[str, Any]], ...]:
        """The model that supplies item embeddings."""
        semantic_only = self.identifiers.kind == "semantic" and not self.compare_identifiers
        if semantic_only or self.collaborative.file:
            return ()
        return ((self.collaborative.use, self.collaborative.params),)

    def fit(self, train: Train, valid: Mapping[Task, Split], context: Context) -> None:
        """Make the identifiers, train on the examples of all tasks, and keep the checkpoint with the best nDCG@10 on
        `valid`, mean over the tasks.

        Raises BenchmarkError when there is nothing to train on, the identifiers cannot be made, or `checkpoint` or
        `doc2query` cannot be loaded.
        """
        import torch

        from benchmark_generative import training

        torch.set_num_threads(context.threads)
        self.identifiers_, kind_facts = self._identify(train, context)
        context.record("identifiers", {**self.identifiers_.facts, **({"alone": kind_facts} if kind_facts else {})})
        for remark in self.identifiers_.facts.get("remarks", ()):
            context.remark(remark)
        pseudo = None
        if self.doc2query:
            from benchmark_generative.doc2query import pseudo_queries

            pseudo = pseudo_queries(train, self.doc2query, context)
            context.record("pseudo_queries", len(pseudo[0]))
        cuda = torch.device(context.device).type == "cuda"
        with seeded(context):
            self._build(train, pseudo, context)
            context.record("parameters", sum(p.numel() for p in self.network_.parameters()))
            pairs = self._pairs(train, pseudo)
            shares = {task: self._share(task, len(examples.targets)) for task, examples in pairs.items()}
            context.record("examples_by_task", {task: len(examples.targets) for task, examples in pairs.items()})
            context.record("shares", shares)
            splits = {t: s for t in TASKS if (s := retrieval.sampled(valid.get(t), self.validation_requests))}
            epochs = max(1, round(self.steps / self.evaluate_every))
            every = round(self.steps / epochs)
            training.train(
                self.network_,
                list(pairs.values()),
                *self._ends,
                lambda: self._validate(splits),
                training.TrainSettings(
                    epochs=epochs,
                    batch_size=self.batch_size,
                    learning_rate=self.learning_rate,
                    weight_decay=self.weight_decay,
                    patience=self.patience,
                    warmup=self.warmup,
                    precision=("bf16" if cuda else "fp32") if self.precision == "auto" else self.precision,
                    schedule=self.schedule,
                    pairs_per_epoch=every * self.batch_size,
                    compile=self.compile,
                    shares=tuple(shares.values()),
                ),
                context,
            )
        context.record("losses", {task: self._loss(examples, context.seed) for task, examples in pairs.items()})

    def rank(self, requests: Requests, k: int) -> Ranking:
        """The likeliest items that the search finds, at most `beams`, with their log-likelihoods as scores.

        `candidates` are all scored exactly; the authors' code searches among them and can lose some on the way.
        """
        if not hasattr(self, "network_"):
            raise NotFittedError("gensar: rank was called before fit.")
        inputs = self.writer_.next_item(requests)
        decode = partial(self._search if requests.candidates is None else self._candidates, TASK_OF[requests.task])
        return retrieval.answer(self.network_, inputs, self._ends, requests, k, decode)

    @property
    def _ends(self) -> tuple[int, int]:
        return self.writer_.vocabulary.padding, self.writer_.vocabulary.end

    def _identify(self, train: Train, context: Context) -> tuple[JointIdentifiers, dict[str, Any]]:
        """The identifiers and, for `compare_identifiers`, facts about those of each kind of vectors alone."""
        from benchmark_generative.identifiers.joint import make_pair
        from benchmark_generative.vectors import item_vectors, read_vectors

        kind = self.identifiers.kind
        semantic = collaborative = None
        if kind != "collaborative" or self.compare_identifiers:
            semantic = item_vectors(train.catalog, self.encoder, device=context.device)
        if self.collaborative.file and (kind != "semantic" or self.compare_identifiers):
            collaborative = read_vectors(Path(self.collaborative.file).expanduser(), train.catalog.ids)
        elif self.needs:
            collaborative = context.item_embeddings(*self.needs[0])

        def made(kind: Kind) -> JointIdentifiers:
            return make_pair(
                semantic, collaborative, replace(self.identifiers, kind=kind), seed=context.seed, device=context.device,
                threads=context.threads, progress=lambda step, total, **values: context.progress(step, total),
                folder=context.shared or context.workdir,
            )  # fmt: skip

        kind_facts: dict[str, Any] = {}
        if self.compare_identifiers:
            kind_facts = {"semantic": made("semantic").facts["semantic"]}
            kind_facts["collaborative"] = made("collaborative").facts["collaborative"]
        return made(kind), kind_facts

    def _build(self, train: Train, pseudo: Pseudo | None, context: Context) -> None:
        """Build the network, the writer of its inputs and responses, and the trees of identifiers."""
        import torch

        from benchmark_generative import t5
        from benchmark_generative.gensar_tasks import Writer, phrases
        from benchmark_generative.gensar_vocabulary import Vocabulary, own_words
        from benchmark_generative.trie import Trie

        token_phrases = phrases(signs=False) if self.instructions == "tokens" else ()
        make_vocabulary = partial(Vocabulary.of, behaviours=self.behaviour_tokens, phrases=token_phrases)
        if self.checkpoint:
            network, words = t5.from_checkpoint(self.checkpoint)
            config: Any = network.config
            ends = (config.pad_token_id, config.eos_token_id)
            first = len(network.get_input_embeddings().weight)
            vocabulary = make_vocabulary(words, ends, first, self.identifiers_)
            t5.add_tokens(network, len(vocabulary.names), torch.Generator().manual_seed(context.seed))
        else:
            query_texts = [train.queries, *(() if train.events is None else (train.events.queries,)),
                     *(() if pseudo is None else (pseudo[0],))]  # fmt: skip
            words = own_words(np.concatenate(query_texts), train.catalog.texts, phrases(), WORDS)
            vocabulary = make_vocabulary(words, (0, 1), words.get_vocab_size(), self.identifiers_)
            # Smaller initial weights were worse. On the validation requests of MovieLens 100K in the laptop's sizes,
            # one fit each, nDCG@10 was, for these factors of the token table and of all other matrices, (1, 1) .107,
            # (.3, .3) .106, (.3, 1) .076 after 1,000 updates; with one decoder layer, three items of a history and
            # 1,500 updates (1, 1) .125, (.3, .3) .099.
            network = t5.from_scratch(
                vocabulary.size, self.d_model, self.d_ff, self.heads, self.layers, self.decoder_layers, self.dropout,
                d_kv=self.d_kv,
            )  # fmt: skip
        self.network_ = network.to(context.device)
        newest = train.capped(self.max_history)
        self.writer_ = Writer(vocabulary, self.behaviour, newest, newest)
        self.tries_ = {task: Trie.build(self.writer_.items(task)).to(context.device) for task in TASK_OF.values()}

    def _pairs(self, train: Train, pseudo: Pseudo | None) -> dict[Trained, Pairs]:
        """The training examples of each task that has any."""
        from benchmark_generative.gensar_tasks import examples

        by_task = {
            task: pairs
            for task, share in self._shares.items()
            if share > 0 and (pairs := examples(task, train, self.writer_, pseudo)) is not None
        }
        if not by_task:
            raise BenchmarkError(
                "gensar: the data set has no training example for any of the tasks of `tasks_trained`; it needs "
                "histories of at least two items, queries with relevant items, or item texts."
            )
        return by_task

    def _search(self, task: str, requests: Requests, k: int, tokens: torch.Tensor, mask: torch.Tensor) -> Hits:
        from benchmark_generative.beam_search import beam_search

        items, scores = beam_search(
            self.network_, tokens, mask, self.tries_[task], beams=self.beams, exclude=requests.exclude,
            keys=requests.keys,
        )  # fmt: skip
        return items.cpu().numpy(), scores.cpu().numpy()

    def _candidates(self, task: str, requests: Requests, k: int, tokens: torch.Tensor, mask: torch.Tensor) -> Hits:
        return retrieval.best_candidates(self.network_, tokens, mask, self.writer_.items(task), requests, k)

    def _validate(self, splits: Mapping[Task, Split]) -> dict[str, float]:
        """The mean nDCG@10 of the tasks, and each task's own if there are two."""
        return validate(self.rank, splits, VALIDATION)

    def _loss(self, pairs: Pairs, seed: int) -> float:
        """Mean negative log-likelihood of a token (equation 12), over a sample of a task's training examples."""
        import torch

        from benchmark_generative.training import IGNORED

        device, total, written = self.network_.device, 0.0, 0
        rng = np.random.default_rng(seed)
        chosen = torch.from_numpy(rng.permutation(len(pairs.targets))[:LOSS_EXAMPLES])
        self.network_.eval()
        with torch.inference_mode():
            for rows in torch.split(chosen, 64):
                tokens, mask = pairs.inputs.batch(rows, *self._ends)
                labels = pairs.targets[rows].long()
                tokens_written = int((labels != IGNORED).sum())
                loss = self.network_(
                    input_ids=tokens.to(device), attention_mask=mask.to(device), labels=labels.to(device)
                ).loss
                total, written = total + float(loss) * tokens_written, written + tokens_written
        return total / written
