"""Every cell in this very process, one after the other: for debugging, with breakpoints and full tracebacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmark.execution.local import OnProgress
from benchmark.execution.worker import run_and_record


def run(folders: Sequence[Path], on_progress: OnProgress) -> Iterator[tuple[Path, str]]:
    """Run the cells of these folders in this order; gives (folder, error) as each ends, "" for none."""
    for folder in folders:

        def tell(phase: str, step: int, total: int, values: Mapping[str, float], folder: Path = folder) -> None:
            on_progress(folder, phase, step, total, values)

        yield folder, run_and_record(folder, tell)
