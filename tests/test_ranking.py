"""The best items, from the scores of all or of some; ties by a hash."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark import PAD, ContractError, Ranking, tie_break, top_k
from benchmark.testing import make_requests


class TestTopK:
    def test_best_first(self) -> None:
        ranking = top_k(np.array([[0.1, 0.9, 0.5], [3.0, 1.0, 2.0]]), make_requests([[]] * 2), 2)
        assert ranking.items.tolist() == [[1, 2], [0, 2]]
        np.testing.assert_array_equal(ranking.scores, np.array([[0.9, 0.5], [3.0, 2.0]], dtype=np.float32))
        assert (str(ranking.items.dtype), str(ranking.scores.dtype)) == ("int32", "float32")

    def test_a_short_catalogue_is_padded(self) -> None:
        ranking = top_k(np.array([[1.0, 2.0]]), make_requests([[]]), 4)
        assert ranking.items.tolist() == [[1, 0, -1, -1]]
        assert ranking.scores.tolist() == [[2.0, 1.0, -np.inf, -np.inf]]

    def test_excluded_items_are_not_returned(self) -> None:
        ranking = top_k(np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]), make_requests([[]] * 2, exclude=[[2, 0], []]), 3)
        assert ranking.items.tolist() == [[1, -1, -1], [2, 1, 0]]

    def test_only_candidates_are_returned(self) -> None:
        requests = make_requests([[]] * 3, candidates=[[0, 1], [], [2, 2]], exclude=[[1], [], []])
        ranking = top_k(np.array([[1.0, 2.0, 3.0]] * 3), requests, 2)
        assert ranking.items.tolist() == [[0, -1], [-1, -1], [2, -1]]

    def test_minus_infinity_is_never_returned_and_infinity_is_first(self) -> None:
        ranking = top_k(np.array([[-np.inf, 1.0, np.inf]]), make_requests([[]]), 3)
        assert ranking.items.tolist() == [[2, 1, -1]]

    def test_integers_are_scores_too(self) -> None:
        assert top_k(np.array([[3, 1, 2]]), make_requests([[]]), 3).items.tolist() == [[0, 2, 1]]

    @pytest.mark.parametrize("n", [7, 400, 5000])
    def test_ties_go_by_a_hash_of_request_and_item(self, n: int) -> None:
        requests = make_requests([[]] * 3)
        items = top_k(np.zeros((3, n), dtype=np.float32), requests, 5).items
        for row in range(3):
            words = tie_break(np.repeat(requests.keys[row], n), np.arange(n))
            assert items[row].tolist() == np.argsort(words, kind="stable")[:5].tolist()
        assert items[0].tolist() != items[1].tolist()

    def test_ties_do_not_hang_on_the_other_requests(self) -> None:
        scores = np.random.default_rng(0).integers(0, 3, (20, 300)).astype(np.float32)
        requests = make_requests([[]] * 20)
        together = top_k(scores.copy(), requests, 10)
        alone = top_k(scores[7:8].copy(), requests.take([7]), 10)
        np.testing.assert_array_equal(together.items[7:8], alone.items)

    def test_a_constant_model_finds_as_many_as_chance_does(self) -> None:
        # 2,000 requests, one relevant item each among 100: 10 places find a tenth, give or take three standard errors.
        items = top_k(np.zeros((2000, 100)), make_requests([[]] * 2000), 10).items
        assert abs(np.mean((items == 42).any(axis=1)) - 0.1) < 3 * np.sqrt(0.09 / 2000)

    def test_given_arrays_that_cannot_be_written_stay_as_they_are(self) -> None:
        scores = np.array([[1.0, 2.0]])
        scores.flags.writeable = False
        assert top_k(scores, make_requests([[]], exclude=[[1]]), 1).items.tolist() == [[0]]
        assert scores.tolist() == [[1.0, 2.0]]

    def test_no_requests(self) -> None:
        assert top_k(np.zeros((0, 5)), make_requests([]), 3).items.shape == (0, 3)

    @pytest.mark.parametrize("n", [3, 1000])
    def test_nan_is_refused(self, n: int) -> None:
        scores = np.zeros((2, n))
        scores[1, n // 2] = np.nan
        with pytest.raises(ContractError, match="NaN"):
            top_k(scores, make_requests([[]] * 2), 2)

    @pytest.mark.parametrize("shape", [(2,), (3, 4)])
    def test_a_wrong_shape_is_refused(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ContractError, match="2 requests need one row each"):
            top_k(np.zeros(shape), make_requests([[]] * 2), 2)

    @settings(max_examples=60, deadline=None)
    @given(
        n=st.integers(1, 700), k=st.integers(1, 40), levels=st.sampled_from([1, 3, 50, 10**6]), seed=st.integers(0, 99)
    )
    def test_equals_sorting_everything(self, n: int, k: int, levels: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        scores = rng.integers(0, levels, (4, n)).astype(np.float32 if seed % 3 else np.float64)
        scores[rng.random((4, n)) < 0.1] = -np.inf
        exclude = [rng.choice(n, rng.integers(0, n), replace=False) for _ in range(4)]
        candidates = [rng.choice(n, rng.integers(0, n), replace=False) for _ in range(4)] if seed % 2 else None
        requests = make_requests([[]] * 4, exclude=exclude, candidates=candidates)
        ranking = top_k(scores.copy(), requests, k)
        for row in range(4):
            allowed = set(range(n) if candidates is None else candidates[row].tolist()) - set(exclude[row].tolist())
            words = tie_break(np.repeat(requests.keys[row], n), np.arange(n))
            order = sorted((i for i in allowed if scores[row, i] > -np.inf), key=lambda i: (-scores[row, i], words[i]))
            assert ranking.items[row][ranking.items[row] >= 0].tolist() == order[:k]


def test_taking_rows_of_a_ranking() -> None:
    ranking = Ranking(np.array([[1, 2], [3, 4]], dtype=np.int32), np.zeros((2, 2), dtype=np.float32))
    assert ranking.take([1]).items.tolist() == [[3, 4]]


def test_the_best_items_come_from_pairs_in_any_order() -> None:
    found = Ranking.best(make_requests([[]] * 3), [2, 0, 0, 2, 0], [5, 1, 2, 4, 3], [0.5, 1, 3, 2, -np.inf], 3)
    assert found.items.tolist() == [[2, 1, PAD], [PAD] * 3, [4, 5, PAD]]
    assert found.scores.tolist() == [[3, 1, -np.inf], [-np.inf] * 3, [2, 0.5, -np.inf]]
    assert found.items.dtype == np.int32
    assert found.scores.dtype == np.float32


def test_the_best_items_are_allowed_ones() -> None:
    exclude, candidates = [[1], [2]], [[0, 1, 2], [0, 1, 2]]
    rows, items, scores = [0, 0, 0, 1, 1, 1], [1, 2, 3, 1, 2, 3], [3, 2, 1, 3, 2, 1]
    assert Ranking.best(make_requests([[]] * 2, exclude=exclude), rows, items, scores, 2).items.tolist() == [
        [2, 3],
        [1, 3],
    ]
    both = Ranking.best(make_requests([[]] * 2, exclude=exclude, candidates=candidates), rows, items, scores, 2)
    assert both.items.tolist() == [[2, PAD], [1, PAD]]


def test_the_best_of_all_items_are_those_of_top_k() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, (20, 30)).astype(np.float32)
    requests = make_requests([[]] * 20, exclude=[rng.choice(30, 5, replace=False) for _ in range(20)])
    order = rng.permutation(scores.size)
    rows, items = np.divmod(order, 30)
    found, whole = Ranking.best(requests, rows, items, scores[rows, items], 10), top_k(scores.copy(), requests, 10)
    np.testing.assert_array_equal(found.items, whole.items)
    np.testing.assert_array_equal(found.scores, whole.scores)


def test_the_best_items_cannot_be_told_from_nan() -> None:
    with pytest.raises(ContractError, match="NaN"):
        Ranking.best(make_requests([[]]), [0, 0], [1, 2], [1, np.nan], 1)


def test_rankings_of_batches_join_to_one() -> None:
    requests = make_requests([[]] * 5)
    parts = [Ranking.best(b, np.arange(len(b)), [len(b)] * len(b), np.ones(len(b)), 2) for b in requests.batches(2)]
    assert Ranking.concat(parts, 2).items.tolist() == [[2, PAD], [2, PAD], [2, PAD], [2, PAD], [1, PAD]]
    assert Ranking.concat([], 2).items.shape == (0, 2)
    assert [batch.ids.tolist() for batch in requests.batches(2)] == [["r0", "r1"], ["r2", "r3"], ["r4"]]
