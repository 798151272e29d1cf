"""The categories of a data set's items, at the two levels shown in TIGER's paper.

Axis letters: N items, C categories.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark import Catalog, Ragged

if TYPE_CHECKING:
    import scipy.sparse as sp

COLUMNS = ("categories", "genres")
LEVELS = (
    'An item\'s category is the two names below the root of its path, "Makeup > Nails" of "Beauty > Makeup > Nails > '
    "Nail Polish\": the level of the names in the paper's Table 4. Genres are taken as they are. An item with several "
    "categories counts for each in equal parts, one without any not at all."
)


@dataclass(frozen=True)
class Categories:
    """The `names` of the C categories, and for each item (a row each) the numbers of its categories."""

    names: tuple[str, ...]
    by_item: Ragged

    def shares(self) -> sp.csr_array:
        """(N, C) the share of an item in each category; a row sums to 1, or is empty."""
        import scipy.sparse as sp

        rows = self.by_item
        weights = 1.0 / np.repeat(np.maximum(rows.lengths, 1), rows.lengths)
        return sp.csr_array((weights, rows.values, rows.offsets), shape=(len(rows), len(self.names)))


def categories(catalog: Catalog, *, coarse: bool = False) -> Categories | None:
    """The categories in the column `categories` or `genres`, or None if the catalogue has neither.

    `coarse` keeps the first name below the root alone.
    """
    column = next((name for name in COLUMNS if name in catalog.attributes.columns), None)
    if column is None:
        return None
    rows = [list(dict.fromkeys(_label(path, coarse) for path in _paths(value))) for value in catalog.attributes[column]]
    names = sorted({name for row in rows for name in row})
    number = {name: i for i, name in enumerate(names)}
    return Categories(tuple(names), Ragged.from_rows([number[name] for name in row] for row in rows)) if names else None


def _paths(value: Any) -> Iterator[tuple[str, ...]]:
    """Paths in any of their forms: "A > B | C", ("A > B", "C") and (("A", "B"), ("C",)) are the same two.

    An absent value has no path.
    """
    if isinstance(value, str):
        for text in re.split(r"\s*\|\s*", value):
            names = tuple(name.strip() for name in text.split(" > ") if name.strip())
            if names:
                yield names
    elif isinstance(value, Iterable):
        for path in value:
            if isinstance(path, str):
                yield from _paths(path)
            elif isinstance(path, Iterable) and (names := tuple(str(name) for name in path)):
                yield names


def _label(path: tuple[str, ...], coarse: bool) -> str:
    below = path[1:] or path
    return " > ".join(below[: 1 if coarse else 2])


def entropy(categories: Categories, items: NDArray[np.int32]) -> NDArray[np.float64]:
    """(R,) the entropy, in nats, of the categories of each row's items (R, K); NaN for a row without categories."""
    counts = profile(categories, items)  # (R, C)
    total = np.asarray(counts.sum(axis=1)).ravel()
    logs = counts.copy()
    logs.data = counts.data * np.log(counts.data)
    with np.errstate(invalid="ignore", divide="ignore"):
        values: NDArray[np.float64] = np.log(total) - np.asarray(logs.sum(axis=1)).ravel() / total
    # The entropy of one category may come out as -0 or as a rounding error below 0.
    return np.where(total > 0, np.maximum(values, 0.0), np.nan)


def profile(categories: Categories, items: NDArray[np.int32]) -> sp.csr_array:
    """(R, C) how many of each row's items (R, K, padded with -1) are in each category."""
    import scipy.sparse as sp

    rows, places = np.nonzero(items >= 0)
    chosen = sp.csr_array(
        (np.ones(len(rows)), (rows, items[rows, places])), shape=(len(items), len(categories.by_item))
    )
    return chosen @ categories.shares()
