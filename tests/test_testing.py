"""The contract kit: a model that keeps the contract passes, and each way to break it is named."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from benchmark import (
    PAD,
    BenchmarkError,
    Context,
    ContractError,
    Log,
    NotFittedError,
    Ragged,
    Ranking,
    Requests,
    Split,
    Task,
    Train,
    top_k,
)
from benchmark.contract import check_ranking
from benchmark.testing import (
    GROUP,
    NOUNS,
    PHRASES,
    check_dataset,
    check_metric,
    check_model,
    checkerboard,
    checkerboard_log,
    make_requests,
)


@dataclass
class Markov:
    """What followed the last item of the history in training; the items whose text shares most words with the query."""

    tasks: ClassVar[frozenset[Task]] = frozenset({"recommendation", "search"})

    def fit(self, train: Train, valid: Mapping[Task, Split], context: Context) -> None:
        n = len(train.catalog)
        examples = train.prefixes()
        self.follows_ = np.zeros((n, n))  # (last, next)
        np.add.at(self.follows_, (examples.values[examples.end - 1], examples.targets), 1)
        self.words_ = [set(str(text).split()) for text in train.catalog.texts]
        context.record("transitions", len(examples))

    def rank(self, requests: Requests, k: int) -> Ranking:
        if not hasattr(self, "follows_"):
            raise NotFittedError("call fit first")
        return top_k(self.scores(requests), requests, k)

    def scores(self, requests: Requests) -> NDArray[np.float64]:
        if requests.task == "recommendation":
            return self.follows_[requests.histories.last(1).values]
        words = [set(str(query).split()) for query in requests.queries]
        return np.array([[len(q & t) for t in self.words_] for q in words], dtype=float).reshape(-1, len(self.words_))


def test_a_model_that_learns_passes() -> None:
    assert check_model(Markov) == {"recommendation": 1.0, "search": 1.0}
    assert check_model(Markov()) == {"recommendation": 1.0, "search": 1.0}


def test_one_task_is_enough() -> None:
    class Recommender(Markov):
        tasks = frozenset({"recommendation"})

    assert check_model(Recommender) == {"recommendation": 1.0}


# Each class breaks one sentence of the contract.


class Guesses(Markov):
    def scores(self, requests: Requests) -> NDArray[np.float64]:
        return np.zeros((len(requests), len(self.follows_)))


class RanksUnfitted(Markov):
    def rank(self, requests: Requests, k: int) -> Ranking:
        return Ranking(np.zeros((len(requests), k), dtype=np.int32), np.zeros((len(requests), k), dtype=np.float32))


class RaisesUnfitted(Markov):
    def rank(self, requests: Requests, k: int) -> Ranking:
        return top_k(self.scores(requests), requests, k)


class NoTasks(Markov):
    tasks = frozenset()


class ListOfTasks(Markov):
    tasks = ["search"]  # type: ignore[assignment]  # noqa: RUF012


class Changed(Markov):
    """Ranks as Markov does, then spoils the ranking."""

    def rank(self, requests: Requests, k: int) -> Ranking:
        ranking = super().rank(requests, k)
        return self.spoil(ranking, requests)

    def spoil(self, ranking: Ranking, requests: Requests) -> Ranking:
        return ranking


class Wide(Changed):
    def spoil(self, ranking: Ranking, requests: Requests) -> Ranking:
        return Ranking(ranking.items.astype(np.int64), ranking.scores)


class IgnoresExclude(Markov):
    def rank(self, requests: Requests, k: int) -> Ranking:
        return super().rank(replace(requests, exclude=Ragged.empty(len(requests))), k)


class IgnoresCandidates(Markov):
    def rank(self, requests: Requests, k: int) -> Ranking:
        return super().rank(replace(requests, candidates=None), k)


class GivesUpWhenExcluded(Changed):
    def spoil(self, ranking: Ranking, requests: Requests) -> Ranking:
        hit = requests.exclude.lengths > 0
        ranking.items[hit] = PAD
        return ranking


class NeedsUsers(Markov):
    def rank(self, requests: Requests, k: int) -> Ranking:
        if hasattr(self, "follows_") and requests.task == "recommendation" and (requests.users < 0).any():
            raise IndexError("user -1")
        return super().rank(requests, k)


class NeedsRequests(Changed):
    def spoil(self, ranking: Ranking, requests: Requests) -> Ranking:
        requests.histories.lengths.max()
        return ranking


class TripsOverBrackets(Markov):
    def rank(self, requests: Requests, k: int) -> Ranking:
        if any("[" in str(query) for query in requests.queries):
            raise ValueError("cannot parse query")
        return super().rank(requests, k)


class DependsOnNeighbours(Markov):
    def scores(self, requests: Requests) -> NDArray[np.float64]:
        scores = super().scores(requests)
        scores[1:, ::2] += scores[:-1, ::2] / 2
        scores[np.arange(len(scores)), super().scores(requests).argmax(axis=1)] += 100
        return scores


class TiesByPosition(Markov):
    def rank(self, requests: Requests, k: int) -> Ranking:
        ids = np.array([f"{i}" for i in range(len(requests))], dtype=object)
        return super().rank(replace(requests, ids=ids) if hasattr(self, "follows_") else requests, k)


class NeverForgets(Markov):
    def fit(self, train: Train, valid: Mapping[Task, Split], context: Context) -> None:
        super().fit(train, valid, context)
        self.fits_ = getattr(self, "fits_", 0) + 1
        self.follows_ += (-1) ** self.fits_ * np.arange(len(self.follows_)) / 100


class NeverSeeded(Markov):
    def fit(self, train: Train, valid: Mapping[Task, Split], context: Context) -> None:
        super().fit(train, valid, context)
        self.follows_ += np.random.default_rng().random(self.follows_.shape)


class DependsOnSeed(Markov):
    deterministic: ClassVar[bool] = True

    def fit(self, train: Train, valid: Mapping[Task, Split], context: Context) -> None:
        super().fit(train, valid, context)
        self.follows_ += np.random.default_rng(context.seed).random(self.follows_.shape) / 100


class ChangesTrain(Markov):
    def fit(self, train: Train, valid: Mapping[Task, Split], context: Context) -> None:
        super().fit(train, valid, context)
        train.histories.values[0] += 1


class ChangesRequests(Markov):
    def rank(self, requests: Requests, k: int) -> Ranking:
        ranking = super().rank(requests, k)
        requests.histories.values[:1] = 0
        requests.queries[:1] = "x"
        return ranking


class ChangesTable(Markov):
    def fit(self, train: Train, valid: Mapping[Task, Split], context: Context) -> None:
        super().fit(train, valid, context)
        train.catalog.attributes["initial"] = "x"


class ReplacesRequests(Markov):
    def rank(self, requests: Requests, k: int) -> Ranking:
        object.__setattr__(requests, "queries", np.repeat("x", len(requests)).astype(object))
        return super().rank(requests, k)


class RecordsArrays(Markov):
    def fit(self, train: Train, valid: Mapping[Task, Split], context: Context) -> None:
        super().fit(train, valid, context)
        context.record("follows", self.follows_)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Guesses, r"recommendation: Success@1 is 0\.\d\d on the checkerboard; 0.90 is asked for"),
        (RanksUnfitted, "rank before fit must raise NotFittedError; it returned a ranking"),
        (RaisesUnfitted, r"rank before fit must raise NotFittedError; it raised AttributeError\("),
        (NoTasks, r"tasks is frozenset\(\); it must be a frozenset with one or both of recommendation, search"),
        (ListOfTasks, r"tasks is \['search'\]; it must be a frozenset"),
        (Wide, "recommendation, k=1: items is of type int64; it must be int32"),
        (IgnoresExclude, "best item excluded, request 'u:user-.*', rank 1: item .* is one of the request's `exclude`"),
        (IgnoresCandidates, "three candidates, .* is none of the request's `candidates`"),
        (GivesUpWhenExcluded, "with the best item excluded nothing was returned"),
        (NeedsUsers, "unknown users: rank raised IndexError: user -1"),
        (NeedsRequests, "no requests: rank raised ValueError"),
        (TripsOverBrackets, r"search, the query .*: rank raised ValueError: cannot parse query"),
        (DependsOnNeighbours, "rankings changed when the requests came in another order"),
        (TiesByPosition, r"came in another order \(row \d+, rank \d+: .*; ties are broken by benchmark.tie_break"),
        (NeverForgets, "fitted for the second time differs from a new one: fit must forget"),
        (NeverSeeded, "two fits with the same seed on the same data gave different rankings"),
        (DependsOnSeed, "deterministic is True, and another seed gave different rankings"),
        (ChangesTrain, "fit raised ValueError: .*read-only.*copy it before you change it"),
        (ChangesRequests, "k=1: rank raised ValueError: .*read-only.*copy it before you change it"),
        (ChangesTable, "fit changed the training or validation data"),
        (ReplacesRequests, "rank changed the requests"),
        (RecordsArrays, "what the model recorded must be JSON values"),
        (object, "object lacks tasks, fit or rank"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_every_breach_is_named(model: Callable[[], Any], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        check_model(model)


def test_a_model_that_does_not_learn_passes_when_it_says_so() -> None:
    reached = check_model(Guesses, min_success=0)
    assert max(reached.values()) < 0.3
    with pytest.raises(ContractError, match="search: Success@1"):
        check_model(Guesses, min_success={"recommendation": 0})


def test_rounding_may_exchange_scores_that_are_almost_equal() -> None:
    class Rounds(Markov):
        def scores(self, requests: Requests) -> NDArray[np.float64]:
            scores = super().scores(requests)
            noise = np.linspace(0, 1e-7, scores.shape[1])[:: 1 if len(requests) > 1 else -1]
            return np.asarray(scores + noise)

    check_model(Rounds)


def test_the_checkerboard_is_a_circle() -> None:
    log = checkerboard_log(n_items=4, n_users=2, length=5)
    assert log.item.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert log.catalog.ids.tolist() == ["item-apple", "item-bridge", "item-candle", "item-dragon", "item-engine"]
    assert log.queries[:2].tolist() == ["find apple", "show apple"]
    assert log.query_part is not None
    assert log.query_part[:8].tolist() == [2, 1, 0, 0, 0, 0, 0, 0]
    assert log.query_part[8:16].tolist() == [1, 0, 0, 0, 0, 0, 0, 2]


def test_training_covers_every_answer_and_every_word() -> None:
    data = checkerboard()
    assert (data.train.popularity("recommendation") > 0).sum() == 20
    assert sorted(data.train.popularity("search").tolist()) == [0] + [6] * 20
    assert {str(query).split()[0] for query in data.train.queries} == set(PHRASES)
    histories, asked = data.train.histories, data.test["recommendation"]
    steps = {pair for u in range(len(histories)) for pair in itertools.pairwise(histories[u].tolist())}
    last = asked.requests.histories.last(1).values.tolist()
    assert set(zip(last, asked.relevant.values.tolist(), strict=True)) <= steps
    assert (len(asked.requests), len(data.test["search"].requests)) == (120, 20)


def test_the_checkerboard_can_have_one_task() -> None:
    assert checkerboard(tasks=["search"]).tasks == ("search",)
    assert checkerboard(tasks=["recommendation"]).tasks == ("recommendation",)


def request(**changes: Any) -> Requests:
    """Two requests, "a" and "b"."""
    return replace(make_requests(queries=["a", "b"], ids=["a", "b"]), **changes)


def ranking(items: list[list[int]], scores: list[list[float]] | None = None) -> Ranking:
    shape = np.array(items, dtype=np.int32)
    down = -np.arange(shape.size).reshape(shape.shape) if scores is None else np.array(scores)
    return Ranking(shape, down.astype(np.float32))


@pytest.mark.parametrize(
    ("given", "requests", "message"),
    [
        (ranking([[0, 1]]), request(), r"items has shape \(1, 2\); 2 requests at k=3 need \(2, 3 or fewer\)"),
        (ranking([[0, 1, 2, 3]] * 2), request(), r"items has shape \(2, 4\)"),
        (ranking([[0, 1], [0, 5]]), request(), "request 'b', rank 2: item 5 is not in the catalogue of 5 items"),
        (ranking([[0, 1], [-2, PAD]]), request(), "request 'b', rank 1: item -2 is not in the catalogue"),
        (ranking([[0, 1, 2], [3, 4, 3]]), request(), "request 'b', rank 3: item 3 is returned for the second time"),
        (ranking([[0, PAD, 2], [3, 4, 1]]), request(), "request 'a', rank 3: there is an item after padding"),
        (
            ranking([[0, 1], [2, 3]]),
            request(exclude=Ragged.from_rows([[2], [0, 3]])),
            "request 'b', rank 2: item 3 is one of the request's `exclude`",
        ),
        (
            ranking([[0, 1], [2, 3]]),
            request(candidates=Ragged.from_rows([[1, 0], [3]])),
            "request 'b', rank 1: item 2 is none of the request's `candidates`",
        ),
        (
            ranking([[0, 1], [2, 3]], [[1, 0], [np.nan, 0]]),
            request(),
            "request 'b', rank 1: the score of item 2 is nan",
        ),
        (
            ranking([[0, 1], [2, 3]], [[1, 0], [0, 1]]),
            request(),
            "request 'b', rank 2: the score 1.0 of item 3 is higher",
        ),
        (Ranking(np.zeros((2, 1), dtype=np.int32), np.zeros((2, 2), dtype=np.float32)), request(), "but scores"),
        (([[0]], [[1]]), request(), "rank returned tuple, not a benchmark.Ranking"),
        (Ranking([[0], [1]], [[1], [1]]), request(), "items is list, not a numpy array"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_ranking_names_the_request(given: Any, requests: Requests, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        check_ranking(given, requests, 3, 5)


def test_right_rankings_pass() -> None:
    check_ranking(ranking([[0, 1, 2], [4, PAD, PAD]], [[1, 1, 0], [1, -np.inf, np.nan]]), request(), 3, 5)
    check_ranking(ranking([[PAD], [PAD]]), request(candidates=Ragged.empty(2)), 3, 5)
    exclude, candidates = Ragged.from_rows([[2], []]), Ragged.from_rows([[0, 1, 2], [4]])
    check_ranking(ranking([[0, 1], [4, PAD]]), request(exclude=exclude, candidates=candidates), 3, 5)
    check_ranking(Ranking(np.empty((0, 3), np.int32), np.empty((0, 3), np.float32)), request().take([]), 3, 5)


def test_a_data_set_is_loaded_twice() -> None:
    assert check_dataset(checkerboard_log, {"n_items": 5}).digest == checkerboard(n_items=5).digest
    masked = check_dataset(checkerboard_log, {"order": False}, protocol={"mask_seen": True})
    assert masked.digest == checkerboard(order=False).digest
    with pytest.raises(ValidationError, match=r"max_history\n.*greater than or equal to 1"):
        check_dataset(checkerboard_log, protocol={"max_history": 0})
    loads = []

    def unstable() -> Log:
        loads.append(1)
        return checkerboard_log(n_items=4 + len(loads))

    def chatty() -> Log:
        return replace(checkerboard_log(), facts={"when": object()})

    def nothing() -> Any:
        return None

    def empty() -> Log:
        return checkerboard_log(tasks=[])

    for function, message in (
        (unstable, "data set 'unstable' gave two different logs"),
        (chatty, "the facts of data set 'chatty' must be JSON values"),
        (nothing, "data set 'nothing' returned NoneType; a data set is a benchmark.Log"),
        (empty, "data set 'empty' has neither"),
    ):
        with pytest.raises(BenchmarkError, match=message):
            check_dataset(function)


def hits(ranking: Ranking, relevant: Ragged, k: int) -> NDArray[np.float64]:
    """Success@k."""
    padded = relevant.padded(int(relevant.lengths.max(initial=0)), pad=-2)
    found = (ranking.items[:, :k, None] == padded[:, None, :]).any(axis=(1, 2))
    return np.asarray(found, dtype=np.float64)


def used(ranking: Ranking, relevant: Ragged, k: int, *, popularity: NDArray[np.int64]) -> float:
    """The share of the catalogue that is recommended."""
    items = np.unique(ranking.items[:, :k])
    return float((items != PAD).sum() / len(popularity))


def test_metrics_that_keep_the_contract_pass() -> None:
    check_metric(hits)
    check_metric(used)
    check_metric(lambda ranking, relevant, k: 10 * hits(ranking, relevant, k), high=None)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (lambda r, q, k: hits(r, q, k).astype(np.float32), "gave float32 of shape"),
        (lambda r, q, k: np.ones((len(q), k)), r"it must give float64, one per request \(4,\), or one float"),
        (lambda r, q, k: hits(r, q, k) * np.nan, "it must be finite"),
        (lambda r, q, k: hits(r, q, k) * 2, "it must be from 0.0 to 1.0"),
        (lambda r, q, k: hits(r, q, k) + 0.0 - 1, "it must be from 0.0 to 1.0"),
        (lambda r, q, k: np.full(len(q), 1 / r.items.shape[1]), "changed when padding followed"),
        (lambda r, q, k: np.linspace(0, 1, len(q)), "did not follow the requests into another order"),
        (lambda r, q, k: np.ones(len(q)), "a request without a ranking scored 1.0; it must score 0"),
    ],
)
def test_every_wrong_metric_is_named(metric: Any, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        check_metric(metric)


def test_a_metric_must_not_change_what_it_is_given() -> None:
    def sorts(ranking: Ranking, relevant: Ragged, k: int) -> NDArray[np.float64]:
        ranking.items.sort()
        return np.zeros(len(relevant))

    with pytest.raises(ContractError, match=r"the metric raised ValueError: sort array is read-only .*copy it before"):
        check_metric(sorts)


@dataclass
class Ease:
    """EASE (Steck 2019): what goes with what, in no order."""

    weight: float = 1.0
    tasks: ClassVar[frozenset[Task]] = frozenset({"recommendation"})

    def fit(self, train: Train, valid: Mapping[Task, Split], context: Context) -> None:
        x = self._seen(train.histories, len(train.catalog))
        inverse = np.linalg.inv(x.T @ x + self.weight * np.eye(x.shape[1]))
        self.b_ = -inverse / np.diag(inverse)
        np.fill_diagonal(self.b_, 0)

    def _seen(self, histories: Ragged, n: int) -> NDArray[np.float64]:
        x = np.zeros((len(histories), n))
        x[histories.rows, histories.values] = 1
        return x

    def rank(self, requests: Requests, k: int) -> Ranking:
        if not hasattr(self, "b_"):
            raise NotFittedError("fit first")
        return top_k((self._seen(requests.histories, len(self.b_)) @ self.b_).astype(np.float32), requests, k)


def test_a_model_without_order_is_asked_for_what_goes_together() -> None:
    assert check_model(Ease, order=False) == {"recommendation": 1.0}
    with pytest.raises(ContractError, match=r"does not read the order .* check_model\(model, order=False\)"):
        check_model(Ease)


def test_the_board_without_order_tells_nothing_to_who_counts_popularity() -> None:
    data = checkerboard(order=False)
    split = data.test["recommendation"]
    assert len(set(data.train.popularity("recommendation")[:20])) <= 2
    # Each answer is the one item of its group that the history lacks.
    groups = np.array([list(data.train.catalog.ids).index(f"item-{noun}") for noun in NOUNS[:20]]).reshape(4, GROUP)
    for i in (0, 37, 119):
        (group,) = (row for row in groups if split.relevant[i][0] in row)
        assert set(group) - set(split.requests.histories[i]) == {split.relevant[i][0]}
