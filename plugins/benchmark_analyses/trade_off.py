"""Recommendation against search, for models that answer both (Shi 2025, Figure 1a)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark import TASKS, Analysis, AnalysisInput, Cell, Task
from benchmark_analyses import charts
from benchmark_analyses.cells import base_of, cells_by_task
from benchmark_analyses.measures import Floats, interval, mean_ndcg
from benchmark_analyses.tables import analysis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Trade-off of recommendation and search"
DEPTH = 10
CHI_SQUARE = -2 * math.log(0.05)
"""The 95 % quantile of chi-square with two degrees of freedom: the ellipse covers both means at once."""
NOTE = (
    f"As in Shi 2025, Figure 1a: nDCG@{DEPTH} of each model in recommendation and in search, over all items and, where "
    "there are candidate lists for both tasks, over the first of each. ± 95 % interval of each mean over requests, "
    "seeds averaged first. The ellipse is the 95 % region of both means at once, and so wider than either interval; a "
    "user's requests are one observation, so that it leans where the same users are easy in both tasks (correlation of "
    "the two means). A model of one task is a line. Variants of a model that is there too (`GenSAR[...]`) are left out."
)
ALL_ITEMS = "all items"
NOTHING = "No model of this run answers requests of both tasks on a data set (`gen` with both `tasks` does it)."


@dataclass(frozen=True)
class Point:
    """A model with its mean and half the interval's width by task, and the covariance (2, 2) of both means in the order
    of `TASKS`, None for a model of one task."""

    model: str
    mean: dict[Task, float]
    half: dict[Task, float]
    covariance: Floats | None


def trade_off(run: AnalysisInput) -> Analysis:
    """A row per data set, list and model; of data sets with a model that answers both tasks."""
    panels: dict[str, dict[str, list[Point]]] = {}  # by data set, and by what is ranked
    for dataset in run.datasets:
        for ranked, lists in _lists(run, dataset).items():
            if points := _points(run, dataset, lists):
                panels.setdefault(dataset, {})[ranked] = points
    rows = []
    for dataset, by_list in panels.items():
        for ranked, points in by_list.items():
            for point in points:
                row: dict[str, Any] = {"data set": dataset, "over": ranked, "model": point.model}
                for task in TASKS:
                    row |= {task: point.mean.get(task, np.nan), f"± {task}": point.half.get(task, np.nan)}
                rows.append(row | {"correlation": correlation(point.covariance)})
    return analysis(TITLE, NOTE, rows, nothing=NOTHING, figure=lambda: _figure(panels))


def _lists(run: AnalysisInput, dataset: str) -> dict[str, dict[Task, str]]:
    """The candidate list of each task by a label for both, "" for all items; empty for a data set of one task."""
    data = run.dataset(dataset)
    if not set(TASKS) <= set(data.tasks):
        return {}
    lists = {ALL_ITEMS: dict.fromkeys(TASKS, "")}
    first = {task: next(iter(data.test[task].candidates), "") for task in TASKS}
    if all(first.values()):
        lists[" and ".join(first.values())] = first
    return lists


def _points(run: AnalysisInput, dataset: str, lists: Mapping[Task, str]) -> list[Point]:
    """One per model in the order of the run, those of both tasks first; none if no model has both."""
    cells = cells_by_task(run, dataset)
    models = [model for model in cells if not base_of(model, cells)]
    models.sort(key=lambda model: len(cells[model]) < len(TASKS))
    points = [_point(run, model, cells[model], lists) for model in models]
    return points if any(point.covariance is not None for point in points) else []


def _point(run: AnalysisInput, model: str, cells: Mapping[Task, list[Cell]], lists: Mapping[Task, str]) -> Point:
    values, users = [], []
    for task, seeds in cells.items():
        value = mean_ndcg(run, seeds, task, DEPTH, lists[task])
        answerable = np.isfinite(value)
        values.append(value[answerable])
        users.append(run.dataset(seeds[0].dataset).test[task].requests.users[answerable])
    summary = {task: interval(value) for task, value in zip(cells, values, strict=True)}
    return Point(
        model,
        {task: mean for task, (mean, _) in summary.items()},
        {task: half for task, (_, half) in summary.items()},
        covariance_of_means(values[0], values[1], users[0], users[1]) if len(cells) == len(TASKS) else None,
    )


def covariance_of_means(a: Floats, b: Floats, users_a: NDArray[np.int32], users_b: NDArray[np.int32]) -> Floats:
    """(2, 2) of the means of two samples (n,) and (m,), where all values of a user are one observation.

    A user of -1 is unknown, and different from every other. If every user has one value, the diagonal is the squared
    standard error; with fewer than two users it is NaN.
    """
    users = np.concatenate([users_a, users_b]).astype(np.int64)
    unknown = users < 0
    users[unknown] = -1 - np.arange(unknown.sum())  # an observation each
    numbers = np.unique(users, return_inverse=True)[1].reshape(-1)
    influences = []
    for values, sample in ((a, numbers[: len(a)]), (b, numbers[len(a) :])):
        n = len(np.unique(sample))
        scale = np.sqrt(n / (n - 1)) if n > 1 else np.nan
        weights = (values - values.mean()) / len(values) if len(values) else values
        influences.append(scale * np.bincount(sample, weights, minlength=int(numbers.max(initial=-1)) + 1))
    both = np.stack(influences)  # (2, users) how far each user moves the two means
    covariance: Floats = both @ both.T
    return covariance


def correlation(covariance: Floats | None) -> float:
    """The correlation of the two means; NaN without a covariance, or if one mean does not vary."""
    if covariance is None or not covariance[0, 0] * covariance[1, 1] > 0:
        return float("nan")
    return float(covariance[0, 1] / math.sqrt(covariance[0, 0] * covariance[1, 1]))


def ellipse(covariance: Floats) -> tuple[float, float, float]:
    """The 95 % region around the means: its longer and shorter diameter, and the angle of the longer in degrees."""
    lengths, axes = np.linalg.eigh(covariance)  # ascending
    short, long = 2 * np.sqrt(CHI_SQUARE * np.maximum(lengths, 0))
    return float(long), float(short), math.degrees(math.atan2(axes[1, 1], axes[0, 1])) % 180


def _figure(panels: Mapping[str, Mapping[str, Sequence[Point]]]) -> str:
    columns = max(len(by_list) for by_list in panels.values())

    def paint(axes: Sequence[Sequence[Axes]]) -> None:
        for (dataset, by_list), (*row, last) in zip(panels.items(), axes, strict=True):
            for axis in row[len(by_list) :]:
                axis.axis("off")
            for (ranked, points), axis in zip(by_list.items(), row, strict=False):
                for i, point in enumerate(points):
                    _draw(axis, i, point)
                charts.label(axis, f"{dataset}, {ranked}", f"{TASKS[0]}, nDCG@{DEPTH}", f"{TASKS[1]}, nDCG@{DEPTH}")
                axis.margins(0.08)
                axis.autoscale_view()
                axis.set_xlim(left=0)
                charts.from_zero(axis)
            charts.legend(last, row[0])

    return charts.draw(len(panels), columns + 1, paint, height=4.0)


def _draw(axis: Axes, i: int, point: Point) -> None:
    """Model number i: a point in its ellipse, or a line if it has one task."""
    from matplotlib.patches import Ellipse

    colour = charts.COLOURS[i % len(charts.COLOURS)]
    if point.covariance is None:
        line = axis.axvline if TASKS[0] in point.mean else axis.axhline
        style = (0, (4, 1 + 2 * (i // len(charts.COLOURS))))
        line(*point.mean.values(), color=colour, linestyle=style, linewidth=1.1, label=point.model)
        return
    centre = (point.mean[TASKS[0]], point.mean[TASKS[1]])
    axis.plot(*centre, charts.MARKERS[i % len(charts.MARKERS)], color=colour, label=point.model, zorder=3)
    if np.isfinite(point.covariance).all():
        long, short, angle = ellipse(point.covariance)
        axis.add_patch(Ellipse(centre, long, short, angle=angle, color=colour, alpha=0.18, linewidth=0))
