"""The contract as functions for the tests of a plugin's author, and data to test with: small data written as lists, and
a board on which the right answers are known."""

from __future__ import annotations

import copy
import inspect
import json
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.builders import make_catalog as make_catalog
from benchmark.builders import make_log as make_log
from benchmark.builders import make_requests as make_requests
from benchmark.builders import make_train as make_train
from benchmark.contract import Context, Metric, Model, require, variants
from benchmark.contract import check_analysis as check_analysis
from benchmark.contract import check_ranking as check_ranking
from benchmark.data.protocol import Protocol
from benchmark.data.ragged import PAD, Floats, Longs, Ragged
from benchmark.data.ranking import Ranking
from benchmark.data.split import split_log
from benchmark.data.types import TASKS, Catalog, Dataset, Log, Requests, Searches, Split, Task
from benchmark.errors import ContractError, NotFittedError, error_text
from benchmark.isolation import frozen
from benchmark.parameters import resolve_params

NOUNS = (
    *("apple", "bridge", "candle", "dragon", "engine", "forest", "guitar", "hammer", "island", "jungle", "kettle"),
    *("ladder", "mirror", "needle", "orange", "pirate", "queen", "river", "saddle", "tiger", "umbrella", "violin"),
    *("window", "yacht", "zebra"),
)
GROUP = 5
"""Items that go together on the board without order."""
PHRASES = ("find", "show", "buy", "watch", "cheap", "famous", "green", "small")


def checkerboard_log(
    n_items: int = 20,
    n_users: int = 120,
    length: int = 8,
    tasks: Collection[Task] = TASKS,
    *,
    joint: bool = False,
    order: bool = True,
) -> Log:
    """A log whose answers are known: item i is always followed by item i+1, and every query holds the noun of one item.

    Items 0 … n_items-1 form a circle; user u starts at item u mod n_items and takes `length` steps. Item i is described
    by the noun i, and eight queries ask for it, each with the noun and another word: six to learn from, one for
    validation, one for the test. One more item, the last, occurs only in the catalogue. No item is more popular than
    another, so only a model that learns, or reads, finds the answers. `n_items` is at most 24, `length` at least 4.

    With `joint` the queries are the users' own: every step is also a search with a query of that item, and a click on
    it. Without `order` the items form groups of `GROUP`, of which `n_items` is a multiple: each user takes all items of
    one group, starting equally often from each, so that only co-occurrence predicts the last one.
    """
    import pandas as pd

    nouns = np.array(NOUNS[: n_items + 1], dtype=object)
    ids = np.array([f"item-{noun}" for noun in nouns], dtype=object)
    texts = np.array([f"The book of the {noun}" for noun in nouns], dtype=object)
    users = np.array([f"user-{u}" for u in range(n_users if "recommendation" in tasks else 0)], dtype=object)
    length = length if order else GROUP
    user = np.repeat(np.arange(len(users)), length)
    step = np.tile(np.arange(length), len(users))
    item, phrase = np.divmod(np.arange(n_items * len(PHRASES) if "search" in tasks else 0), len(PHRASES))
    # Which phrase is held back goes round with the item, so that training sees every word.
    turn = (item + phrase) % len(PHRASES)
    if order:
        stepped = ((user + step) % n_items).astype(np.int32)
    else:
        groups = n_items // GROUP
        stepped = (user % groups * GROUP + (user // groups + step) % GROUP).astype(np.int32)
    time = (1_000_000 + 60 * step + user).astype(np.int64)
    asked = (stepped * len(PHRASES) + (user // n_items + step) % len(PHRASES)).astype(np.int32)
    return Log(
        catalog=Catalog(ids, texts, pd.DataFrame({"initial": [noun[0] for noun in nouns]})),
        users=users,
        user=user.astype(np.int32),
        item=stepped,
        time=time,
        query_ids=np.array([f"query-{i}-{p}" for i, p in zip(item, phrase, strict=True)], dtype=object),
        queries=np.array([f"{PHRASES[p]} {nouns[i]}" for i, p in zip(item, phrase, strict=True)], dtype=object),
        query=np.arange(len(item), dtype=np.int32),
        relevant=item.astype(np.int32),
        grade=np.ones(len(item), dtype=np.float32),
        query_part=None if joint else np.select([turn == 0, turn == 1], [2, 1], 0).astype(np.int8),
        facts={"source": "made by benchmark.testing", "licence": "none needed"},
        searches=Searches(user.astype(np.int32), asked, stepped, time) if joint else None,
    )


def checkerboard(
    n_items: int = 20,
    n_users: int = 120,
    length: int = 8,
    tasks: Collection[Task] = TASKS,
    *,
    joint: bool = False,
    order: bool = True,
) -> Dataset:
    """The checkerboard log, split by the protocol's defaults: the data that `check_model` passes to a model. Without
    `order` seen items are masked."""
    log = checkerboard_log(n_items, n_users, length, tasks, joint=joint, order=order)
    return split_log("checkerboard", log, Protocol(mask_seen=not order))


def check_model(
    model: Model | Callable[[], Model],
    *,
    min_success: float | Mapping[Task, float] = 0.9,
    device: str = "cpu",
    seed: int = 0,
    joint: bool = False,
    order: bool = True,
) -> dict[Task, float]:
    """Check a model against the whole contract on the checkerboard; returns its Success@1 by task.

    `model` is a class, a function that makes one, or a model that is not fitted. A class is built with its defaults as
    the harness does, so that one outside the bounds of its type is found. As in a run, the arrays that the model is
    given are read-only. `min_success` is what Success@1 must reach, for all tasks or for each: 0 for a model that does
    not learn. The model is fitted three times, the last two on half the data, and a `deterministic` one again with
    another seed; with `joint`, for a model that reads the users' searches, once more on a joint log, where the least of
    both is given back. `order=False` is for a model that reads which items a history holds, not in which order (EASE,
    nearest neighbours, matrix factorisation): it is asked for the item that goes with those of the history, instead of
    the one that comes next. Raises ContractError with the first thing that is wrong.
    """
    make = _maker(model)
    first = make()
    tasks = _tasks_of(first)
    reached: dict[Task, float] = {}
    _check_not_fitted(first, checkerboard().test[tasks[0]].requests)
    plain = checkerboard(order=order)
    for data in (checkerboard(joint=True), plain) if joint else (plain,):
        _fit(first, data, device, seed)
        for task in tasks:
            split = data.test[task]
            wanted = min_success if isinstance(min_success, int | float) else min_success.get(task, 0.9)
            success = _check_success(first, split, wanted, len(data.train.catalog), order)
            reached[task] = min(success, reached.get(task, 1.0))
            _check_requests(first, data, task, wanted)
            _check_batches(first, split.requests, len(data.train.catalog))
            for variant in variants(first):
                rank = partial(first.rank_variant, variant)  # type: ignore[attr-defined]
                _rank(rank, split.requests, 10, len(data.train.catalog), f"variant '{variant}'")
    _check_refit(first, make, tasks, device, seed)
    return reached


def check_dataset(
    function: Callable[..., Log],
    params: Mapping[str, Any] | None = None,
    protocol: Mapping[str, Any] | None = None,
) -> Dataset:
    """Load a data set twice, and split it by the protocol; gives back the split.

    `protocol` is as in a suite, such as `{"split": "ratio"}`. Raises ContractError where the data is not a Log, differs
    from one time to the next, or has facts that are not JSON, pydantic's ValidationError for a wrong `protocol`, and
    BenchmarkError for a Log that is wrong in itself.
    """
    name = getattr(function, "__name__", type(function).__name__)
    settings, splits = Protocol(**(protocol or {})), []
    for _ in range(2):
        log = function(**dict(params or {}))
        require(isinstance(log, Log), f"data set '{name}' returned {type(log).__name__}; a data set is a benchmark.Log")
        _check_json(log.facts, f"the facts of data set '{name}'")
        splits.append(split_log(name, log, settings))
    require(splits[0].digest == splits[1].digest, f"data set '{name}' gave two different logs when it was loaded twice")
    return splits[0]


def check_metric(
    metric: Metric | Callable[..., Floats | float], *, low: float = 0.0, high: float | None = 1.0, k: int = 3
) -> None:
    """Check a metric against the contract on rankings of three requests.

    Its values must be finite and from `low` to `high` (None: no bound), be the same whatever padding follows a
    ranking, follow their requests into another order, and be 0 for a request without a ranking, unless lower values
    are better. Raises ContractError.
    """
    items = np.array([[4, 2, 0, 1, 5], [3, 0, 5, 4, 2], [1, 5, PAD, PAD, PAD], [PAD] * 5], dtype=np.int32)
    scores = np.where(items == PAD, -np.inf, -np.arange(5.0)).astype(np.float32)
    ranking = Ranking(items, scores)
    relevant = Ragged.from_lengths([1, 2, 3, 1], [4, 0, 2, 1, 3, 5, 2], [1, 2, 1, 1, 1, 1, 1])
    before = copy.deepcopy((ranking, relevant))
    values = _measure(metric, ranking, relevant, k)
    require(_same((ranking, relevant), before), "the metric changed the ranking or the relevant items it was given")
    require(bool(np.isfinite(values).all()), f"the metric gave {values}; it must be finite")
    inside = (values >= low) & (values <= (np.inf if high is None else high))
    require(
        bool(inside.all()),
        f"the metric gave {values}; it must be from {low} to {'any height' if high is None else high}",
    )
    padded = Ranking(
        np.pad(items, ((0, 0), (0, 2)), constant_values=PAD), np.pad(scores, ((0, 0), (0, 2)), mode="edge")
    )
    require(
        np.allclose(_measure(metric, padded, relevant, k), values),
        "the metric changed when padding followed the rankings; padding (-1) is not an item",
    )
    order = np.array([2, 0, 3, 1])
    turned = _measure(metric, ranking.take(order), relevant.take(order), k)
    require(
        np.allclose(turned, values[order] if values.ndim else values),
        "the metric's values did not follow the requests into another order; one request must not change another's",
    )
    if values.ndim:
        free = getattr(metric, "better", None) == "lower"
        require(free or values[3] == 0, f"a request without a ranking scored {values[3]}; it must score 0")
        require(len(_measure(metric, ranking.take([]), relevant.take([]), k)) == 0, "no requests must give no values")


def _maker(model: Model | Callable[[], Model]) -> Callable[[], Model]:
    if inspect.isclass(model):
        make: Callable[..., Model] = model  # type: ignore[assignment]
        return lambda: make(**resolve_params(make, {}, f"model '{model.__name__}'"))
    return (lambda: copy.deepcopy(model)) if isinstance(model, Model) else model


def _tasks_of(model: Model) -> tuple[Task, ...]:
    require(isinstance(model, Model), f"{type(model).__name__} lacks tasks, fit or rank: see benchmark.Model")
    tasks = model.tasks
    require(
        isinstance(tasks, frozenset) and bool(tasks) and tasks <= set(TASKS),
        f"tasks is {tasks!r}; it must be a frozenset with one or both of {', '.join(TASKS)}",
    )
    return tuple(task for task in TASKS if task in tasks)


def _fit(model: Model, data: Dataset, device: str, seed: int) -> None:
    before, train, valid = copy.deepcopy((data.train, data.valid)), frozen(data.train), frozen(data.valid)
    with tempfile.TemporaryDirectory() as folder:
        context = Context(seed=seed, device=device, workdir=Path(folder))
        try:
            model.fit(train, valid, context)
        except ValueError as error:
            if "read-only" not in str(error):
                raise
            raise ContractError(f"fit raised {error_text(error)}") from error
    _check_json(context.facts, "what the model recorded")
    require(_same((train, valid), before), "fit changed the training or validation data it was given")


def _check_not_fitted(model: Model, requests: Requests) -> None:
    try:
        model.rank(requests, 1)
    except NotFittedError:
        return
    except Exception as error:
        raise ContractError(f"rank before fit must raise NotFittedError; it raised {error!r}") from error
    raise ContractError("rank before fit must raise NotFittedError; it returned a ranking")


def _rank(
    model: Model | Callable[[Requests, int], Ranking], requests: Requests, k: int, n_items: int, case: str
) -> Ranking:
    before, requests = copy.deepcopy(requests), frozen(requests)
    free = not isinstance(model, Model)  # a variant
    try:
        ranking = model.rank(requests, k) if isinstance(model, Model) else model(requests, k)
    except Exception as error:
        raise ContractError(f"{requests.task}, {case}: rank raised {error_text(error)}") from error
    check_ranking(ranking, before.unlimited() if free else before, k, n_items, f"{before.task}, {case}")
    require(_same(requests, before), f"{requests.task}, {case}: rank changed the requests it was given")
    return ranking


def _check_success(model: Model, split: Split, wanted: float, n_items: int, order: bool) -> float:
    best = _rank(model, split.requests, 1, n_items, "k=1").items
    success = float((best == split.relevant.values[:, None]).any(axis=1).mean())
    require(
        success >= wanted,
        f"{split.requests.task}: Success@1 is {success:.2f} on the checkerboard; {wanted:.2f} is asked for. "
        + (
            "A model that learns finds the next item of a circle, and the item that a query names."
            if order or split.requests.task == "search"
            else "A model that learns finds the one item that goes with those of the history."
        )
        + (
            " One that does not read the order of a history cannot know which comes next: check it with "
            "check_model(model, order=False)."
            if order and split.requests.task == "recommendation"
            else ""
        ),
    )
    return success


def _check_requests(model: Model, data: Dataset, task: Task, wanted: float) -> None:
    """All kinds of requests, common and odd ones."""
    requests, relevant, n = data.test[task].requests, data.test[task].relevant, len(data.train.catalog)
    full = _rank(model, requests, n + 5, n, "k above the number of items")
    _rank(model, requests.take([]), 10, n, "no requests")
    _rank(model, replace(requests, users=np.full(len(requests), -1, dtype=np.int32)), 10, n, "unknown users")
    for case, odd in _odd_requests(data, requests):
        _rank(model, odd, 10, n, case)

    rows = np.flatnonzero(full.items[:, 0] != PAD) if full.items.shape[1] else np.empty(0, dtype=np.int64)
    favourites = Ragged.from_pairs(rows, full.items[rows, 0], len(requests))
    others = _rank(model, replace(requests, exclude=favourites), 10, n, "best item excluded")
    lost = (full.items != PAD).sum(axis=1) > 1
    require(
        not lost.any() or bool((others.items[lost] != PAD).any(axis=1).all()),
        f"{task}: with the best item excluded nothing was returned, though there were other items",
    )
    # The answer and the two items before it in the catalogue's circle of row numbers.
    three = (relevant.values[:, None] - np.arange(3)) % n
    candidates = Ragged.from_lengths(np.full(len(requests), 3), three.ravel())
    chosen = _rank(model, replace(requests, candidates=candidates), 10, n, "three candidates")
    _rank(model, replace(requests, candidates=candidates, exclude=relevant), 10, n, "candidates and exclude")
    success = float((chosen.items[:, :1] == relevant.values[:, None]).any(axis=1).mean())
    require(
        success >= wanted,
        f"{task}: among three candidates the answer is first in {success:.2f}; {wanted:.2f} is asked for",
    )


def _odd_requests(data: Dataset, requests: Requests) -> Iterator[tuple[str, Requests]]:
    one = requests.take([0])
    if requests.task == "recommendation":
        cold = int(np.flatnonzero(data.train.popularity("recommendation") == 0)[0])
        yield "a history of one item never seen in training", replace(one, histories=Ragged.from_rows([[cold]]))
        yield (
            "a long history",
            replace(one, histories=Ragged.from_rows([np.arange(200) % (len(data.train.catalog) - 1)])),
        )
    else:
        for text in ("", "?!", "words unheard", 'it\'s "quoted" (and: more) 100% AND -not~ [x] #1'):
            yield f"the query {text!r}", replace(one, queries=np.array([text], dtype=object))


def _check_batches(model: Model, requests: Requests, n_items: int) -> None:
    """A ranking depends on its own request alone."""
    k = n_items
    together = _rank(model, requests, k, n_items, "all requests together")
    backwards = np.arange(len(requests))[::-1]
    _check_equal(
        together.take(backwards),
        _rank(model, requests.take(backwards), k, n_items, "requests in another order"),
        f"{requests.task}: rankings changed when the requests came in another order",
    )
    for row in range(min(5, len(requests))):
        _check_equal(
            together.take([row]),
            _rank(model, requests.take([row]), k, n_items, "one request alone"),
            f"{requests.task}: the ranking of request '{requests.ids[row]}' changed when it was asked for alone",
        )


def _check_refit(fitted: Model, make: Callable[[], Model], tasks: tuple[Task, ...], device: str, seed: int) -> None:
    """A refitted model equals a new one: it forgets, and depends on the seed. The data has only the model's tasks."""
    data = checkerboard(n_items=12, n_users=60, tasks=tasks)

    def rankings(model: Model, seed: int = seed) -> list[Ranking]:
        _fit(model, data, device, seed)
        n = len(data.train.catalog)
        return [_rank(model, data.test[task].requests, n, n, "fitted again") for task in tasks]

    new = rankings(make())
    try:
        for again, other in zip(rankings(fitted), new, strict=True):
            _check_equal(again, other, "")
    except ContractError:
        for again, other in zip(rankings(make()), new, strict=True):
            _check_equal(again, other, "two fits with the same seed on the same data gave different rankings")
        raise ContractError("a model fitted for the second time differs from a new one: fit must forget") from None
    if getattr(fitted, "deterministic", False):
        for again, other in zip(rankings(make(), seed + 1), new, strict=True):
            _check_equal(again, other, "deterministic is True, and another seed gave different rankings")


def _check_equal(a: Ranking, b: Ranking, message: str) -> None:
    """Equal items, except if two scores are so close that rounding in another batch size can swap them."""
    width = max(a.items.shape[1], b.items.shape[1])
    items_a, items_b = (np.pad(r.items, ((0, 0), (0, width - r.items.shape[1])), constant_values=PAD) for r in (a, b))
    differs = items_a != items_b
    if not differs.any():
        return
    scores_a, scores_b = (
        np.pad(r.scores, ((0, 0), (0, width - r.scores.shape[1])), constant_values=-np.inf).astype(np.float64)
        for r in (a, b)
    )
    filled = (items_a != PAD) & (items_b != PAD)
    near = filled & (np.abs(np.where(filled, scores_a - scores_b, 0)) <= 1e-4 * np.maximum(1, np.abs(scores_b)))
    tied = np.zeros_like(filled)
    tied[:, 1:] = scores_a[:, 1:] == scores_a[:, :-1]
    tied[:, :-1] |= tied[:, 1:]
    wrong = differs & (~near | tied)
    if wrong.any():
        row, column = (int(axis[0]) for axis in np.nonzero(wrong))
        hint = "; ties are broken by benchmark.tie_break, never by chance" if tied[row, column] else ""
        raise ContractError(
            f"{message} (row {row}, rank {column + 1}: item {items_a[row, column]} or {items_b[row, column]}{hint})"
        )


def _measure(metric: Callable[..., Floats | float], ranking: Ranking, relevant: Ragged, k: int) -> Floats:
    popularity: Longs = np.array([5, 4, 3, 2, 1, 0], dtype=np.int64)
    more: dict[str, Any] = {"popularity": popularity} if "popularity" in inspect.signature(metric).parameters else {}
    try:
        values = np.asarray(metric(*frozen([ranking, relevant]), k, **frozen(more)))
    except ValueError as error:
        if "read-only" not in str(error):
            raise
        raise ContractError(f"the metric raised {error_text(error)}") from error
    require(
        values.dtype == np.float64 and values.shape in ((), (len(relevant),)),
        f"the metric gave {values.dtype} of shape {values.shape}; it must give float64, "
        f"one per request ({len(relevant)},), or one float",
    )
    return values


def _same(a: Any, b: Any) -> bool:
    """Whether two structures of dataclasses, containers and arrays hold the same values."""
    if isinstance(a, np.ndarray):
        return a.shape == b.shape and bool(np.array_equal(a, b))
    if is_dataclass(a) and not isinstance(a, type):
        return all(_same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, Mapping):
        return list(a) == list(b) and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a.equals(b)) if hasattr(a, "equals") else bool(a == b)


def _check_json(values: Mapping[str, Any], what: str) -> None:
    try:
        json.dumps(dict(values), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ContractError(f"{what} must be JSON values: {error}") from None
