"""The normal form of a log: checked, without duplicates, and in an order that carries no information about answers."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.hashing import splitmix, stable_hash
from benchmark.data.ragged import PAD, Longs, Strings
from benchmark.data.types import Log, Searches
from benchmark.errors import BenchmarkError, ContractError


def check_log(name: str, log: Log) -> None:
    """Raises ContractError for wrong shapes and types, BenchmarkError for invalid values."""
    where = f"data set '{name}'"
    columns: list[tuple[str, str, Any, Any]] = [
        ("user", "iu", log.user, log.user),
        ("item", "iu", log.item, log.user),
        ("time", "iu", log.time, log.user),
        ("query", "iu", log.query, log.query),
        ("relevant", "iu", log.relevant, log.query),
        ("grade", "f", log.grade, log.query),
        ("users", "O", log.users, log.users),
        ("query_ids", "O", log.query_ids, log.query_ids),
        ("queries", "O", log.queries, log.query_ids),
        ("catalog.ids", "O", log.catalog.ids, log.catalog.ids),
        ("catalog.texts", "O", log.catalog.texts, log.catalog.ids),
    ]
    if log.interaction_part is not None:
        columns.append(("interaction_part", "iu", log.interaction_part, log.user))
    if (s := log.searches) is not None:
        columns += [(f"searches.{c}", "iu", getattr(s, c), s.user) for c in ("user", "query", "item", "time")]
        columns += [("searches.part", "iu", s.part, s.user)] if s.part is not None else []
    if log.query_part is not None:
        columns.append(("query_part", "iu", log.query_part, log.query_ids))
    for column, kinds, values, aligned in columns:
        if not isinstance(values, np.ndarray) or values.ndim != 1:
            raise ContractError(
                f"{where}: '{column}' must be a numpy array with one axis, not {type(values).__name__}."
            )
        if values.dtype.kind == "f" and (bad := np.flatnonzero(np.isnan(values))).size:
            raise BenchmarkError(
                f"{where}: '{column}' is NaN in row {bad[0]} (and {bad.size - 1} more); drop such rows."
            )
        if values.dtype.kind not in kinds:
            wanted = {"iu": "integers", "f": "floats", "O": "str objects"}[kinds]
            raise ContractError(f"{where}: '{column}' must hold {wanted}, not {values.dtype}.")
        if (
            kinds == "O"
            and (odd := next((i for i, v in enumerate(values) if not isinstance(v, str)), None)) is not None
        ):
            raise BenchmarkError(f"{where}: '{column}' is {values[odd]!r} in row {odd}, which is not a text.")
        if len(values) != len(aligned):
            raise ContractError(f"{where}: '{column}' has {len(values)} rows where {len(aligned)} belong together.")
    if len(log.catalog.attributes) != len(log.catalog):
        raise ContractError(
            f"{where}: the catalogue has {len(log.catalog.attributes)} rows of attributes for {len(log.catalog)} items."
        )
    ranges: list[tuple[str, Any, int]] = [
        ("user", log.user, len(log.users)),
        ("item", log.item, len(log.catalog)),
        ("query", log.query, len(log.queries)),
        ("relevant", log.relevant, len(log.catalog)),
        ("time", log.time, np.iinfo(np.int64).max),
    ]
    ranges += [
        (c, p, 3)
        for c, p in [("interaction_part", log.interaction_part), ("query_part", log.query_part)]
        if p is not None
    ]
    if (s := log.searches) is not None:
        ranges += [
            ("searches.user", s.user, len(log.users)),
            ("searches.query", s.query, len(log.queries)),
            ("searches.item", s.item, len(log.catalog)),
            ("searches.time", s.time, np.iinfo(np.int64).max),
        ]
        ranges += [("searches.part", s.part, 3)] if s.part is not None else []
    for column, values, end in ranges:
        least = PAD if column == "searches.item" else 0  # PAD: a search without a click
        if (bad := np.flatnonzero((values < least) | (values >= end))).size:
            allowed = "seconds, 0 or more" if column.endswith("time") else f"{least} to {end - 1}"
            raise BenchmarkError(f"{where}: '{column}' is {values[bad[0]]} in row {bad[0]}; allowed: {allowed}.")
    for column, ids in (("catalog.ids", log.catalog.ids), ("users", log.users), ("query_ids", log.query_ids)):
        if len(unique := set(ids)) != len(ids):
            seen: set[Any] = set()
            first = next(i for i in ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
            raise BenchmarkError(f"{where}: '{column}' has {len(ids) - len(unique)} duplicate ids, such as '{first}'.")
    if log.searches is not None and (log.query_part is not None or not len(log.searches.user)):
        raise ContractError(
            f"{where} has `searches` "
            + (
                "without a row"
                if log.query_part is None
                else "and a `query_part`; its split is that of `searches.part`"
            )
            + "."
        )
    if not len(log.user) and log.searches is None and not (log.grade > 0).any():
        raise BenchmarkError(f"{where} has neither interactions nor a query with a relevant item: nothing to rank.")


def _salt(seed: int) -> NDArray[np.uint64]:
    return splitmix(np.array([seed], dtype=np.int64).astype(np.uint64))


def _shuffled(ids: Strings, seed: int) -> Longs:
    """An order of the ids that depends only on the seed and the ids: neither file order nor id order leaks."""
    return np.argsort(splitmix(stable_hash(ids) ^ _salt(seed)), kind="stable")


def _ranks(order: Longs) -> NDArray[np.int32]:
    """The new row number of every old one."""
    ranks = np.empty(len(order), dtype=np.int32)
    ranks[order] = np.arange(len(order), dtype=np.int32)
    return ranks


def in_normal_order(log: Log, seed: int, *, random: bool = False) -> Log:
    """Items, users and queries shuffled; interactions sorted by user and time, judgements by query and item, searches
    by user, time and query. With `random` a user's interactions are all at time 0, in an order that depends only on the
    seed, the user and the item.

    Duplicate rows are dropped, and so are queries without a search and without a relevant item (grade above 0).
    """
    items = _shuffled(log.catalog.ids, seed)
    catalog = dataclasses.replace(
        log.catalog,
        ids=log.catalog.ids[items],
        texts=log.catalog.texts[items],
        attributes=log.catalog.attributes.iloc[items].reset_index(drop=True),
    )
    users = _shuffled(log.users, seed)
    user, item = _ranks(users)[log.user], _ranks(items)[log.item]
    ties = None
    if random:
        log = dataclasses.replace(log, time=np.zeros_like(log.time))
        ties = stable_hash(log.users[users]) ^ _salt(seed), splitmix(stable_hash(catalog.ids))
    elif log.ties == "hash":
        ties = stable_hash(log.users[users]), splitmix(stable_hash(catalog.ids))
    order = _chronological(user, item, log.time, len(users), ties)
    user, item, time = user[order], item[order], log.time[order].astype(np.int64)
    parts = None if log.interaction_part is None else log.interaction_part[order].astype(np.int8)
    first = _first_of_equals(user, time, item)
    answered = np.zeros(len(log.queries), dtype=bool)
    answered[log.query[log.grade > 0]] = True
    if log.searches is not None:
        answered[log.searches.query] = True
    queries = _shuffled(log.query_ids, seed)
    queries = queries[answered[queries]]
    number = np.full(len(log.queries), -1, dtype=np.int32)
    number[queries] = np.arange(len(queries), dtype=np.int32)
    positive = log.grade > 0
    query, relevant, grade = number[log.query[positive]], _ranks(items)[log.relevant[positive]], log.grade[positive]
    order = np.lexsort((-grade, relevant, query))  # the best grade of a pair that is judged twice comes first
    query, relevant, grade = query[order], relevant[order], grade[order]
    fresh = np.ones(len(query), dtype=bool)
    fresh[1:] = (query[1:] != query[:-1]) | (relevant[1:] != relevant[:-1])
    return dataclasses.replace(
        log,
        catalog=catalog,
        users=log.users[users],
        user=user[first],
        item=item[first],
        time=time[first],
        interaction_part=None if parts is None else parts[first],
        query_ids=log.query_ids[queries],
        queries=log.queries[queries],
        query=query[fresh],
        relevant=relevant[fresh],
        grade=grade[fresh].astype(np.float32),
        query_part=None if log.query_part is None else log.query_part[queries].astype(np.int8),
        searches=None if log.searches is None else _ordered(log.searches, _ranks(users), number, _ranks(items)),
    )


def _ordered(
    searches: Searches, users: NDArray[np.int32], queries: NDArray[np.int32], items: NDArray[np.int32]
) -> Searches:
    """The search log in the new row numbers, sorted by user, time, query and item, without duplicates."""
    user, query = users[searches.user], queries[searches.query]
    item = np.append(items, np.int32(PAD))[searches.item]
    order = np.lexsort((item, query, searches.time, user))
    key = np.stack([user, query, item, searches.time])[:, order]
    fresh = np.ones(len(order), dtype=bool)
    fresh[1:] = (key[:, 1:] != key[:, :-1]).any(axis=0)
    order = order[fresh]
    part = None if searches.part is None else searches.part[order].astype(np.int8)
    return Searches(user[order], query[order], item[order], searches.time[order].astype(np.int64), part)


def _chronological(
    user: NDArray[np.int32],
    item: NDArray[np.int32],
    time: Longs,
    n_users: int,
    ties: tuple[NDArray[np.uint64], NDArray[np.uint64]] | None,
) -> Longs:
    """The order by user and time; ties by the hash of user and item from `ties`, or in the order of the rows.

    One sort of one number per row, and a second one of the ties only, is several times as fast as a lexsort.
    """
    if not len(time):
        return np.empty(0, dtype=np.int64)
    moment = time.astype(np.int64) - int(time.min())
    if (int(moment.max()) + 1) * n_users >= 2**63:
        moment = np.unique(moment, return_inverse=True)[1]
    key = user.astype(np.int64) * (int(moment.max()) + 1) + moment
    order = np.argsort(key)
    key = key[order]
    tied = np.zeros(len(key), dtype=bool)
    tied[1:] = key[1:] == key[:-1]
    tied[:-1] |= tied[1:]
    positions = np.flatnonzero(tied)
    rows = order[positions]
    words = rows if ties is None else splitmix(ties[0][user[rows]] ^ ties[1][item[rows]])
    order[positions] = rows[np.lexsort((rows, words, key[positions]))]
    return order


def _first_of_equals(user: NDArray[Any], time: Longs, item: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows, sorted by user and time, do not repeat an earlier one exactly."""
    first = np.ones(len(user), dtype=bool)
    tied = np.zeros(len(user), dtype=bool)
    tied[1:] = (user[1:] == user[:-1]) & (time[1:] == time[:-1])
    rows = np.flatnonzero(tied | np.append(tied[1:], False))  # only rows that share user and time can be equal
    rows = rows[np.lexsort((item[rows], time[rows], user[rows]))]
    same = (
        (user[rows][1:] == user[rows][:-1]) & (time[rows][1:] == time[rows][:-1]) & (item[rows][1:] == item[rows][:-1])
    )
    first[rows[1:][same]] = False
    return first
