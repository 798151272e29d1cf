"""Numbers that papers print, read from suites/published."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from benchmark.errors import BenchmarkError
from benchmark.suite.published import load_published

SHIPPED = Path(__file__).parent.parent / "suites" / "published"


def test_the_published_table_5_is_whole() -> None:
    tables = load_published(SHIPPED / "penha2024.yaml").tables
    assert len(tables) == 18
    assert {(t.table, t.page, t.metric) for t in tables} == {("Table 5", 8, "R@30")}
    assert sum(len(t.values) for t in tables) == 9 * 7 + 9 * 4
    by_place: dict[tuple[str, str, str], dict[str, float]] = {(t.dataset, t.task, t.slice): t.values for t in tables}
    assert by_place["ML", "recommendation", "torso"]["Pop_R"] == 0
    assert by_place["Podcasts", "recommendation", "head"]["SASRec"] == 0.546
    assert by_place["MPD", "search", "torso"]["Gen_R+S"] == 0.009
    # The paper states the improvement of the joint model in whole percent, from unrounded scores.
    improvements = {
        ("ML", "recommendation", "all"): 16,
        ("MPD", "recommendation", "all"): -18,
        ("Podcasts", "recommendation", "all"): 33,
        ("MPD", "recommendation", "head"): 24,
        ("Podcasts", "recommendation", "head"): 3,
        ("ML", "search", "all"): 16,
        ("MPD", "search", "all"): 18,
        ("Podcasts", "search", "all"): 33,
        ("Podcasts", "search", "head"): 16,
    }
    for place, percent in improvements.items():
        alone = by_place[place]["Gen_R" if place[1] == "recommendation" else "Gen_S"]
        assert 100 * (by_place[place]["Gen_R+S"] / alone - 1) == pytest.approx(percent, abs=2)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("tables: [", "is not valid YAML"),
        ("tables: []", "paper: Field required"),
        (yaml.safe_dump({"paper": "P", "tables": [{"table": "1"}]}), r"tables\.0\.page: Field required"),
        ("paper: P\ntables: []\nnotes: 1\n", "notes: Extra inputs"),
    ],
)
def test_a_broken_file_of_published_numbers_is_refused(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(content)
    with pytest.raises(BenchmarkError, match=complaint):
        load_published(path)


def test_a_missing_file_of_published_numbers_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"nowhere\.yaml' cannot be read"):
        load_published(tmp_path / "nowhere.yaml")
