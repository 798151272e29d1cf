"""Making a data set's candidate lists, as a job like a cell's: a model that samples may crash without harm."""

from __future__ import annotations

import os
from pathlib import Path

from benchmark import plugins, reproducible
from benchmark.candidates import with_candidates
from benchmark.results.files import locked
from benchmark.results.lists import read_list_job


def make_lists(folder: Path) -> None:
    """Make the candidate lists of the job in `folder` and save the data set with them. Any exception is a model's, or
    the disk's; it is left to the caller, and nothing then looks finished."""
    with locked(folder):
        job = read_list_job(folder)
        if job.reproducible:
            reproducible.hold(os.environ)
        job.save(with_candidates(job.load(), job.lists, plugins.load()))
