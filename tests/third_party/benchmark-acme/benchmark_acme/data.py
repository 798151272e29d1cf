"""A circle of items that every user walks along."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from benchmark import BenchmarkError, Catalog, Log


def circle(n_items: int = 30, n_users: int = 60, steps: int = 6, direction: Literal["up", "down"] = "up") -> Log:
    """User u starts at item u and takes `steps` steps along the circle; three queries name each item."""
    if n_items < 3:
        raise BenchmarkError(f"n_items is {n_items}; a circle has at least 3.")
    user, step = np.divmod(np.arange(n_users * steps), steps)
    item = (user + (step if direction == "up" else -step)) % n_items
    query = np.arange(3 * n_items)
    return Log(
        catalog=Catalog(
            ids=np.array([f"i{i}" for i in range(n_items)], dtype=object),
            texts=np.array([f"place number{i} of the circle" for i in range(n_items)], dtype=object),
            attributes=pd.DataFrame(index=range(n_items)),
        ),
        users=np.array([f"u{u}" for u in range(n_users)], dtype=object),
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        time=(1000 + step).astype(np.int64),
        query_ids=np.array([f"q{q}" for q in query], dtype=object),
        queries=np.array([f"{('find', 'show', 'visit')[q % 3]} number{q // 3}" for q in query], dtype=object),
        query=query.astype(np.int32),
        relevant=(query // 3).astype(np.int32),
        grade=np.ones(len(query), dtype=np.float32),
        facts={"source": "Acme", "licence": "CC0-1.0"},
    )
