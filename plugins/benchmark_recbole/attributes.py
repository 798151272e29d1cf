"""Attributes of items (categories, brand, genres) as numbers, read from the columns of the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark import BenchmarkError, Catalog, Ragged

USUAL = ("categories", "brand", "genres", "attributes")
"""The columns that are read if a suite names none."""
SEPARATORS = r"\s[|>]\s"
"""Separators of values in a text: "OPI | Makeup | Nails", or a path, "Beauty > Makeup > Nails"."""


@dataclass(frozen=True)
class Attribute:
    """The items' values of an attribute: `values` (V,) str, sorted; `rows` has each item's value numbers, ascending."""

    values: tuple[str, ...]
    rows: Ragged

    def table(self) -> NDArray[np.int64]:
        """(N + 1, A) value numbers from 1 on, padded with 0; row 0, of the padding item, is empty."""
        width = max(int(self.rows.lengths.max(initial=0)), 1)
        return np.pad(self.rows.padded(width).astype(np.int64) + 1, ((1, 0), (0, 0)))


def read_attributes(catalog: Catalog, columns: Sequence[str] | None, model: str) -> dict[str, Attribute]:
    """The attribute in each column; if `columns` is None, in those of `USUAL` that have a value.

    Raises BenchmarkError, naming `model` and the existing columns, if a column is missing, or none has a value.
    """
    present = [str(column) for column in catalog.attributes.columns]
    has = f"The catalogue has {', '.join(present)}." if present else "The catalogue has no columns at all."
    for column in columns or ():
        if column not in present:
            raise BenchmarkError(f"{model} is to read the attribute '{column}', which items do not have. {has}")
    wanted = [c for c in USUAL if c in present] if columns is None else list(columns)
    attributes = {column: combine(catalog, [column]) for column in wanted}
    empty = [column for column, attribute in attributes.items() if not attribute.values]
    if columns is not None and empty:
        raise BenchmarkError(f"{model} is to read the attribute '{empty[0]}', which is empty for every item. {has}")
    if len(attributes) == len(empty):
        raise BenchmarkError(
            f"{model} learns from attributes of items, and there is none under the usual names "
            f"({', '.join(USUAL)}). {has} Name columns in params: {{attributes: [column]}}."
        )
    return {column: attributes[column] for column in wanted if column not in empty}


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
