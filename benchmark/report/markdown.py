"""The leaderboard as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from benchmark.contract import Analysis
from benchmark.evaluation.leaderboard import Leaderboard
from benchmark.report.contents import sections, settings, title
from benchmark.report.layout import Column, Entry, Section, Table
from benchmark.text import visible


def render(leaderboard: Leaderboard, analyses: Sequence[Analysis] = ()) -> str:
    lines = [f"# {_plain(title(leaderboard))}", ""]
    profile = leaderboard.suite.profile or "default"
    lines += [_plain(f"Suite {leaderboard.suite.name}, profile {profile}. {settings(leaderboard)}")]
    lines += [f"\n**{_plain(mark)}**" for mark in leaderboard.remarks]
    for section in sections(leaderboard, analyses):
        lines += ["", *_section(section)]
    return "\n".join(lines) + "\n"


def _section(section: Section) -> Iterator[str]:
    yield f"## {section.heading}"
    for table in section.tables:
        yield ""
        if table.title:
            yield f"### {_plain(table.title)}\n"
        if table.figure:
            yield f"![{_plain(table.figure.alt)}]({table.figure.path})\n"
        yield from _table(table)
        for note in table.notes:
            yield f"\n{_plain(note)}"


def _table(table: Table) -> Iterator[str]:
    if not table.rows:
        return
    yield _line(_heading(column) for column in table.columns)
    yield _line("---" if column.words else "---:" for column in table.columns)
    for row in table.rows:
        yield _line(_entry(entry) for entry in row)


def _line(cells: Iterator[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _heading(column: Column) -> str:
    name = f"{column.group} {column.name}".strip()
    return _plain(f"{name} ({column.below})" if column.below else name)


def _entry(entry: Entry) -> str:
    text = _plain(entry.text)
    spread = f" ± {entry.spread}" if entry.spread else ""
    return (f"**{text}**" if entry.bold and text else text) + entry.mark + spread


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, also inside a table."""
    return re.sub(r"([\\`*|]|<(?=[a-zA-Z/!?])|\](?=[(\[:])|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(visible(text).split()))
