"""Attributes of items (categories, brand, genres) as numbers, read from the columns of the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark import BenchmarkError, Catalog, Ragged

USUAL = ("categories", "brand", "genres", "attributes")
"""The columns that are taken where a suite names none."""
SEPARATORS = r"\s[|>]\s"
"""Between two values in a text: "OPI | Makeup | Nails", or a path, "Beauty > Makeup > Nails"."""


@dataclass(frozen=True)
class Attribute:
    """What items are said to be: `values` (V,) str, sorted; `rows` has the value numbers of each item, ascending."""

    values: tuple[str, ...]
    rows: Ragged

    def table(self) -> NDArray[np.int64]:
        """(N + 1, A) value numbers from 1 on, 0 behind them; row 0, of the padding item, is empty."""
        width = max(int(self.rows.lengths.max(initial=0)), 1)
        return np.pad(self.rows.padded(width).astype(np.int64) + 1, ((1, 0), (0, 0)))


def read_attributes(catalog: Catalog, columns: Sequence[str] | None, model: str) -> dict[str, Attribute]:
    """The attribute that each column holds; all of `USUAL` that hold a value where `columns` is None.

    Raises BenchmarkError, naming `model` and the columns there are, where a column is missing, or none holds a value.
    """
    there = [str(column) for column in catalog.attributes.columns]
    has = f"The catalogue has {', '.join(there)}." if there else "The catalogue has no columns at all."
    for column in columns or ():
        if column not in there:
            raise BenchmarkError(f"{model} is to read the attribute '{column}', which items do not have. {has}")
    wanted = [c for c in USUAL if c in there] if columns is None else list(columns)
    found = {column: combine(catalog, [column]) for column in wanted}
    empty = [column for column, attribute in found.items() if not attribute.values]
    if columns is not None and empty:
        raise BenchmarkError(f"{model} is to read the attribute '{empty[0]}', which is empty for every item. {has}")
    if len(found) == len(empty):
        raise BenchmarkError(
            f"{model} learns from attributes of items, and there is none under the usual names "
            f"({', '.join(USUAL)}). {has} Name columns in params: {{attributes: [column]}}."
        )
    return {column: found[column] for column in wanted if column not in empty}


def combine(catalog: Catalog, columns: Sequence[str]) -> Attribute:
    """All the values of these columns as one attribute; a value that several columns give an item counts once.

    A cell is a list or tuple of values, or a text with values between `SEPARATORS`, or empty.
    """
    import pandas as pd

    cells = pd.concat([catalog.attributes[column].set_axis(range(len(catalog))) for column in columns]).explode()
    texts = cells.dropna().astype(str).str.split(SEPARATORS, regex=True).explode().str.strip()
    texts = texts[texts != ""]
    numbers, values = pd.factorize(texts.to_numpy(dtype=object), sort=True)
    item, n_values = texts.index.to_numpy(dtype=np.int64), max(len(values), 1)
    keys = np.unique(item * n_values + numbers)
    return Attribute(tuple(values), Ragged.from_pairs(keys // n_values, keys % n_values, len(catalog)))
