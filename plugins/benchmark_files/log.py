"""From the tables to a log, with every mistake named: file, first bad row, what to do."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark import BenchmarkError, Catalog, Log
from benchmark_files.tables import Table, Tables

PARTS = {"train": 0, "valid": 1, "validation": 1, "dev": 1, "test": 2}


def as_log(tables: Tables, ties: Literal["hash", "file"], drop: bool) -> Log:
    """The log of these tables. Raises BenchmarkError; `drop` leaves out what refers to an unknown item or query."""
    _check_halves(tables)
    catalog = _catalog(tables)
    items = pd.Index(catalog.ids)
    dropped: dict[str, int] = {}

    def rows_of(table: Table, column: str, known: pd.Index, home: str) -> tuple[NDArray[Any], NDArray[Any]]:
        ids = _ids(table, column)
        codes, distinct = pd.factorize(ids)
        rows = known.get_indexer(pd.Index(distinct))[codes]
        if (bad := rows < 0).any() and not drop:
            first = ", ".join(repr(i) for i in ids[bad].drop_duplicates()[:5])
            raise BenchmarkError(
                f"{table.file}: {int(bad.sum())} rows name an unknown {column}, not in {home}; the first: {first}. "
                "Add them there, or leave such rows out with params: {unknown: drop}."
            )
        dropped[f"rows_of_unknown_{column}_dropped"] = dropped.get(f"rows_of_unknown_{column}_dropped", 0) + int(
            bad.sum()
        )
        return rows.astype(np.int32), ~bad

    home = tables.items.file if tables.items else "any table"
    user, users, item = np.empty(0, np.int32), np.empty(0, object), np.empty(0, np.int32)
    time, part = np.empty(0, np.int64), None
    if table := tables.interactions:
        timed = ~(table.rows["time"].isna() | (table.rows["time"].astype(str) == ""))
        if drop and not timed.all():
            dropped["rows_without_time_dropped"] = int((~timed).sum())
            table = Table(table.file, table.rows[timed])
        item, known = rows_of(table, "item", items, home)
        time, part = _seconds(table)[known], _parts(table)
        codes, names = pd.factorize(_ids(table, "user")[known])
        user, users, item = codes.astype(np.int32), names.to_numpy(dtype=object), item[known]
        part = None if part is None else part[known]
    query_ids, texts, query_part = np.empty(0, object), np.empty(0, object), None
    query, relevant, grade = np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32)
    if tables.queries and tables.relevance:
        query_ids, texts = _unique_ids(tables.queries), _texts(tables.queries)
        query_part = _parts(tables.queries)
        relevant, known = rows_of(tables.relevance, "item", items, home)
        query, asked = rows_of(tables.relevance, "query", pd.Index(query_ids), tables.queries.file)
        grade = _grades(tables.relevance)
        query, relevant, grade = (values[known & asked] for values in (query, relevant, grade))
    there = [t for t in (tables.items, tables.interactions, tables.queries, tables.relevance) if t]
    return Log(
        catalog, users, user, item, time, query_ids, texts, query, relevant, grade, part, query_part, ties,
        {"source": ", ".join(t.file for t in there), **{k: n for k, n in dropped.items() if n}},
    )  # fmt: skip


def _check_halves(tables: Tables) -> None:
    if tables.queries and not tables.relevance:
        raise BenchmarkError(f"{tables.queries.file} needs a table 'relevance' (query, item) beside it.")
    if tables.relevance and not tables.queries:
        raise BenchmarkError(f"{tables.relevance.file} needs a table 'queries' (id, text) beside it.")
    if not tables.interactions and not tables.queries:
        raise BenchmarkError(
            "there are items only. Add 'interactions' (user, item, time), or 'queries' (id, text) with 'relevance' "
            "(query, item), or all three."
        )
    for table in (tables.items, tables.interactions, tables.queries, tables.relevance):
        if table and table.rows.empty:
            raise BenchmarkError(f"{table.file} has no rows.")


def _catalog(tables: Tables) -> Catalog:
    if tables.items:
        rest = tables.items.rows.drop(columns=["id", "text"]).reset_index(drop=True)
        return Catalog(_unique_ids(tables.items), _texts(tables.items), rest)
    used = [_ids(t, "item") for t in (tables.interactions, tables.relevance) if t]
    ids = pd.concat(used).drop_duplicates().to_numpy(dtype=object)
    return Catalog(ids, ids, pd.DataFrame(index=range(len(ids))))


def _ids(table: Table, column: str) -> pd.Series[str]:
    values = table.rows[column]
    text = values.astype(str)
    if (bad := np.flatnonzero(values.isna() | (text == ""))).size:
        raise BenchmarkError(f"{table.file}: '{column}' is empty in row {bad[0] + 1} (and {bad.size - 1} more).")
    return text


def _unique_ids(table: Table) -> NDArray[np.object_]:
    ids = _ids(table, "id")
    if (twice := ids[ids.duplicated()].drop_duplicates()).size:
        first = ", ".join(repr(i) for i in twice[:5])
        raise BenchmarkError(
            f"{table.file} has {twice.size} ids more than once; the first: {first}. Keep one row of each."
        )
    return ids.to_numpy(dtype=object)


def _texts(table: Table) -> NDArray[np.object_]:
    text = table.rows["text"]
    return text.astype(str).mask(text.isna(), "").to_numpy(dtype=object)


def _seconds(table: Table) -> NDArray[np.int64]:
    """Times as whole seconds: numbers as they are, dates since 1970 (UTC where they do not say)."""
    given = table.rows["time"]
    if pd.api.types.is_datetime64_any_dtype(given):
        dates = pd.to_datetime(given, utc=True)
    else:
        numbers = np.asarray(pd.to_numeric(given, errors="coerce"), dtype=np.float64)
        if np.isfinite(numbers[:1]).all():  # the first row says which of the two it is
            return _checked(table, numbers, np.isfinite(numbers), "number of seconds")
        dates = pd.to_datetime(given.astype(str), utc=True, errors="coerce", format="ISO8601")
    seconds = (dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
    return _checked(table, np.asarray(seconds, dtype=np.float64), dates.notna().to_numpy(), "ISO 8601 date")


def _checked(table: Table, seconds: NDArray[np.float64], good: NDArray[np.bool_], kind: str) -> NDArray[np.int64]:
    good = good & ~(seconds < 0)
    if (bad := np.flatnonzero(~good)).size:
        value = table.rows["time"].iloc[bad[0]]
        raise BenchmarkError(
            f"{table.file}: the time '{value}' in row {bad[0] + 1} is no {kind} from 1970 on (and {bad.size - 1} more "
            "rows). Times are numbers of seconds or ISO 8601 dates, the same kind in every row."
        )
    return np.floor(seconds).astype(np.int64)


def _parts(table: Table) -> NDArray[np.int8] | None:
    if "split" not in table.rows:
        return None
    names = table.rows["split"].astype(str).str.lower()
    parts = names.map(PARTS)
    if (bad := np.flatnonzero(parts.isna())).size:
        raise BenchmarkError(
            f"{table.file}: the split '{names.iloc[bad[0]]}' in row {bad[0] + 1} is none of train, valid, test."
        )
    for name, number in (("train", 0), ("valid", 1), ("test", 2)):
        if not (parts == number).any():
            raise BenchmarkError(
                f"{table.file}: the split '{name}' is empty. Put rows into it, or remove the column 'split' "
                "and the suite's protocol splits."
            )
    return np.asarray(parts, dtype=np.int8)


def _grades(table: Table) -> NDArray[np.float32]:
    if "grade" not in table.rows:
        return np.ones(len(table.rows), dtype=np.float32)
    grades = pd.to_numeric(table.rows["grade"], errors="coerce").to_numpy(dtype=np.float32)
    if (bad := np.flatnonzero(~np.isfinite(grades))).size:
        value = table.rows["grade"].iloc[bad[0]]
        raise BenchmarkError(f"{table.file}: the grade '{value}' in row {bad[0] + 1} is no number.")
    return grades
