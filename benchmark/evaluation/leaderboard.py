"""The leaderboard: every model's mean on every slice, with paired tests, claims, failures and costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any

from benchmark.contract import Cell, Costs
from benchmark.data.types import TASKS, Dataset, SampledList, Task
from benchmark.evaluation.claims import Verdict, evaluate_claims
from benchmark.evaluation.pool import Evaluated as Evaluated
from benchmark.evaluation.pool import Place, Pool, pool
from benchmark.evaluation.significance import (
    Difference,
    Fits,
    corrected,
    enough_permutations,
    finite,
    first_step,
    interval,
    paired_test,
)
from benchmark.metric import Better, parse_metric
from benchmark.suite.published import Published, PublishedValue
from benchmark.suite.schema import Named, Suite, Where

SCHEMA_VERSION = 2
"""2: intervals and p values know the variance of fits; `resolvable` is at the corrected level; verdicts about one fit
say so; comparisons are in two families."""


@dataclass(frozen=True)
class Row:
    """One number: `mean` over n requests and all seeds, `sd` over seeds, `low` to `high` its interval over requests and
    fits.

    `seeds` is how many finished; with one, `sd` is None and the interval is about this fit. A metric about all lists
    together has no interval, and a slice without requests no mean.
    """

    dataset: str
    task: Task
    slice: str
    model: str
    metric: str
    mean: float | None
    sd: float | None
    n: int
    low: float | None
    high: float | None
    coverage: float
    seeds: int
    marks: tuple[str, ...]
    published: PublishedValue | None


@dataclass(frozen=True)
class PairedTest:
    """A model against a baseline on one slice: `test.difference` is the model's mean minus the baseline's.

    `primary` says which of the two families it is in. It is `significant` where p and permutation p, each corrected in
    its family, are below alpha. `level` is that of Holm's first step, at which `test.detectable` is stated.
    """

    dataset: str
    task: Task
    slice: str
    metric: str
    model: str
    baseline: str
    test: Difference
    primary: bool = False
    p_corrected: float = 1.0
    p_permutation_corrected: float = 1.0
    level: float = 0.05
    significant: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is not a number is None."""
        bootstrap = self.test.bootstrap or (None, None)
        return {
            "dataset": self.dataset,
            "task": self.task,
            "slice": self.slice,
            "metric": self.metric,
            "model": self.model,
            "baseline": self.baseline,
            "family": "primary" if self.primary else "exploratory",
            "difference": finite(self.test.difference),
            "low": finite(self.test.low),
            "high": finite(self.test.high),
            "low_bootstrap": bootstrap[0],
            "high_bootstrap": bootstrap[1],
            "n": self.test.n,
            "p": finite(self.test.p),
            "p_corrected": finite(self.p_corrected),
            "p_permutation": finite(self.test.p_permutation),
            "p_permutation_corrected": finite(self.p_permutation_corrected),
            "significant": self.significant,
            "one_fit": self.test.one_fit,
            "resolvable": finite(self.test.detectable(self.level)),
        }


@dataclass(frozen=True)
class Untested:
    """A declared comparison that could not be made, and why."""

    dataset: str
    model: str
    baseline: str
    reason: str


@dataclass(frozen=True)
class Failure:
    """A cell that has no result: its error in a line, and where its log is (a path relative to the results)."""

    dataset: str
    model: str
    seed: int
    error: str
    log: str


@dataclass(frozen=True)
class CellCosts:
    """What a finished cell took."""

    dataset: str
    model: str
    seed: int
    costs: Costs

    def to_json(self) -> dict[str, Any]:
        return {"dataset": self.dataset, "model": self.model, "seed": self.seed, **asdict(self.costs)}


@dataclass(frozen=True)
class Leaderboard:
    """All that the report shows. Everything but `costs` depends only on the rankings and the suite.

    `marks` are remarks by model, those under "" hold for all. `data` are the facts of each data set that was run,
    `lists` how its candidate lists were made. `published` is all that the suite's file of published values has.
    `better` says of each metric which values are better; of one that is not in it the higher ones are.
    """

    suite: Suite
    rows: tuple[Row, ...]
    comparisons: tuple[PairedTest, ...] = ()
    failures: tuple[Failure, ...] = ()
    costs: tuple[CellCosts, ...] = ()
    claims: tuple[Verdict, ...] = ()
    untested: tuple[Untested, ...] = ()
    marks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    data: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    lists: Mapping[str, Sequence[SampledList]] = field(default_factory=dict)
    published: Published | None = None
    better: Mapping[str, Better] = field(default_factory=dict)

    @property
    def remarks(self) -> Sequence[str]:
        """What holds for every number: that a run is partial, or smaller than the paper's."""
        return self.marks.get("", ())

    def to_json(self) -> dict[str, Any]:
        """The public schema of leaderboard.json: plain values, None for what is not a number."""
        return {
            "schema_version": SCHEMA_VERSION,
            "suite": self.suite.name,
            "profile": self.suite.profile,
            "rows": [asdict(row) | {"marks": list(row.marks)} for row in self.rows],
            "comparisons": [comparison.to_json() for comparison in self.comparisons],
            "claims": [claim.to_json() for claim in self.claims],
            "failures": [asdict(failure) for failure in self.failures],
            "costs": [cost.to_json() for cost in self.costs],
        }


def build_leaderboard(
    suite: Suite,
    evaluated: Sequence[Evaluated],
    failures: Sequence[Failure],
    costs: Sequence[CellCosts],
    published: Published | None,
    marks: Mapping[str, Sequence[str]],
    data: Mapping[str, Dataset] | None = None,
    remarks: Mapping[Cell, Sequence[str]] | None = None,
    heads: Mapping[str, int] | None = None,
    better: Mapping[str, Better] | None = None,
) -> Leaderboard:
    """Rows in the suite's order: data sets, tasks, slices, metrics (the primary one first, those over candidate lists
    last), models; the order of the input does not matter. `remarks` are what each cell said of itself, which its
    model's rows carry, `heads` how many items are the head of each data set, `better` which values of a metric
    are better (higher ones where it is not named).

    The primary comparisons of the suite are one family for the correction, the others another, its claims a third.
    What says nothing about the models (see `_obstacle`) is not tested, and in no family. Raises ContractError for
    scores of one data set that do not belong to the same requests.
    """
    datasets, models = _names(suite.datasets), _names(suite.models)
    pools = pool(evaluated)
    failures = sorted(failures, key=lambda f: (_place(datasets, f.dataset), _place(models, f.model), f.seed))
    costs = sorted(costs, key=lambda c: (_place(datasets, c.dataset), _place(models, c.model), c.seed))
    tests, barred = _comparisons(suite, pools, heads or {})
    ran = {place[0] for place in pools} | {failure.dataset for failure in failures}
    absent = {data.name for data in suite.datasets if data.optional and data.name not in ran}
    return Leaderboard(
        suite,
        tuple(_rows(suite, pools, published, marks, _by_model(remarks or {}))),
        tuple(tests),
        tuple(failures),
        tuple(costs),
        evaluate_claims(
            suite.model_copy(update={"claims": [c for c in suite.claims if c.where.dataset not in absent]}),
            lambda where, model: _find(suite, pools, failures, where, model),
            lambda where, models: _obstacle(suite, pools, heads or {}, where, models),
            {name for name, dataset in (data or {}).items() if dataset.facts.get("smoke_test")},
            {metric for metric, side in (better or {}).items() if side == "lower"},
        ),
        (*_untested(suite, pools, failures, absent), *barred),
        {model: tuple(remarks) for model, remarks in marks.items()},
        {name: dataset.facts for name, dataset in (data or {}).items() if name in ran},
        {name: dataset.lists for name, dataset in (data or {}).items()},
        published,
        dict(better or {}),
    )


def _names(entries: Iterable[Named]) -> list[str]:
    return [entry.name for entry in entries]


def _place(names: Sequence[str], name: str) -> tuple[int, str]:
    return (names.index(name) if name in names else len(names), name)


def _by_model(remarks: Mapping[Cell, Sequence[str]]) -> dict[tuple[str, str], list[str]]:
    """What the cells said, by data set and model; a remark that not all seeds made says which did."""
    seeds: dict[tuple[str, str], list[int]] = {}
    seeds_of: dict[tuple[str, str], dict[str, list[int]]] = {}
    for cell in sorted(remarks, key=lambda cell: cell.seed):
        place = cell.dataset, cell.model
        seeds.setdefault(place, []).append(cell.seed)
        for remark in dict.fromkeys(remarks[cell]):
            seeds_of.setdefault(place, {}).setdefault(remark, []).append(cell.seed)
    return {
        place: [
            remark if own == seeds[place] else f"{remark} (seed {', '.join(map(str, own))})"
            for remark, own in by_remark.items()
        ]
        for place, by_remark in seeds_of.items()
    }


def _rows(
    suite: Suite,
    pools: Mapping[Place, Pool],
    published: Published | None,
    marks: Mapping[str, Sequence[str]],
    own: Mapping[tuple[str, str], Sequence[str]],
) -> Iterator[Row]:
    for data, task, slice_name, metric, entry in product(
        suite.datasets, TASKS, suite.slices, suite.ordered_metrics, suite.models
    ):
        dataset, model = data.name, entry.name
        pool = pools.get((dataset, task, slice_name, model))
        if pool is None or metric not in {*pool.values, *pool.totals}:
            continue
        remarks = [*marks.get("", ()), *marks.get(model, ()), *own.get((dataset, model), ())]
        planned = len(suite.seeds_of(model, pool.cell.deterministic))
        if pool.seeds < planned:
            remarks.append(f"{pool.seeds} of {planned} seeds")
        printed = None
        if published is not None:
            names = data.published_as or dataset, entry.published_as or model
            printed = published.find(names[0], task, slice_name, metric, names[1])
        mean, sd, low, high = _summary(pool, metric, suite.significance.alpha)
        yield Row(
            dataset,
            task,
            slice_name,
            model,
            metric,
            finite(mean),
            finite(sd),
            pool.n(metric),
            finite(low),
            finite(high),
            pool.coverage,
            pool.seeds,
            tuple(remarks),
            printed,
        )


def _summary(pool: Pool, metric: str, alpha: float) -> tuple[float | None, float | None, float | None, float | None]:
    if not pool.n(metric):
        return None, None, None, None
    by_seed = pool.values[metric].mean(axis=1) if metric in pool.values else pool.totals[metric]
    sd = float(by_seed.std(ddof=1)) if pool.seeds > 1 else None
    if metric in pool.totals:
        return float(by_seed.mean()), sd, None, None
    return float(by_seed.mean()), sd, *interval(pool.fits(metric), alpha)


def _comparisons(
    suite: Suite, pools: Mapping[Place, Pool], heads: Mapping[str, int]
) -> tuple[list[PairedTest], list[Untested]]:
    """The tests of what the suite compares, primary ones and others, and what of it would say nothing.

    A pair is tested once in a place, and not in a task that neither model was built for.
    """
    asked: dict[tuple[Any, ...], bool] = {}
    barred: dict[Untested, None] = {}
    for dataset, task, slice_name, metric, (entry, model, baseline) in product(
        _names(suite.datasets), TASKS, suite.slices, suite.ordered_metrics, suite.pairs
    ):
        a, b = (pools.get((dataset, task, slice_name, name)) for name in (model, baseline))
        if not entry.asks(task, slice_name, metric) or a is None or b is None:
            continue
        if metric not in a.values or not a.n(metric) or task not in {*a.cell.built_for, *b.cell.built_for}:
            continue
        where = Where(dataset=dataset, task=task, slice=slice_name, metric=metric)
        if reason := _obstacle(suite, pools, heads, where, (model, baseline)):
            barred[Untested(dataset, model, baseline, f"{task} {slice_name}: {reason}")] = None
            continue
        place = (dataset, task, slice_name, metric, model, baseline)
        asked[place] = asked.get(place, False) or entry.primary
    tests: dict[tuple[Any, ...], PairedTest] = {}
    settings = suite.significance
    for primary in (True, False):
        family = [place for place, is_primary in asked.items() if is_primary == primary]
        level = first_step(settings.alpha, len(family), settings.correction)
        permutations = enough_permutations(settings.permutations, level)
        made = []
        for dataset, task, slice_name, metric, *pair in family:
            of_model, of_baseline = (pools[dataset, task, slice_name, name].fits(metric) for name in pair)
            made.append(paired_test(of_model, of_baseline, alpha=settings.alpha, permutations=permutations))
        p = corrected([test.p for test in made], settings.correction)
        flips = corrected([test.p_permutation for test in made], settings.correction)
        for place, test, of_t, of_flips in zip(family, made, p, flips, strict=True):
            significant = max(of_t, of_flips) < settings.alpha
            tests[place] = PairedTest(*place, test, primary, of_t, of_flips, level, significant)
    return [tests[place] for place in asked], list(barred)


def _obstacle(
    suite: Suite, pools: Mapping[Place, Pool], heads: Mapping[str, int], where: Where, models: Sequence[str]
) -> str:
    """Why a test here says nothing about these models, all of them scored; empty where it does.

    There are too few requests to be more than shown; or a model never returns what the user has had, and another one
    may; or the whole head fits into the list, so that a model that ranks it first, as popularity does, scores 1 by
    construction.
    """
    scored = [pools[where.dataset, where.task, where.slice, model] for model in models]
    n = scored[0].n(where.metric)
    if n < suite.significance.min_requests:
        return f"n = {n} < {suite.significance.min_requests}"
    sparing = [model for model, pool in zip(models, scored, strict=True) if pool.cell.excludes_history]
    masked = any(suite.protocol_of(data).mask_seen for data in suite.datasets if data.name == where.dataset)
    if sparing and where.task == "recommendation" and not masked and not parse_metric(where.metric).candidates:
        others = [model for model in models if model not in sparing]
        if others:
            return f"{' and '.join(sparing)} never returns the history, {' and '.join(others)} may"
    head, cutoff = heads.get(where.dataset), parse_metric(where.metric).k
    full = any((pool.values[where.metric] == 1).all() for pool in scored)
    if where.slice == "head" and head and cutoff and head <= cutoff and full:
        return f"head of {head} ≤ {cutoff}"
    return ""


def _untested(
    suite: Suite, pools: Mapping[Place, Pool], failures: Sequence[Failure], absent: set[str]
) -> Iterator[Untested]:
    finished = {(place[0], place[3]) for place in pools}
    failed = {(f.dataset, f.model) for f in failures}
    for data in suite.datasets:
        dataset = data.name
        if dataset in absent:
            continue
        for _, model, baseline in suite.pairs:
            if not (data.wants(model) and data.wants(baseline)):
                continue
            lost = [name for name in (model, baseline) if (dataset, name) not in finished]
            if lost:
                reasons = [f"{name} {'failed' if (dataset, name) in failed else 'has not run'}" for name in lost]
                yield Untested(dataset, model, baseline, " and ".join(reasons))


def _find(
    suite: Suite, pools: Mapping[Place, Pool], failures: Sequence[Failure], where: Where, model: str
) -> Fits | str:
    """The scores of a model, or why there are none."""
    pool = pools.get((where.dataset, where.task, where.slice, model))
    if pool is not None and not pool.n(where.metric):
        return f"no request of {where.dataset} has a relevant item in the {where.slice} slice"
    if pool is not None and where.metric in pool.values:
        return pool.fits(where.metric)
    if pool is not None and where.metric in pool.totals:
        return f"{where.metric} is one number about all lists, so there is nothing to pair"
    if pool is not None or where.metric not in suite.metrics:
        return f"{where.metric} is not in the run"
    if any((f.dataset, f.model) == (where.dataset, model) for f in failures):
        return f"{model} failed on {where.dataset}"
    if any((place[0], place[3]) == (where.dataset, model) for place in pools):
        return f"{model} has no {where.slice} scores for {where.task} on {where.dataset}"
    return f"{model} on {where.dataset} is not in the run"
