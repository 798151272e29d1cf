"""From the tables to a log. The message of every mistake has the file, the first bad row and what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark import PAD, BenchmarkError, Catalog, Log, Searches
from benchmark_files.tables import Table, Tables

PARTS = {"train": 0, "valid": 1, "validation": 1, "dev": 1, "test": 2}


def as_log(tables: Tables, ties: Literal["hash", "file"], drop: bool) -> Log:
    """The log of these tables; `drop` leaves out rows with an unknown item or query, or without a time.

    Raises BenchmarkError for tables that are not enough for a log, and for values that cannot be read.
    """
    _check_halves(tables)
    catalog = _catalog(tables)
    lookup = _Lookup(pd.Index(catalog.ids), tables.items.file if tables.items else "any table", drop)
    user, users, item = np.empty(0, np.int32), np.empty(0, object), np.empty(0, np.int32)
    time, part = np.empty(0, np.int64), None
    if tables.interactions:
        table = lookup.timed(tables.interactions)
        item, kept = lookup.items(table)
        time, part = _seconds(table)[kept], _parts(table)
        codes, names = pd.factorize(_ids(table, "user")[kept])
        user, users, item = codes.astype(np.int32), names.to_numpy(dtype=object), item[kept]
        part = None if part is None else part[kept]
    query_ids, texts, query_part = np.empty(0, object), np.empty(0, object), None
    query, relevant, grade = np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32)
    if tables.queries and tables.relevance:
        query_ids, texts = _unique_ids(tables.queries), _texts(tables.queries, "text")
        query_part = _parts(tables.queries)
        relevant, has_item = lookup.items(tables.relevance)
        query, has_query = lookup.rows(tables.relevance, "query", pd.Index(query_ids), tables.queries.file)
        kept = has_item & has_query
        query, relevant, grade = query[kept], relevant[kept], _grades(tables.relevance)[kept]
    log = Log(catalog, users, user, item, time, query_ids, texts, query, relevant, grade, part, query_part, ties)
    if tables.searches:
        log = _with_searches(log, lookup.timed(tables.searches), lookup)
    facts = {"source": ", ".join(t.file for t in tables.present), **{k: n for k, n in lookup.dropped.items() if n}}
    return replace(log, facts=facts, has_times=tables.interactions is None or tables.interactions.timed)


class _Lookup:
    """Row numbers of items and queries by id; `dropped` counts rows with an unknown id or without a time."""

    def __init__(self, items: pd.Index, home: str, drop: bool) -> None:
        self._items, self._home, self._drop = items, home, drop
        self.dropped: dict[str, int] = {}

    def items(self, table: Table) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        return self.rows(table, "item", self._items, self._home)

    def rows(
        self, table: Table, column: str, index: pd.Index, home: str
    ) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """The position of each row's id in `index`, which is from the file `home`, and whether it is there."""
        ids = _ids(table, column)
        codes, distinct = pd.factorize(ids)
        rows = index.get_indexer(pd.Index(distinct))[codes]
        if (bad := rows < 0).any() and not self._drop:
            first = ", ".join(repr(i) for i in ids[bad].drop_duplicates()[:5])
            raise BenchmarkError(
                f"{table.file}: {int(bad.sum())} rows name an unknown {column}, not in {home}; the first: {first}. "
                "Add them there, or leave such rows out with params: {unknown: drop}."
            )
        self._count(f"rows_of_unknown_{column}_dropped", bad)
        return rows.astype(np.int32), ~bad

    def timed(self, table: Table) -> Table:
        """The rows with a time, or all if none may be dropped."""
        if not self._drop:
            return table
        empty = ~_filled(table, "time")
        self._count("rows_without_time_dropped", empty)
        return Table(table.file, table.rows[~empty], table.timed)

    def _count(self, fact: str, bad: NDArray[np.bool_]) -> None:
        self.dropped[fact] = self.dropped.get(fact, 0) + int(bad.sum())


def _with_searches(log: Log, table: Table, lookup: _Lookup) -> Log:
    """The log with the searches of the table. Texts, also of judgements, that differ only in case are one query."""
    clicked = _filled(table, "item")
    item, kept = np.full(len(table.rows), PAD, dtype=np.int32), np.ones(len(table.rows), dtype=bool)
    item[clicked], kept[clicked] = lookup.items(Table(table.file, table.rows[clicked]))
    words, time, part = _texts(table, "query"), _seconds(table), _parts(table)
    if (empty := np.flatnonzero([not word.strip() for word in words])).size:
        raise BenchmarkError(
            f"{table.file}: 'query' is empty in row {empty[0] + 1} (and {empty.size - 1} more); it is the text that "
            "was searched for."
        )
    user, users = pd.factorize(np.concatenate([log.users, _ids(table, "user").to_numpy(dtype=object)[kept]]))
    texts = np.concatenate([log.queries, words[kept]])
    number, keys = pd.factorize(np.array([" ".join(text.casefold().split()) for text in texts], dtype=object))
    judged = len(log.queries)
    return replace(
        log,
        users=users,
        query_ids=keys,
        queries=texts[np.unique(number, return_index=True)[1]],
        query=number[:judged][log.query].astype(np.int32),
        searches=Searches(
            user[len(log.users) :].astype(np.int32),
            number[judged:].astype(np.int32),
            item[kept],
            time[kept],
            None if part is None else part[kept],
        ),
    )


def _check_halves(tables: Tables) -> None:
    if tables.queries and not tables.relevance:
        raise BenchmarkError(f"{tables.queries.file} needs a table 'relevance' (query, item).")
    if tables.relevance and not tables.queries:
        raise BenchmarkError(f"{tables.relevance.file} needs a table 'queries' (id, text).")
    if tables.searches and not tables.interactions:
        raise BenchmarkError(f"{tables.searches.file} needs a table 'interactions' (user, item, time).")
    if tables.searches and tables.queries and "split" in tables.queries.rows:
        raise BenchmarkError(
            f"{tables.queries.file} has a column 'split', but with {tables.searches.file} the requests are searches of "
            "users: move the column to that file."
        )
    if not tables.interactions and not tables.queries:
        raise BenchmarkError(
            "there are items only. Add 'interactions' (user, item, time), or 'queries' (id, text) with 'relevance' "
            "(query, item), or all three."
        )
    for table in tables.present:
        if table.rows.empty:
            raise BenchmarkError(f"{table.file} has no rows.")


def _catalog(tables: Tables) -> Catalog:
    if tables.items:
        rest = tables.items.rows.drop(columns=["id", "text"]).reset_index(drop=True)
        return Catalog(_unique_ids(tables.items), _texts(tables.items, "text"), rest)
    used = [_ids(t, "item") for t in (tables.interactions, tables.relevance) if t]
    if table := tables.searches:
        used.append(_ids(Table(table.file, table.rows[_filled(table, "item")]), "item"))
    ids = pd.concat(used).drop_duplicates().to_numpy(dtype=object)
    return Catalog(ids, ids, pd.DataFrame(index=range(len(ids))))


def _ids(table: Table, column: str) -> pd.Series[str]:
    values = table.rows[column]
    if values.dtype.kind == "f" and ((values.dropna() % 1 == 0) & (values.dropna().abs() < 2**53)).all():
        values = values.astype("Int64")  # Parquet has 38.0 for 38 if another row of the column is empty
    text = values.astype(str)
    if (bad := np.flatnonzero(values.isna() | (text == ""))).size:
        raise BenchmarkError(f"{table.file}: '{column}' is empty in row {bad[0] + 1} (and {bad.size - 1} more).")
    return text


def _filled(table: Table, column: str) -> NDArray[np.bool_]:
    values = table.rows[column]
    return np.asarray(values.notna() & (values.astype(str) != ""), dtype=bool)


def _unique_ids(table: Table) -> NDArray[np.object_]:
    ids = _ids(table, "id")
    if (twice := ids[ids.duplicated()].drop_duplicates()).size:
        first = ", ".join(repr(i) for i in twice[:5])
        raise BenchmarkError(
            f"{table.file} has {twice.size} ids more than once; the first: {first}. Keep one row of each."
        )
    return ids.to_numpy(dtype=object)


def _texts(table: Table, column: str) -> NDArray[np.object_]:
    text = table.rows[column]
    return text.astype(str).mask(text.isna(), "").to_numpy(dtype=object)


def _seconds(table: Table) -> NDArray[np.int64]:
    """Times as whole seconds: numbers as they are, dates since 1970 (in UTC without a time zone)."""
    column = table.rows["time"]
    if pd.api.types.is_datetime64_any_dtype(column):
        dates = pd.to_datetime(column, utc=True)
    else:
        numbers = np.asarray(pd.to_numeric(column, errors="coerce"), dtype=np.float64)
        if np.isfinite(numbers[:1]).all():  # the first row decides between numbers and dates
            return _checked(table, numbers, np.isfinite(numbers), "a number of seconds")
        dates = pd.to_datetime(column.astype(str), utc=True, errors="coerce", format="ISO8601")
    # In nanoseconds, Timestamp(0)'s own unit, differences overflow before 1677 and after 2262.
    seconds = (dates - pd.Timestamp(0, unit="s", tz="UTC").as_unit("s")) / pd.Timedelta(seconds=1)
    return _checked(table, np.asarray(seconds, dtype=np.float64), dates.notna().to_numpy(), "an ISO 8601 date")


def _checked(table: Table, seconds: NDArray[np.float64], good: NDArray[np.bool_], kind: str) -> NDArray[np.int64]:
    good = good & ~(seconds < 0)
    if (late := np.flatnonzero(good & (seconds >= 2.0**63))).size:
        value = table.rows["time"].iloc[late[0]]
        raise BenchmarkError(
            f"{table.file}: the time '{value}' in row {late[0] + 1} does not fit into 64 bits (and "
            f"{late.size - 1} more rows). Times are seconds since 1970."
        )
    if (bad := np.flatnonzero(~good)).size:
        value = table.rows["time"].iloc[bad[0]]
        raise BenchmarkError(
            f"{table.file}: the time '{value}' in row {bad[0] + 1} is not {kind} from 1970 on (and {bad.size - 1} more "
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
            f"{table.file}: the split '{names.iloc[bad[0]]}' in row {bad[0] + 1} is not train, valid or test."
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
        raise BenchmarkError(f"{table.file}: the grade '{value}' in row {bad[0] + 1} is not a number.")
    return grades
