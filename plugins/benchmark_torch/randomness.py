"""Random numbers that depend only on the seed and leave the process's own generators unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from benchmark import Context


@contextmanager
def seeded(context: Context) -> Iterator[None]:
    """Run the block with `context.threads` threads and torch's generators seeded by `context.seed`.

    Afterwards the generators of the CPU and of `context.device` are restored; the number of threads stays. Build and
    train the module inside.
    """
    import torch

    torch.set_num_threads(context.threads)
    device = torch.device(context.device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(context.seed)
        yield


def seed_of(*numbers: int) -> int:
    """One seed, below 2**63, from several non-negative numbers such as a seed and an epoch.

    Their order matters; trailing zeros do not.
    """
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
