"""What the identifiers of a run are like: the facts that the models recorded about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark import Analysis, AnalysisInput, Cell
from benchmark_generative.analyses import charts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Identifiers"
NOTE = (
    "Per level, from the first: the codes there are (sizes), those in use, their perplexity (e to the entropy: how "
    "many would be in use if all were used alike), and how many different beginnings of that length the items have "
    "(prefixes); without the extra token, which only tells items apart. Colliding: 1 - different identifiers / items, "
    "before items with equal codes are told apart and after; largest group: the most items with equal codes. Error: "
    "the squared distance between item vectors and their reconstructions, as a share of the vectors' variance; prefix "
    "error: the same for the mean of all items with the same beginning, which all methods have that look at vectors."
)
NOTHING = "No model of this run recorded identifiers."
COLUMNS = {
    "method": "method",
    "sizes": "sizes",
    "codes_used": "in use",
    "perplexity": "perplexity",
    "prefixes": "prefixes",
    "largest_group": "largest group",
    "collision_rate_before": "colliding before",
    "collision_rate": "colliding after",
    "reconstruction_error": "error",
    "prefix_error": "prefix error",
}


def identifiers(given: AnalysisInput) -> Analysis:
    """A row per cell that recorded `identifiers`, a column per fact; a fact that nobody recorded has none."""
    import pandas as pd

    found = {cell: facts for cell in given.cells if isinstance(facts := given.facts(cell).get("identifiers"), Mapping)}
    if not found:
        return Analysis(TITLE, pd.DataFrame(), f"{NOTE} {NOTHING}")
    seeds = len({cell.seed for cell in found}) > 1
    lines = []
    for cell, facts in found.items():
        line: dict[str, Any] = {"data set": cell.dataset, "model": cell.model}
        line |= {"seed": str(cell.seed)} if seeds else {}
        lines.append(line | {said: _text(facts.get(name)) for name, said in COLUMNS.items()})
    table = pd.DataFrame(lines).dropna(axis=1, how="all")
    return Analysis(TITLE, table, NOTE, _figure(found, seeds))


def _text(value: Any) -> Any:
    """A list per level as one text; everything else as it is."""
    if not isinstance(value, list):
        return value
    return " · ".join(f"{v:,}" if isinstance(v, int) else f"{v:.3g}" if v < 100 else f"{v:,.0f}" for v in value)


def _figure(found: Mapping[Cell, Mapping[str, Any]], seeds: bool) -> str:
    names = [f"{c.dataset}, {c.model}{f', seed {c.seed}' if seeds else ''}" for c in found]
    many = list(found.values())

    def paint(axes: Sequence[Sequence[Axes]]) -> None:
        left, right = axes[0]
        place = np.arange(len(many))
        for i, (fact, said) in enumerate((("collision_rate_before", "before"), ("collision_rate", "after"))):
            widths = [100 * float(facts.get(fact) or 0) for facts in many]
            bars = left.barh(place + 0.2 * (2 * i - 1), widths, 0.36, label=said, color=charts.COLOURS[1 - i])
            left.bar_label(bars, fmt="%.2g", padding=3, fontsize=8)
        left.set_yticks(place, names)
        left.invert_yaxis()
        left.margins(x=0.15)
        left.grid(axis="y", visible=False)
        charts.name(left, "Colliding identifiers", "% of the items", "", legend=True)
        for i, (name, facts) in enumerate(zip(names, many, strict=True)):
            shares = [100 * n / max(1, facts.get("items", 1)) for n in facts.get("prefixes", ())]
            charts.line(right, i, name, range(1, len(shares) + 1), shares)
        right.set_xticks(range(1, 1 + max((len(f.get("prefixes", ())) for f in many), default=1)))
        right.set_ylim(0, 105)
        charts.name(right, "Different beginnings", "levels", "% of the items", legend=True)

    return charts.draw(1, 2, paint, height=max(3.2, 0.42 * len(many) + 1.2))
