from __future__ import annotations

import gzip
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_amazon import amazon, benchmark_datasets

from benchmark import BenchmarkError, Log, MissingDataError
from benchmark.data.protocol import Protocol
from benchmark.data.split import split_log
from benchmark.testing import check_dataset

DATA = Path(os.environ.get("BENCHMARK_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
DAY = 86_400

# User x has five reviews, two of them on one day; y five; z four, which is too few. The files are sorted by product.
REVIEWS = [
    *(("x", "A1", 20), ("x", "A2", 10), ("y", "A2", 50), ("x", "A3", 20), ("z", "A3", 1), ("y", "A3", 30)),
    *(("z", "A4", 2), ("x", "A4", 40), ("y", "A4", 60), ("x", "A5", 30), ("y", "A5", 70), ("z", "A5", 3)),
    *(("y", "A1", 80), ("z", "A6", 4)),
]
HISTORIES = {
    "x": [("A2", 10), ("A1", 20), ("A3", 20), ("A5", 30), ("A4", 40)],
    "y": [("A3", 30), ("A2", 50), ("A4", 60), ("A5", 70), ("A1", 80)],
}
META: list[dict[str, Any]] = [
    {"asin": "A1", "title": "Red &amp; Blue", "price": 9.5, "brand": "OPI",
     "categories": [["Beauty", "Makeup", "Nails"]],
     "related": {"also_bought": ["A2", "A9"]}, "salesRank": {"Beauty": 3}},
    {"asin": "A2", "description": "it's \"fine\"", "categories": [["Beauty", "Makeup"], ["Toys", "Fun"]],
     "title": "Doll's\nhouse", "brand": "Unknown"},
    {"asin": "A3", "categories": [["Beauty"]], "brand": "OPI"},
    {"asin": "A4", "title": "Comb", "price": 1234},
    {"asin": "A9", "title": "Not in the 5-core"},
]  # fmt: skip
ORIGINAL = {
    "reviews_Tiny_5.json": "".join(
        json.dumps({"reviewerID": u, "asin": i, "overall": 5.0, "reviewText": "ok", "unixReviewTime": t * DAY}) + "\n"
        for u, i, t in REVIEWS
    ),
    "meta_Tiny.json": "".join(repr(record) + "\n" for record in META),
}
TABLES = {  # items are numbered as x and y met them; the seventh occurs nowhere
    "sequences.tsv": (
        "user\treviewer\titems\tgaps\n"
        f"1\tx\t1 2 3 4 5\t0 {10 * DAY} 0 {10 * DAY} {10 * DAY}\n"
        f"2\ty\t3 1 5 4 2\t0 {20 * DAY} {10 * DAY} {10 * DAY} {10 * DAY}\n"
    ),
    "items.tsv": (
        "item\tasin\ttitle\tcategories\tattributes\tdigest\n"
        "1\tA2\tDoll's house\tBeauty > Makeup | Toys > Fun\tMakeup | Fun\tdolls\n"
        "2\tA1\tRed &amp; Blue\tBeauty > Makeup > Nails\tOPI | Makeup | Nails\tred blue\n"
        "3\tA3\t\tBeauty\tOPI\topi thing\n"
        "4\tA5\t\t\t\t\n"
        "5\tA4\tComb\t\tUnknown | Makeup | Fun\tcomb\n"
        "7\tA7\tNowhere\t\t\t\n"
    ),
}
S3_REC = {
    "Tiny.txt": "1 1 2 3 4 5\n2 3 1 5 4 2\n",
    "Tiny_item2attributes.json": '{"1": [1, 2], "2": [3, 1, 4], "3": [3], "5": [], "7": [9]}',
}


def write(folder: Path, files: dict[str, str], zipped: bool = False) -> str:
    for name, text in files.items():
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (folder / name).write_text(text, encoding="utf-8")
    return str(folder)


def histories(log: Log) -> dict[str, list[tuple[str, int]]]:
    out: dict[str, list[tuple[str, int]]] = {str(user): [] for user in log.users}
    for user, item, time in zip(log.user, log.item, log.time, strict=True):
        out[str(log.users[user])].append((str(log.catalog.ids[item]), int(time)))
    return out


def column(log: Log, name: str) -> dict[str, Any]:
    return dict(zip(log.catalog.ids.tolist(), log.catalog.attributes[name].tolist(), strict=True))


def test_hook() -> None:
    assert benchmark_datasets() == {
        "amazon": "benchmark_amazon:amazon",
        "amazon_search": "benchmark_amazon.search:amazon_search",
    }


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("literal", [repr, json.dumps])
def test_the_original_files(tmp_path: Path, zipped: bool, literal: Any) -> None:
    files = ORIGINAL | {"meta_Tiny.json": "".join(literal(record) + "\n" for record in META)}
    log = amazon("Tiny", write(tmp_path, files, zipped))
    assert histories(log) == {u: [(i, t * DAY) for i, t in rows] for u, rows in HISTORIES.items()}
    assert log.ties == "file"  # A1 before A3, both on day 20
    assert column(log, "title") == {"A1": "Red & Blue", "A2": "Doll's house", "A3": "", "A4": "Comb", "A5": ""}
    assert column(log, "brand") == {"A1": "OPI", "A2": "", "A3": "OPI", "A4": "", "A5": ""}
    prices = column(log, "price")
    assert (prices["A1"], prices["A4"], math.isnan(prices["A5"])) == (9.5, 1234.0, True)
    assert column(log, "categories") == {
        "A1": ("Beauty > Makeup > Nails",),
        "A2": ("Beauty > Makeup", "Toys > Fun"),
        "A3": ("Beauty",),
        "A4": (),
        "A5": (),
    }
    assert column(log, "attributes") == {
        "A1": ("OPI", "Makeup", "Nails"),
        "A2": ("Makeup", "Fun"),
        "A3": ("OPI",),
        "A4": (),
        "A5": (),
    }
    texts = dict(zip(log.catalog.ids.tolist(), log.catalog.texts.tolist(), strict=True))
    assert texts == {
        "A1": "Red & Blue. Price: 9.50. Brand: OPI. Categories: Beauty > Makeup > Nails",
        "A2": "Doll's house. Categories: Beauty > Makeup, Toys > Fun",
        "A3": "Brand: OPI. Categories: Beauty",
        "A4": "Comb. Price: 1234.00",
        "A5": "",
    }
    assert log.facts["items_without_text"] == 1
    assert (log.facts["mean_length"], log.facts["median_length"]) == (5.0, 5.0)
    assert "remark" not in log.facts


@pytest.mark.parametrize("zipped", [False, True])
def test_the_tables_give_the_same_log(tmp_path: Path, zipped: bool) -> None:
    log = amazon("Tiny", write(tmp_path, TABLES, zipped))
    starts = {"x": 10, "y": 30}
    assert histories(log) == {u: [(i, (t - starts[u]) * DAY) for i, t in rows] for u, rows in HISTORIES.items()}
    assert "first review" in log.facts["times"]
    assert list(log.catalog.attributes) == ["title", "brand", "categories", "attributes"]
    assert column(log, "title") == {"A1": "Red & Blue", "A2": "Doll's house", "A3": "", "A4": "Comb", "A5": ""}
    assert column(log, "brand") == {"A1": "OPI", "A2": "", "A3": "OPI", "A4": "", "A5": ""}
    assert column(log, "categories") == {
        "A1": ("Beauty > Makeup > Nails",),
        "A2": ("Beauty > Makeup", "Toys > Fun"),
        "A3": ("Beauty",),
        "A4": ("Makeup", "Fun"),  # without paths, at least the names
        "A5": (),
    }
    assert column(log, "attributes")["A1"] == ("OPI", "Makeup", "Nails")
    texts = dict(zip(log.catalog.ids.tolist(), log.catalog.texts.tolist(), strict=True))
    assert texts["A3"] == "opi thing. Brand: OPI. Categories: Beauty"  # the digest where there is no title
    assert texts["A1"] == "Red & Blue. Brand: OPI. Categories: Beauty > Makeup > Nails"


@pytest.mark.parametrize("zipped", [False, True])
def test_the_files_of_s3_rec_give_the_same_sequences(tmp_path: Path, zipped: bool) -> None:
    log = amazon("Tiny", write(tmp_path, S3_REC, zipped))
    numbers = {"A2": "1", "A1": "2", "A3": "3", "A5": "4", "A4": "5"}
    expected = [[(numbers[item], at) for at, (item, _) in enumerate(rows)] for rows in HISTORIES.values()]
    assert list(histories(log).values()) == expected
    assert log.facts["times"] == "positions in the sequence; the file has no times"
    assert list(log.catalog.attributes) == ["attributes"]
    assert column(log, "attributes") == {"1": ("1", "2"), "2": ("3", "1", "4"), "3": ("3",), "4": (), "5": ()}
    assert set(log.catalog.texts) == {""}


def test_ties_are_broken_by_the_file_or_by_a_hash_and_files_without_times_have_none(tmp_path: Path) -> None:
    path = write(tmp_path, TABLES)
    assert amazon("Tiny", path).ties == "file"
    assert amazon("Tiny", path, ties="hash").ties == "hash"
    assert amazon("Tiny", path).has_times
    (tmp_path / "s3").mkdir()
    bare = write(tmp_path / "s3", S3_REC)
    assert not amazon("Tiny", bare).has_times
    with pytest.raises(BenchmarkError, match="has an order and no times, so nothing is tied; remove `ties: hash`"):
        amazon("Tiny", bare, ties="hash")
    with pytest.raises(BenchmarkError, match="amazon has no ties 'asin'"):
        amazon("Tiny", path, ties="asin")  # type: ignore[arg-type]


@pytest.mark.parametrize("files", [ORIGINAL, TABLES, S3_REC], ids=["original", "tables", "s3-rec"])
def test_by_number_all_formats_are_split_alike(tmp_path: Path, files: dict[str, str]) -> None:
    path = write(tmp_path, files)
    data = check_dataset(amazon, {"category": "Tiny", "path": path, "ids": "number"})
    ids = data.train.catalog.ids
    assert sorted(sorted(ids[data.train.histories[i]].tolist()) for i in range(2)) == [["1", "2", "3"], ["1", "3", "5"]]
    test = data.test["recommendation"]
    asked = {tuple(ids[test.requests.histories[i]].tolist()): ids[test.relevant[i]].tolist() for i in range(2)}
    assert asked == {("1", "2", "3", "4"): ["5"], ("3", "1", "5", "4"): ["2"]}


def test_the_first_of_several_formats_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, ORIGINAL | TABLES | S3_REC)
    assert amazon("Tiny", path).facts["files"] == ["reviews_Tiny_5.json", "meta_Tiny.json"]
    (tmp_path / "reviews_Tiny_5.json").unlink()
    assert amazon("Tiny", path).facts["files"] == ["sequences.tsv", "items.tsv"]
    with pytest.raises(MissingDataError, match="no original file"):
        amazon("Tiny", path, files="original")


@pytest.mark.parametrize("place", ["amazon14/Tiny", "Tiny"])
def test_a_category_lies_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / place).mkdir(parents=True)
    write(tmp_path / place, TABLES)
    monkeypatch.setenv("BENCHMARK_DATA", str(tmp_path))
    assert len(amazon("Tiny").catalog) == 5


def test_other_statistics_than_those_of_table_2_are_remarked(tmp_path: Path) -> None:
    remark = amazon("Beauty", write(tmp_path, TABLES)).facts["remark"]
    assert remark == (
        "not the data of Table 2 in Rajput 2023: users 2 instead of 22,363, items 5 instead of 12,101, "
        "mean length 5 instead of 8.87, median length 5 instead of 6"
    )


def test_reviews_may_be_python_literals_too(tmp_path: Path) -> None:
    lines = "".join(repr(json.loads(line)) + "\n\n" for line in ORIGINAL["reviews_Tiny_5.json"].splitlines())
    log = amazon("Tiny", write(tmp_path, ORIGINAL | {"reviews_Tiny_5.json": lines}))
    assert histories(log) == {u: [(i, t * DAY) for i, t in rows] for u, rows in HISTORIES.items()}


@pytest.mark.parametrize(
    ("files", "name", "old", "new", "message"),
    [
        (
            ORIGINAL,
            "reviews_Tiny_5.json",
            '{"reviewerID": "y", "asin": "A3"',
            '{"reviewerID',
            r"5\.json, line 6 is nei",
        ),
        (ORIGINAL, "reviews_Tiny_5.json", '"asin": "A6", ', "", r"line 14: a review needs reviewerID, asin, unixRev"),
        (ORIGINAL, "reviews_Tiny_5.json", '"y"', '"u"', ""),
        (ORIGINAL, "meta_Tiny.json", "'Comb', ", "'Comb, ", r"meta_Tiny\.json, line 4 is neither JSON nor the literal"),
        (ORIGINAL, "meta_Tiny.json", "'asin': 'A3', ", "", "line 3 has no asin: .*categories"),
        (TABLES, "sequences.tsv", "3 1 5 4 2", "3 1 x 4 2", r"sequences\.tsv, line 3: 'x' is not a whole number"),
        (TABLES, "sequences.tsv", "3 1 5 4 2", "3 1 5 4", r"sequences\.tsv, line 3: 4 items, but 5 gaps"),
        (TABLES, "sequences.tsv", "3 1 5 4 2", "", r"sequences\.tsv, line 3: whole numbers are missing"),
        (TABLES, "sequences.tsv", "3 1 5 4 2", "3 1 5 4 6", r"line 3: the item 6 is not in .*items\.tsv"),
        (TABLES, "sequences.tsv", "gaps", "times", "has no column gaps. It has user, reviewer, items, times"),
        (TABLES, "items.tsv", "7\tA7", "5\tA7", r"items\.tsv, line 7: '5' must be a whole number that no other"),
        (TABLES, "items.tsv", "7\tA7", "?\tA7", r"items\.tsv, line 7: '\?' must be a whole number"),
        (TABLES, "items.tsv", "Nowhere\t", "Nowhere\t\t\t\t\t", r"items\.tsv cannot be read as a table"),
        (S3_REC, "Tiny.txt", "5 4 2", "5 4 -2", r"Tiny\.txt, line 2: '-2' is not a whole number"),
        (S3_REC, "Tiny_item2attributes.json", "[9]", "9", "does not map items to lists of attributes"),
        (S3_REC, "Tiny_item2attributes.json", "}", "", "does not map items to lists of attributes"),
    ],
)
def test_a_broken_line_is_named(
    tmp_path: Path, files: dict[str, str], name: str, old: str, new: str, message: str
) -> None:
    assert old in files[name]
    path = write(tmp_path, files | {name: files[name].replace(old, new)})
    if not message:
        assert set(histories(amazon("Tiny", path))) == {"x", "u"}
        return
    with pytest.raises(BenchmarkError, match=message):
        amazon("Tiny", path)


def test_a_download_that_broke_off_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, ORIGINAL, zipped=True)
    whole = (tmp_path / "reviews_Tiny_5.json.gz").read_bytes()
    (tmp_path / "reviews_Tiny_5.json.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BenchmarkError, match=r"reviews_Tiny_5\.json\.gz cannot be read to its end"):
        amazon("Tiny", path)


@pytest.mark.parametrize(
    ("files", "missing"),
    [(ORIGINAL, "meta_Tiny.json"), (TABLES, "items.tsv"), (S3_REC, "Tiny_item2attributes.json")],
)
def test_the_second_file_is_asked_for_by_name(tmp_path: Path, files: dict[str, str], missing: str) -> None:
    path = write(tmp_path, {name: text for name, text in files.items() if name != missing})
    with pytest.raises(MissingDataError, match=f"needs {missing} in.*Get reviews_Tiny_5.json.gz and meta_Tiny.json.gz"):
        amazon("Tiny", path)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"category": "Toys_and_Games"}, "Toys_and_Games has no path. Get reviews_Toys_and_Games_5.json.gz"),
        ({"category": "Beauty", "path": "/nowhere"}, "the folder /nowhere does not exist. .*jmcauley.ucsd.edu/data/am"),
        (
            {"category": "Beauty", "path": str(Path(__file__).parent)},
            "no file of amazon Beauty. .*aHuiWang/CIKM2020-S3",
        ),
        ({"category": "Beauty", "ids": "row"}, "no ids 'row'. Known: asin, number"),
    ],
)
def test_errors_say_what_to_do(params: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCHMARK_DATA", raising=False)
    with pytest.raises(BenchmarkError, match=message):
        amazon(**params)


def test_no_user_with_five_reviews(tmp_path: Path) -> None:
    few = "".join(ORIGINAL["reviews_Tiny_5.json"].splitlines(keepends=True)[:3])
    with pytest.raises(BenchmarkError, match="has no user with five reviews"):
        amazon("Tiny", write(tmp_path, ORIGINAL | {"reviews_Tiny_5.json": few}))


@pytest.mark.parametrize(
    ("category", "users", "items", "interactions", "mean_length"),
    [
        ("Beauty", 22_363, 12_101, 198_502, 8.876),
        ("Sports_and_Outdoors", 35_598, 18_357, 296_337, 8.325),
        ("Toys_and_Games", 19_412, 11_924, 167_597, 8.634),
    ],
)
def test_real_data_has_the_statistics_of_table_2(
    category: str, users: int, items: int, interactions: int, mean_length: float
) -> None:
    path = DATA / "amazon14" / category
    if not path.is_dir():
        pytest.skip(f"amazon14/{category} is not in BENCHMARK_DATA")
    log = amazon(category, str(path))
    assert "remark" not in log.facts
    assert (len(log.users), len(log.catalog), len(log.user)) == (users, items, interactions)
    assert log.facts["mean_length"] == pytest.approx(mean_length, abs=5e-4)
    assert log.facts["median_length"] == 6
    assert log.facts["items_without_text"] == 0


@pytest.mark.skipif(not (DATA / "amazon14" / "Beauty").is_dir(), reason="amazon14/Beauty is not in BENCHMARK_DATA")
def test_the_numbers_of_real_items_say_nothing_about_their_rows(tmp_path: Path) -> None:
    """S3-Rec numbers items as histories meet them; rows follow a hash of the id, and two formats agree."""
    path = DATA / "amazon14" / "Beauty"
    logs = {"tables": amazon("Beauty", str(path), ids="number")}
    for name in ("Beauty.txt.gz", "Beauty_item2attributes.json.gz"):
        (tmp_path / name).symlink_to(path / name)
    logs["s3-rec"] = amazon("Beauty", str(tmp_path))
    splits = {name: split_log(name, log, Protocol()) for name, log in logs.items()}
    numbers = splits["tables"].train.catalog.ids.astype(int)
    assert abs(np.corrcoef(numbers, np.arange(len(numbers)))[0, 1]) < 0.03
    assert numbers.tolist() == splits["s3-rec"].train.catalog.ids.astype(int).tolist()
    tests = [split.test["recommendation"] for split in splits.values()]
    reviewers = {user: at for at, user in enumerate(logs["tables"].users)}
    targets = []
    for name, test in zip(splits, tests, strict=True):
        users = splits[name].train.users[test.requests.users]
        order = np.argsort([reviewers[u] if name == "tables" else int(u) - 1 for u in users])
        targets.append(test.relevant.take(order).values.tolist())
    assert targets[0] == targets[1]
