"""A run on disk: its suite, its cells, its reports."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from benchmark.contract import Cell
from benchmark.errors import BenchmarkError
from benchmark.results.cells import cell_from_json
from benchmark.results.files import locked, sweep_temporary, write_json, write_text
from benchmark.suite.file import parse_yaml
from benchmark.suite.schema import Suite


@dataclass(frozen=True)
class RunRecord:
    """What a run leaves of itself, so that a report can be rebuilt without the raw data: its suite as it was resolved,
    its cells, its `marks` (remarks on every number), the torch device, and the plugins' options."""

    suite: Suite
    cells: tuple[Cell, ...]
    marks: tuple[str, ...]
    device: str
    options: Mapping[str, Mapping[str, Any]]


def write_run(results: Path, run: RunRecord, environment: Mapping[str, Any]) -> None:
    resolved = yaml.safe_dump(run.suite.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    head = {"device": run.device, "options": run.options, "marks": list(run.marks)}
    with locked(results):
        sweep_temporary(results)
        write_text(results / "suite.yaml", resolved)
        write_json(results / "environment.json", environment)
        write_json(results / "plan.json", {**head, "cells": [asdict(cell) for cell in run.cells]})


def read_run(results: Path) -> RunRecord:
    """The last run in this folder. Raises BenchmarkError without one, or where what it left of itself is damaged."""
    with _about_the_run(results / "environment.json") as text:
        if not isinstance(json.loads(text), dict):
            raise ValueError("it is not a mapping")
    with _about_the_run(results / "plan.json") as text:
        raw = json.loads(text)
        cells = tuple(cell_from_json(cell) for cell in raw["cells"])
        texts = [raw["device"], *raw["marks"]]
        if not isinstance(raw["marks"], list) or not all(isinstance(one, str) for one in texts):
            raise ValueError("device and marks are texts")
        if not isinstance(raw["options"], dict) or not all(isinstance(one, dict) for one in raw["options"].values()):
            raise ValueError("options are mappings")
    with _about_the_run(results / "suite.yaml") as text:
        suite = Suite.model_validate(parse_yaml(text, "suite.yaml")[0])
    return RunRecord(suite, cells, tuple(raw["marks"]), raw["device"], raw["options"])


@contextlib.contextmanager
def _about_the_run(path: Path) -> Iterator[str]:
    """The text of a file that `write_run` wrote. Raises BenchmarkError if it is missing or cannot be parsed."""
    if not path.is_file() and not (path.parent / "plan.json").is_file():
        raise BenchmarkError(f"there is no run in {path.parent}. Start with: benchmark run SUITE")
    try:
        yield path.read_text(encoding="utf-8")
    except (OSError, LookupError, TypeError, ValueError, AttributeError, RecursionError, BenchmarkError) as error:
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        else:
            reason = f"{type(error).__name__}: {error}" if isinstance(error, LookupError) else str(error)
        raise BenchmarkError(
            f"{path} is missing, damaged or of another version ({reason}). `benchmark run` with the same suite "
            "writes it anew; what is finished is kept."
        ) from error


def write_reports(results: Path, files: Mapping[str, str]) -> None:
    """Write all files together: a concurrent run of the suite writes its own before or after.

    Figures of an earlier report that this one lacks are removed.
    """
    with locked(results):
        for name, text in files.items():
            write_text(results / name, text)
        for path in (results / "figures").glob("*.svg"):
            if f"figures/{path.name}" not in files:
                path.unlink()
