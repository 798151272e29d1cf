"""Identifiers of no item, written by a search that nothing keeps from it (Rajput 2023, section 5 and Figure 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from benchmark import Analysis, AnalysisInput
from benchmark_generative.analyses import charts
from benchmark_generative.analyses.runs import TASK, interval, with_variants

if TYPE_CHECKING:
    import pandas as pd
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


def invalid_ids(given: AnalysisInput) -> Analysis:
    """A row per data set, model and K: the share of identifiers, 0-1, that belong to no item."""
    import pandas as pd

    lines, left_out = [], []
    for dataset, model, cells, variants in with_variants(given, "unconstrained"):
        for width, variant in variants.items():
            k = int(width)
            rankings = [given.ranking(cell, TASK, variant).items for cell in cells]
            if k > rankings[0].shape[1]:
                left_out.append(f"{model} K = {k}")
                continue
            valid = np.mean([(items >= 0).sum(axis=1) for items in rankings], axis=0)  # (R,)
            share, half = interval(1 - valid / k)
            lines.append({"data set": dataset, "model": model, "K": k, "invalid share": share, "±": half})
    note = f"{NOTE} {TOO_DEEP.format(', '.join(left_out))}" if left_out else NOTE
    if not lines:
        return Analysis(TITLE, pd.DataFrame(), note if left_out else f"{NOTE} {NOTHING}")
    table = pd.DataFrame(lines)
    return Analysis(TITLE, table, note, _figure(table))


def _figure(table: pd.DataFrame) -> str:
    def paint(axes: Sequence[Sequence[Axes]]) -> None:
        axis = axes[0][0]
        for i, ((dataset, model), part) in enumerate(table.groupby(["data set", "model"], sort=False)):
            charts.line(axis, i, f"{dataset}, {model}", part["K"], 100 * part["invalid share"], 100 * part["±"])
        axis.set_xticks(sorted(set(table["K"])))
        charts.from_zero(axis)
        charts.name(axis, "Identifiers of no item", "K", "% of the K written", legend=True)

    return charts.draw(1, 1, paint, height=3.3)
