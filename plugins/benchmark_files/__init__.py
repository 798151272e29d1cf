"""A user's own data: tables in CSV or Parquet, RecBole's atomic files, or TREC topics, qrels and documents."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from benchmark import BenchmarkError, Log, MissingDataError, hookimpl

__all__ = ["benchmark_datasets", "files"]


@hookimpl
def benchmark_datasets() -> dict[str, str]:
    return {"files": "benchmark_files:files"}


def files(
    path: str,
    format: Literal["tables", "recbole", "trec"] = "tables",  # noqa: A002 - the word a suite's author expects
    names: dict[str, str] | None = None,
    columns: dict[str, str | int] | None = None,
    ties: Literal["hash", "file"] = "hash",
    unknown: Literal["error", "drop"] = "error",
    sep: str = "",
    header: bool = True,
    min_rating: float | None = None,
    min_user_interactions: int = 0,
    min_item_interactions: int = 0,
) -> Log:
    """A data set from the files of one folder: recommendation, search or both, depending on the files.

    Formats:
        tables: `items` (id, text, and any other columns, which become attributes; without this file an item's text is
            its id), `interactions` (user, item, time; optionally rating, split), `queries` (id, text; optionally
            split), `relevance` (query, item; optionally grade) and `searches` (user, query, item, time; optionally
            split), each as .csv, .tsv, .dat, .txt (gzipped or not) or .parquet, or as `names` says. A time is a number
            of seconds (fractions are cut off) or an ISO 8601 date. A column split has train, valid or test, and
            replaces the suite's own split.
        recbole: one .inter and perhaps one .item with typed headers (`user_id:token`); columns of the type token_seq
            are the text of an item. x.train.inter, x.valid.inter and x.test.inter come with their own split. `queries`,
            `relevance` and `searches` as in tables.
        trec: topics (<top> elements, or lines of id, tab, text), qrels (query, 0, document, grade) and documents (<DOC>
            elements, .jsonl, or lines of id, tab, text; a file or a folder of them), gzipped or not. The protocol's
            `split: all-test` tests all topics, for models that need no training.

    With `searches` it is a joint log, and its search requests are searches of users. A row is a click: the user, what
    was searched for (`query` is the text; case is ignored), when, and the item; a search without a click has one row
    without an item. `queries` and `relevance` are then optional and only say which other items are relevant to a query.

    Args:
        path: the folder.
        names: files with other names: {interactions: ratings.csv}, {topics: query-text.trec}.
        columns: columns with other names: {user: userId}, or for one table {items.id: asin}.
        ties: the order of a user's interactions at one time: by a hash, or as in the file. With "file" the column time
            may be missing; the file's order is then the order in time.
        unknown: what happens to rows with an unknown item or query, or without a time: an error, or they are dropped
            and counted.
        sep: the separator of a text file's columns: "\\t", ";", "::"; empty: guessed from the first line. Only columns
            separated by commas or semicolons may be quoted.
        header: whether the first line names the columns. False: they are called 1, 2, 3 …, so that MovieLens 1M's
            ratings.dat (user::film::rating::time) has columns: {user: 1, item: 2, rating: 3, time: 4}.
        min_rating: interactions with a lower value in the column `rating` are left out.
        min_user_interactions, min_item_interactions: users and items with fewer interactions are left out, with their
            searches and judgements, until all have enough (the k-core, as RecBole's user_inter_num_interval and
            item_inter_num_interval). `min_rating` comes first.

    Raises MissingDataError if there is no such folder, BenchmarkError for a file, column or value that is missing,
    unknown, repeated or not a time, with its first row (counted from 1, without the header).
    """
    from benchmark_files import recbole, tables, trec
    from benchmark_files.log import as_log
    from benchmark_files.selection import core, rated

    folder = Path(path).expanduser()
    if not folder.is_dir():
        if folder.exists():
            raise BenchmarkError(f"data set 'files': the path {folder} is a file; give its folder.")
        raise MissingDataError(f"data set 'files': the path {folder} does not exist.")
    read = {"tables": tables.read, "recbole": recbole.read, "trec": trec.read}[format]
    renamed = {column: str(name) for column, name in (columns or {}).items()}
    content = read(folder, names or {}, renamed, ties == "file", tables.Form(sep, header))
    content, facts = rated(content, min_rating)
    log = as_log(content, ties, unknown == "drop")
    return core(replace(log, facts={**log.facts, **facts}), min_user_interactions, min_item_interactions)
