"""How far a ratio of times is to be trusted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def spread(theirs: Sequence[float], ours: Sequence[float]) -> str:
    """The smallest and the largest ratio of a turn; several times of ours in one turn count by their median."""
    turns = np.split(np.asarray(ours), len(theirs))
    ratios = [seconds / float(np.median(turn)) for seconds, turn in zip(theirs, turns, strict=True)]
    return f"{min(ratios):.1f} to {max(ratios):.1f} in {len(ratios)} turn{'s' if len(ratios) > 1 else ''}"
