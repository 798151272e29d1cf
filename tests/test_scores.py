from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmark.data.ragged import PAD, Floats, Longs, Ragged
from benchmark.data.ranking import Ranking
from benchmark.errors import ContractError
from benchmark.evaluation.scores import score
from benchmark.metric import better

# Item 0 is the head (one item of four), requests: two find their item first, one second, one has no ranking.
POPULARITY = np.array([9, 1, 2, 3], dtype=np.int64)
ITEMS = np.array([[0, 1], [2, PAD], [3, 1], [PAD, PAD]], dtype=np.int32)
RANKING = Ranking(ITEMS, np.where(ITEMS == PAD, -np.inf, 1).astype(np.float32))
RELEVANT = Ragged.from_rows([[0], [2, 0], [1], [3]])


def success_at_1(ranking: Ranking, relevant: Ragged, popularity: Longs) -> Floats:
    return np.array([float(ranking.items[i, 0] in relevant[i]) for i in range(len(ranking))])


def distinct(ranking: Ranking, relevant: Ragged, popularity: Longs) -> float:
    return float(len(np.unique(ranking.items[ranking.items != PAD])))


def constant(value: Any) -> Any:
    return lambda ranking, relevant, popularity: value


def test_one_value_per_request_one_total_and_the_share_of_requests_with_a_ranking() -> None:
    scores = score(RANKING, RELEVANT, POPULARITY, {"S@1": success_at_1, "distinct": distinct}, "all", 0.25)
    assert scores.rows.tolist() == [0, 1, 2, 3]
    assert scores.values["S@1"].tolist() == [1, 1, 0, 0]
    assert scores.totals == {"distinct": 4}
    assert scores.coverage == 0.75


def test_slices_keep_the_whole_ranking() -> None:
    head = score(RANKING, RELEVANT, POPULARITY, {"S@1": success_at_1}, "head", 0.25)
    assert head.rows.tolist() == [0, 1]
    assert head.values["S@1"].tolist() == [1, 0]  # request 1 ranks item 2 first, which is relevant only in the torso
    assert head.coverage == 1
    torso = score(RANKING, RELEVANT, POPULARITY, {"S@1": success_at_1}, "torso", 0.25)
    assert torso.rows.tolist() == [1, 2, 3]
    assert torso.values["S@1"].tolist() == [1, 0, 0]
    assert torso.coverage == pytest.approx(2 / 3)


def test_a_request_without_a_ranking_scores_zero_whatever_the_metric_says() -> None:
    scores = score(RANKING, RELEVANT, POPULARITY, {"m": constant([1, 1, 1, np.nan])}, "all", 0.25)
    assert scores.values["m"].tolist() == [1, 1, 1, 0]


def test_where_lower_is_better_a_request_without_a_ranking_scores_what_the_metric_says() -> None:
    @better("lower")
    def miss(ranking: Ranking, relevant: Ragged, popularity: Longs) -> Floats:
        return 1 - success_at_1(ranking, relevant, popularity)

    scores = score(RANKING, RELEVANT, POPULARITY, {"miss": miss}, "all", 0.25)
    assert scores.values["miss"].tolist() == [0, 0, 1, 1]


def test_a_slice_without_requests_has_no_values() -> None:
    scores = score(RANKING, Ragged.from_rows([[1]] * 4), POPULARITY, {"S@1": success_at_1}, "head", 0.25)
    assert len(scores.rows) == len(scores.values["S@1"]) == 0


@pytest.mark.parametrize(
    ("result", "complaint"),
    [
        ([1, 1], r"'m' returned an array of shape \(2,\) for 4 requests"),
        (np.ones((4, 1)), r"'m' returned an array of shape \(4, 1\)"),
        ([1, np.nan, 1, 1], "'m' returned NaN"),
        (np.inf, "'m' returned NaN or infinity"),
    ],
)
def test_a_metric_that_breaks_its_contract_is_named(result: Any, complaint: str) -> None:
    with pytest.raises(ContractError, match=complaint):
        score(RANKING, RELEVANT, POPULARITY, {"m": constant(result)}, "all", 0.25)


def test_a_ranking_with_a_missing_row_is_refused() -> None:
    with pytest.raises(ContractError, match="the ranking has 3 rows"):
        score(RANKING.take([0, 1, 2]), RELEVANT, POPULARITY, {}, "all", 0.25)
