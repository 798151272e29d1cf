from __future__ import annotations

import gzip
import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_movielens import benchmark_datasets, movielens

from benchmark import BenchmarkError, Log, MissingDataError
from benchmark.data.protocol import Protocol
from benchmark.data.split import split_log
from benchmark.testing import check_dataset

DATA = Path(os.environ.get("BENCHMARK_DATA", Path(__file__).parents[2].parent / "shared" / "data"))

CSV = {
    "ratings.csv": "userId,movieId,rating,timestamp\n1,10,4.0,100\n1,20,0.5,101\n2,10,3.5,50\n2,30,2.0,60\n",
    "movies.csv": (
        "movieId,title,genres\n"
        '10,"City, The (1995)",Action|Comedy\n20,Tron (1982),Sci-Fi\n'
        "30,Ghost,(no genres listed)\n40,Rare (2001),Drama\n"
    ),
    "tags.csv": (
        "userId,movieId,tag,timestamp\n1,10, Funny ,5\n2,10,funny,6\n2,20,null,7\n1,10,comedy,8\n1,20,Comedy,8\n"
    ),
    "genome-scores.csv": "movieId,tagId,relevance\n10,1,0.95\n20,1,0.2\n20,2,0.85\n",
    "genome-tags.csv": "tagId,tag\n1,007\n2,cyber space\n",
}
ML_1M = {
    "ratings.dat": "1::10::4::100\n1::20::1::101\n2::10::3::50\n",
    "movies.dat": "10::Misérables, Les: The Film (1995)::Drama|Musical\n20::Tron (1982)::Sci-Fi\n",
}
ML_100K = {
    "u.data": "1\t10\t4\t100\n1\t20\t1\t101\n",
    "u.genre": "unknown|0\nAction|1\nSci-Fi|2\n\n",
    "u.item": "10|Misérables (1995)|01-Jan-1995||http://x|0|1|1\n20|unknown||||1|0|0\n",
}


def make_zip(folder: Path, variant: str, files: dict[str, str], encoding: str = "utf-8") -> Path:
    path = folder / f"{variant}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"{variant}/{name}", text.encode(encoding))
    return path


def judged(log: Log) -> dict[str, list[str]]:
    """Query text -> ids of the relevant items."""
    out: dict[str, list[str]] = {str(text): [] for text in log.queries}
    for query, item in zip(log.query, log.relevant, strict=True):
        out[str(log.queries[query])].append(str(log.catalog.ids[item]))
    return {text: sorted(items) for text, items in out.items()}


def rows(log: Log) -> list[tuple[str, str, int]]:
    names = zip(log.users[log.user], log.catalog.ids[log.item], log.time, strict=True)
    return [(str(user), str(item), int(time)) for user, item, time in names]


def test_hook() -> None:
    assert benchmark_datasets() == {"movielens": "benchmark_movielens:movielens"}


def test_ml_100k_comes_from_the_installed_package() -> None:
    data = check_dataset(movielens)
    assert len(data.train.users) == 943
    assert data.facts["interactions"] == 99_991  # all but the nine ratings of the film called "unkonwn"
    assert len(data.test["recommendation"].requests) == 943
    texts = set(data.train.catalog.texts)
    assert {"Toy Story (1995). Animation, Children's, Comedy", "Mimic (1997). Sci-Fi, Thriller"} <= texts
    assert data.facts["queries"] == 248
    row = data.train.catalog.ids.tolist().index("1")
    assert data.train.catalog.attributes.loc[row, "categories"] == ("Animation", "Children's", "Comedy")
    assert data.train.catalog.attributes.loc[row, "year"] == 1995


def test_items_all_keeps_what_has_no_query() -> None:
    assert len(movielens(items="all").catalog) == 1682
    assert len(movielens(queries=["decades"]).queries) == 8
    assert len(movielens(queries=[]).catalog) == 0
    assert len(movielens(queries=[], items="all").user) == 100_000


@pytest.mark.parametrize("form", ["zip", "folder", "gzipped"])
def test_ml_25m_with_tags_and_genome(tmp_path: Path, form: str) -> None:
    path = make_zip(tmp_path, "ml-25m", CSV)
    if form != "zip":
        path = tmp_path / "ml-25m"
        path.mkdir()
        for name, text in CSV.items():
            if form == "folder":
                (path / name).write_text(text, encoding="utf-8")
            else:
                (path / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
    log = movielens("ml-25m", path=str(path))
    assert log.catalog.ids.tolist() == ["10", "20"]  # 30 has no query, 40 no rating
    assert log.catalog.texts.tolist() == ["City, The (1995). Action, Comedy", "Tron (1982). Sci-Fi"]
    assert sorted(rows(log)) == [("1", "10", 100), ("1", "20", 101), ("2", "10", 50)]
    assert judged(log) == {
        "Action": ["10"],
        "Comedy": ["10", "20"],  # the genre, and the tag in either spelling
        "Sci-Fi": ["20"],
        "Action Comedy": ["10"],
        "1990s": ["10"],
        "1980s": ["20"],
        "Action 1990s": ["10"],
        "Comedy 1990s": ["10"],
        "Sci-Fi 1980s": ["20"],
        "Funny": ["10"],
        "null": ["20"],
        "007": ["10"],
        "cyber space": ["20"],
    }
    few = movielens("ml-25m", path=str(path), queries=["genome"], genome_relevance=0.1)
    assert judged(few) == {"007": ["10", "20"], "cyber space": ["20"]}


def test_ml_1m_is_latin_1_with_double_colons(tmp_path: Path) -> None:
    log = movielens("ml-1m", path=str(make_zip(tmp_path, "ml-1m", ML_1M, "latin-1")))
    assert log.catalog.texts.tolist() == ["Misérables, Les: The Film (1995). Drama, Musical", "Tron (1982). Sci-Fi"]
    assert sorted(rows(log)) == [("1", "10", 100), ("1", "20", 101), ("2", "10", 50)]
    assert judged(log)["Drama Musical"] == ["10"]


def test_ml_100k_from_the_official_zip(tmp_path: Path) -> None:
    log = movielens(path=str(make_zip(tmp_path, "ml-100k", ML_100K, "latin-1")), items="all")
    assert log.catalog.texts.tolist() == ["Misérables (1995). Action, Sci-Fi", "unknown"]
    assert rows(log) == [("1", "10", 100), ("1", "20", 101)]
    assert judged(log)["Action Sci-Fi"] == ["10"]


def test_a_variant_lies_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_zip(tmp_path, "ml-1m", ML_1M, "latin-1")
    monkeypatch.setenv("BENCHMARK_DATA", str(tmp_path))
    assert len(movielens("ml-1m").catalog) == 2


def searched(log: Log) -> list[tuple[str, str, str, int]]:
    """User, query, film and time of every search."""
    assert log.searches is not None
    s = log.searches
    names = zip(log.users[s.user], log.queries[s.query], log.catalog.ids[s.item], s.time, strict=True)
    return sorted((str(user), str(query), str(item), int(time)) for user, query, item, time in names)


def test_a_rating_is_also_a_search_with_a_query_of_the_film(tmp_path: Path) -> None:
    path = str(make_zip(tmp_path, "ml-25m", CSV))
    log = movielens("ml-25m", path=path, queries=["decades"], searches=True)
    assert searched(log) == [("1", "1980s", "20", 101), ("1", "1990s", "10", 100), ("2", "1990s", "10", 50)]
    assert judged(log) == {"1980s": ["20"], "1990s": ["10"]}
    assert movielens("ml-25m", path=path).searches is None
    # All kinds together: one query of the film each, and over the seeds every one of them.
    logs = [movielens("ml-25m", path=path, searches=True, seed=seed) for seed in range(40)]
    assert {len(searched(log)) for log in logs} == {3}
    used = {query for log in logs for _, query, film, _ in searched(log) if film == "20"}
    assert used == {query for query, films in judged(logs[0]).items() if "20" in films}
    # A film without a query can be rated, and is not searched.
    log = movielens("ml-25m", path=path, queries=["decades"], items="all", searches=True)
    assert ("2", "30", 60) in rows(log)
    assert log.facts["ratings_without_search"] == 1


def test_the_searches_of_ml_100k() -> None:
    data = check_dataset(movielens, {"searches": True, "search_share": 0.5})
    assert data.train.events is not None
    assert data.facts["search_clicks"] == pytest.approx(50_000, abs=1000)
    assert data.facts["search_clicks"] + data.facts["ratings_without_search"] == data.facts["interactions"]
    assert data.facts["searches_that_copy_an_interaction"] == 1.0
    some, all_ = movielens(searches=True, search_share=0.5), movielens(searches=True)
    assert set(searched(some)) <= set(searched(all_))  # a share takes searches away and changes none
    for query, item in zip(all_.searches.query[:500], all_.searches.item[:500], strict=True):  # type: ignore[union-attr]
        assert item in all_.relevant[all_.query == query]


def test_films_with_few_ratings_can_be_left_out(tmp_path: Path) -> None:
    path = str(make_zip(tmp_path, "ml-25m", CSV))
    log = movielens("ml-25m", path=path, min_interactions=2)
    assert log.catalog.ids.tolist() == ["10"]
    assert sorted(rows(log)) == [("1", "10", 100), ("2", "10", 50)]
    assert log.facts["items_left_out"] == 0
    assert log.facts["films_with_fewer_ratings"] == 3


def test_tags_are_searches_of_those_who_gave_them(tmp_path: Path) -> None:
    path = str(make_zip(tmp_path, "ml-25m", CSV))
    log = movielens("ml-25m", path=path, queries=["genres"], searches="tags")
    assert searched(log) == [
        ("1", "Comedy", "10", 8),  # typed "comedy", as the genre is called
        ("1", "Comedy", "20", 8),
        ("1", "Funny", "10", 5),
        ("2", "Funny", "10", 6),
        ("2", "null", "20", 7),
    ]
    assert judged(log)["Comedy"] == ["10", "20"]
    assert log.facts["query_kinds"] == ["genres", "tags"]
    assert "remark" not in log.facts  # nobody made these up
    assert log.facts["tags_left_out"] == 0
    with pytest.raises(BenchmarkError, match="has a tag, so there are no searches"):
        movielens("ml-25m", path=str(make_zip(tmp_path, "ml-25m", {**CSV, "tags.csv": TAGS})), searches="tags")


TAGS = "userId,movieId,tag,timestamp\n1,999,Funny,5\n1,10, ,6\n"


def test_copies_made_by_a_hash_are_called_a_smoke_test() -> None:
    data = check_dataset(movielens, {"searches": True})
    same = 0
    requests = {task: split.requests for task, split in data.test.items()}
    for user in range(943):
        (a,), (b,) = (np.flatnonzero(requests[task].users == user) for task in ("recommendation", "search"))
        same += len(set(data.test["recommendation"].relevant[a]) & set(data.test["search"].relevant[b])) > 0
    assert data.facts["same_item_tested_share"] == same / 943
    assert data.facts["smoke_test"] is True
    assert f"a smoke test of joint models; for {same / 943:.0%} of the users both tests ask" in data.facts["remark"]


def test_searches_a_second_later_leak_until_copies_within_says_so() -> None:
    log = movielens(searches=True)
    assert log.searches is not None
    late = replace(log, searches=replace(log.searches, time=log.searches.time + 1))
    apart = split_log("ml", late, Protocol()).facts
    joined = split_log("ml", late, Protocol(copies_within=1)).facts
    together = split_log("ml", log, Protocol()).facts
    shares = [f"target_in_history_share_{task}" for task in ("recommendation", "search")]
    assert sum(apart[share] for share in shares) > 0.1
    assert apart["near_copies"] == apart["search_clicks"]
    assert [joined[share] for share in shares] == [together[share] for share in shares] == [0, 0]
    for facts in (joined, together):  # nobody rates a film twice
        assert facts["test_pairs_in_training_share_recommendation"] == 0
        assert facts["test_users_items_in_training_share_search"] == 0
    assert apart["test_users_items_in_training_share_search"] > 0


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"variant": "ml-25m"},
            "Get ml-25m.zip from https://grouplens.org/datasets/movielens and give params: {path: ",
        ),
        ({"variant": "ml-1m", "path": "/nowhere/ml-1m.zip"}, "the path /nowhere/ml-1m.zip does not exist"),
        ({"variant": "ml-1m", "path": __file__}, "is not a zip file"),
        ({"variant": "ml-1m", "path": str(Path(__file__).parent)}, "needs the file ratings.dat, which is not in"),
        ({"queries": ["tags"]}, "no queries of the kind 'tags'. .* Variants with it: ml-latest-small, ml-20m, ml-25m"),
        ({"variant": "ml-10m"}, "no variant 'ml-10m'. Known: ml-100k"),
        ({"genome_relevance": 2.0}, "genome_relevance is 2.0"),
        ({"search_share": 0.0}, "search_share is 0.0; give a share above 0"),
        ({"search_share": 1.5}, "search_share is 1.5"),
        ({"min_interactions": -1}, "min_interactions is -1; give 0 or more"),
        (
            {"searches": "tags"},
            "ml-100k has no tags, so it has no searches. Variants with tags: ml-latest-small, ml-20",
        ),
        ({"variant": "ml-25m", "searches": "tags", "search_share": 0.5}, "with tags every tag is a search"),
        ({"searches": True, "queries": [], "items": "all"}, "nothing to search for: no film with a rating has a query"),
    ],
)
def test_errors_say_what_to_do(params: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCHMARK_DATA", raising=False)
    with pytest.raises(BenchmarkError, match=message) as refused:
        movielens(**params)
    # What is not here at all a suite may do without.
    assert (refused.type is MissingDataError) == ("Get ml-25m" in message or "does not exist" in message)


@pytest.mark.skipif(not (DATA / "ml-latest-small").is_dir(), reason="ml-latest-small is not in BENCHMARK_DATA")
def test_ml_latest_small() -> None:
    data = check_dataset(movielens, {"variant": "ml-latest-small", "path": str(DATA / "ml-latest-small")})
    assert len(data.train.users) == 610
    assert data.facts["queries"] == 1841
    assert data.facts["items"] + data.facts["items_left_out"] == 9742


@pytest.mark.skipif(not (DATA / "ml-latest-small").is_dir(), reason="ml-latest-small is not in BENCHMARK_DATA")
def test_tags_of_ml_latest_small_are_typed_seconds_after_each_other() -> None:
    log = movielens("ml-latest-small", path=str(DATA / "ml-latest-small"), searches="tags")
    facts = [split_log("ml", log, Protocol(copies_within=seconds)).facts for seconds in (0, 60)]
    assert facts[0]["search_clicks"] + log.facts["tags_left_out"] == 3683  # the rows of tags.csv
    apart, joined = (f["target_in_history_share_search"] for f in facts)
    assert joined < apart / 2
    assert facts[1]["searches_that_copy_an_interaction"] > facts[0]["searches_that_copy_an_interaction"]
