"""A model against its variants: what a task, a token or a kind of identifier is worth (Shi 2025, Table 5, Figure 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark import TASKS, Analysis, AnalysisInput, Task
from benchmark_generative.analyses import charts
from benchmark_generative.analyses.runs import base_of, interval, ndcg_by_request, runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Variants of a model"
DEPTH = 10
NOTE = (
    f"As in Shi 2025, Table 5 (training tasks and behaviour token) and Figure 4 (identifiers): nDCG@{DEPTH} over all "
    "items of a model and of its variants, which have its name and what is different in brackets, and the difference "
    "from the model itself, paired by request, ± its 95 % interval, seeds averaged first. Below zero, what the variant "
    "lacks is worth something. The paper prints these as images, without numbers; every variant of its Table 5 and "
    "Figure 4 is below the model in both tasks."
)
NOTHING = "No model of this run has a variant (`name: GenSAR[-NSIP]` beside `GenSAR` does it)."


@dataclass(frozen=True)
class Variant:
    """A model, and by task its mean, with the difference from its base and half the width of that one's interval."""

    name: str
    base: str
    mean: dict[Task, float]
    difference: dict[Task, tuple[float, float]]


def model_variants(given: AnalysisInput) -> Analysis:
    """A row per data set and model that has variants, and one for each of these."""
    import pandas as pd

    found = {name: variants for name in given.datasets if (variants := _variants(given, name))}
    if not found:
        return Analysis(TITLE, pd.DataFrame(), f"{NOTE} {NOTHING}")
    lines = []
    for dataset, variants in found.items():
        for variant in variants:
            line: dict[str, Any] = {"data set": dataset, "model": variant.name}
            for task in TASKS:
                difference, half = variant.difference.get(task, (np.nan, np.nan))
                line |= {task: variant.mean.get(task, np.nan), f"{task}: difference": difference, f"± {task}": half}
            lines.append(line)
    table = pd.DataFrame(lines).dropna(axis=1, how="all")
    compared = any(variant.difference for variants in found.values() for variant in variants)
    return Analysis(TITLE, table, NOTE, _figure(found) if compared else "")


def _variants(given: AnalysisInput, dataset: str) -> list[Variant]:
    """Models with variants, each followed by its own."""
    tasks = given.dataset(dataset).tasks
    cells = {task: runs(given, dataset, task) for task in tasks}
    models = list(dict.fromkeys(model for of_task in cells.values() for model in of_task))
    out = []
    for base in dict.fromkeys(base for model in models if (base := base_of(model, models))):
        own = [base, *(model for model in models if base_of(model, models) == base)]
        means: dict[str, dict[Task, float]] = {model: {} for model in own}
        differences: dict[str, dict[Task, tuple[float, float]]] = {model: {} for model in own}
        for task in tasks:
            values = {model: ndcg_by_request(given, c, task, DEPTH) for model in own if (c := cells[task].get(model))}
            for model, value in values.items():
                means[model][task] = float(np.nanmean(value))
                if model != base and base in values:
                    paired = value - values[base]
                    differences[model][task] = interval(paired[np.isfinite(paired)])
        out += [Variant(model, "" if model == base else base, means[model], differences[model]) for model in own]
    return out


def _figure(found: dict[str, list[Variant]]) -> str:
    tasks = [task for task in TASKS if any(task in v.difference for variants in found.values() for v in variants)]
    most = max(sum(bool(v.base) for v in variants) for variants in found.values())

    def paint(axes: Sequence[Sequence[Axes]]) -> None:
        for (dataset, variants), row in zip(found.items(), axes, strict=True):
            shown = [variant for variant in variants if variant.base]
            place = np.arange(len(shown))
            for axis, task in zip(row, tasks, strict=True):
                known = np.array([v.difference.get(task, (np.nan, np.nan)) for v in shown])
                axis.barh(place, np.nan_to_num(known[:, 0]), 0.55, color=charts.COLOURS[TASKS.index(task)])
                axis.errorbar(
                    known[:, 0], place, xerr=np.nan_to_num(known[:, 1]), fmt="none", ecolor="#20242a",
                    elinewidth=0.9, capsize=2.5,
                )  # fmt: skip
                axis.axvline(0, color="#5a6068", linewidth=0.8)
                axis.set_yticks(place, [variant.name for variant in shown])
                axis.invert_yaxis()
                axis.grid(axis="y", visible=False)
                charts.name(axis, f"{dataset}: {task}", f"nDCG@{DEPTH}, difference from the model itself", "")

    return charts.draw(len(found), len(tasks), paint, height=max(2.4, 0.34 * most + 1.2))
