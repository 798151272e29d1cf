"""A file format: a line per user, `ann: tea@100 milk@160`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from benchmark import BenchmarkError, Catalog, Log, MissingDataError


def diary(path: str) -> Log:
    """A diary: a line per user, `ann: tea@100 milk@160`, with the time in seconds after each item.

    Args:
        path: the file.

    Raises MissingDataError where there is no such file, BenchmarkError for a line that cannot be read.
    """
    file = Path(path)
    if not file.is_file():
        raise MissingDataError(f"there is no diary {file}. Write a line per user, such as: ann: tea@100 milk@160.")
    users, rows = [], []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        user, colon, entries = line.partition(":")
        if not colon:
            raise BenchmarkError(f"{file}, line {number}: there is no ':' after the user.")
        for entry in entries.split():
            item, _, time = entry.rpartition("@")
            if not item or not time.isdecimal():
                raise BenchmarkError(f"{file}, line {number}: '{entry}' is not an item and a time, such as tea@100.")
            rows.append((len(users), item, int(time)))
        users.append(user.strip())
    table = pd.DataFrame(rows, columns=["user", "item", "time"])
    item, names = pd.factorize(table["item"], sort=True)
    no_text, no_query = np.empty(0, dtype=object), np.empty(0, dtype=np.int32)
    return Log(
        catalog=Catalog(ids=names.to_numpy(object), texts=names.to_numpy(object), attributes=pd.DataFrame(index=names)),
        users=np.array(users, dtype=object),
        user=table["user"].to_numpy(np.int32),
        item=item.astype(np.int32),
        time=table["time"].to_numpy(np.int64),
        query_ids=no_text,
        queries=no_text,
        query=no_query,
        relevant=no_query,
        grade=np.empty(0, dtype=np.float32),
        facts={"source": file.name},
    )
