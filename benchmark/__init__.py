"""The public names: what a plugin may import. Each is imported when it is first used, so that `import benchmark` is
cheap."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.contract import Analysis, AnalysisInput, Cell, CellResult, Context, Costs, Metric, Model, Run
    from benchmark.data.events import QUERY, RECOMMENDED, SEARCHED, Events
    from benchmark.data.hashing import stable_hash, tie_break
    from benchmark.data.ragged import PAD, Ragged
    from benchmark.data.ranking import Ranking, top_k
    from benchmark.data.types import TASKS, Catalog, Dataset, Log, Prefixes, Requests, Searches, Split, Task, Train
    from benchmark.errors import BenchmarkError, ContractError, MissingDataError, NotFittedError
    from benchmark.evaluation.leaderboard import Leaderboard
    from benchmark.hookspecs import hookimpl
    from benchmark.jobs import Execution, Executor, Job, OnProgress
    from benchmark.metric import better
    from benchmark.parameters import Count, Natural, NonNegative, Positive, ProperFraction, Share
    from benchmark.suite.schema import Suite
    from benchmark.text import words

_HOMES = {
    "benchmark.contract": "Analysis AnalysisInput Cell CellResult Context Costs Metric Model Run",
    "benchmark.data.events": "QUERY RECOMMENDED SEARCHED Events",
    "benchmark.data.hashing": "stable_hash tie_break",
    "benchmark.data.ragged": "PAD Ragged",
    "benchmark.data.ranking": "top_k Ranking",
    "benchmark.data.types": "TASKS Catalog Dataset Log Prefixes Requests Searches Split Task Train",
    "benchmark.errors": "BenchmarkError ContractError MissingDataError NotFittedError",
    "benchmark.evaluation.leaderboard": "Leaderboard",
    "benchmark.hookspecs": "hookimpl",
    "benchmark.jobs": "Execution Executor Job OnProgress",
    "benchmark.metric": "better",
    "benchmark.parameters": "Count Natural NonNegative Positive ProperFraction Share",
    "benchmark.suite.schema": "Suite",
    "benchmark.text": "words",
}
HOME = {name: home for home, names in _HOMES.items() for name in names.split()}
"""The module of every public name."""

__version__ = "0.1.0"
__all__ = [
    "PAD",
    "QUERY",
    "RECOMMENDED",
    "SEARCHED",
    "TASKS",
    "Analysis",
    "AnalysisInput",
    "BenchmarkError",
    "Catalog",
    "Cell",
    "CellResult",
    "Context",
    "ContractError",
    "Costs",
    "Count",
    "Dataset",
    "Events",
    "Execution",
    "Executor",
    "Job",
    "Leaderboard",
    "Log",
    "Metric",
    "MissingDataError",
    "Model",
    "Natural",
    "NonNegative",
    "NotFittedError",
    "OnProgress",
    "Positive",
    "Prefixes",
    "ProperFraction",
    "Ragged",
    "Ranking",
    "Requests",
    "Run",
    "Searches",
    "Share",
    "Split",
    "Suite",
    "Task",
    "Train",
    "better",
    "hookimpl",
    "stable_hash",
    "tie_break",
    "top_k",
    "words",
]


def __getattr__(name: str) -> Any:
    if name not in HOME:
        raise AttributeError(f"module 'benchmark' has no attribute {name!r}")
    value = getattr(importlib.import_module(HOME[name]), name)
    globals()[name] = value
    return value
