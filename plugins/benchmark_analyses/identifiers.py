"""The identifiers of a run, by the facts that the models recorded about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark import Analysis, AnalysisInput, Cell
from benchmark_analyses import charts
from benchmark_analyses.cells import identifier_facts
from benchmark_analyses.tables import analysis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Identifiers"
NOTE = (
    "Per level, from the first: the codes there are (sizes), those in use, their perplexity (e to the entropy: how "
    "many would be in use if all were used alike), and how many different beginnings of that length the items have "
    "(prefixes); without the extra token, which only tells items apart. Colliding: 1 - different identifiers / items, "
    "before items with equal codes are told apart and after; largest group: the most items with equal codes. Error: "
    "the squared distance between item vectors and their reconstructions, as a share of the vectors' variance; prefix "
    "error: the same for the mean of all items with the same beginning, which all methods have that look at vectors. "
    "Steps and precision are those of an auto-encoder's training. Seconds: what making them took, once for all models "
    "that have the same ones, in the fit of the first of them."
)
JOINT = (
    " A model with joint identifiers (Shi 2025, 3.2) has two per item, a semantic and a collaborative one, whose first "
    "codes are the same. Beside them, where they were made (`compare_identifiers: true` of gensar), are identifiers of "
    "as many codes from either kind of vectors alone. The paper's Figure 5 has 0.18 % of the items of its Commercial "
    "data colliding in the semantic and 0.39 % in the collaborative one, against 1.37 % in only semantic and 0.90 % in "
    "only collaborative identifiers; its authors' code counts after moving, when Sinkhorn has given colliding items "
    "other last codes (`collisions: sinkhorn`), and leaves those that still collide."
)
NOTHING = "No model of this run recorded identifiers."
BOTH = ("semantic", "collaborative")
COLUMNS = {
    "method": "method",
    "sizes": "sizes",
    "codes_used": "in use",
    "perplexity": "perplexity",
    "prefixes": "prefixes",
    "largest_group": "largest group",
    "collision_rate_before": "colliding before",
    "collision_rate_after_moving": "after moving",
    "collision_rate": "colliding after",
    "reconstruction_error": "error",
    "prefix_error": "prefix error",
    "steps": "steps",
    "precision": "precision",
    "seconds": "seconds",
    "remarks": "remark",
}


def identifiers(run: AnalysisInput) -> Analysis:
    """A row per cell that recorded `identifiers`, or one per identifier of an item if it has several.

    A column per fact, without those that nobody recorded.
    """
    recorded = [(cell, kind, facts) for cell in run.cells for kind, facts in _kinds(identifier_facts(run, cell))]
    seeds = len({cell.seed for cell, _, _ in recorded}) > 1
    joint = any(kind for _, kind, _ in recorded)
    rows = []
    for cell, kind, facts in recorded:
        row: dict[str, Any] = {"data set": cell.dataset, "model": cell.model}
        row |= {"identifier": kind} if joint else {}
        row |= {"seed": str(cell.seed)} if seeds else {}
        rows.append(row | {label: _text(facts.get(name), name) for name, label in COLUMNS.items()})
    note = NOTE + (JOINT if joint else "")
    return analysis(TITLE, note, rows, nothing=NOTHING, figure=lambda: _figure(recorded, seeds), drop_empty=True)


def _kinds(recorded: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The kind of each identifier of an item with its facts; the kind is "" if items have one identifier."""
    if not recorded:
        return
    if not all(isinstance(recorded.get(name), Mapping) for name in BOTH):
        yield "", recorded
    elif recorded.get("kind") in BOTH:  # both identifiers are made from these vectors alone, and so equal
        yield f"only {recorded['kind']}", recorded[recorded["kind"]]
    else:
        yield from ((name, recorded[name]) for name in BOTH)
        yield from ((f"only {name}", facts) for name, facts in recorded.get("alone", {}).items())


def _text(value: Any, name: str) -> Any:
    """A list as one text, and so are steps, which would turn into fractions where some models have none; everything
    else as it is."""
    if name == "steps" and value is not None:
        return f"{value:,}"
    if not isinstance(value, list):
        return value
    if value and isinstance(value[0], str):
        return "; ".join(value)
    return " · ".join(f"{v:,}" if isinstance(v, int) else f"{v:.3g}" if v < 100 else f"{v:,.0f}" for v in value)


def _figure(recorded: Sequence[tuple[Cell, str, Mapping[str, Any]]], seeds: bool) -> str:
    names = [
        f"{cell.dataset}, {cell.model}{f': {kind}' if kind else ''}{f', seed {cell.seed}' if seeds else ''}"
        for cell, kind, _ in recorded
    ]
    all_facts = [facts for _, _, facts in recorded]

    def paint(axes: Sequence[Sequence[Axes]]) -> None:
        left, right, panel = axes[0]
        place = np.arange(len(names))
        after = [facts.get("collision_rate_after_moving", facts.get("collision_rate")) for facts in all_facts]
        before = [facts.get("collision_rate_before") for facts in all_facts]
        for i, (rates, label) in enumerate(((before, "before"), (after, "after"))):
            widths = [100 * float(rate or 0) for rate in rates]
            bars = left.barh(place + 0.2 * (2 * i - 1), widths, 0.36, label=label, color=charts.COLOURS[1 - i])
            left.bar_label(bars, fmt="%.2g", padding=3, fontsize=8)
        left.set_yticks(place, names)
        left.invert_yaxis()
        left.margins(x=0.15)
        left.grid(axis="y", visible=False)
        charts.label(left, "Colliding identifiers", "% of the items", "", legend=True)
        for i, (name, facts) in enumerate(zip(names, all_facts, strict=True)):
            shares = [100 * n / max(1, facts.get("items", 1)) for n in facts.get("prefixes", ())]
            charts.line(right, i, name, range(1, len(shares) + 1), shares)
        right.set_xticks(range(1, 1 + max((len(facts.get("prefixes", ())) for facts in all_facts), default=1)))
        right.set_ylim(0, 105)
        charts.label(right, "Different beginnings", "levels", "% of the items")
        charts.legend(panel, right)

    return charts.draw(1, 3, paint, height=max(3.2, 0.42 * len(names) + 1.2))
