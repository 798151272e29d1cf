"""The leaderboard as CSV: a line per number, a line per comparison; full precision, empty where there is none."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from benchmark.evaluation.leaderboard import Leaderboard
from benchmark.text import csv_cell


def leaderboard_csv(leaderboard: Leaderboard) -> str:
    rows = [
        row
        | {
            "marks": "; ".join(row["marks"]),
            "published": row["published"] and row["published"]["value"],
            "published_source": row["published"] and row["published"]["source"],
        }
        for row in leaderboard.to_json()["rows"]
    ]
    return _csv(ROW_FIELDS, rows)


def significance_csv(leaderboard: Leaderboard) -> str:
    return _csv(COMPARISON_FIELDS, leaderboard.to_json()["comparisons"])


def _csv(fields: Sequence[str], rows: Iterable[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows({field: csv_cell(row[field]) for field in fields} for row in rows)
    return text.getvalue()


ROW_FIELDS = (
    *("dataset", "task", "slice", "model", "metric", "mean", "sd", "n", "low", "high", "coverage", "seeds", "marks"),
    *("published", "published_source"),
)
COMPARISON_FIELDS = (
    *("dataset", "task", "slice", "metric", "model", "baseline", "family", "difference", "low", "high"),
    *("low_bootstrap", "high_bootstrap", "n", "p", "p_corrected", "p_permutation", "p_permutation_corrected"),
    *("significant", "one_fit", "resolvable"),
)
