"""What a paper prints and what others measured since, model by model beside our own numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmark.evaluation.leaderboard import Leaderboard, Row
from benchmark.report.layout import Column, Entry, Table, decimals, number
from benchmark.suite.published import Published, PublishedTable
from benchmark.suite.schema import Named

OURS = "this run"
ELSEWHERE = (
    "None of the run's data sets is one of the paper's. These are the numbers for the paper's own data sets, from the "
    "paper and from others who measured since; nothing here was measured on them, and no number of this run can be "
    "compared with them."
)


def published(lb: Leaderboard) -> Iterator[Table]:
    """A table per data set, task and slice, where it says more than the result tables do.

    That is where somebody else has measured too, or the paper has models that are not in the run. Data sets of the
    paper that were not run are shown only where none of them was.
    """
    if lb.published is None:
        return
    ran = dict.fromkeys((row.dataset, published_name(lb.suite.datasets, row.dataset)) for row in lb.rows)
    datasets = {table.dataset for table in lb.published.tables}
    places = [(name, alias) for name, alias in ran if alias in datasets]
    if not places:
        yield Table("", [], [], [ELSEWHERE])
        places = [("", alias) for alias in dict.fromkeys(table.dataset for table in lb.published.tables)]
    for name, alias in places:
        of_data = [table for table in lb.published.tables if table.dataset == alias]
        for task, part in dict.fromkeys((table.task, table.slice) for table in of_data):
            tables = [table for table in of_data if (table.task, table.slice) == (task, part)]
            rows = [row for row in lb.rows if (row.dataset, row.task, row.slice) == (name, task, part)]
            heading = " · ".join([name or alias, task, *([part] if part != "all" else [])])
            measured = {row.metric for row in lb.rows}
            ours = _by_alias(lb, rows)
            # A metric that the suite does not have belongs to an analysis; its column of a common table would be empty.
            for group in (
                [table for table in tables if table.metric in measured],
                [table for table in tables if table.metric not in measured],
            ):
                new = any(table.source or not set(table.values) <= set(ours) for table in group)
                if group and (new or not name):
                    yield _table(heading, lb.published, group, ours)


def published_name(entries: Sequence[Named], name: str) -> str:
    """The name that a data set or model of the suite has in the published tables."""
    return next((entry.published_as or name for entry in entries if entry.name == name), name)


def _by_alias(lb: Leaderboard, rows: Sequence[Row]) -> dict[str, dict[str, list[Row]]]:
    """Our rows by the name that the model has in the published tables, and by its own."""
    rows_of: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        alias = published_name(lb.suite.models, row.model)
        rows_of.setdefault(alias, {}).setdefault(row.model, []).append(row)
    return rows_of


def _table(
    heading: str, paper: Published, tables: Sequence[PublishedTable], ours: dict[str, dict[str, list[Row]]]
) -> Table:
    """Per model: our row, the paper's, and one for everybody else who measured it."""
    metrics = list(dict.fromkeys(table.metric for table in tables))
    digits = {m: decimals(v for t in tables if t.metric == m for v in t.values.values()) for m in metrics}
    columns = [Column("model", words=True), Column("measured by", words=True)]
    columns += [Column(metric) for metric in metrics] + [Column("remark", long=True, words=True)]
    lines = []
    for name in dict.fromkeys(name for table in tables for name in table.values):
        for model, rows in ours.get(name, {}).items():
            means = {row.metric: number(row.mean) for row in rows}
            if any(metric in means for metric in metrics):
                own = OURS if model == name else f"{OURS}: {model}"
                numbers = [Entry(means.get(metric, ""), bold=True) for metric in metrics]
                lines.append([Entry(name), Entry(own, bold=True), *numbers, Entry("")])
        having = [table for table in tables if name in table.values]
        for source in sorted({table.source for table in having}, key=[table.source for table in having].index):
            first: dict[str, PublishedTable] = {}
            for table in having:
                if table.source == source:
                    first.setdefault(table.metric, table)
            numbers = [
                Entry(f"{first[metric].values[name]:.{digits[metric]}f}" if metric in first else "")
                for metric in metrics
            ]
            where = " and ".join(dict.fromkeys(_place(table) for table in first.values()))
            notes = " ".join(dict.fromkeys(table.note for table in first.values() if table.note))
            lines.append([Entry(name), Entry(f"{source or paper.paper}, {where}"), *numbers, Entry(notes)])
    data = dict.fromkeys(table.data for table in tables)
    return Table(heading, columns, lines, [f"Published numbers were measured on {'; '.join(data)}."])


def _place(table: PublishedTable) -> str:
    return f"{table.table}, page {table.page}" if table.page else table.table
