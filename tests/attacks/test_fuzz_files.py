"""Whatever lies in the folder of the data set plugin `files`, it becomes a data set that can be stored and read again,
or a BenchmarkError that says why not; the folder is left as it was."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import FUZZ
from hypothesis import event, given
from hypothesis import strategies as st

from benchmark import BenchmarkError
from benchmark.data.protocol import Protocol
from benchmark.data.split import split_log
from benchmark.plugins import Offer, build, check_params, load
from benchmark.results.datasets import load_dataset, save_dataset

Contents = dict[str, bytes]

ODD = (
    *(
        "",
        " ",
        "0",
        "-1",
        "1.5",
        "1e400",
        "nan",
        "inf",
        "99999999999999999999",
        "0x10",
        "1_000",
        "١",
        "\\N",
        "NULL",
        "None",
    ),
    *("2020-02-30", "2020-01-01T00:00:00+25:00", "1677-01-01", "9999-12-31", "=1+1", "user", "id", "train", "test"),
    *(
        '"',
        '""',
        "'",
        "a,b",
        "x\ty",
        "::",
        ";",
        "|",
        "\x00",
        "\x1f",
        "\r",
        "\n",
        "\ufeff",
        "é",
        "\u2028",
        "日本",
        "\x85",
    ),
)
odd = st.sampled_from(ODD)
IDS = ["a", "b", "c", "d", "007", "1", "1.0"]
ids = st.sampled_from(IDS)
times = st.integers(0, 10**10).map(str)
SCHEMA: dict[str, dict[str, st.SearchStrategy[str]]] = {
    "interactions": {"user": ids, "item": ids, "time": times, "rating": st.sampled_from(["1", "5", "3.5"])},
    "items": {"id": ids, "text": st.sampled_from(["red lamp", "a, b", ""]), "brand": odd},
    "queries": {"id": ids, "text": st.sampled_from(["lamp", "red"])},
    "relevance": {"query": ids, "item": ids, "grade": st.sampled_from(["1", "0", "2.5"])},
    "searches": {"user": ids, "query": st.sampled_from(["lamp", "Red"]), "item": ids | st.just(""), "time": times},
}
splits = st.sampled_from(["train", "valid", "test", "TEST", "dev"])


@st.composite
def rows(draw: st.DrawFn, role: str) -> tuple[list[str], list[list[str]]]:
    """A header and rows for a table: now and then a column is missing, called otherwise or there twice, a row too
    short, or a value odd."""
    columns = dict(SCHEMA[role])
    if role == "interactions" and draw(st.integers(0, 9)) == 0:
        columns["split"] = splits
    header = list(columns)
    if draw(st.integers(0, 7)) == 0:
        header = draw(st.permutations(header))
    if role in ("items", "queries"):  # whose ids stand once
        table = [[one if name == "id" else draw(columns[name]) for name in header] for one in IDS]
    else:
        table = [[draw(columns[name]) for name in header] for _ in range(draw(st.integers(0, 20)))]
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2]))):
        how = draw(st.sampled_from(["value", "value", "value", "short", "long", "header"]))
        row = draw(st.sampled_from(table)) if table else header
        place = draw(st.integers(0, max(0, len(row) - 1)))
        if how == "header":
            header = [*header[:place], draw(odd), *header[place + 1 :]]
        elif how == "short":
            del row[place:]
        elif how == "long":
            row.append(draw(odd))
        elif row:
            row[place] = draw(odd | st.text(max_size=4))
    return header, table


@st.composite
def encoded(draw: st.DrawFn, header: list[str], table: list[list[str]], sep: str, head: bool) -> bytes:
    """The bytes of a table, in some encoding, now and then cut off or with a byte changed."""
    text = io.StringIO()
    every = [header, *table] if head else table
    if sep in (",", ";") and draw(st.integers(0, 3)):
        csv.writer(text, delimiter=sep).writerows(every)
    else:
        end = draw(st.sampled_from(["\n", "\n", "\r\n", "\r"]))
        text.write("".join(sep.join(row) + end for row in every))
    coding = draw(st.sampled_from([*["utf-8"] * 12, "utf-8-sig", "latin-1", "utf-16", "cp1252"]))
    return draw(damaged(text.getvalue().encode(coding, errors="surrogatepass" if "utf" in coding else "replace")))


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    how = draw(st.sampled_from(["whole"] * 40 + ["cut", "byte", "byte", "empty"]))
    place = draw(st.integers(0, max(0, len(content) - 1)))
    if how == "cut":
        return content[:place]
    if how == "byte":
        return content[:place] + draw(st.binary(max_size=3)) + content[place + 1 :]
    return b"" if how == "empty" else content


@st.composite
def packed(draw: st.DrawFn, name: str, content: bytes) -> tuple[str, bytes]:
    """As it is, gzipped, cut off after that, or gzipped by name only."""
    how = draw(st.sampled_from(["plain"] * 15 + ["gz"] * 5 + ["cut", "lie"]))
    if how == "plain":
        return name, content
    small = content if how == "lie" else gzip.compress(content, mtime=0)
    return f"{name}.gz", small[: len(small) // 2] if how == "cut" else small


@st.composite
def tables(draw: st.DrawFn) -> tuple[Contents, dict[str, Any]]:
    """A folder in the format tables, and the parameters that read it."""
    sep = draw(st.sampled_from([",", ",", ",", "\t", ";", "|", "::", "\x01"]))
    head = draw(st.integers(0, 9)) > 0
    contents: Contents = {}
    roles = draw(st.sampled_from([
        ["interactions"], ["interactions", "items"], ["queries", "relevance", "items"], ["queries", "relevance"],
        ["interactions", "items", "queries", "relevance"], ["interactions", "searches"], list(SCHEMA),
    ]))  # fmt: skip
    for role in roles:
        header, table = draw(rows(role))
        ending = {",": "csv", "\t": "tsv"}.get(sep, "dat")
        if draw(st.integers(0, 9)) == 0:
            ending = draw(st.sampled_from(["csv", "tsv", "txt"]))
        name, content = draw(packed(f"{role}.{ending}", draw(encoded(header, table, sep, head))))
        contents[name] = content
    params: dict[str, Any] = {} if head else {"header": False}
    if sep == "\x01" or draw(st.booleans()):
        params["sep"] = sep
    return contents, {**params, **draw(options)}


options = st.just({}) | st.just({"unknown": "drop"}) | st.fixed_dictionaries(
    {},
    optional={
        "ties": st.sampled_from(["hash", "file"]),
        "unknown": st.sampled_from(["error", "drop"]),
        "min_rating": st.sampled_from([0.0, 3.0, 1e300, float("nan")]),
        "min_user_interactions": st.sampled_from([-1, 0, 2, 10**9]),
        "min_item_interactions": st.sampled_from([0, 2, 2**40]),
        "columns": st.dictionaries(
            st.sampled_from(["user", "item", "items.id", "time", "x", "text"]), st.sampled_from(["user", "1", "no", 2])
        ),
        "names": st.dictionaries(
            st.sampled_from(["interactions", "items", "x"]),
            st.sampled_from(["items.csv", "no", "..", "", "interactions.csv"]),
        ),
        "sep": st.sampled_from(["", ",", "  ", "\\", "\n", "^", "a", "日", "\x1f", '"']),
    },
)  # fmt: skip


@st.composite
def recbole(draw: st.DrawFn) -> tuple[Contents, dict[str, Any]]:
    """RecBole's atomic files."""
    types = {
        "inter": {"user_id": "token", "item_id": "token", "timestamp": "float", "rating": "float"},
        "item": {"item_id": "token", "title": "token_seq", "class": "token"},
    }
    contents: Contents = {}
    named = {
        "user_id": ids, "item_id": ids, "timestamp": times, "rating": st.just("3"), "title": odd, "class": odd,
    }  # fmt: skip
    for part in draw(
        st.sampled_from([["inter"], ["inter", "item"], ["item"], ["train.inter", "valid.inter", "test.inter"]])
    ):
        columns = types[part.rpartition(".")[2]]
        header = [f"{name}:{kind}" for name, kind in columns.items()]
        if draw(st.integers(0, 5)) == 0:
            header[draw(st.integers(0, len(header) - 1))] = draw(odd | st.just("user_id:token"))
        table = [[draw(named[name]) for name in columns] for _ in range(draw(st.integers(0, 20)))]
        if part == "item":
            table = [[one, *row[1:]] for one, row in zip(IDS, table, strict=False)]
        if table and draw(st.integers(0, 3)) == 0:
            table[0][draw(st.integers(0, len(columns) - 1))] = draw(odd)
        contents[f"shop.{part}"] = draw(encoded(header, table, "\t", True))
    return contents, {"format": "recbole", **draw(options)}


@st.composite
def trec(draw: st.DrawFn) -> tuple[Contents, dict[str, Any]]:
    """Topics, qrels and documents, each in one of the forms that they may have."""
    texts = st.sampled_from(["red lamp", "&amp; &#x110000;", "a <b>", ""])
    if draw(st.integers(0, 4)) == 0:
        texts |= odd
    some = st.lists(texts, min_size=draw(st.sampled_from([5, 5, 0])), max_size=len(IDS)).map(
        lambda texts: list(zip(IDS, texts, strict=False))
    )
    good, bad = ["<top><num> Number: {0} <title>{1}</top>\n", "{0}\t{1}\n"], ["<top>{1}", "{0} {1}\n", "{1}\t{0}\n"]
    topics = draw(st.sampled_from([*good * 4, *bad]))
    good, bad = ["<DOC><DOCNO>{0}</DOCNO>{1}</DOC>\n", "{0}\t{1}\n", "json"], ["json list", "<DOC>{1}</DOC>", "{{{0}\n"]
    document = draw(st.sampled_from([*good * 4, *bad]))

    def filled(form: str, pairs: list[tuple[str, str]]) -> str:
        if form.startswith("json"):
            whole = [{"id": n, "text": t} if form == "json" else [n, t] for n, t in pairs]
            return "\n".join(json.dumps(one) for one in whole)
        return "".join(form.format(*pair) for pair in pairs)

    grades = st.sampled_from([*["1", "0", "2"] * 20, "-1", "x", "", "1e999"])
    judged = draw(st.lists(st.tuples(ids, ids, grades), min_size=draw(st.sampled_from([5, 5, 0])), max_size=12))
    written = {
        "topics.txt": filled(topics, draw(some)),
        "qrels.txt": "".join(f"{query} 0 {item} {grade}\n" for query, item, grade in judged),
        "docs.txt": filled(document, draw(some)),
    }
    contents: Contents = {}
    for name, text in written.items():
        coding = draw(st.sampled_from([*["utf-8"] * 10, "latin-1", "utf-16"]))
        errors = "replace" if coding == "latin-1" else "surrogatepass"
        packing = draw(packed(name, draw(damaged(text.encode(coding, errors=errors)))))
        contents[packing[0]] = packing[1]
    return contents, {"format": "trec", **draw(options | st.just({"unknown": "drop"}))}


@pytest.fixture(scope="module")
def offer() -> Offer:
    return load(strict=False).offer("dataset", "files")


def reads(home: Path, offer: Offer, contents: Contents, params: Mapping[str, Any]) -> None:
    """Write the files, read them as a suite would, split the log, store the data set, read it again."""
    folder, stored = home / "data", home / "stored"
    for path in (folder, stored):
        shutil.rmtree(path, ignore_errors=True)
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    try:
        log = build(offer, check_params(offer, {"path": str(folder), **params}))
        event("read")
        data = split_log("Shop", log, Protocol(split="ratio", test_share=0.3, valid_share=0.3))
        event("split")
    except BenchmarkError as error:
        message = str(error)
    else:
        message = "read"
        save_dataset(stored, data)
        again = load_dataset(stored)
        assert again.digest == data.digest
        assert again.train.catalog.ids.tolist() == data.train.catalog.ids.tolist()
        np.testing.assert_array_equal(again.train.histories.values, data.train.histories.values)
    assert message.strip()
    assert "is a fault in it" not in message  # a file's fault is not the plugin's
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == contents


@FUZZ
@given(case=tables())
def test_random_tables_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, offer: Offer, case: tuple[Contents, dict[str, Any]]
) -> None:
    reads(tmp_path_factory.getbasetemp(), offer, *case)


@FUZZ
@given(case=recbole())
def test_random_atomic_files_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, offer: Offer, case: tuple[Contents, dict[str, Any]]
) -> None:
    reads(tmp_path_factory.getbasetemp(), offer, *case)


@FUZZ
@given(case=trec())
def test_random_collections_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, offer: Offer, case: tuple[Contents, dict[str, Any]]
) -> None:
    reads(tmp_path_factory.getbasetemp(), offer, *case)


@FUZZ
@given(name=st.sampled_from(["interactions.parquet", "interactions.csv", "x.inter", "topics.txt"]), content=st.binary())
def test_random_bytes_are_refused(
    tmp_path_factory: pytest.TempPathFactory, offer: Offer, name: str, content: bytes
) -> None:
    form = {"x.inter": "recbole", "topics.txt": "trec"}.get(name, "tables")
    reads(tmp_path_factory.getbasetemp(), offer, {name: content}, {"format": form})
