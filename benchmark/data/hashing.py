"""Stable hashes: for ties, for splits and for samples, the same in every process and on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def splitmix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A bijective mix of 64-bit words (the finaliser of SplitMix64): neighbouring inputs give unrelated outputs."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def stable_hash(ids: Iterable[Any]) -> NDArray[np.uint64]:
    """A 64-bit hash of every id's text, the same in every process and on every machine."""
    digests = (hashlib.blake2b(str(i).encode(), digest_size=8).digest() for i in ids)
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def tie_break(keys: NDArray[np.uint64], items: NDArray[Any]) -> NDArray[np.uint64]:
    """A pseudo-random word for every (request key, item) pair; the smaller goes first among equal scores."""
    return splitmix(keys ^ splitmix(items.astype(np.int64).astype(np.uint64)))
