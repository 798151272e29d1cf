"""Every cell in this very process, one after the other: for debugging, with breakpoints and full tracebacks.

Nothing here can end a cell: its timeout and its memory limit do not hold.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

from benchmark.execution.local import OnProgress
from benchmark.execution.worker import run_and_record


def run(folders: Sequence[Path], on_progress: OnProgress) -> Generator[tuple[Path, str]]:
    """Run the cells of these folders in this order; gives (folder, error) as each ends, "" for none."""
    for folder in folders:

        def tell(phase: str, step: int, total: int, values: Mapping[str, float], folder: Path = folder) -> None:
            on_progress(folder, phase, step, total, values)

        yield folder, run_and_record(folder, tell)
