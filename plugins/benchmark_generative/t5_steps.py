"""T5 inference by steps for many beams: the encoder without padding, and a decoder whose beams share their request's
encoder states.

What `T5ForConditionalGeneration` computes in eval mode, from its weights, to rounding. The encoder's linear maps see
only real tokens. A request's cross-attention keys and values exist once: its beams are query positions of one
attention. Axis letters: B requests, M beams, S input tokens, T real tokens of all requests, P decoder positions,
H heads, D width of a head, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812, torch's own name

if TYPE_CHECKING:
    from transformers import T5ForConditionalGeneration

Precision = Literal["fp32", "bf16"]


@dataclass
class Memory:
    """What the decoder reads of the inputs, once per request: `keys` and `values` (B, H, S, D) per layer, and `mask`
    (B, 1, 1, S), very small where there is no token."""

    keys: list[Tensor]
    values: list[Tensor]
    mask: Tensor


@dataclass
class Cache:
    """Keys and values (B*M, P, H, D) of the decoder's own positions so far, per layer; rows are the last step's
    beams."""

    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    beams: int = 1


class T5Steps:
    """The steps of one model in one precision: linear maps in bf16 or fp32, everything else in fp32."""

    def __init__(self, model: T5ForConditionalGeneration, precision: Precision = "fp32") -> None:
        config: Any = model.config
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.start = int(config.decoder_start_token_id)
        self.heads, self.width = config.num_heads, config.d_kv
        self.embed = model.shared.weight
        self.encoder = [_Block(block, self.dtype) for block in model.encoder.block]
        self.decoder = [_Block(block, self.dtype) for block in model.decoder.block]
        self.encoder_norm, self.decoder_norm = model.encoder.final_layer_norm, model.decoder.final_layer_norm
        self.encoder_bias = model.encoder.block[0].layer[0].SelfAttention
        self.decoder_bias = model.decoder.block[0].layer[0].SelfAttention
        # Before 5.1 of transformers the flag about tying said whether outputs are scaled.
        scaled = getattr(config, "scale_decoder_outputs", config.tie_word_embeddings)
        self.scale = config.d_model**-0.5 if scaled else 1.0
        self.head = model.lm_head.weight.to(self.dtype)

    def encode(self, tokens: Tensor, mask: Tensor) -> Memory:
        """Run the encoder over tokens (B, S) where `mask` (B, S) is not 0."""
        real = mask.bool()
        columns = int(real.any(0).nonzero().amax()) + 1 if real.any() else 1  # behind it is only padding
        tokens, real = tokens[:, :columns], real[:, :columns]
        place = real.reshape(-1).nonzero().squeeze(1)  # (T,)
        hidden = F.embedding(tokens.reshape(-1)[place], self.embed).float()  # (T, d)
        none = torch.zeros_like(real, dtype=self.dtype).masked_fill_(~real, torch.finfo(self.dtype).min)[:, None, None]
        bias = self.encoder_bias.compute_bias(columns, columns, device=tokens.device).to(self.dtype) + none
        for block in self.encoder:
            query, key, value = self._padded(F.linear(block.norm(hidden, 0), block.own), place, real.shape, 3)
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=1.0)  # (B, H, S, D)
            hidden += F.linear(mixed.transpose(1, 2).flatten(0, 1).flatten(1)[place], block.own_out).float()
            hidden += block.feed_forward(hidden)
        hidden = _norm(hidden, self.encoder_norm).to(self.dtype)
        keys, values = [], []
        for block in self.decoder:
            key, value = self._padded(F.linear(hidden, block.cross), place, real.shape, 2)
            keys.append(key.contiguous())
            values.append(value.contiguous())
        return Memory(keys, values, none)

    def step(self, memory: Memory, cache: Cache, tokens: Tensor, parents: Tensor | None) -> Tensor:
        """Logits (B, M, V) float32 of what follows `tokens` (B, M), each written behind beam `parents` (B, M) of the
        step before; adds them to the cache."""
        n, beams = tokens.shape
        if parents is not None:
            rows = (parents + cache.beams * torch.arange(n, device=tokens.device)[:, None]).reshape(-1)
            cache.keys = [key.index_select(0, rows) for key in cache.keys]
            cache.values = [value.index_select(0, rows) for value in cache.values]
        cache.beams = beams
        past = cache.keys[0].shape[1] if cache.keys else 0
        bias = self.decoder_bias.compute_bias(1, past + 1, device=tokens.device, past_seen_tokens=past)
        bias = bias[0, :, 0].T[None].float()  # (1, P, H)
        hidden = F.embedding(tokens.reshape(-1), self.embed).float()  # (B*M, d)
        for i, block in enumerate(self.decoder):
            own = F.linear(block.norm(hidden, 0), block.own).view(-1, 3, self.heads, self.width)
            query, key, value = own[:, :1], own[:, 1:2], own[:, 2:]
            if past:
                key, value = torch.cat([cache.keys[i], key], 1), torch.cat([cache.values[i], value], 1)
                cache.keys[i], cache.values[i] = key, value
            else:
                cache.keys.append(key)
                cache.values.append(value)
            weight = ((query * key).float().sum(-1) + bias).softmax(1).to(self.dtype)  # (B*M, P, H)
            mixed = (weight[..., None] * value).sum(1)  # (B*M, H, D)
            hidden += F.linear(mixed.flatten(1), block.own_out).float()
            query = F.linear(block.norm(hidden, 1), block.query).view(n, beams, self.heads, self.width)
            mixed = F.scaled_dot_product_attention(
                query.transpose(1, 2), memory.keys[i], memory.values[i], attn_mask=memory.mask, scale=1.0
            )
            hidden += F.linear(mixed.transpose(1, 2).reshape(n * beams, -1), block.cross_out).float()
            hidden += block.feed_forward(hidden)
        hidden = _norm(hidden, self.decoder_norm) * self.scale
        return F.linear(hidden.to(self.dtype), self.head).float().view(n, beams, -1)

    def _padded(self, packed: Tensor, place: Tensor, shape: torch.Size, parts: int) -> tuple[Tensor, ...]:
        """(T, parts*H*D) of the real tokens, as `parts` tensors (B, H, S, D) with zeros at the padding."""
        padded = packed.new_zeros(shape.numel(), packed.shape[1])
        padded[place] = packed
        return padded.view(*shape, parts, self.heads, self.width).permute(2, 0, 3, 1, 4).unbind(0)


class _Block:
    """The weights of one layer, in the precision of the linear maps; those that read the same input are one."""

    def __init__(self, block: Any, dtype: torch.dtype) -> None:
        own, self.last = block.layer[0].SelfAttention, block.layer[-1].DenseReluDense
        self.norms = [layer.layer_norm for layer in block.layer]
        self.dtype = dtype
        self.own = torch.cat([own.q.weight, own.k.weight, own.v.weight]).to(dtype)
        self.own_out = own.o.weight.to(dtype)
        if len(block.layer) == 3:
            cross = block.layer[1].EncDecAttention
            self.query, self.cross_out = cross.q.weight.to(dtype), cross.o.weight.to(dtype)
            self.cross = torch.cat([cross.k.weight, cross.v.weight]).to(dtype)
        gated = hasattr(self.last, "wi_0")
        self.into = (self.last.wi_0 if gated else self.last.wi).weight.to(dtype)
        self.gate = self.last.wi_1.weight.to(dtype) if gated else None
        self.out = self.last.wo.weight.to(dtype)

    def norm(self, hidden: Tensor, layer: int) -> Tensor:
        return _norm(hidden, self.norms[layer]).to(self.dtype)

    def feed_forward(self, hidden: Tensor) -> Tensor:
        given = self.norm(hidden, -1)
        inside = self.last.act(F.linear(given, self.into))
        if self.gate is not None:
            inside = inside * F.linear(given, self.gate)
        return F.linear(inside, self.out).float()


def _norm(hidden: Tensor, layer: Any) -> Tensor:
    return F.rms_norm(hidden, hidden.shape[-1:], layer.weight.float(), layer.variance_epsilon)
