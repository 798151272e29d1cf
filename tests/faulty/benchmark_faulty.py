"""Models that fail in every way a model can, and a slow one that does not; on the path of the tests that need them."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
import types
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
from benchmark.testing import NOUNS, checkerboard_log


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
    names = ("Faulty", "Needy", "Lender", "Borrower", "Hashed", "Spy", "Thief", "Scripted")
    return {name.lower(): f"benchmark_faulty:{name}" for name in names}


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

    fault: Literal["none", "raise", "nan", "memory", "killed", "exit", "quit", "seen", "variant", "write"] = "none"
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
        if self.fault == "write":
            train.histories.values[0] = 1
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
class Scripted(Faulty):
    """Does while it is fitted what these lines of Python say, which find its `context` and the modules above."""

    code: str = ""

    def fit(self, train: Train, valid: Mapping[Task, Split], context: Context) -> None:
        self.scores_ = np.random.default_rng(context.seed).random(len(train.catalog))
        exec(self.code, {**globals(), "context": context})


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
            time.sleep(0.5)
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
        context.record("updates", 120)
        context.record("examples", 3840)
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


SYSTEM = tuple(map(os.fsencode, ("/proc", "/sys", "/dev", "/etc", "/usr", "/lib", sys.prefix, sys.base_prefix)))
"""Where a spy has nothing to look for."""


@dataclass
class Spy(Faulty):
    """Ranks as Faulty does, and looks for the answers of the checkerboard's test wherever what it holds leads.

    From itself, the training and validation data, the requests and the context it goes through attributes, closures,
    arguments of partial functions and containers; from every path met there, and the working directory, through all
    files in the folder, beside it and beside that, and on to the paths that stand in them. The fact `found` says where
    the answers were, `looked` at how many objects and files.
    """

    file: str = ""
    """A path that a suite gives: what the model may read, from wherever it works."""

    def fit(self, train: Train, valid: Mapping[Task, Split], context: Context) -> None:
        super().fit(train, valid, context)
        if self.file:
            context.record("read", Path(self.file).read_text())
        self.train_, self.valid_, self.context_ = train, valid, context

    def rank(self, requests: Requests, k: int) -> Ranking:
        if requests.task == "recommendation" and len(requests) > 1:
            found, looked = leads(checkerboard_answers(self.train_, requests), self, requests)
            self.context_.record("found", found)
            self.context_.record("looked", looked)
        return super().rank(requests, k)


@dataclass
class Thief(Faulty):
    """Ranks the answers of the checkerboard first."""

    def fit(self, train: Train, valid: Mapping[Task, Split], context: Context) -> None:
        super().fit(train, valid, context)
        self.train_ = train

    def rank(self, requests: Requests, k: int) -> Ranking:
        scores = np.tile(self.scores_, (len(requests), 1))
        if len(requests):
            scores[np.arange(len(requests)), checkerboard_answers(self.train_, requests)] = 2
        return top_k(scores, requests, k)


def checkerboard_answers(train: Train, requests: Requests) -> NDArray[np.int32]:
    """The item that follows the last one of each history; ids name nouns in the order of the circle."""
    nouns = [f"item-{noun}" for noun in NOUNS]
    order = np.array([nouns.index(item) for item in train.catalog.ids])
    row = np.argsort(order)
    circle = len(order) - 1  # the last item stands outside
    return row[(order[requests.histories.last(1).values] + 1) % circle].astype(np.int32)


def leads(answers: NDArray[np.int32], *begin: Any) -> tuple[list[str], list[int]]:
    """Where the answers lie among all that can be reached, and how many objects and files were looked at."""
    found: list[str] = []
    objects, seen, paths = list(begin), set[int](), {Path.cwd()}
    kept = []  # else the number of one that is gone could be another's
    while objects:
        one = objects.pop()
        if id(one) in seen or isinstance(one, type | types.ModuleType | str | bytes | int | float):
            continue
        seen.add(id(one))
        kept.append(one)
        if isinstance(one, Path):
            paths.add(one.absolute())
        elif isinstance(one, np.ndarray):
            if one.dtype.kind in "iu" and one.size == len(answers) and np.array_equal(one.ravel(), answers):
                found.append("an array")
            objects.append(one.base)
        elif isinstance(one, Mapping):
            objects += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            objects += one
        else:
            objects += vars(one).values() if hasattr(one, "__dict__") else ()
            objects += [getattr(one, name, None) for name in ("func", "args", "keywords", "__self__", "__defaults__")]
            objects += [cell.cell_contents for cell in getattr(one, "__closure__", None) or ()]
    waiting, opened = list(paths), set[Path]()
    while waiting:
        path = waiting.pop()
        for root in (path, path.parent, path.parent.parent):
            for file in [root, *root.rglob("*")] if len(root.parts) > 2 else []:
                if file in opened or not file.is_file():
                    continue
                opened.add(file)
                found += [str(file)] * holds(file, answers)
                named = re.findall(rb"/[\w.=,+/-]+", file.read_bytes())
                waiting += [
                    Path(os.fsdecode(name))
                    for name in named
                    if name.count(b"/") > 2 and not name.startswith(SYSTEM) and os.path.exists(name)
                ]
    return found, [len(seen), len(opened)]


def holds(file: Path, answers: NDArray[np.int32]) -> bool:
    """Whether a table has a column of the answers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if file.suffix != ".parquet":
        return False
    for column in pq.read_table(file).columns:
        flat = column.combine_chunks()
        flat = flat.flatten() if hasattr(flat, "flatten") and pa.types.is_large_list(flat.type) else flat
        if pa.types.is_integer(flat.type) and np.array_equal(flat.to_numpy(zero_copy_only=False), answers):
            return True
    return False
