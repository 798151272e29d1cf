"""Small data for tests, written as lists: a catalogue, a log, training data and requests, all else filled in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from benchmark.data.events import Events
from benchmark.data.ragged import Ragged, Strings
from benchmark.data.types import Catalog, Log, Requests, Searches, Task, Train

Rows = Ragged | Iterable[ArrayLike]
"""A row of items for each user, query or request: `[[4, 2], [], [7]]`."""


def make_catalog(texts: Iterable[str], **attributes: Sequence[Any]) -> Catalog:
    """A catalogue of items "i0", "i1" … with these texts, and each attribute as a column of values.

    >>> make_catalog(["red shoes", "blue hat"], brand=["Acme", "Acme"]).ids
    array(['i0', 'i1'], dtype=object)
    """
    import pandas as pd

    texts = _strings(texts)
    return Catalog(_named("i", len(texts)), texts, pd.DataFrame(attributes, index=range(len(texts))))


def make_train(
    histories: Rows = (),
    searches: Mapping[str, Sequence[int]] | None = None,
    catalog: Catalog | None = None,
    **changes: Any,
) -> Train:
    """Training data of users "u0", "u1" … with these histories, and of queries with their relevant items.

    Without `catalog` there are as many items as occur, without texts. `times` count on from 0 through all histories.
    Further fields of `benchmark.Train`, such as `max_history`, are given by name.

    >>> make_train([[0, 1], [2]], {"red shoes": [1, 3]}).popularity("search")
    array([0, 1, 0, 1])
    """
    rows, relevant = _ragged(histories), Ragged.from_rows((searches or {}).values())
    if catalog is None:
        values = np.concatenate([rows.values, relevant.values])
        catalog = make_catalog([""] * (int(values.max(initial=-1)) + 1))
    times = np.arange(len(rows.values), dtype=np.int64)
    train = Train(catalog, _named("u", len(rows)), rows, times, _strings(searches or ()), relevant)
    return replace(train, **changes)


def make_requests(
    histories: Rows | None = None,
    queries: Sequence[str] | None = None,
    *,
    exclude: Rows | None = None,
    candidates: Rows | None = None,
    users: ArrayLike | None = None,
    task: Task | None = None,
    ids: Sequence[str] | None = None,
    events: Events | None = None,
) -> Requests:
    """Requests "r0", "r1" …: for recommendation by their histories, for search if there are queries.

    `histories`, `queries`, `exclude` and `candidates` have an entry per request; histories and queries may be left out,
    and are then empty. `users` are row numbers of the training data, by default -1: nobody is known from training.
    Raises ValueError if their lengths differ.

    >>> make_requests([[4, 2], []], exclude=[[7], []]).task
    'recommendation'
    >>> make_requests(queries=["red shoes"], candidates=[[0, 1, 2]]).histories.lengths
    array([0])
    """
    rows = Ragged.empty(len(queries or ())) if histories is None else _ragged(histories)
    n = len(rows)
    requests = Requests(
        task=task or ("recommendation" if queries is None else "search"),
        ids=_named("r", n) if ids is None else _strings(ids),
        users=np.full(n, -1, dtype=np.int32) if users is None else np.asarray(users, dtype=np.int32),
        histories=rows,
        queries=_strings([""] * n if queries is None else queries),
        exclude=Ragged.empty(n) if exclude is None else _ragged(exclude),
        candidates=None if candidates is None else _ragged(candidates),
        events=events,
    )
    for name in ("ids", "users", "queries", "exclude", "candidates", "events"):
        column = getattr(requests, name)
        if column is not None and len(column) != n:
            raise ValueError(f"there are {n} requests, and {name} has {len(column)} rows")
    return requests


def make_log(
    interactions: Iterable[tuple[int, int, int]] = (),
    judgements: Iterable[tuple[int, int, float]] = (),
    searches: Iterable[tuple[int, int, int, int]] | None = None,
    *,
    catalog: Catalog | None = None,
    queries: Sequence[str] | None = None,
    **changes: Any,
) -> Log:
    """A log of interactions (user, item, time) and judgements (query, item, grade).

    With `searches` (user, query, item, time), item -1 for no click, it is a joint log. Users are "u0", "u1" …, queries
    "q0", "q1" … with the texts "query 0", "query 1" …, items those of `catalog` or, without texts, as many as occur.
    Further fields of `benchmark.Log`, such as `ties`, are given by name.

    >>> make_log([(0, 0, 10), (0, 1, 20), (1, 1, 15)], [(0, 1, 1.0)], queries=["red shoes"]).users
    array(['u0', 'u1'], dtype=object)
    """
    user, item, time = _columns(interactions, 3)
    query, relevant, grade = np.array(list(judgements), dtype=np.float64).reshape(-1, 3).T
    searcher, asked, clicked, moment = _columns(searches or (), 4)
    if catalog is None:
        catalog = make_catalog([""] * _count(item, relevant, clicked))
    if queries is None:
        queries = [f"query {i}" for i in range(_count(query, asked))]
    log = Log(
        catalog=catalog,
        users=_named("u", _count(user, searcher)),
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        time=time,
        query_ids=_named("q", len(queries)),
        queries=_strings(queries),
        query=query.astype(np.int32),
        relevant=relevant.astype(np.int32),
        grade=grade.astype(np.float32),
        searches=None
        if searches is None
        else Searches(searcher.astype(np.int32), asked.astype(np.int32), clicked.astype(np.int32), moment),
    )
    return replace(log, **changes)


def _strings(values: Iterable[str]) -> Strings:
    return np.array(list(values), dtype=object)


def _named(letter: str, n: int) -> Strings:
    return _strings(f"{letter}{i}" for i in range(n))


def _ragged(rows: Rows) -> Ragged:
    return rows if isinstance(rows, Ragged) else Ragged.from_rows(rows)


def _columns(rows: Iterable[tuple[int, ...]], n: int) -> Any:
    """The `n` columns of a table, int64."""
    return np.array(list(rows), dtype=np.int64).reshape(-1, n).T


def _count(*columns: Any) -> int:
    """How many are numbered, from 0, in all of these columns."""
    return 1 + int(max(column.max(initial=-1) for column in columns))
