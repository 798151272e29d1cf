"""What the report shows, and in which order."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

from benchmark.contract import Analysis
from benchmark.data.protocol import Protocol
from benchmark.evaluation.claims import Verdict
from benchmark.evaluation.leaderboard import Leaderboard, PairedTest
from benchmark.report.layout import Column, Entry, Figure, Section, Table, interval, number, probability
from benchmark.report.published import published
from benchmark.report.scoreboard import ONE_FIT, mark, results
from benchmark.suite.schema import Suite


def title(leaderboard: Leaderboard) -> str:
    return leaderboard.suite.title or leaderboard.suite.name


def settings(leaderboard: Leaderboard) -> str:
    """One sentence on how the numbers were made."""
    suite = leaderboard.suite
    seeds = ", ".join(map(str, suite.seeds))
    others = "".join(f"; {model.name}: {', '.join(map(str, model.seeds))}" for model in suite.models if model.seeds)
    own = "".join(
        f" {name}: {', '.join(f'{key} {value}' for key, value in values.items())}."
        for name, values in _own_protocols(suite, leaderboard.data).items()
    )
    apart = (
        "other-day = later than the newest item of the history; "
        if any(row.slice == "other-day" for row in leaderboard.rows)
        else ""
    )
    return (
        f"Seen items {_masking(suite, leaderboard.data)}; "
        f"head = the {100 * suite.head_share:g} % of the items that are most popular in training of the task, "
        f"torso = the rest; {apart}seed{'s' if len(suite.seeds) > 1 else ''} {seeds}{others}.{own}"
    )


def _masking(suite: Suite, ran: Collection[str]) -> str:
    """Whether seen items are masked, by data set where they differ."""
    names: dict[bool, list[str]] = {}
    for data in suite.datasets:
        if data.name in ran:
            names.setdefault(suite.protocol_of(data).mask_seen, []).append(data.name)
    words = {True: "masked", False: "not masked"}
    if len(names) > 1:
        return ", ".join(f"{words[masked]} on {' and '.join(names[masked])}" for masked in (True, False))
    return words[next(iter(names), suite.protocol.mask_seen)]


def _own_protocols(suite: Suite, ran: Collection[str]) -> dict[str, dict[str, Any]]:
    """What else differs from the suite's protocol, by data set."""

    def plain(protocol: Protocol) -> dict[str, Any]:
        lists = [f"{task} {s.list_name}" for task, samplers in protocol.candidates.items() for s in samplers]
        return protocol.model_dump(exclude={"mask_seen"}) | {"candidates": " and ".join(lists) or "none"}

    common = plain(suite.protocol)
    own = {data.name: plain(data.protocol) for data in suite.datasets if data.protocol and data.name in ran}
    different = {name: {k: v for k, v in values.items() if v != common[k]} for name, values in own.items()}
    return {name: values for name, values in different.items() if values}


def sections(leaderboard: Leaderboard, analyses: Sequence[Analysis] = ()) -> list[Section]:
    """The whole report in order, without empty sections. Costs are last, for they vary between runs."""
    whole = [
        Section("results", "Results", list(results(leaderboard))),
        Section("comparisons", "Comparisons", list(_comparisons(leaderboard))),
        Section("claims", "Claims", list(_claims(leaderboard))),
        Section("failures", "Failures", list(_failures(leaderboard))),
        Section("analyses", "Analyses", list(_analyses(analyses))),
        Section("published", "Published", list(published(leaderboard))),
        Section("cost", "Cost", list(_costs(leaderboard))),
    ]
    return [section for section in whole if section.tables]


TESTED = (
    "Two-sided paired test over requests and fits (Student's t where all have one fit), with a sign-flip permutation "
    "test beside it; both must agree."
)


def _comparisons(lb: Leaderboard) -> Iterator[Table]:
    families = [[c for c in lb.comparisons if c.primary == primary] for primary in (True, False)]
    tables = [_family(lb, family, len(lb.comparisons)) for family in families if family]
    reasons: dict[tuple[str, str], list[str]] = {}
    for u in lb.untested:
        reasons.setdefault((u.dataset, u.reason), []).append(f"{u.model} against {u.baseline}")
    notes = [f"Not tested on {data}: {', '.join(pairs)} ({reason})." for (data, reason), pairs in reasons.items()]
    if notes and not tables:
        tables = [Table("", [], [])]
    for table in tables[:-1]:
        yield table
    for table in tables[-1:]:
        yield replace(table, notes=[*table.notes, *notes])


def _family(lb: Leaderboard, family: Sequence[PairedTest], of: int) -> Table:
    """The comparisons that are corrected together."""
    alpha, holm = lb.suite.significance.alpha, _holm(lb)
    columns = [Column(name, words=True) for name in ("data set", "task", "slice", "metric", "model", "baseline")]
    used = ("Holm p" if holm else "p", "perm. p")
    names = ("difference", f"{100 * (1 - alpha):g} % interval", *used, "resolvable", "n")
    columns += [Column(name) for name in names]
    means = {(r.dataset, r.task, r.slice, r.metric, r.model): r.mean for r in lb.rows}
    rows = []
    for c in family:
        base = means.get((c.dataset, c.task, c.slice, c.metric, c.baseline))
        texts = [c.dataset, c.task, c.slice, c.metric, c.model, c.baseline]
        bootstrap = c.test.bootstrap
        hint = f"crossed bootstrap: {interval(*bootstrap)}" if bootstrap else ""
        rows.append(
            [Entry(text) for text in texts]
            + [
                Entry(_difference(c, base)),
                Entry(interval(c.test.low, c.test.high), hint=hint),
                Entry(probability(c.p_corrected), mark=mark(c) if c.significant else ""),
                Entry(probability(c.p_permutation_corrected)),
                Entry(number(c.test.detectable(c.level))),
                Entry(str(c.test.n)),
            ]
        )
    primary = family[0].primary
    whole = len(family) == of
    which = (
        f"all {of} comparisons of the suite as one family" if whole else f"these {len(family)} comparisons as a family"
    )
    correction = f"Holm's correction of each over {which}." if holm else "Not corrected."
    level = f"alpha / {len(family)}" if holm else "alpha"
    notes = [
        f"{TESTED} {correction} ‡ significant at {alpha:g}. resolvable: the smallest true difference found with 80 % "
        f"power at {level}."
    ]
    if any(c.test.one_fit for c in family):
        notes.append(ONE_FIT)
    title = "" if whole and not primary else "The suite's own question" if primary else "Exploratory"
    return Table(title, columns, rows, notes)


def _holm(lb: Leaderboard) -> bool:
    return lb.suite.significance.correction == "holm"


def _difference(c: PairedTest, base: float | None) -> str:
    """The absolute difference, with the relative one where the baseline is large enough for it to mean something."""
    absolute = f"{c.test.difference:+.4f}"
    return f"{absolute} ({c.test.difference / base:+.0%})" if base is not None and base >= 0.01 else absolute


def _claims(lb: Leaderboard) -> Iterator[Table]:
    if not lb.claims:
        return
    columns = [
        Column("verdict", words=True),
        Column("expected", words=True),
        Column("where", words=True),
        Column("measured", words=True),
        Column("difference"),
        Column("Holm p" if _holm(lb) else "p"),
        Column("resolvable"),
        Column("in words", long=True, words=True),
    ]
    tested = [verdict for verdict in lb.claims if verdict.p is not None]
    corrected = f"Holm's correction over {len(tested)} tested claims" if _holm(lb) else "not corrected"
    level = f"alpha / {len(tested)}" if _holm(lb) else "alpha"
    notes = [
        f"holds, fails: a significant difference ({corrected}; both tests agree) of the expected, or of the other "
        "sign. Against several models: from all of them, the least clear one is shown. "
        f"resolvable: the smallest true difference found with 80 % power at {level}, the level that decides."
    ]
    if lower := dict.fromkeys(
        v.claim.where.metric for v in lb.claims if lb.better.get(v.claim.where.metric) == "lower"
    ):
        notes.append(f"{', '.join(lower)}: > says better, which is lower.")
    if any(verdict.one_fit for verdict in tested):
        notes.append(
            "holds for this fit, fails for this fit: a model of the claim was trained with one seed; another fit may "
            "differ, and only several seeds tell about the method."
        )
    if any(verdict.verdict == "not testable" for verdict in lb.claims):
        notes.append("not testable: the claim could not come out otherwise here, or n is too small; it is not counted.")
    if any(claim.reduced for claim in lb.claims):
        notes.append("Measured at a reduced scale: on less data, or with smaller models, than the paper's.")
    yield Table("", columns, [_claim(verdict) for verdict in lb.claims], notes)


def _claim(v: Verdict) -> list[Entry]:
    where = v.claim.where
    place = f"{where.dataset} {where.task} {where.slice} {where.metric}"
    test, rival = v.test, v.decisive
    measured = f"{number(v.a)} vs {number(rival.mean)}" if rival else ""
    if rival and len(v.rivals) > 1:
        measured += f" ({rival.name})"
    absent = v.verdict == "undecided" and rival is None  # the reason is not a word on the verdict, and may be long
    return [
        Entry(f"{v.verdict} ({v.reason})" if v.reason and not absent else v.verdict, bold=v.decided),
        Entry(v.claim.expect),
        Entry(place),
        Entry(v.reason if absent else measured),
        Entry(f"{test.difference:+.4f} ± {number((test.high - test.low) / 2) or '∞'}" if test else ""),
        Entry(probability(v.p_corrected)),
        Entry(number(v.resolvable)),
        Entry(f"{v.claim.text} ({v.claim.source})" if v.claim.source else v.claim.text),
    ]


def _failures(lb: Leaderboard) -> Iterator[Table]:
    if lb.failures:
        columns = [Column(name, words=True) for name in ("data set", "model", "seed", "error", "log")]
        rows = [[Entry(str(x)) for x in (f.dataset, f.model, f.seed, f.error, f.log)] for f in lb.failures]
        yield Table("", columns, rows)


def _analyses(analyses: Sequence[Analysis]) -> Iterator[Table]:
    paths: set[str] = set()
    for analysis in analyses:
        figure = _figure(analysis, paths) if analysis.figure else None
        paths |= {figure.path} if figure else set()
        yield _analysis(analysis, figure)


def _figure(analysis: Analysis, taken: Collection[str]) -> Figure:
    """The figure with a path of its own: two analyses may have one title."""
    slug = re.sub(r"[^a-z0-9]+", "-", analysis.title.lower()).strip("-") or "figure"
    names = (f"figures/{slug}{f'-{i}' if i > 1 else ''}.svg" for i in itertools.count(1))
    path = next(name for name in names if name not in taken)
    also = "; the table below has its numbers" if len(analysis.table) else ""
    return Figure(analysis.figure, f"Figure: {analysis.title}{also}", path)


def figures(analyses: Sequence[Analysis]) -> dict[str, str]:
    """The text of every figure by its path beside the report."""
    return {table.figure.path: table.figure.svg for table in _analyses(analyses) if table.figure}


def _analysis(analysis: Analysis, figure: Figure | None) -> Table:
    frame = analysis.table
    named = frame.index.name is not None or frame.index.nlevels > 1 or frame.index.inferred_type == "string"
    frame = frame.reset_index() if named else frame
    columns = []
    for i, name in enumerate(frame.columns):
        words = any(isinstance(value, str) for value in frame.iloc[:, i])
        columns.append(Column("" if name == "index" else str(name), words=words))
    rows = [[Entry(_plain(value)) for value in row] for row in frame.itertuples(index=False)]
    return Table(analysis.title, columns, rows, [analysis.note] if analysis.note else [], figure)


def _costs(lb: Leaderboard) -> Iterator[Table]:
    if not lb.costs:
        return
    columns = [Column(name, words=True) for name in ("data set", "model", "seed")]
    shown = [
        ("fit s", "fit_seconds", ",.1f", 1),
        ("embeddings s", "embeddings_seconds", ",.1f", 1),
        ("updates", "updates", ",.0f", 1),
        ("examples", "examples", ",.0f", 1),
        ("rank s", "rank_seconds", ",.2f", 1),
        ("ms per request", "milliseconds_per_request", ",.3f", 1),
        ("peak memory MB", "peak_memory_bytes", ",.0f", 1e6),
        ("parameters", "parameters", ",.0f", 1),
    ]
    optional = {"embeddings_seconds", "updates", "examples"}
    stated = {key for _, key, _, _ in shown if any(getattr(cell.costs, key) is not None for cell in lb.costs)}
    shown = [column for column in shown if column[1] in stated or column[1] not in optional]
    columns += [Column(name) for name, *_ in shown]

    def text(value: float | None, form: str, scale: float) -> Entry:
        return Entry("" if value is None else format(value / scale, form))

    notes = ["One machine's seconds: they differ between runs."]
    if "embeddings_seconds" in stated:
        notes.append(
            "embeddings s: training another model whose item embeddings this one reads, once for all that ask; it is "
            "not part of fit s."
        )
    if stated & {"updates", "examples"}:
        notes.append("updates: steps of the optimiser; examples: training examples shown, repeats counted.")
    yield Table(
        "",
        columns,
        [
            [Entry(cell.dataset), Entry(cell.model), Entry(str(cell.seed))]
            + [text(getattr(cell.costs, key), form, scale) for _, key, form, scale in shown]
            for cell in lb.costs
        ],
        notes,
    )


def _plain(value: Any) -> str:
    if value is None or value != value:
        return ""
    return number(value) if isinstance(value, float) else str(value)
