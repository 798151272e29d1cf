"""What a plugin does to the objects that it is given, or leaves behind, falsifies no result and loses none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from benchmark import PAD, Context, ContractError, Log, Ragged, Ranking, Requests, Split, Task, Train, plugins, top_k
from benchmark.contract import Cell, Costs, check_ranking
from benchmark.data.ragged import Floats, Longs
from benchmark.evaluation.scores import score
from benchmark.execution import embeddings, worker
from benchmark.isolation import frozen
from benchmark.plan import make_plan
from benchmark.plugins import Offer, Plugin
from benchmark.results.cells import CellFolder, curve_csv
from benchmark.suite.load import load_suite
from benchmark.testing import checkerboard, checkerboard_log

SCORES = np.array([0.5, 0.4, 0.3, 0.2, 0.1])
"""Of five items: the first is the best."""


@dataclass
class Cheat:
    """Ranks what it must not, and changes what a check could look at; or only uses its arrays again."""

    way: Literal["exclude", "candidates", "subclass", "buffer", "write"]
    buffer: Ranking = field(default_factory=lambda: top_k(np.zeros((2, 5)), two_requests(), 3))

    def rank(self, requests: Requests, k: int) -> Ranking:
        scores = np.tile(SCORES, (len(requests), 1))
        if self.way in ("exclude", "candidates"):
            free = requests.unlimited()
            object.__setattr__(requests, self.way, getattr(free, self.way))
            return top_k(scores, free, k)
        ranking = top_k(scores, requests, k)
        if self.way == "write":
            requests.histories.values[:] = 0
        if self.way == "subclass":
            ranking.items[:, 1] = ranking.items[:, 0]
            return Ranking(ranking.items.view(Agreeing), ranking.scores)
        self.buffer.items[:], self.buffer.scores[:] = ranking.items, ranking.scores
        return self.buffer


class Agreeing(np.ndarray):
    """Says of any two values that they differ."""

    def __eq__(self, other: object) -> Any:
        return np.zeros(self.shape, dtype=bool)

    def __ne__(self, other: object) -> Any:
        return np.ones(self.shape, dtype=bool)


def two_requests() -> Requests:
    return checkerboard().test["recommendation"].requests.take([0, 1])


def ranked(model: Cheat, requests: Requests) -> Ranking:
    """The three items that the harness keeps of a model's answers, asked for two requests at a time."""
    return worker._rank(model.rank, requests, 3, 5, lambda *progress: None)


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Requests:
    """Four requests, each of which excludes the best item."""
    monkeypatch.setattr(worker, "BATCH", 2)
    made = checkerboard().test["recommendation"].requests.take(np.arange(4))
    return replace(made, exclude=Ragged.from_rows([[0]] * 4))


def test_a_model_that_empties_exclude_is_found_out(requests: Requests) -> None:
    with pytest.raises(ContractError, match="item 0 is one of the request's `exclude`"):
        ranked(Cheat("exclude"), requests)


def test_a_model_that_takes_the_candidates_away_is_found_out(requests: Requests) -> None:
    requests = replace(requests, exclude=Ragged.empty(4), candidates=Ragged.from_rows([[0, 2]] * 4))
    with pytest.raises(ContractError, match="item 1 is none of the request's `candidates`"):
        ranked(Cheat("candidates"), requests)


def test_an_array_that_compares_as_it_likes_is_refused(requests: Requests) -> None:
    with pytest.raises(ContractError, match="items is Agreeing, not a numpy array"):
        ranked(Cheat("subclass"), requests)


def test_a_ranking_whose_attributes_are_computed_is_refused(requests: Requests) -> None:
    class Changing(Ranking):
        """A subclass can give other items each time that it is asked."""

    items = np.array([[1, 2, PAD]] * 4, dtype=np.int32)
    with pytest.raises(ContractError, match="rank returned Changing, not a"):
        check_ranking(Changing(items, np.zeros((4, 3), dtype=np.float32)), requests, 3, 5)


def test_a_model_may_use_its_arrays_again_for_the_next_batch(requests: Requests) -> None:
    requests = replace(requests, exclude=Ragged.from_rows([[0], [0], [1], [1]]))
    kept = ranked(Cheat("buffer"), requests)
    np.testing.assert_array_equal(kept.items, [[1, 2, 3], [1, 2, 3], [0, 2, 3], [0, 2, 3]])


def test_a_model_cannot_write_into_its_requests(requests: Requests) -> None:
    with pytest.raises(ValueError, match="assignment destination is read-only"):
        ranked(Cheat("write"), requests)


def test_a_model_cannot_write_into_what_another_one_learns_from(tmp_path: Path) -> None:
    class Writer(Cheat):
        tasks = frozenset({"recommendation"})

        def fit(self, train: Train, valid: Mapping[Task, Split], context: Context) -> None:
            valid["recommendation"].relevant.values[:] = 0

    context = Context(seed=0, device="cpu", workdir=tmp_path)
    with pytest.raises(ValueError, match="assignment destination is read-only"):
        embeddings._train(checkerboard(), Writer("write"), context, "writer")


def test_a_data_set_reader_may_use_its_arrays_again_for_the_next_data_set() -> None:
    kept = checkerboard_log()

    def reader(last: int) -> Log:
        kept.item[-1] = last
        kept.catalog.texts[0] = kept.catalog.attributes.loc[0, "initial"] = f"text {last}"
        object.__setattr__(kept, "facts", {"rows": [last]})
        return kept

    offer = Offer("dataset", "reader", reader, Plugin("word", "module", "package", "1.0"))
    first, second = (plugins.build(offer, {"last": last}) for last in (3, 4))
    kept.facts["rows"].append(5)
    for log, last in ((first, 3), (second, 4)):
        assert (log.item[-1], log.catalog.texts[0], log.facts) == (last, f"text {last}", {"rows": [last]})
        assert log.catalog.attributes.loc[0, "initial"] == f"text {last}"
        with pytest.raises(ValueError, match="read-only"):
            log.item[-1] = 5


def test_what_an_observer_does_to_the_run_the_report_does_not_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "faulty"))
    (tmp_path / "s.yaml").write_text(
        "{name: s, datasets: [{use: checkerboard, name: Board}], models: [{use: faulty, name: F}], metrics: [R@5]}"
    )
    suite, source = load_suite(str(tmp_path / "s.yaml"))
    plan = make_plan(suite, source, plugins.load(), tmp_path / "out")
    shown = plan.run
    assert shown.cells == plan.cells
    with pytest.raises(ValueError, match="read-only"):
        shown.datasets["Board"].test["recommendation"].relevant.values[:] = 0
    shown.datasets["Board"].facts.clear()
    shown.datasets.clear()
    shown.cells[0].model_params.clear()
    assert plan.datasets["Board"].facts["licence"] == "none needed"
    assert plan.cells[0].model_params["fault"] == "none"


def test_a_metric_that_writes_into_its_arguments_fails_and_changes_no_other() -> None:
    ranking = Ranking(np.array([[3, 4], [0, 2]], dtype=np.int32), np.array([[1, 0], [1, 0]], dtype=np.float32))
    relevant, popularity = Ragged.from_rows([[4], [1]]), np.ones(5, dtype=np.int64)

    def right(lists: Ranking, answers: Ragged, counts: Longs) -> Floats:
        return (lists.items == answers.values[:, None]).any(axis=1).astype(np.float64)

    def into_the_ranking(lists: Ranking, answers: Ragged, counts: Longs) -> Floats:
        lists.items[:, 0] = answers.values
        return right(lists, answers, counts)

    def into_the_answers(lists: Ranking, answers: Ragged, counts: Longs) -> Floats:
        answers.values[:] = lists.items[:, 0]
        return right(lists, answers, counts)

    def into_the_counts(lists: Ranking, answers: Ragged, counts: Longs) -> Floats:
        counts[:] = 0
        return right(lists, answers, counts)

    def other_objects(lists: Ranking, answers: Ragged, counts: Longs) -> Floats:
        object.__setattr__(lists, "items", answers.values[:, None])
        return right(lists, answers, counts)

    for wrong in (into_the_ranking, into_the_answers, into_the_counts):
        with pytest.raises(ContractError, match="'wrong' failed: ValueError: assignment destination is read-only"):
            score(ranking, relevant, popularity, {"wrong": wrong, "right": right}, "all", 0.5)
    scores = score(ranking, relevant, popularity, {"wrong": other_objects, "right": right}, "all", 0.5)
    assert scores.values["wrong"].tolist() == [1, 1]
    assert scores.values["right"].tolist() == [1, 0]


def test_what_one_analysis_does_to_a_data_set_no_other_sees() -> None:
    dataset = checkerboard()
    view = frozen(dataset)
    with pytest.raises(ValueError, match="read-only"):
        view.test["search"].relevant.values[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        view.train.times.sort()
    view.train.catalog.attributes["initial"] = "x"
    view.facts.clear()
    del view.test["search"]
    assert "x" not in set(dataset.train.catalog.attributes["initial"])
    assert dataset.facts["licence"] == "none needed"
    assert dataset.tasks == ("recommendation", "search")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("parameters", np.inf, "the fact 'parameters' is not finite JSON"),
        ("parameters", np.float32("nan"), "the fact 'parameters' is not finite JSON"),
        ("parameters", 10**400, "the fact 'parameters' is not finite JSON: an integer of 401 digits"),
        ("parameters", 10**5000, "the fact 'parameters' is not finite JSON"),
        ("scores", {"all": [0.5, {"head": -np.inf}]}, "the fact 'scores' is not finite JSON"),
        ("model", object(), "the fact 'model' is not finite JSON: object is not a JSON value"),
        ("text", "\ud800", "the fact 'text' is not finite JSON"),
        ("weights", "w" * 999_999, "the facts take 1,000,006 bytes as JSON, the fact 'weights' alone 1,000,001"),
        ("remarks", 5, "the fact 'remarks' is the list that Context.remark writes"),
        ("variants_failed", "all", "the fact 'variants_failed' is the harness's own"),
    ],
    ids=lambda part: type(part).__name__,
)
def test_a_fact_that_no_report_could_show_fails_its_cell(name: str, value: Any, message: str) -> None:
    context = Context(seed=0, device="cpu", workdir=Path())
    context.record("updates", 12345)
    worker._check_left(context)
    context.record(name, value)
    with pytest.raises(ContractError, match=re.escape(message)):
        worker._check_left(context)


def test_a_learning_curve_that_no_report_could_show_fails_its_cell() -> None:
    context = Context(seed=0, device="cpu", workdir=Path())
    context.progress(10, 20, loss=0.5)
    worker._check_left(context)
    context.progress(20, 20, loss=np.nan)
    with pytest.raises(ContractError, match="the learning curve at step 20 is not finite JSON"):
        worker._check_left(context)
    context.curve[:] = [{"step": 1, "loss": 0.5}] * 50_000
    with pytest.raises(ContractError, match="the points of the learning curve take 1,200,000 bytes"):
        worker._check_left(context)


def test_a_learning_curve_holds_nothing_that_a_spreadsheet_runs_or_a_terminal_obeys() -> None:
    points: list[dict[str, Any]] = [{"step": 1, "=1+1": -0.5, "a\x1b[2J": 1.0}, {"step": "@SUM(A1)", "=1+1": 2.0}]
    assert curve_csv(points) == "step,'=1+1,a\\x1b[2J\n1,-0.5,1.0\n'@SUM(A1),2.0,\n"


def test_numbers_that_older_versions_let_a_model_record_are_not_stated(tmp_path: Path) -> None:
    cell = Cell("Board", "Old", 1, (), "f" * 64, "d", "checkerboard", {}, "old", {}, {})
    (tmp_path / "cell.json").write_text(
        f'{{"fingerprint": "{cell.fingerprint}", "curve": [{{"step": 1, "loss": NaN}}], "facts": {{"a": [1e999, -2]}},'
        f' "costs": {{"parameters": Infinity, "updates": {10**400}, "examples": 384, "fit_seconds": 1.5}}}}'
    )
    record = CellFolder(tmp_path).read(cell)
    assert record is not None
    assert record.costs == Costs(parameters=None, updates=None, examples=384, fit_seconds=1.5)
    assert record.facts == {"a": [None, -2]}
    assert record.curve == ({"step": 1},)
