"""Diversity by sampling at a temperature (Rajput 2023, 4.4.2, Tables 4 and 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark import Analysis, AnalysisInput, Cell
from benchmark_generative.analyses import charts
from benchmark_generative.analyses.categories import LEVELS, Categories, categories, entropy, profile
from benchmark_generative.analyses.runs import TASK, interval, mean_recall, with_variants

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
    """One way to decode one model: `temperature` NaN is beam search; entropies are by depth."""

    dataset: str
    model: str
    temperature: float
    entropy: dict[int, float]
    printed: dict[int, float | None]
    recall: tuple[float, float]
    items: float


def diversity(given: AnalysisInput) -> Analysis:
    """A row per data set, model and temperature: Table 5, with what the paper prints beside it."""
    import pandas as pd

    title = "Diversity by temperature"
    found, sampled = [], False
    for dataset, model, cells, variants in with_variants(given, "temperature"):
        sampled = True
        kinds = categories(given.dataset(dataset).train.catalog)
        if kinds is not None:
            for temperature, variant in [(float("nan"), ""), *variants.items()]:
                found.append(_decoding(given, dataset, model, cells, variant, temperature, kinds))
    if not found:
        return Analysis(title, pd.DataFrame(), f"{NOTE} {NO_CATEGORIES if sampled else NOTHING}")
    lines = []
    for d in found:
        line: dict[str, Any] = {"data set": d.dataset, "model": d.model, "decoding": _said(d)}
        for k in DEPTHS:
            line[f"Entropy@{k}"] = d.entropy.get(k, np.nan)
            line[f"Entropy@{k} in the paper"] = d.printed.get(k)
        lines.append(line | {"R@10": d.recall[0], "± R@10": d.recall[1], "items": d.items})
    table = pd.DataFrame(lines).dropna(axis=1, how="all")
    return Analysis(title, table, NOTE, _figure(found))


def _decoding(
    given: AnalysisInput,
    dataset: str,
    model: str,
    cells: Sequence[Cell],
    variant: str,
    temperature: float,
    kinds: Categories,
) -> Decoding:
    rankings = [given.ranking(cell, TASK, variant).items for cell in cells]
    relevant = given.dataset(dataset).test[TASK].relevant
    values: dict[int, list[float]] = {}
    for items in rankings:
        for k in DEPTHS:
            if ((items >= 0).sum(axis=1) >= k).mean() >= 0.5:
                known = entropy(kinds, items[:, :k])
                known = known[np.isfinite(known)]
                if len(known):
                    values.setdefault(k, []).append(float(known.mean()))
    printed = {
        k: None if np.isnan(temperature) else given.published(cells[0], TASK, f"Entropy@{k}", f"T={temperature:.1f}")
        for k in DEPTHS
    }
    recall = interval(mean_recall(given, cells, variant, relevant, [10])[0])
    lengths = float(np.mean([(items >= 0).sum(axis=1).mean() for items in rankings]))
    means = {k: float(np.mean(v)) for k, v in values.items()}
    return Decoding(dataset, model, temperature, means, printed, recall, lengths)


def _said(decoding: Decoding) -> str:
    return SEARCH if np.isnan(decoding.temperature) else f"T = {decoding.temperature:g}"


def _figure(found: Sequence[Decoding]) -> str:
    places = list(dict.fromkeys((d.dataset, d.model) for d in found))

    def paint(axes: Sequence[Sequence[Axes]]) -> None:
        for (dataset, model), (left, beside, right) in zip(places, axes, strict=True):
            own = [d for d in found if (d.dataset, d.model) == (dataset, model)]
            search, sampled = own[0], own[1:]
            for i, k in enumerate(DEPTHS):
                points = [(d.temperature, d.entropy[k]) for d in sampled if k in d.entropy]
                if points:
                    charts.line(left, i, f"K = {k}", *zip(*points, strict=True))
                if k in search.entropy:
                    charts.level(left, i, f"K = {k}, {SEARCH}", search.entropy[k])
                printed = [(d.temperature, value) for d in sampled if (value := d.printed.get(k)) is not None]
                if printed:
                    how: dict[str, Any] = {"linestyle": ":", "markerfacecolor": "none"}
                    charts.line(left, i, f"K = {k}, the paper", *zip(*printed, strict=True), **how)
            charts.name(left, f"{dataset}, {model}: diversity", "temperature", "Entropy@K (nats)")
            charts.from_zero(left)
            charts.key(beside, left)
            recall = np.array([d.recall for d in sampled])
            charts.line(right, 0, "sampled", [d.temperature for d in sampled], recall[:, 0], recall[:, 1])
            charts.level(right, 1, SEARCH, *search.recall)
            charts.name(right, "What it costs", "temperature", "R@10", legend=True)
            charts.from_zero(right)

    return charts.draw(len(places), 3, paint, height=3.3)


def diversity_examples(given: AnalysisInput) -> Analysis:
    """A row per target category, a column per decoding: Table 4. Of the first seed."""
    import pandas as pd

    title = "Diversity by temperature: examples"
    lines, sampled = [], False
    for dataset, model, cells, variants in with_variants(given, "temperature"):
        sampled = True
        kinds = categories(given.dataset(dataset).train.catalog)
        if kinds is None:
            continue
        split = given.dataset(dataset).test[TASK]
        chosen = _chosen(kinds, split.relevant.padded(1)[:, 0], split.requests.keys)
        shown = {SEARCH: "", **{f"T = {t:g}": variant for t, variant in variants.items()}}
        tops = {
            said: profile(kinds, given.ranking(cells[0], TASK, variant).items[list(chosen.values()), :10]).toarray()
            for said, variant in shown.items()
        }
        for i, category in enumerate(chosen):
            line = {"data set": dataset, "model": model, "target category": category}
            lines.append(line | {said: _common(kinds, top[i]) for said, top in tops.items()})
    if not lines:
        return Analysis(title, pd.DataFrame(), f"{EXAMPLES_NOTE} {NO_CATEGORIES if sampled else NOTHING}")
    return Analysis(title, pd.DataFrame(lines), EXAMPLES_NOTE)


def _chosen(kinds: Categories, targets: Any, keys: Any) -> dict[str, int]:
    """The request with the smallest key of each of the most frequent categories of the targets (R,)."""
    first = np.where(kinds.of.lengths > 0, kinds.of.padded(int(kinds.of.lengths.max()))[:, 0], -1)  # (N,)
    kind = np.where(targets >= 0, first[targets], -1)
    counts = np.bincount(kind[kind >= 0], minlength=len(kinds.names))
    order = np.argsort(keys, kind="stable")
    frequent = [c for c in np.argsort(-counts, kind="stable")[:EXAMPLES] if counts[c]]
    return {kinds.names[c]: int(order[np.argmax(kind[order] == c)]) for c in frequent}


def _common(kinds: Categories, counts: Any) -> str:
    """At most four categories, the most frequent first, with their counts."""
    best = [c for c in np.argsort(-counts, kind="stable")[:4] if counts[c] > 0]
    return ", ".join(f"{kinds.names[c]} {counts[c]:.2g}" for c in best)
