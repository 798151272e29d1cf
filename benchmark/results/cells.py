"""A cell on disk: what it is, what it leaves, whether it is finished."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import statistics
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from benchmark.contract import Cell, Costs, Scores
from benchmark.data.ragged import Strings
from benchmark.data.ranking import Ranking
from benchmark.data.types import TASKS, Requests, Task
from benchmark.errors import BenchmarkError
from benchmark.results.checksums import FileRecord, check_files, checksums, read_sealed, write_sealed
from benchmark.results.datasets import _flat
from benchmark.results.files import (
    DamagedError,
    locked,
    read_table,
    remove_folder,
    safe_name,
    sweep_temporary,
    write_json,
    write_table,
    write_text,
)
from benchmark.results.scratch import scratch_folder
from benchmark.text import csv_cell

if TYPE_CHECKING:
    import pyarrow as pa

OUTCOME = ("ranking-*.parquet", "facts.json", "curve.csv")
"""The files that a cell leaves for good. The log grows with every attempt, and reports write the scores anew."""


@dataclass(frozen=True)
class Spec:
    """Everything a worker needs to know about a cell: what `spec.json` in its folder says."""

    cell: Cell
    dataset: Path
    depth: int
    threads: int
    device: str
    reproducible: bool = False
    timeout: float | None = None
    """Seconds."""
    memory: int | None = None
    """Bytes."""


@dataclass(frozen=True)
class CellRecord:
    """What a finished cell says of itself: what `cell.json` holds besides the cell.

    `candidates` names the candidate lists that were ranked, by task, and `variants` the model's further rankings.
    `machine` has "processor" and "instructions", and more that is for the reader; None in an older version's.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    curve: Sequence[Mapping[str, float]] = ()
    candidates: Mapping[Task, Sequence[str]] = field(default_factory=dict)
    variants: Sequence[str] = ()
    machine: Mapping[str, Any] | None = None
    costs: Costs = field(default_factory=Costs)

    def rankings(self, task: Task) -> Sequence[str]:
        """The names of a task's rankings: of the catalogue (""), of each candidate list, of each variant."""
        return ("", *self.candidates.get(task, ()), *self.variants)


class _Machine(BaseModel):
    processor: str
    instructions: list[str]


class _Finished(BaseModel):
    """The shape of `cell.json`, of which an older version had less; the parts of the cell itself are not checked."""

    model_config = ConfigDict(strict=True)
    fingerprint: str
    facts: dict[str, Any]
    costs: dict[str, float | bool | None]
    curve: list[dict[str, Any]]
    candidates: dict[Task, list[str]] = {}
    variants: list[str] = []
    machine: _Machine | None = None
    files: dict[str, FileRecord] = {}


class CellFolder:
    """The folder of a cell: what lies in it, and what happens to it.

    `spec.json` says what to compute, `log.txt` has what that printed, and `failure.json` why it failed. A finished cell
    has a ranking for each task, candidate list and variant, `facts.json` and `curve.csv` for the reader, and
    `cell.json`, written last. The `scores-*.parquet` are written by the report.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path / "log.txt"

    @classmethod
    def of(cls, results: Path, cell: Cell) -> CellFolder:
        name = f"seed-{cell.seed}-{cell.fingerprint[:8]}"
        return cls(results / "cells" / safe_name(cell.dataset) / safe_name(cell.model) / name)

    def locked(self, *, wait: bool = True) -> AbstractContextManager[None]:
        """Hold the cell, so that no other process computes it or removes its files; see `files.locked`."""
        return locked(self.path, wait=wait)

    # ------------------------------------------------------------ what to compute, and where

    def write_spec(self, spec: Spec) -> None:
        write_json(self.path / "spec.json", {**asdict(spec), "dataset": os.path.relpath(spec.dataset, self.path)})

    def read_spec(self) -> Spec:
        """Raises BenchmarkError where the folder is not that of a cell."""
        try:
            raw = json.loads((self.path / "spec.json").read_text(encoding="utf-8"))
            cell = cell_from_json(raw["cell"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BenchmarkError(
                f"{self.path} is not the folder of a cell: spec.json is missing or broken ({error})."
            ) from error
        return Spec(
            cell,
            (self.path / raw["dataset"]).resolve(),
            raw["depth"],
            raw["threads"],
            raw["device"],
            raw.get("reproducible", False),
            raw.get("timeout"),
            raw.get("memory"),
        )

    @property
    def scratch(self) -> Path:
        """Where the model works, outside the results: see `scratch_folder`."""
        return scratch_folder(self.path)

    # ------------------------------------------------------------ rankings and scores

    def _ranking(self, task: Task, variant: str = "") -> Path:
        return self.path / f"ranking-{task}{'@' * bool(variant)}{safe_name(variant, 200)}.parquet"

    def save_ranking(self, task: Task, requests: Requests, ranking: Ranking, variant: str = "") -> None:
        """Items are row numbers of the data set's items.parquet, best first, padded with -1.

        `variant` is the model's, or the name of a candidate list.
        """
        import pyarrow as pa

        depth = ranking.items.shape[1]

        def fixed(values: Any) -> pa.Array:
            return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), depth)

        columns = {"request": requests.ids, "items": fixed(ranking.items), "scores": fixed(ranking.scores)}
        write_table(self._ranking(task, variant), columns)

    def load_ranking(self, task: Task, variant: str = "") -> Ranking:
        table = read_table(self._ranking(task, variant))
        items, scores = _flat(table["items"], np.int32), _flat(table["scores"], np.float32)
        return Ranking(items.reshape(table.num_rows, -1), scores.reshape(table.num_rows, -1))

    def save_scores(self, task: Task, requests: Strings, scores: Scores) -> None:
        """Per-request scores over all relevant items, a column per metric, NaN for requests that a metric leaves out;
        for the user, never read again. `requests` are the ids of all requests of the task."""
        columns = {}
        for metric, values in scores.values.items():
            columns[metric] = np.full(len(requests), np.nan)
            columns[metric][scores.own_rows.get(metric, scores.rows)] = values
        write_table(
            self.path / f"scores-{task}.parquet",
            {
                "request": requests[scores.rows],
                **{name: scores_of_metric[scores.rows] for name, scores_of_metric in columns.items()},
            },
        )

    # ------------------------------------------------------------ the life of the cell

    def begin(self) -> None:
        """Remove the files of earlier attempts and start a log: a cell with a log and no outcome was interrupted."""
        sweep_temporary(self.path)
        for name in ("cell.json", "failure.json", *OUTCOME):
            for path in self.path.glob(name):
                path.unlink()
        self.log.touch()

    def finish(self, cell: Cell, record: CellRecord) -> None:
        """Write what the cell says of itself, and mark it as finished. The rankings are on the disk already; they are
        read back as a last check."""
        write_text(self.path / "curve.csv", curve_csv(record.curve))
        write_json(self.path / "facts.json", record.facts)
        for task in cell.tasks:
            for name in record.rankings(task):
                self.load_ranking(task, name)
        (self.path / "failure.json").unlink(missing_ok=True)
        files = checksums(self.path, (path.name for name in OUTCOME for path in self.path.glob(name)))
        content = {**vars(record), "costs": asdict(record.costs), "files": files}
        write_sealed(self.path / "cell.json", {**asdict(cell), **content})

    def read(self, cell: Cell, *, verify: bool = False) -> CellRecord | None:
        """What `finish` was given, or None if the cell has not finished. Non-finite numbers, which older versions let a
        model record, are None in facts and costs, and left out of the curve.

        Raises DamagedError if one of the cell's files is missing or not what was written.
        """
        path = self.path / "cell.json"
        if not path.is_file():
            return None
        content = read_sealed(path, _Finished)
        if content["fingerprint"] != cell.fingerprint:
            raise DamagedError("cell.json is damaged: it is about another cell")
        files, costs = content.get("files", {}), content["costs"]
        record = CellRecord(
            content["facts"],
            tuple({name: value for name, value in point.items() if value is not None} for point in content["curve"]),
            content.get("candidates", {}),
            tuple(content.get("variants", ())),
            content.get("machine"),
            Costs(**{part.name: costs[part.name] for part in fields(Costs) if part.name in costs}),
        )
        rankings = [self._ranking(task, name) for task in cell.tasks for name in record.rankings(task)]
        if missing := [ranking.name for ranking in rankings if not ranking.is_file()]:
            raise DamagedError(f"{missing[0]} is missing")
        check_files(self.path, files, "cell.json", verify=verify)
        if not files:  # of an older version
            _check_tables(rankings)
        return record

    def is_finished(self, cell: Cell, *, verify: bool = False) -> bool:
        """Whether a cell has finished and all its files are what was written."""
        try:
            return self.read(cell, verify=verify) is not None
        except DamagedError:
            return False

    def reopen(self, cell: Cell, *, verify: bool = False) -> None:
        """Mark a damaged cell as not finished, unless another process is already computing it again."""
        with contextlib.suppress(BlockingIOError), self.locked(wait=False):
            if not self.is_finished(cell, verify=verify):
                (self.path / "cell.json").unlink(missing_ok=True)

    def fail(self, error: str) -> None:
        write_json(self.path / "failure.json", {"error": error})

    def failure(self) -> str:
        """The error of a failed cell, otherwise empty."""
        try:
            return str(json.loads((self.path / "failure.json").read_text(encoding="utf-8"))["error"])
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return ""

    def was_interrupted(self) -> bool:
        """Whether a cell was begun, has no outcome, and no process is working on it."""
        traces = [path for name in (self.log.name, *OUTCOME) for path in self.path.glob(name)]
        if not traces or not (self.path / "spec.json").is_file():
            return False
        try:
            with self.locked(wait=False):
                return not (self.path / "cell.json").is_file() and not self.failure()
        except BlockingIOError:
            return False

    def forget(self) -> None:
        """Remove all files of a cell, so that it is computed again."""
        remove_folder(self.scratch)
        if self.path.is_dir():
            with self.locked():
                (self.path / "cell.json").unlink(missing_ok=True)
                for path in self.path.iterdir():
                    if path.is_dir():
                        shutil.rmtree(path)
                    elif path.name != ".lock":
                        path.unlink()


def curve_csv(points: Sequence[Mapping[str, float]]) -> str:
    """A learning curve as a table with a column per value, `step` first."""
    names = ["step", *sorted({name for point in points for name in point} - {"step"})]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(csv_cell, names))
    writer.writerows([csv_cell(point.get(name, "")) for name in names] for point in points)
    return out.getvalue()


def _check_tables(paths: Sequence[Path]) -> None:
    """Raises DamagedError for a truncated table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in paths:
        try:
            pq.read_metadata(path)
        except (OSError, pa.ArrowException) as error:
            raise DamagedError(f"{path.name} cannot be read ({error})") from error


def usual_seconds(results: Path, cell: Cell) -> float | None:
    """The median of what fitting and ranking took in the finished cells of this model on this data set, whatever their
    seed, code or settings; None where there are none."""
    seconds = []
    for path in CellFolder.of(results, cell).path.parent.glob("seed-*/cell.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            costs = json.loads(path.read_text(encoding="utf-8"))["costs"]
            seconds.append(float(costs["fit_seconds"]) + float(costs["rank_seconds"]))
    return statistics.median(seconds) if seconds else None


def computed_otherwise(results: Path, cell: Cell) -> bool:
    """Whether the results hold this model's cell of another fingerprint: of other code, data or settings."""
    own = CellFolder.of(results, cell).path
    return any(path.parent != own for path in own.parent.glob(f"seed-{cell.seed}-*/cell.json"))


def cell_from_json(raw: Mapping[str, Any]) -> Cell:
    required = {field.name for field in fields(Cell) if field.default is MISSING}
    if missing := required - raw.keys():
        raise KeyError(min(missing))
    values: dict[str, Any] = {field.name: raw[field.name] for field in fields(Cell) if field.name in raw}
    tuples = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    cell = Cell(**{**values, **tuples})
    texts = (cell.dataset, cell.model, cell.fingerprint, cell.digest, cell.dataset_use, cell.model_use)
    if not all(isinstance(text, str) for text in texts) or not isinstance(cell.seed, int):
        raise ValueError("a name is not a text, or a seed is not a number")
    if not set(cell.tasks) <= set(TASKS):
        raise ValueError(f"tasks are {' and '.join(TASKS)}, not {cell.tasks}")
    return cell
