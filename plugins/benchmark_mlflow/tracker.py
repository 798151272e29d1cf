"""One plan in an MLflow store: its parent run, and a child run for each of its cells."""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import hashlib
import importlib.metadata
import json
import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import Cell, CellResult
from benchmark_mlflow import entries
from benchmark_mlflow.entries import LONGEST_DIGEST, LONGEST_NAME, LONGEST_PARAM, LONGEST_TAG, now
from benchmark_mlflow.store import Store

if TYPE_CHECKING:
    from benchmark import Leaderboard, Plan

CELL_FILES = ("facts.json", "curve.csv", "log.txt", "scores-*.parquet")
REPORT_FILES = ("leaderboard.*", "significance.csv", "claims.json", "suite.yaml", "environment.json", "figures/*.svg")


class Tracker:
    """Raises BenchmarkError, naming the remedy, where the plan's store cannot be used."""

    def __init__(self, plan: Plan, running: bool = False) -> None:
        self.plan = plan
        home = plan.results.resolve().parent
        self.store = Store(plan.options["mlflow"]["uri"] or f"sqlite:///{home / 'mlflow.db'}", home)
        self.started = now()
        self.key = _plan_key(plan)
        self.results: dict[Cell, CellResult] = {}
        self.logged: set[str] = set()
        self.children: dict[str, Any] = {}  # this plan's child runs by computation
        self.newest: Any = None  # its newest parent run
        self.parent = ""
        self.lost = False
        with self.store.session(
            "cannot be used", "Name another one with --tracking URI, or run without MLflow: --tracking off"
        ):
            self.client, self.experiment = self.store.connect(plan.suite.name, plan.suite.title)
            # Every `benchmark run` of this plan shares this lock as long as it lives.
            self.presence = (plan.results / f".running-{self.key}").open("w")
            if running:
                fcntl.flock(self.presence, fcntl.LOCK_SH)
            self._look()
            self.reader = self.store.reader()
            self.left = self._version()  # the store as this run has left it; None once another process has written

    def cell_finished(self, cell: Cell, result: CellResult) -> None:
        """Log a cell that this run has computed; those that it reuses are looked at together, at the end."""
        self.results[cell] = result
        if result.reused or self.lost:
            return
        # A server that is gone is asked once more, at the end, not once per cell.
        self.lost = True
        with self.store.session("has stopped answering", self._later()):
            alone = self.left is not None and self.left == self._version()
            # Nobody can have logged what was computed while nobody wrote, but for a failure: it may be an earlier one.
            self._log(cell, result, self._parent(), new=alone and result.status == "finished")
            self.left = self._version() if alone else None
        self.lost = False

    def suite_finished(self, leaderboard: Leaderboard) -> None:
        """Log what is missing: cells of this run and of earlier ones, failures, the files of the report."""
        if self.reader:
            self.reader.close()
        with contextlib.closing(self.presence), self.store.session("cannot be used", self._later()):
            parent = self._parent()
            finished = self._finished()
            for cell, result in (self._failed(leaderboard) | finished).items():
                self._log(cell, result, parent)
            self._close(parent, leaderboard, len(finished))

    def _later(self) -> str:
        return f"No result is lost: what is missing is logged at the end, or by: benchmark report {self.plan.source}"

    # ------------------------------------------------------------ what there is

    def _version(self) -> int | None:
        """What is another number when anybody has written to the store; None where that cannot be told."""
        return int(self.reader.execute("PRAGMA data_version").fetchone()[0]) if self.reader else None

    def _look(self) -> None:
        """What earlier runs of this very plan have logged."""
        runs = self._search(f"tags.`benchmark.plan` = '{self.key}'")
        self.children = {c: run for run in reversed(runs) if (c := run.data.tags.get("benchmark.computation"))}
        self.newest = next((run for run in runs if "benchmark.computation" not in run.data.tags), None)

    def _search(self, where: str) -> list[Any]:
        """The runs of this suite for which the filter holds, newest first."""
        found: list[Any] = []
        token = None
        while token != "":
            page = self.client.search_runs([self.experiment], where, order_by=["start_time DESC"], page_token=token)
            found.extend(page)
            token = page.token or ""
        return found

    def _known(self, computation: str) -> Any:
        """The child run of a computation, under whatever parent; None where it has none."""
        if computation in self.children:
            return self.children[computation]
        return next(iter(self._search(f"tags.`benchmark.computation` = '{computation}'")), None)

    def _finished(self) -> dict[Cell, CellResult]:
        results = {cell: self.results.get(cell) or self.plan.result(cell) for cell in self.plan.cells}
        return {cell: result for cell, result in results.items() if result and result.status == "finished"}

    def _failed(self, leaderboard: Leaderboard) -> dict[Cell, CellResult]:
        """The failed cells, those of earlier runs as well."""
        named = {(cell.dataset, cell.model, cell.seed): cell for cell in self.plan.cells}
        failed = {}
        for failure in leaderboard.failures:
            cell = named[failure.dataset, failure.model, failure.seed]
            folder = (self.plan.results / failure.log).parent
            earlier = CellResult("failed", folder, error=failure.error, reused=True)
            failed[cell] = self.results.get(cell, earlier)
        return failed

    # ------------------------------------------------------------ the parent

    def _parent(self) -> str:
        """This run's parent: the one that an interrupted run has left open, or a new one if anything was computed."""
        if not self.parent:
            self._look()  # a run of the same suite may have begun in the meantime
            computed = any(not result.reused for result in self.results.values())
            newest = self.newest
            continued = newest is not None and (newest.info.status == "RUNNING" or not computed)
            self.parent = newest.info.run_id if continued else self._open()
        return self.parent

    def _open(self) -> str:
        from mlflow.entities import Param

        plan, suite = self.plan, self.plan.suite
        name = " ".join(filter(None, [suite.name, suite.profile, ", ".join(plan.marks)]))
        run = self.client.create_run(self.experiment, self.started, self._tags({}), name[:LONGEST_NAME])
        params = {
            "profile": suite.profile,
            "device": plan.device,
            "seeds": list(suite.seeds),
            "datasets": [choice.name for choice in suite.datasets],
            "models": [choice.name for choice in suite.models],
            "metrics": list(suite.metrics),
            "slices": list(suite.slices),
            "split": suite.protocol.split,
            "mask_seen": suite.mask_seen,
        }
        written = entries.texts(params, LONGEST_PARAM)
        self.client.log_batch(run.info.run_id, params=[Param(*item) for item in written.items()])
        return str(run.info.run_id)

    def _close(self, parent: str, leaderboard: Leaderboard, finished: int) -> None:
        """Say how the run ended, with the files of the report, unless the store has it all."""
        from mlflow.entities import Metric, RunTag

        files = [path for pattern in REPORT_FILES for path in sorted(self.plan.results.glob(pattern))]
        digest = hashlib.sha256()
        for path in files:
            digest.update(f"{path.name}\0".encode() + path.read_bytes())
        run = self.client.get_run(parent)
        if run.data.tags.get("benchmark.report") == digest.hexdigest() and run.info.status != "RUNNING":
            self._alone()
            return
        failed = len(leaderboard.failures)
        note = (
            f"{finished} cells finished, {failed} failed. The leaderboard, its tests and its claims are artifacts of "
            "this run: open leaderboard.html. Each cell is a child run: select some and press Compare. "
            "`recommendation.R_30.head` is R@30 of recommendation on the head slice."
        )
        for path in files:
            folder = path.parent.relative_to(self.plan.results).as_posix()
            self.client.log_artifact(parent, str(path), None if folder == "." else folder)
        counts = {"cells_finished": finished, "cells_failed": failed}
        self.client.log_batch(
            parent,
            metrics=[Metric(name, count, now(), 0) for name, count in counts.items()],
            tags=[RunTag("mlflow.note.content", note), RunTag("benchmark.report", digest.hexdigest())],
        )
        if self._alone():
            self.client.set_terminated(parent, "FAILED" if failed else "FINISHED")

    def _alone(self) -> bool:
        """Whether no other process runs this plan, which would go on under the same parent run."""
        try:
            fcntl.flock(self.presence, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        Path(self.presence.name).unlink(missing_ok=True)
        return True

    # ------------------------------------------------------------ the children

    def _log(self, cell: Cell, result: CellResult, parent: str, new: bool = False) -> None:
        """Make the store hold this computation once, whole, and, if it has finished, under this parent. One that is
        `new` is not looked for beyond this plan."""
        tags = entries.tags(cell, result)
        computation = tags["benchmark.computation"]
        if computation in self.logged:
            return
        run = self.children.get(computation) if new else self._known(computation)
        failed = result.status == "failed"
        if run is not None and failed and not result.reused and run.data.tags.get("mlflow.parentRunId") != parent:
            run = None  # the same failure in an earlier run is that run's, and stays there
        if run is None:
            tags = self._tags(tags | {"mlflow.parentRunId": parent})
            run = self.client.create_run(self.experiment, entries.span(result)[0], tags, cell.name[:LONGEST_NAME])
        if run.info.status == "RUNNING":  # new, or left half-logged by a run that was killed
            self._fill(run.info.run_id, cell, result)
        else:
            self._add(run, result)
        if not failed and run.data.tags.get("mlflow.parentRunId") != parent:
            self._adopt(run.info.run_id, parent)
        self.logged.add(computation)

    def _fill(self, run: str, cell: Cell, result: CellResult) -> None:
        """All that there is to say about a cell, its numbers in one batch."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

        points = [(*item, 0) for item in entries.metrics(result).items()] + entries.curve(result)
        params = entries.params(cell) | {"device": self.plan.device, "profile": self.plan.suite.profile}
        ended = entries.span(result)[1]  # the same every time, so that MLflow knows numbers that are there already
        self.client.log_batch(
            run,
            metrics=[Metric(name, value, ended, step) for name, value, step in points],
            params=[Param(*item) for item in entries.texts(params, LONGEST_PARAM).items()],
        )
        source = {"plugin": cell.dataset_use, "params": dict(cell.dataset_params)}
        data = self.plan.datasets.get(cell.dataset)
        requests = sum(len(split.requests) for split in data.test.values()) if data else None
        dataset = Dataset(
            cell.dataset,
            cell.digest[:LONGEST_DIGEST],
            "code",
            json.dumps({"tags": source}, default=str),
            profile=json.dumps({"num_rows": requests}),
        )
        self.client.log_inputs(run, [DatasetInput(dataset, [InputTag("mlflow.data.context", "evaluation")])])
        self._upload(run, result)
        self.client.set_terminated(run, result.status.upper(), ended)

    def _add(self, run: Any, result: CellResult) -> None:
        """The metrics that a child run lacks, or has with another value."""
        from mlflow.entities import Metric

        had = run.data.metrics
        wanted = entries.metrics(result).items()
        missing = [
            Metric(name, value, now(), 0)
            for name, value in wanted
            if not math.isclose(had.get(name, math.nan), value, rel_tol=1e-9)
        ]
        if missing:
            self.client.log_batch(run.info.run_id, metrics=missing)
            self._upload(run.info.run_id, result)

    def _adopt(self, run: str, parent: str) -> None:
        from mlflow.entities import RunTag

        tags = {"mlflow.parentRunId": parent, "benchmark.plan": self.key}
        self.client.log_batch(run, tags=[RunTag(*item) for item in tags.items()])

    def _upload(self, run: str, result: CellResult) -> None:
        for pattern in CELL_FILES:
            for path in sorted(result.directory.glob(pattern)):
                self.client.log_artifact(run, str(path))

    def _tags(self, own: Mapping[str, Any]) -> dict[str, str]:
        """Every run says where it comes from, because the filters of MLflow's pages do not look at a run's parent."""
        return entries.texts(self._origin | dict(own), LONGEST_TAG)

    @cached_property
    def _origin(self) -> dict[str, Any]:
        plan = self.plan
        tags: dict[str, Any] = {
            "mlflow.source.name": f"benchmark run {plan.source.name}",
            "mlflow.source.type": "LOCAL",
            "benchmark.plan": self.key,
            "benchmark.suite": plan.suite.name,
            "benchmark.profile": plan.suite.profile,
            "benchmark.marks": ", ".join(plan.marks),
            "benchmark.version": importlib.metadata.version("genrec-benchmark"),
        }
        with contextlib.suppress(OSError, KeyError):  # the user of a container may have no name
            tags["mlflow.user"] = getpass.getuser()
        with contextlib.suppress(OSError, ValueError, KeyError):
            environment = json.loads((plan.results / "environment.json").read_text(encoding="utf-8"))
            tags["mlflow.source.git.commit"] = environment["git_commit"]
            tags["benchmark.git_dirty"] = environment["git_dirty"]
        return tags


def _plan_key(plan: Plan) -> str:
    """The same for runs that may continue each other: one suite, one set of cells, one results folder."""
    cells = [[cell.name, cell.fingerprint] for cell in plan.cells]
    # Not the host: a container that is started again has another name, and its parent run is to be found.
    return entries.short_hash(
        [plan.suite.model_dump(mode="json"), cells, list(plan.marks), str(plan.results.resolve())]
    )
