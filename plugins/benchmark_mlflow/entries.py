"""What MLflow's runs hold of a cell and a suite: metrics, parameters, tags, and a key of each computation."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from benchmark import Cell, CellResult, Suite

LONGEST_PARAM, LONGEST_TAG, LONGEST_DIGEST, LONGEST_NAME = 6000, 8000, 36, 250
"""What MLflow stores, in characters: it cuts longer values with a warning and refuses longer digests; databases other
than SQLite refuse longer names of runs."""
COMPUTATION, LEADERBOARD = "benchmark.computation", "benchmark.leaderboard"
"""The tags by which the run of a cell and the run of a leaderboard are found again; both are hashes."""

Point = tuple[str, float, int]  # name, value, step


def metric_key(task: str, slice_name: str, metric: str) -> str:
    """R@30 of recommendation is `recommendation.R_30` on all requests, `recommendation.R_30.head` on the head slice,
    and `recommendation.R_30.uni99` over a candidate list."""
    key = ".".join([task, *map(plain, metric.split("|"))])
    return key if slice_name == "all" else f"{key}.{slice_name}"


def plain(name: str) -> str:
    """A name that MLflow accepts: `AP(rel=2)@100` becomes `AP_rel_2_100`."""
    return re.sub(r"[^\w\-. :/]+", "_", name).strip("_")


def metrics(result: CellResult) -> dict[str, float]:
    """The means on every slice, and the known costs."""
    means = {metric_key(*key): float(mean) for key, mean in result.means.items()}
    return means | {name: float(cost) for name, cost in asdict(result.costs).items() if cost is not None}


def curve(result: CellResult) -> list[Point]:
    """The learning curve's points; one without a step has its number as its step."""
    return [
        (f"curve.{plain(name)}", float(value), int(point.get("step", number)))
        for number, point in enumerate(result.curve)
        for name, value in point.items()
        if name != "step"
    ]


def params(cell: Cell) -> dict[str, Any]:
    """What the cell is, with every parameter of its model and its data set."""
    return {
        "dataset": cell.dataset,
        "model": cell.model,
        "use": cell.model_use,
        "seed": cell.seed,
        "tasks": list(cell.tasks),
        **{f"param.{name}": value for name, value in cell.model_params.items()},
        **{f"data.{name}": value for name, value in cell.dataset_params.items()},
    }


def suite_params(suite: Suite) -> dict[str, Any]:
    return {
        "profile": suite.profile,
        "seeds": list(suite.seeds),
        "datasets": [dataset.name for dataset in suite.datasets],
        "models": [model.name for model in suite.models],
        "metrics": list(suite.metrics),
        "slices": list(suite.slices),
        "split": suite.protocol.split,
        "mask_seen": suite.protocol.mask_seen,
    }


def tags(cell: Cell, result: CellResult) -> dict[str, Any]:
    return {
        "benchmark.cell": cell.name,
        "benchmark.dataset": cell.dataset,
        "benchmark.model": cell.model,
        "benchmark.seed": cell.seed,
        "benchmark.tasks": ", ".join(cell.tasks),
        "benchmark.fingerprint": cell.fingerprint,
        "benchmark.digest": cell.digest,
        "benchmark.plugin_version": ", ".join(f"{name} {version}" for name, version in cell.versions.items()),
        "benchmark.error": result.error,
        COMPUTATION: computation(cell, result),
    }


def texts(values: Mapping[str, Any], longest: int) -> dict[str, str]:
    """Values as MLflow stores them: text of at most `longest` characters, without empty ones."""
    encoded = {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        for name, value in values.items()
    }
    return {name: text[:longest] for name, text in encoded.items() if text}


def computation(cell: Cell, result: CellResult) -> str:
    """A key of one computation: a second one of the same cell has another key, because its seconds differ."""
    outcome = [asdict(result.costs), dict(result.facts), [dict(point) for point in result.curve]]
    return short_hash([cell.name, cell.fingerprint, result.status, result.error, *outcome])


def span(result: CellResult) -> tuple[int, int]:
    """When the cell began and ended, in milliseconds, estimated from its costs and the time of `cell.json`."""
    marker = result.directory / "cell.json"
    end = int(marker.stat().st_mtime * 1000) if marker.is_file() else now()
    return end - int(1000 * result.costs.seconds), end


def now() -> int:
    """The time in milliseconds, MLflow's unit."""
    return int(time.time() * 1000)


def short_hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:32]
