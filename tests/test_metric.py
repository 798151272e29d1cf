"""Names of metrics, and which of their values are better."""

from __future__ import annotations

from typing import Any

import pytest

from benchmark import BenchmarkError, ContractError, better
from benchmark.metric import MetricName, parse_metric


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("RR", MetricName("RR", {}, None, "")),
        ("nDCG@10", MetricName("nDCG", {}, 10, "")),
        ("R@30|new", MetricName("R", {}, 30, "new")),
        ("AP(rel=2)@100", MetricName("AP", {"rel": 2}, 100, "")),
        (
            "Gain(by='price', base=2.5)|pop99-query",
            MetricName("Gain", {"by": "price", "base": 2.5}, None, "pop99-query"),
        ),
    ],
)
def test_a_name_has_arguments_a_cutoff_and_a_candidate_list(text: str, name: MetricName) -> None:
    assert parse_metric(text) == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nDCG@ten", "metric 'nDCG@ten': the cut-off 'ten' must be a whole number from 1, as in nDCG@10"),
        ("nDCG@0", "the cut-off '0' must be"),
        ("nDCG@10|", "is not written as name, name@k"),
        ("AP(2)@10", "'2' is not written as parameter=value"),
        ("AP(rel=open)@10", "'rel=open' is not written as parameter=value"),
    ],
)
def test_what_is_not_a_name_says_how_it_is_written(text: str, message: str) -> None:
    with pytest.raises(BenchmarkError) as caught:
        parse_metric(text)
    assert message in str(caught.value)


def test_a_function_says_which_of_its_values_are_better() -> None:
    @better("lower")
    def cost() -> float:
        return 0.0

    said: Any = cost
    assert said.better == "lower"
    side: Any = "less"
    with pytest.raises(ContractError, match=r"better\('less'\)"):
        better(side)
