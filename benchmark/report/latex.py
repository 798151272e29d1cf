"""The result tables and comparisons in LaTeX, to be put into a paper."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from benchmark.evaluation.leaderboard import Leaderboard
from benchmark.report.contents import sections, settings, title
from benchmark.report.layout import Column, Entry, Table
from benchmark.text import visible

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "‡": r"$^{\ddagger}$",
    "¹": r"$^{1}$",
    "≤": r"$\leq$",
    "±": r"$\pm$",
    "·": r"$\cdot$",
    "–": "--",
    "—": "---",
    "−": "$-$",
    **{c: "\\" + c for c in "&%$#_{}"},
    **{c: "{" + c + "}" for c in "[]"},
}


def render(leaderboard: Leaderboard) -> str:
    """One table float per data set and task, and one of comparisons; needs the packages booktabs and xcolor."""
    about = f"{title(leaderboard)}, profile {leaderboard.suite.profile or 'default'}. {settings(leaderboard)}"
    lines = [r"% Needs \usepackage{booktabs} and \usepackage{xcolor}.", f"% {' '.join(visible(about).split())}"]
    lines += [f"% {' '.join(visible(mark).split())}" for mark in leaderboard.remarks]
    for section in sections(leaderboard):
        if section.kind in ("results", "comparisons"):
            for table in section.tables:
                if table.rows:
                    lines += ["", *_float(table, table.title or section.heading, leaderboard.remarks)]
    return "\n".join(lines) + "\n"


def _float(table: Table, heading: str, marks: Sequence[str]) -> Iterator[str]:
    yield r"\begin{table*}"
    yield r"\centering"
    yield r"\caption{" + escape(" ".join([f"{heading}.", *(f"{mark}." for mark in marks), *table.notes])) + "}"
    yield r"\begin{tabular}{" + "".join("l" if column.words else "r" for column in table.columns) + "}"
    yield r"\toprule"
    yield from _headings(table.columns)
    yield r"\midrule"
    for row in table.rows:
        yield _line(_entry(entry, column) for entry, column in zip(row, table.columns, strict=True))
    yield r"\bottomrule"
    yield r"\end{tabular}"
    yield r"\end{table*}"


def _headings(columns: Sequence[Column]) -> Iterator[str]:
    if any(column.group for column in columns):
        groups, rules, at = [], [], 1
        for group, members in groupby(columns, key=lambda column: column.group):
            width = len(list(members))
            groups.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(group)}}}" if group else " & " * (width - 1))
            if group:
                rules.append(rf"\cmidrule(lr){{{at}-{at + width - 1}}}")
            at += width
        yield _line(iter(groups))
        yield " ".join(rules)
    yield _line(escape(column.name) for column in columns)
    if any(column.below for column in columns):
        yield _line(rf"\footnotesize {escape(column.below)}" if column.below else "" for column in columns)


def _line(cells: Iterator[str]) -> str:
    return " & ".join(cells) + r" \\"


def _entry(entry: Entry, column: Column) -> str:
    text = escape(entry.text)
    if entry.bold and text:
        text = rf"\textbf{{{text}}}"
    if column.grey and text:
        text = rf"\textcolor{{gray}}{{{text}}}"
    spread = rf" {{\footnotesize $\pm$ {entry.spread}}}" if entry.spread else ""
    return text + escape(entry.mark) + spread


def escape(text: str) -> str:
    """Text that LaTeX prints as it is."""
    safe = re.sub("|".join(map(re.escape, _ESCAPES)), lambda found: _ESCAPES[found[0]], " ".join(visible(text).split()))
    return re.sub(r"(?<![\w-])-(?=\d)", "$-$", safe)
