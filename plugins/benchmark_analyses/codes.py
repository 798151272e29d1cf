"""How well the codes of items match their categories (Rajput 2023, 4.3.1 and Figure 4).

Axis letters: N items, L levels, C categories, P different codes or prefixes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark import Analysis, AnalysisInput
from benchmark_analyses import charts
from benchmark_analyses.categories import LEVELS, Categories, categories
from benchmark_analyses.cells import cells_by_model, full_datasets
from benchmark_analyses.tables import analysis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Codes and categories"
SHOWN = 12
"""The most first codes that the figure shows, the most frequent ones if there are more."""
NOTE = (
    "As in Rajput 2023, section 4.3.1 and Figure 4, which looks at sizes 4, 16 and 256 on Beauty and finds the first "
    "code to be a coarse category. NMI: mutual information of a level's code (or of the codes up to it) and the "
    "category, divided by the mean of both entropies, 0-1; by chance: the same with the codes dealt to the items at "
    "random, for many codes tell few items apart by luck alone. The paper gives no such number. The figure has the "
    "categories of the items with each first code, the twelve largest where there are more. Coarse categories are the "
    "first name below the root. "
) + LEVELS
NOTHING = "No model of this run recorded codes of items with known categories (`record_codes: true` of tiger does it)."


@dataclass(frozen=True)
class Coded:
    """The learned codes int32 (N, L) of a model's items, with coarse and fine categories."""

    dataset: str
    model: str
    codes: NDArray[np.int32]
    coarse: Categories
    fine: Categories


def codes_and_categories(run: AnalysisInput) -> Analysis:
    """A row per data set, model, level and kind of category. Of the first seed."""
    models = list(_coded(run))
    rows = []
    for coded in models:
        same = coded.coarse.names == coded.fine.names
        kinds = {"": coded.fine} if same else {" coarse": coded.coarse, " fine": coded.fine}
        dealt = coded.codes[np.random.default_rng(0).permutation(len(coded.codes))]
        for level in range(coded.codes.shape[1]):
            for suffix, kind in kinds.items():
                row: dict[str, Any] = {"data set": coded.dataset, "model": coded.model, "level": str(level + 1)}
                row["categories"] = f"{len(kind.names)}{suffix}"
                for name, columns in (("code", [level]), ("codes up to it", list(range(level + 1)))):
                    values = _numbered(coded.codes[:, columns])
                    row |= {
                        f"{name}: different": int(values.max()) + 1,
                        f"{name}: NMI": nmi(values, kind),
                        f"{name}: by chance": nmi(_numbered(dealt[:, columns]), kind),
                    }
                rows.append(row)
    return analysis(TITLE, NOTE, rows, nothing=NOTHING, figure=lambda: _figure(models))


def _coded(run: AnalysisInput) -> Iterator[Coded]:
    for dataset in full_datasets(run):
        for model, cells in cells_by_model(run, dataset).items():
            codes = np.array(run.facts(cells[0]).get("codes") or [], dtype=np.int32)
            if codes.ndim != 2:
                continue
            catalog = run.dataset(dataset).train.catalog
            coarse, fine = categories(catalog, coarse=True), categories(catalog)
            if coarse is not None and fine is not None and len(codes) == len(catalog):
                yield Coded(dataset, model, codes, coarse, fine)


def _numbered(codes: NDArray[np.int32]) -> NDArray[np.int64]:
    """(N,) a number for each row of codes (N, l): equal rows have equal numbers, counted from 0."""
    return np.unique(codes, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def contingency(values: NDArray[np.int64], kinds: Categories) -> Any:
    """(P, C) sparse: how many items have each of the values (N,) together with each category."""
    import scipy.sparse as sp

    n = len(values)
    members = sp.csr_array((np.ones(n), (values, np.arange(n))), shape=(int(values.max(initial=-1)) + 1, n))
    return members @ kinds.shares()


def nmi(values: NDArray[np.int64], kinds: Categories) -> float:
    """Normalised mutual information, 0-1, of values (N,) and categories; 0 if either is constant."""
    joint = contingency(values, kinds)
    total = joint.sum()
    if not total:
        return float("nan")
    a, b, both = (_entropy(x / total) for x in (joint.sum(axis=1), joint.sum(axis=0), joint.data))
    return float(2 * (a + b - both) / (a + b)) if min(a, b) > 1e-12 else 0.0


def _entropy(shares: NDArray[np.float64]) -> float:
    positive = shares[shares > 0]
    return float(-(positive * np.log(positive)).sum())


def _figure(models: Sequence[Coded]) -> str:
    def paint(axes: Sequence[Sequence[Axes]]) -> None:
        for coded, (axis, panel) in zip(models, axes, strict=True):
            first = coded.codes[:, 0]
            used, values = np.unique(first, return_inverse=True)
            counts = contingency(values.reshape(-1).astype(np.int64), coded.coarse).toarray()  # (P, C)
            largest = np.sort(np.argsort(-counts.sum(axis=1), kind="stable")[:SHOWN])
            # A category per colour, except the last colour, which all other categories share.
            common = np.argsort(-counts.sum(axis=0), kind="stable")[: len(charts.COLOURS) - 1]
            rest = counts.sum(axis=1) - counts[:, common].sum(axis=1)
            stacks = [(coded.coarse.names[c], counts[:, c]) for c in common]
            stacks += [("others", rest)] if rest.sum() > 1e-9 else []
            bottom = np.zeros(len(largest))
            place = np.arange(len(largest))
            colours = [*charts.COLOURS[: len(common)], charts.COLOURS[-1]]
            for (name, heights), colour in zip(stacks, colours, strict=False):
                axis.bar(place, heights[largest], 0.75, bottom=bottom, label=name, color=colour)
                bottom += heights[largest]
            axis.set_xticks(place, [str(used[p]) for p in largest])
            axis.grid(axis="x", visible=False)
            part = f", {len(largest)} of {len(used)}" if len(largest) < len(used) else ""
            charts.label(axis, f"{coded.dataset}, {coded.model}", f"first code{part}", "items")
            charts.from_zero(axis)
            charts.legend(panel, axis)

    return charts.draw(len(models), 2, paint, height=3.2)
