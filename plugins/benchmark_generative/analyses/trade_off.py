"""Recommendation against search: where each joint model stands on both at once (Shi 2025, Figure 1a)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark import TASKS, Analysis, AnalysisInput, Cell, Task
from benchmark_generative.analyses import charts
from benchmark_generative.analyses.runs import Floats, base_of, interval, ndcg_by_request, runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Trade-off of recommendation and search"
DEPTH = 10
CHI_SQUARE = -2 * math.log(0.05)
"""The 95 % quantile of chi-square with two degrees of freedom: an ellipse holds both means at once."""
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
class Place:
    """Where a model stands: its mean and half the interval's width by task, and the covariance (2, 2) of both means in
    the order of `TASKS`, None for a model of one task."""

    model: str
    mean: dict[Task, float]
    half: dict[Task, float]
    covariance: Floats | None


def trade_off(given: AnalysisInput) -> Analysis:
    """A row per data set, list and model; of data sets with a model that answers both tasks."""
    import pandas as pd

    found: dict[str, dict[str, list[Place]]] = {}  # by data set, and by what is ranked
    for dataset in given.datasets:
        for said, lists in _lists(given, dataset).items():
            if places := _places(given, dataset, lists):
                found.setdefault(dataset, {})[said] = places
    lines = []
    for dataset, said, place in ((d, s, place) for d, by in found.items() for s, of in by.items() for place in of):
        line: dict[str, Any] = {"data set": dataset, "over": said, "model": place.model}
        for task in TASKS:
            line |= {task: place.mean.get(task, np.nan), f"± {task}": place.half.get(task, np.nan)}
        lines.append(line | {"correlation": correlation(place.covariance)})
    if not lines:
        return Analysis(TITLE, pd.DataFrame(), f"{NOTE} {NOTHING}")
    return Analysis(TITLE, pd.DataFrame(lines), NOTE, _figure(found))


def _lists(given: AnalysisInput, dataset: str) -> dict[str, dict[Task, str]]:
    """What is ranked in each task, "" for all items; nothing where a data set has one task."""
    data = given.dataset(dataset)
    if not set(TASKS) <= set(data.tasks):
        return {}
    first = {task: next(iter(data.test[task].candidates), "") for task in TASKS}
    return {ALL_ITEMS: dict.fromkeys(TASKS, "")} | (
        {" and ".join(first.values()): first} if all(first.values()) else {}
    )


def _places(given: AnalysisInput, dataset: str, lists: Mapping[Task, str]) -> list[Place]:
    """One per model in the order of the run, those of both tasks first; none where no model has both."""
    cells: dict[str, dict[Task, list[Cell]]] = {}
    for task in TASKS:
        for model, own in runs(given, dataset, task).items():
            cells.setdefault(model, {})[task] = own
    models = [model for model in cells if not base_of(model, cells)]
    models.sort(key=lambda model: len(cells[model]) < len(TASKS))
    found = [_place(given, model, cells[model], lists) for model in models]
    return found if any(place.covariance is not None for place in found) else []


def _place(given: AnalysisInput, model: str, cells: Mapping[Task, list[Cell]], lists: Mapping[Task, str]) -> Place:
    values, users = [], []
    for task, own in cells.items():
        value = ndcg_by_request(given, own, task, DEPTH, lists[task])
        asked = np.isfinite(value)
        values.append(value[asked])
        users.append(given.dataset(own[0].dataset).test[task].requests.users[asked])
    summary = {task: interval(value) for task, value in zip(cells, values, strict=True)}
    return Place(
        model,
        {task: mean for task, (mean, _) in summary.items()},
        {task: half for task, (_, half) in summary.items()},
        covariance_of_means(values[0], values[1], users[0], users[1]) if len(cells) == len(TASKS) else None,
    )


def covariance_of_means(a: Floats, b: Floats, users_a: NDArray[np.int32], users_b: NDArray[np.int32]) -> Floats:
    """(2, 2) of the means of two samples (n,) and (m,) in which a user's values are one observation; -1 is nobody.

    The diagonal is the squared standard error where every user has one value; NaN with fewer than two users.
    """
    nobody = np.concatenate([users_a, users_b]).astype(np.int64)
    unknown = nobody < 0
    nobody[unknown] = -1 - np.arange(unknown.sum())  # requests by nobody have nothing in common
    user = np.unique(nobody, return_inverse=True)[1].reshape(-1)
    pulls = []
    for values, own in ((a, user[: len(a)]), (b, user[len(a) :])):
        users = len(np.unique(own))
        scale = np.sqrt(users / (users - 1)) if users > 1 else np.nan
        weights = (values - values.mean()) / len(values) if len(values) else values
        pulls.append(scale * np.bincount(own, weights, minlength=int(user.max(initial=-1)) + 1))
    both = np.stack(pulls)  # (2, users) how each user moves the two means
    covariance: Floats = both @ both.T
    return covariance


def correlation(covariance: Floats | None) -> float:
    """Of the two means; NaN where there is no covariance, or one of them does not vary."""
    if covariance is None or not covariance[0, 0] * covariance[1, 1] > 0:
        return float("nan")
    return float(covariance[0, 1] / math.sqrt(covariance[0, 0] * covariance[1, 1]))


def ellipse(covariance: Floats) -> tuple[float, float, float]:
    """The 95 % region around the means: its two diameters, the longer first, and the angle of that one in degrees."""
    lengths, axes = np.linalg.eigh(covariance)  # ascending
    short, long = 2 * np.sqrt(CHI_SQUARE * np.maximum(lengths, 0))
    return float(long), float(short), math.degrees(math.atan2(axes[1, 1], axes[0, 1])) % 180


def _figure(found: Mapping[str, Mapping[str, Sequence[Place]]]) -> str:
    columns = max(len(by_list) for by_list in found.values())

    def paint(axes: Sequence[Sequence[Axes]]) -> None:
        for (dataset, by_list), (*row, beside) in zip(found.items(), axes, strict=True):
            for axis in row[len(by_list) :]:
                axis.axis("off")
            for (said, places), axis in zip(by_list.items(), row, strict=False):
                for i, place in enumerate(places):
                    _draw(axis, i, place)
                charts.name(axis, f"{dataset}, {said}", f"{TASKS[0]}, nDCG@{DEPTH}", f"{TASKS[1]}, nDCG@{DEPTH}")
                axis.margins(0.08)
                axis.autoscale_view()
                axis.set_xlim(left=0)
                charts.from_zero(axis)
            charts.key(beside, row[0])

    return charts.draw(len(found), columns + 1, paint, height=4.0)


def _draw(axis: Axes, i: int, place: Place) -> None:
    """Model number i: a point in its ellipse, or a line where it has one task."""
    from matplotlib.patches import Ellipse

    colour = charts.COLOURS[i % len(charts.COLOURS)]
    if place.covariance is None:
        line = axis.axvline if TASKS[0] in place.mean else axis.axhline
        style = (0, (4, 1 + 2 * (i // len(charts.COLOURS))))
        line(*place.mean.values(), color=colour, linestyle=style, linewidth=1.1, label=place.model)
        return
    at = (place.mean[TASKS[0]], place.mean[TASKS[1]])
    axis.plot(*at, charts.MARKERS[i % len(charts.MARKERS)], color=colour, label=place.model, zorder=3)
    if np.isfinite(place.covariance).all():
        long, short, angle = ellipse(place.covariance)
        axis.add_patch(Ellipse(at, long, short, angle=angle, color=colour, alpha=0.18, linewidth=0))
