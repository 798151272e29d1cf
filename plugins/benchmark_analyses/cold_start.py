"""Recommendation of items without training interactions (Rajput 2023, 4.4.1 and Figure 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark import Analysis, AnalysisInput, Cell
from benchmark_analyses import charts
from benchmark_analyses.cells import TASK, cells_by_model, numbered
from benchmark_analyses.measures import NAN_INTERVAL, Floats, interval, mean_recall
from benchmark_analyses.tables import analysis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Cold start"
DEPTHS = (1, 5, 10, 20)
BASELINE = "semantic_knn"
NOTE = (
    "As in Rajput 2023, section 4.4.1 and Figure 5: a share of the test items is taken out of training and validation, "
    "and ε is the largest share of a top K that may be such unseen items. The paper prints no numbers; its figure has "
    "TIGER with ε = 0.1 above Semantic_KNN at every K, and in R@10 above it for every ε ≥ 0.1. Recall over all "
    "requests, and, what the paper does not show, over the n whose target has no training interaction (unseen "
    "targets). ± 95 % interval over requests, seeds averaged first; the difference from Semantic_KNN is paired."
)
NOTHING = "No data set of this run holds items out of training (`protocol: {unseen_share: 0.05}` on a data set does)."


@dataclass(frozen=True)
class Answers:
    """One model with one ε (NaN if it has none): recall (depths, R) of all requests, and that of unseen targets (R',)
    at the main depth. `base` is the model's own ranking."""

    model: str
    use: str
    epsilon: float
    base: bool
    recall: Floats
    unseen: Floats

    @property
    def depths(self) -> list[int]:
        return list(DEPTHS[: len(self.recall)])

    @property
    def main_recall(self) -> Floats:
        """(R,) at the main depth."""
        recall: Floats = self.recall[self.depths.index(_main(self.depths))]
        return recall


def cold_start(run: AnalysisInput) -> Analysis:
    """A row per data set, model and ε; of data sets with items held out of training."""
    answers = {name: _answers(run, name) for name in run.datasets if run.dataset(name).facts.get("unseen_share")}
    answers = {name: models for name, models in answers.items() if models}
    rows = []
    for dataset, models in answers.items():
        knn = next((a for a in models if a.use == BASELINE and a.base), None)
        for a in models:
            main = _main(a.depths)
            epsilon = "" if np.isnan(a.epsilon) else f"{a.epsilon:g}"
            row: dict[str, Any] = {"data set": dataset, "model": a.model, "ε": epsilon}
            for k, values in zip(a.depths, a.recall, strict=True):
                row |= {f"R@{k}": float(values.mean())} | ({f"± R@{k}": interval(values)[1]} if k == main else {})
            paired = NAN_INTERVAL if knn is None or a is knn else interval(a.main_recall - knn.main_recall)
            row["minus Semantic_KNN"], row["± difference"] = paired
            row[f"unseen targets R@{main}"], row["± unseen"] = interval(a.unseen)
            rows.append(row | {"n unseen": len(a.unseen)})
    return analysis(TITLE, NOTE, rows, nothing=NOTHING, figure=lambda: _figure(answers))


def _answers(run: AnalysisInput, name: str) -> list[Answers]:
    """Every model with every ε that it was asked to rank by, in the order of the run."""
    dataset = run.dataset(name)
    relevant = dataset.test[TASK].relevant
    cold = relevant.keep((dataset.train.popularity(TASK) == 0)[relevant.values])
    models = cells_by_model(run, name)
    if not models:
        return []
    depth = min(run.ranking(cells[0], TASK).items.shape[1] for cells in models.values())
    ks = [k for k in DEPTHS if k <= depth]

    def answers(model: str, cells: Sequence[Cell], variant: str, epsilon: float) -> Answers:
        values = mean_recall(run, cells, variant, relevant, ks)
        unseen = mean_recall(run, cells, variant, cold, [_main(ks)])[0]
        return Answers(model, cells[0].model_use, epsilon, not variant, values, unseen)

    rows = []
    for model, cells in models.items():
        share = cells[0].model_params.get("unseen_share")
        rows.append(answers(model, cells, "", np.nan if share is None else float(share)))
        for epsilon, variant in numbered(run.variants(cells[0]), "unseen").items():
            if epsilon != share:
                rows.append(answers(model, cells, variant, epsilon))
    order = list(models)
    return sorted(rows, key=lambda a: (order.index(a.model), a.epsilon))


def _main(ks: Sequence[int]) -> int:
    """The depth of Figure 5b, 10, or the nearest below it."""
    return max(k for k in ks if k <= 10)


def _figure(answers: Mapping[str, Sequence[Answers]]) -> str:
    def paint(axes: Sequence[Sequence[Axes]]) -> None:
        for (dataset, rows), panels in zip(answers.items(), axes, strict=True):
            ks = rows[0].depths
            main = _main(ks)
            for i, model in enumerate(dict.fromkeys(a.model for a in rows)):
                settings = [a for a in rows if a.model == model]
                base = next(a for a in settings if a.base)
                means = np.array([interval(values) for values in base.recall])
                label = model if np.isnan(base.epsilon) else f"{model}, ε = {base.epsilon:g}"
                charts.line(panels[0], i, label, ks, means[:, 0], means[:, 1])
                _by_epsilon(panels[1], i, settings, [interval(a.main_recall) for a in settings])
                _by_epsilon(panels[2], i, settings, [interval(a.unseen) for a in settings])
            charts.label(panels[0], f"{dataset}: recall by depth", "K", "Recall@K", legend=True)
            panels[0].set_xticks(ks)
            charts.label(panels[1], f"R@{main} by share of unseen items", "ε", f"R@{main}")
            charts.label(panels[2], f"The same, {len(rows[0].unseen)} unseen targets", "ε", f"R@{main}")
            for axis in panels:
                charts.from_zero(axis)

    return charts.draw(len(answers), 3, paint, height=3.1)


def _by_epsilon(axis: Axes, i: int, settings: Sequence[Answers], means: Sequence[tuple[float, float]]) -> None:
    """A model's curve, or a horizontal line if it has at most one ε."""
    points = sorted((a.epsilon, *mean) for a, mean in zip(settings, means, strict=True) if not np.isnan(a.epsilon))
    if len(points) > 1:
        x, y, half = zip(*points, strict=True)
        charts.line(axis, i, settings[0].model, x, y, half)
    elif np.isfinite(means[0][0]):
        charts.level(axis, i, settings[0].model, *means[0])
