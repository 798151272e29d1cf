"""Token ids: a tokenizer's words, then one token per item (Penha 2024, section 4).

Item tokens never pass through the tokenizer, whose rules about spaces could merge or drop them. Sequences are slices of
one flat integer tensor, made once; a batch is indexed out of it. Axis letters: P sequences, B requests, L tokens.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import tokenizers
import torch
from torch import Tensor

from benchmark import Prefixes, Ragged, words

SPECIALS = ("<pad>", "</s>", "<unk>")
"""The special tokens of a vocabulary made from scratch, at T5's positions: padding 0, end 1, unknown 2."""


def train_words(texts: Iterable[str]) -> tokenizers.Tokenizer:
    """A tokenizer whose tokens are the words of these texts, as `benchmark.words` finds them, and `SPECIALS`.

    Whole words, since a few hundred short queries are too little text to learn subwords from. Use it through `encode`,
    which splits texts into words.
    """
    trained = tokenizers.Tokenizer(tokenizers.models.WordLevel(unk_token=SPECIALS[2]))
    trainer = tokenizers.trainers.WordLevelTrainer(
        vocab_size=sys.maxsize,  # all words; the default keeps the 30,000 most frequent ones
        special_tokens=list(SPECIALS),
        show_progress=False,
    )
    trained.train_from_iterator((words(str(text)) for text in texts), trainer)
    return trained


def encode(tokenizer: tokenizers.Tokenizer, texts: Iterable[str], limit: int) -> Ragged:
    """The first `limit` token ids of each text, split into words for a tokenizer of `train_words`, otherwise by a
    checkpoint's own rules."""
    whole = isinstance(tokenizer.model, tokenizers.models.WordLevel)
    rows = [words(str(text)) if whole else str(text) for text in texts]
    encoded = tokenizer.encode_batch(rows, is_pretokenized=whole, add_special_tokens=False)
    return Ragged.from_rows([one.ids[:limit] for one in encoded])


@dataclass(frozen=True)
class Sequences:
    """P token sequences: number p is `tokens[start[p] : start[p] + length[p]]`. All int64; start and length are
    (P,). `leading` (P,), if any, is a token before each of them; negative: none."""

    tokens: Tensor
    start: Tensor
    length: Tensor
    leading: Tensor | None = None

    def __len__(self) -> int:
        return len(self.start)

    def to(self, device: str | torch.device) -> Sequences:
        leading = None if self.leading is None else self.leading.to(device)
        return Sequences(self.tokens.to(device), self.start.to(device), self.length.to(device), leading)

    def batch(self, rows: Tensor, pad: int, eos: int) -> tuple[Tensor, Tensor]:
        """Token ids (B, L) of these sequences, each ended by `eos` as in T5's training, and their mask (B, L)."""
        length, start = self.length[rows][:, None], self.start[rows][:, None]  # (B, 1)
        leading = None if self.leading is None else self.leading[rows][:, None]
        if leading is not None:  # its place is in front of the first token
            length, start = length + (leading >= 0), start - (leading >= 0).long()
        column = torch.arange(int(length.max()) + 1, device=length.device)  # (L,)
        index = (start + column).clamp(min=0, max=max(len(self.tokens) - 1, 0))
        tokens = self.tokens[index] if len(self.tokens) else torch.full_like(index, pad)
        if leading is not None:
            tokens = torch.where((column == 0) & (leading >= 0), leading, tokens)
        tokens = torch.where(column < length, tokens, torch.where(column == length, eos, pad))
        return tokens, (column <= length).long()


def concat(parts: Sequence[Sequences]) -> Sequences:
    """The sequences of all parts, in order. Either all parts have leading tokens, or none."""
    shifts = np.cumsum([0] + [len(part.tokens) for part in parts[:-1]])
    return Sequences(
        torch.cat([part.tokens for part in parts]),
        torch.cat([part.start + int(shift) for part, shift in zip(parts, shifts, strict=True)]),
        torch.cat([part.length for part in parts]),
        None if parts[0].leading is None else torch.cat([part.leading for part in parts if part.leading is not None]),
    )


@dataclass(frozen=True)
class Vocabulary:
    """A model's tokens: words below `first_item`, item i at `first_item + i`."""

    words: tokenizers.Tokenizer
    first_item: int
    items: int

    def text(self, texts: Iterable[str], limit: int) -> Ragged:
        """The first `limit` word tokens of each text."""
        return encode(self.words, texts, limit)

    def queries(self, texts: Iterable[str], limit: int) -> Sequences:
        return _sequences(self.text(texts, limit))

    def histories(self, histories: Ragged, limit: int) -> Sequences:
        """Each history's last `limit` items, oldest first."""
        return _sequences(histories.last(limit), self.first_item)

    def prefixes(self, prefixes: Prefixes, limit: int) -> Sequences:
        """Like `histories`, for training examples; items are stored once, however many prefixes share them."""
        start = np.maximum(prefixes.start, prefixes.end - limit)
        return Sequences(
            torch.from_numpy(prefixes.values.astype(np.int64)) + self.first_item,
            torch.as_tensor(start),
            torch.as_tensor(prefixes.end - start),
        )


def _sequences(rows: Ragged, shift: int = 0) -> Sequences:
    return Sequences(
        torch.as_tensor(rows.values, dtype=torch.int64) + shift,
        torch.as_tensor(rows.offsets[:-1]),
        torch.as_tensor(rows.lengths),
    )
