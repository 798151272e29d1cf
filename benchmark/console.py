"""What a person sees while a run goes on (on stderr), and the tables of `list` and `--dry-run` (on stdout)."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console as Terminal
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmark.contract import Cell, CellResult
from benchmark.text import visible

if TYPE_CHECKING:
    from benchmark.describe import Entry
    from benchmark.plan import Plan
    from benchmark.plugins import Offer, Registry


class Console:
    """Progress bars with the time left, for the cells and for what each worker trains; plain lines off a terminal."""

    def __init__(self) -> None:
        self._terminal = Terminal(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[values]}", markup=False),
            console=self._terminal,
            disable=not self._terminal.is_terminal,
        )
        self._cells: TaskID | None = None
        self._bars: dict[Cell, TaskID] = {}

    def __enter__(self) -> Console:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def planned(self, plan: Plan, waiting: Sequence[Cell]) -> None:
        reused = len(plan.selected) - len(waiting)
        self._say(f"{plan.suite.name} [{plan.suite.profile or 'no profile'}] on {plan.device}: "
                  f"{len(waiting)} cells to compute, {reused} finished before{older_cells(plan, waiting)}")  # fmt: skip
        if waiting:
            self._cells = self._progress.add_task("cells", total=len(waiting), values="")

    def progressed(self, cell: Cell, phase: str, step: int, total: int, values: Mapping[str, float]) -> None:
        if cell not in self._bars:
            self._bars[cell] = self._progress.add_task("", total=total, values="")
        bar = self._bars[cell]
        self._progress.update(bar, description=f"{_line(phase):4} {_line(cell.name)}", completed=step, total=total)
        if values:
            numbers = (f"{_line(name)} {value:.4g}" for name, value in values.items())
            self._progress.update(bar, values="  ".join(numbers))

    def finished(self, cell: Cell, result: CellResult) -> None:
        if result.reused:
            return
        if cell in self._bars:
            self._progress.remove_task(self._bars.pop(cell))
        if self._cells is not None:
            self._progress.advance(self._cells)
        if result.status == "failed":
            from benchmark.results.cells import CellFolder

            self._say(f"FAILED   {cell.name}: {result.error}\n         log: {CellFolder(result.directory).log}")
        else:
            self._say(f"finished {cell.name} in {result.costs.seconds:.1f} s")

    def warned(self, message: str) -> None:
        self._say(f"warning: {message}")

    def _say(self, text: str) -> None:
        self._terminal.print(visible(text), markup=False, soft_wrap=True)


def _line(text: str) -> str:
    """The text as a part of one line."""
    return " ".join(visible(text).split())


def print_cells(plan: Plan, jobs: int) -> None:
    """The cells of a run with what is known about their time, longest first within the total."""
    from tabulate import tabulate

    from benchmark.results.cells import CellFolder
    from benchmark.results.datasets import dataset_damage, dataset_folder
    from benchmark.results.files import DamagedError
    from benchmark.runner import estimates

    rows, left, unknown, remarks = [], 0.0, 0, list(plan.marks)
    expected = estimates(plan)
    for name, dataset in plan.datasets.items():
        if damage := dataset_damage(dataset_folder(plan.results, name, dataset.digest), verify=plan.verify):
            remarks.append(f"data set {name}: {damage}; it will be written anew")
    for cell in plan.selected:
        try:
            done = CellFolder.of(plan.results, cell).read(cell, verify=plan.verify) is not None
        except DamagedError as error:
            done = False
            remarks.append(f"{cell.name}: {error}; it will be computed again")
        seconds = expected[cell]
        shown = None if seconds is None else round(seconds, 1)
        rows.append([cell.name, ", ".join(cell.tasks), "finished" if done else "to compute", shown])
        if not done:
            left += seconds or 0
            unknown += seconds is None
    sys.stdout.write(visible(tabulate(rows, ["cell", "tasks", "state", "about seconds"], missingval="?") + "\n"))
    text = f"{sum(r[2] == 'to compute' for r in rows)} of {len(rows)} cells to compute"
    text += f", about {left / 60 / jobs:.1f} minutes with {jobs} at a time" if left else ""
    text += f" ({unknown} without an estimate)" if unknown else ""
    text += older_cells(plan, [cell for cell, row in zip(plan.selected, rows, strict=True) if row[2] == "to compute"])
    sys.stdout.write(visible(f"\n{text}.\n" + "".join(f"! {mark}\n" for mark in remarks)))


def older_cells(plan: Plan, waiting: Sequence[Cell]) -> str:
    """Why cells are computed that were finished once: their code, data, settings or libraries are others now."""
    from benchmark.results.cells import computed_otherwise

    n = sum(computed_otherwise(plan.results, cell) for cell in waiting)
    return f"; {n} of them were computed with other code, data or settings, which are kept and not used" if n else ""


def print_registry(registry: Registry) -> None:
    """Everything that is installed, by kind, and the plugins with broken ones and why."""
    from tabulate import tabulate

    out = []
    for title, offers in (
        ("Data sets", registry.datasets),
        ("Models", registry.models),
        ("Metrics", registry.metrics),
        ("Analyses", registry.analyses),
        ("Executors", registry.executors),
        ("Commands", registry.commands),
        ("Options", registry.options),
    ):
        names: dict[str, list[str]] = {}
        for offer in offers.values():
            names.setdefault(offer.plugin.word, []).append(offer.name)
        out.append(f"{title}\n" + tabulate([[word, _wrapped(sorted(n))] for word, n in sorted(names.items())],
                                          ["plugin", "names"]))  # fmt: skip
    rows = [
        [p.word, p.distribution, p.version, _wrapped([h.removeprefix("benchmark_") for h in p.hooks], 34), p.error]
        for p in registry.plugins
    ]
    out.append("Plugins\n" + tabulate(rows, ["plugin", "distribution", "version", "hooks", "error"]))
    out.extend(f"problem: {problem}" for problem in registry.problems)
    sys.stdout.write(visible("\n\n".join(out) + "\n"))


def print_offer(offer: Offer) -> None:
    """What a plugin says of one thing that it offers, and its parameters."""
    from benchmark.describe import docstring, parameter_entries
    from benchmark.parameters import takes_any
    from benchmark.plugins import better_values, resolve

    entries = parameter_entries(offer)
    sys.stdout.write(visible(f"{offer} of {offer.plugin}\n\n{docstring(offer) or 'It has no description.'}\n\n"))
    if offer.kind == "metric":
        sys.stdout.write(f"{_BETTER[better_values(offer)]}\n\n")
    sys.stdout.write("Parameters\n\n" if entries else "")
    print_entries(entries)
    if offer.kind == "command":
        sys.stdout.write(f"Its options: benchmark {offer.name} --help\n")
    elif takes_any(resolve(offer)):
        sys.stdout.write("It checks further parameters by itself.\n")
    elif not entries:
        sys.stdout.write("It has no parameters.\n")


_BETTER = {
    "higher": "Higher values are better.",
    "lower": "Lower values are better.",
    "neither": "Neither higher nor lower values are better.",
    None: "Higher values are better, or neither side if it is one number about all lists.",
}


def print_entries(entries: Iterable[Entry]) -> None:
    """A line for each parameter or key with its type and default, and what it means below."""
    from benchmark.describe import REQUIRED

    for entry in entries:
        default = f" = {entry.default}" if entry.default not in ("", REQUIRED) else ""
        required = f" ({REQUIRED})" if entry.default == REQUIRED else ""
        sys.stdout.write(visible(f"{entry.name}: {entry.type}{default}{required}\n"))
        if entry.meaning:
            sys.stdout.write(visible(textwrap.fill(entry.meaning, 100, initial_indent=" " * 4,
                                                   subsequent_indent=" " * 4) + "\n"))  # fmt: skip


def _wrapped(names: Sequence[str], width: int = 90) -> str:
    lines = [""]
    for name in names:
        if lines[-1] and len(lines[-1]) + len(name) + 2 > width:
            lines[-1] += ","
            lines.append("")
        lines[-1] += (", " if lines[-1] else "") + name
    return "\n".join(lines)
