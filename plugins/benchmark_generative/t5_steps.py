"""T5 inference by steps for many beams: the encoder without padding, and a decoder whose beams share their request's
encoder states.

What `T5ForConditionalGeneration` computes in eval mode, from its weights, to rounding. The encoder's linear maps see
only real tokens. A request's cross-attention keys and values exist once: its beams are query positions of one
attention. Axis letters: B requests, M beams, S input tokens, T real tokens of all requests, P decoder positions,
H heads, D width of a head, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812, torch's own name

if TYPE_CHECKING:
    from transformers import T5ForConditionalGeneration

Precision = Literal["fp32", "bf16"]


@dataclass
class Memory:
    """What the decoder's cross-attention reads, once per request: `keys` and `values` (B, H, S, D) per layer, and
    `mask` (B, 1, 1, S), 0 at tokens and very negative at padding."""

    keys: list[Tensor]
    values: list[Tensor]
    mask: Tensor


@dataclass
class Cache:
    """The decoder's own keys and values of all beams and steps so far: (B, P, H, D) per layer, filled from the front.

    Nothing is moved when beams change their parents: `seen` (B, M, P) says which entries the last step's beams read,
    `position` (P,) which step each entry is from.
    """

    keys: list[Tensor]
    values: list[Tensor]
    seen: Tensor
    position: Tensor
    steps: int = 0


class T5Steps:
    """The steps of one model in one precision.

    bf16 covers the layers' linear maps and attention. The residual stream, norms and logits are always fp32: rounded to
    bf16, a logit of 20 has steps of 1/8.
    """

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
        # Before transformers 5.1, `tie_word_embeddings` decided whether outputs are scaled.
        scaled = getattr(config, "scale_decoder_outputs", config.tie_word_embeddings)
        self.scale = config.d_model**-0.5 if scaled else 1.0
        self.head = model.lm_head.weight.float()

    def encode(self, tokens: Tensor, mask: Tensor) -> Memory:
        """Run the encoder over tokens (B, S) where `mask` (B, S) is not 0."""
        real = mask.bool()
        last = int(real.any(0).nonzero().amax()) + 1 if real.any() else 1
        columns = -(-last // 16) * 16  # the least padding to a multiple of 16, where attention is fastest
        tokens, real = (F.pad(x[:, :columns], (0, max(columns - x.shape[1], 0))) for x in (tokens, real))
        place = real.reshape(-1).nonzero().squeeze(1)  # (T,)
        hidden = F.embedding(tokens.reshape(-1)[place], self.embed).float()  # (T, d)
        none = torch.zeros_like(real, dtype=self.dtype).masked_fill_(~real, torch.finfo(self.dtype).min)[:, None, None]
        bias = self.encoder_bias.compute_bias(columns, columns, device=tokens.device).to(self.dtype) + none
        projected = hidden.new_zeros(
            real.numel(), 3 * self.heads * self.width, dtype=self.dtype
        )  # the padding stays zero
        for block in self.encoder:
            projected[place] = F.linear(block.norm(hidden, 0), block.attention)
            query, key, value = projected.view(*real.shape, 3, self.heads, self.width).unbind(2)
            mixed = _attention(query, key.transpose(1, 2), value.transpose(1, 2), bias)  # (B*S, H*D)
            hidden += F.linear(mixed[place], block.attention_out)
            hidden += block.feed_forward(hidden)
        hidden = _norm(hidden, self.encoder_norm).to(self.dtype)
        keys, values = [], []
        for block in self.decoder:
            both = hidden.new_zeros(real.numel(), 2 * self.heads * self.width)
            both[place] = F.linear(hidden, block.cross)
            key, value = both.view(*real.shape, 2, self.heads, self.width).transpose(1, 3).unbind(2)
            keys.append(key)
            values.append(value)
        return Memory(keys, values, none)

    def cache(self, memory: Memory, places: int) -> Cache:
        """An empty cache with `places` entries: the beams of all steps together."""
        n = len(memory.mask)
        shape, device = (n, places, self.heads, self.width), memory.mask.device
        keys, values = ([torch.empty(shape, dtype=self.dtype, device=device) for _ in self.decoder] for _ in range(2))
        nowhere = torch.empty(n, 1, 0, dtype=torch.bool, device=device)
        return Cache(keys, values, nowhere, torch.empty(0, dtype=torch.int64, device=device))

    def step(self, memory: Memory, cache: Cache, tokens: Tensor, parents: Tensor) -> Tensor:
        """Logits (B, M, V) float32 of what follows `tokens` (B, M), each of which extends beam `parents` (B, M) of the
        previous step (0 at the first); adds the tokens to the cache."""
        n, beams = tokens.shape
        used = len(cache.position)
        bias = self._ancestors(cache, parents)
        place = slice(used, used + beams)
        hidden = F.embedding(tokens.reshape(-1), self.embed).float()  # (B*M, d)
        for i, block in enumerate(self.decoder):
            projected = F.linear(block.norm(hidden, 0), block.attention).view(n, beams, 3, self.heads, self.width)
            cache.keys[i][:, place], cache.values[i][:, place] = projected[:, :, 1], projected[:, :, 2]
            key, value = cache.keys[i][:, : place.stop], cache.values[i][:, : place.stop]
            hidden += F.linear(
                _attention(projected[:, :, 0], key.transpose(1, 2), value.transpose(1, 2), bias), block.attention_out
            )
            query = F.linear(block.norm(hidden, 1), block.query).view(n, beams, self.heads, self.width)
            hidden += F.linear(_attention(query, memory.keys[i], memory.values[i], memory.mask), block.cross_out)
            hidden += block.feed_forward(hidden)
        hidden = _norm(hidden, self.decoder_norm) * self.scale
        return F.linear(hidden, self.head).view(n, beams, len(self.head))

    def _ancestors(self, cache: Cache, parents: Tensor) -> Tensor:
        """Append beams that extend `parents` (B, M) to the cache; the bias (B, H, M, P) that lets each attend to its
        own past and itself only."""
        beams, device, step = parents.shape[1], parents.device, cache.steps
        cache.steps += 1
        itself = torch.eye(beams, dtype=torch.bool, device=device).expand(len(parents), -1, -1)
        past = cache.seen.gather(1, parents[..., None].expand(-1, -1, cache.seen.shape[2]))
        cache.seen = torch.cat([past, itself], 2)
        cache.position = torch.cat([cache.position, torch.full((beams,), step, device=device)])
        bias = self.decoder_bias.compute_bias(1, step + 1, device=device, past_seen_tokens=step).to(self.dtype)
        least = torch.finfo(self.dtype).min
        shown: Tensor = bias[..., cache.position].masked_fill(~cache.seen[:, None], least)
        return shown


class _Block:
    """The weights of one layer, in the precision of the linear maps; matrices with the same input are concatenated."""

    def __init__(self, block: Any, dtype: torch.dtype) -> None:
        attention, self.last = block.layer[0].SelfAttention, block.layer[-1].DenseReluDense
        self.norms = [layer.layer_norm for layer in block.layer]
        self.dtype = dtype
        self.attention = torch.cat([attention.q.weight, attention.k.weight, attention.v.weight]).to(dtype)
        self.attention_out = attention.o.weight.to(dtype)
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
        normed = self.norm(hidden, -1)
        inside = F.linear(normed, self.into)
        inside = inside.relu_() if isinstance(self.last.act, torch.nn.ReLU) else self.last.act(inside)
        if self.gate is not None:
            inside = inside * F.linear(normed, self.gate)
        return F.linear(inside, self.out)


def _norm(hidden: Tensor, layer: Any) -> Tensor:
    return F.rms_norm(hidden, hidden.shape[-1:], layer.weight.float(), layer.variance_epsilon)


def _attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Attention of queries (B, M, H, D) to keys and values (B, H, P, D): (B*M, H*D)."""
    mixed = F.scaled_dot_product_attention(query.transpose(1, 2), key, value, attn_mask=bias, scale=1.0)
    return mixed.transpose(1, 2).flatten(2).flatten(0, 1)
