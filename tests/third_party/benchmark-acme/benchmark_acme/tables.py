"""A table for the report."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmark import PAD, Analysis, AnalysisInput


def first_places(run: AnalysisInput) -> Analysis:
    """A row per cell and task: how many different items have the first place, and the share of the most frequent."""
    rows = []
    for cell in run.cells:
        for task in cell.tasks:
            first = run.ranking(cell, task).items[:, 0]
            counts = np.bincount(first[first != PAD])
            rows.append([cell.dataset, cell.model, task, np.count_nonzero(counts), counts.max(initial=0) / len(first)])
    columns = ["data set", "model", "task", "different items", "most frequent"]
    return Analysis("First places", pd.DataFrame(rows, columns=columns), note="Of all test requests.")
