"""Items that nobody has interacted with in training (Rajput 2023, 4.4.1 and Figure 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark import Analysis, AnalysisInput, Cell
from benchmark_generative.analyses import charts
from benchmark_generative.analyses.runs import TASK, Floats, interval, mean_recall, numbered, runs

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
    """One model under one ε (NaN: it has none): recall (depths, R) of all requests, and at `main` of unseen targets."""

    model: str
    use: str
    epsilon: float
    base: bool
    recall: Floats
    unseen: Floats


def cold_start(given: AnalysisInput) -> Analysis:
    """A row per data set, model and ε; of data sets with items held out of training."""
    import pandas as pd

    found = {name: _answers(given, name) for name in given.datasets if given.dataset(name).facts.get("unseen_share")}
    found = {name: answers for name, answers in found.items() if answers}
    lines = []
    for dataset, answers in found.items():
        ks = _depths(answers)
        main = _main(ks)
        knn = next((a for a in answers if a.use == BASELINE and a.base), None)
        for a in answers:
            half = interval(a.recall[ks.index(main)])[1]
            unseen, unseen_half = interval(a.unseen)
            difference = (np.nan, np.nan) if knn is None or a is knn else interval(
                a.recall[ks.index(main)] - knn.recall[ks.index(main)]
            )  # fmt: skip
            line: dict[str, Any] = {
                "data set": dataset,
                "model": a.model,
                "ε": "" if np.isnan(a.epsilon) else f"{a.epsilon:g}",
            }
            for k, values in zip(ks, a.recall, strict=True):
                line |= {f"R@{k}": float(values.mean())} | ({f"± R@{k}": half} if k == main else {})
            line |= {"minus Semantic_KNN": difference[0], "± difference": difference[1]}
            line |= {f"unseen targets R@{main}": unseen, "± unseen": unseen_half, "n unseen": len(a.unseen)}
            lines.append(line)
    if not lines:
        return Analysis(TITLE, pd.DataFrame(), f"{NOTE} {NOTHING}")
    return Analysis(TITLE, pd.DataFrame(lines), NOTE, _figure(found))


def _answers(given: AnalysisInput, name: str) -> list[Answers]:
    dataset = given.dataset(name)
    relevant = dataset.test[TASK].relevant
    cold = relevant.keep((dataset.train.popularity(TASK) == 0)[relevant.values])
    models = runs(given, name)
    if not models:
        return []
    depth = min(given.ranking(cells[0], TASK).items.shape[1] for cells in models.values())
    ks = [k for k in DEPTHS if k <= depth]

    def answers(model: str, cells: Sequence[Cell], variant: str, epsilon: float) -> Answers:
        values = mean_recall(given, cells, variant, relevant, ks)
        unseen = mean_recall(given, cells, variant, cold, [_main(ks)])[0]
        return Answers(model, cells[0].model_use, epsilon, not variant, values, unseen)

    out = []
    for model, cells in models.items():
        own = cells[0].model_params.get("unseen_share")
        settings: Mapping[float, str] = numbered(given.variants(cells[0]), "unseen")
        out.append(answers(model, cells, "", np.nan if own is None else float(own)))
        out += [answers(model, cells, variant, epsilon) for epsilon, variant in settings.items() if epsilon != own]
    order = list(models)
    return sorted(out, key=lambda a: (order.index(a.model), a.epsilon))


def _depths(answers: Sequence[Answers]) -> list[int]:
    return list(DEPTHS[: len(answers[0].recall)])


def _main(ks: Sequence[int]) -> int:
    """The depth of Figure 5b, 10, or the nearest below it."""
    return max(k for k in ks if k <= 10)


def _figure(found: Mapping[str, Sequence[Answers]]) -> str:
    def paint(axes: Sequence[Sequence[Axes]]) -> None:
        for (dataset, answers), row in zip(found.items(), axes, strict=True):
            ks = _depths(answers)
            main = _main(ks)
            for i, model in enumerate(dict.fromkeys(a.model for a in answers)):
                own = [a for a in answers if a.model == model]
                base = next(a for a in own if a.base)
                means = np.array([interval(values) for values in base.recall])
                charts.line(row[0], i, _said(base), ks, means[:, 0], means[:, 1])
                _by_epsilon(row[1], i, own, [interval(a.recall[ks.index(main)]) for a in own])
                _by_epsilon(row[2], i, own, [interval(a.unseen) for a in own])
            charts.name(row[0], f"{dataset}: recall by depth", "K", "Recall@K", legend=True)
            row[0].set_xticks(ks)
            charts.name(row[1], f"R@{main} by share of unseen items", "ε", f"R@{main}")
            charts.name(row[2], f"The same, {len(answers[0].unseen)} unseen targets", "ε", f"R@{main}")
            for axis in row:
                charts.from_zero(axis)

    return charts.draw(len(found), 3, paint, height=3.1)


def _said(base: Answers) -> str:
    return base.model if np.isnan(base.epsilon) else f"{base.model}, ε = {base.epsilon:g}"


def _by_epsilon(axis: Axes, i: int, own: Sequence[Answers], means: Sequence[tuple[float, float]]) -> None:
    """A model's curve, or a level where it has no ε or only one."""
    points = sorted((a.epsilon, *mean) for a, mean in zip(own, means, strict=True) if not np.isnan(a.epsilon))
    if len(points) > 1:
        x, y, half = zip(*points, strict=True)
        charts.line(axis, i, own[0].model, x, y, half)
    elif np.isfinite(means[0][0]):
        charts.level(axis, i, own[0].model, *means[0])
