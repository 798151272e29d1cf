"""Hashes that are the same everywhere."""

from __future__ import annotations

import numpy as np

from benchmark import tie_break
from benchmark.data.hashing import splitmix, stable_hash


def test_hashes_are_the_same_everywhere() -> None:
    # The order of ties, and with it every table, hangs on these words.
    assert splitmix(np.array([0, 1], dtype=np.uint64)).tolist() == [0xE220A8397B1DCDAF, 0x910A2DEC89025CC1]
    assert stable_hash(["r0", 7]).tolist() == [2683875618740393306, 9407870976149377255]
    assert tie_break(np.array([5], dtype=np.uint64), np.array([3])).tolist() == [14871207630202690639]
