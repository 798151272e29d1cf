"""The numbers of shared and specific codes in joint identifiers, compared (Shi 2025, 4.4.3, Figures 6 and 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark import TASKS, Analysis, AnalysisInput, Cell, Task
from benchmark_analyses import charts
from benchmark_analyses.cells import base_of, cells_by_task, identifier_facts
from benchmark_analyses.measures import NAN_INTERVAL, interval, mean_ndcg
from benchmark_analyses.tables import analysis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Codebooks of joint identifiers"
DEPTH = 10
NOTE = (
    "As in Shi 2025, section 4.4.3: L_m codes that both identifiers of an item share, L_n of each one's own; in Figure "
    "6 L_m + L_n stays, in Figure 7 L_m stays. The paper finds L_m = 2, L_n = 2 the best in both, and prints no other "
    f"numbers. nDCG@{DEPTH} over all items, ± its 95 % interval over requests, seeds averaged first; colliding: 1 - "
    "different identifiers / items of the first seed, before items with equal codes are told apart."
)
NOTHING = (
    "No model of this run has variants that differ in these numbers alone "
    "(`identifiers: {shared: 1, specific: 3}` of gensar does it)."
)
LENGTHS = ("shared", "specific")


@dataclass(frozen=True)
class Setting:
    """A model with its numbers of shared and specific codes; by task, its mean and half the interval's width."""

    model: str
    shared: int
    specific: int
    mean: dict[Task, tuple[float, float]]
    colliding: dict[str, float]

    @property
    def length(self) -> int:
        return self.shared + self.specific


def codebook_sweep(run: AnalysisInput) -> Analysis:
    """A row per data set and setting, of models that have more than one."""
    sweeps = {
        (dataset, base): settings
        for dataset in run.datasets
        for base, settings in _settings(run, dataset).items()
        if len({(s.shared, s.specific) for s in settings}) > 1
    }
    rows = []
    for (dataset, _), settings in sweeps.items():
        for s in sorted(settings, key=lambda s: (s.length, s.shared)):
            row: dict[str, Any] = {"data set": dataset, "model": s.model, "L_m": s.shared, "L_n": s.specific}
            for task in TASKS:
                row[task], row[f"± {task}"] = s.mean.get(task, NAN_INTERVAL)
            rows.append(row | {f"colliding: {name}": rate for name, rate in s.colliding.items()})
    return analysis(TITLE, NOTE, rows, nothing=NOTHING, figure=lambda: _figure(sweeps), drop_empty=True)


def _settings(run: AnalysisInput, dataset: str) -> dict[str, list[Setting]]:
    """By base model: that model, followed by those that differ from it in `LENGTHS` alone."""
    cells = cells_by_task(run, dataset)
    first = {model: next(iter(by_task.values()))[0] for model, by_task in cells.items()}
    facts = {model: identifier_facts(run, cell) for model, cell in first.items()}
    joint = [model for model in cells if facts[model].get("kind") == "joint"]
    settings: dict[str, list[Setting]] = {}
    for model in sorted(joint, key=lambda name: bool(base_of(name, joint))):
        base = base_of(model, joint) or model
        if _other_params(first[model]) == _other_params(first[base]):
            mean = {}
            for task, seeds in cells[model].items():
                values = mean_ndcg(run, seeds, task, DEPTH)
                mean[task] = interval(values[np.isfinite(values)])
            rates = {name: facts[model][name]["collision_rate_before"] for name in ("semantic", "collaborative")}
            shared = int(facts[model]["shared"])
            specific = int(facts[model]["levels"]) - shared
            settings.setdefault(base, []).append(Setting(model, shared, specific, mean, rates))
    return settings


def _other_params(cell: Cell) -> dict[str, Any]:
    """The parameters without those that are swept, and without the one that only records more facts."""
    params = {name: value for name, value in cell.model_params.items() if name != "compare_identifiers"}
    identifiers = {k: v for k, v in (params.get("identifiers") or {}).items() if k not in LENGTHS}
    return {**params, "identifiers": identifiers}


def _figure(sweeps: Mapping[tuple[str, str], Sequence[Setting]]) -> str:
    def paint(axes: Sequence[Sequence[Axes]]) -> None:
        for ((dataset, model), settings), row in zip(sweeps.items(), axes, strict=True):
            base = settings[0]
            same_length = sorted((s for s in settings if s.length == base.length), key=lambda s: s.shared)
            same_shared = sorted((s for s in settings if s.shared == base.shared), key=lambda s: s.length)
            for i, task in enumerate(TASKS):
                _line(row[i], i, same_length, [s.shared for s in same_length], task)
                charts.label(row[i], f"{dataset}, {model}: {task}", f"L_m (L_m + L_n = {base.length})", f"nDCG@{DEPTH}")
                _line(row[2 + i], i, same_shared, [s.length for s in same_shared], task)
                charts.label(row[2 + i], f"{task}", f"L_m + L_n (L_m = {base.shared})", f"nDCG@{DEPTH}")

    return charts.draw(len(sweeps), 2 * len(TASKS), paint, height=2.8)


def _line(axis: Axes, i: int, settings: Sequence[Setting], x: Sequence[int], task: Task) -> None:
    points = [(number, *s.mean[task]) for number, s in zip(x, settings, strict=True) if task in s.mean]
    if points:
        numbers, means, halves = zip(*points, strict=True)
        charts.line(axis, i, task, numbers, means, halves)
        axis.set_xticks(sorted(set(numbers)))
        charts.from_zero(axis)
