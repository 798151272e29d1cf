"""Candidate lists: each request's relevant items among sampled negatives, made once and shared by all models.

A metric over such a list tells models apart on fewer items than there are, and can put them into another order than the
whole catalogue does (Krichene and Rendle 2020), so it carries the list's name: `HR@10|uni99`. Axis letters: R requests,
N items, n negatives of a list.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark import plugins
from benchmark.errors import BenchmarkError, unknown
from benchmark.hashing import splitmix, tie_break
from benchmark.plugins import Registry
from benchmark.suite import Sampler
from benchmark.testing import check_ranking
from benchmark.types import PAD, Context, Dataset, Ints, Log, Longs, Model, Ragged, Split, Task

Samplers = Mapping[Task, Sequence[Sampler]]

BATCH = 1024
"""Requests at a time."""
DRAWS = 3
"""Draws per wanted negative before the rest of a list is drawn from all items that are left, which is exact as well,
and slow where the catalogue is large."""
CELLS = 1 << 22
"""Pairs of a request and an item that are weighed at once."""


@dataclass(frozen=True)
class Known:
    """The items that are no negatives of a test request: `items[group[i]]`, ascending, for the i-th. `group` int64
    (R,)."""

    group: Longs
    items: Ragged


def known_items(log: Log, dataset: Dataset) -> dict[tuple[Task, bool], Known]:
    """What may be no negative, by task and `personal`, whatever part of the log it stands in.

    For recommendation, and personal search, that is all that the request's user clicked; for search all that was judged
    relevant to the request's query or clicked for it, by anybody. Queries are the same that differ in upper and lower
    case alone.
    """
    found: dict[tuple[Task, bool], Known] = {}
    for task, split in dataset.test.items():
        found[task, task == "search"] = _of_users(log, dataset, split)
        if task == "search":
            found[task, False] = _of_queries(log, dataset, split)
    return found


def _of_users(log: Log, dataset: Dataset, split: Split) -> Known:
    import pandas as pd

    users = len(dataset.train.users)
    row = pd.Index(dataset.train.users).get_indexer(pd.Index(log.users))
    pairs = [(row[log.user], log.item)]
    pairs += [] if log.searches is None else [(row[log.searches.user], log.searches.item)]
    group = np.where(split.requests.users >= 0, split.requests.users, users).astype(np.int64)
    return Known(group, _grouped(pairs, users + 1, log, dataset))


def _of_queries(log: Log, dataset: Dataset, split: Split) -> Known:
    import pandas as pd

    asked = [str(text).casefold() for text in split.requests.queries]
    codes, texts = pd.factorize(np.array([*asked, *(str(text).casefold() for text in log.queries)], dtype=object))
    query, judged = codes[len(asked) :], log.grade > 0
    pairs = [(query[log.query[judged]], log.relevant[judged])]
    pairs += [] if log.searches is None else [(query[log.searches.query], log.searches.item)]
    return Known(codes[: len(asked)].astype(np.int64), _grouped(pairs, len(texts), log, dataset))


def _grouped(pairs: Sequence[tuple[Longs, Ints]], groups: int, log: Log, dataset: Dataset) -> Ragged:
    """The items of every group, from pairs of a group and an item of the log."""
    import pandas as pd

    n = len(dataset.train.catalog)
    number = pd.Index(dataset.train.catalog.ids).get_indexer(pd.Index(log.catalog.ids))
    rows, items = (np.concatenate(part) for part in zip(*pairs, strict=True))
    clicked = items != PAD  # a search may have found nothing
    return _rows(rows[clicked] * n + number[items[clicked]], groups, n)


def listed_digest(digest: str, samplers: Samplers, origins: Mapping[str, Any]) -> str:
    """The digest of a data set with these lists, known before they are made.

    `origins` says of the lists of models, by task and name, what else they depend on: all parameters, code, files.
    """
    code = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    lists = {
        task: [[s.model_dump(), origins.get(f"{task} {s.list_name}")] for s in of] for task, of in samplers.items()
    }
    text = json.dumps([lists, code], sort_keys=True)
    return hashlib.sha256(f"{digest} candidates {text}".encode()).hexdigest()


def with_candidates(
    dataset: Dataset, known: Mapping[tuple[Task, bool], Known], samplers: Samplers, registry: Registry, threads: int = 1
) -> Dataset:
    """The data set with the lists of its test requests, each in the order of the items' numbers, which says nothing.

    A list has the request's relevant items and `n` negatives: of the catalogue, none of them known to be an answer
    (`known_items`) or excluded; where there are fewer, all of them, and `facts` say how often. Lists depend on the
    sampler's seed and the requests' ids, not on the order of anything. Raises BenchmarkError where a model cannot
    answer the task.
    """
    test, facts = dict(dataset.test), {}
    for task, wanted in samplers.items():
        split, lists = test[task], {}
        for sampler in wanted:
            negatives = _negatives(dataset, split, known[task, sampler.personal], sampler, registry, threads)
            lists[sampler.list_name] = _joined(split.relevant, negatives, len(dataset.train.catalog))
            facts[f"{task} {sampler.list_name}"] = {
                "task": task,
                "list": sampler.list_name,
                "kind": sampler.kind,
                "n": sampler.n,
                "personal": sampler.personal,
                "seed": sampler.seed,
                "requests": len(split.requests),
                "requests_with_fewer": int((negatives.lengths < sampler.n).sum()),
                "fewest_negatives": int(negatives.lengths.min(initial=sampler.n)),
            }
        test[task] = replace(split, candidates=lists)
    return replace(dataset, test=test, facts={**dataset.facts, "candidates": list(facts.values())})


def check_sampler(sampler: Sampler, task: Task, registry: Registry) -> dict[str, Any]:
    """All parameters of a sampler's model, none for a sampler without one. Raises BenchmarkError for what it cannot
    do."""
    if sampler.personal and task != "search":
        raise BenchmarkError(f"candidates of {task}: `personal` is for search; recommendation always is. Take it out.")
    if not sampler.model:
        if sampler.params:
            raise BenchmarkError(f"candidates of {task}: '{sampler.kind}' has no parameters; take out `params`.")
        return {}
    if sampler.model not in registry.models:
        raise unknown("sampler", sampler.kind, ["uniform", "popularity", *registry.models], f"candidates of {task}")
    offer = registry.offer("model", sampler.model)
    plugins.check_requirements(offer)
    params = plugins.check_params(offer, sampler.params)
    tasks = plugins.build(offer, params).tasks
    if task not in tasks:
        raise BenchmarkError(f"candidates of {task}: the model '{sampler.model}' does {' and '.join(sorted(tasks))}.")
    return params


def _negatives(
    dataset: Dataset, split: Split, known: Known, sampler: Sampler, registry: Registry, threads: int
) -> Ragged:
    if sampler.model:
        parts = list(_found(dataset, split, known, sampler, registry, threads))
    else:
        n = len(dataset.train.catalog)
        weights = (
            np.ones(n) if sampler.kind == "uniform" else dataset.train.popularity(split.requests.task).astype(float)
        )
        keys = splitmix(split.requests.keys ^ splitmix(np.array([sampler.seed], dtype=np.int64).astype(np.uint64)))
        parts = [
            draw(keys[rows], weights, _forbidden(split, known, rows, n), sampler.n)
            for rows in _batches(len(split.requests))
        ]
    lengths = [part.lengths for part in parts] or [np.empty(0, dtype=np.int64)]
    values = [part.values for part in parts] or [np.empty(0, dtype=np.int32)]
    return Ragged.from_lengths(np.concatenate(lengths), np.concatenate(values))


def _found(
    dataset: Dataset, split: Split, known: Known, sampler: Sampler, registry: Registry, threads: int
) -> Iterator[Ragged]:
    """What a model that was fitted on the training data ranks highest of all that may be a negative."""
    import threadpoolctl

    n = len(dataset.train.catalog)
    model: Model = plugins.build(registry.offer("model", sampler.model), sampler.params)
    with tempfile.TemporaryDirectory() as folder, threadpoolctl.threadpool_limits(threads), _named(sampler, dataset):
        context = Context(seed=sampler.seed, device="cpu", workdir=Path(folder), threads=threads)
        model.fit(dataset.train, {t: s for t, s in dataset.valid.items() if t in model.tasks}, context)
        for rows in _batches(len(split.requests)):
            requests = replace(split.requests.take(rows), exclude=_forbidden(split, known, rows, n))
            ranking = model.rank(requests, sampler.n)
            check_ranking(ranking, requests, sampler.n, n, f"the candidates of '{sampler.model}'")
            filled = ranking.items != PAD
            yield Ragged.from_lengths(filled.sum(axis=1), ranking.items[filled])


@contextlib.contextmanager
def _named(sampler: Sampler, dataset: Dataset) -> Iterator[None]:
    """Let what goes wrong in the model say where it stands."""
    try:
        yield
    except Exception as error:
        raise BenchmarkError(
            f"data set '{dataset.name}': the candidates {sampler.list_name} cannot be made, the model "
            f"'{sampler.model}' failed: {type(error).__name__}: {error}"
        ) from error


def _batches(n: int) -> Iterator[Longs]:
    return (np.arange(start, min(start + BATCH, n)) for start in range(0, n, BATCH))


def _forbidden(split: Split, known: Known, rows: Longs, n: int) -> Ragged:
    """What these requests must not have as a negative, each row ascending."""
    parts = known.items.take(known.group[rows]), split.requests.exclude.take(rows), split.relevant.take(rows)
    return _rows(np.concatenate([part.rows * n + part.values for part in parts]), len(rows), n)


def _joined(relevant: Ragged, negatives: Ragged, n: int) -> Ragged:
    if relevant.grades is not None:
        relevant = relevant.keep(relevant.grades > 0)
    return _rows(np.concatenate([part.rows * n + part.values for part in (relevant, negatives)]), len(relevant), n)


def _rows(keys: Longs, rows: int, n: int) -> Ragged:
    """The distinct values of every row from keys `row * n + value`, ascending."""
    keys = np.sort(keys, kind="stable")  # mostly in order, where np.unique would hash
    keys = keys[np.append(True, keys[1:] != keys[:-1])[: len(keys)]]
    return Ragged.from_lengths(np.bincount(keys // n, minlength=rows), keys % n)


def draw(keys: NDArray[np.uint64], weights: NDArray[np.float64], forbidden: Ragged, n: int) -> Ragged:
    """`n` items for each of the `keys` (b,), ascending, drawn one after the other in proportion to `weights` (N,) of
    those that are left; all that may be, where they are fewer.

    An item of weight 0 is drawn, all such alike, only where no other is left. Each row depends on its key alone.
    """
    n_items = len(weights)
    blocked = forbidden.rows * n_items + forbidden.values
    taken = _first_draws(keys, weights, blocked, n)
    have = np.bincount(taken // n_items, minlength=len(keys))
    short = np.flatnonzero(have < n)
    size = max(1, CELLS // n_items)
    parts = [taken]
    for rows in (short[start : start + size] for start in range(0, len(short), size)):
        # Exponential clocks: the next of those left to ring is each item in proportion to its weight, so the first
        # n - have to ring are what drawing on would give.
        clock = -np.log(_uniform(tie_break(splitmix(keys[rows])[:, None], np.arange(n_items)[None])))
        clock = np.where(weights > 0, clock / np.where(weights > 0, weights, 1), 1e6 + clock)
        for gone in (blocked, taken):
            at = np.isin(gone // n_items, rows)
            clock[np.searchsorted(rows, gone[at] // n_items), gone[at] % n_items] = np.inf
        first = np.argsort(clock, axis=1, kind="stable")[:, :n]
        wanted = np.arange(first.shape[1]) < (n - have[rows])[:, None]
        wanted &= np.isfinite(np.take_along_axis(clock, first, axis=1))
        parts.append((rows[:, None] * n_items + first)[wanted])
    return _rows(np.concatenate(parts), len(keys), n_items)


def _first_draws(keys: NDArray[np.uint64], weights: NDArray[np.float64], blocked: Longs, n: int) -> Longs:
    """The first at most `n` different allowed items among `DRAWS * n` draws with replacement: `row * N + item`."""
    n_items, total = len(weights), np.cumsum(weights)
    if not total[-1]:
        return np.empty(0, dtype=np.int64)
    uniform = _uniform(tie_break(keys[:, None], np.arange(DRAWS * n)[None]))
    items = np.minimum(np.searchsorted(total, uniform * total[-1], side="right"), np.flatnonzero(weights)[-1])
    drawn, first = np.unique(np.arange(len(keys))[:, None] * n_items + items, return_index=True)
    fresh = ~np.isin(drawn, blocked)
    drawn = drawn[fresh][np.argsort(first[fresh])]
    row = drawn // n_items
    nth = np.arange(len(row)) - np.searchsorted(row, np.arange(len(keys)))[row]
    taken: Longs = drawn[nth < n]
    return taken


def _uniform(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Numbers above 0 and up to 1, of 53 random bits each."""
    return ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
