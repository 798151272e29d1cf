"""Every cell in this very process, one after the other: for debugging, with breakpoints and full tracebacks.

Nothing here can end a cell: its timeout and its memory limit do not hold.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

from benchmark.execution.worker import run_and_record
from benchmark.jobs import Execution, Job, OnProgress


def run(jobs: Sequence[Job], execution: Execution, on_progress: OnProgress) -> Generator[tuple[Path, str]]:
    """Run these cells in this very process, one after the other; for debugging."""
    if any(job.timeout or job.memory for job in jobs):
        execution.warn("with --executor inline no timeout and no memory limit ends a cell; with local both do.")
    for job in jobs:

        def tell(phase: str, step: int, total: int, values: Mapping[str, float], folder: Path = job.folder) -> None:
            on_progress(folder, phase, step, total, values)

        yield job.folder, run_and_record(job.folder, tell)
