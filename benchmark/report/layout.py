"""What the report shows and in which order, before it has a format: sections of tables, their numbers already text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.evaluation.claims import Verdict
from benchmark.evaluation.leaderboard import Leaderboard, PairedTest, Row
from benchmark.types import Analysis


@dataclass(frozen=True)
class Column:
    """A heading: `group` stands above neighbours that share it, `below` is what the numbers are over, "n=943".

    `grey` columns hold other people's numbers; `long` ones hold sentences, and are left out where space is short.
    """

    name: str
    group: str = ""
    below: str = ""
    grey: bool = False
    long: bool = False
    words: bool = False


@dataclass(frozen=True)
class Entry:
    """A table's cell. `spread` is a standard deviation over seeds, `hint` what a page may show on demand."""

    text: str
    mark: str = ""
    spread: str = ""
    bold: bool = False
    hint: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of entries under columns; `notes` stand below."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Entry]]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Section:
    """Tables under a heading; `kind` is results, comparisons, claims, failures, analyses or cost."""

    kind: str
    heading: str
    tables: Sequence[Table]


def title(leaderboard: Leaderboard) -> str:
    return leaderboard.facts.get("title") or leaderboard.suite


def remarks(leaderboard: Leaderboard) -> list[str]:
    """What holds for every number: that a run is partial, or smaller than the paper's."""
    return list(leaderboard.marks.get("", ()))


def settings(leaderboard: Leaderboard) -> str:
    """One sentence on how the numbers were made."""
    facts = leaderboard.facts
    if not facts:
        return ""
    seeds = ", ".join(str(seed) for seed in facts["seeds"])
    return (
        f"Split {facts['split']}; seen items {'masked' if facts['mask_seen'] else 'not masked'}; "
        f"head = the {100 * facts['head_share']:g} % of the items that are most popular in training of the task, "
        f"torso = the rest; seed{'s' if len(facts['seeds']) > 1 else ''} {seeds}."
    )


def sections(leaderboard: Leaderboard, analyses: Sequence[Analysis] = ()) -> list[Section]:
    """The whole report in order, without empty sections. Costs are last, for they vary between runs."""
    found = [
        Section("results", "Results", list(_results(leaderboard))),
        Section("comparisons", "Comparisons", list(_comparisons(leaderboard))),
        Section("claims", "Claims", list(_claims(leaderboard))),
        Section("failures", "Failures", list(_failures(leaderboard))),
        Section("analyses", "Analyses", [_analysis(analysis) for analysis in analyses]),
        Section("cost", "Cost", list(_costs(leaderboard))),
    ]
    return [section for section in found if section.tables]


def number(value: float | None) -> str:
    """Four decimals; fewer where the number is large. Empty for None."""
    if value is None or not math.isfinite(value):
        return ""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}" if abs(value) < 1000 else f"{value:,.0f}"


def probability(p: float | None) -> str:
    if p is None:
        return ""
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


def _results(lb: Leaderboard) -> Iterator[Table]:
    places = dict.fromkeys((row.dataset, row.task) for row in lb.rows)
    for dataset, task in places:
        rows = [row for row in lb.rows if (row.dataset, row.task) == (dataset, task)]
        yield _result(lb, f"{dataset} · {task}", rows)


def _result(lb: Leaderboard, heading: str, rows: Sequence[Row]) -> Table:
    at = {(row.metric, row.slice, row.model): row for row in rows}
    metrics = list(dict.fromkeys(row.metric for row in rows))
    slices = {row.slice: row.n for row in rows}
    models = list(dict.fromkeys(row.model for row in rows))
    better = _better(lb, rows[0].dataset, rows[0].task)
    columns, lines = [Column("model", words=True)], [[Entry(model)] for model in models]
    for metric in metrics:
        for slice_name, n in slices.items():
            columns.append(Column(slice_name, metric, f"n={n}"))
            cells = [at.get((metric, slice_name, model)) for model in models]
            best = _best(cells)
            for line, row in zip(lines, cells, strict=True):
                line.append(_score(row, best, row is not None and (metric, slice_name, row.model) in better))
    _add_coverage(columns, lines, rows, models)
    for metric in metrics:
        for slice_name in slices:
            cells = [at.get((metric, slice_name, model)) for model in models]
            if any(row and row.published for row in cells):
                columns.append(Column(slice_name, f"{metric} in the paper", grey=True))
                for line, row in zip(lines, cells, strict=True):
                    printed = row.published if row else None
                    line.append(Entry(f"{printed.value:.3f}", hint=printed.source) if printed else Entry(""))
    return Table(heading, columns, lines, list(_result_notes(lb, rows, bool(better))))


def _add_coverage(columns: list[Column], lines: list[list[Entry]], rows: Sequence[Row], models: Sequence[str]) -> None:
    """The share of requests with a ranking, shown where it is not 1 for everybody."""
    if all(row.coverage >= 1 for row in rows):
        return
    first = rows[0].slice
    coverage = {row.model: row.coverage for row in rows if row.slice == first}
    columns.append(Column(first, "coverage"))
    for line, model in zip(lines, models, strict=True):
        line.append(Entry(f"{coverage[model]:.4f}" if model in coverage else ""))


def _best(rows: Sequence[Row | None]) -> float | None:
    """The highest mean among several models. Totals, such as a Gini index, have no better side, and no interval."""
    means = [row.mean for row in rows if row and row.mean is not None and row.low is not None]
    return max(means) if len(means) > 1 and max(means) > 0 else None


def _score(row: Row | None, best: float | None, better: bool) -> Entry:
    if row is None or row.mean is None:
        return Entry("")
    hint = "" if row.low is None else f"{number(row.low)} to {number(row.high)}"
    spread = "" if row.sd is None else f"{row.sd:.4f}"
    return Entry(number(row.mean), "‡" if better else "", spread, best is not None and row.mean == best, hint)


def _better(lb: Leaderboard, dataset: str, task: str) -> set[tuple[str, str, str]]:
    """Where a model is significantly better than every baseline it was tested against: (metric, slice, model)."""
    alpha = lb.facts.get("alpha", 0.05)
    wins: dict[tuple[str, str, str], bool] = {}
    for c in lb.comparisons:
        if (c.dataset, c.task) == (dataset, task):
            key = (c.metric, c.slice, c.model)
            wins[key] = wins.get(key, True) and c.p_corrected < alpha and c.test.difference > 0
    return {key for key, won in wins.items() if won}


def _result_notes(lb: Leaderboard, rows: Sequence[Row], better: bool) -> Iterator[str]:
    if better:
        place = rows[0].dataset, rows[0].task
        pairs = dict.fromkeys((c.model, c.baseline) for c in lb.comparisons if (c.dataset, c.task) == place)
        tested = ", ".join(f"{model} with {baseline}" for model, baseline in pairs)
        yield f"‡ significantly better than every baseline the model is compared with here ({tested}); see Comparisons."
    if any(row.sd is not None for row in rows):
        yield "± standard deviation over seeds."
    for source in dict.fromkeys(row.published.source for row in rows if row.published):
        yield f"In the paper: {source}."
    general = remarks(lb)
    for row in {row.model: row for row in rows}.values():
        own = [mark for mark in row.marks if mark not in general]
        if own:
            yield f"{row.model}: {', '.join(own)}."


def _comparisons(lb: Leaderboard) -> Iterator[Table]:
    if not lb.comparisons and not lb.untested:
        return
    alpha, holm = lb.facts.get("alpha", 0.05), _holm(lb)
    columns = [Column(name, words=True) for name in ("data set", "task", "slice", "metric", "model", "baseline")]
    columns += [
        Column(name)
        for name in (
            "difference",
            f"{100 * (1 - alpha):g} % interval",
            "p",
            "Holm p" if holm else "p used",
            "perm. p",
            "n",
        )
    ]
    means = {(r.dataset, r.task, r.slice, r.metric, r.model): r.mean for r in lb.rows}
    rows = []
    for c in lb.comparisons:
        significant = c.p_corrected < alpha
        base = means.get((c.dataset, c.task, c.slice, c.metric, c.baseline))
        texts = [c.dataset, c.task, c.slice, c.metric, c.model, c.baseline]
        rows.append(
            [Entry(text) for text in texts]
            + [
                Entry(_difference(c, base)),
                Entry(_interval(c.test.low, c.test.high)),
                Entry(probability(c.test.p)),
                Entry(probability(c.p_corrected), mark="‡" if significant else ""),
                Entry(probability(c.test.p_permutation)),
                Entry(str(c.test.n)),
            ]
        )
    notes = [
        "Two-sided paired t-test over requests, seeds averaged first; "
        + (
            f"Holm's correction over all {len(rows)} comparisons of the suite as one family"
            if holm
            else "not corrected"
        )
        + f"; sign-flip permutation test beside it. ‡ significant at {alpha:g}."
    ]
    notes += [f"Not tested on {u.dataset}: {u.model} against {u.baseline} ({u.reason})." for u in lb.untested]
    yield Table("", columns, rows, notes)


def _holm(lb: Leaderboard) -> bool:
    return bool(lb.facts.get("correction", "holm") == "holm")


def _difference(c: PairedTest, base: float | None) -> str:
    """The absolute difference, with the relative one where the baseline is large enough for it to mean something."""
    absolute = f"{c.test.difference:+.4f}"
    return f"{absolute} ({c.test.difference / base:+.0%})" if base is not None and base >= 0.01 else absolute


def _interval(low: float, high: float) -> str:
    return f"{low:+.4f} to {high:+.4f}" if math.isfinite(low) and math.isfinite(high) else ""


def _claims(lb: Leaderboard) -> Iterator[Table]:
    if not lb.claims:
        return
    columns = [
        Column("verdict", words=True),
        Column("claim", words=True),
        Column("expected", words=True),
        Column("where", words=True),
        Column("measured", words=True),
        Column("difference"),
        Column("p"),
        Column("resolvable"),
        Column("in words", long=True, words=True),
        Column("source", long=True, words=True),
    ]
    tested = sum(verdict.test is not None for verdict in lb.claims)
    corrected = f"Holm's correction over {tested} tested claims" if _holm(lb) else "not corrected"
    notes = [
        f"holds, fails: a significant difference ({corrected}) of the expected, or of the other sign. "
        "resolvable: the smallest true difference that the test finds with 80 % power."
    ]
    if any(claim.reduced for claim in lb.claims):
        notes.append("Measured at a reduced scale: on less data, or with smaller models, than the paper's.")
    yield Table("", columns, [_claim(verdict) for verdict in lb.claims], notes)


def _claim(v: Verdict) -> list[Entry]:
    where = v.claim.where
    place = f"{where.dataset} {where.task} {where.slice} {where.metric}"
    test = v.test
    return [
        Entry(v.verdict, bold=v.verdict != "undecided"),
        Entry(v.claim.id),
        Entry(v.claim.expect),
        Entry(place),
        Entry(v.reason if test is None else f"{number(v.a)} vs {number(v.b)}"),
        Entry(f"{test.difference:+.4f} ± {number((test.high - test.low) / 2) or '∞'}" if test else ""),
        Entry(probability(v.p_corrected)),
        Entry(number(test.detectable) if test else ""),
        Entry(v.claim.text),
        Entry(v.claim.source),
    ]


def _failures(lb: Leaderboard) -> Iterator[Table]:
    if lb.failures:
        columns = [Column(name, words=True) for name in ("data set", "model", "seed", "error", "log")]
        rows = [[Entry(str(x)) for x in (f.dataset, f.model, f.seed, f.error, f.log)] for f in lb.failures]
        yield Table("", columns, rows)


def _analysis(analysis: Analysis) -> Table:
    frame = analysis.table
    named = frame.index.name is not None or frame.index.nlevels > 1 or frame.index.inferred_type == "string"
    frame = frame.reset_index() if named else frame
    columns = []
    for i, name in enumerate(frame.columns):
        words = any(isinstance(value, str) for value in frame.iloc[:, i])
        columns.append(Column("" if name == "index" else str(name), words=words))
    rows = [[Entry(_plain(value)) for value in row] for row in frame.itertuples(index=False)]
    return Table(analysis.title, columns, rows, [analysis.note] if analysis.note else [])


def _plain(value: Any) -> str:
    if value is None or value != value:
        return ""
    return number(value) if isinstance(value, float) else str(value)


def _costs(lb: Leaderboard) -> Iterator[Table]:
    if not lb.costs:
        return
    columns = [Column(name, words=True) for name in ("data set", "model", "seed")]
    columns += [Column(name) for name in ("fit s", "rank s", "ms per request", "peak memory MB", "parameters")]

    def text(value: float | None, form: str, scale: float = 1) -> Entry:
        return Entry("" if value is None else format(value / scale, form))

    yield Table(
        "",
        columns,
        [
            [
                Entry(c.dataset),
                Entry(c.model),
                Entry(str(c.seed)),
                text(c.fit_seconds, ",.1f"),
                text(c.rank_seconds, ",.2f"),
                text(c.milliseconds_per_request, ",.3f"),
                text(c.peak_memory_bytes, ",.0f", 1e6),
                text(c.parameters, ",.0f"),
            ]
            for c in lb.costs
        ],
        ["One machine's seconds: they differ between runs."],
    )
