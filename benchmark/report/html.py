"""The leaderboard as one page that needs nothing else: no script, no font, no network."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator, Sequence
from itertools import groupby

from benchmark.contract import Analysis
from benchmark.evaluation.leaderboard import Leaderboard
from benchmark.report.contents import sections, settings, title
from benchmark.report.layout import Column, Entry, Figure, Section, Table
from benchmark.text import visible

STYLE = """
:root { --ink: #1c2024; --soft: #687076; --line: #e1e4e8; --paper: #fff; --ground: #f6f7f9; --accent: #0b5fff;
  --good: #157f3c; --bad: #c2281d; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ea; --soft: #9aa2a9; --line: #31373d; --paper: #1a1d21;
  --ground: #121417; --accent: #7aa7ff; --good: #55c47d; --bad: #ff7a6e; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 1480px; margin: 0 auto; padding: 40px 28px 80px; }
h1 { font-size: 27px; line-height: 1.25; margin: 0 0 8px; letter-spacing: -.01em; }
h2 { font-size: 19px; margin: 44px 0 12px; }
.about, .notes { color: var(--soft); max-width: 110ch; }
.about b { color: var(--ink); font-weight: 600; }
.mark { margin: 16px 0 0; padding: 9px 14px; border-radius: 8px; border: 1px solid #d9a400; font-weight: 600;
  background: repeating-linear-gradient(-45deg, #d9a40022 0 10px, #d9a40044 10px 20px); }
nav { margin-top: 14px; display: flex; gap: 18px; flex-wrap: wrap; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
figure { margin: 0 0 22px; background: var(--paper); border: 1px solid var(--line); border-radius: 10px;
  overflow: hidden; }
figcaption { padding: 13px 18px 0; font-weight: 600; }
.drawing { margin: 12px 18px 6px; overflow-x: auto; }
.drawing img { display: block; max-width: 100%; height: auto; padding: 10px; border-radius: 8px; background: #fff; }
.wide { overflow-x: auto; padding: 8px 6px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 12px; text-align: right; white-space: nowrap; }
th { font-weight: 500; color: var(--soft); font-size: 13px; vertical-align: bottom; }
th.group { text-align: center; color: var(--ink); font-weight: 600; border-bottom: 1px solid var(--line); }
th small { display: block; font-weight: 400; font-size: 11px; }
.words { text-align: left; }
.first { border-left: 1px solid var(--line); }
.long { white-space: normal; min-width: 34ch; max-width: 60ch; }
.claims td:nth-child(n+2):nth-child(-n+4) { white-space: normal; min-width: 13ch; overflow-wrap: anywhere; }
tbody tr { border-top: 1px solid var(--line); }
tbody tr:hover { background: var(--ground); }
td b { font-weight: 700; }
td sup { position: absolute; color: var(--accent); font-weight: 700; line-height: 1.2; }
td .spread { display: block; color: var(--soft); font-size: 11px; line-height: 1.2; }
.grey, td.grey { color: var(--soft); }
th.grey.group { color: var(--soft); font-weight: 500; }
.notes { font-size: 13px; padding: 0 18px 12px; margin: 0; }
.notes p { margin: 4px 0; }
.holds, .fails, .undecided { padding: 1px 9px; border-radius: 99px; font-size: 13px; font-weight: 600;
  border: 1px solid; }
.holds { color: var(--good); } .fails { color: var(--bad); } .undecided { color: var(--soft); font-weight: 500; }
.failures td { white-space: normal; overflow-wrap: anywhere; min-width: 8ch; }
.failures figure { border-color: var(--bad); }
"""


def render(leaderboard: Leaderboard, analyses: Sequence[Analysis] = ()) -> str:
    """A whole page. Model names, errors and all other text are escaped."""
    shown = sections(leaderboard, analyses)
    links = "".join(f'<a href="#{section.kind}">{section.heading}</a>' for section in shown)
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title(leaderboard))}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>",
        f"<h1>{escape(title(leaderboard))}</h1>",
        f'<div class="about">Suite <b>{escape(leaderboard.suite.name)}</b>, profile '
        f"<b>{escape(leaderboard.suite.profile or 'default')}</b>. {escape(settings(leaderboard))}</div>",
        *(f'<div class="mark">{escape(mark)}</div>' for mark in leaderboard.remarks),
        f"<nav>{links}</nav>",
        *(line for section in shown for line in _section(section)),
        "</main>\n</body>\n</html>",
    ]
    return "\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Text that a browser shows as it is."""
    return html.escape(visible(text))


def _section(section: Section) -> Iterator[str]:
    yield f'<section id="{section.kind}" class="{section.kind}">\n<h2>{section.heading}</h2>'
    for table in section.tables:
        yield "<figure>"
        if table.title:
            yield f"<figcaption>{escape(table.title)}</figcaption>"
        if table.figure:
            yield _image(table.figure)
        if table.rows:
            yield from _table(table)
        if table.notes:
            yield '<div class="notes">' + "".join(f"<p>{escape(note)}</p>" for note in table.notes) + "</div>"
        yield "</figure>"
    yield "</section>"


def _image(figure: Figure) -> str:
    """The drawing as an image inside the page: a browser runs no script of an image, and fetches nothing for it."""
    data = base64.b64encode(figure.svg.encode()).decode()
    return f'<div class="drawing"><img alt="{escape(figure.alt)}" src="data:image/svg+xml;base64,{data}"></div>'


def _table(table: Table) -> Iterator[str]:
    starts = [i > 0 and bool(c.group) and c.group != table.columns[i - 1].group for i, c in enumerate(table.columns)]
    yield '<div class="wide"><table>\n<thead>'
    if any(column.group for column in table.columns):
        cells = []
        for group, members in groupby(table.columns, key=lambda column: column.group):
            columns = list(members)
            kind = f"group first{' grey' if columns[0].grey else ''}" if group else ""
            cells.append(f'<th class="{kind}" colspan="{len(columns)}">{escape(group)}</th>')
        yield f"<tr>{''.join(cells)}</tr>"
    heads = (_heading(column, start) for column, start in zip(table.columns, starts, strict=True))
    yield f"<tr>{''.join(heads)}</tr>\n</thead>\n<tbody>"
    for row in table.rows:
        cells = [_entry(entry, column, start) for entry, column, start in zip(row, table.columns, starts, strict=True)]
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody>\n</table></div>"


def _class(column: Column, start: bool) -> str:
    names = [name for name in ("words", "grey", "long") if getattr(column, name)] + ["first"] * start
    return f' class="{" ".join(names)}"' if names else ""


def _heading(column: Column, start: bool) -> str:
    below = f"<small>{escape(column.below)}</small>" if column.below else ""
    return f"<th{_class(column, start)}>{escape(column.name)}{below}</th>"


def _entry(entry: Entry, column: Column, start: bool) -> str:
    text = escape(entry.text)
    if column.name == "verdict":
        kind = entry.text.split()[0]
        text = f'<span class="{kind if kind in ("holds", "fails") else "undecided"}">{text}</span>'
    elif entry.bold and text:
        text = f"<b>{text}</b>"
    mark = f"<sup>{escape(entry.mark)}</sup>" if entry.mark else ""
    spread = f' <span class="spread">± {escape(entry.spread)}</span>' if entry.spread else ""
    hint = f' title="{escape(entry.hint)}"' if entry.hint else ""
    return f"<td{_class(column, start)}{hint}>{text}{mark}{spread}</td>"
