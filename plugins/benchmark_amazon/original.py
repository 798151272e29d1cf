"""The original files: a line per review and a line per product, as JSON or as the literal of a Python dict."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from benchmark import BenchmarkError
from benchmark_amazon.sequences import Sequences, brand_of, lines, objects, plain, shortened

if TYPE_CHECKING:
    import pandas as pd


def read_original(reviews: Path, meta: Path) -> Sequences:
    """As S3-Rec and TIGER: users in the order of the file, their reviews sorted stably by time, at least five each."""
    import pandas as pd

    table = _reviews(reviews)
    table = table[table.groupby("reviewerID")["asin"].transform("size") >= 5]
    user, users = pd.factorize(table["reviewerID"])
    order = np.lexsort((table["unixReviewTime"], user))
    item, asins = pd.factorize(table["asin"].to_numpy(dtype=object)[order])
    items = _metadata(meta, [str(asin) for asin in asins]).assign(number=np.arange(1, len(asins) + 1))
    time = table["unixReviewTime"].to_numpy(dtype=np.int64)[order]
    return Sequences(users.tolist(), np.bincount(user).astype(np.int64), item, time, items, "seconds since 1970")


def _reviews(path: Path) -> pd.DataFrame:
    """Columns reviewerID, asin, unixReviewTime, in the order of the file."""
    import pandas as pd
    import pyarrow as pa
    from pyarrow import json as arrow_json

    columns = {"reviewerID": str, "asin": str, "unixReviewTime": int}
    schema = pa.schema([("reviewerID", pa.string()), ("asin", pa.string()), ("unixReviewTime", pa.int64())])
    options = arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            table = arrow_json.read_json(stream, arrow_json.ReadOptions(block_size=1 << 24), options)
        if len(table) and not any(column.null_count for column in table.columns):
            return cast("pd.DataFrame", table.to_pandas())
    except (pa.ArrowInvalid, OSError):
        pass  # read line by line: slower, but lines may be Python literals, and the message names a broken one
    rows = []
    for number, line in lines(path):
        record = _record(path, number, line)
        if not all(isinstance(record.get(name), kind) for name, kind in columns.items()):
            raise BenchmarkError(f"{path}, line {number}: a review needs {', '.join(columns)} (seconds).")
        rows.append([record[name] for name in columns])
    return pd.DataFrame(rows, columns=list(columns))


ASIN = re.compile(rb"""["']asin["']: *["'](\w+)["']""")
RELATED = re.compile(r"'related': \{[^{}]*\},? ?")
"""Lists of other products: most of a line, slow to parse, and not used here."""


def _metadata(path: Path, asins: list[str]) -> pd.DataFrame:
    """A row per asin; of the hundreds of thousands of lines, only theirs are parsed."""
    import pandas as pd

    rows = {asin.encode(): row for row, asin in enumerate(asins)}
    records: list[Mapping[str, Any]] = [{}] * len(asins)
    for number, line in lines(path):
        asin = ASIN.search(line)
        if asin is None:
            raise BenchmarkError(f"{path}, line {number} has no asin: {shortened(line)}")
        if asin[1] in rows:
            records[rows[asin[1]]] = _record(path, number, line)
    paths = [[[plain(name) for name in names] for names in record.get("categories") or []] for record in records]
    brands = [brand_of(record.get("brand")) for record in records]
    return pd.DataFrame(
        {
            "asin": asins,
            "title": [plain(record.get("title")) for record in records],
            "price": [_price(record.get("price")) for record in records],
            "brand": brands,
            "categories": objects(tuple(" > ".join(names) for names in several) for several in paths),
            "attributes": objects(
                tuple(dict.fromkeys(name for name in (brand, *chain.from_iterable(p[1:] for p in several)) if name))
                for brand, several in zip(brands, paths, strict=True)
            ),
        }
    )


def _record(path: Path, number: int, line: bytes) -> Mapping[str, Any]:
    """One line of a file: JSON, or the literal of a Python dict."""
    try:
        text = line.decode()
        try:
            record = json.loads(text)
        except ValueError:
            record = ast.literal_eval(RELATED.sub("", text).strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise BenchmarkError(
            f"{path}, line {number} is neither JSON nor the literal of a Python dict: {shortened(line)}"
        ) from error
    if not isinstance(record, dict):
        raise BenchmarkError(f"{path}, line {number} is not a record with fields: {shortened(line)}")
    return record


def _price(value: object) -> float:
    try:
        return float(str(value).lstrip("$").replace(",", ""))
    except ValueError:
        return float("nan")
