"""The input of an executor: cells as jobs, each a folder with the command that computes it, and how to run them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Job:
    """A cell to compute, or the candidate lists of a data set that models make.

    `folder` names the job; all that the command reads and writes is in it and in the folder of its data set. `command`
    computes the cell in any process that sees both, and keeps to its limits by itself; it ends with 0, or with 1 if the
    cell failed, after writing the reason into the folder. What it prints belongs into the file `log`. `threads`,
    `device` (a torch device name), `timeout` (seconds) and `memory` (bytes; None: no limit) are what it needs, for
    executors that reserve resources.
    """

    folder: Path
    command: tuple[str, ...]
    log: Path
    threads: int = 1
    device: str = "cpu"
    timeout: float | None = None
    memory: int | None = None


@dataclass(frozen=True)
class Execution:
    """How a run wants its jobs computed.

    `parallel` is the number of jobs at a time (`--jobs`). `environment` has the variables that numerical libraries read
    when they are loaded; the command sets them by itself, but starts faster with them. `preload` names modules that the
    jobs import, for executors that fork. `options` are those of all plugins: `options["acme"]["queue"]` is the value of
    `--option acme.queue=…`. `warn(message)` shows the user what does not end the run.
    """

    parallel: int
    environment: Mapping[str, str] = field(default_factory=dict)
    preload: Sequence[str] = ()
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    warn: Callable[[str], None] = lambda message: None


class OnProgress(Protocol):
    """Takes a job's progress: step `step` of `total` in the `phase` "fit" or "rank", with `values` such as the loss."""

    def __call__(self, folder: Path, phase: str, step: int, total: int, values: Mapping[str, float]) -> None: ...


class Executor(Protocol):
    """Runs jobs, the first ones first, and yields (folder, error) of each as it ends.

    `error` says why the command could not run to its end (it was killed, the machine was lost); it is empty if the
    command ended by itself, whether its cell finished or failed. Calling `on_progress` is optional. When the user stops
    the run, the generator is closed, and must then end the commands that it has started.
    """

    def __call__(
        self, jobs: Sequence[Job], execution: Execution, on_progress: OnProgress
    ) -> Iterator[tuple[Path, str]]: ...
