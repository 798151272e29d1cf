"""The result of reading any of the formats, and the functions that their readers share."""

from __future__ import annotations

import gzip
import html
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark import BenchmarkError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Sequences:
    """The reviews, user by user, `lengths` (U,) of each: `item` is the item's row in `items`.

    `items` has those of the columns number, asin, title, price, brand, categories, attributes and digest that the
    format has; `times` says what the times count.
    """

    users: list[str]
    lengths: NDArray[np.int64]
    item: NDArray[np.int64]
    time: NDArray[np.int64]
    items: pd.DataFrame
    times: str


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, counted from 1."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line
    except (OSError, EOFError, zlib.error) as error:
        raise BenchmarkError(f"{path} cannot be read to its end: {error}. Get it again.") from error


def plain(text: object) -> str:
    """Text in one line, without the HTML entities of the files."""
    return " ".join(html.unescape(str(text)).split()) if text is not None else ""


def brand_of(text: object) -> str:
    """The brand, empty for "Unknown"."""
    brand = plain(text)
    return "" if brand == "Unknown" else brand


def objects(values: Iterable[Any]) -> NDArray[np.object_]:
    """A one-dimensional array of these objects, also of tuples, from which numpy would make a table."""
    elements = list(values)
    out = np.empty(len(elements), dtype=object)
    out[:] = elements
    return out


def shortened(line: bytes) -> str:
    """The beginning of a line, for error messages."""
    return repr(line[:60].decode(errors="replace").strip())


def texts_of(items: pd.DataFrame) -> NDArray[np.object_]:
    """The texts for encoders: title (or digest), price, brand and categories, without those that are unknown."""
    n = len(items)
    title, digest, brand = (items[c].tolist() if c in items else [""] * n for c in ("title", "digest", "brand"))
    prices = items["price"].tolist() if "price" in items else [float("nan")] * n
    paths = items["categories"].tolist() if "categories" in items else [()] * n
    return objects(
        ". ".join(
            filter(
                None,
                (
                    name or short,
                    f"Price: {price:.2f}" if price == price else "",
                    f"Brand: {maker}" if maker else "",
                    f"Categories: {', '.join(several)}" if several else "",
                ),
            )
        )
        for name, short, price, maker, several in zip(title, digest, prices, brand, paths, strict=True)
    )
