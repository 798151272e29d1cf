from __future__ import annotations

import gzip
import json
import math
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmark_bm25 import BM25, _plain, benchmark_models
from benchmark_files import files
from conftest import Silent

from benchmark import PAD, BenchmarkError, Context, NotFittedError, Requests, plugins
from benchmark.plan import make_plan
from benchmark.plugins import build, load
from benchmark.runner import run_suite
from benchmark.suite.load import load_suite
from benchmark.testing import check_model, make_catalog, make_requests, make_train

VASWANI = (
    Path(os.environ.get("BENCHMARK_DATA") or Path(__file__).parents[3] / "shared" / "data") / "ir-small/vaswani_npl"
)
JARS = [
    path
    for folder in (
        os.environ.get("PYTERRIER_HOME") or Path.home() / ".pyterrier",
        Path.home() / ".m2/repository/org/terrier",
    )
    for path in Path(folder).rglob("terrier-assemblies-*.jar")
]


def fitted(texts: list[str], folder: Path, **params: object) -> BM25:
    folder.mkdir(exist_ok=True)
    model = BM25(**params)  # type: ignore[arg-type]
    model.fit(make_train(catalog=make_catalog(texts)), {}, Context(0, "cpu", folder))
    return model


def ask(*queries: str, exclude: list[list[int]] | None = None, candidates: list[list[int]] | None = None) -> Requests:
    return make_requests(queries=queries, exclude=exclude, candidates=candidates)


TEXTS = [
    "red shoes, red laces",
    "blue shoes",
    "red hat",
    "green coat with a long red and blue scarf",
    "yellow umbrella",
    "",
    "brown boots",
    "white socks",
]


def formula(query: list[str], texts: list[str], k1: float = 1.2, b: float = 0.75) -> list[float]:
    """PISA's BM25, written down: a term that occurs in more than half of the items has the idf 1e-6."""
    documents = [Counter(re.findall("[a-z]+", text)) for text in texts]
    lengths = [sum(document.values()) for document in documents]
    mean = sum(lengths) / len(lengths)
    scores = [0.0] * len(texts)
    for term in query:
        n = sum(term in document for document in documents)
        idf = max(1e-6, math.log((len(texts) - n + 0.5) / (n + 0.5)))
        for i, document in enumerate(documents):
            tf = document[term]
            scores[i] += idf * (k1 + 1) * tf / (tf + k1 * (1 - b + b * lengths[i] / mean)) if n else 0
    return scores


def test_the_contract() -> None:
    assert benchmark_models() == {"bm25": "benchmark_bm25:BM25"}
    check_model(BM25)


@pytest.mark.parametrize(
    ("query", "terms"),
    [
        ("red hat", ["red", "hat"]),
        ("blue blue hat", ["blue", "blue", "hat"]),  # a repeated term counts twice
        ("the RED umbrella?", ["red", "umbrella"]),
    ],
)
def test_scores_equal_the_formula(query: str, terms: list[str], tmp_path: Path) -> None:
    texts = [text.replace("shoes", "shoe") for text in TEXTS]  # no word that a stemmer changes is asked for
    ranking = fitted(texts, tmp_path, k1=0.9, b=0.4).rank(ask(query), 8)
    expected = formula(terms, texts, k1=0.9, b=0.4)
    found = ranking.items[0] != PAD
    assert set(ranking.items[0][found]) == {i for i, score in enumerate(expected) if score > 0}
    for item, score in zip(ranking.items[0][found], ranking.scores[0][found], strict=True):
        assert score == pytest.approx(expected[item], abs=1e-4)


def test_odd_queries(tmp_path: Path) -> None:
    texts = [*TEXTS, "Amélie’s café"]
    ranking = fitted(texts, tmp_path).rank(ask("", "?! ^2 :", "日本", "hat:^5", "CAFE", "Café", "the and of"), 2)
    assert ranking.items.tolist() == [[PAD, PAD], [PAD, PAD], [PAD, PAD], [2, PAD], [PAD, PAD], [8, PAD], [PAD, PAD]]


SCRIPTS = [
    "红色手机壳",  # red phone case
    "蓝色手机充电器",  # blue phone charger
    "ラーメンの作り方",  # how to make ramen
    "うどんの作り方",  # how to make udon
    "كتاب الطبخ العربي",  # Arab cookbook
    "كتاب الشعر العربي",  # book of Arab poetry
    "Bücher über schöne Gärten",
    "Buch: schon wieder Garten",
    "한국어 사전",  # Korean dictionary
    "ตำราอาหารไทย",  # Thai cookbook
    "iPhone 15 手机壳 Bücher's cover",
    "plain English cover",
]
QUERIES = {
    "手机壳 红色": 0,
    "充电器": 1,
    "ラーメン": 2,
    "うどん 作り方": 3,
    "الطبخ": 4,
    "كتاب الشعر": 5,
    "SCHÖNE gärten": 6,
    "schon": 7,
    "사전": 8,
    "อาหาร": 9,
    "iphone15 手机壳 covers": 10,
    "covers english": 11,
}


def test_items_are_found_in_every_script(tmp_path: Path) -> None:
    ranking = fitted(SCRIPTS, tmp_path).rank(ask(*QUERIES), 3)
    assert ranking.items[:, 0].tolist() == list(QUERIES.values())
    assert ranking.items[list(QUERIES).index("SCHÖNE gärten")].tolist() == [6, PAD, PAD], "diacritics make a word"


def test_scores_of_other_scripts_equal_those_of_ascii_words_in_their_place(tmp_path: Path) -> None:
    words = {"red": "红", "shoes": "туфли", "blue": "blé", "umbrella": "مظلة"}
    others = [re.sub("red|shoes|blue|umbrella", lambda m: words[m[0]], text) for text in TEXTS]
    expected = fitted([text.replace("shoes", "shoe") for text in TEXTS], tmp_path / "ascii").rank(
        ask("red shoe umbrella", "blue"), 8
    )
    ranking = fitted(others, tmp_path / "other").rank(ask("红 туфли مظلة", "BLÉ"), 8)
    np.testing.assert_array_equal(ranking.scores, expected.scores)
    np.testing.assert_array_equal(ranking.items, expected.items)


def test_english_texts_reach_the_engine_as_they_are() -> None:
    assert _plain("U.S.A. children's RED-hat (1995)") == "U.S.A. children's RED-hat (1995)"
    assert _plain("U.S.A. children’s RED-hat über") == f"U.S.A. children's RED-hat {_plain('ÜBER')}"


def test_engines_take_the_code_of_a_word_for_one_word() -> None:
    for word in ("über", "手机", "туфли", *(f"{chr(c)}" for c in range(0x4E00, 0x5200))):
        assert re.fullmatch("[a-z]{18}0", code := _plain(word))
        assert not re.search(r"(.)\1", code)


def test_excluded_items_make_room_and_candidates_bound(tmp_path: Path) -> None:
    model = fitted(TEXTS, tmp_path)
    assert model.rank(ask("red"), 2).items.tolist() == [[0, 2]]
    assert model.rank(ask("red", exclude=[[0]]), 2).items.tolist() == [[2, 3]]
    assert model.rank(ask("red", candidates=[[3, 2, 1]]), 3).items.tolist() == [[2, 3, PAD]]
    assert model.rank(ask("red", exclude=[[2]], candidates=[[3, 2, 1]]), 3).items.tolist() == [[3, PAD, PAD]]


def test_ties_are_ordered_per_request_and_none_is_held_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark_bm25.RESULTS_PER_BATCH", 300)
    model = fitted(["same words"] * 90 + ["other things"] * 100, tmp_path)
    ranking = model.rank(ask(*["words"] * 60), 5)
    assert np.unique(ranking.scores).size == 1
    assert len(np.unique(ranking.items)) > 80  # of 90 that tie; the engine is first asked for 13
    deep = model.rank(ask(*["words"] * 60), 50)
    np.testing.assert_array_equal(deep.items[:, :5], ranking.items)


def test_an_empty_catalogue_of_words_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="needs items with texts"):
        fitted(["", "?!"], tmp_path)


def test_mistakes_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    bm25 = load().models["bm25"]
    with pytest.raises(BenchmarkError, match="'engine' must be one of 'pisa', 'terrier', got 'lucene'"):
        build(bm25, {"engine": "lucene"})
    with pytest.raises(BenchmarkError, match="'b' must be float from 0 to 1, got 75"):
        build(bm25, {"b": 75})
    with pytest.raises(NotFittedError):
        BM25().rank(ask("red"), 1)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(BenchmarkError, match="needs Java 11 or newer"):
        BM25(engine="terrier")


FIT = """
import sys, pathlib
from benchmark_bm25 import BM25
from benchmark import BenchmarkError, Context
from benchmark.testing import make_catalog, make_requests, make_train
{before}
try:
    model = BM25(engine={engine!r})
    train = make_train(catalog=make_catalog({texts!r}))
    model.fit(train, {{}}, Context(0, "cpu", pathlib.Path({folder!r})))
    requests = make_requests(queries=["red hats", "hat:^5", "手机 ÜBER"])
    print(model.rank(requests, 3).items.tolist(), "jnius" in sys.modules)
except BenchmarkError as error:
    print(error)
"""


def in_a_process(engine: str, folder: Path, before: str = "", **environment: str) -> str:
    texts = [*TEXTS, "红色手机壳 über"]
    code = FIT.format(texts=texts, folder=str(folder), engine=engine, before=before)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    assert not done.stderr
    return done.stdout


def test_pisa_starts_no_java_needs_no_network_and_prints_nothing(tmp_path: Path) -> None:
    refuse = """
import socket
def connect(*_): raise AssertionError("the network was touched")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = connect
"""
    assert in_a_process("pisa", tmp_path, refuse) == "[[2, 0, 3], [2, -1, -1], [8, -1, -1]] False\n"


def test_terrier_without_jars_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    pytest.importorskip("jnius_config")
    offline = "import os, pyterrier as pt; os.environ['PATH'] += ':/bin'; pt.java.mavenresolver.offline()"
    home = {"PYTERRIER_HOME": str(tmp_path), "HOME": str(tmp_path), "JAVA_HOME": os.environ.get("JAVA_HOME", "/usr")}
    said = in_a_process("terrier", tmp_path, offline, **home)
    assert "cannot start Terrier" in said
    assert f"put them into {tmp_path}" in said


@pytest.mark.skipif(not JARS, reason="Terrier's jars are not there, and tests fetch nothing")
def test_terrier(tmp_path: Path) -> None:
    said = in_a_process("terrier", tmp_path, "import pyterrier as pt; pt.java.mavenresolver.offline()")
    assert said.splitlines()[-1] == "[[2, 0, 3], [2, -1, -1], [8, -1, -1]] True"


@pytest.mark.skipif(not VASWANI.exists(), reason="Vaswani is not there; BENCHMARK_DATA names the folder of the data")
def test_mean_average_precision_on_vaswani(tmp_path: Path) -> None:
    with gzip.open(VASWANI / "doc-text.trec.gz", "rt") as file:
        documents = re.findall(r"<DOCNO>(\d+)</DOCNO>\s*(.*?)\s*</DOC>", file.read(), re.DOTALL)
    topics = re.findall(
        r"<num>(\d+)</num>\s*<title>\s*(.*?)\s*</title>", (VASWANI / "query-text.trec").read_text(), re.DOTALL
    )
    qrels = pd.read_csv(VASWANI / "qrels", sep=r"\s+", names=["query", "_", "document", "grade"], dtype={"query": str})
    row = {number: i for i, (number, _) in enumerate(topics)}
    relevant = [set[int]() for _ in topics]
    for query, document in zip(qrels["query"], qrels["document"], strict=True):
        relevant[row[query]].add(document - 1)
    assert [int(number) for number, _ in documents] == list(range(1, 11430))
    items = fitted([text for _, text in documents], tmp_path).rank(ask(*(text for _, text in topics)), 1000).items
    precisions = []
    for line, wanted in zip(items, relevant, strict=True):
        hits = np.flatnonzero(np.isin(line, list(wanted)))
        precisions.append(float(np.sum(np.arange(1, len(hits) + 1) / (hits + 1)) / len(wanted)))
    assert np.mean(precisions) == pytest.approx(0.29, abs=0.01)


TINY = {
    "topics": "1\tred shoes\n2\tblue scarf\n3\tyellow umbrella\n4\twhite hat\n",
    "qrels": "1 0 d0 2\n1 0 d1 1\n2 0 d3 1\n2 0 d1 0\n3 0 d4 1\n4 0 d7 1\n4 0 d2 1\n4 0 d6 3\n",
    "docs": "".join(f"d{i}\t{text}\n" for i, text in enumerate(TEXTS)),
}


@pytest.mark.parametrize("collection", ["tiny", "vaswani"])
def test_all_topics_score_as_in_pyterriers_own_experiment(collection: str, tmp_path: Path) -> None:
    """`split: all-test` end to end (plan, worker, report) against pt.Experiment over PISA's index of the same files."""
    import pyterrier as pt
    from ir_measures import RR, R, nDCG
    from pyterrier_pisa import PisaIndex

    path = VASWANI if collection == "vaswani" else tmp_path / "tiny"
    if collection == "tiny":
        path.mkdir()
        for name, text in TINY.items():
            (path / name).write_text(text)
    elif not VASWANI.exists():
        pytest.skip("Vaswani is not there; BENCHMARK_DATA names the folder of the data")
    suite = {
        "name": "topics",
        "datasets": [{"use": "files", "name": "T", "params": {"path": str(path), "format": "trec"}}],
        "models": [{"use": "bm25", "name": "BM25"}],
        "metrics": ["nDCG@10", "R@3", "RR@10"],
        "slices": ["all", "head"],
        "protocol": {"split": "all-test", "candidates": {"search": {"kind": "popularity", "n": 3}}},
        "depth": 20,
    }
    (tmp_path / "s.yaml").write_text(json.dumps(suite))
    plan = make_plan(*load_suite(str(tmp_path / "s.yaml")), plugins.load(), tmp_path / "out", device="cpu")
    outcome = run_suite(plan, plugins.load(), Silent(), executor="inline")
    assert not outcome.failed
    ours = {row.metric: row.mean for row in outcome.leaderboard.rows if row.slice == "all"}
    n = len(plan.datasets["T"].test["search"].requests)
    assert n == {"tiny": 4, "vaswani": 93}[collection]
    assert {row.n for row in outcome.leaderboard.rows if row.slice == "head"} == {
        0
    }  # nothing trains, so none is popular
    report = (tmp_path / "out" / "topics" / "leaderboard.md").read_text()
    assert f"Data: {n} of {n} queries tested, split all-test (nothing to train on)." in report
    assert "leave-one-out" not in report

    log = files(str(path), format="trec")
    index = PisaIndex(str(tmp_path / "index"), text_field="text", stemmer="porter2", threads=1)
    index.index({"docno": str(i), "text": str(t)} for i, t in zip(log.catalog.ids, log.catalog.texts, strict=True))
    ids = {"qid": log.query_ids[log.query], "docno": log.catalog.ids[log.relevant], "label": log.grade.astype(int)}
    system = index.bm25(k1=1.2, b=0.75, query_weighted=True, query_algorithm="ranked_or", num_results=20)
    topics = pd.DataFrame({"qid": log.query_ids, "query": log.queries})
    theirs = pt.Experiment([system], topics, pd.DataFrame(ids), [nDCG @ 10, R @ 3, RR @ 10])
    for metric, value in ours.items():
        assert value == pytest.approx(float(theirs[metric].iloc[0]), abs=1e-6)


def test_requests_of_one_query_have_each_their_own_exclude_and_candidates(tmp_path: Path) -> None:
    model = fitted(TEXTS, tmp_path)
    alone = [model.rank(ask(query), 4).items[0].tolist() for query in ("red shoes", "blue")]
    found = model.rank(ask("red shoes", "blue", "red shoes", "Red shoes"), 4).items.tolist()
    assert [sorted(row) for row in found] == [sorted(alone[i]) for i in (0, 1, 0, 0)]
    barred = model.rank(ask("red shoes", "red shoes", "blue", exclude=[[0], [2], []]), 4).items.tolist()
    assert [0 in row for row in barred] == [False, True, False]
    assert [2 in row for row in barred] == [True, False, False]
    chosen = model.rank(ask("red shoes", "blue", "red shoes", candidates=[[1, 2], [0, 3], [0]]), 4).items.tolist()
    assert [set(row) - {PAD} for row in chosen] == [{1, 2}, {3}, {0}]
    assert chosen[0][:2] == [i for i in alone[0] if i in (1, 2)]
