"""The queries of Ai 2017 and the purchases of each: the authors' judgements, or tables that also have times."""

from __future__ import annotations

import html
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmark import BenchmarkError, Catalog, Log, MissingDataError
from benchmark_amazon.places import find
from benchmark_amazon.prepared import tsv
from benchmark_amazon.sequences import brand_of, lines, objects, plain, texts_of

if TYPE_CHECKING:
    import pandas as pd

SPLITS = "https://github.com/QingyaoAi/Amazon-Product-Search-Datasets"
TABLES = ("interactions.tsv", "items.tsv", "queries.tsv", "search_train.tsv", "search_test.tsv")
QRELS = ("query_text.txt", "train.qrels", "test.qrels")
FIELDS = re.compile(r"(?:title (?P<title>.+?) )?(?:brand (?P<brand>.+?) )?categories(?: (?P<categories>.+))?")


@dataclass(frozen=True)
class Published:
    """Each of `rows` is a purchase with a query of its item: reviewer, query (row of `texts`), asin, test (bool)."""

    texts: list[str]
    rows: pd.DataFrame
    files: list[str]


def find_qrels(folder: Path, category: str) -> list[Path] | None:
    """The authors' three files, from the folder or from its subfolder with the reviews' name; None unless all exist."""
    for place in (folder, folder / f"reviews_{category}_5.json.gz"):
        paths = [path for name in QRELS if (path := find(place, name))]
        if len(paths) == len(QRELS):
            return paths
    return None


def read_qrels(files: list[Path]) -> Published:
    """`query_text.txt`, a query per line, and lines `<reviewer>_<number of the query> 0 <asin> <label>`."""
    import pandas as pd

    numbered = {number: plain(line.decode(errors="replace")).lower() for number, line in lines(files[0])}
    texts = [numbered.get(number, "") for number in range(1, max(numbered, default=0) + 1)]
    table = pd.concat([_judged(files[1]).assign(test=False), _judged(files[2]).assign(test=True)], ignore_index=True)
    if (bad := np.flatnonzero(table["query"] >= len(texts))).size:
        raise BenchmarkError(
            f"{files[0]} has {len(texts)} queries, but {files[1].name} and {files[2].name} name the query "
            f"{table['query'][bad[0]]}, counted from 0."
        )
    return Published(texts, table, [path.name for path in files])


def _judged(path: Path) -> pd.DataFrame:
    """Columns reviewer, query (int), asin of the lines whose label is above 0."""
    import pandas as pd

    try:
        rows = pd.read_csv(path, sep=r"\s+", header=None, names=["pair", "zero", "asin", "label"], dtype=str, quoting=3)
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise BenchmarkError(f"{path} cannot be read as judgements: {error}") from error
    pairs = rows["pair"].str.extract(r"^(?P<reviewer>.+)_(?P<query>\d{1,9})$")
    label = pd.to_numeric(rows["label"], errors="coerce")
    if (bad := np.flatnonzero(pairs["query"].isna() | rows["asin"].isna() | label.isna())).size:
        line = " ".join(str(value) for value in rows.iloc[bad[0]] if value == value)
        raise BenchmarkError(f"{path}, row {bad[0] + 1} is not 'reviewer_query 0 asin label': {line[:60]}")
    return pairs.assign(query=pairs["query"].astype(np.int64), asin=rows["asin"])[label > 0]


def read_joint(folder: Path) -> tuple[Log, Published, int]:
    """The purchases that have a time, with all items; the searches; and the number of purchases without a time.

    Raises MissingDataError if one of the five tables is missing.
    """
    import pandas as pd

    files = {name: find(folder, name) for name in TABLES}
    if missing := [name for name, path in files.items() if path is None]:
        raise MissingDataError(f"{folder} has tables of purchases and searches, but not {', '.join(missing)}.")
    bought, items, queries, train, test = (
        tsv(path, columns)
        for path, columns in zip(
            (path for path in files.values() if path),
            (["reviewer", "asin", "time"], ["asin", "text"], ["query", "text"], *[["reviewer", "query", "asin"]] * 2),
            strict=True,
        )
    )
    timed = bought[bought["time"] != ""].reset_index(drop=True)
    if (bad := np.flatnonzero(~timed["time"].str.isdecimal())).size:
        raise BenchmarkError(
            f"{folder / TABLES[0]}: the time '{timed['time'][bad[0]]}' is not a whole number of seconds."
        )
    for column, table, name in (("asin", items, TABLES[1]), ("query", queries, TABLES[2])):
        if (repeated := table[column].duplicated()).any():
            raise BenchmarkError(f"{folder / name} has the {column} {table[column][repeated].iloc[0]} more than once.")
    item = pd.Index(items["asin"]).get_indexer(pd.Index(timed["asin"]))
    if (unknown := np.flatnonzero(item < 0)).size:
        raise BenchmarkError(f"{folder / TABLES[0]}: the asin {timed['asin'][unknown[0]]} is not in {TABLES[1]}.")
    user, users = pd.factorize(timed["reviewer"])
    no_texts, no_numbers = np.empty(0, dtype=object), np.empty(0, dtype=np.int32)
    log = Log(
        catalog=_catalog(items),
        users=users.to_numpy(dtype=object),
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        time=timed["time"].to_numpy(dtype=np.int64),
        query_ids=no_texts,
        queries=no_texts,
        query=no_numbers,
        relevant=no_numbers,
        grade=np.empty(0, dtype=np.float32),
        ties="file",
        facts={"source": SPLITS, "times": "seconds since 1970"},
    )
    searched = pd.concat([train.assign(test=False), test.assign(test=True)], ignore_index=True)
    number = pd.Index(queries["query"]).get_indexer(pd.Index(searched["query"]))
    if (unknown := np.flatnonzero(number < 0)).size:
        raise BenchmarkError(f"{folder}: the query {searched['query'][unknown[0]]} is not in {TABLES[2]}.")
    texts = [plain(text).lower() for text in queries["text"]]
    return log, Published(texts, searched.assign(query=number), list(TABLES)), len(bought) - len(timed)


def _catalog(items: pd.DataFrame) -> Catalog:
    """Texts have the form "title … brand … categories …"; nothing separates the names of categories."""
    import pandas as pd

    texts = [plain(html.unescape(text)) for text in items["text"]]  # some entities of brands are escaped twice
    parts = [FIELDS.fullmatch(text) for text in texts]
    title, brand, categories = (
        [part[name] or "" if part else "" for part in parts] for name in ("title", "brand", "categories")
    )
    title = [name if part else text for name, part, text in zip(title, parts, texts, strict=True)]
    attributes = pd.DataFrame({"title": title, "brand": [brand_of(name) for name in brand]})
    joined = texts_of(attributes.assign(categories=objects((names,) if names else () for names in categories)))
    return Catalog(items["asin"].to_numpy(dtype=object), joined, attributes)
