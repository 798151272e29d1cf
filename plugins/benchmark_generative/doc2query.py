"""Pseudo-queries for items, written by a T5 that writes queries for a text (doc2query; Shi 2025, A.4)."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark import Context, Train
from benchmark_torch.randomness import seeded

BATCH = 64
MAX_TEXT_TOKENS = 256
MAX_QUERY_TOKENS = 32
EPOCHS, LEARNING_RATE = 1, 1e-4
"""Of fine-tuning on the training searches, of which the paper says only that it is done."""


def pseudo_queries(train: Train, checkpoint: str, context: Context) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Texts (P,), one for each item with a text (Shi 2025, A.4, on Amazon), and the rows of these items.

    `checkpoint` is a T5 by name or folder, such as doc2query/msmarco-t5-base-v1; it first learns from the training
    queries and the items that were found with them. Queries are sampled (of the 10 likeliest words those with 0.95 of
    the probability, as the authors do). They are cached in the folder of the data set, so that all models with the same
    settings share them. Raises BenchmarkError if the checkpoint cannot be loaded.
    """
    from benchmark_generative.vectors import digests

    texts = [str(text) for text in train.catalog.texts]
    queries = [str(query) for query in train.queries]
    folder = Path(checkpoint)
    identity = digests(folder) if folder.is_dir() else [checkpoint]
    device = context.device.partition(":")[0]
    key = json.dumps([identity, context.seed, device, texts, queries])
    pairs = (train.searches.rows, train.searches.values)
    digest = hashlib.sha256(key.encode() + b"".join(np.asarray(part, dtype=np.int64).tobytes() for part in pairs))
    kept = Path(context.shared or context.workdir) / f"pseudo-queries-{digest.hexdigest()[:16]}.json"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with kept.with_name(f".{kept.stem}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # released with the file, even if the process dies
            if not kept.is_file():
                made = _written(train, checkpoint, texts, queries, context)
                draft = kept.with_name(f".{kept.name}.{os.getpid()}")
                draft.write_text(json.dumps(made))
                draft.replace(kept)
    written = np.array(json.loads(kept.read_text()), dtype=object)
    items = np.flatnonzero(written != "")
    return written[items], items


def _written(
    train: Train, checkpoint: str, texts: Sequence[str], queries: Sequence[str], context: Context
) -> list[str]:
    """A query for each item, empty for one without a text."""
    import torch

    from benchmark_generative import t5, training
    from benchmark_generative.gensar_vocabulary import Slices, joined, sequences
    from benchmark_generative.tokens import Vocabulary

    network, words = t5.from_checkpoint(checkpoint)
    config = network.config
    vocabulary = Vocabulary(words, config.vocab_size, 0)
    inputs = vocabulary.queries(texts, MAX_TEXT_TOKENS)
    network.to(context.device)
    cuda = torch.device(context.device).type == "cuda"
    with seeded(context):
        rows_with_text = np.flatnonzero((inputs.length > 0).numpy()[train.searches.values])
        if len(rows_with_text):
            query_tokens = Slices.of(vocabulary.text(queries, MAX_QUERY_TOKENS)).take(
                train.searches.rows[rows_with_text]
            )
            written = joined([query_tokens, Slices.repeated([config.eos_token_id], len(query_tokens.start))])
            item_tokens = Slices.of(vocabulary.text(texts, MAX_TEXT_TOKENS)).take(train.searches.values[rows_with_text])
            training.train(
                network,
                [
                    training.Pairs(
                        sequences(joined([item_tokens])),
                        torch.from_numpy(written.padded(int(written.lengths.max()), pad=training.IGNORED)),
                    )
                ],
                config.pad_token_id,
                config.eos_token_id,
                dict,
                training.TrainSettings(
                    epochs=EPOCHS,
                    batch_size=BATCH,
                    learning_rate=LEARNING_RATE,
                    weight_decay=0.01,
                    patience=EPOCHS,
                    warmup=0.1,
                    precision="bf16" if cuda else "fp32",
                ),
                # Keep its checkpoints apart from the model's, and its loss out of the model's curve.
                replace(context, workdir=context.workdir / "doc2query", facts={}, curve=[], on_progress=None),
            )
        torch.manual_seed(context.seed)
        network.eval()
        inputs = inputs.to(context.device)
        by_item = [""] * len(texts)
        for chosen in torch.split((inputs.length > 0).nonzero().squeeze(1), BATCH):
            if not len(chosen):
                break
            tokens, mask = inputs.batch(chosen, config.pad_token_id, config.eos_token_id)
            written_ids = network.generate(
                input_ids=tokens, attention_mask=mask, do_sample=True, top_p=0.95, top_k=10,
                max_new_tokens=MAX_QUERY_TOKENS,
            ).cpu().numpy()  # fmt: skip
            samples = words.decode_batch(written_ids.tolist(), skip_special_tokens=True)
            for row, text in zip(chosen.tolist(), samples, strict=True):
                by_item[row] = text.strip()
    return by_item
