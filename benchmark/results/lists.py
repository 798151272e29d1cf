"""The job of making a data set's candidate lists, on disk: models that sample run apart from the runner."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.candidates import Known, Lists
from benchmark.data.protocol import Sampler
from benchmark.data.ragged import Ragged
from benchmark.data.types import Dataset
from benchmark.errors import BenchmarkError
from benchmark.results.datasets import load_dataset, save_dataset, with_frozen_candidates
from benchmark.results.files import locked, replacing, safe_name, write_json


@dataclass(frozen=True)
class ListJob:
    """The `lists` that the data set in the job's folder is to get, and how numerical libraries are to run."""

    folder: Path
    lists: Lists
    reproducible: bool

    @property
    def threads(self) -> int:
        return self.lists.threads

    def load(self) -> Dataset:
        """The data set without its lists."""
        return load_dataset(self.folder / "data")

    def save(self, dataset: Dataset) -> None:
        """Keep the data set with its lists."""
        save_dataset(self.folder / "made", dataset)


def making_lists(results: Path) -> AbstractContextManager[None]:
    """Hold the making of candidate lists, waiting for another run in this results folder that makes some."""
    return locked(results / "lists")


def list_job_folder(results: Path, name: str, digest: str) -> Path:
    return results / "lists" / f"{safe_name(name, 246)}-{digest[:8]}"


def write_list_job(folder: Path, dataset: Dataset, lists: Lists, reproducible: bool) -> None:
    save_dataset(folder / "data", dataset)
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for (task, spare), known in lists.known.items():
        arrays |= {f"{task} {spare} group": known.group, f"{task} {spare} items": known.items.values}
        arrays[f"{task} {spare} offsets"] = known.items.offsets
    with replacing(folder / "known.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    samplers = {task: [sampler.model_dump() for sampler in chosen] for task, chosen in lists.samplers.items()}
    spec = {"samplers": samplers, "threads": lists.threads, "reproducible": reproducible}
    write_json(folder / "list-job.json", spec)


def is_list_job(folder: Path) -> bool:
    return (folder / "list-job.json").is_file()


def read_list_job(folder: Path) -> ListJob:
    """The job that `write_list_job` wrote. Raises BenchmarkError where it cannot be read."""
    try:
        spec = json.loads((folder / "list-job.json").read_text(encoding="utf-8"))
        with np.load(folder / "known.npz") as arrays:
            known = {
                (task, spare): Known(
                    arrays[f"{task} {spare} group"],
                    Ragged(arrays[f"{task} {spare} offsets"], arrays[f"{task} {spare} items"]),
                )
                for task, spare in {tuple(name.split()[:2]) for name in arrays}
            }
        samplers = {task: [Sampler(**sampler) for sampler in chosen] for task, chosen in spec["samplers"].items()}
        return ListJob(folder, Lists(known, samplers, spec["threads"]), spec["reproducible"])
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise BenchmarkError(f"{folder} does not hold a job of candidate lists: {error}") from error


def with_made_lists(folder: Path, dataset: Dataset) -> Dataset:
    """The data set with the lists that the job in `folder` has made. Raises DamagedError where it has not."""
    return with_frozen_candidates(folder / "made", dataset)
