"""Diversity by sampling at a temperature (Rajput 2023, 4.4.2, Tables 4 and 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark import Analysis, AnalysisInput, Cell
from benchmark_analyses import charts
from benchmark_analyses.categories import LEVELS, Categories, categories, entropy, profile
from benchmark_analyses.cells import TASK, with_variants
from benchmark_analyses.measures import interval, mean_recall
from benchmark_analyses.tables import analysis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Diversity by temperature"
DEPTHS = (10, 20, 50)
SEARCH = "beam search"
EXAMPLES = 6
NOTE = (
    "As in Rajput 2023, section 4.4.2 and Table 5: Entropy@K of the categories of the K items at the top, in nats, "
    "averaged over requests; higher is more diverse, and R@10 says what it costs. The paper states neither the base of "
    "its logarithm, nor the level of the categories, nor how the items that were sampled become a top K. Entropy@K is "
    "empty where fewer than half the requests have K items; `items` is the mean length of a list. "
) + LEVELS
EXAMPLES_NOTE = (
    "As in Rajput 2023, Table 4: the categories of the ten items at the top, with how many of the ten are in each, for "
    "one request, chosen by a hash, of each of the most frequent target categories. "
) + LEVELS
NOTHING = "No model of this run was also sampled from (`temperatures: [1.0, 1.5, 2.0]` of tiger does it)."
NO_CATEGORIES = "No data set of these models has a column of categories or genres."


@dataclass(frozen=True)
class Decoding:
    """One model decoded in one way, at `temperature` or by beam search (NaN).

    `entropy` and the paper's, `printed`, are by depth; `recall` is R@10 with half its interval's width.
    """

    dataset: str
    model: str
    temperature: float
    entropy: dict[int, float]
    printed: dict[int, float | None]
    recall: tuple[float, float]
    items: float

    @property
    def name(self) -> str:
        return decoding_name(self.temperature)


def decoding_name(temperature: float) -> str:
    return SEARCH if np.isnan(temperature) else f"T = {temperature:g}"


@dataclass(frozen=True)
class Sampled:
    """A model that was also sampled from.

    `rankings` are temperatures with the names of their rankings, the first NaN and "" for the beam search; `kinds` are
    the categories of the items, None if the data set has none.
    """

    dataset: str
    model: str
    cells: Sequence[Cell]
    rankings: Sequence[tuple[float, str]]
    kinds: Categories | None


def _sampled(run: AnalysisInput) -> list[Sampled]:
    models = []
    for dataset, model, cells, variants in with_variants(run, "temperature"):
        kinds = categories(run.dataset(dataset).train.catalog)
        models.append(Sampled(dataset, model, cells, [(np.nan, ""), *variants.items()], kinds))
    return models


def diversity(run: AnalysisInput) -> Analysis:
    """A row per data set, model and temperature: Table 5, with what the paper prints next to it."""
    models = _sampled(run)
    decodings = [
        _decoding(run, model, model.kinds, temperature, variant)
        for model in models
        if model.kinds is not None
        for temperature, variant in model.rankings
    ]
    rows = []
    for d in decodings:
        row: dict[str, Any] = {"data set": d.dataset, "model": d.model, "decoding": d.name}
        for k in DEPTHS:
            row[f"Entropy@{k}"] = d.entropy.get(k, np.nan)
            row[f"Entropy@{k} in the paper"] = d.printed.get(k)
        rows.append(row | {"R@10": d.recall[0], "± R@10": d.recall[1], "items": d.items})
    nothing = NO_CATEGORIES if models else NOTHING
    return analysis(TITLE, NOTE, rows, nothing=nothing, figure=lambda: _figure(decodings), drop_empty=True)


def _decoding(run: AnalysisInput, model: Sampled, kinds: Categories, temperature: float, variant: str) -> Decoding:
    rankings = [run.ranking(cell, TASK, variant).items for cell in model.cells]
    relevant = run.dataset(model.dataset).test[TASK].relevant
    means: dict[int, list[float]] = {}
    for items in rankings:
        for k in DEPTHS:
            if ((items >= 0).sum(axis=1) >= k).mean() >= 0.5:
                values = entropy(kinds, items[:, :k])
                values = values[np.isfinite(values)]
                if len(values):
                    means.setdefault(k, []).append(float(values.mean()))
    row = f"T={temperature:.1f}"
    printed = {
        k: None if np.isnan(temperature) else run.published(model.cells[0], TASK, f"Entropy@{k}", row) for k in DEPTHS
    }
    recall = interval(mean_recall(run, model.cells, variant, relevant, [10])[0])
    lengths = float(np.mean([(items >= 0).sum(axis=1).mean() for items in rankings]))
    by_depth = {k: float(np.mean(seeds)) for k, seeds in means.items()}
    return Decoding(model.dataset, model.model, temperature, by_depth, printed, recall, lengths)


def _figure(decodings: Sequence[Decoding]) -> str:
    models = list(dict.fromkeys((d.dataset, d.model) for d in decodings))

    def paint(axes: Sequence[Sequence[Axes]]) -> None:
        for (dataset, model), (left, panel, right) in zip(models, axes, strict=True):
            search, *sampled = (d for d in decodings if (d.dataset, d.model) == (dataset, model))
            for i, k in enumerate(DEPTHS):
                points = [(d.temperature, d.entropy[k]) for d in sampled if k in d.entropy]
                if points:
                    charts.line(left, i, f"K = {k}", *zip(*points, strict=True))
                if k in search.entropy:
                    charts.level(left, i, f"K = {k}, {SEARCH}", search.entropy[k])
                printed = [(d.temperature, value) for d in sampled if (value := d.printed.get(k)) is not None]
                if printed:
                    style: dict[str, Any] = {"linestyle": ":", "markerfacecolor": "none"}
                    charts.line(left, i, f"K = {k}, the paper", *zip(*printed, strict=True), **style)
            charts.label(left, f"{dataset}, {model}: diversity", "temperature", "Entropy@K (nats)")
            charts.from_zero(left)
            charts.legend(panel, left)
            recall = np.array([d.recall for d in sampled])
            charts.line(right, 0, "sampled", [d.temperature for d in sampled], recall[:, 0], recall[:, 1])
            charts.level(right, 1, SEARCH, *search.recall)
            charts.label(right, "What it costs", "temperature", "R@10", legend=True)
            charts.from_zero(right)

    return charts.draw(len(models), 3, paint, height=3.3)


def diversity_examples(run: AnalysisInput) -> Analysis:
    """A row per target category, a column per decoding: Table 4. Of the first seed."""
    models = _sampled(run)
    rows = []
    for model in models:
        if model.kinds is None:
            continue
        split = run.dataset(model.dataset).test[TASK]
        examples = _examples(model.kinds, split.relevant.padded(1)[:, 0], split.requests.keys)
        requests = list(examples.values())
        counts = {}
        for temperature, variant in model.rankings:
            items = run.ranking(model.cells[0], TASK, variant).items[requests, :10]
            counts[decoding_name(temperature)] = profile(model.kinds, items).toarray()
        for i, category in enumerate(examples):
            row = {"data set": model.dataset, "model": model.model, "target category": category}
            rows.append(row | {name: _common(model.kinds, top[i]) for name, top in counts.items()})
    nothing = NO_CATEGORIES if models else NOTHING
    return analysis(f"{TITLE}: examples", EXAMPLES_NOTE, rows, nothing=nothing)


def _examples(kinds: Categories, targets: Any, keys: Any) -> dict[str, int]:
    """The request with the smallest key, for each of the most frequent categories of the targets (R,)."""
    rows = kinds.by_item
    first = np.where(rows.lengths > 0, rows.padded(int(rows.lengths.max()))[:, 0], -1)  # (N,)
    kind = np.where(targets >= 0, first[targets], -1)
    counts = np.bincount(kind[kind >= 0], minlength=len(kinds.names))
    order = np.argsort(keys, kind="stable")
    frequent = [c for c in np.argsort(-counts, kind="stable")[:EXAMPLES] if counts[c]]
    return {kinds.names[c]: int(order[np.argmax(kind[order] == c)]) for c in frequent}


def _common(kinds: Categories, counts: Any) -> str:
    """At most four categories, the most frequent first, with their counts."""
    best = [c for c in np.argsort(-counts, kind="stable")[:4] if counts[c] > 0]
    return ", ".join(f"{kinds.names[c]} {counts[c]:.2g}" for c in best)
