"""Candidate lists: each request's relevant items among sampled negatives, made once and shared by all models.

A metric over such a list compares models on few items and can order them differently than the whole catalogue does
(Krichene and Rendle 2020), so it carries the list's name: `HR@10|uni99`. Axis letters: R requests, N items, n negatives
of a list.
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

from benchmark import fingerprint, plugins
from benchmark.contract import Context, Model, check_ranking
from benchmark.data.events import QUERY, SEARCHED, Events
from benchmark.data.hashing import splitmix, tie_break
from benchmark.data.protocol import DRAWN, Sampler, Spare
from benchmark.data.ragged import PAD, Ints, Longs, Ragged, Strings
from benchmark.data.types import Dataset, Log, SampledList, Split, Task
from benchmark.errors import BenchmarkError, error_text, unknown
from benchmark.isolation import contained, frozen
from benchmark.parameters import absolute_paths
from benchmark.plugins import Registry

Samplers = Mapping[Task, Sequence[Sampler]]

BATCH = 1024
"""Requests per batch."""
DRAWS = 3
"""Oversampling factor. Lists still short are completed exactly, which is slow for large catalogues."""
CELLS = 1 << 22
"""Pairs of a request and an item per block of weights."""


@dataclass(frozen=True)
class Known:
    """Known positives that are never sampled as negatives, besides a test request's own answers: `items[group[i]]`,
    ascending, for the i-th. `group` int64 (R,)."""

    group: Longs
    items: Ragged


KnownItems = Mapping[tuple[Task, Spare], Known]


@dataclass(frozen=True)
class Lists:
    """The candidate lists that a data set is to get: the `samplers` of each task, the `known` positives that they
    spare, and the `threads` of the models that make some of them."""

    known: KnownItems
    samplers: Samplers
    threads: int = 1

    @property
    def models(self) -> tuple[str, ...]:
        """The models that make some of the lists, each once."""
        return tuple(dict.fromkeys(s.model for chosen in self.samplers.values() for s in chosen if s.model))


def known_items(log: Log, dataset: Dataset) -> KnownItems:
    """Known positives by task and `Sampler.spare`, from the whole log.

    `target`: none; `history`: the user's clicks before the request; `user`: all of the user's clicks; `query` (search):
    items judged relevant to the request's query or clicked for it by anyone. Queries are compared without case.
    """
    known: dict[tuple[Task, Spare], Known] = {}
    for task, split in dataset.test.items():
        requests = len(split.requests)
        known[task, "target"] = Known(np.zeros(requests, dtype=np.int64), Ragged.empty(1))
        known[task, "history"] = _of_histories(dataset, task)
        known[task, "user"] = _of_users(log, dataset, split)
        if task == "search":
            known[task, "query"] = _of_queries(log, dataset, split)
    return known


def _of_histories(dataset: Dataset, task: Task) -> Known:
    """The items of each request's history, before the protocol's `max_history`: the user's training data and, of the
    request's task, validation answers."""
    train, split, valid = dataset.train, dataset.test[task], dataset.valid[task]
    n, users, requests = len(train.catalog), split.requests.users, np.arange(len(split.requests))
    user_row = np.where(users >= 0, users, len(train.users))
    past = [(train.histories.rows, train.histories.values), *_clicks(train.events)]
    past.append((valid.requests.users[valid.relevant.rows].astype(np.int64), valid.relevant.values))
    parts = [split.requests.histories]
    parts += [Ragged.from_pairs(row, item, len(requests)) for row, item in _clicks(split.requests.events)]
    for user, item in past:
        has_user = user >= 0
        parts.append(Ragged.from_pairs(user[has_user], item[has_user], len(train.users) + 1).take(user_row))
    return Known(requests, _union(*parts, n=n))


def _clicks(events: Events | None) -> list[tuple[Longs, Ints]]:
    """Row and item of every click of the events, if there are any."""
    return [] if events is None else [(events.rows[events.kind != QUERY], events.value[events.kind != QUERY])]


def _of_users(log: Log, dataset: Dataset, split: Split) -> Known:
    import pandas as pd

    users = len(dataset.train.users)
    row = pd.Index(dataset.train.users).get_indexer(pd.Index(log.users))
    pairs = [(row[log.user], log.item)]
    pairs += [] if log.searches is None else [(row[log.searches.user], log.searches.item)]
    group = np.where(split.requests.users >= 0, split.requests.users, users).astype(np.int64)
    return Known(group, _grouped(pairs, users + 1, log, dataset))


def _of_queries(log: Log, dataset: Dataset, split: Split) -> Known:
    codes, (query, texts) = _same_queries(split.requests.queries, log.queries)
    judged = log.grade > 0
    pairs = [(texts[log.query[judged]], log.relevant[judged])]
    pairs += [] if log.searches is None else [(texts[log.searches.query], log.searches.item)]
    return Known(query, _grouped(pairs, codes, log, dataset))


def _same_queries(*parts: Strings) -> tuple[int, list[Longs]]:
    """The number of distinct queries, and every query's number; case is ignored."""
    import pandas as pd

    codes, texts = pd.factorize(np.array([str(text).casefold() for part in parts for text in part], dtype=object))
    ends = np.cumsum([len(part) for part in parts])[:-1]
    return len(texts), [part.astype(np.int64) for part in np.split(codes, ends)]


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

    `origins` has, for lists made by models, all else that they depend on, by task and name: parameters, code, files.
    """
    code = [fingerprint.code_alone(__name__), fingerprint.code("benchmark.data.hashing")]
    lists = {
        task: [[s.model_dump(), origins.get(f"{task} {s.list_name}")] for s in of] for task, of in samplers.items()
    }
    text = json.dumps([lists, code], sort_keys=True)
    return hashlib.sha256(f"{digest} candidates {text}".encode()).hexdigest()


def with_candidates(dataset: Dataset, lists: Lists, registry: Registry) -> Dataset:
    """The data set with the lists of its test requests, each in the uninformative order of the items' numbers.

    A list has the request's relevant items and `n` negatives from the catalogue, neither known positives
    (`known_items`) nor excluded; all of them if there are fewer. `Dataset.lists` count such lists, and those that had
    to be filled, and say how hard the lists are (`lookup_hr1`). Lists depend only on the sampler's seed and the
    requests' ids, not on any order. Raises BenchmarkError if a model cannot answer the task.
    """
    test, made = dict(dataset.test), []
    for task, samplers in lists.samplers.items():
        split, candidates = test[task], {}
        for sampler in samplers:
            negatives, filled = _negatives(dataset, split, lists.known, sampler, registry, lists.threads)
            rows = candidates[sampler.list_name] = _joined(split.relevant, negatives, len(dataset.train.catalog))
            made.append(
                SampledList(
                    task=task,
                    name=sampler.list_name,
                    kind=sampler.kind,
                    n=sampler.n,
                    spare=sampler.spare,
                    fill=sampler.fill,
                    seed=sampler.seed,
                    requests=len(split.requests),
                    requests_filled=filled,
                    requests_with_fewer=int((negatives.lengths < sampler.n).sum()),
                    fewest_negatives=int(negatives.lengths.min(initial=sampler.n)),
                    lookup_hr1=lookup_hr1(dataset, task, rows),
                )
            )
        test[task] = replace(split, candidates=candidates)
    return replace(dataset, test=test, lists=tuple(made))


def lookup_hr1(dataset: Dataset, task: Task, lists: Ragged) -> float:
    """HR@1 over these lists of a lookup table without users: how hard they are without a model.

    It ranks by an item's training clicks for the query, in recommendation by all of its training clicks. Ties are in
    random order, of which this is the mean.
    """
    train, split, n = dataset.train, dataset.test[task], len(dataset.train.catalog)
    if task == "recommendation":
        count = train.popularity(task)[lists.values]
    else:
        query, item = train.searches.rows, train.searches.values
        if train.events is not None:
            at = train.events.positions(SEARCHED)
            query, item = train.events.queries_of(at).astype(np.int64), train.events.value[at]
        texts = train.queries if train.events is None else train.events.queries
        _, (asked, trained) = _same_queries(split.requests.queries, texts)
        pairs, counts = np.unique(trained[query] * n + item, return_counts=True)
        wanted = asked[lists.rows] * n + lists.values
        at = np.minimum(np.searchsorted(pairs, wanted), max(len(pairs) - 1, 0))
        count = np.where(pairs[at] == wanted, counts[at], 0) if len(pairs) else np.zeros(len(wanted), dtype=np.int64)
    relevant = split.relevant if split.relevant.grades is None else split.relevant.keep(split.relevant.grades > 0)
    right = np.isin(lists.rows * n + lists.values, relevant.rows * n + relevant.values)
    best = np.zeros(len(lists), dtype=np.int64)
    np.maximum.at(best, lists.rows, count)
    first = count == best[lists.rows]
    ties, hits = (np.bincount(lists.rows[rows], minlength=len(lists)) for rows in (first, first & right))
    return float((hits / np.maximum(ties, 1)).mean())


def check_sampler(sampler: Sampler, task: Task, registry: Registry) -> dict[str, Any]:
    """All parameters of a sampler's model, empty without one. Raises BenchmarkError for an impossible sampler."""
    if sampler.spare == "query" and task != "search":
        raise BenchmarkError(
            f"candidates of {task}: `spare: query` is for search; {task} has no queries. Write target, history or user."
        )
    if not sampler.model:
        for key, value in (("params", sampler.params), ("fill", sampler.fill)):
            if value:
                raise BenchmarkError(
                    f"candidates of {task}: `{key}` is for lists of a model; '{sampler.kind}' is drawn, so take it out."
                )
        return {}
    if sampler.fill is None:
        raise BenchmarkError(f"candidates of {task}: `fill` of {sampler.list_name} is popular or random, not null.")
    if sampler.model not in registry.models:
        raise unknown("sampler", sampler.kind, [*DRAWN, *registry.models], f"candidates of {task}")
    offer = registry.offer("model", sampler.model)
    plugins.check_requirements(offer)
    params = plugins.check_params(offer, sampler.params)
    tasks = plugins.build(offer, params).tasks
    if task not in tasks:
        raise BenchmarkError(f"candidates of {task}: the model '{sampler.model}' does {' and '.join(sorted(tasks))}.")
    return params


def _negatives(
    dataset: Dataset, split: Split, known: KnownItems, sampler: Sampler, registry: Registry, threads: int
) -> tuple[Ragged, int]:
    """The negatives of every request, and the number of requests for which a model found fewer than `n`."""
    task, n = split.requests.task, len(dataset.train.catalog)
    keys = splitmix(split.requests.keys ^ splitmix(np.array([sampler.seed], dtype=np.int64).astype(np.uint64)))
    spared = known[task, sampler.spare]
    by_popularity = sampler.kind == "popularity" or sampler.fill == "popular"
    weights = dataset.train.popularity(task).astype(float) if by_popularity else np.ones(n)
    parts, filled = [Ragged.empty(0)], 0
    if not sampler.model:
        for rows in _batches(len(split.requests)):
            parts.append(draw(keys[rows], weights, _forbidden(split, rows, n, spared), sampler.n))
    else:
        before = known[task, "history"]
        for rows, best in _found(dataset, split, spared, sampler, registry, threads):
            filled += int((best.lengths < sampler.n).sum())
            blocked = _union(_forbidden(split, rows, n, spared, before), best, n=n)
            rest = draw(keys[rows], weights, blocked, sampler.n - best.lengths)
            parts.append(_union(best, rest, n=n))
    lengths, values = (np.concatenate(of) for of in zip(*((p.lengths, p.values) for p in parts), strict=True))
    return Ragged.from_lengths(lengths, values), filled


def _found(
    dataset: Dataset, split: Split, spared: Known, sampler: Sampler, registry: Registry, threads: int
) -> Iterator[tuple[Longs, Ragged]]:
    """Requests, and the possible negatives that a model fitted on the training data ranks highest."""
    import threadpoolctl

    n = len(dataset.train.catalog)
    model: Model = plugins.build(registry.offer("model", sampler.model), absolute_paths(sampler.params))
    with (
        tempfile.TemporaryDirectory() as folder,
        threadpoolctl.threadpool_limits(threads),
        _named(sampler),
        contextlib.chdir(folder),  # what the model leaves there is removed
    ):
        context = Context(seed=sampler.seed, device="cpu", workdir=Path(folder), threads=threads)
        valid = {task: split for task, split in dataset.valid.items() if task in model.tasks}
        with contained():
            model.fit(frozen(dataset.train), frozen(valid), context)
        for rows in _batches(len(split.requests)):
            requests = replace(split.requests.take(rows), exclude=_forbidden(split, rows, n, spared))
            with contained():
                ranking = model.rank(frozen(requests.take(np.arange(len(rows)))), sampler.n)
            check_ranking(ranking, requests, sampler.n, n, f"the candidates of '{sampler.model}'")
            filled = ranking.items != PAD
            yield rows, Ragged.from_lengths(filled.sum(axis=1), ranking.items[filled])


@contextlib.contextmanager
def _named(sampler: Sampler) -> Iterator[None]:
    """Add the list to errors of the model."""
    try:
        yield
    except Exception as error:
        raise BenchmarkError(
            f"the candidates {sampler.list_name} cannot be made, the model '{sampler.model}' failed: "
            f"{error_text(error)}"
        ) from error


def _batches(n: int) -> Iterator[Longs]:
    return (np.arange(start, min(start + BATCH, n)) for start in range(0, n, BATCH))


def _forbidden(split: Split, rows: Longs, n: int, *known: Known) -> Ragged:
    """The items that must not be negatives of these requests, each row ascending."""
    spared = [known_items_of_list.items.take(known_items_of_list.group[rows]) for known_items_of_list in known]
    return _union(*spared, split.requests.exclude.take(rows), split.relevant.take(rows), n=n)


def _joined(relevant: Ragged, negatives: Ragged, n: int) -> Ragged:
    if relevant.grades is not None:
        relevant = relevant.keep(relevant.grades > 0)
    return _union(relevant, negatives, n=n)


def _union(*parts: Ragged, n: int) -> Ragged:
    """The distinct items of each row of all parts, ascending."""
    return _rows(np.concatenate([part.rows * n + part.values for part in parts]), len(parts[0]), n)


def _rows(keys: Longs, rows: int, n: int) -> Ragged:
    """The distinct values of every row from keys `row * n + value`, ascending."""
    keys = np.sort(keys, kind="stable")  # mostly in order, where np.unique would hash
    keys = keys[np.append(True, keys[1:] != keys[:-1])[: len(keys)]]
    return Ragged.from_lengths(np.bincount(keys // n, minlength=rows), keys % n)


def draw(keys: NDArray[np.uint64], weights: NDArray[np.float64], forbidden: Ragged, n: int | Longs) -> Ragged:
    """`n` items for each of the `keys` (b,), or one number for each key, drawn without replacement in proportion to
    `weights` (N,), ascending; all allowed items if there are fewer.

    Items of weight 0 are drawn uniformly, only when no other is left. Each row depends only on its key and number.
    """
    n_items = len(weights)
    number = np.broadcast_to(np.asarray(n, dtype=np.int64), len(keys))
    blocked = forbidden.rows * n_items + forbidden.values
    taken = _first_draws(keys, weights, blocked, number)
    have = np.bincount(taken // n_items, minlength=len(keys))
    short = np.flatnonzero(have < number)
    size = max(1, CELLS // n_items)
    parts = [taken]
    for rows in (short[start : start + size] for start in range(0, len(short), size)):
        # Exponential clocks: the next one to ring is each item's in proportion to its weight, so the first number -
        # have to ring are equivalent to further draws.
        clock = -np.log(_uniform(tie_break(splitmix(keys[rows])[:, None], np.arange(n_items)[None])))
        clock = np.where(weights > 0, clock / np.where(weights > 0, weights, 1), 1e6 + clock)
        for gone in (blocked, taken):
            at = np.isin(gone // n_items, rows)
            clock[np.searchsorted(rows, gone[at] // n_items), gone[at] % n_items] = np.inf
        first = np.argsort(clock, axis=1, kind="stable")[:, : number[rows].max()]
        wanted = np.arange(first.shape[1]) < (number - have)[rows, None]
        wanted &= np.isfinite(np.take_along_axis(clock, first, axis=1))
        parts.append((rows[:, None] * n_items + first)[wanted])
    return _rows(np.concatenate(parts), len(keys), n_items)


def _first_draws(
    keys: NDArray[np.uint64], weights: NDArray[np.float64], blocked: Longs, number: NDArray[np.int64]
) -> Longs:
    """At most the first `number` (b,) distinct allowed items of `DRAWS` times as many draws with replacement, as `row *
    N + item`."""
    n_items, total = len(weights), np.cumsum(weights)
    most = DRAWS * int(number.max(initial=0))
    if not total[-1] or not most:
        return np.empty(0, dtype=np.int64)
    uniform = _uniform(tie_break(keys[:, None], np.arange(most)[None]))
    items = np.minimum(np.searchsorted(total, uniform * total[-1], side="right"), np.flatnonzero(weights)[-1])
    drawn, first = np.unique(np.arange(len(keys))[:, None] * n_items + items, return_index=True)
    fresh = ~np.isin(drawn, blocked) & (first % most < DRAWS * number[drawn // n_items])
    drawn = drawn[fresh][np.argsort(first[fresh])]
    row = drawn // n_items
    nth = np.arange(len(row)) - np.searchsorted(row, np.arange(len(keys)))[row]
    taken: Longs = drawn[nth < number[row]]
    return taken


def _uniform(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Numbers in (0, 1], of 53 random bits each."""
    return ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
