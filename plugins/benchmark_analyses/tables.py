"""The analysis that rows of numbers make, or a note why there are none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmark import Analysis


def analysis(
    title: str,
    note: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    nothing: str = "",
    figure: Callable[[], str] = lambda: "",
    drop_empty: bool = False,
) -> Analysis:
    """A table of `rows` with its figure; without rows an empty table, whose note ends in `nothing`.

    `drop_empty` leaves out columns without any value.
    """
    import pandas as pd

    if not rows:
        return Analysis(title, pd.DataFrame(), f"{note} {nothing}".rstrip())
    table = pd.DataFrame(rows)
    return Analysis(title, table.dropna(axis=1, how="all") if drop_empty else table, note, figure())
