"""What an executor is given: cells as jobs, each a folder and the command that computes it, and how to run them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Job:
    """A cell to compute."""

    folder: Path
    """Names the job; all that the command reads and writes lies there and in the folder of its data set."""
    command: tuple[str, ...]
    """Computes the cell in any process that sees the folder, and keeps to its limits by itself. It ends with 0, or with
    1 where the cell has failed, which it has then written into the folder."""
    log: Path
    """Where what the command prints belongs."""
    threads: int = 1
    device: str = "cpu"
    timeout: float | None = None
    """Seconds, None for no limit."""
    memory: int | None = None
    """Bytes, None for no limit."""


@dataclass(frozen=True)
class Execution:
    """How a run wants its jobs computed."""

    parallel: int
    """Jobs at a time, `--jobs`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What numerical libraries read when they are loaded. The command sets it by itself, but starts faster with it."""
    preload: Sequence[str] = ()
    """Modules that the jobs import, for who forks them."""
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The options of all plugins, by name: `options["acme"]["queue"]` is what `--option acme.queue=…` says."""
    warn: Callable[[str], None] = lambda message: None
    """Tells the user something that does not end the run."""


class OnProgress(Protocol):
    """Is told how far a job is: `phase` is "fit" or "rank", `values` such as the loss."""

    def __call__(self, folder: Path, phase: str, step: int, total: int, values: Mapping[str, float]) -> None: ...


class Executor(Protocol):
    """Runs jobs, the first ones first, and gives (folder, error) of each as it ends.

    `error` says why the command could not run to its end (the machine was lost, it was killed); it is empty where it
    ended by itself, whether its cell has finished or failed. Telling of progress is optional. A generator is closed
    when the user stops the run: it then ends what it has started.
    """

    def __call__(
        self, jobs: Sequence[Job], execution: Execution, on_progress: OnProgress
    ) -> Iterator[tuple[Path, str]]: ...
