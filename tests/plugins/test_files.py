from __future__ import annotations

import gzip
import importlib.util
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from benchmark_files import benchmark_datasets, files

from benchmark import BenchmarkError, Log, MissingDataError
from benchmark.testing import check_dataset

DATA = Path(os.environ.get("BENCHMARK_DATA", Path(__file__).parents[2].parent / "shared" / "data"))

ITEMS = 'id,text,brand\na,"An apple, red",Tree\nb,,Tree\n007,A spy,MI6\n'
INTERACTIONS = "user,item,time\nx,a,10\nx,b,20\nx,007,30\ny,b,5\ny,a,6\ny,007,7\n"
QUERIES = "id,text\n1,fruit\n2,agent\n3,things\n"
RELEVANCE = "query,item,grade\n1,a,2\n2,007,1\n3,a,0.5\n3,b,0\n"
ALL = {
    "items.csv": ITEMS,
    "interactions.csv": INTERACTIONS,
    "queries.csv": QUERIES,
    "relevance.csv": RELEVANCE,
}


def write(folder: Path, contents: dict[str, str | bytes]) -> str:
    for name, content in contents.items():
        raw = content.encode() if isinstance(content, str) else content
        (folder / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return str(folder)


def rows(log: Log) -> list[tuple[str, str, int]]:
    names = zip(log.users[log.user], log.catalog.ids[log.item], log.time, strict=True)
    return [(str(user), str(item), int(time)) for user, item, time in names]


def judged(log: Log) -> list[tuple[str, str, float]]:
    names = zip(log.queries[log.query], log.catalog.ids[log.relevant], log.grade, strict=True)
    return [(str(query), str(item), float(grade)) for query, item, grade in names]


def test_hook() -> None:
    assert benchmark_datasets() == {"files": "benchmark_files:files"}


def test_tables(tmp_path: Path) -> None:
    path = write(tmp_path, {**ALL})
    log = files(path)
    assert log.catalog.ids.tolist() == ["a", "b", "007"]
    assert log.catalog.texts.tolist() == ["An apple, red", "", "A spy"]
    assert log.catalog.attributes["brand"].tolist() == ["Tree", "Tree", "MI6"]
    assert rows(log)[:3] == [("x", "a", 10), ("x", "b", 20), ("x", "007", 30)]
    assert judged(log) == [("fruit", "a", 2.0), ("agent", "007", 1.0), ("things", "a", 0.5), ("things", "b", 0.0)]
    assert log.query_ids.tolist() == ["1", "2", "3"]
    assert check_dataset(files, {"path": path}).tasks == ("recommendation", "search")


@pytest.mark.parametrize("ending", [".csv.gz", ".tsv", ".tsv.gz", ".parquet"])
def test_every_ending_reads_the_same(tmp_path: Path, ending: str) -> None:
    expected = files(write(tmp_path, {**ALL}))
    other = tmp_path / "other"
    other.mkdir()
    for name in ALL:
        table = pd.read_csv(tmp_path / name, dtype=str, keep_default_na=False)
        target = other / name.replace(".csv", ending)
        if ending == ".parquet":
            for column in ("time", "grade"):
                if column in table:
                    table[column] = pd.to_numeric(table[column])
            table.to_parquet(target)
        else:
            table.to_csv(target, sep="\t" if "tsv" in ending else ",", index=False)
    log = files(str(other))
    assert rows(log) == rows(expected)
    assert judged(log) == judged(expected)
    assert log.catalog.texts.tolist() == expected.catalog.texts.tolist()


def test_interactions_alone_make_a_catalogue(tmp_path: Path) -> None:
    log = files(write(tmp_path, {"interactions.csv": INTERACTIONS}))
    assert log.catalog.ids.tolist() == log.catalog.texts.tolist() == ["a", "b", "007"]
    assert len(log.queries) == 0


def test_names_and_columns_that_are_called_otherwise(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {
            "ratings.csv": "\ufeffuserId,asin,ts\nx,a,10\nx,b,20\n",
            "items.csv": "asin,title,id\na,An apple,1\nb,A bee,2\n",
            "queries.csv": "id,text\n1,fruit\n",
            "relevance.csv": "query,item\n1,a\n",
        },
    )
    columns = {"user": "userId", "item": "asin", "time": "ts", "items.id": "asin", "items.text": "title"}
    log = files(path, names={"interactions": "ratings.csv"}, columns=columns)
    assert rows(log) == [("x", "a", 10), ("x", "b", 20)]
    assert log.catalog.texts.tolist() == ["An apple", "A bee"]
    assert judged(log) == [("fruit", "a", 1.0)]  # relevance calls its column item, as we do


def test_times_are_seconds_or_dates(tmp_path: Path) -> None:
    times = "user,item,time\nx,a,1970-01-02\nx,b,1970-01-02T00:00:05\nx,c,1970-01-02T01:00:00+01:00\n"
    assert [t for _, _, t in rows(files(write(tmp_path, {"interactions.csv": times})))] == [86_400, 86_405, 86_400]
    late = "user,item,time\nx,a,1970-01-01\nx,b,9999-12-31\n"
    assert [t for _, _, t in rows(files(write(tmp_path, {"interactions.csv": late})))] == [0, 253_402_214_400]
    numbers = "user,item,time\nx,a,1.9\nx,b,2e3\n"
    assert [t for _, _, t in rows(files(write(tmp_path, {"interactions.csv": numbers})))] == [1, 2000]
    frame = pd.DataFrame({"user": ["x"], "item": ["a"], "time": pd.to_datetime(["1970-01-01T00:01:00"])})
    (tmp_path / "interactions.csv").unlink()
    frame.to_parquet(tmp_path / "interactions.parquet")
    assert rows(files(str(tmp_path))) == [("x", "a", 60)]


def test_the_order_of_the_file_can_take_the_place_of_times(tmp_path: Path) -> None:
    path = write(tmp_path, {"interactions.csv": "user,item\nx,b\nx,a\ny,a\nx,c\n"})
    log = files(path, ties="file")
    assert rows(log) == [("x", "b", 0), ("x", "a", 1), ("y", "a", 2), ("x", "c", 3)]
    assert log.ties == "file"


def test_a_split_column_becomes_the_split(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {
            "interactions.csv": "user,item,time,split\nx,a,1,train\nx,b,2,validation\nx,c,3,test\n",
            "queries.csv": "id,text,split\n1,fruit,TEST\n2,tree,train\n3,leaf,valid\n",
            "relevance.csv": "query,item\n1,a\n2,b\n3,c\n",
        },
    )
    log = files(path)
    assert log.interaction_part is not None
    assert log.interaction_part.tolist() == [0, 1, 2]
    assert log.query_part is not None
    assert log.query_part.tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"interactions.csv": "userId,item,time\nx,a,1\n"}, "no column 'user'. Did you mean 'userId'"),
        ({"interactions.csv": "user,item\nx,a\n"}, "no column 'time'.* give ties: file"),
        ({"interactions.csv": "user,item,time\nx,a,1\nx,b,soon\n"}, "time 'soon' in row 2 is not a number of seconds"),
        ({"interactions.csv": "user,item,time\nx,a,2020-01-01\nx,b,\n"}, "time '' in row 2 is not an ISO 8601 date"),
        ({"interactions.csv": "user,item,time\nx,a,-1\n"}, "the time '-1' in row 1"),
        ({"interactions.csv": "user,item,time\nx,a,\nx,b,1000-01-01\n"}, "the time '' in row 1"),
        ({"interactions.csv": "user,item,time\n,a,1\n"}, "'user' is empty in row 1"),
        ({"interactions.csv": "user,item,time\nx,z,1\nx,z,2\nx,w,2\n"},
         "3 rows name an unknown item, not in items.csv; the first: 'z', 'w'"),
        ({"interactions.csv": "user,item,time,split\nx,a,1,train\nx,b,2,test\n"}, "the split 'valid' is empty"),
        ({"interactions.csv": "user,item,time,split\nx,a,1,learn\n"},
         "the split 'learn' in row 1 is not train, valid or test"),
        ({"interactions.csv": "user,item,time\n"}, "interactions.csv has no rows"),
        ({"interactions.csv": ""}, "interactions.csv cannot be read as a table"),
        ({"items.csv": "id,text\na,1\nb,2\na,3\n"}, "items.csv has 1 ids more than once; the first: 'a'"),
        ({"items.csv": "id,name\na,1\n"}, "items.csv has no column 'text'.* It has: id, name"),
        ({"relevance.csv": "query,item\n1,a\n9,a\n"}, "name an unknown query, not in queries.csv; the first: '9'"),
        ({"relevance.csv": "query,item,grade\n1,a,good\n"}, "the grade 'good' in row 1 is not a number"),
        ({"relevance.csv": None}, "queries.csv needs a table 'relevance'"),
        ({"queries.csv": None}, "relevance.csv needs a table 'queries'"),
        ({"interactions.csv": None, "queries.csv": None, "relevance.csv": None}, "there are items only"),
        (dict.fromkeys(ALL), "none of the files items, interactions, queries, relevance, searches .* there is nothing"),
        ({"items.tsv": "id\ttext\n"}, "several files for items: items.csv, items.tsv"),
    ],
)  # fmt: skip
def test_errors_name_file_row_and_remedy(tmp_path: Path, changes: dict[str, str | None], message: str) -> None:
    contents = {name: content for name, content in {**ALL, **changes}.items() if content is not None}
    with pytest.raises(BenchmarkError, match=message):
        files(write(tmp_path, {**contents}))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"path": "/nowhere"}, "the path /nowhere does not exist"),
        ({"path": __file__}, "is a file; give its folder"),
        ({"names": {"interaction": "x"}}, "names has the unknown key 'interaction'. Did you mean 'interactions'"),
        ({"names": {"items": "item.csv"}}, "does not exist. Did you mean 'items.csv'"),
        ({"columns": {"usr": "x"}}, "columns has the unknown key 'usr'. Did you mean 'user'"),
        ({"columns": {"interactions.user": "uid"}}, "has no column 'uid'"),
        ({"format": "recbole"}, "has no .inter file"),
        ({"format": "trec"}, "has no file for the qrels"),
    ],
)
def test_errors_of_parameters(tmp_path: Path, params: dict[str, Any], message: str) -> None:
    path = write(tmp_path, {**ALL})
    with pytest.raises(BenchmarkError, match=message) as refused:
        files(**{"path": path, **params})
    assert (refused.type is MissingDataError) == (params.get("path") == "/nowhere")


def test_unknown_rows_can_be_dropped(tmp_path: Path) -> None:
    path = write(
        tmp_path, {**ALL, "interactions.csv": INTERACTIONS + "y,z,8\n", "relevance.csv": RELEVANCE + "9,a,1\n"}
    )
    log = files(path, unknown="drop")
    assert (len(log.user), len(log.query)) == (6, 4)
    assert log.facts["rows_of_unknown_item_dropped"] == 1
    assert log.facts["rows_of_unknown_query_dropped"] == 1


INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\nu1\t1\t3\t881250949.0\nu1\t2\t4\t881250950\n"
ITEM = (
    'item_id:token\ttitle:token_seq\tyear:token\tclass:token_seq\n1\tToy "Story\t1995\tComedy Drama\n2\tTron\t1982\t\n'
)
SEARCHES = "user,query,item,time\nx,Red fruit,a,19\nx,  red FRUIT ,b,19\ny,spies,,6\nz,FRUIT,,50\n"


def searched(log: Log) -> list[tuple[str, str, str, int]]:
    """User, query, item ("" for none) and time of every row."""
    assert log.searches is not None
    s = log.searches
    items = [str(log.catalog.ids[item]) if item >= 0 else "" for item in s.item]
    names = zip(log.users[s.user], log.queries[s.query], items, s.time, strict=True)
    return [(str(user), str(query), item, int(time)) for user, query, item, time in names]


def test_searches_make_a_joint_log(tmp_path: Path) -> None:
    log = files(write(tmp_path, {**ALL, "searches.csv": SEARCHES}))
    assert searched(log) == [
        ("x", "Red fruit", "a", 19),
        ("x", "Red fruit", "b", 19),  # the same query, as it was first written
        ("y", "spies", "", 6),
        ("z", "fruit", "", 50),  # as in the table of queries; z has no interaction
    ]
    assert log.users.tolist() == ["x", "y", "z"]
    assert log.query_ids.tolist() == ["fruit", "agent", "things", "red fruit", "spies"]
    assert judged(log) == [("fruit", "a", 2.0), ("agent", "007", 1.0), ("things", "a", 0.5), ("things", "b", 0.0)]
    assert rows(log) == rows(files(write(tmp_path, {**ALL})))
    assert "searches.csv" in log.facts["source"]


def test_searches_and_interactions_are_enough(tmp_path: Path) -> None:
    """No items, queries or relevance; a column of another name; dates; a Parquet file with empty items."""
    clicks = "".join(f"u{u},i{u + t},2024-05-0{t + 1}\n" for u in range(6) for t in range(5))
    found = "".join(f"u{u},words {t % 2},i{u + t},2024-05-0{t + 1}T10:00\n" for u in range(6) for t in range(4))
    found += "u0,nothing,,2024-05-09\nu1,words 0,new,2024-04-09\n"
    path = write(
        tmp_path, {"interactions.csv": "user,item,time\n" + clicks, "searches.csv": "who,query,item,time\n" + found}
    )
    data = check_dataset(files, {"path": path, "columns": {"searches.user": "who"}})
    assert data.tasks == ("recommendation", "search")
    assert "new" in data.train.catalog.ids
    assert data.train.events is not None
    assert (data.facts["interactions"], data.facts["searches"], data.facts["search_clicks"]) == (30, 26, 25)
    other = tmp_path / "other"
    other.mkdir()
    table = pd.read_csv(tmp_path / "searches.csv")
    table["time"] = pd.to_datetime(table["time"], format="ISO8601")
    table.rename(columns={"who": "user"}).to_parquet(other / "searches.parquet")
    again = files(write(other, {"interactions.csv": "user,item,time\n" + clicks}))
    assert searched(again) == searched(files(path, columns={"searches.user": "who"}))


def test_numbers_stay_ids_where_a_search_found_nothing(tmp_path: Path) -> None:
    """A column of numbers with a gap is one of floats in Parquet."""
    table = pd.DataFrame({"user": [1, 1], "query": ["red", "green"], "item": [7, None], "time": [5, 6]})
    assert table["item"].dtype == "float64"
    table.to_parquet(tmp_path / "searches.parquet")
    pd.DataFrame({"user": [1, 1], "item": [7, 8], "time": [5, 6]}).to_parquet(tmp_path / "interactions.parquet")
    log = files(str(tmp_path))
    assert log.catalog.ids.tolist() == ["7", "8"]
    assert searched(log) == [("1", "red", "7", 5), ("1", "green", "", 6)]


def test_the_split_of_searches(tmp_path: Path) -> None:
    given = "user,query,item,time,split\nx,q,a,1,train\nx,r,b,2,valid\ny,q,a,3,test\n"
    log = files(write(tmp_path, {"interactions.csv": INTERACTIONS, "searches.csv": given}))
    assert log.searches is not None
    assert log.searches.part is not None
    assert log.searches.part.tolist() == [0, 1, 2]
    assert log.interaction_part is None


def test_searches_of_unknown_items_can_be_dropped(tmp_path: Path) -> None:
    contents = {**ALL, "searches.csv": SEARCHES + "x,fruit,z,1\nx,fruit,a,\n"}
    log = files(write(tmp_path, contents), unknown="drop")
    assert len(searched(log)) == 4
    assert (log.facts["rows_of_unknown_item_dropped"], log.facts["rows_without_time_dropped"]) == (1, 1)


def test_searches_beside_the_files_of_recbole(tmp_path: Path) -> None:
    contents = {"x.inter": INTER, "x.item": ITEM, "searches.csv": "user,query,item,time\nu1,tron,2,5\n"}
    assert searched(files(write(tmp_path, contents), format="recbole")) == [("u1", "tron", "2", 5)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"searches.csv": "user,text,item,time\nx,red,a,1\n"}, "searches.csv has no column 'query'.* It has: user, te"),
        ({"searches.csv": "user,query,time\nx,red,1\n"}, "searches.csv has no column 'item'"),
        ({"searches.csv": "user,query,item\nx,red,a\n"}, "no column 'time'.* without searches, give ties: file"),
        ({"searches.csv": "user,query,item,time\nx,red,a,1\nx,red,a,soon\n"}, "searches.csv: the time 'soon' in row 2"),
        ({"searches.csv": "user,query,item,time\nx,red,z,1\n"}, "searches.csv: 1 rows name an unknown item.*: 'z'"),
        ({"searches.csv": "user,query,item,time\nx,red,a,1\nx, ,a,1\n"}, "'query' is empty in row 2"),
        ({"searches.csv": "user,query,item,time\n,red,a,1\n"}, "'user' is empty in row 1"),
        ({"searches.csv": "user,query,item,time\n"}, "searches.csv has no rows"),
        ({"interactions.csv": None}, "searches.csv needs a table 'interactions'"),
        ({"queries.csv": QUERIES.replace("\n", ",train\n").replace("text,train", "text,split")},
         "queries.csv has a column 'split', but with searches.csv"),
    ],
)  # fmt: skip
def test_errors_of_searches(tmp_path: Path, changes: dict[str, str | None], message: str) -> None:
    given = {**ALL, "searches.csv": SEARCHES, **changes}
    with pytest.raises(BenchmarkError, match=message):
        files(write(tmp_path, {name: content for name, content in given.items() if content is not None}))


def test_interactions_beside_searches_need_times(tmp_path: Path) -> None:
    path = write(
        tmp_path, {"interactions.csv": "user,item\nx,a\n", "searches.csv": "user,query,item,time\nx,red,a,1\n"}
    )
    with pytest.raises(BenchmarkError, match=r"interactions\.csv has no column 'time'"):
        files(path, ties="file")


def test_recbole(tmp_path: Path) -> None:
    log = files(write(tmp_path, {"x.inter": INTER, "x.item": ITEM}), format="recbole")
    assert rows(log) == [("u1", "1", 881250949), ("u1", "2", 881250950)]
    assert log.catalog.texts.tolist() == ['Toy "Story. Comedy Drama', "Tron"]
    assert log.catalog.attributes["year"].tolist() == ["1995", "1982"]
    log = files(str(tmp_path), format="recbole", columns={"text": "year"})
    assert log.catalog.texts.tolist() == ["1995", "1982"]


def test_recbole_with_its_own_split_and_queries(tmp_path: Path) -> None:
    header = "user_id:token\titem_id:token\ttimestamp:float\n"
    contents = {f"x.{part}.inter": f"{header}u\t{i}\t{i}\n" for i, part in enumerate(("train", "valid", "test"))}
    log = files(write(tmp_path, {**contents, "queries.csv": QUERIES, "relevance.csv": "query,item\n1,2\n"}), "recbole")
    assert rows(log) == [("u", "0", 0), ("u", "1", 1), ("u", "2", 2)]
    assert log.interaction_part is not None
    assert log.interaction_part.tolist() == [0, 1, 2]
    assert judged(log) == [("fruit", "2", 1.0)]


def test_recbole_errors(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="the column 'item_id' has no type"):
        files(write(tmp_path, {"x.inter": "user_id:token\titem_id\nu\t1\n"}), format="recbole")
    with pytest.raises(BenchmarkError, match=r"no column 'timestamp'\. Did you mean 'time'"):
        files(write(tmp_path, {"x.inter": "user_id:token\titem_id:token\ttime:float\nu\t1\t2\n"}), format="recbole")
    with pytest.raises(BenchmarkError, match=r"x\.item has no rows"):
        files(write(tmp_path, {"x.inter": INTER, "x.item": ITEM.partition("\n")[0]}), format="recbole")


def test_recbole_reads_the_example_of_recbole() -> None:
    package = importlib.util.find_spec("recbole")
    assert package is not None
    assert package.submodule_search_locations
    path = Path(package.submodule_search_locations[0]) / "dataset_example" / "ml-100k"
    data = check_dataset(files, {"path": str(path), "format": "recbole"})
    assert data.facts["interactions"] == 100_000


DOCS = "<DOC>\n<DOCNO> d1 </DOCNO>\n<TEXT>red\n apples &amp; pears</TEXT>\n</DOC>\n<DOC><DOCNO>d2</DOCNO>spies</DOC>\n"
TOPICS = (
    "<top>\n<num> Number: 301\n<title> Topic: Fruit to\neat\n<desc> Description:\nlong\n</top>\n"
    "<top><num>2</num><title>agents</title></top>"
)


@pytest.mark.parametrize(
    ("documents", "name"),
    [
        (DOCS, "docs.trec"),
        (DOCS, "docs.trec.gz"),
        ("d1\tred apples & pears\nd2\tspies\n", "collection.tsv"),
        ('{"_id": "d1", "title": "red", "text": "apples & pears"}\n{"docno": "d2", "contents": "spies"}\n',
         "corpus.jsonl"),
    ],
)  # fmt: skip
def test_trec(tmp_path: Path, documents: str, name: str) -> None:
    path = write(tmp_path, {name: documents, "topics.txt": TOPICS, "qrels.txt": "301 0 d1 2\n2 0 d2 1\n2 0 d1 -1\n"})
    log = files(path, format="trec")
    assert log.catalog.ids.tolist() == ["d1", "d2"]
    assert log.catalog.texts.tolist() == ["red apples & pears", "spies"]
    assert judged(log) == [("Fruit to eat", "d1", 2.0), ("agents", "d2", 1.0), ("agents", "d1", -1.0)]


def test_trec_lines_end_at_line_feeds_alone(tmp_path: Path) -> None:
    documents = '{"id": "d1", "text": "red\u2028apples\x85"}\r\n\r\n{"id": "d2", "text": "spies"}\r\n'
    qrels = "1 0 d1 2\r\n1 0 d2 1\r\n"
    path = write(tmp_path, {"docs.jsonl": documents, "topics.txt": "1\tfruit\r\n", "qrels.txt": qrels})
    log = files(path, format="trec")
    assert log.catalog.texts.tolist() == ["red apples", "spies"]
    assert judged(log) == [("fruit", "d1", 2.0), ("fruit", "d2", 1.0)]


def test_trec_documents_in_a_folder_and_topics_in_lines(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    write(tmp_path / "docs", {"1.gz": DOCS, "2.gz": "d3\tlatin"})
    path = write(tmp_path, {"queries.tsv": "7\tall of\tthem\n", "my.qrels": "7 0 d3 1\n"})
    log = files(path, format="trec")
    assert log.catalog.ids.tolist() == ["d1", "d2", "d3"]
    assert judged(log) == [("all of them", "d3", 1.0)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"qrels": "1 0 d1\n"}, "qrels, line 1: a judgement has four columns .* not 3"),
        ({"qrels": "1 0 d9 1\n"}, "1 rows name an unknown item, not in docs; the first: 'd9'"),
        ({"docs": '{"id": "d1"}\n'}, "docs, line 1 is not a JSON object with an id"),
        ({"docs": "<DOC>no number</DOC>"}, "a document has no <DOCNO>; it begins with 'no number'"),
        ({"topics": "<top><num>1</num></top>"}, "a topic has no <num> or no <title>"),
        ({"topics": "1 fruit\n"}, "topics, line 1 has no tab between id and text: '1 fruit'"),
        ({"topics2": "1\tfruit\n"}, "several files for topics: topics, topics2"),
    ],
)
def test_trec_errors(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    path = write(tmp_path, {"docs": "d1\tred\n", "topics": "1\tfruit\n", "qrels": "1 0 d1 1\n", **changes})
    with pytest.raises(BenchmarkError, match=message):
        files(path, format="trec")


@pytest.mark.skipif(not (DATA / "ir-small").is_dir(), reason="ir-small is not in BENCHMARK_DATA")
def test_vaswani() -> None:
    data = check_dataset(files, {"path": str(DATA / "ir-small" / "vaswani_npl"), "format": "trec"})
    assert (len(data.train.catalog), data.facts["queries"]) == (11_429, 93)
    assert data.facts["relevant_per_query"] == pytest.approx(2083 / 93)


@pytest.mark.skipif(not (DATA / "amazon14_joint").is_dir(), reason="amazon14_joint is not in BENCHMARK_DATA")
def test_amazon_items_with_quotation_marks() -> None:
    folder = DATA / "amazon14_joint" / "Cell_Phones_and_Accessories"
    columns = {"user": "reviewer", "item": "asin", "items.id": "asin", "queries.id": "query"}
    relevance = {"relevance": "search_train.tsv.gz"}
    with pytest.raises(BenchmarkError, match="the time '' in row"):  # the times of 30 % of the rows are not published
        files(str(folder), names=relevance, columns=columns)
    log = files(str(folder), names=relevance, columns=columns, unknown="drop")
    assert (len(log.catalog), len(log.queries), log.facts["rows_without_time_dropped"]) == (10_414, 165, 57_128)


DAT = {
    "ratings.dat": "1::10::4::100\n1::20::1::101\n2::10::3::50\n",
    "movies.dat": '10::Misérables, Les: "The Film" (1995)::Drama|Musical\n20::Tron (1982)::Sci-Fi\n'.encode("latin-1"),
}
DAT_PARAMS: dict[str, Any] = {
    "names": {"interactions": "ratings.dat", "items": "movies.dat"},
    "columns": {"user": 1, "item": 2, "rating": 3, "time": 4, "items.id": 1, "items.text": 2},
    "header": False,
}


def test_movielens_1m_is_read_as_it_comes(tmp_path: Path) -> None:
    path = write(tmp_path, DAT)
    log = files(path, **DAT_PARAMS)
    assert rows(log) == [("1", "10", 100), ("1", "20", 101), ("2", "10", 50)]
    assert log.catalog.texts.tolist() == ['Misérables, Les: "The Film" (1995)', "Tron (1982)"]
    assert log.has_times
    assert rows(files(path, **DAT_PARAMS, min_rating=3)) == [("1", "10", 100), ("2", "10", 50)]
    with pytest.raises(BenchmarkError, match="min_rating 5 leaves no interaction; the highest rating is 4"):
        files(path, **DAT_PARAMS, min_rating=5)
    with pytest.raises(BenchmarkError, match=r"no column 'id'.*not a header, give header: false"):
        files(path, names=DAT_PARAMS["names"])


@pytest.mark.parametrize(
    ("name", "sep"),
    [("interactions.csv", ";"), ("interactions.dat", "::"), ("interactions.dat.gz", "::"), ("interactions.txt", "\t"),
     ("interactions.txt", "|"), ("interactions.tsv", "\t"), ("interactions.csv", ",")],
)  # fmt: skip
def test_delimiters_are_recognised_by_the_first_line(tmp_path: Path, name: str, sep: str) -> None:
    assert rows(files(write(tmp_path, {name: INTERACTIONS.replace(",", sep)})))[0] == ("x", "a", 10)


def test_a_delimiter_that_the_first_line_hides_is_given(tmp_path: Path) -> None:
    path = write(tmp_path, {"interactions.csv": "user^item^time,s\nx^a^10\nx^b^20\n"})
    with pytest.raises(BenchmarkError, match=r"cannot be read as a table: .*params: \{sep: …\}"):
        files(path)
    assert rows(files(path, sep="^", columns={"time": "time,s"})) == [("x", "a", 10), ("x", "b", 20)]
    with pytest.raises(BenchmarkError, match="sep and header are for the format tables"):
        files(path, format="trec", sep=";", names=dict.fromkeys(("topics", "qrels"), "interactions.csv"))


def test_an_order_is_not_a_time(tmp_path: Path) -> None:
    log = files(write(tmp_path, {"interactions.csv": "user,item\nx,b\nx,a\ny,a\nx,c\n"}), ties="file")
    assert not log.has_times
    assert not files(
        write(tmp_path, {"a.inter": "user_id:token\titem_id:token\nx\ta\n"}), "recbole", ties="file"
    ).has_times
    assert files(write(tmp_path, {"interactions.csv": INTERACTIONS}), ties="file").has_times


# Users u, v, w have a, b and c (w: c by a low rating); x has a and d; d has one more, of y, who has nothing else.
CORE = {
    "items.csv": "id,text\n" + "".join(f"{i},item {i}\n" for i in "abcde"),
    "interactions.csv": "user,item,time,rating\n"
    + "".join(f"{user},{item},{t},{1 if user + item == 'wc' else 5}\n" for t, (user, item) in enumerate(
        [*((u, i) for u in "uvw" for i in "abc"), ("x", "a"), ("x", "d"), ("y", "d")])),
    "queries.csv": "id,text\n1,first\n2,last\n",
    "relevance.csv": "query,item\n1,a\n1,d\n2,e\n",
}  # fmt: skip


def test_the_core_is_what_is_left_when_no_user_and_no_item_has_too_few(tmp_path: Path) -> None:
    path = write(tmp_path, {**CORE})
    whole = files(path)
    assert (len(whole.users), len(whole.catalog), len(whole.user)) == (5, 5, 12)
    # y has one interaction; without it d has one, without d x has one.
    log = files(path, min_user_interactions=2, min_item_interactions=2)
    assert sorted({user for user, _, _ in rows(log)}) == log.users.tolist() == ["u", "v", "w"]
    assert log.catalog.ids.tolist() == ["a", "b", "c"]
    assert log.catalog.texts.tolist() == ["item a", "item b", "item c"]
    assert judged(log) == [("first", "a", 1.0)]
    assert log.facts["interactions_outside_core_dropped"] == 3
    assert (log.facts["users_outside_core_dropped"], log.facts["items_outside_core_dropped"]) == (2, 2)
    # Ratings first: c then has two, which three of each are not.
    log = files(path, min_user_interactions=2, min_item_interactions=3, min_rating=2)
    assert log.catalog.ids.tolist() == ["a", "b"]
    assert log.facts["rows_below_min_rating_dropped"] == 1
    few = files(path, min_user_interactions=3)  # items stay, however few they have
    assert (few.users.tolist(), len(few.catalog)) == (["u", "v", "w"], 5)


def test_the_core_holds_for_searches_too(tmp_path: Path) -> None:
    searches = "user,query,item,time\nu,red,a,1\nu,blue,,2\ny,red,a,3\nv,green,d,4\n"
    log = files(write(tmp_path, {**CORE, "searches.csv": searches}), min_user_interactions=2, min_item_interactions=2)
    assert log.searches is not None
    found = zip(log.users[log.searches.user], log.queries[log.searches.query], log.searches.item, strict=True)
    assert [(str(user), str(query), int(item)) for user, query, item in found] == [("u", "red", 0), ("u", "blue", -1)]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"min_user_interactions": 9}, "no interaction is left where every user has 9 and every item 0"),
        ({"min_item_interactions": -1}, "min_item_interactions is -1; give 0 or more"),
        (
            {"min_rating": 3, "columns": {"interactions.rating": "stars"}},
            r"no column 'stars'.*It has: user, item, time",
        ),
    ],
)
def test_mistakes_of_a_selection_are_named(tmp_path: Path, params: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchmarkError, match=message):
        files(write(tmp_path, {**CORE}), **params)
    with pytest.raises(BenchmarkError, match="the rating 'good' in row 1 is not a number"):
        files(write(tmp_path, {"interactions.csv": "user,item,time,rating\nx,a,1,good\n"}), min_rating=1)
    with pytest.raises(BenchmarkError, match="has no rows"):
        files(write(tmp_path, {"interactions.csv": "user,item,time,rating\n"}), min_rating=1)
    queries = {name: CORE[name] for name in ("items.csv", "queries.csv", "relevance.csv")}
    (tmp_path / "q").mkdir()
    for wrong in ({"min_rating": 1.0}, {"min_user_interactions": 2}):
        with pytest.raises(BenchmarkError, match="there are n"):
            files(write(tmp_path / "q", {**queries}), **wrong)  # type: ignore[arg-type]
