"""Hashes of requests and nodes, the same in any batch: for breaking ties, and for sampling without replacement."""

from __future__ import annotations

import torch
from torch import Tensor


def _mix(x: Tensor) -> Tensor:
    """`benchmark.hashing`'s SplitMix64 on signed 64-bit words, which overflow in the same way."""
    x = x + -0x61C8864680B583EB
    x = (x ^ _shifted(x, 30)) * -0x40A7B892E31B1A47
    x = (x ^ _shifted(x, 27)) * -0x6B2FB644ECCEEE15
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def tie(keys: Tensor, items: Tensor) -> Tensor:
    """`benchmark.tie_break`, as signed words of the same order."""
    return _mix(keys ^ _mix(items.long())) ^ torch.iinfo(torch.int64).min


def gumbel(keys: Tensor, node: Tensor, seed: int) -> Tensor:
    """Gumbel noise float64 (B, M, C), a hash of the seed, the request's key (B,) and the node."""
    seeded = _mix(keys ^ _mix(torch.full_like(keys, seed)))[:, None, None]
    uniform = (_shifted(_mix(seeded ^ _mix(node.long())), 11).double() + 0.5) * 2.0**-53
    return -(-uniform.log()).log()


def conditioned(rank: Tensor, largest: Tensor) -> Tensor:
    """Perturbed log-probabilities (B, M, C) changed so that the largest of each C is `largest` (Kool 2019, B.3)."""
    below = rank - rank.amax(-1, keepdim=True)
    v = largest - rank + (-below.exp()).log1p()
    return largest - v.clamp(min=0) - (-v.abs()).exp().log1p()
