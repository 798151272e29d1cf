"""From a ranking and the relevant items to scores: one value per request and metric, on one slice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchmark.contract import Scores
from benchmark.data.ragged import PAD, Floats, Longs, Ragged
from benchmark.data.ranking import Ranking
from benchmark.errors import ContractError, error_text
from benchmark.evaluation.slices import restrict
from benchmark.isolation import frozen
from benchmark.suite.file import SliceName


def score(
    ranking: Ranking,
    relevant: Ragged,
    popularity: Longs,
    metrics: Mapping[str, Callable[[Ranking, Ragged, Longs], Floats | float]],
    slice_name: SliceName,
    head_share: float,
    later: NDArray[np.bool_] | None = None,
) -> Scores:
    """The scores of the requests that have a relevant item in the slice.

    Each of `metrics` is called with the ranking, the relevant items in the slice, and `popularity`, the (N,) training
    counts of the task, all of them read-only views of its own; it gives a value per request, or one number. A request
    without a ranking scores 0, but by a metric whose lower values are better what that metric says, or nothing would
    be the best answer. Where no request is in the slice, every metric has no values. Raises ContractError if the
    ranking does not have one row per request, or if a metric fails, or does not give one finite number per request or
    one in all.
    """
    if len(ranking) != len(relevant):
        raise ContractError(f"the ranking has {len(ranking)} rows; each of the {len(relevant)} requests needs one")
    rows, answers = restrict(relevant, popularity, slice_name, head_share, later)
    if not len(rows):
        return Scores(rows, {name: np.empty(0) for name in metrics}, {}, 1.0)
    lists = ranking.take(rows)
    covered = (lists.items != PAD).any(axis=1)
    values: dict[str, Floats] = {}
    totals: dict[str, float] = {}
    for name, metric in metrics.items():
        try:
            result = np.array(metric(*frozen([lists, answers, popularity])), dtype=np.float64)
        except Exception as error:
            raise ContractError(f"metric '{name}' failed: {error_text(error)}") from error
        if result.shape not in ((), rows.shape):
            raise ContractError(
                f"metric '{name}' returned an array of shape {result.shape} for {len(rows)} requests; "
                f"it must return shape {rows.shape}, or one number"
            )
        if getattr(metric, "better", None) != "lower" and result.ndim:
            result = np.where(covered, result, 0.0)
        if not np.isfinite(result).all():
            raise ContractError(f"metric '{name}' returned NaN or infinity; every value must be finite")
        if result.ndim == 0:
            totals[name] = float(result)
        else:
            values[name] = result
    return Scores(rows, values, totals, float(covered.mean()))


def merged(scores: Sequence[Scores]) -> Scores:
    """Scores of several rankings of the same requests as one: the whole catalogue's first, whose coverage it has."""
    first = scores[0]
    own = {
        name: one.rows
        for one in scores
        if not np.array_equal(one.rows, first.rows)
        for name in (*one.values, *one.totals)
    }
    values = {name: numbers for one in scores for name, numbers in one.values.items()}
    totals = {name: numbers for one in scores for name, numbers in one.totals.items()}
    return replace(first, values=values, totals=totals, own_rows=own)
