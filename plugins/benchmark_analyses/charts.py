"""Figures as the text of SVG files, the same bytes for the same numbers."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f3fbf", "#6b7075")
"""Okabe and Ito's palette, which colour-blind readers can tell apart; without yellow, which is too pale on white."""
MARKERS = "osD^vPX*"
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "benchmark",
    "text.parse_math": False,  # a name may contain a dollar
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#5a6068",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e6ea",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "savefig.transparent": True,
}


def draw(rows: int, columns: int, paint: Callable[[Sequence[Sequence[Axes]]], None], *, height: float = 3.0) -> str:
    """The SVG of rows × columns of axes after `paint` has drawn on them; `height` is that of a row, in inches."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's own settings would change the bytes
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(min(10.4, 4.6 * columns + 0.4), height * rows), layout="constrained")
        FigureCanvasSVG(figure)
        paint(figure.subplots(rows, columns, squeeze=False).tolist())
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()


def line(
    axes: Axes, i: int, label: str, x: ArrayLike, y: ArrayLike, half: ArrayLike | None = None, **style: Any
) -> None:
    """Line number i in its own colour and marker, with intervals of half the width `half`."""
    style = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)], **style}
    errors = None if half is None or np.isnan(np.asarray(half, dtype=float)).all() else half
    axes.errorbar(x, y, yerr=errors, label=label, capsize=2.5, elinewidth=0.9, **style)


def level(axes: Axes, i: int, label: str, y: float, half: float | None = None) -> None:
    """A horizontal line for a number that does not depend on x, with its interval as a band."""
    colour = COLOURS[i % len(COLOURS)]
    axes.axhline(y, color=colour, label=label, linestyle="--")
    if half is not None and np.isfinite(half):
        axes.axhspan(y - half, y + half, color=colour, alpha=0.12, linewidth=0)


def from_zero(axes: Axes) -> None:
    """Let the y axis run from 0 to a little above the highest value."""
    axes.set_ylim(0, max(axes.get_ylim()[1] * 1.06, 1e-6))


def legend(panel: Axes, axes: Axes) -> None:
    """Put the legend of `axes` into a panel of its own, because it would hide the lines."""
    panel.axis("off")
    panel.legend(*axes.get_legend_handles_labels(), loc="upper left")


def label(axes: Axes, title: str, x: str, y: str, *, legend: bool = False) -> None:
    """Set the title and the names of both axes; `legend` adds one inside the axes."""
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if legend:
        axes.legend()
