"""RecBole's atomic files: tab-separated, with the type of each column in the header (`user_id:token`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from benchmark import BenchmarkError
from benchmark_files.tables import NEEDED, Form, Table, Tables, ambiguous, check_keys, find, frame, load, missing, named

PARTS = ("train", "valid", "test")


def read(folder: Path, names: Mapping[str, str], columns: Mapping[str, str], untimed: bool, form: Form) -> Tables:
    """The `.inter` and `.item` files of a folder, and its tables `queries`, `relevance` and `searches`, if any."""
    check_keys("names", names, ["inter", "item", "queries", "relevance", "searches"])
    tables = ["queries.id", "queries.text", "query", "grade", *(f"searches.{column}" for column in NEEDED["searches"])]
    check_keys("columns", columns, ["user", "item", "time", "rating", "text", *tables])
    queries, relevance, searches = (find(folder, role, names) for role in ("queries", "relevance", "searches"))
    return Tables(
        items=_items(folder, names, columns),
        interactions=_interactions(folder, names, columns, untimed and not searches),
        queries=load(queries, "queries", {k: v for k, v in columns.items() if "." in k}, untimed, form)
        if queries
        else None,
        relevance=load(relevance, "relevance", columns, untimed, form) if relevance else None,
        searches=load(searches, "searches", columns, untimed=False, form=form) if searches else None,
    )


def _interactions(folder: Path, names: Mapping[str, str], columns: Mapping[str, str], untimed: bool) -> Table:
    theirs = {
        "user": columns.get("user", "user_id"),
        "item": columns.get("item", "item_id"),
        "time": columns.get("time", "timestamp"),
        "rating": columns.get("rating", "rating"),
    }
    parts = {part: sorted(folder.glob(f"*.{part}.inter")) for part in PARTS}
    if "inter" not in names and all(len(files) == 1 for files in parts.values()):
        rows = pd.concat([_renamed(parts[p][0], theirs, untimed).assign(split=p) for p in PARTS], ignore_index=True)
        file = "*.inter"
    else:
        path = _only(folder, "inter", names)
        if path is None:
            raise BenchmarkError(f"{folder} has no .inter file, which the format recbole needs.")
        rows, file = _renamed(path, theirs, untimed), path.name
    timed = "time" in rows
    if not timed:
        rows["time"] = range(len(rows))
    return Table(file, rows, timed)


def _renamed(file: Path, theirs: Mapping[str, str], untimed: bool) -> pd.DataFrame:
    rows, types = _atomic(file)
    for column, name in theirs.items():
        if name not in rows and column != "rating" and not (column == "time" and untimed):
            raise missing(file.name, column, name, list(types))
    kept = {name: column for column, name in theirs.items() if name in rows}
    return rows[list(kept)].rename(columns=kept)


def _items(folder: Path, names: Mapping[str, str], columns: Mapping[str, str]) -> Table | None:
    file = _only(folder, "item", names)
    if file is None:
        return None
    rows, types = _atomic(file)
    key = columns.get("item", "item_id")
    texts = [columns["text"]] if "text" in columns else [name for name, kind in types.items() if kind == "token_seq"]
    for column, name in (("item", key), *(("text", text) for text in texts)):
        if name not in rows:
            raise missing(file.name, column, name, list(types))
    joined = [". ".join(parts).strip(". ") for parts in rows[texts].itertuples(index=False, name=None)]
    text = pd.Series(joined, index=rows.index, dtype=object) if texts else rows[key]
    attributes = rows.drop(columns=[key, *(c for c in NEEDED["items"] if c in rows and c != key)])
    return Table(file.name, attributes.assign(id=rows[key], text=text))


def _only(folder: Path, ending: str, names: Mapping[str, str]) -> Path | None:
    if ending in names:
        return named(folder, ending, names[ending])
    files = sorted(folder.glob(f"*.{ending}"))
    if len(files) > 1:
        raise ambiguous(folder, ending, files)
    return files[0] if files else None


def _atomic(file: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    """The rows as text, and the type of each column."""
    rows = frame(file, Form("\t"))
    header = [str(column).partition(":") for column in rows.columns]
    if untyped := [name for name, _, kind in header if not kind]:
        raise BenchmarkError(
            f"{file.name}: the column '{untyped[0]}' has no type; RecBole's headers read name:type, as in "
            "user_id:token."
        )
    if repeated := [name for name, count in Counter(name for name, _, _ in header).items() if count > 1]:
        raise BenchmarkError(f"{file} has two columns called '{repeated[0]}'. Rename one of them, or take it out.")
    return rows.set_axis([name for name, _, _ in header], axis=1), {name: kind for name, _, kind in header}
