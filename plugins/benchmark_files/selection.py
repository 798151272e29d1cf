"""Filters of interactions: by rating, and by the number of interactions of users and items (k-core)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark import PAD, BenchmarkError, Catalog, Log, Searches
from benchmark_files.tables import Table, Tables, missing


def rated(tables: Tables, least: float | None) -> tuple[Tables, dict[str, Any]]:
    """The tables without the interactions rated below `least`, and facts about them.

    Raises BenchmarkError if there are no ratings, or one is not a number.
    """
    if least is None:
        return tables, {}
    table = tables.interactions
    if table is None:
        raise BenchmarkError("data set 'files': min_rating needs interactions, and there are none; remove it.")
    if "rating" not in table.rows:
        raise missing(table.file, "rating", "rating", [str(column) for column in table.rows])
    if table.rows.empty:  # as_log refuses this
        return tables, {}
    ratings = pd.to_numeric(table.rows["rating"], errors="coerce").to_numpy(dtype=np.float64)
    if (bad := np.flatnonzero(~np.isfinite(ratings))).size:
        value = table.rows["rating"].iloc[bad[0]]
        raise BenchmarkError(
            f"{table.file}: the rating '{value}' in row {bad[0] + 1} is not a number (and {bad.size - 1} more rows)."
        )
    high = ratings >= least
    if not high.any():
        raise BenchmarkError(
            f"{table.file}: min_rating {least:g} leaves no interaction; the highest rating is {ratings.max():g}."
        )
    kept = Table(table.file, table.rows[high].reset_index(drop=True), table.timed)
    return replace(tables, interactions=kept), {
        "min_rating": least,
        "rows_below_min_rating_dropped": int((~high).sum()),
    }


def core(log: Log, min_user: int, min_item: int) -> Log:
    """The largest part of the log in which every user has `min_user` interactions and every item `min_item`.

    Raises BenchmarkError for negative numbers, and if nothing is left.
    """
    for name, value in (("min_user_interactions", min_user), ("min_item_interactions", min_item)):
        if value < 0:
            raise BenchmarkError(f"data set 'files': {name} is {value}; give 0 or more.")
    if not (min_user or min_item):
        return log
    if not len(log.user):
        raise BenchmarkError(
            "data set 'files': min_user_interactions and min_item_interactions need interactions, and there are none; "
            "remove them."
        )
    kept = np.ones(len(log.user), dtype=bool)
    while True:
        per_user = np.bincount(log.user[kept], minlength=len(log.users))
        per_item = np.bincount(log.item[kept], minlength=len(log.catalog))
        stay = kept & (per_user[log.user] >= min_user) & (per_item[log.item] >= min_item)
        if (stay == kept).all():
            break
        kept = stay
    if not kept.any():
        raise BenchmarkError(
            f"data set 'files': no interaction is left where every user has {min_user} and every item {min_item}; "
            "lower min_user_interactions or min_item_interactions."
        )
    users = per_user > 0 if min_user else np.ones(len(log.users), dtype=bool)
    items = per_item > 0 if min_item else np.ones(len(log.catalog), dtype=bool)
    facts = {
        "min_user_interactions": min_user,
        "min_item_interactions": min_item,
        "interactions_outside_core_dropped": int((~kept).sum()),
        "users_outside_core_dropped": int((~users).sum()),
        "items_outside_core_dropped": int((~items).sum()),
    }
    return replace(_restricted(log, kept, users, items), facts={**log.facts, **facts})


def _restricted(log: Log, kept: NDArray[np.bool_], users: NDArray[np.bool_], items: NDArray[np.bool_]) -> Log:
    """The log with only these interactions, users and items, and with their searches and judgements."""
    user, item = (np.where(stay, np.cumsum(stay) - 1, PAD).astype(np.int32) for stay in (users, items))
    catalog = log.catalog
    judged, searches = items[log.relevant], log.searches
    if searches is not None:
        s = searches
        stay = users[s.user] & np.append(items, True)[s.item]  # PAD, a search without a click, stays
        searches = Searches(
            user[s.user[stay]],
            s.query[stay],
            np.append(item, np.int32(PAD))[s.item[stay]],
            s.time[stay],
            None if s.part is None else s.part[stay],
        )
    return replace(
        log,
        catalog=Catalog(catalog.ids[items], catalog.texts[items], catalog.attributes[items].reset_index(drop=True)),
        users=log.users[users],
        user=user[log.user[kept]],
        item=item[log.item[kept]],
        time=log.time[kept],
        interaction_part=None if log.interaction_part is None else log.interaction_part[kept],
        query=log.query[judged],
        relevant=item[log.relevant[judged]],
        grade=log.grade[judged],
        searches=searches,
    )
