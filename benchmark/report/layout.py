"""What a report is made of before it has a format: sections of tables whose numbers are already text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A heading: `group` stands above neighbours that share it, `below` is what the numbers are over, "n=943".

    `grey` columns hold other people's numbers; `long` ones hold sentences, and are left out where space is short.
    """

    name: str
    group: str = ""
    below: str = ""
    grey: bool = False
    long: bool = False
    words: bool = False


@dataclass(frozen=True)
class Entry:
    """A table's cell. `spread` is a standard deviation over seeds, `hint` what a page may show on demand."""

    text: str
    mark: str = ""
    spread: str = ""
    bold: bool = False
    hint: str = ""


@dataclass(frozen=True)
class Figure:
    """The text of an SVG file, what it shows in words, and its path beside the report."""

    svg: str
    alt: str
    path: str


@dataclass(frozen=True)
class Table:
    """Rows of entries under columns; `notes` stand below, a `figure` above."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Entry]]
    notes: Sequence[str] = ()
    figure: Figure | None = None


@dataclass(frozen=True)
class Section:
    """Tables under a heading; `kind` is results, published, comparisons, claims, failures, analyses or cost."""

    kind: str
    heading: str
    tables: Sequence[Table]


def number(value: float | None) -> str:
    """Four decimals; fewer where the number is large. Empty for None."""
    if value is None or not math.isfinite(value):
        return ""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}" if abs(value) < 1000 else f"{value:,.0f}"


def decimals(printed: Iterable[float]) -> int:
    """How many decimals these printed numbers have, three or four: papers differ."""
    return 3 if all(abs(value - round(value, 3)) < 1e-9 for value in printed) else 4


def probability(p: float | None) -> str:
    if p is None:
        return ""
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


def interval(low: float, high: float) -> str:
    return f"{low:+.4f} to {high:+.4f}" if math.isfinite(low) and math.isfinite(high) else ""
