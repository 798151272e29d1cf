from __future__ import annotations

import base64
import csv
import io
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmark.contract import Analysis, Cell, Costs, Scores
from benchmark.data.types import Task
from benchmark.evaluation.leaderboard import CellCosts, Evaluated, Failure, Leaderboard, build_leaderboard
from benchmark.metric import Better
from benchmark.report import console, html, latex, markdown, tables
from benchmark.report.data import data_notes
from benchmark.report.files import report_files, write_report
from benchmark.report.layout import number, probability
from benchmark.suite.published import Published
from benchmark.suite.schema import Claim, Comparison, DatasetEntry, ModelEntry, Suite, Where

METRICS = ("R@30", "nDCG@10", "ARP@10")
NASTY = "Pop_<b>|*R*&50%"
PUBLISHED = Published.model_validate(
    {
        "paper": "Somebody 2024",
        "tables": [
            {
                "table": "Table 5",
                "page": 8,
                "metric": "R@30",
                "dataset": "ML",
                "task": "recommendation",
                "slice": "all",
                "data": "MovieLens 25M",
                "values": {"Gen_R": 0.103, "Joint": 0.119},
            }
        ],
    }
)
SIZES = pd.DataFrame({"items": [1682], "density": [0.0630], "note": [None]}, index=["ML"])
FIGURE = """<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20" onload="top.document.title = 'run'">
<script>top.document.title = "run"; document.title = "run"</script><rect width="40" height="20" fill="red"/></svg>
"""
ANALYSES = [Analysis("Sizes", SIZES, "As counted.", FIGURE)]
REPRODUCED = Published(
    paper="Somebody 2024",
    tables=[
        *PUBLISHED.tables,
        PUBLISHED.tables[0].model_copy(
            update={"source": "a stranger", "table": "README", "page": 0, "values": {"Joint": 0.1}, "note": "On a bet."}
        ),
    ],
)


def board(
    seeds: int = 1,
    coverage: float = 1.0,
    published: Published = PUBLISHED,
    primary: bool = False,
    better: dict[str, Better] | None = None,
) -> Leaderboard:
    """Joint finds 60 of 100 answers, Gen_R 20 of the same, the model with the nasty name 10; torso has 40 requests."""
    suite = Suite(
        name="tiny",
        title="One task & the other",
        profile="laptop",
        reduced=True,
        datasets=[DatasetEntry(use="movielens", name="ML")],
        models=[ModelEntry(use="x", name=name) for name in (NASTY, "Gen_R", "Joint", "Lost")],
        metrics=list(METRICS),
        slices=["all", "torso"],
        seeds=list(range(seeds)),
        compare=[
            *([Comparison(model="Joint", against=["Gen_R"], metric="R@30", primary=True)] if primary else []),
            *(Comparison(model="Joint", against=against) for against in (["Gen_R", NASTY], ["Lost"])),
        ],
        claims=[
            Claim(
                id=f"claim-{sign}",
                text="Joint training helps.",
                source="Table 5",
                where=Where(dataset="ML", task="recommendation", metric="R@30"),
                expect=f"Joint {sign} Gen_R",
            )
            for sign in "><"
        ],
    )
    scores = []
    for model, found, popularity in ((NASTY, 10, 300), ("Gen_R", 20, 200), ("Joint", 60, 250)):
        for seed in range(seeds):
            cell = Cell("ML", model, seed, ("recommendation",), "f" * 64, "d" * 64, "movielens", {}, "x", {}, {})
            for name, rows in (("all", np.arange(100)), ("torso", np.arange(0, 100, 5)[:8])):
                hit = (rows < found + seed).astype(float)
                values = dict(zip(METRICS, (hit, hit / 2, np.full(len(rows), popularity + rows % 2)), strict=True))
                share = coverage if model == "Joint" else 1.0
                scores.append(Evaluated(cell, "recommendation", name, Scores(rows, values, {}, share)))
    failures = [Failure("ML", "Lost", 0, "RuntimeError: x <y>\nout of memory", "cells/ML/Lost/log.txt")]
    costs = [
        CellCosts("ML", "Joint", 0, Costs(12.34, 1.5, 0.25, 512e6, 1234567)),
        CellCosts("ML", "Gen_R", 0, Costs()),
    ]
    return build_leaderboard(
        suite,
        scores,
        failures,
        costs,
        published,
        {"": ["partial (--limit 100)"], "Gen_R": ["4 beams"]},
        better={"ARP@10": "neither"} if better is None else better,
    )


def test_markdown_tells_best_significant_published_and_remarks() -> None:
    text = markdown.render(board(), ANALYSES)
    lines = text.splitlines()
    assert lines[0] == "# One task & the other"
    assert "**partial (--limit 100)**" in lines
    head = next(line for line in lines if line.startswith("| model"))
    assert head.startswith("| model | R@30 all (n=100) | R@30 torso (n=8) | nDCG@10 all (n=100) |")
    assert head.endswith("| R@30 in the paper all |")
    joint = next(line for line in lines if line.startswith("| Joint"))
    assert joint.startswith("| Joint | **0.6000**‡¹ | **1.0000** | **0.3000**‡¹ |")
    assert any(line.startswith("¹ one fit: a model here was trained with one seed") for line in lines)
    assert joint.endswith("| 250.50 | 250.50 | 0.119 |")  # nothing in bold: more popular is not better
    assert "| Gen_R | 0.2000 |" in text
    assert r"| Pop\_\<b>\|\*R\*&50% | 0.1000 |" in text
    assert "In the paper: Somebody 2024, Table 5, page 8; measured on MovieLens 25M." in lines
    assert "Gen_R: 4 beams." in lines
    assert "Not tested on ML: Joint against Lost (Lost failed)." in lines
    assert "| ML | 1682 | 0.0630 |  |" in lines
    assert r"| ML | Lost | 0 | RuntimeError: x \<y> out of memory | cells/ML/Lost/log.txt |" in lines
    assert "coverage" not in text


def test_where_lower_is_better_the_lowest_is_bold_and_claims_expect_it() -> None:
    board_ = board(better={"R@30": "lower", "nDCG@10": "neither", "ARP@10": "lower"})
    lines = markdown.render(board_).splitlines()
    joint = next(line for line in lines if line.startswith("| Joint"))
    assert joint.startswith("| Joint | 0.6000 | 1.0000 | 0.3000 | 0.5000 | 250.50 |")  # as far above as before: no ‡
    assert next(line for line in lines if line.startswith("| Gen_R")).endswith("| **200.50** | **200.50** | 0.103 |")
    assert any(line.startswith(r"| Pop\_\<b>\|\*R\*&50% | **0.1000** |") for line in lines)
    assert "R@30, ARP@10: lower values are better." in lines
    assert "nDCG@10: neither side is better, so none is marked." in lines
    assert "R@30: > says better, which is lower." in lines
    assert [verdict.verdict for verdict in board_.claims] == ["fails for this fit", "holds for this fit"]


def test_where_all_are_equal_none_is_the_best() -> None:
    rows = [replace(row, mean=0.5) for row in board().rows]
    assert "**" not in next(iter(scoreboard_lines(replace(board(), rows=tuple(rows)))))


def scoreboard_lines(leaderboard: Leaderboard) -> list[str]:
    return [line for line in markdown.render(leaderboard).splitlines() if line.startswith("| Joint")]


def noted(task: Task, facts: dict[str, object]) -> list[str]:
    return list(data_notes(replace(board(), data={"ML": facts}), "ML", task))


def test_the_data_is_described_below_its_tables() -> None:
    shares = {
        "target_in_history_share_recommendation": 0.2131, "test_pairs_in_training_share_recommendation": 0.5,
        "target_in_history_share_search": 0.25, "test_pairs_in_training_share_search": 1.0,
    }  # fmt: skip
    facts: dict[str, object] = {"test_requests_recommendation": 943, "split_recommendation": "leave-one-out",
                               "max_history": 50, **shares}  # fmt: skip
    assert noted("recommendation", facts) == [
        "Data: 943 users tested, split leave-one-out (the last of each user); of a history at most the 50 newest are "
        "read; 21.3 % of the requests have an answer in their own history; training holds 50.0 % of the tested pairs "
        "of user and item."
    ]
    searched: dict[str, object] = {"split": "leave-one-out", "split_search": "ratio", "queries": 225,
                                   "test_requests_search": 22, **shares}  # fmt: skip
    assert noted("search", searched) == [
        "Data: 22 of 225 queries tested, split ratio; training holds 100.0 % of the tested pairs of query and item."
    ]
    joint = {
        **searched, "split_search": "leave-one-out", "searches": 1000, "max_history": None, "copies_within": 5,
        "test_users_items_in_training_share_search": 0.1,
    }  # fmt: skip
    assert noted("search", joint) == [
        "Data: 22 of 1,000 searches tested, split leave-one-out (the last of each user); histories are read whole; "
        "25.0 % of the requests have an answer in their own history; training holds 100.0 % of the tested pairs of "
        "query and item; and 10.0 % of those of user and item; copies are recognised within 5 s.",
    ]
    assert noted("search", {}) == []
    lent = replace(
        board(),
        suite=board().suite.model_copy(update={"datasets": [DatasetEntry(use="x", name="ML", note="from a friend")]}),
    )
    assert list(data_notes(lent, "ML", "search")) == ["ML: from a friend."]


def test_who_else_has_measured_is_shown_beside_ours_and_only_then() -> None:
    assert "## Published" not in markdown.render(board())
    lines = markdown.render(board(published=REPRODUCED)).split("## Published")[1].splitlines()
    assert lines[2:] == [
        "### ML · recommendation",
        "",
        "| model | measured by | R@30 | remark |",
        "| --- | --- | ---: | --- |",
        "| Gen_R | **this run** | **0.2000** |  |",
        "| Gen_R | Somebody 2024, Table 5, page 8 | 0.103 |  |",
        "| Joint | **this run** | **0.6000** |  |",
        "| Joint | Somebody 2024, Table 5, page 8 | 0.119 |  |",
        "| Joint | a stranger, README | 0.100 | On a bet. |",
        "",
        "Published numbers were measured on MovieLens 25M.",
        *lines[13:],
    ]
    assert "a stranger" not in console.render(board(published=REPRODUCED))


def test_a_row_of_the_paper_without_a_model_of_ours_is_shown() -> None:
    more = PUBLISHED.tables[0].model_copy(update={"values": {"Gen_R": 0.1034, "P5": 0.0163}})
    text = markdown.render(board(published=Published(paper="Somebody 2024", tables=[more])))
    assert "| P5 | Somebody 2024, Table 5, page 8 | 0.0163 |  |" in text
    assert "| 200.50 | 200.50 | 0.1034 |" in text  # as many decimals as the paper prints


def test_data_sets_of_the_paper_that_were_not_run_are_said_to_be_others() -> None:
    table = PUBLISHED.tables[0]
    other = table.model_copy(update={"dataset": "Beauty"})
    entropy = other.model_copy(update={"metric": "Entropy@10", "values": {"Joint T=1.0": 0.76}})
    text = markdown.render(board(published=Published(paper="Somebody 2024", tables=[other, entropy])))
    shown = text.split("## Published")[1]
    assert "no number of this run can be compared with them." in shown
    assert "this run**" not in shown
    assert shown.count("### Beauty · recommendation") == 2  # one of the suite's metrics, one of others
    assert "| Joint T=1.0 | Somebody 2024, Table 5, page 8 | 0.760 |  |" in shown
    both = markdown.render(board(published=Published(paper="Somebody 2024", tables=[table, other])))
    assert "## Published" not in both


def test_claims_are_shown_with_verdict_and_scale() -> None:
    text = markdown.render(board())
    about = "Joint > Gen_R | ML recommendation all R@30 | 0.6000 vs 0.2000 | +0.4000 ± "
    assert f"| **holds for this fit** | {about}" in text
    assert "| **fails for this fit** | Joint < Gen_R |" in text
    assert "a model of the claim was trained with one seed" in text
    assert f"| **holds** | {about.replace('0.6000 vs 0.2000', '0.6100 vs 0.2100')}" in markdown.render(board(seeds=3))
    assert "Measured at a reduced scale" in text


def test_all_comparisons_are_listed_with_interval_p_and_what_could_be_seen() -> None:
    lines = markdown.render(board()).splitlines()
    row = next(line for line in lines if line.startswith("| ML | recommendation | all | R@30 | Joint | Gen_R |"))
    # 40 of 100 differ: t = .4 / (.4924 / 10) = 8.12, and the interval is .4 ± 1.984 × .0492; no
    # flip of 40 coins but two reaches it; and at .05 / 6 the critical value is 2.69, 3.54 with the power.
    assert "| +0.4000 (+200%) | +0.3023 to +0.4977 | <0.0001‡¹ | <0.0001 | 0.1744 | 100 |" in row
    assert any("over all 6 comparisons of the suite as one family" in line for line in lines)
    assert any(line.startswith("Not tested on ML: Joint against Gen_R") and "n = 8 < 30" in line for line in lines)


def test_the_suites_own_question_stands_apart_from_what_explores() -> None:
    text = markdown.render(board(primary=True))
    own, exploratory = text.split("### The suite's own question")[1].split("### Exploratory")
    assert "| ML | recommendation | all | R@30 | Joint | Gen_R |" in own
    assert "over these 1 comparisons as a family" in own
    assert "| ML | recommendation | all | nDCG@10 | Joint | Gen_R |" in exploratory
    assert "over these 5 comparisons as a family" in exploratory
    assert "| R@30 | Joint | Gen_R |" not in exploratory
    rows = list(csv.DictReader(io.StringIO(tables.significance_csv(board(primary=True)))))
    assert [row["family"] for row in rows] == ["primary", *["exploratory"] * 5]
    assert {row["one_fit"] for row in rows} == {"True"}


def test_cost_is_last_and_all_before_it_does_not_depend_on_it() -> None:
    one = board()
    other = replace(one, costs=tuple(replace(cell, costs=replace(cell.costs, fit_seconds=99.0)) for cell in one.costs))
    for render in (markdown.render, html.render, console.render):
        a, b = render(one, ANALYSES), render(other, ANALYSES)
        assert a != b
        marker = {markdown.render: "## Cost", html.render: '<section id="cost"', console.render: "\nCOST"}[render]
        assert a.split(marker)[0] == b.split(marker)[0]
        assert a.count(marker) == 1
    files, others = report_files(one, ANALYSES), report_files(other, ANALYSES)
    assert {name for name in files if files[name] != others[name]} == {
        *("leaderboard.json", "leaderboard.md", "leaderboard.html")
    }
    assert files["leaderboard.json"].split('"costs"')[0] == others["leaderboard.json"].split('"costs"')[0]
    assert "| ML | Joint | 0 | 12.3 | 1.50 | 0.250 | 512 | 1,234,567 |" in files["leaderboard.md"]


def test_a_budget_that_a_model_recorded_is_a_column_of_the_costs() -> None:
    costs = [
        CellCosts("ML", "Joint", 0, Costs(12.34, updates=6072, examples=777_216, embeddings_seconds=61.5)),
        CellCosts("ML", "Gen_R", 0, Costs(updates=3036)),
    ]
    one = replace(board(), costs=tuple(costs))
    text = markdown.render(one, ANALYSES)
    assert "| data set | model | seed | fit s | embeddings s | updates | examples | rank s |" in text
    assert "| ML | Joint | 0 | 12.3 | 61.5 | 6,072 | 777,216 |" in text
    assert "updates: steps of the optimiser; examples: training examples shown, repeats counted." in text
    assert one.to_json()["costs"][0]["updates"] == 6072
    for render in (html.render, console.render):
        assert "6,072" in render(one, ANALYSES)


def test_coverage_is_shown_where_a_model_left_requests_unanswered() -> None:
    text = markdown.render(board(coverage=0.95))
    assert "coverage all" in text
    assert "| 0.9500 |" in text


def test_several_seeds_show_their_spread() -> None:
    lines = markdown.render(board(seeds=2)).splitlines()
    assert any(line.startswith("| Joint | **0.6050**‡ ± 0.0071 |") for line in lines)
    assert "± standard deviation over seeds." in lines


def test_csv_has_a_line_per_number_and_per_comparison() -> None:
    one = board()
    rows = list(csv.DictReader(io.StringIO(tables.leaderboard_csv(one))))
    assert len(rows) == len(one.rows) == 18
    assert rows[2] == {
        "dataset": "ML",
        "task": "recommendation",
        "slice": "all",
        "model": "Joint",
        "metric": "R@30",
        "mean": "0.6",
        "sd": "",
        "n": "100",
        "low": rows[2]["low"],
        "high": rows[2]["high"],
        "coverage": "1.0",
        "seeds": "1",
        "marks": "partial (--limit 100)",
        "published": "0.119",
        "published_source": "Somebody 2024, Table 5, page 8; measured on MovieLens 25M",
    }
    assert rows[0]["model"] == NASTY
    tests = list(csv.DictReader(io.StringIO(tables.significance_csv(one))))
    assert len(tests) == len(one.comparisons) == 6
    assert float(tests[0]["difference"]) == pytest.approx(0.4)
    assert float(tests[0]["p_corrected"]) == one.comparisons[0].p_corrected


def test_latex_is_booktabs_with_everything_escaped() -> None:
    text = latex.render(board(seeds=2))
    assert r"Pop\_\textless{}b\textgreater{}\textbar{}*R*\&50\% & 0.1050" in text
    assert r"Joint & \textbf{0.6050}$^{\ddagger}$ {\footnotesize $\pm$ 0.0071}" in text
    assert r" & \multicolumn{2}{c}{R@30} & \multicolumn{2}{c}{nDCG@10}" in text
    assert r"\textcolor{gray}{0.119}" in text
    assert latex.escape(r"50% of a_b & \x{~^}#$ [CE]") == (
        r"50\% of a\_b \& \textbackslash{}x\{\textasciitilde{}\textasciicircum{}\}\#\$ {[}CE{]}"
    )
    assert latex.escape("-0.5 to +0.1 for BCE-1") == "$-$0.5 to +0.1 for BCE-1"
    for line in text.splitlines():
        if line.endswith(r" \\") and "multicolumn" not in line:
            assert line.replace(r"\&", "").count("&") in (7, 11)
    assert text.count(r"\begin{tabular}") == text.count(r"\bottomrule") == 2
    assert "Cost" not in text
    assert r"\textbf{0.6000}$^{\ddagger}$$^{1}$" in latex.render(board())
    assert "$^{1}$ one fit: a model here" in latex.render(board())


class Page(HTMLParser):
    """Checks that tags close in order, and gathers the text and what would be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.fetched: list[str] = []
        self.images: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]
        self.images += [dict(attrs)] if tag == "img" else []
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_html_is_one_well_formed_page_without_script_or_network() -> None:
    page = Page()
    source = html.render(board(), ANALYSES)
    page.feed(source)
    page.close()
    assert page.open == []
    (image,) = page.images
    assert image["alt"] == "Figure: Sizes; the table below has its numbers"
    kind, data = str(image["src"]).split(",")
    assert (kind, base64.b64decode(data).decode()) == ("data:image/svg+xml;base64", FIGURE)
    assert all(link.startswith("#") for link in page.fetched if link != image["src"])
    assert "<script" not in source
    assert "url(" not in source
    assert "@import" not in source
    assert NASTY in page.text
    assert "RuntimeError: x <y>\nout of memory" in page.text
    assert '<span class="holds">holds for this fit</span>' in source
    assert (
        '<td class="grey first" title="Somebody 2024, Table 5, page 8; measured on MovieLens 25M">0.119</td>' in source
    )


@pytest.mark.browser
@pytest.mark.slow
def test_a_figure_is_drawn_in_the_page_and_runs_no_script_there(tmp_path: Path, browser: Any) -> None:
    write_report(tmp_path, board(published=REPRODUCED), ANALYSES)
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        browser.get((tmp_path / "leaderboard.html").as_uri())
        image = browser.find_element("css selector", "#analyses img")
        drawn = "return arguments[0].complete && [arguments[0].naturalWidth, arguments[0].naturalHeight]"
        assert browser.execute_script(drawn, image) == [40, 20]
        # Figures have dark strokes, so they stand on white in both.
        assert image.value_of_css_property("background-color") == "rgba(255, 255, 255, 1)"
        assert browser.title == "One task & the other"


def test_console_tables_fit_a_terminal() -> None:
    text = console.render(board(seeds=2, coverage=0.95), ANALYSES)
    assert max(map(len, text.splitlines())) <= console.WIDTH
    assert "! partial (--limit 100)" in text
    assert "0.6000*‡¹" in console.render(board())
    row = next(line for line in text.splitlines() if line.startswith("Joint"))
    assert row.split()[1:4] == ["0.6050*‡", "1.0000*", "0.3025*‡"]
    narrow = console.render(board(coverage=0.95), width=60).split("COMPARISONS")[0].splitlines()
    assert max(map(len, narrow)) <= 60
    assert sum(line.startswith("Joint") for line in narrow) == 3  # the metrics one below the other, models repeated


def test_a_text_that_looks_like_a_number_is_printed_as_it_is() -> None:
    table = pd.DataFrame({"model": ["TIGER", "words " * 10], "steps": ["1,000", "as many as " * 5]})
    text = console.render(board(), [Analysis("Steps", table)])
    assert "1,000" in text
    assert all(len(line) <= 2 * 40 + 2 for line in text.splitlines() if "words" in line)


def test_print_report_writes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_report(board())
    assert capsys.readouterr().out == console.render(board())


def test_files_are_the_ones_documented_and_strict_json(tmp_path: Path) -> None:
    twin = Analysis("Sizes!", SIZES, figure="<svg/>")
    write_report(tmp_path, board(), [*ANALYSES, twin, twin])
    write_report(tmp_path, board(), [*ANALYSES, twin])
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} - {".lock"}
    assert names == {
        *(f"leaderboard.{kind}" for kind in ("json", "md", "csv", "tex", "html")),
        *("significance.csv", "claims.json", "figures/sizes.svg", "figures/sizes-2.svg"),
    }
    assert (tmp_path / "figures" / "sizes.svg").read_text() == FIGURE
    assert "![Figure: Sizes; the table below has its numbers](figures/sizes.svg)\n\n|" in markdown.render(
        board(), ANALYSES
    )
    written = json.loads((tmp_path / "leaderboard.json").read_text())
    assert written == board().to_json()
    claims = json.loads((tmp_path / "claims.json").read_text())
    assert [(claim["verdict"], claim["reduced"]) for claim in claims] == [
        ("holds for this fit", True),
        ("fails for this fit", True),
    ]


def test_an_empty_leaderboard_still_renders() -> None:
    suite = Suite(
        name="tiny", datasets=[DatasetEntry(use="x", name="x")], models=[ModelEntry(use="x", name="x")], metrics=["R@1"]
    )
    empty = Leaderboard(suite, ())
    for text in report_files(empty).values():
        assert text.endswith("\n")
    assert console.render(empty).startswith("tiny — profile default\n")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.12345, "0.1235"), (0, "0.0000"), (12.345, "12.35"), (1234.5, "1,234"), (None, ""), (float("nan"), "")],
)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(("p", "text"), [(0.00001, "<0.0001"), (0.0123, "0.0123"), (1.0, "1.0000"), (None, "")])
def test_probabilities(p: float | None, text: str) -> None:
    assert probability(p) == text
