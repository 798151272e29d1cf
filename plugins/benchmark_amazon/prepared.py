"""Sequences prepared by others from the original files: two tables, or the two files of S3-Rec."""

from __future__ import annotations

import json
import zlib
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmark import BenchmarkError
from benchmark_amazon.sequences import Sequences, brand_of, lines, objects, plain

if TYPE_CHECKING:
    import pandas as pd


def read_tables(sequences: Path, items: Path) -> Sequences:
    """`sequences.tsv` and `items.tsv`: numbered items, and the seconds that passed between a user's reviews."""
    import pandas as pd

    rows = tsv(sequences, ["reviewer", "items", "gaps"])
    lengths, numbers = _integers(sequences, rows["items"].tolist(), 2)
    gap_lengths, gaps = _integers(sequences, rows["gaps"].tolist(), 2)
    if (unequal := np.flatnonzero(lengths != gap_lengths)).size:
        row = unequal[0]
        raise BenchmarkError(f"{sequences}, line {row + 2}: {lengths[row]} items, but {gap_lengths[row]} gaps.")
    table = tsv(items, ["item", "asin", "title", "categories", "attributes", "digest"])
    if (bad := np.flatnonzero(~table["item"].str.isdecimal() | table["item"].duplicated())).size:
        item = table["item"][bad[0]]
        raise BenchmarkError(f"{items}, line {bad[0] + 2}: '{item}' must be a whole number that no other line has.")
    table["number"] = table["item"].astype(np.int64)
    distinct, item = np.unique(numbers, return_inverse=True)
    position = pd.Index(table["number"]).get_indexer(distinct)
    if (unknown := np.flatnonzero(position < 0)).size:
        line = 2 + np.repeat(np.arange(len(lengths)), lengths)[np.argmax(item == unknown[0])]
        raise BenchmarkError(f"{sequences}, line {line}: the item {distinct[unknown[0]]} is not in {items}.")
    table = table.iloc[position].reset_index(drop=True)
    text = table[["title", "digest"]].map(plain)
    names = [[plain(name) for name in row.split(" | ")] if row else [] for row in table["attributes"]]
    later = {name for row in names for name in row[1:]}  # a first name is a brand unless another row has it later
    brands = [brand_of(row[0]) if row and row[0] not in later else "" for row in names]
    below = [row[1:] if row and row[0] not in later else row for row in names]
    paths = table["categories"].map(plain)
    table = table.assign(
        title=text["title"],
        digest=text["digest"],
        brand=brands,
        # without any path, at least the names in the paths
        categories=objects(tuple(p.split(" | ")) if p else tuple(b) for p, b in zip(paths, below, strict=True)),
        attributes=objects(tuple(x for x in (brand, *b) if x) for brand, b in zip(brands, below, strict=True)),
    )
    passed = np.cumsum(gaps)
    time = passed - np.repeat(passed[np.cumsum(lengths) - lengths], lengths)
    return Sequences(rows["reviewer"].tolist(), lengths, item, time, table, "seconds since the user's first review")


def read_s3_rec(sequences: Path, attributes: Path) -> Sequences:
    """S3-Rec's lines `user item item …`, and its JSON object from items to lists of attribute numbers."""
    import pandas as pd

    rows = [line.decode(errors="replace").split(maxsplit=1) for _, line in lines(sequences)]
    lengths, numbers = _integers(sequences, [" ".join(row[1:]) for row in rows], 1)
    try:
        by_item = {int(item): tuple(map(str, v)) for item, v in json.loads(_text(attributes)).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise BenchmarkError(f"{attributes} does not map items to lists of attributes: {error}.") from error
    distinct, item = np.unique(numbers, return_inverse=True)
    items = pd.DataFrame({"number": distinct, "attributes": objects(by_item.get(int(i), ()) for i in distinct)})
    positions = np.arange(len(item)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return Sequences(
        [row[0] for row in rows], lengths, item, positions, items, "positions in the sequence; the file has no times"
    )


def _text(path: Path) -> str:
    return b"".join(line for _, line in lines(path)).decode()


def tsv(path: Path, columns: list[str]) -> pd.DataFrame:
    """A table of text. Raises BenchmarkError if it lacks one of the columns, or cannot be read."""
    import pandas as pd

    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, quoting=3, skip_blank_lines=False)
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise BenchmarkError(f"{path} cannot be read as a table: {error}") from error
    if missing := [column for column in columns if column not in table]:
        raise BenchmarkError(f"{path} has no column {', '.join(missing)}. It has {', '.join(map(str, table.columns))}.")
    return table


def _integers(path: Path, rows: list[str], first_line: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The count of whole numbers in each row, and all of them in order. Raises BenchmarkError for a row without any."""
    words = [row.split() for row in rows]
    lengths = np.array([len(row) for row in words], dtype=np.int64)
    for line, row in enumerate(words, first_line):
        if not row or not all(map(str.isdecimal, row)):
            bad = next((word for word in row if not word.isdecimal()), "")
            problem = f"'{bad}' is not a whole number" if row else "whole numbers are missing"
            raise BenchmarkError(f"{path}, line {line}: {problem}.")
    return lengths, np.array(list(map(int, chain.from_iterable(words))), dtype=np.int64)
