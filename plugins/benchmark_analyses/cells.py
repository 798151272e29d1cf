"""The finished cells of a run by model and task, with their variants and what they recorded about identifiers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from benchmark import TASKS, AnalysisInput, Cell, Task

TASK: Task = "recommendation"
"""The task of the analyses that look at one task alone."""


def cells_by_model(run: AnalysisInput, dataset: str, task: Task = TASK) -> dict[str, list[Cell]]:
    """The finished cells of a task on a data set, by model: one per seed."""
    groups: dict[str, list[Cell]] = {}
    for cell in run.cells:
        if cell.dataset == dataset and task in cell.tasks:
            groups.setdefault(cell.model, []).append(cell)
    return groups


def cells_by_task(run: AnalysisInput, dataset: str) -> dict[str, dict[Task, list[Cell]]]:
    """The finished cells on a data set, by model and task; models of the first task come first."""
    groups: dict[str, dict[Task, list[Cell]]] = {}
    for task in TASKS:
        for model, cells in cells_by_model(run, dataset, task).items():
            groups.setdefault(model, {})[task] = cells
    return groups


def full_datasets(run: AnalysisInput) -> list[str]:
    """The data sets without items held out of training, or all if each has such items.

    TIGER's paper holds items out for cold start alone.
    """
    full = [name for name in run.datasets if not run.dataset(name).facts.get("unseen_share")]
    return full or list(run.datasets)


def with_variants(run: AnalysisInput, kind: str) -> Iterator[tuple[str, str, list[Cell], dict[float, str]]]:
    """Data set, model, cells and variants `<kind>-<number>` by ascending number, of the models that have any."""
    for dataset in full_datasets(run):
        for model, cells in cells_by_model(run, dataset).items():
            if variants := numbered(run.variants(cells[0]), kind):
                yield dataset, model, cells, variants


def numbered(variants: Sequence[str], kind: str) -> dict[float, str]:
    """The variants `<kind>-<number>` by ascending number."""
    numbers = {float(name.removeprefix(f"{kind}-")): name for name in variants if name.startswith(f"{kind}-")}
    return dict(sorted(numbers.items()))


def base_of(model: str, models: Collection[str]) -> str:
    """The model among `models` that this one is a variant of, by its name (`GenSAR` of `GenSAR[-NSIP]`), or ""."""
    base, bracket, _ = model.partition("[")
    return base if bracket and base in models else ""


def identifier_facts(run: AnalysisInput, cell: Cell) -> Mapping[str, Any]:
    """What the cell's model recorded about its identifiers; empty if it recorded nothing."""
    facts = run.facts(cell).get("identifiers")
    return facts if isinstance(facts, Mapping) else {}
