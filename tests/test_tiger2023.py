"""The suite tiger2023: what its paper prints, and what must hold on the data that the paper used."""

from __future__ import annotations

import pytest
from conftest import ROOT

from benchmark.evaluation.published import Published, PublishedTable, load_published

DATASETS = ("Sports", "Beauty", "Toys")
METRICS = ("R@5", "nDCG@5", "R@10", "nDCG@10")


@pytest.fixture(scope="module")
def published() -> Published:
    return load_published(ROOT / "suites" / "published" / "tiger2023.yaml")


def printed(published: Published, dataset: str, metric: str, row: str) -> float:
    found = published.find(dataset, "recommendation", "all", metric, row)
    assert found is not None
    return found.value


def test_the_published_values_give_the_improvements_that_the_paper_states(published: Published) -> None:
    """The last row of Table 1: TIGER against the best other model, in percent."""
    stated = [5.22, 12.55, 3.90, 10.29, 17.31, 29.04, 0.15, 17.43, 12.53, 21.24, 1.71, 14.97]
    others = ("P5", "Caser", "HGN", "GRU4Rec", "BERT4Rec", "FDSA", "SASRec", "S3-Rec")
    places = [(dataset, metric) for dataset in DATASETS for metric in METRICS]
    for (dataset, metric), percent in zip(places, stated, strict=True):
        best = max(printed(published, dataset, metric, row) for row in others)
        gain = 100 * (printed(published, dataset, metric, "TIGER") / best - 1)
        # 12.42 is what .0181 over .0161 gives where the paper prints 12.55
        assert gain == pytest.approx(percent, abs=0.15), (dataset, metric)


def test_every_table_that_the_suite_needs_is_there(published: Published) -> None:
    assert [printed(published, "Toys", "R@10", row) for row in ("TIGER[random]", "TIGER[LSH]")] == [0.0448, 0.0566]
    assert printed(published, "Sports", "R@10", "P5-ours") == 0.01458
    assert [printed(published, "Beauty", f"Entropy@{k}", "TIGER T=2.0") for k in (10, 20, 50)] == [1.38, 1.76, 2.28]
    own = {(t.table, t.dataset, t.metric) for t in published.tables if not t.source}
    assert len(own) == 3 * 12 + 3  # Tables 1, 3 and 6 on three data sets by four metrics, Table 5 at three depths


def test_a_reproduction_is_kept_apart_from_the_paper(published: Published) -> None:
    reproductions = {
        (t.source, t.dataset, t.metric): t.values["TIGER"] for t in published.tables if t.source and "TIGER" in t.values
    }
    assert reproductions["XiaoLongtaoo", "Beauty", "R@10"] == 0.0594
    assert reproductions["genrec", "Beauty", "R@10"] == 0.0721
    assert all("count as hits" in t.note for t in published.tables if t.source == "genrec" and "TIGER" in t.values)
    table = {"table": "README", "page": 0, "metric": "R@5", "dataset": "D", "task": "recommendation", "slice": "all"}
    one = PublishedTable.model_validate({**table, "data": "D", "values": {"TIGER": 0.5}, "source": "somebody"})
    assert Published(paper="P", tables=[one]).find("D", "recommendation", "all", "R@5", "TIGER") is None


def test_a_page_that_is_not_known_is_not_printed(published: Published) -> None:
    found = published.find("Beauty", "recommendation", "all", "R@10", "SASRec")
    assert found is not None
    assert found.source.startswith("Rajput et al. 2023, Table 1; measured on Amazon 2014 Beauty")
