"""How many codes the two identifiers of an item share, and how many each has (Shi 2025, 4.4.3, Figures 6 and 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark import TASKS, Analysis, AnalysisInput, Cell, Task
from benchmark_generative.analyses import charts
from benchmark_generative.analyses.runs import base_of, interval, ndcg_by_request, runs

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
    """A model with its numbers of shared and specific codes: mean and half the interval's width by task."""

    model: str
    shared: int
    specific: int
    mean: dict[Task, tuple[float, float]]
    colliding: dict[str, float]

    @property
    def length(self) -> int:
        return self.shared + self.specific


def codebook_sweep(given: AnalysisInput) -> Analysis:
    """A row per data set and setting, of models that have more than one."""
    import pandas as pd

    found = {
        (dataset, base): settings
        for dataset in given.datasets
        for base, settings in _settings(given, dataset).items()
        if len({(s.shared, s.specific) for s in settings}) > 1
    }
    if not found:
        return Analysis(TITLE, pd.DataFrame(), f"{NOTE} {NOTHING}")
    lines = []
    for (dataset, _), settings in found.items():
        for s in sorted(settings, key=lambda s: (s.length, s.shared)):
            line: dict[str, Any] = {"data set": dataset, "model": s.model, "L_m": s.shared, "L_n": s.specific}
            for task in TASKS:
                mean, half = s.mean.get(task, (np.nan, np.nan))
                line |= {task: mean, f"± {task}": half}
            lines.append(line | {f"colliding: {name}": rate for name, rate in s.colliding.items()})
    table = pd.DataFrame(lines).dropna(axis=1, how="all")
    return Analysis(TITLE, table, NOTE, _figure(found))


def _settings(given: AnalysisInput, dataset: str) -> dict[str, list[Setting]]:
    """By base model, itself first: the models that differ from it in `LENGTHS` alone."""
    cells: dict[str, dict[Task, list[Cell]]] = {}
    for task in TASKS:
        for model, own in runs(given, dataset, task).items():
            cells.setdefault(model, {})[task] = own
    joint = {}
    for model, by_task in cells.items():
        first = next(iter(by_task.values()))[0]
        facts = given.facts(first).get("identifiers")
        if isinstance(facts, Mapping) and facts.get("kind") == "joint":
            joint[model] = first, facts
    out: dict[str, list[Setting]] = {}
    for model in sorted(joint, key=lambda name: bool(base_of(name, joint))):
        first, facts = joint[model]
        base = base_of(model, joint) or model
        if _rest(first) == _rest(joint[base][0]):
            mean = {}
            for task, own in cells[model].items():
                values = ndcg_by_request(given, own, task, DEPTH)
                mean[task] = interval(values[np.isfinite(values)])
            rates = {name: facts[name]["collision_rate_before"] for name in ("semantic", "collaborative")}
            shared = int(facts["shared"])
            out.setdefault(base, []).append(Setting(model, shared, int(facts["levels"]) - shared, mean, rates))
    return out


def _rest(cell: Cell) -> dict[str, Any]:
    """The parameters but for those that are swept, and those that only leave more to look at."""
    params = {name: value for name, value in cell.model_params.items() if name != "compare_identifiers"}
    identifiers = {k: v for k, v in (params.get("identifiers") or {}).items() if k not in LENGTHS}
    return {**params, "identifiers": identifiers}


def _figure(found: Mapping[tuple[str, str], Sequence[Setting]]) -> str:
    def paint(axes: Sequence[Sequence[Axes]]) -> None:
        for ((dataset, model), settings), row in zip(found.items(), axes, strict=True):
            base = settings[0]
            same_length = sorted((s for s in settings if s.length == base.length), key=lambda s: s.shared)
            same_shared = sorted((s for s in settings if s.shared == base.shared), key=lambda s: s.length)
            for i, task in enumerate(TASKS):
                _line(row[i], i, same_length, [s.shared for s in same_length], task)
                charts.name(row[i], f"{dataset}, {model}: {task}", f"L_m (L_m + L_n = {base.length})", f"nDCG@{DEPTH}")
                _line(row[2 + i], i, same_shared, [s.length for s in same_shared], task)
                charts.name(row[2 + i], f"{task}", f"L_m + L_n (L_m = {base.shared})", f"nDCG@{DEPTH}")

    return charts.draw(len(found), 2 * len(TASKS), paint, height=2.8)


def _line(axis: Axes, i: int, settings: Sequence[Setting], x: Sequence[int], task: Task) -> None:
    points = [(at, *s.mean[task]) for at, s in zip(x, settings, strict=True) if task in s.mean]
    if points:
        places, means, halves = zip(*points, strict=True)
        charts.line(axis, i, task, places, means, halves)
        axis.set_xticks(sorted(set(places)))
        charts.from_zero(axis)
