"""Checks of a data set before training: each function looks for one fault, `Dataset -> Iterator[str]`, and yields a
sentence with its finding and what to do."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.facts import TaskFacts
from benchmark.data.ragged import Longs, Ragged, Strings
from benchmark.data.types import Dataset

if TYPE_CHECKING:
    from scipy.sparse import csr_array


BY_ID = 0.99
"""The share of tied neighbours in ascending, or descending, order of ids from which ties count as sorted."""
FEW_PAIRS = 20
"""The fewest tied neighbours whose order is evidence."""
BLOCK = 1 << 22
"""Pairs of a test and a training query per block of comparisons."""


def faults(dataset: Dataset) -> Iterator[str]:
    """The findings of all checks, in their order."""
    for check in CHECKS:
        yield from check(dataset)


def has_times(dataset: Dataset) -> bool:
    """Whether the data has times, not only positions in the history."""
    times, histories = dataset.train.times, dataset.train.histories
    if dataset.facts.get("has_times") is False or not len(times):
        return False
    position = np.arange(len(times)) - np.repeat(histories.offsets[:-1], histories.lengths)
    return not np.array_equal(times - np.repeat(_first(times, histories), histories.lengths), position)


def times_and_ties(dataset: Dataset) -> Iterator[str]:
    """Future interactions in training, and targets decided by the order of equal times; neither is known without
    times."""
    facts, train = dataset.facts, dataset.train
    if "recommendation" not in dataset.test or TaskFacts.of(facts, "recommendation").split == "random-ratio":
        return
    if not has_times(dataset):
        yield "order, no times: how much of training lies after a request, and which targets are tied, cannot be told."
        return
    if len(train.users) > 1 and not _first(train.times, train.histories).any():
        yield "times count from each user's own first event: how much of training lies after a request cannot be told."
    elif leak := facts.get("leak_share"):
        yield (
            f"leak score {leak:.2f}: on average, this share of the training interactions is later than the "
            "test request (leave-one-out trains on other users' future; `protocol.split: global-time` does not)."
        )
    if tied := facts.get("tied_target_share"):
        by = "the file's order" if facts["ties"] == "file" else "a hash"
        yield (
            f"for {tied:.0%} of the users the target shares its time with another item "
            f"({facts['tied_time_share']:.0%} of all interactions do); {by} decides."
        )
        yield from _sorted_ties(dataset, tied)


def _sorted_ties(dataset: Dataset, tied: float) -> Iterator[str]:
    histories, times, ids = dataset.train.histories, dataset.train.times, dataset.train.catalog.ids
    row = histories.rows
    ties = np.flatnonzero(
        (row[1:] == row[:-1]) & (times[1:] == times[:-1]) & (histories.values[1:] != histories.values[:-1])
    )
    if len(ties) < FEW_PAIRS:
        return
    for rank in _ranks(ids):
        ascends = float((rank[histories.values[ties + 1]] > rank[histories.values[ties]]).mean())
        if max(ascends, 1 - ascends) >= BY_ID:
            way, which = ("ascend", "largest") if ascends >= BY_ID else ("descend", "smallest")
            yield (
                f"items of one time {way} by their id ({max(ascends, 1 - ascends):.1%} of {len(ties):,} neighbours): "
                f"for {tied:.0%} of the users the target is the {which} id of its time, which a model can learn. Let a "
                "hash order them (`ties: hash`), or read the slice `other-day` beside all."
            )
            return


def _ranks(ids: Strings) -> Iterator[Longs]:
    """The ranks of the items by their id as text and, if all ids are numbers, also as numbers."""
    texts = np.array([str(name) for name in ids], dtype=object)
    yield np.argsort(np.argsort(texts, kind="stable"), kind="stable")
    if len(texts) and all(text.isdecimal() for text in texts):
        yield np.argsort(np.argsort([int(text) for text in texts], kind="stable"), kind="stable")


def repeated_interactions(dataset: Dataset) -> Iterator[str]:
    """Rows of the log that differ only in time."""
    histories, n = dataset.train.histories, len(dataset.train.catalog)
    repeats = len(histories.values) - len(np.unique(histories.rows * n + histories.values))
    if repeats:
        yield (
            f"{repeats:,} training interactions ({repeats / len(histories.values):.1%}) repeat an earlier one of the "
            "same user and item at another time. If these are copies, drop them from the log; if they are repeats, "
            "models that return what was seen have an advantage."
        )


def answers_seen_before(dataset: Dataset) -> Iterator[str]:
    """Targets in their own history, test pairs in training, copies."""
    joint = dataset.train.events is not None
    advice = " (copies seconds apart: `protocol.copies_within`)" if joint else ""
    for task in dataset.test:
        facts = TaskFacts.of(dataset.facts, task)
        if share := facts.target_in_history_share:
            repeated = f"a repeat or a copy{advice}"
            yield f"{share:.1%} of the requests of {task} have an answer in their own history: {repeated}."
        share, pair = facts.test_pairs_in_training_share, "user and item"
        if task == "search":
            pair = "user and item" if joint else "query and item"
            share = facts.test_users_items_in_training_share if joint else share
        if share:
            yield f"{share:.1%} of the tested pairs of {pair} ({task}) are in the training data."
    if copies := dataset.facts.get("searches_that_copy_an_interaction"):
        yield f"{copies:.0%} of the searches are interactions too; no history holds the copy of its target."


def untrained_items(dataset: Dataset) -> Iterator[str]:
    """Items that are tested and that no model has learned from."""
    for task in dataset.test:
        if new := TaskFacts.of(dataset.facts, task).test_items_not_in_training:
            yield f"{new} relevant test items of {task} never occur in its training data."


def coverage(dataset: Dataset) -> Iterator[str]:
    """Users of the log that no request asks about, and items that no test asks for."""
    users, split = dataset.facts.get("users"), dataset.test.get("recommendation")
    if users and split is not None and len(split.requests) < 0.9 * users:
        yield (
            f"{len(split.requests):,} of {users:,} users are tested: the numbers are about those with enough "
            "interactions."
        )


def same_queries(dataset: Dataset) -> Iterator[str]:
    """Test queries that equal a training query except for case, punctuation, blanks and word order."""
    if "search" not in dataset.test:
        return
    test_queries = dataset.test["search"].requests.queries
    trained = {_key(text) for text in dataset.train.queries}
    repeats = sum(_key(text) in trained for text in test_queries)
    if not repeats:
        return
    joint = dataset.train.events is not None
    subject = f"{repeats:,} of {len(test_queries):,} test {'searches' if joint else 'queries'}"
    if joint:
        yield f"{subject} ask a query of training: what others clicked for it can be looked up."
    else:
        yield (
            f"{subject} equal a training query but for case, punctuation, blanks and the order of words: give such "
            "queries to one part."
        )


def _words(text: Any) -> list[str]:
    return re.findall(r"\w+", unicodedata.normalize("NFKC", str(text)).casefold())


def _key(text: Any) -> str:
    return " ".join(sorted(_words(text)))


def derived_answers(dataset: Dataset) -> Iterator[str]:
    """Test queries whose answers are the union or the intersection of training queries' answers.

    The union is of all training answers that are subsets of a test query's, the intersection of all supersets. Queries
    with one answer, and joint logs, whose searches are single clicks, are left out.
    """
    if "search" not in dataset.test or dataset.train.events is not None or not len(dataset.train.queries):
        return
    n = len(dataset.train.catalog)
    tested, trained = (_matrix(rows, n) for rows in (dataset.test["search"].relevant, dataset.train.searches))
    sizes, trained_sizes = (np.diff(matrix.indptr) for matrix in (tested, trained))
    counts = {"equal": 0, "union": 0, "intersection": 0}
    step = max(1, BLOCK // trained.shape[0])
    for start in range(0, tested.shape[0], step):
        rows, size = tested[start : start + step], sizes[start : start + step]
        shared = (rows @ trained.T).tocoo()
        row, column, overlap = shared.row, shared.col, shared.data
        within, around = overlap == trained_sizes[column], overlap == size[row]
        several = size >= 2
        equal = _any(row, within & around, len(size)) & several
        union = (_chosen(row, column, within, shared.shape) @ trained > 0).sum(axis=1)
        inner = _chosen(row, column, around, shared.shape)
        number = np.diff(inner.indptr)
        held = (inner @ trained).tocsr()
        common = held.data == np.repeat(number, np.diff(held.indptr))
        intersection = np.bincount(np.repeat(np.arange(len(size)), np.diff(held.indptr))[common], minlength=len(size))
        whole = several & ~equal
        counts["equal"] += int(equal.sum())
        counts["union"] += int((whole & (union == size)).sum())
        counts["intersection"] += int((whole & (number > 0) & (intersection == size)).sum())
    total = len(sizes)
    counted = [f"{count} {SAYS[kind]}" for kind, count in counts.items() if count]
    if counted:
        yield (
            f"of {total} test queries the answers follow from those of training queries: {'; '.join(counted)}. A model "
            "that combines queries needs no text."
        )


SAYS = {
    "equal": "have the same answers as a training query",
    "union": "the union of training queries' answers",
    "intersection": "the intersection of training queries' answers",
}


def _matrix(rows: Ragged, n: int) -> csr_array:
    """A row per query, 1 for its answers."""
    from scipy.sparse import csr_array

    if rows.grades is not None:
        rows = rows.keep(rows.grades > 0)
    return csr_array((np.ones(len(rows.values), dtype=np.int64), rows.values, rows.offsets), shape=(len(rows), n))


def _chosen(row: Any, column: Any, mask: NDArray[np.bool_], shape: Any) -> csr_array:
    from scipy.sparse import csr_array

    return csr_array((np.ones(int(mask.sum()), dtype=np.int64), (row[mask], column[mask])), shape=shape)


def _any(row: Any, mask: NDArray[np.bool_], n: int) -> NDArray[np.bool_]:
    return np.bincount(row[mask], minlength=n) > 0


def answers_in_texts(dataset: Dataset) -> Iterator[str]:
    """Queries whose words occur together in an answer's text, or are its title: known-item search."""
    if "search" not in dataset.test:
        return
    split, catalog = dataset.test["search"], dataset.train.catalog
    row, item = split.relevant.rows, split.relevant.values
    texts = _joined(catalog.texts[item])
    titles = (
        _joined(catalog.attributes["title"].to_numpy(dtype=object)[item]) if "title" in catalog.attributes else texts
    )
    queries = _joined(split.requests.queries)
    asked = [queries[i] for i in row]
    inside = np.array([len(query) > 2 and query in text for query, text in zip(asked, texts, strict=True)], dtype=bool)
    whole = np.array(
        [len(query) > 2 and query == title for query, title in zip(asked, titles, strict=True)], dtype=bool
    )
    n = len(split.requests)
    within, equal = (int(_any(row, mask, n).sum()) for mask in (inside | whole, whole))
    if within:
        titled = f"; for {equal:,} it is the answer's title" if equal else ""
        yield (
            f"for {within:,} of {n:,} test {'searches' if dataset.train.events is not None else 'queries'} the query "
            f"stands word for word in an answer's text{titled}: matching words finds these."
        )


def _joined(texts: Iterable[Any]) -> list[str]:
    """The words of every text, surrounded by blanks, so that substring tests match whole words."""
    joined: dict[str, str] = {}
    return [joined.setdefault(text, f" {' '.join(_words(text))} ") for text in map(str, texts)]


def _first(times: Longs, histories: Ragged) -> Longs:
    """The first time of every history, 0 for an empty one."""
    first = np.zeros(len(histories), dtype=np.int64)
    present = histories.lengths > 0
    first[present] = times[histories.offsets[:-1][present]]
    return first


CHECKS: tuple[Callable[[Dataset], Iterator[str]], ...] = (
    times_and_ties,
    repeated_interactions,
    answers_seen_before,
    untrained_items,
    coverage,
    same_queries,
    derived_answers,
    answers_in_texts,
)
