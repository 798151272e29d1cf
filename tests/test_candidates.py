"""Candidate lists: what stands in them, that they are always the same, and what becomes of them in a run."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from logs import shuffled

from benchmark import candidates, plugins
from benchmark.candidates import Lists, check_sampler, draw, known_items, lookup_hr1, with_candidates
from benchmark.contract import Context
from benchmark.data.hashing import splitmix
from benchmark.data.protocol import Protocol, Sampler, Spare
from benchmark.data.ragged import Ragged
from benchmark.data.ranking import Ranking
from benchmark.data.split import split_log
from benchmark.data.types import Dataset, Log, Requests, Split, Task
from benchmark.errors import BenchmarkError
from benchmark.execution.dispatch import with_lists
from benchmark.plan import make_plan
from benchmark.results.datasets import load_dataset, save_dataset, with_frozen_candidates
from benchmark.suite.load import load_suite
from benchmark.testing import checkerboard_log, make_catalog, make_log, make_requests, make_train

KEYS = splitmix(np.arange(6000, dtype=np.uint64))


def words(values: list[str]) -> Any:
    return np.array(values, dtype=object)


def shop() -> Log:
    """Four users of forty items; queries 0 to 2 are judged, query 3 has the words of query 2 in other letters."""
    clicks = [(u, (9 * u + 2 * t) % 40, 100 * t) for u in range(4) for t in range(5)]
    searches = [(0, 2, 5, 10), (0, 2, 7, 500), (1, 3, 8, 20), (1, 0, 9, 500), (2, 1, 30, 30), (2, 1, -1, 500),
                (3, 0, 31, 30), (3, 0, 32, 500), (0, 1, 6, 5), (1, 0, 1, 5), (2, 0, 2, 5), (3, 2, 3, 5)]  # fmt: skip
    judgements = [(0, 20, 1.0), (1, 21, 1.0), (2, 22, 1.0), (2, 23, 0.0)]
    catalog = make_catalog(f"a book{' of bees' * (i % 2)}{' and birds' * int(i % 3 == 0)}" for i in range(40))
    queries = ("book of bees", "birds", "Bees and birds", "bees and BIRDS")
    return make_log(clicks, judgements, searches, catalog=catalog, queries=queries)


def listed(log: Log, task: Task, *samplers: Sampler, **settings: Any) -> Dataset:
    dataset = split_log("shop", log, Protocol(**settings))
    return with_candidates(dataset, Lists(known_items(log, dataset), {task: samplers}), plugins.load())


def by_id(dataset: Dataset, task: Task, name: str) -> dict[str, list[str]]:
    """Request id -> its candidates' ids."""
    split = dataset.test[task]
    rows = split.candidates[name]
    return {
        str(request): [str(i) for i in dataset.train.catalog.ids[rows[r]]]
        for r, request in enumerate(split.requests.ids)
    }


def rows(sampled: Ragged) -> list[tuple[int, ...]]:
    return [tuple(sampled[i].tolist()) for i in range(len(sampled))]


@pytest.fixture(params=["draws", "clocks"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to sample: a few draws with replacement, and what they leave over from all items."""
    monkeypatch.setattr(candidates, "DRAWS", 40 if request.param == "draws" else 0)


@pytest.mark.usefixtures("way")
def test_draws_are_in_proportion_to_what_is_left() -> None:
    none = Ragged.empty(len(KEYS))
    one = rows(draw(KEYS, np.array([1.0, 2, 3, 0]), none, 1))
    assert [one.count((i,)) / len(KEYS) for i in range(4)] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 0], abs=0.02)
    two = rows(draw(KEYS, np.array([1.0, 2, 3, 0]), none, 2))
    pairs = {(0, 1): 1 / 6 * 2 / 5 + 2 / 6 * 1 / 4, (0, 2): 1 / 6 * 3 / 5 + 3 / 6 * 1 / 3}
    pairs[1, 2] = 1 - sum(pairs.values())
    assert {pair: two.count(pair) / len(KEYS) for pair in pairs} == pytest.approx(pairs, abs=0.02)
    seen_first = rows(draw(KEYS, np.array([0, 1.0, 0]), none, 2))
    assert seen_first.count((0, 1)) / len(KEYS) == pytest.approx(0.5, abs=0.02)
    assert set(seen_first) == {(0, 1), (1, 2)}
    without = rows(draw(KEYS, np.ones(4), Ragged.from_pairs(np.arange(6000), np.full(6000, 1), 6000), 2))
    assert {pair: without.count(pair) / 6000 for pair in set(without)} == pytest.approx(
        {(0, 2): 1 / 3, (0, 3): 1 / 3, (2, 3): 1 / 3}, abs=0.02
    )


@pytest.mark.usefixtures("way")
def test_where_there_are_too_few_all_are_taken_and_a_row_depends_on_its_key_alone() -> None:
    forbidden = Ragged.from_rows([[0, 3], [], [0, 1, 2, 3]])
    assert rows(draw(KEYS[:3], np.ones(4), forbidden, 99)) == [(1, 2), (0, 1, 2, 3), ()]
    assert rows(draw(KEYS[:3], np.zeros(4), forbidden, 99)) == [(1, 2), (0, 1, 2, 3), ()]
    together = draw(KEYS[:50], np.arange(30.0), Ragged.empty(50), 8)
    alone = [draw(KEYS[i : i + 1], np.arange(30.0), Ragged.empty(1), 8)[0].tolist() for i in range(50)]
    assert [list(row) for row in rows(together)] == alone


def test_recommendation_has_the_target_once_and_nothing_else_of_the_user() -> None:
    log = shop()
    data = listed(log, "recommendation", Sampler(kind="uniform", n=12), Sampler(kind="popularity", n=12))
    had = {f"u:u{u}": {f"i{i}" for i in log.item[log.user == u]} for u in range(4)}
    by_search = {
        "u:u0": {"i5", "i6", "i7"},
        "u:u1": {"i1", "i8", "i9"},
        "u:u2": {"i2", "i30"},
        "u:u3": {"i3", "i31", "i32"},
    }
    had = {request: items | by_search[request] for request, items in had.items()}
    target = {"u:u0": "i8", "u:u1": "i17", "u:u2": "i26", "u:u3": "i35"}
    for name in ("uni12", "pop12"):
        lists = by_id(data, "recommendation", name)
        assert lists.keys() == target.keys()
        for request, items in lists.items():
            assert len(items) == len(set(items)) == 13
            assert set(items) & had[request] == {target[request]}
    drawn = by_id(data, "recommendation", "uni12")
    assert drawn["u:u0"] != drawn["u:u1"]
    bought = data.train.popularity("recommendation") > 0
    seen = {str(i) for i in data.train.catalog.ids[bought]}
    possible = {request: len(seen - had[request]) for request in had}
    for request, items in by_id(data, "recommendation", "pop12").items():
        assert len(set(items) & seen - had[request]) == min(12, possible[request])
    assert all((np.diff(data.test["recommendation"].candidates["uni12"][i]) > 0).all() for i in range(4))


def test_search_that_spares_the_query_has_no_other_answer_to_it_as_a_negative() -> None:
    data = listed(shop(), "search", Sampler(kind="uniform", n=99, spare="query"))
    lists = by_id(data, "search", "uni99-query")
    answers = {"i3", "i5", "i7", "i8", "i22"}  # to bees and birds, in whatever letters; i23 was judged not to be one
    asked = {q: {"i1", "i2", "i9", "i20", "i31", "i32"} for q in ("book of bees",)}
    split = data.test["search"]
    known = {"bees and birds": answers, **asked}
    checked = 0
    for row, request in enumerate(split.requests.ids):
        relevant = {str(i) for i in data.train.catalog.ids[split.relevant[row]]}
        others = known.get(str(split.requests.queries[row]).casefold())
        if others is not None:
            checked += 1
            assert set(lists[str(request)]) == {f"i{i}" for i in range(40)} - others | relevant
    assert checked == 3
    (said,) = data.lists
    assert (said.requests, said.requests_with_fewer, said.fewest_negatives) == (len(split.requests), len(
        split.requests), 34)  # fmt: skip


def test_a_list_spares_what_the_user_clicked_at_any_time_or_before_or_nothing() -> None:
    log = shop()
    wanted: list[Spare] = ["user", "history", "target"]
    samplers = [Sampler(kind="uniform", n=99, spare=spare) for spare in wanted]
    whole = {f"i{i}" for i in range(40)}
    assert [sampler.list_name for sampler in samplers] == ["uni99", "uni99-history", "uni99-target"]
    had = {u: {f"i{i}" for i in log.item[log.user == u]} for u in range(4)}
    searches = log.searches
    assert searches is not None
    searched = {u: {f"i{i}" for i in searches.item[searches.user == u]} - {"i-1"} for u in range(4)}
    data = listed(log, "search", *samplers)
    split = data.test["search"]
    for name, spared in (
        ("uni99", {u: had[u] | searched[u] for u in had}),
        ("uni99-target", {u: set() for u in had}),
    ):
        for row, items in enumerate(by_id(data, "search", name).values()):
            relevant = {str(i) for i in data.train.catalog.ids[split.relevant[row]]}
            user = int(str(data.train.users[split.requests.users[row]])[1:])
            assert set(items) == whole - spared[user] | relevant
    data = listed(log, "recommendation", *samplers, max_history=1)
    # User 0 had 0, 2, 4 and 6 and found 5 and 6 by searching before 8, the target; at the target's own time, and later,
    # 7 was found. The history that models read is cut to one item, the list spares all of it.
    for name, spared_items in (
        ("uni99", {0, 2, 4, 5, 6, 7}),
        ("uni99-history", {0, 2, 4, 5, 6}),
        ("uni99-target", set()),
    ):
        assert set(by_id(data, "recommendation", name)["u:u0"]) == whole - {f"i{i}" for i in spared_items}


def test_what_a_model_leaves_open_is_filled_in_proportion_to_popularity_or_uniformly() -> None:
    """`shy` finds one item for a request; what is drawn beside it the user had not clicked before."""
    log = shop()
    dataset = split_log("shop", log, Protocol())
    samplers = [
        Sampler(kind="shy", n=4),
        Sampler(kind="shy", n=4, fill="random"),
        Sampler(kind="shy", n=2, spare="user"),
    ]
    assert [sampler.list_name for sampler in samplers] == ["shy-4", "shy-4-random", "shy-2-user"]
    offered = plugins.load()
    shy = replace(offered.models["popular"], name="shy", target=Shy)
    registry = replace(offered, models={**offered.models, "shy": shy})
    known = known_items(log, dataset)
    data = with_candidates(dataset, Lists(known, {"recommendation": samplers}), registry)
    popularity = dataset.train.popularity("recommendation")
    said = {made.name: made for made in data.lists}
    requests = len(dataset.test["recommendation"].requests)
    for name, n in (("shy-4", 4), ("shy-4-random", 4), ("shy-2-user", 2)):
        lists = data.test["recommendation"].candidates[name]
        assert (said[name].requests_filled, said[name].requests_with_fewer) == (requests, 0)
        assert lists.lengths.tolist() == [n + 1] * requests
    before = known["recommendation", "history"]
    for row in range(requests):
        best, target = Shy.first(dataset, row), dataset.test["recommendation"].relevant[row][0]
        listed_items = set(data.test["recommendation"].candidates["shy-4"][row].tolist())
        assert {best, target} <= listed_items
        rest = listed_items - {best, target}
        assert not rest & set(before.items[before.group[row]])
        clicked = set(np.flatnonzero(popularity)) - set(before.items[before.group[row]]) - {best, target}
        assert len(rest & clicked) == min(3, len(clicked))  # an item that nobody clicked comes last
    drawn = [data.test["recommendation"].candidates[name].values.tolist() for name in ("shy-4", "shy-4-random")]
    assert drawn[0] != drawn[1]


class Shy:
    """Finds one item for each request, the last of the catalogue that may be returned."""

    tasks = frozenset({"recommendation"})

    def fit(self, train: Any, valid: Any, context: Context) -> None:
        self.items_ = len(train.catalog)

    def rank(self, requests: Requests, k: int) -> Ranking:
        free = np.ones((len(requests), self.items_), dtype=bool)
        free[requests.exclude.rows, requests.exclude.values] = False
        items = np.full((len(requests), k), -1, dtype=np.int32)
        items[:, 0] = self.items_ - 1 - free[:, ::-1].argmax(axis=1)
        return Ranking(items, np.zeros(items.shape, dtype=np.float32))

    @staticmethod
    def first(dataset: Dataset, row: int) -> int:
        split = dataset.test["recommendation"]
        return max(set(range(40)) - set(split.relevant[row].tolist()))


def test_a_list_says_what_a_table_without_users_finds_in_it() -> None:
    """Training has each query's clicks; a request's answer is first where none of its list was clicked more often."""
    train = make_train((), {"bees": [0, 1], "BEES": [0], "birds": [2, 3]}, make_catalog([""] * 6))
    requests = make_requests(queries=["Bees", "birds"])
    split = Split(requests, Ragged.from_rows([[0], [2]]))
    data = Dataset("x", train, {"search": split}, {"search": split}, "", {})
    assert lookup_hr1(data, "search", Ragged.from_rows([[0, 1, 4], [2, 4, 5]])) == 1
    assert lookup_hr1(data, "search", Ragged.from_rows([[0, 1, 4], [2, 3, 5]])) == 0.75  # birds: 2 and 3 are equal
    assert lookup_hr1(data, "search", Ragged.from_rows([[0], []])) == 0.5  # an empty list has no answer
    other = replace(data, train=replace(train, queries=words(["ants"] * 3)))
    assert lookup_hr1(other, "search", Ragged.from_rows([[0, 1, 4, 5], [2, 3, 4, 5]])) == 0.25  # chance


def test_lists_do_not_depend_on_the_order_of_the_log_and_do_on_the_seed() -> None:
    samplers = [Sampler(kind="uniform", n=9), Sampler(kind="popularity", n=9), Sampler(kind="uniform", n=8, seed=1)]
    for task in ("recommendation", "search"):
        first, other = (listed(log, task, *samplers) for log in (shop(), shuffled(shop(), 5)))
        for sampler in samplers:
            assert by_id(first, task, sampler.list_name) == by_id(other, task, sampler.list_name)
        again = by_id(listed(shop(), task, Sampler(kind="uniform", n=9, seed=1)), task, "uni9")
        assert again != by_id(first, task, "uni9")


def test_excluded_items_are_no_negatives() -> None:
    data = listed(checkerboard_log(), "recommendation", Sampler(kind="uniform", n=99), mask_seen=True)
    split = data.test["recommendation"]
    lists = split.candidates["uni99"]
    for row in range(len(split.requests)):
        assert not set(lists[row]) & set(split.requests.exclude[row])
        assert set(split.relevant[row]) <= set(lists[row])
        assert len(lists[row]) == 21 - 8 + 1


def test_negatives_of_bm25_are_what_it_finds_without_what_is_spared(tmp_path: Path) -> None:
    pytest.importorskip("pyterrier_pisa", reason="the extra bm25 is not installed")
    log = shop()
    samplers = Sampler(kind="bm25", n=2), Sampler(kind="bm25", n=2, spare="query"), Sampler(kind="bm25", n=30)
    data = listed(log, "search", *samplers)
    split = data.test["search"]
    model = plugins.build(plugins.load().offer("model", "bm25"), {})
    model.fit(data.train, {}, Context(0, "cpu", tmp_path))
    ranking = model.rank(split.requests, 40)
    known = known_items(log, data)["search", "query"]
    found = 0
    for row in range(len(split.requests)):
        best = [i for i in ranking.items[row] if i >= 0 and i not in split.relevant[row]]
        others = [i for i in best if i not in known.items[known.group[row]]]
        found += len(best)
        for name, items in (("bm25-2", best[:2]), ("bm25-2-query", others[:2]), ("bm25-30", best[:30])):
            assert set(split.candidates[name][row]) >= {*items, *split.relevant[row]}
        assert len(split.candidates["bm25-2"][row]) == 2 + len(split.relevant[row])
    assert found


def test_frozen_lists_are_read_as_they_were_written(tmp_path: Path) -> None:
    data = listed(shop(), "recommendation", Sampler(kind="uniform", n=12))
    save_dataset(tmp_path, data)
    assert (tmp_path / "candidates-recommendation-uni12.parquet").is_file()
    read = load_dataset(tmp_path)
    bare = replace(data, test={t: replace(s, candidates={}) for t, s in data.test.items()}, facts={})
    for again in (read, with_frozen_candidates(tmp_path, bare)):
        assert by_id(again, "recommendation", "uni12") == by_id(data, "recommendation", "uni12")
        assert again.test["search"].candidates == {}
        assert again.lists == data.lists


def test_a_sampler_that_cannot_be_is_refused() -> None:
    registry = plugins.load()
    with pytest.raises(BenchmarkError, match=r"unknown sampler 'unifrom' in candidates of search.*'uniform'"):
        check_sampler(Sampler(kind="unifrom"), "search", registry)
    with pytest.raises(BenchmarkError, match="the model 'bm25' does search"):
        check_sampler(Sampler(kind="bm25"), "recommendation", registry)
    with pytest.raises(BenchmarkError, match="`params` is for lists of a model; 'uniform' is drawn"):
        check_sampler(Sampler(kind="uniform", params={"k1": 1.0}), "search", registry)
    with pytest.raises(BenchmarkError, match="`spare: query` is for search; recommendation has no queries"):
        check_sampler(Sampler(kind="uniform", spare="query"), "recommendation", registry)
    with pytest.raises(BenchmarkError, match="`fill` is for lists of a model; 'popularity' is drawn"):
        check_sampler(Sampler(kind="popularity", fill="random"), "recommendation", registry)
    with pytest.raises(BenchmarkError, match="`fill` of popular-99 is popular or random, not null"):
        check_sampler(Sampler(kind="popular", fill=None), "recommendation", registry)
    with pytest.raises(BenchmarkError, match="k2"):
        check_sampler(Sampler(kind="bm25", params={"k2": 1.0}), "search", registry)


SUITE = """
name: sampled
datasets: [{use: checkerboard, name: Board}]
models:
  - {use: popular, name: Pop}
  - {use: faulty, name: Chance}
metrics: [HR@5|uni4, R@5, "nDCG@5|popular-3", HR]
slices: [all, torso]
depth: 10
protocol:
  candidates:
    recommendation: [{kind: uniform, n: 4}, {kind: uniform, n: 99}]
    search: {kind: popular, n: 3}
compare: [{model: Chance, against: [Pop]}]
claims:
  - {where: {dataset: Board, task: recommendation, metric: HR@5|uni4}, expect: {Pop > Chance: t}}
"""


def words_of(folder: Path, *more: str) -> tuple[str, ...]:
    (folder / "s.yaml").write_text(SUITE)
    return ("run", "s.yaml", "--results", "out", "--tracking", "off", *more)


def test_a_run_ranks_the_lists_scores_them_and_does_not_make_them_again(here: Command, tmp_path: Path) -> None:
    done = here(*words_of(tmp_path))
    assert done.returncode == 0, done.stderr
    home = tmp_path / "out" / "sampled"
    stored = sorted(str(path.relative_to(home / "cells/Board")) for path in home.rglob("ranking-*"))
    assert [f"{Path(path).parts[0]} {Path(path).name}" for path in stored] == [
        "Chance ranking-recommendation.parquet",
        "Chance ranking-recommendation@uni4.parquet",
        "Chance ranking-recommendation@uni99.parquet",
        "Pop ranking-recommendation.parquet",
        "Pop ranking-recommendation@uni4.parquet",
        "Pop ranking-recommendation@uni99.parquet",
        "Pop ranking-search.parquet",
        "Pop ranking-search@popular-3.parquet",
    ]
    board = json.loads((home / "leaderboard.json").read_text())
    found = {(r["task"], r["slice"], r["model"], r["metric"]): r["mean"] for r in board["rows"]}
    assert list(dict.fromkeys(key[3] for key in found)) == ["R@5", "HR", "HR@5|uni4", "nDCG@5|popular-3"]
    assert {key[3] for key in found if key[0] == "search"} == {"R@5", "HR", "nDCG@5|popular-3"}
    assert found["recommendation", "all", "Chance", "HR@5|uni4"] == 1  # five candidates
    assert found["recommendation", "torso", "Pop", "HR@5|uni4"] == 1
    assert found["recommendation", "all", "Chance", "R@5"] < 1
    assert {c["metric"] for c in board["comparisons"]} == {"R@5", "HR", "HR@5|uni4"}
    assert board["claims"][0]["verdict"] == "undecided"
    report = (home / "leaderboard.md").read_text()
    assert r"HR@5\|uni4 all (n=120)" in report
    assert r"\|uni4: the request's relevant items ranked among 4 other items drawn uniformly" in report
    assert "ranked among 3 other items that 'popular' ranks highest" in report
    assert "A table of how often training has each query and item has HR@1" in report
    assert "uni99:" not in report  # no metric is about it
    assert r"HR@5\textbar{}uni4" in (home / "leaderboard.tex").read_text()
    made = {path: path.stat().st_mtime_ns for path in home.rglob("candidates-*.parquet")}
    assert len(made) == 3
    again = here(*words_of(tmp_path, "--set", "metrics=[R@5, HR@2|uni99]", "--set", "claims=[]"))
    assert "0 cells computed, 2 reused" in again.stdout
    assert "12 other items" not in again.stdout
    assert "120 of 120 requests have fewer, down to 13" in (home / "leaderboard.md").read_text()
    assert {path: path.stat().st_mtime_ns for path in made} == made
    next(home.rglob("ranking-recommendation@uni4.parquet")).unlink()  # without it the cell is not whole
    assert "1 cells computed, 1 reused" in here(*words_of(tmp_path)).stdout
    assert "2 cells computed" in here(*words_of(tmp_path, "--set", "protocol.candidates.search.seed=1")).stdout
    assert "2 cells computed" in here(*words_of(tmp_path, "--limit", "7")).stdout
    limited = load_dataset(next((tmp_path / "out" / "sampled-limit-7" / "datasets").iterdir()))
    whole = load_dataset(next(path.parent for path in made))
    lists = by_id(whole, "recommendation", "uni4")
    assert by_id(limited, "recommendation", "uni4") == {
        request: lists[request] for request in limited.test["recommendation"].requests.ids
    }


def test_frozen_lists_are_used_as_they_are(here: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes the lists is not asked again: here it would fail."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "faulty"))
    assert here(*words_of(tmp_path)).returncode == 0
    suite, source = load_suite(str(tmp_path / "s.yaml"))
    registry = plugins.load()
    local = registry.offer("executor", "local")
    plan = make_plan(suite, source, registry, tmp_path / "out")
    assert plan.datasets["Board"].test["search"].candidates == {}
    monkeypatch.setattr("benchmark.execution.dispatch.write_list_job", None)
    ready = with_lists(plan, registry, local, pytest.fail)
    assert ready.lists == {}
    assert list(ready.datasets["Board"].test["recommendation"].candidates) == ["uni4", "uni99"]
    with pytest.raises(TypeError):
        with_lists(replace(plan, results=tmp_path / "elsewhere"), registry, local, pytest.fail)
    without, _ = load_suite(
        str(tmp_path / "s.yaml"), settings=["protocol.candidates=null", "metrics=[R@5]", "claims=[]"]
    )
    bare = make_plan(without, source, plugins.load(), tmp_path / "out")
    whole = split_log("Board", checkerboard_log(), Protocol())
    assert whole.digest == bare.datasets["Board"].digest != plan.datasets["Board"].digest
    assert bare.lists == {}


def test_a_report_cannot_add_a_list(here: Command, tmp_path: Path) -> None:
    without = ("--set", "protocol.candidates=null", "--set", "metrics=[R@5]", "--set", "claims=[]")
    assert here(*words_of(tmp_path, *without)).returncode == 0
    done = here("report", "s.yaml", "--results", "out", "--tracking", "off")
    assert done.returncode == 2
    assert "did not rank the list popular-3 or uni4" in done.stderr


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("claims=[]; metrics=[HR@5|uni5]", "unknown candidate list 'uni5' in metric HR@5|uni5. Did you mean 'uni4'?"),
        ("claims=[]; metrics=[HR@5|]", "is not written as name"),
        ("claims=[]; metrics=[HR@50|uni4]", "looks at 50 items, but rankings hold 10"),
        ("claims=[{where: {dataset: Board, task: search, metric: HR@5|uni4}, expect: {Pop > Chance: t}}]",
         "unknown candidate list 'uni4' in claim 'Board/search/HR@5|uni4/Pop > Chance', search on Board"),
        ("metrics=[HR@5|uni4]; protocol.candidates.search.kind=Popular", "unknown sampler 'Popular' in candidates"),
        ("protocol.candidates.search.kind=populer", "unknown sampler 'populer' in candidates of search. Did you mean"),
        ("protocol.candidates.search.kind=[]", "protocol.candidates.search"),
        ("protocol.candidates.search={kind: uniform, m: 4}", "unknown key"),
        ("protocol.candidates.search={kind: popular, personal: true}",
         "`personal` is now `spare`: write `spare: user` for `personal: true`"),
        ("protocol.candidates.search={kind: popular, spare: all}", "input should be 'target', 'history', 'user' or"),
        ("protocol.candidates.search=[{kind: uniform}, {kind: uniform, seed: 1}]", "two lists are called 'uni99'"),
    ],
)  # fmt: skip
def test_mistakes_are_told_before_anything_runs(here: Command, tmp_path: Path, setting: str, says: str) -> None:
    done = here(*words_of(tmp_path, *(word for one in setting.split("; ") for word in ("--set", one))))
    assert done.returncode == 2
    assert says in done.stderr


def test_check_warns_of_sampled_metrics(here: Command, tmp_path: Path) -> None:
    words_of(tmp_path)
    done = here("check", "s.yaml", "--results", "out")
    assert "note: metrics over uni4 and popular-3 are sampled: they can put models into another order" in done.stdout
    assert not (tmp_path / "out").exists()


def test_a_variant_with_the_name_of_a_list_is_left_out(here: Command, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        SUITE.replace("faulty, name: Chance", "faulty, name: Chance, params: {worst: true, called: uni4}")
    )
    done = here("run", "s.yaml", "--results", "out", "--tracking", "off")
    assert done.returncode == 0, done.stderr
    assert "the variant 'uni4' is missing ('uni4' is the name of a candidate list" in done.stderr


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (
            "raise",
            "the candidates faulty-3-random cannot be made, the model 'faulty' failed: ValueError: the model is broken",
        ),
        ("killed", "the worker was killed by SIGKILL"),
    ],
)
def test_a_model_that_dies_while_it_makes_a_list_ends_the_run_with_a_reason_and_leaves_no_list(
    command: Command, tmp_path: Path, fault: str, reason: str
) -> None:
    once = tmp_path / "once"
    sampler = f"{{kind: faulty, n: 3, fill: random, params: {{fault: {fault}, once: {once}}}}}"
    (tmp_path / "s.yaml").write_text(
        f"{{name: s, datasets: [{{use: checkerboard, name: Board}}], models: [{{use: popular, name: Pop}}], "
        f"protocol: {{candidates: {{recommendation: {sampler}}}}}, metrics: [HR@1|faulty-3-random]}}"
    )
    words = ("run", "s.yaml", "--results", "out", "--tracking", "off")
    done = command(*words)
    assert done.returncode == 2
    assert f"data set 'Board': {reason}" in done.stderr
    assert "Its log: out/s/lists/" in done.stderr
    assert not list((tmp_path / "out" / "s").glob("cells"))
    assert command(*words).returncode == 0  # the model works the second time
    assert list((tmp_path / "out" / "s" / "datasets").glob("Board-*/candidates-recommendation-faulty-3-random.parquet"))


def test_two_runs_at_once_make_a_models_lists_one_after_the_other(command: Command, tmp_path: Path) -> None:
    """If they did not take turns, the second would remove the job that the first has begun."""
    (tmp_path / "s.yaml").write_text(
        "{name: s, datasets: [{use: checkerboard, name: Board}], models: [{use: popular, name: Pop}], "
        "protocol: {candidates: {recommendation: {kind: faulty, n: 3, fill: random, params: {seconds: 3.0}}}}, "
        "metrics: [HR@1|faulty-3-random]}"
    )
    words = ("run", "s.yaml", "--results", "out", "--tracking", "off")
    with ThreadPoolExecutor() as runs:
        both = list(runs.map(lambda _: command(*words), range(2)))
    assert [done.returncode for done in both] == [0, 0], [done.stderr for done in both]
