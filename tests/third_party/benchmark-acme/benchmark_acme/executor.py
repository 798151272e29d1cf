"""A queue of one: each command by itself, one after the other."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmark import BenchmarkError, Execution, Job, OnProgress


def run(jobs: Sequence[Job], execution: Execution, on_progress: OnProgress) -> Iterator[tuple[Path, str]]:
    """Start the worker's command for each cell and wait for it."""
    options = execution.options["acme"]
    if len(jobs) > options["most"]:
        raise BenchmarkError(f"acme-queue takes {options['most']} jobs; there are {len(jobs)}.")
    for job in jobs:
        with job.log.open("ab") as log:
            command = [*filter(None, [options["prefix"]]), *job.command]
            code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log).returncode
        yield job.folder, "" if code in (0, 1) else f"the command ended with exit code {code}"
