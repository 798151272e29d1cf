"""Amazon reviews of 2014, 5-core: Beauty, Sports and Toys of TIGER's Table 2, and every other category of that year."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np

from benchmark import BenchmarkError, Catalog, Log, MissingDataError, hookimpl
from benchmark_amazon.original import read_original
from benchmark_amazon.places import HOME, find, folders_of
from benchmark_amazon.prepared import read_s3_rec, read_tables
from benchmark_amazon.sequences import Sequences, texts_of

S3_REC = "https://github.com/aHuiWang/CIKM2020-S3Rec"


class Table2(NamedTuple):
    """A row of Table 2 of Rajput 2023; the mean is cut after two digits there."""

    users: int
    items: int
    mean_length: float
    median_length: float


TABLE_2 = {
    "Beauty": Table2(22_363, 12_101, 8.87, 6),
    "Sports_and_Outdoors": Table2(35_598, 18_357, 8.32, 6),
    "Toys_and_Games": Table2(19_412, 11_924, 8.63, 6),
}
FORMATS = {
    read_original: ("reviews_{}_5.json", "meta_{}.json"),
    read_tables: ("sequences.tsv", "items.tsv"),
    read_s3_rec: ("{}.txt", "{}_item2attributes.json"),
}


@hookimpl
def benchmark_datasets() -> dict[str, str]:
    return {"amazon": "benchmark_amazon:amazon", "amazon_search": "benchmark_amazon.search:amazon_search"}


def amazon(
    category: str,
    path: str = "",
    ids: Literal["asin", "number"] = "asin",
    files: Literal["any", "original"] = "any",
    ties: Literal["file", "hash"] = "file",
) -> Log:
    """A 5-core set of the Amazon reviews of 2014: every review is an interaction (Rajput 2023, section 4.1.1).

    The first of these pairs of files that the folder has, each plain or gzipped, is read. All give the same sequences,
    but differ in what they say about items:

    1. `reviews_<category>_5.json` and `meta_<category>.json`, the original ones: title, price, brand, categories.
       Users' reviews are ordered by time, which is precise to a day.
    2. `sequences.tsv` (user, reviewer, items, gaps in seconds) and `items.tsv` (item, asin, title, categories,
       attributes, digest). Times count from a user's first review, so they cannot be compared between users.
    3. `<category>.txt` and `<category>_item2attributes.json` of S3-Rec: positions instead of times, no text, and
       numbers for attributes.

    `Catalog.attributes` has these columns, without those that are empty: `title` (str), `price` (dollars, NaN if
    unknown), `brand` (str, "" if unknown), `categories` (a tuple of paths "Beauty > Makeup > Nails", or of single names
    if the paths are unknown) and `attributes` (a tuple: the brand and the names in the paths without their roots, from
    which S3-Rec learns; the second pair has its own). `Catalog.texts` joins the first four.

    Args:
        category: as in the names of the files: Beauty, Sports_and_Outdoors, Toys_and_Games, Video_Games …
        path: the folder with the files; empty: `amazon14/<category>` or `<category>` in the folder that the environment
            variable BENCHMARK_DATA names.
        ids: item ids: ASINs if known, or S3-Rec's numbers, which published semantic IDs use. Numbers follow the users'
            histories, and so reveal answers to a model that reads their digits (appendix A).
        files: any of the pairs, or only the original one, whose items have prices and whole category paths.
        ties: the order of the reviews that a user wrote on one day: as in the file, or by a hash of user and item. In
            the second pair of files these ascend by ASIN, so that for 43 to 45 % of the users the target is the largest
            ASIN of its day; published numbers use the file's order. The slice `other-day` leaves such targets out.

    Raises MissingDataError if there are no files, BenchmarkError for a line that cannot be read. For the sets of Table
    2, the fact `remark` lists the statistics that differ from the paper's.
    """
    if ids not in ("asin", "number"):
        raise BenchmarkError(f"amazon has no ids '{ids}'. Known: asin, number.")
    folder = folders_of("amazon", category, path, ("amazon14",), _needs(category))[0]
    if files not in ("any", "original"):
        raise BenchmarkError(f"amazon has no files '{files}'. Known: any, original.")
    if ties not in ("file", "hash"):
        raise BenchmarkError(f"amazon has no ties '{ties}'. Known: file, hash.")
    for read, names in FORMATS.items():
        if files == "original" and read is not read_original:
            continue
        first, second = (find(folder, name.format(category)) for name in names)
        if first is None:
            continue
        if second is None:
            raise MissingDataError(f"{first} needs {names[1].format(category)} in the same folder. {_needs(category)}")
        if read is read_s3_rec and ties == "hash":
            raise BenchmarkError(
                f"amazon {category}: {first.name} has an order and no times, so nothing is tied; remove `ties: hash`."
            )
        log = _log(category, read(first, second), ids, [first.name, second.name])
        return replace(log, ties=ties, has_times=read is not read_s3_rec)
    kind = "original file" if files == "original" else "file"
    raise MissingDataError(f"{folder} has no {kind} of amazon {category}. {_needs(category)}")


def _needs(category: str) -> str:
    return (
        f"Get reviews_{category}_5.json.gz and meta_{category}.json.gz from {HOME}, "
        f"or {category}.txt and {category}_item2attributes.json from {S3_REC}, which have no item text. "
        f"Give their folder as params: {{path: …}}, or put them into amazon14/{category} in the folder that the "
        "environment variable BENCHMARK_DATA names."
    )


def _log(category: str, read: Sequences, ids: str, files: list[str]) -> Log:
    import pandas as pd

    items = read.items
    if not len(read.item):
        raise BenchmarkError(f"{files[0]} has no user with five reviews.")
    numbers = items["number"].astype(str)
    names = items["asin"] if ids == "asin" and "asin" in items else numbers
    columns = ("title", "price", "brand", "categories", "attributes")
    filled = [c for c in columns if c in items and any(v == v and v not in ("", ()) for v in items[c])]
    texts = texts_of(items)
    statistics = Table2(len(read.users), len(items), float(read.lengths.mean()), float(np.median(read.lengths)))
    facts = {
        "source": HOME,
        "files": files,
        "times": read.times,
        "item_columns": filled,
        "items_without_text": int((texts == "").sum()),
        "mean_length": statistics.mean_length,
        "median_length": statistics.median_length,
    }
    if remark := _remark(category, statistics):
        facts["remark"] = remark
    no_texts, no_numbers = np.empty(0, dtype=object), np.empty(0, dtype=np.int32)
    return Log(
        catalog=Catalog(
            names.to_numpy(dtype=object), texts, pd.DataFrame({c: items[c] for c in filled}, index=range(len(items)))
        ),
        users=np.array(read.users, dtype=object),
        user=np.repeat(np.arange(len(read.users), dtype=np.int32), read.lengths),
        item=read.item.astype(np.int32),
        time=read.time.astype(np.int64),
        query_ids=no_texts,
        queries=no_texts,
        query=no_numbers,
        relevant=no_numbers,
        grade=np.empty(0, dtype=np.float32),
        ties="file",
        facts=facts,
    )


def _remark(category: str, statistics: Table2) -> str:
    """The differences from Table 2; empty without any, or for a category that it lacks."""
    printed = TABLE_2.get(category)
    if printed is None:
        return ""
    different = [
        f"{key.replace('_', ' ')} {value:,.6g} instead of {expected:,.6g}"
        for key, value, expected in zip(Table2._fields, statistics, printed, strict=True)
        if not -0.005 < value - expected < (0.01 if key == "mean_length" else 0.005)
    ]
    return f"not the data of Table 2 in Rajput 2023: {', '.join(different)}" if different else ""
