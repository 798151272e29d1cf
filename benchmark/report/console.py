"""The leaderboard as tables for a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from textwrap import fill, wrap

from tabulate import tabulate

from benchmark.contract import Analysis
from benchmark.evaluation.leaderboard import Leaderboard
from benchmark.report.contents import sections, settings, title
from benchmark.report.layout import Column, Entry, Table
from benchmark.text import visible

WIDTH = 150
BEST = "* best of its column."
_WRAP = 40


def render(leaderboard: Leaderboard, analyses: Sequence[Analysis] = (), width: int = WIDTH) -> str:
    """Tables of at most `width` columns where their metrics can be put one below the other."""
    profile = leaderboard.suite.profile or "default"
    parts = [f"{title(leaderboard)} — profile {profile}", fill(settings(leaderboard), width)]
    parts += [f"! {mark}" for mark in leaderboard.remarks]
    # What others measured is for the files: it would push this run's numbers out of the window.
    for section in (s for s in sections(leaderboard, analyses) if s.kind != "published"):
        parts.append(f"\n{section.heading.upper()}")
        for table in section.tables:
            pieces = "\n\n".join(_text(piece) for piece in _narrow(table, width)) if table.rows else ""
            notes = [fill(note, width) for note in ([BEST] if section.kind == "results" else []) + list(table.notes)]
            parts.append("\n".join(x for x in (table.title and f"\n{table.title}", pieces, *notes) if x))
    return visible("\n".join(part for part in parts if part) + "\n")


def print_report(leaderboard: Leaderboard, analyses: Sequence[Analysis] = ()) -> None:
    """The report on standard output."""
    sys.stdout.write(render(leaderboard, analyses))


def _narrow(table: Table, width: int) -> Iterator[Table]:
    """The table in pieces that fit, cut between groups of columns, each with the first column again."""
    kept = [i for i, column in enumerate(table.columns) if not column.long]
    groups: list[list[int]] = []
    for i in kept:
        same = groups and table.columns[i].group and table.columns[i].group == table.columns[groups[-1][-1]].group
        if same:
            groups[-1].append(i)
        else:
            groups.append([i])
    if not any(column.group for column in table.columns):
        groups = [kept]
    piece = groups[0]
    for group in groups[1:]:
        if len(piece) > 1 and _width(_pick(table, piece + group)) > width:
            yield _pick(table, piece)
            piece = groups[0] + group
        else:
            piece = piece + group
    yield _pick(table, piece)


def _pick(table: Table, columns: Sequence[int]) -> Table:
    return replace(
        table, columns=[table.columns[i] for i in columns], rows=[[row[i] for i in columns] for row in table.rows]
    )


def _width(table: Table) -> int:
    return max(len(line) for line in _text(table).splitlines())


def _text(table: Table) -> str:
    return tabulate(
        [
            [_wrapped(_entry(e, c)) if c.words else _entry(e, c) for e, c in zip(row, table.columns, strict=True)]
            for row in table.rows
        ],
        headers=[_heading(table.columns, i) for i in range(len(table.columns))],
        tablefmt="simple",
        disable_numparse=True,
        preserve_whitespace=True,
        colalign=["left" if column.words else "right" for column in table.columns],
    )


def _wrapped(text: str) -> str:
    """Lines of at most `_WRAP` characters. tabulate's own wrapping takes "1,000" for a number and then fails on it."""
    return "\n".join(part for line in text.splitlines() for part in wrap(line, _WRAP))


def _heading(columns: Sequence[Column], i: int) -> str:
    column = columns[i]
    if not any(c.group for c in columns):
        return column.name
    first = i == 0 or columns[i - 1].group != column.group
    above = column.group.replace(" in the", "") if first else ""
    return "\n".join([above, column.name, *([column.below] if any(c.below for c in columns) else [])])


def _entry(entry: Entry, column: Column) -> str:
    """A star is the best of a column: a terminal's bold would not survive a pipe. Marks take a place in every row."""
    if not column.group or column.grey:
        return entry.text + entry.mark
    return entry.text and entry.text + f"{'*' if entry.bold else ''}{entry.mark}".ljust(3)
