"""Searches made from purchases: each one's query is made from the item's category path (Ai 2017; Shi 2025, A.1)."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark import BenchmarkError, Log, MissingDataError, Searches, stable_hash, tie_break
from benchmark_amazon import amazon
from benchmark_amazon.places import HOME, find, folders_of
from benchmark_amazon.published import SPLITS, TABLES, Published, find_qrels, read_joint, read_qrels

if TYPE_CHECKING:
    import pandas as pd


class Table2(NamedTuple):
    """A row of Table 2 of Shi 2025."""

    users: int
    items: int
    queries: int
    interactions: int
    searches: int


TABLE_2 = {"Electronics": Table2(192_403, 62_883, 983, 1_266_903, 1_081_934)}
STOP_WORDS = frozenset((
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "of", "on", "or",
    "such", "that", "the", "their", "then", "there", "these", "they", "this", "to", "was", "will", "with",
))  # fmt: skip
"""The English stop words of Lucene without "no" and "not": contract phones are not no-contract phones."""
VALID, TEST = 1, 2


def amazon_search(
    category: str,
    path: str = "",
    queries: Literal["any", "published", "categories"] = "any",
    split: Literal["protocol", "published"] = "protocol",
    levels: int = 2,
    seed: int = 0,
) -> Log:
    """A joint log from a 5-core set of 2014: every review is a purchase, and the click of a search for its item.

    The search has the user and the time of the purchase, and one of the item's queries, chosen by a hash of user, item
    and `seed`. A purchase of an item without a query has no search. By the judgements, an item is relevant to each of
    its queries, whoever bought it.

    Queries are those of Ai 2017 if their files are in the folder ("published"): either `query_text.txt`, `train.qrels`
    and `test.qrels` of their repository, next to the files that `amazon` reads or in a subfolder
    `reviews_<category>_5.json.gz`, each plain or gzipped; or the five tables `interactions.tsv` (reviewer, asin, time),
    `items.tsv` (asin, text), `queries.tsv` (query, text), `search_train.tsv` and `search_test.tsv` (reviewer, query,
    asin). The tables have some purchases without a time, which are left out. A purchase without a published query has
    no search.

    Otherwise queries are made in the same manner from the category paths of the files that `amazon` reads
    ("categories"): the words of a path from its root on, without punctuation, stop words and all but the last of equal
    words ("Camera & Photo > Digital Camera Lenses" gives "photo digital camera lenses"). Published queries are also
    stemmed and have no digits.

    Args:
        category: as in the names of the files: Electronics, Beauty, Cell_Phones_and_Accessories …
        path: the folder with the files; empty: `amazon14_joint/<category>`, `amazon14/<category>` or `<category>` in
            the folder that the environment variable BENCHMARK_DATA names.
        queries: the published ones if there are any, only the published ones, or those of the category paths.
        split: how searches are split: by the suite's protocol, as in Shi 2025, or as published, so that no training
            search has a test query; validation, which the authors do not have, is then a tenth of the training
            searches, chosen by a hash. Interactions are always split by the protocol.
        levels: paths with fewer levels give no query. The authors' repository leaves out paths of one.
        seed: chooses, with user and item, the query that the buyer used.

    Raises MissingDataError if there are no files, BenchmarkError if they have no category paths or cannot be read. For
    the sets of Table 2 of Shi 2025, the fact `remark` lists the statistics that differ from the paper's.
    """
    for name, value, allowed in (
        ("queries", queries, ("any", "published", "categories")),
        ("split", split, ("protocol", "published")),
    ):
        if value not in allowed:
            raise BenchmarkError(f"amazon_search has no {name} '{value}'. Known: {', '.join(allowed)}.")
    if levels < 1:
        raise BenchmarkError(f"amazon_search levels is {levels}; give a number of at least 1.")
    needs = _needs(category)
    folders = folders_of("amazon_search", category, path, ("amazon14_joint", "amazon14"), needs)
    log, published = _read(category, folders, queries, needs)
    if published is None:
        if split == "published":
            raise BenchmarkError(
                f"amazon_search {category}: the published split needs the published queries, which are not in "
                f"{folders[0]}. {needs}"
            )
        return _with_facts(category, _from_categories(category, log, levels, seed), "categories")
    return _with_facts(category, _from_published(log, published, split == "published", seed), "published")


def query_of(path: str, levels: int = 2) -> str:
    """The query of a category path "Electronics > Camera & Photo > Lenses"; "" if it has fewer levels."""
    if path.count(" > ") + 1 < levels:
        return ""
    text = re.sub(r"['’]s\b", "", path.lower())
    words = [word for word in re.findall(r"[^\W_]+", text) if word not in STOP_WORDS]
    return " ".join(reversed(dict.fromkeys(reversed(words))))  # keeps the last of equal words


def _needs(category: str) -> str:
    return (
        f"Get reviews_{category}_5.json.gz and meta_{category}.json.gz from {HOME}; query_text.txt.gz, train.qrels.gz "
        f"and test.qrels.gz of {SPLITS} may be next to them. Give their folder as params: {{path: …}}, or put them "
        f"into amazon14/{category} in the folder that the environment variable BENCHMARK_DATA names."
    )


def _read(category: str, folders: list[Path], queries: str, needs: str) -> tuple[Log, Published | None]:
    """The purchases, and the published queries unless they are missing or not wanted."""
    for folder in folders:
        if queries != "categories" and (find(folder, TABLES[0]) or find(folder, TABLES[3])):
            log, published, untimed = read_joint(folder)
            return replace(log, facts={**log.facts, "rows_without_time_dropped": untimed}), published
        if not any(find(folder, name) for name in (f"reviews_{category}_5.json", "sequences.tsv")):
            continue
        qrels = None if queries == "categories" else find_qrels(folder, category)
        if qrels is None and queries == "published":
            continue
        return amazon(category, str(folder)), read_qrels(qrels) if qrels else None
    what = {"published": "no published queries", "categories": "no files with category paths"}.get(queries, "no files")
    raise MissingDataError(f"{folders[0]} has {what} of amazon_search {category}. {needs}")


def _from_categories(category: str, log: Log, levels: int, seed: int) -> Log:
    import pandas as pd

    attributes = log.catalog.attributes
    paths = attributes["categories"] if "categories" in attributes else pd.Series([()] * len(log.catalog), dtype=object)
    pairs = [(item, query_of(path, levels)) for item, several in enumerate(paths) for path in several]
    table = pd.DataFrame(pairs, columns=["item", "text"])
    table = table[table["text"] != ""].drop_duplicates()
    if table.empty:
        raise BenchmarkError(
            f"amazon_search {category}: no item of {', '.join(log.facts['files'])} has a category path of {levels} "
            f"levels, from which queries are made. {_needs(category)}"
        )
    query, texts = pd.factorize(table["text"], sort=True)
    order = np.lexsort((query, table["item"]))
    item, query = table["item"].to_numpy()[order], query[order]
    counts = np.bincount(item, minlength=len(log.catalog))
    first = np.cumsum(counts) - counts
    row, pair = _choose(log, first[log.item], counts[log.item], seed)
    return _joint(log, texts, query, item, row, query[pair], None)


def _from_published(log: Log, published: Published, split: bool, seed: int) -> Log:
    import pandas as pd

    rows = published.rows
    texts = pd.Index(sorted(set(published.texts)))
    query = texts.get_indexer(pd.Index(published.texts))[rows["query"]]
    item = pd.Index(log.catalog.ids).get_indexer(pd.Index(rows["asin"]))
    user = pd.Index(log.users).get_indexer(pd.Index(rows["reviewer"]))
    judged = np.unique(query[item >= 0].astype(np.int64) * len(log.catalog) + item[item >= 0])
    n = len(log.catalog)
    bought = log.user.astype(np.int64) * n + log.item
    pair = user.astype(np.int64) * n + item
    purchased = (user >= 0) & (item >= 0) & np.isin(pair, bought)
    pair, query, test = pair[purchased], query[purchased], rows["test"].to_numpy()[purchased]
    order = np.lexsort((query, pair))
    pair, query, test = pair[order], query[order], test[order]
    first = np.searchsorted(pair, bought)
    row, chosen = _choose(log, first, np.searchsorted(pair, bought, side="right") - first, seed)
    part = None
    if split:
        validates = _hashes(log, seed, "valid")[row] % np.uint64(10) == 0
        part = np.where(test[chosen], TEST, np.where(validates, VALID, 0)).astype(np.int8)
    facts = {
        **log.facts,
        "files": [*log.facts.get("files", []), *published.files],
        "published_rows_without_purchase_dropped": int((~purchased).sum()),
    }
    return _joint(replace(log, facts=facts), texts, judged // n, judged % n, row, query[chosen], part)


def _hashes(log: Log, seed: int, purpose: str) -> NDArray[np.uint64]:
    """One per interaction, of its user, its item and the seed."""
    users = stable_hash(f"{seed} {purpose} {user}" for user in log.users)
    return tie_break(users[log.user], stable_hash(log.catalog.ids)[log.item])


def _choose(log: Log, first: NDArray[Any], counts: NDArray[Any], seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The interactions that have a query, and the position of the chosen one of their `counts` from `first` on."""
    row = np.flatnonzero(counts)
    chosen = _hashes(log, seed, "query")[row] % counts[row].astype(np.uint64)
    return row, first[row] + chosen.astype(np.int64)


def _joint(
    log: Log,
    texts: pd.Index,
    query: NDArray[Any],
    relevant: NDArray[Any],
    row: NDArray[Any],
    searched: NDArray[Any],
    part: NDArray[np.int8] | None,
) -> Log:
    """The log with the judgements (query, relevant), and a search for each interaction in `row`, with its `searched`
    query."""
    names = texts.to_numpy(dtype=object)
    return replace(
        log,
        query_ids=names,
        queries=names,
        query=query.astype(np.int32),
        relevant=relevant.astype(np.int32),
        grade=np.ones(len(query), dtype=np.float32),
        searches=Searches(log.user[row], searched.astype(np.int32), log.item[row], log.time[row], part),
    )


def _with_facts(category: str, log: Log, queries: str) -> Log:
    """The log with its statistics, and a remark on those that differ from Table 2."""
    assert log.searches is not None
    statistics = Table2(len(log.users), len(log.catalog), len(log.queries), len(log.user), len(log.searches.user))
    facts = {
        **{
            key: value for key, value in log.facts.items() if key != "remark"
        },  # amazon's is about Table 2 of Rajput 2023
        "queries_from": queries,
        **statistics._asdict(),
        "interactions_without_search": len(log.user) - len(log.searches.user),
        "items_without_query": len(log.catalog) - len(np.unique(log.relevant)),
        "items_without_text": int((log.catalog.texts == "").sum()),
    }
    if (printed := TABLE_2.get(category)) and printed != statistics:
        different = [
            f"{key} {value:,} instead of {expected:,}"
            for key, value, expected in zip(Table2._fields, statistics, printed, strict=True)
            if value != expected
        ]
        facts["remark"] = f"not the data of Table 2 in Shi 2025: {', '.join(different)}"
    return replace(log, facts=facts)
