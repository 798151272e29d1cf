"""Search made from purchases: a query of the item's category path for each (Ai 2017; Shi 2025, A.1)."""

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
    """A joint log from a 5-core set of 2014: every review is an interaction, and a search that led to its item.

    The buyer searches the item of a purchase once, at the time of the purchase, with one of its queries, chosen by a
    hash of user, item and `seed`. A purchase whose item has no query makes no search. By the judgements, an item is
    relevant to each of its queries, whoever bought it.

    Queries are those of Ai 2017 where these are there ("published"): `query_text.txt`, `train.qrels` and `test.qrels`
    of their repository beside the files that `amazon` reads, in the same folder or in one called
    `reviews_<category>_5.json.gz`, each plain or gzipped; or the five tables `interactions.tsv` (reviewer, asin, time),
    `items.tsv` (asin, text), `queries.tsv` (query, text), `search_train.tsv` and `search_test.tsv` (reviewer, query,
    asin). Purchases without a time, of which the tables have some, cannot be put into an order and are left out.
    Purchases for which nothing is published are no searches.

    Otherwise they are made in the same manner from the category paths of the files that `amazon` reads
    ("categories"): the words of a path from its root on, without punctuation, stop words and repetitions, of which the
    last stays ("Camera & Photo > Digital Camera Lenses" gives "photo digital camera lenses"). The published ones are
    stemmed and without digits besides.

    Args:
        category: as in the names of the files: Electronics, Beauty, Cell_Phones_and_Accessories …
        path: the folder with the files. Where it is empty, `amazon14_joint/<category>`, `amazon14/<category>` or
            `<category>` in the folder that the environment variable BENCHMARK_DATA names.
        queries: published ones where they are there, only those, or those of the category paths.
        split: how searches are split: by the suite's protocol, as in Shi 2025, or as published, where test queries
            occur in no training search; a tenth of the training searches, by a hash, is then the validation part,
            which the authors do not have. Interactions are always split by the protocol.
        levels: the least levels that a path needs to give a query. The authors' repository leaves out paths of one.
        seed: decides, with user and item, which query of an item its buyer used.

    Raises MissingDataError where there are no files, BenchmarkError where they have no category paths or cannot be
    read. Where the statistics of a set in Table 2 of Shi 2025 are not those of the paper, the fact `remark` says so.
    """
    for name, value, known in (
        ("queries", queries, ("any", "published", "categories")),
        ("split", split, ("protocol", "published")),
    ):
        if value not in known:
            raise BenchmarkError(f"amazon_search has no {name} '{value}'. Known: {', '.join(known)}.")
    if levels < 1:
        raise BenchmarkError(f"amazon_search levels is {levels}; give a number of at least 1.")
    needs = _needs(category)
    folders = folders_of("amazon_search", category, path, ("amazon14_joint", "amazon14"), needs)
    log, published = _read(category, folders, queries, needs)
    if published is None:
        if split == "published":
            raise BenchmarkError(
                f"amazon_search {category}: the published split goes with published queries, which are not in "
                f"{folders[0]}. {needs}"
            )
        return _with_facts(category, _from_categories(category, log, levels, seed), "categories")
    return _with_facts(category, _from_published(log, published, split == "published", seed), "published")


def query_of(path: str, levels: int = 2) -> str:
    """The query of a category path "Electronics > Camera & Photo > Lenses"; "" where it has fewer levels."""
    if path.count(" > ") + 1 < levels:
        return ""
    text = re.sub(r"['’]s\b", "", path.lower())
    words = [word for word in re.findall(r"[^\W_]+", text) if word not in STOP_WORDS]
    return " ".join(reversed(dict.fromkeys(reversed(words))))  # of equal words the last stays


def _needs(category: str) -> str:
    return (
        f"Get reviews_{category}_5.json.gz and meta_{category}.json.gz from {HOME}; query_text.txt.gz, train.qrels.gz "
        f"and test.qrels.gz of {SPLITS} may lie beside them. Give their folder as params: {{path: …}}, or put them "
        f"into amazon14/{category} in the folder that the environment variable BENCHMARK_DATA names."
    )


def _read(category: str, folders: list[Path], queries: str, needs: str) -> tuple[Log, Published | None]:
    """The purchases, and the published queries where they are wanted and there."""
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
    row, at = _choose(log, first[log.item], counts[log.item], seed)
    return _joint(log, texts, query, item, row, query[at], None)


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
    known = (user >= 0) & (item >= 0) & np.isin(pair, bought)
    pair, query, test = pair[known], query[known], rows["test"].to_numpy()[known]
    order = np.lexsort((query, pair))
    pair, query, test = pair[order], query[order], test[order]
    first = np.searchsorted(pair, bought)
    row, at = _choose(log, first, np.searchsorted(pair, bought, side="right") - first, seed)
    part = None
    if split:
        held = _words(log, seed, "valid")[row] % np.uint64(10) == 0
        part = np.where(test[at], TEST, np.where(held, VALID, 0)).astype(np.int8)
    facts = {
        **log.facts,
        "files": [*log.facts.get("files", []), *published.files],
        "published_rows_without_purchase_dropped": int((~known).sum()),
    }
    return _joint(replace(log, facts=facts), texts, judged // n, judged % n, row, query[at], part)


def _words(log: Log, seed: int, what: str) -> NDArray[np.uint64]:
    """A hash per interaction of its user, its item and the seed."""
    users = stable_hash(f"{seed} {what} {user}" for user in log.users)
    return tie_break(users[log.user], stable_hash(log.catalog.ids)[log.item])


def _choose(log: Log, first: NDArray[Any], counts: NDArray[Any], seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Which interactions have a query, and where their one is among their `counts` from `first` on."""
    row = np.flatnonzero(counts)
    chosen = _words(log, seed, "query")[row] % counts[row].astype(np.uint64)
    return row, first[row] + chosen.astype(np.int64)


def _joint(
    log: Log,
    texts: pd.Index,
    query: NDArray[Any],
    relevant: NDArray[Any],
    row: NDArray[Any],
    asked: NDArray[Any],
    part: NDArray[np.int8] | None,
) -> Log:
    """The log with these judgements, and with a search for each of the interactions `row`."""
    names = texts.to_numpy(dtype=object)
    return replace(
        log,
        query_ids=names,
        queries=names,
        query=query.astype(np.int32),
        relevant=relevant.astype(np.int32),
        grade=np.ones(len(query), dtype=np.float32),
        searches=Searches(log.user[row], asked.astype(np.int32), log.item[row], log.time[row], part),
    )


def _with_facts(category: str, log: Log, queries: str) -> Log:
    """The log with its statistics, and with what is not as in Table 2."""
    assert log.searches is not None
    found = Table2(len(log.users), len(log.catalog), len(log.queries), len(log.user), len(log.searches.user))
    facts = {
        **{key: value for key, value in log.facts.items() if key != "remark"},  # that of another paper's table
        "queries_from": queries,
        **found._asdict(),
        "interactions_without_search": len(log.user) - len(log.searches.user),
        "items_without_query": len(log.catalog) - len(np.unique(log.relevant)),
        "items_without_text": int((log.catalog.texts == "").sum()),
    }
    if (printed := TABLE_2.get(category)) and printed != found:
        odd = [
            f"{key} {value:,} instead of {expected:,}"
            for key, value, expected in zip(Table2._fields, found, printed, strict=True)
            if value != expected
        ]
        facts["remark"] = f"not the data of Table 2 in Shi 2025: {', '.join(odd)}"
    return replace(log, facts=facts)
