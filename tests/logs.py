"""Logs for tests of their way to requests: random ones, the same in another order, and a split in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from benchmark import Catalog, Dataset, Log, Ragged, Searches, Split
from benchmark.testing import make_log


@st.composite
def random_logs(draw: st.DrawFn) -> Log:
    """Users with distinct items, at least one of them long enough to be tested; times with ties; a few queries."""
    n_items, n_users = draw(st.integers(4, 12)), draw(st.integers(1, 6))
    rows: list[tuple[int, int, int]] = []
    for user in range(n_users):
        items = draw(st.lists(st.integers(0, n_items - 1), unique=True, min_size=4 if user == 0 else 1))
        rows += [(user, item, draw(st.integers(0, 9))) for item in items]
    judged = [(q, draw(st.integers(0, n_items - 1)), 1.0) for q in range(draw(st.integers(3, 12)))]
    return make_log(draw(st.permutations(rows)), judged)


def shuffled(log: Log, seed: int) -> Log:
    """The same log with its items, users, queries and rows in another order."""
    rng = np.random.default_rng(seed)
    items, users, queries = (rng.permutation(len(ids)) for ids in (log.catalog.ids, log.users, log.query_ids))
    item, user, query = (np.argsort(order).astype(np.int32) for order in (items, users, queries))  # old -> new number
    rows, pairs = rng.permutation(len(log.user)), rng.permutation(len(log.query))
    searches = log.searches
    if searches is not None:
        clicks = rng.permutation(len(searches.user))
        searches = Searches(
            user[searches.user[clicks]],
            query[searches.query[clicks]],
            np.append(item, np.int32(-1))[searches.item[clicks]],  # -1: no click
            searches.time[clicks],
            None if searches.part is None else searches.part[clicks],
        )
    return replace(
        log,
        catalog=Catalog(log.catalog.ids[items], log.catalog.texts[items], log.catalog.attributes.iloc[items]),
        users=log.users[users],
        user=user[log.user[rows]],
        item=item[log.item[rows]],
        time=log.time[rows],
        query_ids=log.query_ids[queries],
        queries=log.queries[queries],
        query=query[log.query[pairs]],
        relevant=item[log.relevant[pairs]],
        grade=log.grade[pairs],
        interaction_part=None if log.interaction_part is None else log.interaction_part[rows],
        query_part=None if log.query_part is None else log.query_part[queries],
        searches=searches,
    )


def named(data: Dataset, rows: Ragged, i: int) -> list[str]:
    """The ids of the items in row `i`."""
    return [str(name) for name in data.train.catalog.ids[rows[i]]]


def histories(data: Dataset) -> dict[str, list[str]]:
    """User id -> items in training."""
    return {str(u): named(data, data.train.histories, i) for i, u in enumerate(data.train.users)}


def asked(data: Dataset, split: Split) -> dict[str, tuple[list[str], list[str]]]:
    """Request id -> history, relevant items (sorted)."""
    r = split.requests
    return {str(r.ids[i]): (named(data, r.histories, i), sorted(named(data, split.relevant, i))) for i in range(len(r))}
