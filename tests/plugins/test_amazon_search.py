from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_amazon.search import amazon_search, query_of

from benchmark import BenchmarkError, Log, MissingDataError
from benchmark.data.protocol import Protocol
from benchmark.data.split import split_log
from benchmark.testing import check_dataset

DATA = Path(os.environ.get("BENCHMARK_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
CELL_PHONES = DATA / "amazon14_joint" / "Cell_Phones_and_Accessories"
BEAUTY = DATA / "amazon14" / "Beauty"
DAY = 86_400

# Users x and y bought all five products, one a day: x from A1 on, y the other way round.
ITEMS = ["A1", "A2", "A3", "A4", "A5"]
DAYS = {"x": dict(zip(ITEMS, range(1, 6), strict=True)), "y": dict(zip(ITEMS[::-1], range(11, 16), strict=True))}
META: list[dict[str, Any]] = [
    {"asin": "A1", "title": "Lens", "categories": [["Electronics", "Camera & Photo", "Digital Camera Lenses"]]},
    {"asin": "A2", "title": "Phone", "categories": [["Electronics", "Cell Phones", "No-Contract Cell Phones"],
                                                    ["Electronics", "For the Women&#39;s Hand"]]},
    {"asin": "A3", "title": "Thing", "categories": [["Electronics"]]},
    {"asin": "A4", "title": "Lens cap", "categories": [["Electronics", "Camera &amp; Photo", "Digital Camera Lenses"],
                                                       ["Electronics", "CAMERA - Photo", "Digital Camera Lenses"]]},
]  # fmt: skip
ORIGINAL = {
    "reviews_Tiny_5.json": "".join(
        json.dumps({"reviewerID": user, "asin": asin, "unixReviewTime": day * DAY}) + "\n"
        for asin in ITEMS
        for user, day in ((user, days[asin]) for user, days in DAYS.items())
    ),
    "meta_Tiny.json": "".join(repr(record) + "\n" for record in META),
}
LENS, CONTRACT, HAND = (
    "electronics photo digital camera lenses",
    "electronics no contract cell phones",
    "electronics women hand",
)
QRELS = {  # as by Ai 2017: stemmed, two queries of A1, one of them for the test; nobody asked for A3 and A5
    "query_text.txt": "electronics camera lens\nelectronics phone\nElectronics glass\nelectronics lens\n",
    "train.qrels": "x_0 0 A1 1\nx_3 0 A1 1\nx_1 0 A2 1\ny_1 0 A2 1\nx_1 0 A3 0\nz_1 0 A2 1\n",
    "test.qrels": "y_2 0 A1 1\nx_2 0 A4 1\n",
}
JOINT = {
    "interactions.tsv": "reviewer\tasin\ttime\n"
    + "".join(f"{user}\t{asin}\t{day * DAY}\n" for user, days in DAYS.items() for asin, day in days.items())
    + "x\tA6\t\nw\tA6\t\n",
    "items.tsv": (
        "asin\ttext\n"
        "A1\ttitle Red &amp;amp; Blue brand OPI&amp;reg; categories Camera Lenses\n"
        "A2\ttitle Phone brand Unknown categories\nA3\tcategories Things\nA4\tLens cap\nA5\tcategories\n"
        "A6\ttitle Dock categories Docks\n"
    ),
    "queries.tsv": (
        "query\ttext\n0\telectronics camera lens\n1\telectronics phone\n2\tglass &amp; lens\n3\telectronics lens\n"
    ),
    "search_train.tsv": "reviewer\tquery\tasin\nx\t0\tA1\nx\t3\tA1\nx\t1\tA2\ny\t1\tA2\nx\t1\tA6\n",
    "search_test.tsv": "reviewer\tquery\tasin\ny\t2\tA1\nx\t2\tA4\n",
}


def write(folder: Path, files: dict[str, str], zipped: bool = False) -> str:
    folder.mkdir(exist_ok=True, parents=True)
    for name, text in files.items():
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (folder / name).write_text(text, encoding="utf-8")
    return str(folder)


def bought(log: Log) -> dict[tuple[str, str], int]:
    """(user, item) -> the day."""
    rows = zip(log.users[log.user], log.catalog.ids[log.item], log.time, strict=True)
    return {(str(user), str(item)): int(time) // DAY for user, item, time in rows}


def searched(log: Log) -> dict[tuple[str, str], tuple[str, int]]:
    """(user, item) -> the query and the day."""
    assert log.searches is not None
    s = log.searches
    rows = zip(log.users[s.user], log.catalog.ids[s.item], log.queries[s.query], s.time, strict=True)
    out = {(str(user), str(item)): (str(query), int(time) // DAY) for user, item, query, time in rows}
    assert len(out) == len(s.user)
    return out


def judged(log: Log) -> dict[str, list[str]]:
    out: dict[str, list[str]] = {str(text): [] for text in log.queries}
    for query, item in zip(log.query, log.relevant, strict=True):
        out[str(log.queries[query])].append(str(log.catalog.ids[item]))
    return {text: sorted(items) for text, items in out.items()}


PURCHASES = {(user, asin): day for user, days in DAYS.items() for asin, day in days.items()}


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("Camera & Photo > Digital Camera Lenses", "photo digital camera lenses"),  # the example of the authors
        ("Electronics > Camera & Photo > Digital Camera Lenses", LENS),
        ("Cell Phones & Accessories > Cell Phones > Unlocked Cell Phones", "accessories unlocked cell phones"),
        ("Sports & Outdoors > Men's > T-Shirts", "sports outdoors men t shirts"),
        ("Electronics > Portable > MP3 Players", "electronics portable mp3 players"),
        ("Beauty", ""),
        ("Beauty > Of the", "beauty"),
    ],
)
def test_query_of_a_path(path: str, query: str) -> None:
    assert query_of(path) == query


def test_levels() -> None:
    assert query_of("Beauty > Makeup", levels=3) == ""
    assert query_of("Beauty", levels=1) == "beauty"


@pytest.mark.parametrize("zipped", [False, True])
def test_every_purchase_is_a_search_with_a_query_of_its_item(tmp_path: Path, zipped: bool) -> None:
    log = amazon_search("Tiny", write(tmp_path, ORIGINAL, zipped))
    assert log.queries.tolist() == log.query_ids.tolist() == [CONTRACT, LENS, HAND]
    assert judged(log) == {LENS: ["A1", "A4"], CONTRACT: ["A2"], HAND: ["A2"]}  # two paths of A4 are one query
    assert bought(log) == PURCHASES
    found = searched(log)
    assert {pair: day for pair, (_, day) in found.items()} == {
        (user, item): day for (user, item), day in PURCHASES.items() if item in ("A1", "A2", "A4")
    }
    for (_, item), (query, _) in found.items():
        assert item in judged(log)[query]
    assert log.ties == "file"
    assert log.searches is not None
    assert log.searches.part is None
    expected = {"users": 2, "items": 5, "queries": 3, "interactions": 10, "searches": 6, "queries_from": "categories",
                "interactions_without_search": 4, "items_without_query": 2, "items_without_text": 1}  # fmt: skip
    assert {key: log.facts[key] for key in expected} == expected
    assert "remark" not in log.facts


def test_the_seed_and_the_names_alone_decide_which_query_it_is(tmp_path: Path) -> None:
    write(tmp_path / "one", ORIGINAL)
    lines = ORIGINAL["reviews_Tiny_5.json"].splitlines(keepends=True)
    turned = [{**record, "categories": record["categories"][::-1]} for record in META[::-1]]
    other = {
        "reviews_Tiny_5.json": "".join(lines[::-1]),
        "meta_Tiny.json": "".join(json.dumps(record) + "\n" for record in turned),
    }
    write(tmp_path / "other", other)
    of_seed = [searched(amazon_search("Tiny", str(tmp_path / "one"), seed=seed)) for seed in range(8)]
    assert of_seed[0] == searched(amazon_search("Tiny", str(tmp_path / "other")))
    for user in DAYS:
        assert {found[user, "A2"][0] for found in of_seed} == {CONTRACT, HAND}


def test_the_published_queries_beside_the_reviews(tmp_path: Path) -> None:
    path = write(tmp_path, ORIGINAL | QRELS)
    log = amazon_search("Tiny", path)
    assert log.facts["queries_from"] == "published"
    assert log.facts["files"] == ["reviews_Tiny_5.json", "meta_Tiny.json", *QRELS]
    assert judged(log) == {
        "electronics camera lens": ["A1"],
        "electronics glass": ["A1", "A4"],
        "electronics lens": ["A1"],
        "electronics phone": ["A2"],  # the label of A3 is 0
    }
    found = searched(log)
    assert found.pop(("x", "A1"))[0] in ("electronics camera lens", "electronics lens")  # once, not twice
    assert found == {
        ("x", "A2"): ("electronics phone", 2),
        ("y", "A2"): ("electronics phone", 14),
        ("y", "A1"): ("electronics glass", 15),
        ("x", "A4"): ("electronics glass", 4),
    }
    assert bought(log) == PURCHASES
    assert log.facts["published_rows_without_purchase_dropped"] == 1  # z bought nothing
    assert judged(amazon_search("Tiny", path, queries="categories"))[LENS] == ["A1", "A4"]


def test_the_published_queries_in_a_folder_called_like_the_reviews(tmp_path: Path) -> None:
    write(tmp_path / "reviews_Tiny_5.json.gz", QRELS, zipped=True)
    assert amazon_search("Tiny", write(tmp_path, ORIGINAL)).facts["queries_from"] == "published"
    (tmp_path / "reviews_Tiny_5.json.gz" / "train.qrels.gz").unlink()  # the repository has not all of all sets
    assert amazon_search("Tiny", str(tmp_path)).facts["queries_from"] == "categories"
    with pytest.raises(MissingDataError, match=r"no published queries of amazon_search Tiny.*QingyaoAi"):
        amazon_search("Tiny", str(tmp_path), queries="published")


@pytest.mark.parametrize("files", [ORIGINAL | QRELS, JOINT])
def test_the_published_split(tmp_path: Path, files: dict[str, str]) -> None:
    log = amazon_search("Tiny", write(tmp_path, files), split="published")
    assert log.searches is not None
    assert log.searches.part is not None
    tests = {pair for pair, part in zip(searched(log), log.searches.part, strict=True) if part == 2}
    assert tests == {("y", "A1"), ("x", "A4")}
    assert log.interaction_part is None


def test_tables_of_purchases_and_searches(tmp_path: Path) -> None:
    log = amazon_search("Tiny", write(tmp_path, JOINT, zipped=True))
    assert bought(log) == PURCHASES  # A6 was bought twice, and nobody knows when
    assert log.facts["rows_without_time_dropped"] == 2
    assert log.catalog.ids.tolist() == [*ITEMS, "A6"]
    assert log.catalog.texts.tolist() == [
        "Red & Blue. Brand: OPI®. Categories: Camera Lenses",
        "Phone",
        "Categories: Things",
        "Lens cap",
        "",
        "Dock. Categories: Docks",
    ]
    assert log.catalog.attributes["brand"].tolist() == ["OPI®", "", "", "", "", ""]
    found = searched(log)
    assert found.pop(("x", "A1"))[0] in ("electronics camera lens", "electronics lens")
    assert found == {
        ("x", "A2"): ("electronics phone", 2),
        ("y", "A2"): ("electronics phone", 14),
        ("y", "A1"): ("glass & lens", 15),
        ("x", "A4"): ("glass & lens", 4),
    }
    assert judged(log)["electronics phone"] == ["A2", "A6"]  # what is relevant does not depend on a time
    assert log.facts["published_rows_without_purchase_dropped"] == 1


@pytest.mark.parametrize("place", ["amazon14_joint/Tiny", "amazon14/Tiny", "Tiny"])
def test_the_folder_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    write(tmp_path / place, JOINT if "joint" in place else ORIGINAL)
    monkeypatch.setenv("BENCHMARK_DATA", str(tmp_path))
    assert amazon_search("Tiny").facts["interactions"] == 10


def test_every_place_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "amazon14_joint" / "Tiny", JOINT)
    write(tmp_path / "amazon14" / "Tiny", ORIGINAL)
    monkeypatch.setenv("BENCHMARK_DATA", str(tmp_path))
    assert amazon_search("Tiny").facts["queries_from"] == "published"
    assert amazon_search("Tiny", queries="categories").facts["queries_from"] == "categories"


def test_other_statistics_than_those_of_table_2_are_remarked(tmp_path: Path) -> None:
    files = {name.replace("Tiny", "Electronics"): text for name, text in ORIGINAL.items()}
    assert amazon_search("Electronics", write(tmp_path, files)).facts["remark"] == (
        "not the data of Table 2 in Shi 2025: users 2 instead of 192,403, items 5 instead of 62,883, queries 3 instead "
        "of 983, interactions 10 instead of 1,266,903, searches 6 instead of 1,081,934"
    )


@pytest.mark.parametrize(
    ("files", "name", "old", "new", "message"),
    [
        (ORIGINAL, "meta_Tiny.json", "'categories'", "'paths'", "no item of reviews_Tiny_5.json, meta_Tiny.json has a"),
        (QRELS, "test.qrels", "y_2", "y_4", "query_text.txt has 4 queries, but train.qrels and test.qrels .* query 4"),
        (QRELS, "train.qrels", "x_1 0 A2 1", "x_1 0 A2", "train.qrels, row 3 is not 'reviewer_query 0 asin label'"),
        (QRELS, "train.qrels", "x_1 0 A2 1", "x1 0 A2 1", "train.qrels, row 3 is not .*: x1 0 A2 1"),
        (QRELS, "train.qrels", "x_1 0 A2 1", "x_1 0 A2 1 1", "train.qrels cannot be read as judgements"),
        (JOINT, "interactions.tsv", f"{2 * DAY}", "soon", "interactions.tsv: the time 'soon' is not a whole number"),
        (JOINT, "interactions.tsv", "A2", "A9", "interactions.tsv: the asin A9 is not in items.tsv"),
        (JOINT, "items.tsv", "A6", "A1", "items.tsv has the asin A1 more than once"),
        (JOINT, "search_test.tsv", "x\t2", "x\t7", "the query 7 is not in queries.tsv"),
        (JOINT, "queries.tsv", "text", "words", "queries.tsv has no column text. It has query, words"),
    ],
)
def test_what_is_broken_is_named(
    tmp_path: Path, files: dict[str, str], name: str, old: str, new: str, message: str
) -> None:
    assert old in files[name]
    path = write(tmp_path, (ORIGINAL if files is QRELS else {}) | files | {name: files[name].replace(old, new)})
    with pytest.raises(BenchmarkError, match=message):
        amazon_search("Tiny", path)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"queries": "mine"}, "no queries 'mine'. Known: any, published, categories"),
        ({"split": "mine"}, "no split 'mine'. Known: protocol, published"),
        ({"levels": 0}, "levels is 0"),
        ({"split": "published"}, "the published split needs the published queries"),
        ({"category": "Other"}, "has no files of amazon_search Other. Get reviews_Other_5.json.gz"),
        ({"path": "/nowhere"}, "the folder /nowhere does not exist. Get reviews_Tiny_5.json.gz"),
        ({"path": ""}, "Tiny has no path. Get reviews_Tiny_5.json.gz .*QingyaoAi/Amazon-Product-Search"),
    ],
)
def test_errors_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params: dict[str, Any], message: str
) -> None:
    monkeypatch.delenv("BENCHMARK_DATA", raising=False)
    with pytest.raises(BenchmarkError, match=message) as refused:
        amazon_search(**{"category": "Tiny", "path": write(tmp_path, ORIGINAL), **params})
    assert (refused.type is MissingDataError) == ("Get " in message)


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, {name: text for name, text in JOINT.items() if name != "queries.tsv"})
    with pytest.raises(MissingDataError, match=r"tables of purchases and searches, but not queries\.tsv"):
        amazon_search("Tiny", path)


def test_the_last_purchase_tests_both_tasks_and_is_no_history_of_itself(tmp_path: Path) -> None:
    data = split_log("Tiny", amazon_search("Tiny", write(tmp_path, ORIGINAL)), Protocol())
    ids = data.train.catalog.ids
    recommendation, search = data.test["recommendation"], data.test["search"]
    targets = [{str(name): ids[row].tolist() for name, row in zip(split.requests.ids, split.relevant, strict=True)}
               for split in (recommendation, search)]  # fmt: skip
    assert targets == [{"u:x": ["A5"], "u:y": ["A1"]}, {"s:x:2": ["A4"], "s:y:2": ["A1"]}]
    assert set(search.requests.queries) == {LENS}
    for split in (recommendation, search):
        for row in range(len(split.requests)):
            assert not set(split.relevant[row]) & set(split.requests.histories[row])


@pytest.mark.skipif(not CELL_PHONES.is_dir(), reason="amazon14_joint/Cell_Phones_and_Accessories is not here")
def test_cell_phones() -> None:
    params = {"category": "Cell_Phones_and_Accessories", "path": str(CELL_PHONES)}
    log = amazon_search(**params)  # type: ignore[arg-type]
    # 27,867 buyers, one of them without any time; 174,754 rows of published searches.
    expected = {"users": 27_866, "items": 10_414, "queries": 165, "interactions": 137_184, "searches": 105_797,
                "rows_without_time_dropped": 57_128, "published_rows_without_purchase_dropped": 52_050}  # fmt: skip
    assert {key: log.facts[key] for key in expected} == expected
    assert not any("&amp;" in text or "&reg;" in text for text in log.catalog.texts)
    data = check_dataset(amazon_search, {**params, "split": "published"})
    assert len(data.test["search"].requests) == 450  # of the 615 published test purchases those with a time
    assert not set(data.test["search"].requests.queries) & set(data.train.queries)


@pytest.mark.skipif(not BEAUTY.is_dir(), reason="amazon14/Beauty is not in BENCHMARK_DATA")
def test_beauty() -> None:
    log = amazon_search("Beauty", str(BEAUTY))
    expected = {"users": 22_363, "items": 12_101, "queries": 251, "interactions": 198_502, "searches": 198_502}
    assert {key: log.facts[key] for key in expected} == expected
    assert log.searches is not None
    for column in ("user", "item", "time"):
        assert np.array_equal(getattr(log.searches, column), getattr(log, column))  # one search per purchase
    nail_polish = np.flatnonzero(log.queries == "beauty makeup nails nail polish")
    assert (log.query == nail_polish[0]).sum() == 712  # as many lines of items.tsv have this path
