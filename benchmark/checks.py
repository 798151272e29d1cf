"""`benchmark check` and `benchmark data`: what a suite can resolve, what leaks in it, what it costs, what its data
needs."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from benchmark import plugins
from benchmark.console import print_cells
from benchmark.errors import BenchmarkError
from benchmark.evaluation.significance import detectable_difference
from benchmark.evaluation.slices import restrict
from benchmark.plan import Plan, digest_of, protocol_settings
from benchmark.plugins import Registry
from benchmark.protocol import split_log
from benchmark.runner import default_jobs
from benchmark.suite import NEW, Suite, candidate_list

DISCORDANT = 0.2
"""The share of requests on which two models differ, assumed for the smallest difference of a 0/1 metric."""


def print_check(plan: Plan) -> None:
    """Say what the suite is about to measure and how finely, then its cells and what they cost."""
    from tabulate import tabulate

    rows = []
    for name, dataset in plan.datasets.items():
        for task, split in dataset.test.items():
            popularity = dataset.train.popularity(task)
            for slice_name in plan.suite.slices:
                n = len(restrict(split.relevant, popularity, slice_name, plan.suite.head_share)[0])
                rows.append(
                    [name, task, slice_name, n, resolvable(n, plan.suite.significance.alpha) if n > 1 else None]
                )
    headers = ["data set", "task", "slice", "requests", "smallest difference"]
    sys.stdout.write(tabulate(rows, headers, floatfmt=".3f", missingval="none") + "\n")
    sys.stdout.write(
        f"Smallest difference of a 0/1 metric found with 80 % power before correction, if two models differ on "
        f"{DISCORDANT:.0%} of the requests.\n\n"
    )
    remarks = list(lint(plan))
    sys.stdout.write("\n".join(f"note: {remark}" for remark in remarks) + ("\n\n" if remarks else ""))
    print_cells(plan, default_jobs(plan))


def resolvable(n: int, alpha: float) -> float:
    """The smallest mean difference of two 0/1 vectors over `n` requests that a paired t-test finds with 80 % power."""
    return detectable_difference((DISCORDANT / n) ** 0.5, n, alpha)


def lint(plan: Plan) -> Iterator[str]:
    """What a reader of the results should know about the protocol before believing them."""
    suite = plan.suite
    for name, dataset in plan.datasets.items():
        leak = dataset.facts.get("leak_share")
        if leak:
            yield (
                f"{name}: leak score {leak:.2f}: on average, this share of the training interactions is later than the "
                "test request (leave-one-out trains on other users' future; `protocol.split: global-time` does not)."
            )
        tied = dataset.facts.get("tied_target_share")
        if tied:
            by = "the file's order" if dataset.facts.get("ties") == "file" else "a hash"
            yield f"{name}: for {tied:.0%} of the users the target shares its time with another item; {by} decides."
        copies = dataset.facts.get("searches_that_copy_an_interaction")
        if copies:
            yield f"{name}: {copies:.0%} of the searches are interactions too; no history holds the copy of its target."
        for task in dataset.test:
            new = dataset.facts.get(f"test_items_not_in_training_{task}")
            if new:
                yield f"{name}: {new} relevant test items of {task} never occur in its training data."
        again = dataset.facts.get("queries_with_a_text_seen_before")
        if again:
            yield f"{name}: {again} queries have the text of another query; it may be trained on and tested."
    sampled = [metric for metric in suite.metrics if candidate_list(metric) not in ("", NEW)]
    if sampled:
        lists = dict.fromkeys(map(candidate_list, sampled))
        whole = "those over all items stand beside them."
        none = "add some over all items."
        yield (
            f"metrics over {' and '.join(lists)} are sampled: they can put models into another order than all items do "
            "(Krichene and Rendle 2020), and differ between samplers and data sets; "
            + (whole if len(sampled) < len(suite.metrics) else none)
        )
    if len(suite.seeds) < 3:
        yield f"{len(suite.seeds)} seed(s): the tests are about these fitted models; 3 or more tell about the method."
    pairs = sum(len(entry.against) for entry in suite.compare) * len(suite.metrics) * len(suite.slices)
    if suite.significance.correction == "none" and pairs > 1:
        yield "several comparisons without a correction: false discoveries add up. `significance.correction: holm`."
    if not suite.mask_seen:
        yield "seen items stay in the rankings (mask_seen: false), for every model alike."


def print_data(suite: Suite, registry: Registry) -> int:
    """What each data set of the suite needs, where it lies, its digest and licence; 1 where one cannot be read."""
    missing = 0
    for choice in suite.datasets:
        offer = registry.offer("dataset", choice.use)
        params = plugins.check_params(offer, choice.params)
        sys.stdout.write(f"{choice.name} ({choice.use} {', '.join(f'{k}={v}' for k, v in params.items() if v)})\n")
        try:
            plugins.check_requirements(offer)
            log = plugins.build(offer, params)
            dataset = split_log(choice.name, log, protocol_settings(suite, choice))
            digest = digest_of(suite, choice, dataset, registry)
        except BenchmarkError as error:
            missing += not choice.optional
            sys.stdout.write(f"  missing: {error}\n")
            continue
        for fact, value in log.facts.items():
            sys.stdout.write(f"  {fact}: {value}\n")
        sys.stdout.write(f"  items: {len(log.catalog)}, users: {len(log.users)}, interactions: {len(log.user)}, "
                         f"queries: {len(log.queries)}\n  digest: {digest}\n")  # fmt: skip
    return 1 if missing else 0
