"""GenSAR's training examples, instructions and responses (Shi 2025, 3.3), and the inputs of requests (3.4.2).

Instructions are worded as in the paper, except the sentence about the query, whose box is missing from the paper's
text. A sentence with nothing to fill in, such as an empty history, is left out. Everything is columnar: no loop is over
examples. Axis letters: N items, P examples, R requests, L tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark import QUERY, RECOMMENDED, SEARCHED, Events, Ragged, Requests, Train
from benchmark_generative.gensar_vocabulary import SEPARATOR, Longs, Slices, Vocabulary, joined, sequences
from benchmark_generative.tokens import Sequences
from benchmark_generative.training import IGNORED, Pairs

_HISTORY = "Below is the user's interaction history: {history}."
_QUERY = "The user's search query is {query}."
_FIND = "Please predict the next item the user might click."
INSTRUCTIONS: dict[str, tuple[str, ...]] = {
    "nrip": (_HISTORY, "Please recommend the next item the user is likely to click."),
    "nsqp": (_HISTORY, "Please predict the next query the user might want to search."),
    "nsip": (_HISTORY, _QUERY, _FIND),
    "adhoc": (_QUERY, _FIND),
    "desc2id": ('Using the provided description "{description}", predict the corresponding item.',),
    "id2desc": ("Please provide a description for the item {item}.",),
}
"""The sentences of each task's instruction: next recommended item (3.3.1), next query (3.3.2), next searched item
(3.3.3), an item for a query without a history (the authors' code), identifiers and descriptions (3.3.4)."""
BEHAVIOUR = {"nrip": RECOMMENDED, "nsqp": QUERY, "nsip": SEARCHED, "adhoc": SEARCHED}
"""The kind of event that a task's response is; desc2id and id2desc have none."""
NO_EVENTS = np.empty(0, dtype=object)


def _parts(sentence: str) -> list[str]:
    """The sentence split into fixed parts and {fields}."""
    return [part.strip() for part in re.split(r"(\{\w+\})", sentence) if part.strip()]


def phrases(*, signs: bool = True) -> list[str]:
    """The fixed parts of all instructions, and the separator of a history's events; without `signs`, no parts that are
    punctuation alone."""
    parts = [part for sentences in INSTRUCTIONS.values() for sentence in sentences for part in _parts(sentence)]
    fixed = [part for part in parts if part[0] != "{" and (signs or any(c.isalpha() for c in part))]
    return list(dict.fromkeys([*fixed, SEPARATOR]))


@dataclass(frozen=True)
class Writer:
    """Writes instructions and responses in the tokens of `vocabulary`.

    `behaviour` says where the token of a response's behaviour goes: at the end of the instruction (`input`) or at the
    start of the response (`decoder`), in training and inference alike. `clicks` and `searches` limit how many of a
    history's newest events are read, `query_tokens` and `description_tokens` the words of a text.
    """

    vocabulary: Vocabulary
    behaviour: Literal["input", "decoder"]
    clicks: int
    searches: int
    query_tokens: int = 16
    description_tokens: int = 32

    def instructions(self, task: str, n: int, **texts: Slices) -> Sequences:
        """The inputs of n examples; `texts` fills the fields of the instruction, one row per example."""
        parts: list[Slices] = []
        for sentence in INSTRUCTIONS[task]:
            pieces = [
                texts[piece[1:-1]] if piece[0] == "{" else Slices.repeated(self.vocabulary.phrase(piece), n)
                for piece in _parts(sentence)
            ]
            present = np.ones(n, dtype=bool)
            for name in re.findall(r"\{(\w+)\}", sentence):
                present &= texts[name].length > 0
            parts.extend(piece.where(present) for piece in pieces)
        if self.behaviour == "input":
            parts.append(Slices.repeated(self._behaviour(task), n))
        return sequences(joined(parts))

    def responses(self, task: str, row: Slices, *, end: bool = False) -> Ragged:
        """The targets; texts get an end token."""
        n = len(row.start)
        ends = [Slices.repeated([self.vocabulary.end], n)] if end else []
        return joined([Slices.repeated(self.lead(task), n), row, *ends])

    def lead(self, task: str) -> list[int]:
        """The tokens that every response of the task begins with."""
        return self._behaviour(task) if self.behaviour == "decoder" else []

    def items(self, task: str) -> Longs:
        """(N, L) every item as a response to a request of this task: the sequences that a search chooses from."""
        table = self.vocabulary.collaborative if task == "nrip" else self.vocabulary.semantic
        return np.concatenate([np.tile(np.array(self.lead(task), dtype=np.int64), (len(table), 1)), table], axis=1)

    def queries(self, texts: NDArray[np.object_], number: NDArray[np.integer] | None = None) -> Slices:
        """The words of the queries, or of those with these numbers, a row for each."""
        number = np.arange(len(texts)) if number is None else number
        used, row = np.unique(number, return_inverse=True)
        return Slices.of(self.vocabulary.text(texts[used], self.query_tokens)).take(row)

    def asked(self, row: Slices) -> Slices:
        """Queries as they appear in an instruction, after their behaviour token."""
        lead = Slices.repeated(self.vocabulary.behaviour(QUERY), len(row.start))
        return Slices.of(joined([lead, row]))

    def next_item(self, requests: Requests) -> Sequences:
        """The inputs of requests (R): for a search the history and the query."""
        if requests.task == "search":
            query = self.asked(self.queries(requests.queries))
            return self.instructions("nsip", len(requests), history=self.history(requests), query=query)
        return self.instructions("nrip", len(requests), history=self.history(requests))

    def history(self, requests: Requests) -> Slices:
        return self.history_of(clicked(requests.histories) if requests.events is None else requests.events)

    def history_of(self, events: Events) -> Slices:
        return self.vocabulary.history(events.newest(self.clicks, self.searches), self.query_tokens)

    def _behaviour(self, task: str) -> list[int]:
        return self.vocabulary.behaviour(BEHAVIOUR[task]) if task in BEHAVIOUR else []


def examples(
    task: str, train: Train, writer: Writer, pseudo_queries: tuple[NDArray[np.object_], NDArray[np.int64]] | None = None
) -> Pairs | None:
    """The training examples of a task; None where the data have none.

    Without a joint log there are no next queries, and searches have no history. `adhoc` trains on `pseudo_queries`
    (texts and their items) if given. Otherwise it trains on the training queries: on every click of a joint log, so
    that a pair counts as often as it was clicked, or on every judged pair once.
    """
    made = _MAKERS[task](train, writer, pseudo_queries) if task == "adhoc" else _MAKERS[task](train, writer)
    if made is None or not len(made[0]):
        return None
    inputs, targets = made
    width = int(targets.lengths.max())
    return Pairs(inputs, torch.from_numpy(targets.padded(width, pad=IGNORED)))


Made = tuple[Sequences, Ragged] | None


def _next_recommended(train: Train, writer: Writer) -> Made:
    if train.events is None:
        prefixes = train.prefixes()
        newest = replace(prefixes, start=np.maximum(prefixes.start, prefixes.end - writer.clicks))
        past, item = clicked(newest.histories()), prefixes.targets
    else:
        targets = train.event_targets(RECOMMENDED)
        past, item = train.events.histories(targets, writer.clicks, writer.searches), train.events.value[targets]
    history = writer.history_of(past)
    codes = Slices.table(writer.vocabulary.collaborative).take(item)
    return writer.instructions("nrip", len(item), history=history), writer.responses("nrip", codes)


def _next_query(train: Train, writer: Writer) -> Made:
    if train.events is None:
        return None
    targets = train.event_targets(QUERY)
    history = writer.history_of(train.events.histories(targets, writer.clicks, writer.searches))
    words = writer.queries(train.events.queries, train.events.value[targets])
    rows = np.flatnonzero((history.length > 0) & (words.length > 0))
    return (
        writer.instructions("nsqp", len(rows), history=history.take(rows)),
        writer.responses("nsqp", words.take(rows), end=True),
    )


def _next_found(train: Train, writer: Writer) -> Made:
    if train.events is None:
        return _found("nsip", writer, writer.queries(train.queries, train.searches.rows), train.searches.values)
    targets = train.event_targets(SEARCHED)
    history = writer.history_of(train.events.histories(targets, writer.clicks, writer.searches))
    words = writer.queries(train.events.queries, train.events.queries_of(targets))
    return _found("nsip", writer, words, train.events.value[targets], history)


def _ad_hoc(train: Train, writer: Writer, pseudo_queries: tuple[NDArray[np.object_], NDArray[np.int64]] | None) -> Made:
    if pseudo_queries is None and train.events is not None:
        targets = train.events.positions(SEARCHED)
        words = writer.queries(train.events.queries, train.events.queries_of(targets))
        return _found("adhoc", writer, words, train.events.value[targets])
    if pseudo_queries is None:
        return _found("adhoc", writer, writer.queries(train.queries, train.searches.rows), train.searches.values)
    texts, items = pseudo_queries
    return _found("adhoc", writer, writer.queries(texts), items)


def _found(task: str, writer: Writer, words: Slices, item: NDArray[np.integer], history: Slices | None = None) -> Made:
    n = len(item)
    history = Slices.repeated([], n) if history is None else history
    codes = Slices.table(writer.vocabulary.semantic).take(item)
    histories = {"history": history} if task == "nsip" else {}
    return writer.instructions(task, n, **histories, query=writer.asked(words)), writer.responses(task, codes)


def _described(train: Train, writer: Writer) -> tuple[Slices, Slices]:
    """Every item's description and codes, once per identifier; items without a description are left out."""
    texts = [str(text).rstrip(" .") for text in train.catalog.texts]
    words = Slices.of(writer.vocabulary.text(texts, writer.description_tokens))
    rows = np.flatnonzero(words.length > 0)
    tables = writer.vocabulary.tables
    codes = Slices.stacked([Slices.table(table).take(rows) for table in tables])
    return words.take(np.tile(rows, len(tables))), codes


def _to_identifier(train: Train, writer: Writer) -> Made:
    words, codes = _described(train, writer)
    return (
        writer.instructions("desc2id", len(words.start), description=words),
        writer.responses("desc2id", codes),
    )


def _to_description(train: Train, writer: Writer) -> Made:
    words, codes = _described(train, writer)
    stop = Slices.repeated(writer.vocabulary.phrase("."), len(words.start))
    descriptions = Slices.of(joined([words, stop]))
    return writer.instructions("id2desc", len(descriptions.start), item=codes), writer.responses(
        "id2desc", descriptions, end=True
    )


_MAKERS: dict[str, Callable[..., Made]] = {
    "nrip": _next_recommended,
    "nsqp": _next_query,
    "nsip": _next_found,
    "adhoc": _ad_hoc,
    "desc2id": _to_identifier,
    "id2desc": _to_description,
}


def clicked(histories: Ragged) -> Events:
    """Histories of recommended items as events."""
    n = len(histories.values)
    kind = np.full(n, RECOMMENDED, dtype=np.int8)
    return Events(histories.offsets, kind, histories.values, NO_EVENTS, np.arange(n, dtype=np.int64))
