"""Logging cells to an SQLite store of MLflow: our one batch per cell against a call per metric and parameter.

    python tests/benchmarks/bench_mlflow.py [--quick]

Both log the same cells, in turn, in one process, each into a store of its own, since a run that is alone in its store
need not look for a cell before it logs it; the median time of a cell counts. Ours also states the cell's data set. Exit
code 1 where it is less than `GOAL` times as fast, or the numbers differ.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import benchmark_mlflow
from benchmark_mlflow import entries
from repeats import spread

from benchmark import Cell, CellResult, Costs, Plan, Suite

GOAL = 4.0
METRICS = ["R@30", "nDCG@10", "RR@10"]
SLICES = ["all", "head", "torso"]


def some_cell(seed: int, folder: Path) -> tuple[Cell, CellResult]:
    """Two tasks, three slices, three metrics, four costs, eight points of a curve; ten parameters; no files."""
    cell = Cell(
        dataset="ML",
        model="Gen_R+S",
        seed=seed,
        tasks=("recommendation", "search"),
        fingerprint=f"{seed:064x}",
        digest="d" * 64,
        dataset_use="movielens",
        dataset_params={"variant": "ml-100k"},
        model_use="gen",
        model_params={"layers": 2, "width": 64, "heads": 4, "epochs": 8},
        versions={"gen": "0.1.0"},
    )
    means = {(task, part, name): 0.001 * seed for task in cell.tasks for part in SLICES for name in METRICS}
    costs = Costs(*[1.5 + seed] * 3, parameters=1.5 + seed)
    curve = [{"step": step, "loss": 1 / step} for step in range(1, 9)]
    return cell, CellResult("finished", folder, {}, costs, curve, means)


def one_by_one(client: Any, experiment: str, cell: Cell, result: CellResult) -> None:
    """What a program does that calls log_metric and log_param for each value."""
    tags = entries.texts(entries.tags(cell, result), entries.LONGEST_TAG)
    run = client.create_run(experiment, tags=tags, run_name=cell.name).info.run_id
    for name, text in entries.texts(entries.params(cell), entries.LONGEST_PARAM).items():
        client.log_param(run, name, text)
    for name, value in entries.metrics(result).items():
        client.log_metric(run, name, value)
    for name, value, step in entries.curve(result):
        client.log_metric(run, name, value, step=step)
    client.set_terminated(run)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="5 cells instead of 30")
    count = 5 if options.parse_args().quick else 30
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "results" / "bench"
        folder.mkdir(parents=True)
        cells = [some_cell(seed, folder) for seed in range(1, count + 1)]
        suite = Suite.model_validate(
            {
                "name": "bench",
                "datasets": [{"use": "movielens", "name": "ML"}],
                "models": [{"use": "gen", "name": "Gen_R+S"}],
                "metrics": METRICS,
                "slices": SLICES,
            }
        )
        all_cells = tuple(cell for cell, _ in cells)
        plan = Plan(suite, Path("bench.yaml"), folder, {}, all_cells, all_cells, {}, options={"mlflow": {"uri": ""}})
        benchmark_mlflow.benchmark_suite_started(plan)
        from mlflow import MlflowClient

        store = folder.parent.resolve() / "mlflow.db"
        shutil.copy(store, store.with_name("other.db"))
        mine, client = (MlflowClient(f"sqlite:///{store.with_name(name)}") for name in ("mlflow.db", "other.db"))
        experiment = client.get_experiment_by_name("bench").experiment_id
        ours, theirs, same = [], [], True
        for cell, result in cells:
            started = time.perf_counter()
            benchmark_mlflow.benchmark_cell_finished(plan, cell, result)
            ours.append(time.perf_counter() - started)
            started = time.perf_counter()
            one_by_one(client, experiment, cell, result)
            theirs.append(time.perf_counter() - started)
            where = f"tags.`benchmark.fingerprint` = '{cell.fingerprint}'"
            (one,), (other,) = (at.search_runs([experiment], where) for at in (mine, client))
            same &= one.data.metrics == other.data.metrics
    ratio = median(theirs) / median(ours)
    print(f"a call per value  {1000 * median(theirs):8.1f} ms per cell")
    print(f"one batch         {1000 * median(ours):8.1f} ms per cell")
    print(f"ratio {ratio:.1f} (goal {GOAL:.0f}; {spread(theirs, ours)}); same numbers: {same}")
    return 0 if ratio >= GOAL and same else 1


if __name__ == "__main__":
    sys.exit(main())
