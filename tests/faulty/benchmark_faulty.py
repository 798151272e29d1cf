"""Models that fail in every way a model can, and a slow one that does not; on the path of the tests that need them."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from benchmark import (
    Analysis,
    AnalysisInput,
    Context,
    Log,
    MissingDataError,
    Ragged,
    Ranking,
    Requests,
    Split,
    Task,
    Train,
    hookimpl,
    top_k,
)
from benchmark.testing import checkerboard_log


@hookimpl
def benchmark_datasets() -> dict[str, str]:
    names = ("checkerboard", "circle", "search_only", "absent")
    return {name.replace("_", "-"): f"benchmark_faulty:{name}" for name in names}


@hookimpl
def benchmark_analyses() -> dict[str, str]:
    return {"variants": "benchmark_faulty:variants", "drawing": "benchmark_faulty:drawing"}


@hookimpl
def benchmark_metrics() -> dict[str, str]:
    return {"Faulty": "benchmark_faulty:faulty_metric"}


@hookimpl
def benchmark_models() -> dict[str, str]:
    return {name.lower(): f"benchmark_faulty:{name}" for name in ("Faulty", "Needy", "Lender", "Borrower", "Hashed")}


def faulty_metric(ranking: Ranking, relevant: Ragged, k: int) -> float:
    """Works on the one request it is tried on, and on no more."""
    return 1 / (len(ranking) == 1)


def checkerboard(users: int = 120) -> Log:
    """The known answers of `benchmark.testing`."""
    return checkerboard_log(n_users=users)


def circle() -> Log:
    """Everybody's last item is the first one again."""
    return checkerboard_log(n_items=7, tasks=["recommendation"])


def search_only() -> Log:
    """A log without interactions."""
    return checkerboard_log(tasks=["search"])


def absent() -> Log:
    """Its files are nowhere."""
    raise MissingDataError("absent needs the file nowhere.txt")


def variants(given: AnalysisInput) -> Analysis:
    """The first item of every ranking of the first request."""
    import pandas as pd

    rows = [
        {"model": cell.model, "variant": name, "first": int(given.ranking(cell, "recommendation", name).items[0, 0]),
         "fact": given.facts(cell).get("fitted", "")}
        for cell in given.cells
        for name in ("", *given.variants(cell))
    ]  # fmt: skip
    return Analysis("Variants", pd.DataFrame(rows))


def drawing(given: AnalysisInput) -> Analysis:
    """Its figure is no SVG."""
    import pandas as pd

    return Analysis("Drawing", pd.DataFrame({"a": [1]}), figure="PNG")


@dataclass
class Faulty:
    """Ranks items by a seeded random score after `seconds` of training; `fault` says how it fails."""

    fault: Literal["none", "raise", "nan", "memory", "killed", "exit", "quit", "seen", "variant"] = "none"
    seconds: float = 0.0
    once: str = ""
    """A file that is made at the first failure; where it lies, the model works."""
    worst: bool = False
    """Offer the ranking upside down as a variant."""
    called: str = "worst/first"
    """The variant's name."""
    says: str = ""
    """A remark on its own numbers."""
    tasks: ClassVar[frozenset[Task]] = frozenset({"recommendation"})

    def fit(self, train: Train, valid: Mapping[Task, Split], context: Context) -> None:
        for step in range(10):
            time.sleep(self.seconds / 10)
            context.progress(step + 1, 10, loss=1 / (step + 1))
        self.scores_ = np.random.default_rng(context.seed).random(len(train.catalog))
        context.record("fitted", "yes")
        if self.says:
            context.remark(self.says)
        if self.once and Path(self.once).exists():
            return
        if self.once:
            Path(self.once).touch()
        if self.fault == "raise":
            raise ValueError("the model is broken")
        if self.fault == "nan":
            self.scores_[0] = np.nan
        if self.fault == "memory":
            raise MemoryError("no room for 1 TB")
        if self.fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault == "quit":
            sys.exit()
        if self.fault == "exit":
            os._exit(7)

    @property
    def variants(self) -> tuple[str, ...]:
        return (self.called,) if self.worst else ()

    def rank_variant(self, variant: str, requests: Requests, k: int) -> Ranking:
        ranking = top_k(np.tile(-self.scores_, (len(requests), 1)), requests, k)
        if self.fault == "variant":
            ranking.items[:, 1] = ranking.items[:, 0]
        return ranking

    def rank(self, requests: Requests, k: int) -> Ranking:
        ranking = top_k(np.tile(self.scores_, (len(requests), 1)), requests, k)
        if self.fault == "seen" and len(ranking):
            ranking.items[:, 1] = ranking.items[:, 0]
        return ranking


@dataclass
class Needy(Faulty):
    """Needs a module that is not there."""

    requires: ClassVar[tuple[str, ...]] = ("module_that_nobody_has",)


@dataclass
class Lender(Faulty):
    """Offers item embeddings, and writes a line to the file `log` for every fit."""

    log: str = ""
    width: int = 2
    broken: bool = False

    def fit(self, train: Train, valid: Mapping[Task, Split], context: Context) -> None:
        super().fit(train, valid, context)
        if self.log:
            with Path(self.log).open("a") as file:
                file.write("fitted\n")

    def item_embeddings(self) -> NDArray[np.float32]:
        vectors = np.tile(self.scores_[:, None], (1, self.width)).astype(np.float32)
        return vectors[1:] if self.broken else vectors


@dataclass
class Borrower(Faulty):
    """Ranks by the item embeddings of another model."""

    use: str = "lender"
    log: str = ""
    broken: bool = False
    sign: int = 1

    @property
    def needs(self) -> tuple[tuple[str, dict[str, Any]], ...]:
        return ((self.use, {"log": self.log, "broken": self.broken} if self.use == "lender" else {}),)

    def fit(self, train: Train, valid: Mapping[Task, Split], context: Context) -> None:
        ((name, params),) = self.needs
        self.scores_ = self.sign * context.item_embeddings(name, params)[:, 0].astype(np.float64)


@dataclass
class Hashed(Faulty):
    """Ranks items in the order of a set of words, which PYTHONHASHSEED decides."""

    def fit(self, train: Train, valid: Mapping[Task, Split], context: Context) -> None:
        order = {name: float(place) for place, name in enumerate({str(name) for name in train.catalog.ids})}
        self.scores_ = np.array([order[str(name)] for name in train.catalog.ids])
        names = ("PYTHONHASHSEED", "MKL_CBWR", "ATEN_CPU_CAPABILITY")
        context.record("environment", {name: os.environ.get(name) for name in names})
        context.record("deterministic", sys.modules["torch"].are_deterministic_algorithms_enabled()
                       if "torch" in sys.modules else None)  # fmt: skip
