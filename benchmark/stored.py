"""The last run in a results folder as a plan, for a report with the suite of now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmark import plugins
from benchmark.errors import BenchmarkError
from benchmark.metric import parse_metric
from benchmark.plan import Plan, check_scoring, list_names
from benchmark.plugins import Registry
from benchmark.results.datasets import dataset_folder, load_dataset
from benchmark.results.run import read_run
from benchmark.suite.load import check_names
from benchmark.suite.schema import Suite

SCORING = (
    "title",
    "metrics",
    "primary_metric",
    "slices",
    "head_share",
    "compare",
    "significance",
    "published",
    "claims",
    "analyses",
)
"""What a report takes from the suite of now; all else of it made the rankings, and is the run's."""


def stored_plan(
    suite: Suite, source: Path, registry: Registry, home: Path, options: Sequence[str] = (), *, verify: bool = False
) -> Plan:
    """The plan of the last run in this folder, its data sets read from there: the raw data is not needed.

    Metrics, slices, comparisons and claims are the given suite's, everything that trained or ranked is the run's.
    Raises BenchmarkError where there was no run, where the suite compares models that the run did not have, and where
    what the run left of itself or of a data set is damaged.
    """
    run = read_run(home)
    merged = run.suite.model_copy(update={name: getattr(suite, name) for name in SCORING})
    new = {parse_metric(metric).candidates for metric in suite.metrics} & (list_names(suite) - list_names(run.suite))
    if new:
        raise BenchmarkError(
            f"the run in {home} did not rank the list {' or '.join(sorted(new))}, which the suite has now. "
            "Run the suite again."
        )
    check_names(merged, source)
    digests = {cell.dataset: cell.digest for cell in run.cells}
    return Plan(
        suite=merged,
        source=source,
        results=home,
        datasets={
            name: load_dataset(dataset_folder(home, name, digest), verify=verify) for name, digest in digests.items()
        },
        cells=run.cells,
        selected=run.cells,
        metrics=check_scoring(merged, source, registry),
        device=run.device,
        options=plugins.plugin_options(registry, options, run.options),
        marks=run.marks,
        verify=verify,
    )


def unlike_the_run(suite: Suite, home: Path) -> list[str]:
    """The settings of the suite that are not those of the run in this folder and that a report cannot take over, such
    as `models.Gen_R.params.epochs: 8 -> 3`. Raises BenchmarkError where there was no run."""
    ran = read_run(home).suite.model_dump(mode="json", exclude=set(SCORING))
    return list(_differences("", ran, suite.model_dump(mode="json", exclude=set(SCORING))))


def _differences(path: str, old: Any, new: Any) -> Iterator[str]:
    """Where two settings differ; data sets and models are known by their names."""
    old, new = ({one["name"]: one for one in v} if _named(v) else v for v in (old, new))
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            here = f"{path}.{key}" if path else str(key)
            if key in old and key in new:
                yield from _differences(here, old[key], new[key])
            else:
                yield f"{here} {'is new' if key in new else 'is no longer there'}"
    elif old != new:
        yield f"{path}: {old} -> {new}"


def _named(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) and "name" in one for one in value)
