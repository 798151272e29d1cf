"""`benchmark check` and `benchmark data`: what a suite can resolve, what leaks in it, what it costs, what its data
needs."""

from __future__ import annotations

import itertools
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import ByteSize

from benchmark import plugins
from benchmark.console import print_cells
from benchmark.data.lint import faults
from benchmark.data.split import split_log
from benchmark.data.types import Dataset
from benchmark.errors import BenchmarkError
from benchmark.evaluation.significance import detectable_difference, first_step
from benchmark.evaluation.slices import head_items, restrict
from benchmark.execution.dispatch import default_jobs, with_lists
from benchmark.metric import parse_metric
from benchmark.plan import Plan, digest_of
from benchmark.plugins import Registry
from benchmark.suite.schema import NEW, DatasetEntry, Suite
from benchmark.text import visible

CEILING = 0.9995
"""A recall that cannot be above this cannot be 1.000."""
FEW = 30
"""Slices with fewer requests than this are said to decide nothing."""
DISCORDANT = 0.2
"""The share of requests on which two models differ, assumed for the smallest difference of a 0/1 metric."""


def print_check(plan: Plan, registry: Registry) -> None:
    """Say what the suite is about to measure and how finely, then its cells and what they cost."""
    from tabulate import tabulate

    plan = _listed(plan, registry)
    rows = []
    levels = families(plan)
    for name, dataset in plan.datasets.items():
        for task, split in dataset.test.items():
            popularity = dataset.train.popularity(task)
            for slice_name in plan.suite.slices:
                n = len(restrict(split.relevant, popularity, slice_name, plan.suite.head_share, split.later)[0])
                tested = n >= max(2, plan.suite.significance.min_requests)
                sizes = [resolvable(n, level) if tested else None for _, level in levels.values()]
                rows.append([name, task, slice_name, n, *sizes])
    headers = ["data set", "task", "slice", "requests", *(f"{name} ({size})" for name, (size, _) in levels.items())]
    sys.stdout.write(visible(tabulate(rows, headers, floatfmt=".3f", missingval="not tested") + "\n"))
    sys.stdout.write(
        "Smallest difference of a 0/1 metric found with 80 % power in each family of tests, at the level that decides "
        f"there,\nif two models differ on {DISCORDANT:.0%} of the requests and the fits of a model not at all.\n\n"
    )
    remarks = list(lint(plan))
    sys.stdout.write(visible("\n".join(f"note: {remark}" for remark in remarks) + ("\n\n" if remarks else "")))
    sys.stdout.write(visible(f"limits of a cell: {limits_of_cells(plan.suite)}\n\n"))
    print_cells(plan, default_jobs(plan))


def _listed(plan: Plan, registry: Registry) -> Plan:
    """The plan with all candidate lists, which are made for this check alone."""
    if not plan.lists:
        return plan
    with tempfile.TemporaryDirectory() as folder:
        elsewhere = replace(plan, results=Path(folder))
        listed = with_lists(elsewhere, registry, registry.offer("executor", "local"), lambda message: None)
    return replace(plan, datasets=listed.datasets, lists={})


def limits_of_cells(suite: Suite) -> str:
    """The suite's timeout and memory, and of which models they are others."""

    def said(timeout: float | None, memory: int | None) -> str:
        size = ByteSize(memory).human_readable(decimal=True) if memory else "none"
        return f"timeout {f'{timeout:g} s' if timeout else 'none'}, memory {size}"

    common = suite.timeout, suite.memory
    own = [(entry.name, suite.limits_of(entry.name)) for entry in suite.models]
    others = [f"{name}: {said(*limits)}" for name, limits in own if limits != common]
    return "; ".join([said(*common), *others])


def families(plan: Plan) -> dict[str, tuple[int, float]]:
    """How many tests each family of the suite has, and the level at which the first of them is decided.

    As planned: what turns out to say nothing about the models, and what fails, will not be counted.
    """
    suite = plan.suite
    cells = {(cell.dataset, cell.model): cell for cell in plan.cells}
    tests: dict[tuple[str, ...], bool] = {}
    for data_entry in suite.datasets:
        if (data := data_entry.name) not in plan.datasets:
            continue
        lists = suite.protocol_of(data_entry).candidates
        for task, slice_name, metric, (entry, model, baseline) in itertools.product(
            plan.datasets[data].tasks, suite.slices, suite.metrics, suite.pairs
        ):
            over = {"", *[NEW] * (task == "recommendation"), *(sampler.list_name for sampler in lists.get(task, ()))}
            both = [cells.get((data, name)) for name in (model, baseline)]
            made = all(cell and task in cell.tasks for cell in both) and entry.asks(task, slice_name, metric)
            if (
                made
                and parse_metric(metric).candidates in over
                and any(cell and task in cell.built_for for cell in both)
            ):
                place = (data, task, slice_name, metric, model, baseline)
                tests[place] = tests.get(place, False) or entry.primary
    claims = sum(claim.where.dataset in plan.datasets for claim in suite.claims)
    sizes = {"primary": sum(tests.values()), "exploratory": len(tests) - sum(tests.values()), "claims": claims}
    settings = suite.significance
    return {
        name: (size, first_step(settings.alpha, size, settings.correction)) for name, size in sizes.items() if size
    } or {"one test": (1, settings.alpha)}


def resolvable(n: int, level: float) -> float:
    """The smallest mean difference of two 0/1 vectors over `n` requests that a paired t-test at this level finds with
    80 % power. Fits that differ make it larger."""
    return detectable_difference((DISCORDANT / n) ** 0.5, n - 1, level)


def lint(plan: Plan) -> Iterator[str]:
    """What a reader of the results should know about the protocol before believing them."""
    suite = plan.suite
    for data in suite.datasets:
        if data.name in plan.datasets:
            dataset = plan.datasets[data.name]
            yield from (f"{data.name}: {fault}" for fault in faults(dataset))
            yield from (f"{data.name}: {limit}" for limit in limits(plan, dataset))
            yield from (f"{data.name}: {reading}" for reading in reads_less(plan, data))
            yield from (f"{data.name}: {hard}" for hard in how_hard(plan, data.name))
    sampled = [metric for metric in suite.metrics if parse_metric(metric).candidates not in ("", NEW)]
    if sampled:
        lists = dict.fromkeys(parse_metric(metric).candidates for metric in sampled)
        whole = "those over all items stand beside them."
        none = "add some over all items."
        yield (
            f"metrics over {' and '.join(lists)} are sampled: they can put models into another order than all items do "
            "(Krichene and Rendle 2020), and differ between samplers and data sets; "
            + (whole if len(sampled) < len(suite.metrics) else none)
        )
    fitted: dict[str, set[int]] = {}
    for cell in plan.cells:
        if not cell.deterministic:
            fitted.setdefault(cell.model, set()).add(cell.seed)
    for count, models in {n: [m for m, of in fitted.items() if len(of) == n] for n in (1, 2)}.items():
        if models:
            yield (
                f"{', '.join(models)}: {count} seed{'s' * (count > 1)}. "
                + (
                    "Tests and claims are about this one fit"
                    if count == 1
                    else "Two fits say little about their spread"
                )
                + "; `seeds:` with 3 or more, also of a single model, tells about the method."
            )
    pairs = len(suite.pairs) * len(suite.metrics) * len(suite.slices)
    if suite.significance.correction == "none" and pairs > 1:
        yield "several comparisons without a correction: false discoveries add up. `significance.correction: holm`."
    if unmasked := [data.name for data in suite.datasets if not suite.protocol_of(data).mask_seen]:
        where = f" of {', '.join(unmasked)}" if len(unmasked) < len(suite.datasets) else ""
        yield f"seen items stay in the rankings{where} (mask_seen: false), for every model alike."


def limits(plan: Plan, dataset: Dataset) -> Iterator[str]:
    """What no model can reach, and what none can miss: the highest possible recall, a head of k items at most, slices
    with few requests."""
    suite = plan.suite
    whole = {spec: metric.k for spec, metric in plan.metrics.items() if metric.k is not None and not metric.candidates}
    for task, split in dataset.test.items():
        popularity = dataset.train.popularity(task)
        relevant = restrict(split.relevant, popularity, "all", suite.head_share)[1].lengths
        for spec, k in whole.items():
            ceiling = float((np.minimum(k, relevant) / relevant).mean()) if len(relevant) else 1.0
            if re.split("[(@]", spec)[0] == "R" and ceiling < CEILING:
                yield f"{spec} of {task} is {ceiling:.3f} at most: some requests have more than {k} relevant items."
        head = int(head_items(popularity, suite.head_share).sum())
        trivial = [spec for spec, k in whole.items() if k >= head]
        if "head" in suite.slices and trivial:
            yield (
                f"{', '.join(trivial)} of {task} on head look at no fewer items than the head has ({head}): a "
                "model that returns the most popular items finds all."
            )
        for slice_name in suite.slices:
            n = len(restrict(split.relevant, popularity, slice_name, suite.head_share, split.later)[0])
            if n < FEW and (slice_name != "other-day" or split.later is not None):
                yield f"{n} requests of {task} are in the slice {slice_name}: fewer than {FEW} decide nothing."


def reads_less(plan: Plan, data: DatasetEntry) -> Iterator[str]:
    """Models that read fewer items of a history than the protocol leaves, or never return what is in it."""
    protocol = plan.suite.protocol_of(data)
    most = protocol.max_history
    cells = {cell.model: cell for cell in plan.cells if cell.dataset == data.name}
    joint = {name for name, dataset in plan.datasets.items() if dataset.train.events is not None}
    shorter = []
    for name, cell in cells.items():
        size = cell.model_params.get("max_history")
        reads = "recommendation" in cell.tasks or cell.dataset in joint
        if reads and isinstance(size, int) and (most is None or size < most):
            shorter.append(f"{name} ({size})")
    if shorter:
        left = "whole histories" if most is None else f"the {most} newest items of a history"
        yield f"the protocol leaves {left}, of which these models read fewer: {', '.join(shorter)}."
    sparing = [name for name, cell in cells.items() if cell.excludes_history]
    if sparing and not protocol.mask_seen:
        yield (
            f"never returns items of the history: {', '.join(sparing)}; others may (mask_seen: false), so that over "
            "all items they cannot be compared."
        )


def how_hard(plan: Plan, name: str) -> Iterator[str]:
    """What a table without users finds in each candidate list."""
    for made in plan.datasets[name].lists:
        pair = "query and item" if made.task == "search" else "item"
        yield (
            f"{made.name} of {made.task}: a table of how often training has each {pair}, which knows no user, has "
            f"HR@1 {made.lookup_hr1:.3f}."
        )


def print_data(suite: Suite, registry: Registry) -> int:
    """What each data set of the suite needs, where it lies, its digest and licence; 1 where one cannot be read."""
    missing: set[str] = set()
    for entry in suite.datasets:
        offer = registry.offer("dataset", entry.use)
        params = plugins.check_params(offer, entry.params)
        stated = ", ".join(f"{k}={v}" for k, v in params.items() if v)
        sys.stdout.write(visible(f"{entry.name} ({entry.use} {stated})\n"))
        try:
            plugins.check_requirements(offer)
            log = plugins.build(offer, params)
            dataset = split_log(entry.name, log, suite.protocol_of(entry))
            digest = digest_of(suite, entry, dataset, registry)
        except BenchmarkError as error:
            said, remedy = str(error).partition(". ")[::2]
            remedy_once = "See above." if remedy and remedy in missing else remedy
            sys.stdout.write(visible(f"  missing: {said}. {remedy_once}\n"))
            missing.add(remedy)
            continue
        for fact, value in log.facts.items():
            sys.stdout.write(visible(f"  {fact}: {value}\n"))
        sys.stdout.write(f"  items: {len(log.catalog)}, users: {len(log.users)}, interactions: {len(log.user)}, "
                         f"queries: {len(log.queries)}\n  digest: {digest}\n")  # fmt: skip
    return 1 if missing else 0
