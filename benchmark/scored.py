"""The scores of finished cells, from their rankings on disk, and what is odd about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from benchmark.contract import Cell, CellResult
from benchmark.data.ragged import Floats
from benchmark.data.types import TASKS, Task
from benchmark.errors import reason
from benchmark.evaluation.leaderboard import Evaluated
from benchmark.evaluation.plausibility import ceiling, implausible
from benchmark.evaluation.remarks import below_popularity, popularity_mean, still_learning, trained
from benchmark.evaluation.scores import merged, score
from benchmark.plan import Plan
from benchmark.results.cells import CellFolder
from benchmark.results.files import DamagedError
from benchmark.suite.schema import NEW


class Scored:
    """The scores of finished cells, each computed once per run, from the rankings on disk."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._done: dict[Cell, list[Evaluated]] = {}
        self._popular: dict[tuple[str, Task], float | None] = {}

    def of(self, cell: Cell) -> list[Evaluated]:
        if cell not in self._done:
            self._done[cell] = list(self._evaluate(cell))
        return self._done[cell]

    def _evaluate(self, cell: Cell) -> Iterator[Evaluated]:
        plan, suite = self.plan, self.plan.suite
        folder = CellFolder.of(plan.results, cell)
        dataset = plan.datasets[cell.dataset]
        for task in cell.tasks:
            split, popularity = dataset.test[task], dataset.train.popularity(task)
            relevant = dict.fromkeys(("", *split.candidates), split.relevant)
            if split.seen is not None:
                relevant[NEW] = split.new(len(dataset.train.catalog)).relevant
            metrics = {c: {n: m for n, m in plan.metrics.items() if m.candidates == c} for c in relevant}
            rankings = {c: folder.load_ranking(task, c) for c, some in metrics.items() if some or not c}
            for name in suite.slices:
                if name == "other-day" and split.later is None:
                    continue
                scores = merged(
                    [
                        score(ranking, relevant[c], popularity, metrics[c], name, suite.head_share, split.later)
                        for c, ranking in rankings.items()
                    ]
                )
                if name == "all":
                    folder.save_scores(task, split.requests.ids, scores)
                yield Evaluated(cell, task, name, scores)

    def remarks(self, cell: Cell, result: CellResult) -> Iterator[str]:
        """What is odd about the numbers of a model that was trained here; see `benchmark.evaluation.remarks`."""
        if not trained(result.facts):
            return
        yield from still_learning(result.facts)
        metrics = self.plan.metrics
        names = [name for name in (self.plan.suite.primary_metric, *metrics) if name]
        whole = [name for name in names if not metrics[name].candidates and metrics[name].better != "neither"]
        if whole:
            least = {task: self._popularity(cell.dataset, task, whole[0]) for task in cell.tasks}
            yield from below_popularity(whole[0], result.means, least, metrics[whole[0]].better == "lower")

    def _popularity(self, dataset: str, task: Task, metric: str) -> float | None:
        key = dataset, task
        if key not in self._popular:
            bound, depth = self.plan.metrics[metric], self.plan.suite.depth
            self._popular[key] = popularity_mean(self.plan.datasets[dataset], task, metric, bound, depth)
        return self._popular[key]

    def implausible(self, cells: Sequence[Cell]) -> Iterator[tuple[Cell, str]]:
        """A remark on every cell whose model is too good to be believed at once, over the whole catalogue and all
        requests; seeds are averaged first."""
        suite = self.plan.suite
        for (name, dataset), task in product(self.plan.datasets.items(), TASKS):
            done = [cell for cell in cells if cell.dataset == name and task in cell.tasks]
            for metric, bound in self.plan.metrics.items() if done else ():
                unknown = bound.candidates or bound.better != "higher"
                best = None if unknown else ceiling(dataset, task, metric, bound, suite.depth)
                if best is None:
                    continue
                fits: dict[str, list[Floats]] = {}
                for cell in done:
                    fits.setdefault(cell.model, []).extend(
                        e.scores.values[metric] for e in self.of(cell) if (e.task, e.slice) == (task, "all")
                    )
                means = {model: np.mean(values, axis=0) for model, values in fits.items() if values}
                for model, remark in implausible(metric, task, means, best, suite.significance.alpha):
                    yield from ((cell, remark) for cell in done if cell.model == model)

    def result(self, cell: Cell, reused: bool = True) -> CellResult | None:
        """How a finished cell ended, None where it has not. One that cannot be scored has failed, alone."""
        folder = CellFolder.of(self.plan.results, cell)
        try:
            record = folder.read(cell, verify=self.plan.verify)
        except DamagedError as error:
            return CellResult("failed", folder.path, error=f"{error}; run again", reused=reused)
        if record is None:
            return None
        try:
            evaluations = self.of(cell)
        except Exception as error:
            return CellResult("failed", folder.path, error=f"not scored: {reason(error)}", reused=reused)
        means: dict[tuple[Task, str, str], float] = {}
        for evaluated in evaluations:
            key = evaluated.task, evaluated.slice
            means |= {(*key, name): float(v.mean()) for name, v in evaluated.scores.values.items() if len(v)}
            means |= {(*key, name): total for name, total in evaluated.scores.totals.items()}
        return CellResult("finished", folder.path, record.facts, record.costs, record.curve, means, reused=reused)
