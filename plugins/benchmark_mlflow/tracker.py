"""Logs cells and leaderboards of one run of a suite to an MLflow store."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import importlib.metadata
import json
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import Cell, CellResult
from benchmark_mlflow import entries
from benchmark_mlflow.entries import LONGEST_DIGEST, LONGEST_NAME, LONGEST_PARAM, LONGEST_TAG, now
from benchmark_mlflow.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run

    from benchmark import Run as SuiteRun

CELL_FILES = ("facts.json", "curve.csv", "log.txt", "scores-*.parquet")
REPORT_FILES = ("leaderboard.*", "significance.csv", "claims.json", "suite.yaml", "environment.json", "figures/*.svg")
PARENT = "mlflow.parentRunId"


class Tracker:
    """Raises BenchmarkError with a remedy where the run's store cannot be used."""

    def __init__(self, suite_run: SuiteRun) -> None:
        self.suite_run = suite_run
        home = suite_run.results.resolve().parent
        self.store = Store(suite_run.options["mlflow"]["uri"] or f"sqlite:///{home / 'mlflow.db'}", home)
        self.started = now()
        self.logged: dict[str, Run] = {}  # by computation
        self.alone = True  # no other process has used the store since this one connected
        self.lost = False  # the store has stopped answering
        remedy = "Name another one with --tracking URI, or run without MLflow: --tracking off"
        with self.store.session("cannot be used", remedy):
            self.client, self.experiment = self.store.connect(suite_run.suite.name, suite_run.suite.title)

    def cell_finished(self, cell: Cell, result: CellResult) -> None:
        """Log a cell that this run has computed. Reused ones wait for the end, as all do once the store is lost."""
        if result.reused or self.lost:
            return
        self.lost = True
        with self.store.session("has stopped answering", self._later()) as undisturbed:
            self.alone = self.alone and undisturbed
            # A search takes a tenth of the time of logging a cell. Only a failure can repeat an earlier one.
            self._log_cell(cell, result, search=not self.alone or result.status == "failed")
        self.lost = False

    def suite_finished(self, results: Mapping[Cell, CellResult]) -> None:
        """Log what the store lacks of the leaderboard and its cells, and nest these cells below it."""
        with self.store.session("cannot be used", self._later()):
            children = [self._log_cell(cell, result) for cell, result in results.items()]
            parent = self._log_leaderboard(results)
            for child in children:
                if child.data.tags.get(PARENT) != parent:
                    self.client.set_tag(child.info.run_id, PARENT, parent)

    def _later(self) -> str:
        return (
            f"No result is lost: what is missing is logged at the end, or by: benchmark report {self.suite_run.source}"
        )

    def _find(self, tag: str, value: str) -> Run | None:
        runs = self.client.search_runs([self.experiment], f"tags.`{tag}` = '{value}'", max_results=1)
        return runs[0] if runs else None

    # ------------------------------------------------------------ cells

    def _log_cell(self, cell: Cell, result: CellResult, search: bool = True) -> Run:
        """The run of this computation; made, completed or given the metrics that it lacks."""
        key = entries.computation(cell, result)
        if key not in self.logged:
            run = self._find(entries.COMPUTATION, key) if search else None
            if run is None:
                tags = self._tags(entries.tags(cell, result))
                run = self.client.create_run(self.experiment, entries.span(result)[0], tags, cell.name[:LONGEST_NAME])
            if run.info.status == "RUNNING":  # new, or left half-logged by a process that was killed
                self._fill_cell(run.info.run_id, cell, result)
            else:
                self._add_metrics(run, result)
            self.logged[key] = run
        return self.logged[key]

    def _fill_cell(self, run: str, cell: Cell, result: CellResult) -> None:
        """Everything about a cell, its numbers in one batch."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

        points = [(*item, 0) for item in entries.metrics(result).items()] + entries.curve(result)
        params = entries.params(cell) | {"device": self.suite_run.device, "profile": self.suite_run.suite.profile}
        ended = entries.span(result)[1]  # always the same, so that MLflow recognises numbers that it already has
        self.client.log_batch(
            run,
            metrics=[Metric(name, value, ended, step) for name, value, step in points],
            params=[Param(*item) for item in entries.texts(params, LONGEST_PARAM).items()],
        )
        source = {"plugin": cell.dataset_use, "params": dict(cell.dataset_params)}
        data = self.suite_run.datasets.get(cell.dataset)
        requests = sum(len(split.requests) for split in data.test.values()) if data else None
        dataset = Dataset(
            cell.dataset,
            cell.digest[:LONGEST_DIGEST],
            "code",
            json.dumps({"tags": source}, default=str),
            profile=json.dumps({"num_rows": requests}),
        )
        self.client.log_inputs(run, [DatasetInput(dataset, [InputTag("mlflow.data.context", "evaluation")])])
        self._upload_scores(run, result)
        self.client.set_terminated(run, result.status.upper(), ended)

    def _add_metrics(self, run: Run, result: CellResult) -> None:
        """Log metrics that the run lacks or has with another value."""
        from mlflow.entities import Metric

        logged = run.data.metrics
        missing = [
            Metric(name, value, now(), 0)
            for name, value in entries.metrics(result).items()
            if not math.isclose(logged.get(name, math.nan), value, rel_tol=1e-9)
        ]
        if missing:
            self.client.log_batch(run.info.run_id, metrics=missing)
            self._upload_scores(run.info.run_id, result)

    def _upload_scores(self, run: str, result: CellResult) -> None:
        for pattern in CELL_FILES:
            for path in sorted(result.directory.glob(pattern)):
                self.client.log_artifact(run, str(path))

    # ------------------------------------------------------------ the leaderboard

    def _log_leaderboard(self, results: Mapping[Cell, CellResult]) -> str:
        """The id of the run with these computations and the files of the report; made or completed if need be."""
        files = [path for pattern in REPORT_FILES for path in sorted(self.suite_run.results.glob(pattern))]
        digest = hashlib.sha256("".join(entries.computation(*item) for item in results.items()).encode())
        for path in files:
            digest.update(f"{path.name}\0".encode() + path.read_bytes())
        run = self._find(entries.LEADERBOARD, digest.hexdigest())
        if run is None:
            suite, tags = self.suite_run.suite, self._tags({entries.LEADERBOARD: digest.hexdigest()})
            name = " ".join(filter(None, [suite.name, suite.profile, ", ".join(self.suite_run.marks)]))
            run = self.client.create_run(self.experiment, self.started, tags, name[:LONGEST_NAME])
        if run.info.status == "RUNNING":
            self._fill_leaderboard(run, files, results)
        return str(run.info.run_id)

    def _fill_leaderboard(self, run: Run, files: Sequence[Path], results: Mapping[Cell, CellResult]) -> None:
        from mlflow.entities import Metric, Param, RunTag

        failed = sum(result.status == "failed" for result in results.values())
        counts = {"cells_finished": len(results) - failed, "cells_failed": failed}
        note = (
            f"{len(results) - failed} cells finished, {failed} failed. The leaderboard, its tests and its claims are "
            "artifacts of this run: open leaderboard.html. Each cell is a child run: select some and press Compare. "
            "`recommendation.R_30.head` is R@30 of recommendation on the head slice."
        )
        params = entries.suite_params(self.suite_run.suite) | {"device": self.suite_run.device}
        self.client.log_batch(
            run.info.run_id,
            metrics=[Metric(name, count, run.info.start_time, 0) for name, count in counts.items()],
            params=[Param(*item) for item in entries.texts(params, LONGEST_PARAM).items()],
            tags=[RunTag("mlflow.note.content", note)],
        )
        for path in files:
            folder = path.parent.relative_to(self.suite_run.results).as_posix()
            self.client.log_artifact(run.info.run_id, str(path), None if folder == "." else folder)
        self.client.set_terminated(run.info.run_id, "FAILED" if failed else "FINISHED")

    # ------------------------------------------------------------ tags of both

    def _tags(self, tags: Mapping[str, Any]) -> dict[str, str]:
        """Every run says where it comes from, because the filters of MLflow's pages ignore a run's parent."""
        return entries.texts(self._origin | dict(tags), LONGEST_TAG)

    @cached_property
    def _origin(self) -> dict[str, Any]:
        suite_run = self.suite_run
        tags: dict[str, Any] = {
            "mlflow.source.name": f"benchmark run {suite_run.source.name}",
            "mlflow.source.type": "LOCAL",
            "benchmark.suite": suite_run.suite.name,
            "benchmark.profile": suite_run.suite.profile,
            "benchmark.marks": ", ".join(suite_run.marks),
            "benchmark.version": importlib.metadata.version("genrec-benchmark"),
        }
        with contextlib.suppress(OSError, KeyError):  # the user of a container may have no name
            tags["mlflow.user"] = getpass.getuser()
        with contextlib.suppress(OSError, ValueError, KeyError):
            environment = json.loads((suite_run.results / "environment.json").read_text(encoding="utf-8"))
            tags["mlflow.source.git.commit"] = environment["git_commit"]
            tags["benchmark.git_dirty"] = environment["git_dirty"]
        return tags
