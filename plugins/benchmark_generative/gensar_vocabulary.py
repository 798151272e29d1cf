"""The tokens of GenSAR: words, behaviours, and the codes of both identifiers (Shi 2025, 3.2.4 and 3.3).

Codes never pass through the tokenizer of the words: rows of token ids are put together from arrays. Axis letters: N
items, L tokens of an identifier, P rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tokenizers
import torch
from numpy.typing import NDArray

from benchmark import QUERY, RECOMMENDED, SEARCHED, Events, Ragged
from benchmark_generative.identifiers.joint import JointIdentifiers
from benchmark_generative.tokens import SPECIALS, Sequences, encode, train_words

BEHAVIOURS = {RECOMMENDED: "<R_I>", QUERY: "<S_Q>", SEARCHED: "<S_I>"}
SEPARATOR = ";"
_WORD_OR_SIGN = re.compile(r"\w+(?:[-']\w+)*|[^\w\s]")

Longs = NDArray[np.int64]


class Slices(NamedTuple):
    """P rows of tokens: row p is `values[start[p] : start[p] + length[p]]`; rows may overlap."""

    values: NDArray[np.int32]
    start: Longs
    length: Longs

    @classmethod
    def of(cls, rows: Ragged) -> Slices:
        return cls(rows.values, rows.offsets[:-1], rows.lengths)

    @classmethod
    def repeated(cls, row: Sequence[int] | NDArray[np.integer], n: int) -> Slices:
        """The same row n times."""
        return cls(np.asarray(row, dtype=np.int32), np.zeros(n, dtype=np.int64), np.full(n, len(row), dtype=np.int64))

    @classmethod
    def table(cls, rows: Longs) -> Slices:
        """The rows of an array (P, L)."""
        n, width = rows.shape
        return cls(rows.astype(np.int32).reshape(-1), np.arange(n) * width, np.full(n, width, dtype=np.int64))

    @classmethod
    def stacked(cls, parts: Sequence[Slices]) -> Slices:
        """The rows of the first part, then those of the next."""
        return cls.of(
            Ragged.from_lengths(
                np.concatenate([part.length for part in parts]),
                np.concatenate([joined([part]).values for part in parts]),
            )
        )

    def take(self, rows: NDArray[np.integer] | slice) -> Slices:
        return Slices(self.values, self.start[rows], self.length[rows])

    def where(self, present: NDArray[np.bool_]) -> Slices:
        """The rows, emptied where `present` (P,) is false."""
        return self._replace(length=np.where(present, self.length, 0))


def joined(parts: Sequence[Slices]) -> Ragged:
    """Row p of the first part, then row p of the next, and so on."""
    length = np.sum([part.length for part in parts], axis=0)
    offsets = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
    values = np.empty(offsets[-1], dtype=np.int32)
    offset = offsets[:-1].copy()
    for part in parts:
        count = int(part.length.sum())
        within = np.arange(count) - np.repeat(np.cumsum(part.length) - part.length, part.length)
        values[np.repeat(offset, part.length) + within] = part.values[np.repeat(part.start, part.length) + within]
        offset += part.length
    return Ragged(offsets, values)


def sequences(rows: Ragged) -> Sequences:
    return Sequences(torch.from_numpy(rows.values), torch.from_numpy(rows.offsets[:-1]), torch.from_numpy(rows.lengths))


@dataclass(frozen=True)
class Vocabulary:
    """`names` are the tokens that follow the words, from token `first` on; `semantic` and `collaborative` int64 (N, L)
    are the code tokens of every item. `padding` and `end` are tokens among the words. `phrases` are parts of
    instructions that are one token each, the first of `names`; empty: they are encoded as words."""

    words: tokenizers.Tokenizer
    padding: int
    end: int
    first: int
    names: tuple[str, ...]
    semantic: Longs
    collaborative: Longs
    behaviours: bool = True
    phrases: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        words: tokenizers.Tokenizer,
        ends: tuple[int, int],
        first: int,
        identifiers: JointIdentifiers,
        *,
        behaviours: bool = True,
        phrases: Sequence[str] = (),
    ) -> Vocabulary:
        """Codes are named as in the paper: <M_1_10> are shared, <S_1_10> semantic, <R_1_10> collaborative ones.

        `ends` are the padding and the end token. Where both identifiers of an item are the same, all codes are shared.
        """
        names = [*phrases, *(BEHAVIOURS.values() if behaviours else ())]
        tables = []
        shared, both = identifiers.shared, (identifiers.semantic, identifiers.collaborative)
        starts: list[int] = []

        def level(letter: str, number: int, size: int) -> int:
            starts.append(first + len(names))
            names.extend(f"<{letter}_{number}_{code}>" for code in range(size))
            return starts[-1]

        common = [level("M", i + 1, size) for i, size in enumerate(both[0].sizes[:shared])]
        for letter, ids in zip("SR", both, strict=True):
            specific = [level(letter, i + 1, size) for i, size in enumerate(ids.sizes[shared:])]
            tables.append(ids.codes.astype(np.int64) + np.array([*common, *specific]))
        return cls(words, *ends, first, tuple(names), tables[0], tables[1], behaviours, tuple(phrases))

    @property
    def size(self) -> int:
        """The number of tokens."""
        return self.first + len(self.names)

    @property
    def items(self) -> int:
        return len(self.semantic)

    @property
    def tables(self) -> list[Longs]:
        """The items' distinct identifiers: semantic and collaborative, or one table if they are the same."""
        same = np.array_equal(self.semantic, self.collaborative)
        return [self.semantic] if same else [self.semantic, self.collaborative]

    def behaviour(self, kind: int) -> list[int]:
        """The token of a kind of event; empty without behaviour tokens."""
        return [self.first + self.names.index(BEHAVIOURS[kind])] if self.behaviours else []

    def text(self, texts: Iterable[str], limit: int) -> Ragged:
        """The first `limit` word tokens of each text."""
        return encode(self.words, texts, limit)

    def phrase(self, text: str) -> list[int]:
        """A fixed part of an instruction: its own token if it is one of `phrases`, otherwise its words and signs."""
        if self.phrases:
            return [self.first + self.phrases.index(text)] if text in self.phrases else []
        if isinstance(self.words.model, tokenizers.models.WordLevel):  # its words exclude signs
            numbers = [self.words.token_to_id(word) for word in _WORD_OR_SIGN.findall(text.lower())]
            return [token for token in numbers if token is not None]
        ids: list[int] = self.words.encode(text, add_special_tokens=False).ids
        return ids

    def history(self, events: Events, limit: int) -> Slices:
        """A row for each history: behaviour-aware identifiers (equation 11), oldest first, with `;` between them.

        A query has at most `limit` tokens.
        """
        separator, n = self.phrase(SEPARATOR), self.items
        number, query = np.unique(events.value[events.kind == QUERY], return_inverse=True)
        query_words = self.text(events.queries[number], limit)
        kinds = ((RECOMMENDED, Slices.table(self.collaborative)), (SEARCHED, Slices.table(self.semantic)),
                 (QUERY, Slices.of(query_words)))  # fmt: skip
        store = joined(
            [
                Slices.stacked([Slices.repeated(self.behaviour(kind), len(row.start)) for kind, row in kinds]),
                Slices.stacked([row for _, row in kinds]),
                Slices.repeated(separator, 2 * n + len(query_words)),
            ]
        )
        rows = events.value.astype(np.int64) + np.where(events.kind == SEARCHED, n, 0)
        rows[events.kind == QUERY] = 2 * n + query
        words = store.take(rows)
        start, stop = words.offsets[events.offsets[:-1]], words.offsets[events.offsets[1:]]
        return Slices(words.values, start, np.maximum(stop - start - len(separator), 0))

    def decode(self, tokens: Iterable[int]) -> str:
        """Tokens as text, with a space between any two."""
        texts: list[str] = []
        run: list[int] = []
        for token in [*(int(t) for t in tokens), -1]:
            if 0 <= token < self.first:
                run.append(token)
                continue
            if run:
                texts.append(self.words.decode(run, skip_special_tokens=False))
                run = []
            if token >= 0:
                texts.append(self.names[token - self.first])
        return " ".join(texts)


def own_words(queries: Iterable[str], texts: Iterable[str], phrases: Sequence[str], limit: int) -> tokenizers.Tokenizer:
    """A tokenizer of at most `limit` words: all that instructions consist of, signs included, then those of queries,
    then those of item texts, the frequent ones first. Signs are tokens of instructions only."""
    words = train_words([])
    kept = dict.fromkeys([*SPECIALS, *(w for text in phrases for w in _WORD_OR_SIGN.findall(text.lower()))])
    limit = max(limit, len(kept))
    for source in (queries, texts):
        vocabulary = train_words([str(text) for text in source]).get_vocab()
        kept |= dict.fromkeys(sorted(vocabulary, key=vocabulary.__getitem__))
    words.model = tokenizers.models.WordLevel(
        {word: number for number, word in zip(range(limit), kept, strict=False)}, unk_token=SPECIALS[2]
    )
    return words
