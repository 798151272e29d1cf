"""The identifiers without an item that an unconstrained search writes (Rajput 2023, section 5 and Figure 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark import Analysis, AnalysisInput
from benchmark_analyses import charts
from benchmark_analyses.cells import TASK, with_variants
from benchmark_analyses.measures import interval
from benchmark_analyses.tables import analysis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Invalid identifiers"
NOTE = (
    "As in Rajput 2023, section 5 and Figure 6: of K identifiers that a beam search of width K writes when no tree "
    "keeps it to those of items, the share that no item has. The paper has about 2 % at K = 20 on Beauty, rising with "
    "K; it prints no other number. ± 95 % interval over requests, seeds averaged first. The rankings of the "
    "leaderboard have none: their search is kept to the items."
)
NOTHING = "No model of this run was also searched without constraint (`unconstrained: [10, 20]` of tiger does it)."
TOO_DEEP = "Left out, for the suite's `depth` keeps fewer items per request: {}."


def invalid_ids(run: AnalysisInput) -> Analysis:
    """A row per data set, model and K: the share of identifiers, 0-1, that belong to no item."""
    rows: list[dict[str, Any]] = []
    left_out = []
    for dataset, model, cells, variants in with_variants(run, "unconstrained"):
        for width, variant in variants.items():
            k = int(width)
            rankings = [run.ranking(cell, TASK, variant).items for cell in cells]
            if k > rankings[0].shape[1]:
                left_out.append(f"{model} K = {k}")
                continue
            valid = np.mean([(items >= 0).sum(axis=1) for items in rankings], axis=0)  # (R,)
            share, half = interval(1 - valid / k)
            rows.append({"data set": dataset, "model": model, "K": k, "invalid share": share, "±": half})
    note = f"{NOTE} {TOO_DEEP.format(', '.join(left_out))}" if left_out else NOTE
    return analysis(TITLE, note, rows, nothing="" if left_out else NOTHING, figure=lambda: _figure(rows))


def _figure(rows: Sequence[Mapping[str, Any]]) -> str:
    def paint(axes: Sequence[Sequence[Axes]]) -> None:
        axis = axes[0][0]
        for i, curve in enumerate(dict.fromkeys((row["data set"], row["model"]) for row in rows)):
            points = [row for row in rows if (row["data set"], row["model"]) == curve]
            shares, halves = ([100 * row[name] for row in points] for name in ("invalid share", "±"))
            charts.line(axis, i, ", ".join(curve), [row["K"] for row in points], shares, halves)
        axis.set_xticks(sorted({row["K"] for row in rows}))
        charts.from_zero(axis)
        charts.label(axis, "Identifiers of no item", "K", "% of the K written", legend=True)

    return charts.draw(1, 1, paint, height=3.3)
