"""The result tables: models by metric and slice, as in Table 5 of Penha 2024, with the published values beside ours."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from benchmark.evaluation.leaderboard import Leaderboard, PairedTest, Row
from benchmark.metric import Better, parse_metric
from benchmark.report.data import data_notes
from benchmark.report.layout import Column, Entry, Table, decimals, number
from benchmark.suite.schema import NEW

ONE_FIT = (
    "¹ one fit: a model here was trained with one seed, so this is about these fitted models. Another fit may differ, "
    "and only several seeds tell about the method."
)


def mark(c: PairedTest) -> str:
    """What a significant difference is marked with."""
    return "‡¹" if c.test.one_fit else "‡"


def results(lb: Leaderboard) -> Iterator[Table]:
    places = dict.fromkeys((row.dataset, row.task) for row in lb.rows)
    for dataset, task in places:
        rows = [row for row in lb.rows if (row.dataset, row.task) == (dataset, task)]
        yield _result(lb, f"{dataset} · {task}", rows)


def _result(lb: Leaderboard, heading: str, rows: Sequence[Row]) -> Table:
    at = {(row.metric, row.slice, row.model): row for row in rows}
    metrics = list(dict.fromkeys(row.metric for row in rows))
    slices = dict.fromkeys(row.slice for row in rows)
    counts = {(row.metric, row.slice): row.n for row in rows}
    models = list(dict.fromkeys(row.model for row in rows))
    won = _won(lb, rows[0].dataset, rows[0].task)
    columns, lines = [Column("model", words=True)], [[Entry(model)] for model in models]
    for metric in metrics:
        for slice_name in slices:
            columns.append(Column(slice_name, metric, f"n={counts[metric, slice_name]}"))
            cells = [at.get((metric, slice_name, model)) for model in models]
            best = _best(cells, lb.better.get(metric, "higher"))
            for line, row in zip(lines, cells, strict=True):
                line.append(_score(row, best, won.get((metric, slice_name, row.model), "") if row else ""))
    _add_coverage(columns, lines, rows, models)
    for metric in metrics:
        for slice_name in slices:
            cells = [at.get((metric, slice_name, model)) for model in models]
            if any(row and row.published for row in cells):
                columns.append(Column(slice_name, f"{metric} in the paper", grey=True))
                digits = decimals(row.published.value for row in cells if row and row.published)
                for line, row in zip(lines, cells, strict=True):
                    printed = row.published if row else None
                    line.append(Entry(f"{printed.value:.{digits}f}", hint=printed.source) if printed else Entry(""))
    return Table(heading, columns, lines, list(_result_notes(lb, rows, set(won.values()))))


def _add_coverage(columns: list[Column], lines: list[list[Entry]], rows: Sequence[Row], models: Sequence[str]) -> None:
    """The share of requests with a ranking, shown where it is not 1 for everybody."""
    if all(row.coverage >= 1 for row in rows):
        return
    first = rows[0].slice
    coverage = {row.model: row.coverage for row in rows if row.slice == first}
    columns.append(Column(first, "coverage"))
    for line, model in zip(lines, models, strict=True):
        line.append(Entry(f"{coverage[model]:.4f}" if model in coverage else ""))


def _best(rows: Sequence[Row | None], better: Better) -> float | None:
    """The best mean of several models; None where they are all equal, or neither side is better."""
    means = [row.mean for row in rows if row and row.mean is not None]
    if better == "neither" or len(set(means)) < 2:
        return None
    return max(means) if better == "higher" else min(means)


def _score(row: Row | None, best: float | None, mark: str) -> Entry:
    if row is None or row.mean is None:
        return Entry("")
    hint = "" if row.low is None else f"{number(row.low)} to {number(row.high)}"
    spread = "" if row.sd is None else f"{row.sd:.4f}"
    return Entry(number(row.mean), mark, spread, best is not None and row.mean == best, hint)


def _won(lb: Leaderboard, dataset: str, task: str) -> dict[tuple[str, str, str], str]:
    """Where a model is significantly better than every baseline it was tested against, by (metric, slice, model), and
    how that is marked: ‡, or ‡¹ where it is about one fit."""
    signs = {"higher": 1, "lower": -1, "neither": 0}
    marks: dict[tuple[str, str, str], list[str]] = {}
    for c in lb.comparisons:
        if (c.dataset, c.task) == (dataset, task):
            won = c.significant and signs[lb.better.get(c.metric, "higher")] * c.test.difference > 0
            marks.setdefault((c.metric, c.slice, c.model), []).append(mark(c) if won else "")
    return {place: max(some, key=len) for place, some in marks.items() if all(some)}


def _result_notes(lb: Leaderboard, rows: Sequence[Row], marked: Collection[str]) -> Iterator[str]:
    if marked:
        place = rows[0].dataset, rows[0].task
        pairs = dict.fromkeys((c.model, c.baseline) for c in lb.comparisons if (c.dataset, c.task) == place)
        tested = ", ".join(f"{model} with {baseline}" for model, baseline in pairs)
        yield f"‡ significantly better than every baseline the model is compared with here ({tested}); see Comparisons."
    if "‡¹" in marked:
        yield ONE_FIT
    metrics = dict.fromkeys(row.metric for row in rows)
    for side, which in (("lower", "lower values are better"), ("neither", "neither side is better, so none is marked")):
        if names := [metric for metric in metrics if lb.better.get(metric) == side]:
            yield f"{', '.join(names)}: {which}."
    if any(row.sd is not None for row in rows):
        yield "± standard deviation over seeds."
    for source in dict.fromkeys(row.published.source for row in rows if row.published):
        yield f"In the paper: {source}."
    yield from data_notes(lb, rows[0].dataset, rows[0].task)
    yield from _list_notes(lb, rows)
    general = lb.remarks
    for row in {row.model: row for row in rows}.values():
        own = [mark for mark in row.marks if mark not in general]
        if own:
            yield f"{row.model}: {', '.join(own)}."


def _list_notes(lb: Leaderboard, rows: Sequence[Row]) -> Iterator[str]:
    """What the metrics over candidate lists are, a line for each list."""
    used = {parse_metric(row.metric).candidates for row in rows} - {""}
    if NEW in used:
        yield (
            f"|{NEW}: ranked once more with all items of the user's own history left out, by every model alike; "
            "requests whose relevant items all stand there have no answer left and drop out."
        )
    for made in lb.lists.get(rows[0].dataset, ()):
        if made.task != rows[0].task or made.name not in used:
            continue
        kinds = {"uniform": "drawn uniformly", "popularity": "drawn in proportion to their training interactions"}
        kind = kinds.get(made.kind, f"that '{made.kind}' ranks highest")
        several, fewer, filled = made.requests, made.requests_with_fewer, made.requests_filled
        how = "in proportion to popularity" if made.fill == "popular" else "uniformly"
        rest = f"; where it finds fewer ({filled / several:.0%} of the requests), the rest is drawn {how}"
        few = f"; {fewer} of {several} requests have fewer, down to {made.fewest_negatives}" if fewer else ""
        table = "query and item" if made.task == "search" else "item"
        yield (
            f"|{made.name}: the request's relevant items ranked among {made.n} other items {kind}"
            f"{rest if filled else ''}, {SPARED[made.spare]}, the same for every model{few}. A table of how often "
            f"training has each {table} has HR@1 {made.lookup_hr1:.3f} here, without knowing the user. Such numbers "
            "can order models otherwise than those over the whole catalogue."
        )


SPARED = {
    "target": "only its own answers spared",
    "history": "none of them clicked by the user before",
    "user": "none of them ever clicked by the user",
    "query": "none of them known to answer the query",
}
"""What a list never has as a negative, besides the request's own answers."""
