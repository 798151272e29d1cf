"""A model against its variants: the worth of a task, a token or a kind of identifier (Shi 2025, Table 5, Figure 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark import TASKS, Analysis, AnalysisInput, Task
from benchmark_analyses import charts
from benchmark_analyses.cells import base_of, cells_by_task
from benchmark_analyses.measures import NAN_INTERVAL, interval, mean_ndcg
from benchmark_analyses.tables import analysis

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
    """A model with its mean by task. Unless it is a base itself (`base` is ""), also the difference from its base with
    half the interval's width."""

    name: str
    base: str
    mean: dict[Task, float]
    difference: dict[Task, tuple[float, float]]


def model_variants(run: AnalysisInput) -> Analysis:
    """A row per data set and model that has variants, and one for each of these."""
    groups = {name: variants for name in run.datasets if (variants := _variants(run, name))}
    rows = []
    for dataset, variants in groups.items():
        for variant in variants:
            row: dict[str, Any] = {"data set": dataset, "model": variant.name}
            for task in TASKS:
                row[task] = variant.mean.get(task, np.nan)
                row[f"{task}: difference"], row[f"± {task}"] = variant.difference.get(task, NAN_INTERVAL)
            rows.append(row)
    compared = any(variant.difference for variants in groups.values() for variant in variants)
    figure = (lambda: _figure(groups)) if compared else (lambda: "")
    return analysis(TITLE, NOTE, rows, nothing=NOTHING, figure=figure, drop_empty=True)


def _variants(run: AnalysisInput, dataset: str) -> list[Variant]:
    """The models that have variants, each followed by its variants."""
    cells = cells_by_task(run, dataset)
    variants = []
    for base in dict.fromkeys(base for model in cells if (base := base_of(model, cells))):
        family = [base, *(model for model in cells if base_of(model, cells) == base)]
        values = {
            model: {task: mean_ndcg(run, seeds, task, DEPTH) for task, seeds in cells[model].items()}
            for model in family
        }
        for model in family:
            means = {task: float(np.nanmean(value)) for task, value in values[model].items()}
            differences = {}
            for task, value in values[model].items():
                if model != base and task in values[base]:
                    paired = value - values[base][task]
                    differences[task] = interval(paired[np.isfinite(paired)])
            variants.append(Variant(model, "" if model == base else base, means, differences))
    return variants


def _figure(groups: Mapping[str, Sequence[Variant]]) -> str:
    tasks = [task for task in TASKS if any(task in v.difference for variants in groups.values() for v in variants)]
    most = max(sum(bool(v.base) for v in variants) for variants in groups.values())

    def paint(axes: Sequence[Sequence[Axes]]) -> None:
        for (dataset, variants), row in zip(groups.items(), axes, strict=True):
            shown = [variant for variant in variants if variant.base]
            place = np.arange(len(shown))
            for axis, task in zip(row, tasks, strict=True):
                means, halves = np.array([v.difference.get(task, NAN_INTERVAL) for v in shown]).T
                axis.barh(place, np.nan_to_num(means), 0.55, color=charts.COLOURS[TASKS.index(task)])
                axis.errorbar(
                    means, place, xerr=np.nan_to_num(halves), fmt="none", ecolor="#20242a", elinewidth=0.9, capsize=2.5
                )
                axis.axvline(0, color="#5a6068", linewidth=0.8)
                axis.set_yticks(place, [variant.name for variant in shown])
                axis.invert_yaxis()
                axis.grid(axis="y", visible=False)
                charts.label(axis, f"{dataset}: {task}", f"nDCG@{DEPTH}, difference from the model itself", "")

    return charts.draw(len(groups), len(tasks), paint, height=max(2.4, 0.34 * most + 1.2))
