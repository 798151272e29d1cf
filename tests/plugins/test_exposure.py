from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from benchmark_exposure import average_popularity, benchmark_metrics, gini, item_coverage

from benchmark import PAD, Ragged, Ranking
from benchmark.testing import check_metric

POPULARITY = np.array([10, 4, 2, 0, 0], dtype=np.int64)  # five items
ITEMS = np.array([[0, 1, 2], [0, 2, PAD], [PAD, PAD, PAD]], dtype=np.int32)
RANKING = Ranking(ITEMS, np.zeros(ITEMS.shape, dtype=np.float32))
NOTHING = Ragged.empty(3)


def test_what_is_offered_can_be_had_and_keeps_the_contract() -> None:
    for name, target in benchmark_metrics().items():
        module, _, attribute = str(target).partition(":")
        metric: Any = getattr(importlib.import_module(module), attribute)
        check_metric(metric, high=None if name == "ARP" else 1)


@pytest.mark.parametrize(("k", "covered"), [(1, 1 / 5), (2, 3 / 5), (3, 3 / 5), (9, 3 / 5)])
def test_coverage_is_the_share_of_the_catalogue_in_some_list(k: int, covered: float) -> None:
    assert item_coverage(RANKING, NOTHING, k, POPULARITY) == pytest.approx(covered)


def test_gini_of_exposure() -> None:
    # At 3 the five items have 2, 1, 2, 0, 0 places: sorted 0 0 1 2 2, weights -4 -2 0 2 4, so 12 / (5 * 5).
    assert gini(RANKING, NOTHING, 3, POPULARITY) == pytest.approx(12 / 25)
    assert gini(RANKING, NOTHING, 1, POPULARITY) == pytest.approx(1 - 1 / 5)  # one item has every place
    equal = Ranking(np.array([[0, 1], [2, 3]], dtype=np.int32), np.zeros((2, 2), dtype=np.float32))
    assert gini(equal, Ragged.empty(2), 2, POPULARITY[:4]) == 0
    assert gini(RANKING.take([2]), Ragged.empty(1), 3, POPULARITY) == 0


def test_average_popularity_is_per_request() -> None:
    np.testing.assert_allclose(average_popularity(RANKING, NOTHING, 3, POPULARITY), [16 / 3, 6, 0])
    np.testing.assert_allclose(average_popularity(RANKING, NOTHING, 1, POPULARITY), [10, 10, 0])


def test_blocks_do_not_change_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [metric(RANKING, NOTHING, 3, POPULARITY) for metric in (item_coverage, gini, average_popularity)]
    monkeypatch.setattr("benchmark_exposure.ROWS_PER_BLOCK", 2)
    for metric, value in zip((item_coverage, gini, average_popularity), whole, strict=True):
        np.testing.assert_array_equal(metric(RANKING, NOTHING, 3, POPULARITY), value)
