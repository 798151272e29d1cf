"""A cell's entries in MLflow: names, metrics, parameters, and a key of its computation."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping
from typing import Any

from benchmark import Cell, CellResult

LONGEST_PARAM, LONGEST_TAG, LONGEST_DIGEST, LONGEST_NAME = 6000, 8000, 36, 250
"""What MLflow stores, in characters: it cuts longer values with a warning, and refuses longer digests; databases but
SQLite refuse longer names of runs."""

Point = tuple[str, float, int]  # name, value, step


def metric_key(task: str, slice_name: str, metric: str) -> str:
    """R@30 on the head slice of recommendation is `recommendation.R_30.head`; on all requests `recommendation.R_30`.

    Over a candidate list it is `recommendation.R_30.uni99`.
    """
    key = ".".join([task, *map(plain, metric.split("|"))])
    return key if slice_name == "all" else f"{key}.{slice_name}"


def plain(name: str) -> str:
    """A name that MLflow takes: `AP(rel=2)@100` is `AP_rel_2_100`."""
    return re.sub(r"[^\w\-. :/]+", "_", name).strip("_")


def metrics(result: CellResult) -> dict[str, float]:
    """The means on every slice, and the costs that are known."""
    means = {metric_key(*place): float(mean) for place, mean in result.means.items()}
    return means | {name: float(cost) for name, cost in result.costs.items() if cost is not None}


def curve(result: CellResult) -> list[Point]:
    """The learning curve's points; one that states no step is at its own number."""
    return [
        (f"curve.{plain(name)}", float(value), int(point.get("step", number)))
        for number, point in enumerate(result.curve)
        for name, value in point.items()
        if name != "step"
    ]


def params(cell: Cell) -> dict[str, Any]:
    """The cell's identity, with every parameter of its model and its data set."""
    return {
        "dataset": cell.dataset,
        "model": cell.model,
        "use": cell.model_use,
        "seed": cell.seed,
        "tasks": list(cell.tasks),
        **{f"param.{name}": value for name, value in cell.model_params.items()},
        **{f"data.{name}": value for name, value in cell.dataset_params.items()},
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
        "benchmark.computation": computation(cell, result),
    }


def texts(values: Mapping[str, Any], longest: int) -> dict[str, str]:
    """Values as MLflow stores them: text, cut to what fits; empty ones are left out."""
    written = {
        k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False, default=str) for k, v in values.items()
    }
    return {key: text[:longest] for key, text in written.items() if text}


def computation(cell: Cell, result: CellResult) -> str:
    """A key of the computation, different even for another one of the same cell, by its results and its times."""
    outcome = [dict(result.costs), dict(result.facts), [dict(point) for point in result.curve]]
    return short_hash([cell.name, cell.fingerprint, result.status, result.error, *outcome])


def span(result: CellResult) -> tuple[int, int]:
    """When the cell began and ended, in milliseconds, as far as its costs and its files tell."""
    marker = result.directory / "cell.json"
    end = int(marker.stat().st_mtime * 1000) if marker.is_file() else now()
    seconds = sum(result.costs.get(name) or 0.0 for name in ("fit_seconds", "rank_seconds"))
    return end - int(1000 * seconds), end


def now() -> int:
    """Milliseconds, as MLflow counts time."""
    return int(time.time() * 1000)


def short_hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:32]
