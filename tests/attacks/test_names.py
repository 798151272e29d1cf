"""Names of any length and script work; what hides in a name is refused, and in a text made visible."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmark import BenchmarkError, plugins
from benchmark.console import Console, print_cells
from benchmark.contract import Cell, variants
from benchmark.plan import make_plan
from benchmark.report import html, latex, markdown, tables
from benchmark.results.files import replacing, safe_name
from benchmark.suite.load import load_suite
from benchmark.text import csv_cell, visible

SUITE = 'name: s\ndatasets: [{use: movielens, name: "%s"}]\nmodels: [{use: popular}]\nmetrics: [R@10]\n'


def test_short_names_keep_their_folders() -> None:
    assert safe_name("SASRec[CE] (2x)") == "SASRec[CE] (2x)"
    assert safe_name("a/b") == "a%2Fb"
    assert safe_name("..") == "%2E%2E"
    assert safe_name("a" * 255) == "a" * 255


def test_long_names_are_shortened_and_stay_apart(tmp_path: Path) -> None:
    first, second = safe_name("书" * 29), safe_name("书" * 28 + "本")
    assert first != second
    assert first.startswith("%E4%B9%A6")
    assert not first.partition("~")[0].endswith("%")
    assert len(first) <= 80
    (tmp_path / first).mkdir()
    with replacing(tmp_path / f"ranking-recommendation@{safe_name('书' * 500, 200)}.parquet") as path:
        path.write_text("")


@pytest.mark.parametrize("hidden", ["\\e", "\\0", "\\n", "\\t", "\\u202e", "\\u2066", "\\x9b", "\\u200b"])
def test_a_name_that_hides_something_is_refused(tmp_path: Path, hidden: str) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE % f"ML{hidden}x")
    with pytest.raises(BenchmarkError, match=r"suite\.yaml:2: 'datasets\.0\.name': a name has no control characters"):
        load_suite(str(path))


def test_a_name_of_any_script_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE % "फ़िल्में 👩‍👩‍👧 می‌خواهم", encoding="utf-8")
    assert load_suite(str(path))[0].datasets[0].name == "फ़िल्में 👩‍👩‍👧 می‌خواهم"


def test_what_a_model_calls_its_values_and_phases_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    cell = Cell("Board", "M\u202e", 1, (), "f" * 64, "d", "checkerboard", {}, "m", {}, {})
    console = Console()
    console.progressed(cell, "fi\nt", 1, 2, {"lo\x1b[2Jss\nfinished": 0.5})
    (task,) = console._progress.tasks
    assert task.description == "fi t Board/M\\u202e/seed-1"
    assert task.fields["values"] == "lo\\x1b[2Jss finished 0.5"
    console.warned("the variant 'a\x1b[2J' is missing")
    assert "the variant 'a\\x1b[2J' is missing" in capsys.readouterr().err


def test_a_table_of_cells_shows_what_hides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "faulty"))
    path = tmp_path / "s.yaml"
    path.write_text("{name: s, datasets: [{use: checkerboard}], models: [{use: popular}], metrics: [R@5]}")
    plan = make_plan(*load_suite(str(path)), plugins.load(), tmp_path / "out")
    cells = (replace(plan.cells[0], dataset="Board\x1b[2J\u202e"),)
    print_cells(replace(plan, cells=cells, selected=cells), 1)
    assert "Board\\x1b[2J\\u202e/popular/seed-0" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["a\x1b[2J", "a\nfinished", "\u202ea", " a"])
def test_a_variant_whose_name_hides_something_is_refused(name: str) -> None:
    model = SimpleNamespace(variants=(name,), rank_variant=None)
    with pytest.raises(BenchmarkError, match="has characters that nobody sees"):
        variants(model)  # type: ignore[arg-type]


def test_a_profile_is_no_path(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE % "ML" + "profiles: {../../up: {}}\n")
    with pytest.raises(BenchmarkError, match="'profile'"):
        load_suite(str(path), profile="../../up")


def test_hidden_characters_are_made_visible_in_every_format() -> None:
    text = "red\x1b[31m\u202egnp\x00"
    assert visible(text) == "red\\x1b[31m\\u202egnp\\x00"
    assert visible("two\nlines\tand a \ud800") == "two\nlines\tand a \\ud800"
    for written in (html.escape(text), markdown._plain(text), latex.escape(text), csv_cell(text)):
        assert not {"\x1b", "\u202e", "\x00"} & set(written)
    assert latex.escape("\x1b") == r"\textbackslash{}x1b"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_spreadsheet_runs_no_cell(start: str) -> None:
    assert csv_cell(f"{start}cmd|' /C calc'!A0").startswith("'")


def test_numbers_of_a_table_stay_numbers() -> None:
    rows = [{"mean": -0.25, "n": 3, "model": "Gen-R", "low": None}]
    assert tables._csv(["mean", "n", "model", "low"], rows) == "mean,n,model,low\n-0.25,3,Gen-R,\n"
