"""The categories that a data set states for its items, at the two levels that TIGER's paper shows.

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
    """`names` of the C categories, and `of` each item (a row per item) their numbers."""

    names: tuple[str, ...]
    of: Ragged

    def shares(self) -> sp.csr_array:
        """(N, C) how much of an item is in a category; each row sums to 1, or is empty."""
        import scipy.sparse as sp

        lengths = self.of.lengths
        weights = 1.0 / np.repeat(np.maximum(lengths, 1), lengths)
        return sp.csr_array((weights, self.of.values, self.of.offsets), shape=(len(self.of), len(self.names)))


def categories(catalog: Catalog, *, coarse: bool = False) -> Categories | None:
    """Of the column `categories` or `genres`, None without one; `coarse` is the first name below the root alone."""
    column = next((name for name in COLUMNS if name in catalog.attributes.columns), None)
    if column is None:
        return None
    rows = [list(dict.fromkeys(_label(path, coarse) for path in _paths(value))) for value in catalog.attributes[column]]
    names = sorted({name for row in rows for name in row})
    number = {name: i for i, name in enumerate(names)}
    return Categories(tuple(names), Ragged.from_rows([number[name] for name in row] for row in rows)) if names else None


def _paths(value: Any) -> Iterator[tuple[str, ...]]:
    """ "A > B | C", ("A > B", "C") and (("A", "B"), ("C",)) are the same two paths; an absent value is none."""
    if isinstance(value, str):
        for path in re.split(r"\s*\|\s*", value):
            names = tuple(name.strip() for name in path.split(" > ") if name.strip())
            if names:
                yield names
    elif isinstance(value, Iterable):
        for one in value:
            if isinstance(one, str):
                yield from _paths(one)
            elif isinstance(one, Iterable) and (names := tuple(str(name) for name in one)):
                yield names


def _label(path: tuple[str, ...], coarse: bool) -> str:
    below = path[1:] or path
    return " > ".join(below[: 1 if coarse else 2])


def entropy(categories: Categories, items: NDArray[np.int32]) -> NDArray[np.float64]:
    """(R,) in nats, of the distribution of the categories of each row's items (R, K); NaN where there are none."""
    counts = profile(categories, items)  # (R, C)
    total = np.asarray(counts.sum(axis=1)).ravel()
    logs = counts.copy()
    logs.data = counts.data * np.log(counts.data)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: NDArray[np.float64] = np.log(total) - np.asarray(logs.sum(axis=1)).ravel() / total
    # ln 1 - 0 may come out as -0 or as a rounding error below it.
    return np.where(total > 0, np.maximum(found, 0.0), np.nan)


def profile(categories: Categories, items: NDArray[np.int32]) -> sp.csr_array:
    """(R, C) how many of each row's items (R, K; -1 is none) are in each category."""
    import scipy.sparse as sp

    rows, places = np.nonzero(items >= 0)
    chosen = sp.csr_array((np.ones(len(rows)), (rows, items[rows, places])), shape=(len(items), len(categories.of)))
    return chosen @ categories.shares()
