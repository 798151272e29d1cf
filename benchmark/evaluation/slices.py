"""Head, torso and other days: a slice restricts the relevant items of the requests, never the ranking."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmark.data.hashing import splitmix
from benchmark.data.ragged import Longs, Ragged
from benchmark.suite.file import SliceName


def head_size(n: int, head_share: float) -> int:
    """How many of `n` items are the head."""
    return max(1, round(n * head_share))


def head_items(popularity: Longs, head_share: float) -> NDArray[np.bool_]:
    """(N,) true for the head: the `head_share` of all items, at least one, that are most popular in training.

    Penha 2024, section 7: head = the top 1 % of the items by training popularity, torso = all the rest. Equally popular
    items at the border are ordered by a hash of their number. Without training data the head is empty.
    """
    n = len(popularity)
    order = np.lexsort((splitmix(np.arange(n, dtype=np.uint64)), -popularity))
    head = np.zeros(n, dtype=bool)
    head[order[: head_size(n, head_share)]] = True
    return head & bool(popularity.any())


def restrict(
    relevant: Ragged,
    popularity: Longs,
    slice_name: SliceName,
    head_share: float,
    later: NDArray[np.bool_] | None = None,
) -> tuple[Longs, Ragged]:
    """The requests (n,) that have a relevant item in the slice, and those items of each, with their grades.

    A request with relevant items on both sides is in both slices, each time with the items of that slice; an item
    judged with grade 0 is not relevant. `other-day` holds the requests that are `later` (R,) than their history, see
    `Split.later`; without it, none.
    """
    kept = np.ones(len(relevant.values), dtype=bool) if relevant.grades is None else relevant.grades > 0
    if slice_name == "other-day":
        kept &= (np.zeros(len(relevant), dtype=bool) if later is None else later)[relevant.rows]
    elif slice_name != "all":
        kept &= head_items(popularity, head_share)[relevant.values] == (slice_name == "head")
    answers = relevant.keep(kept)
    rows = np.flatnonzero(answers.lengths)
    return rows, answers.take(rows)
