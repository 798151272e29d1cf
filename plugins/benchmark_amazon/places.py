"""The folders of a category's files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from benchmark import MissingDataError

HOME = "https://jmcauley.ucsd.edu/data/amazon (2014, 5-core)"


def folders_of(dataset: str, category: str, path: str, homes: Sequence[str], needs: str) -> list[Path]:
    """The folder `path`; if that is empty, the category's folders in BENCHMARK_DATA: in each of `homes`, then directly.

    Raises MissingDataError, with the remedy `needs`, if there is none.
    """
    if path:
        folder = Path(path).expanduser()
        if folder.is_dir():
            return [folder]
        raise MissingDataError(f"{dataset} {category}: the folder {folder} does not exist. {needs}")
    data = os.environ.get("BENCHMARK_DATA", "")
    places = [Path(data) / home / category for home in (*homes, "")] if data and category else []
    if folders := [folder for folder in places if folder.is_dir()]:
        return folders
    problem = f"is not in {data} (BENCHMARK_DATA)" if data else "has no path"
    raise MissingDataError(f"{dataset} {category} {problem}. {needs}")


def find(folder: Path, name: str) -> Path | None:
    """The file of this name, gzipped or not; None if there is none."""
    return next((path for path in (folder / f"{name}.gz", folder / name) if path.is_file()), None)
