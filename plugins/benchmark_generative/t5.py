"""T5 models: built with random weights, or loaded from a checkpoint and extended by item tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import AutoConfig, AutoTokenizer, T5Config, T5ForConditionalGeneration
from transformers.utils import logging

from benchmark import BenchmarkError

if TYPE_CHECKING:
    import tokenizers


def from_scratch(
    vocabulary: int,
    d_model: int,
    d_ff: int,
    heads: int,
    layers: int,
    decoder_layers: int,
    dropout: float,
    d_kv: int | None = None,
    table_init: float = 1.0,
    layer_init: float = 1.0,
) -> T5ForConditionalGeneration:
    """A T5 (version 1.0: ReLU, one table for input and output) with random weights from torch's generator.

    `d_kv` is a head's width, by default `d_model` / heads. `table_init` and `layer_init` multiply transformers' initial
    weights: the token table from N(0, 1), every other matrix with a standard deviation of at most one over the root of
    its inputs. Norms always start at 1.
    """
    config = T5Config(
        vocab_size=vocabulary,
        d_model=d_model,
        d_kv=d_kv or d_model // heads,
        d_ff=d_ff,
        num_heads=heads,
        num_layers=layers,
        num_decoder_layers=decoder_layers,
        dropout_rate=dropout,
        decoder_start_token_id=0,
        # The position bias, having a gradient, keeps fused attention from its fast path: 110 ms a step against 87.
        attn_implementation="eager",
    )
    model = T5ForConditionalGeneration(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight *= table_init if weight is model.shared.weight else layer_init
    return model


def from_checkpoint(name: str) -> tuple[T5ForConditionalGeneration, tokenizers.Tokenizer]:
    """A pretrained T5, in full precision however it was saved, and its tokenizer, by name on the Hugging Face hub or by
    folder.

    Raises BenchmarkError if it cannot be loaded or is not a T5.
    """
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(name)
        if config.model_type != "t5":
            raise BenchmarkError(
                f"checkpoint '{name}' is a {config.model_type} model; a T5 is needed, such as google/flan-t5-base."
            )
        model = T5ForConditionalGeneration.from_pretrained(name, dtype=torch.float32)
        words = AutoTokenizer.from_pretrained(name).backend_tokenizer
    except (OSError, ValueError, AttributeError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise BenchmarkError(
            f"checkpoint '{name}' cannot be loaded: {reason[0]} It must be a folder with config.json, "
            "model.safetensors and tokenizer.json, or a name on the Hugging Face hub, which must be reachable. "
            f"Without a network, get it elsewhere (hf download {name} --local-dir FOLDER), copy the folder here, and "
            "set `checkpoint: FOLDER`; leave `checkpoint` empty to train a small model from scratch."
        ) from error
    finally:
        if bars:
            logging.enable_progress_bar()
    words.no_truncation()
    words.no_padding()
    return model, words


@torch.no_grad()
def add_tokens(model: T5ForConditionalGeneration, count: int, generator: torch.Generator) -> int:
    """Append `count` tokens to the vocabulary and return the first one's id.

    New input rows have the spread of the old ones; new rows of an untied head are small, since flan-t5 does not scale
    the head's input. transformers' own method starts all new rows equal.
    """
    inputs, head = model.get_input_embeddings().weight, model.lm_head.weight
    tied = inputs.data_ptr() == head.data_ptr()
    if not tied:
        # transformers 5 forces this flag to true when a configuration is read, and resizing would then replace the
        # checkpoint's own head by its input table.
        model.config.tie_word_embeddings = False
    old = len(inputs)
    spread = inputs.float().std(dim=0).cpu()
    model.resize_token_embeddings(old + count, mean_resizing=False)
    inputs, head = model.get_input_embeddings().weight, model.lm_head.weight
    new = torch.randn(count, inputs.shape[1], generator=generator) * spread
    inputs[old:] = new.to(inputs)
    if not tied:
        head[old:] = (torch.randn(count, head.shape[1], generator=generator) * 0.02).to(head)
    return old
