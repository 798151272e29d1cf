"""All files of the report, written from a leaderboard."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark.contract import Analysis
from benchmark.evaluation.leaderboard import Leaderboard
from benchmark.report import html, latex, markdown, tables
from benchmark.report.contents import figures
from benchmark.results.run import write_reports


def report_files(leaderboard: Leaderboard, analyses: Sequence[Analysis] = ()) -> dict[str, str]:
    """The text of every file by its name. Costs vary between runs, and stand last in a file; all the rest does not."""
    return {
        "leaderboard.json": _json(leaderboard.to_json()),
        "leaderboard.md": markdown.render(leaderboard, analyses),
        "leaderboard.csv": tables.leaderboard_csv(leaderboard),
        "leaderboard.tex": latex.render(leaderboard),
        "leaderboard.html": html.render(leaderboard, analyses),
        "significance.csv": tables.significance_csv(leaderboard),
        "claims.json": _json([verdict.to_json() for verdict in leaderboard.claims]),
        **figures(analyses),
    }


def write_report(results: Path, leaderboard: Leaderboard, analyses: Sequence[Analysis] = ()) -> None:
    """Write all files into a suite's results folder, each in one piece."""
    write_reports(results, report_files(leaderboard, analyses))


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
