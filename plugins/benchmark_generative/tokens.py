"""Token ids: words through a tokenizer, items as one token each behind them (Penha 2024, section 4).

Item tokens never pass through the tokenizer: a space or a strip rule there can merge or drop them. Sequences are
slices of one flat integer tensor, made once; a batch is cut out of it by index. Axis letters: P sequences, B
requests, L tokens.
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
"""The tokens of a vocabulary made from scratch that are no words, at T5's own positions: padding 0, end 1, unknown
2."""


def train_words(texts: Iterable[str]) -> tokenizers.Tokenizer:
    """A tokenizer whose tokens are the words of these texts, as `benchmark.words` finds them, and `SPECIALS`.

    Whole words and not pieces of them: a few hundred short queries are too little text to learn pieces from. Texts go
    through it by `encode` alone, which splits them.
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
    """The token ids of each text, its first `limit` ones: words where tokens are whole words, else by the tokenizer's
    own rules, as a checkpoint brings them."""
    whole = isinstance(tokenizer.model, tokenizers.models.WordLevel)
    rows = [words(str(text)) if whole else str(text) for text in texts]
    encoded = tokenizer.encode_batch(rows, is_pretokenized=whole, add_special_tokens=False)
    return Ragged.from_rows([one.ids[:limit] for one in encoded])


@dataclass(frozen=True)
class Sequences:
    """P token sequences: number p is `tokens[start[p] : start[p] + length[p]]`. All int64; start and length are
    (P,). `leading` (P,), where given, is a token before each of them, none where it is negative."""

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
        """Token ids (B, L) of these sequences with `eos` behind each, as T5 was trained, and their mask (B, L)."""
        length, start = self.length[rows][:, None], self.start[rows][:, None]  # (B, 1)
        leading = None if self.leading is None else self.leading[rows][:, None]
        if leading is not None:  # its place is in front of the first token
            length, start = length + (leading >= 0), start - (leading >= 0).long()
        column = torch.arange(int(length.max()) + 1, device=length.device)  # (L,)
        at = (start + column).clamp(min=0, max=max(len(self.tokens) - 1, 0))
        tokens = self.tokens[at] if len(self.tokens) else torch.full_like(at, pad)
        if leading is not None:
            tokens = torch.where((column == 0) & (leading >= 0), leading, tokens)
        tokens = torch.where(column < length, tokens, torch.where(column == length, eos, pad))
        return tokens, (column <= length).long()


def concat(parts: Sequence[Sequences]) -> Sequences:
    """All the sequences, one part's behind the other's. All of them have leading tokens, or none."""
    shifts = np.cumsum([0] + [len(part.tokens) for part in parts[:-1]])
    return Sequences(
        torch.cat([part.tokens for part in parts]),
        torch.cat([part.start + int(shift) for part, shift in zip(parts, shifts, strict=True)]),
        torch.cat([part.length for part in parts]),
        None if parts[0].leading is None else torch.cat([part.leading for part in parts if part.leading is not None]),
    )


@dataclass(frozen=True)
class Vocabulary:
    """What the tokens of a model mean: words below `first_item`, item i at `first_item + i`."""

    words: tokenizers.Tokenizer
    first_item: int
    items: int

    def text(self, texts: Iterable[str], limit: int) -> Ragged:
        """The word tokens of each text, its first `limit` ones."""
        return encode(self.words, texts, limit)

    def queries(self, texts: Iterable[str], limit: int) -> Sequences:
        return _sequences(self.text(texts, limit))

    def histories(self, histories: Ragged, limit: int) -> Sequences:
        """Each history's last `limit` items, oldest first."""
        return _sequences(histories.last(limit), self.first_item)

    def prefixes(self, prefixes: Prefixes, limit: int) -> Sequences:
        """As `histories`, for training examples; their items are stored once, however many prefixes share them."""
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
