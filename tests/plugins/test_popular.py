from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmark_popular import Popular, benchmark_models

from benchmark import PAD, BenchmarkError, Context, NotFittedError, Train, top_k
from benchmark.plugins import build, load
from benchmark.testing import check_model, make_catalog, make_requests, make_train


def fitted(train: Train, **params: str) -> Popular:
    model = Popular(**params)  # type: ignore[arg-type]
    model.fit(train, {}, Context(0, "cpu", Path()))
    return model


TRAIN = make_train([[0, 1, 2], [0, 1], [0]], {"red": [3, 2], "blue": [3]}, make_catalog([""] * 5))


def test_it_is_offered() -> None:
    assert benchmark_models() == {"popular": "benchmark_popular:Popular"}


def test_the_contract() -> None:
    check_model(Popular, min_success=0)
    check_model(Popular(source="search"), min_success=0)


def test_the_most_interacted_item_comes_first() -> None:
    ranking = fitted(TRAIN).rank(make_requests([[]] * 2), 3)
    assert ranking.items.tolist() == [[0, 1, 2], [0, 1, 2]]
    assert ranking.scores.tolist() == [[3, 2, 1], [3, 2, 1]]
    assert (str(ranking.items.dtype), str(ranking.scores.dtype)) == ("int32", "float32")


def test_the_search_counts_answer_either_task() -> None:
    model = fitted(TRAIN, source="search")
    for task in ("recommendation", "search"):
        assert model.rank(make_requests([[]] * 1, task=task), 2).items.tolist() == [[3, 2]]


def test_excluded_items_make_room_and_short_rows_are_padded() -> None:
    ranking = fitted(TRAIN).rank(make_requests([[]] * 3, exclude=[[0], [], [0, 1, 2, 3]]), 2)
    assert ranking.items.tolist() == [[1, 2], [0, 1], [4, PAD]]
    assert ranking.scores.tolist() == [[2, 1], [3, 2], [0, -np.inf]]


def test_only_candidates_are_ranked() -> None:
    ranking = fitted(TRAIN).rank(make_requests([[]] * 2, candidates=[[2, 1], [4]], exclude=[[], []]), 2)
    assert ranking.items.tolist() == [[1, 2], [4, PAD]]


def test_ties_are_ordered_per_request_not_by_number() -> None:
    ranking = fitted(make_train([[0]], catalog=make_catalog([""] * 30))).rank(make_requests([[]] * 50), 10)
    assert set(ranking.items[:, 0]) == {0}
    assert len(np.unique(ranking.items[:, 1])) > 10
    assert len(np.unique(ranking.items)) == 30


@pytest.mark.parametrize("excluding", [False, True])
@pytest.mark.parametrize("k", [1, 7, 40, 60])
def test_it_is_what_top_k_gives_for_the_counts_of_every_item(
    k: int, excluding: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmark_popular.PAIRS_PER_BLOCK", 200)
    rng = np.random.default_rng(1)
    train = make_train([rng.choice(40, 5, replace=False) for _ in range(12)], catalog=make_catalog([""] * 40))
    exclude = [rng.choice(40, n % 9, replace=False) for n in range(25)] if excluding else None
    requests = make_requests([[]] * 25, exclude=exclude)
    ranking = fitted(train).rank(requests, k)
    counts = train.popularity("recommendation")
    expected = top_k(np.tile(counts.astype(np.float64), (25, 1)), requests, k)
    np.testing.assert_array_equal(ranking.items, expected.items)
    np.testing.assert_array_equal(ranking.scores, expected.scores)


def test_no_requests_give_an_empty_ranking() -> None:
    assert fitted(TRAIN).rank(make_requests([]), 3).items.shape == (0, 3)


def test_mistakes_are_named() -> None:
    with pytest.raises(BenchmarkError, match="'source' must be one of 'recommendation', 'search', got 'both'"):
        build(load().models["popular"], {"source": "both"})
    with pytest.raises(NotFittedError):
        Popular().rank(make_requests([[]]), 1)
