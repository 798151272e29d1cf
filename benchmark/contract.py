"""The contract: what plugins implement, what they are given, and what is checked of what they return."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from benchmark.data.ragged import PAD, Floats, Longs, Ragged
from benchmark.data.ranking import Ranking
from benchmark.data.types import TASKS, Dataset, Requests, Split, Task, Train
from benchmark.errors import BenchmarkError, ContractError
from benchmark.text import visible

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.suite.schema import Suite


@dataclass
class Context:
    """A model's training environment.

    `seed` is the only source of randomness, `device` a torch device name, `threads` the number that the cell may use,
    `workdir` a private folder of the cell, which may hold checkpoints of its interrupted fit.
    """

    seed: int
    device: str
    workdir: Path
    threads: int = 1
    facts: dict[str, Any] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)
    on_progress: Callable[[int, int, Mapping[str, float]], None] | None = None
    shared: Path | None = None
    """A folder shared by all cells of the data set, a cache of costly results: name each file by a digest of all its
    inputs, write it under a temporary name and rename it. None outside a run."""
    embed: Callable[[str, Mapping[str, Any]], NDArray[np.float32]] | None = None
    """Set by the harness; see `item_embeddings`."""

    def item_embeddings(self, model: str, params: Mapping[str, Any]) -> NDArray[np.float32]:
        """(N, d) the item embeddings of another model of the harness, trained on the same data with the same seed.

        It is trained once for all cells with the same request. A model that calls this names the other model in
        `needs`, so that a plan checks it. Raises BenchmarkError if the other model has no embeddings, or outside a run.
        """
        if self.embed is None:
            raise BenchmarkError(f"the item embeddings of '{model}' are available only in a run of the harness.")
        return self.embed(model, params)

    def record(self, name: str, value: Any) -> None:
        """Record a fact about this cell: parameters, a collision rate, the number of distinct items. JSON only."""
        self.facts[name] = value

    def remark(self, text: str) -> None:
        """Record a caveat about the model's numbers, such as a part of it that has not learned: it is printed next to
        them in every report and kept in the fact `remarks`."""
        self.facts.setdefault("remarks", []).append(text)

    def progress(self, step: int, total: int, **values: float) -> None:
        """Report how far training is; named values (loss, R@10) become points of the learning curve."""
        if values:
            self.curve.append({"step": step, **{k: float(v) for k, v in values.items()}})
        if self.on_progress is not None:
            self.on_progress(step, total, values)


@runtime_checkable
class Model(Protocol):
    """A model plugin. The constructor only stores its typed keyword arguments; `fit` sets attributes that end in `_`.
    The arrays passed to a model are read-only: it copies what it wants to change.

    The bounds of an argument are in its type (`layers: Count`, `dropout: ProperFraction`), and the harness checks every
    value against them; an argument whose type is a dataclass takes a mapping in a suite. `benchmark list NAME` prints
    the docstring below a dataclass field as the parameter's description.

    `tasks` is a class attribute, or an instance attribute if a parameter decides it. A class may also state `requires`,
    the names of the modules that it imports when it works (checked before anything trains), and `needs_training =
    False` if it ranks by the items' texts alone: it may then run on data without training data (`split: all-test`),
    where all others are refused.

    A model may offer further rankings of the same requests from one fit: `variants`, their names, and
    `rank_variant(variant, requests, k)`, which may ignore `exclude` and `candidates`. They are stored for analyses and
    are not on the leaderboard.

    A class or an instance may also declare (by default False, and `tasks` for `built_for`):

    - `deterministic = True`: every seed gives the same rankings, as for counting, or encoding without training. The
      model then runs with one seed, and comparisons assume no variance between its fits.
    - `excludes_history = True`: it never recommends an item of the request's history, even if the protocol allows it.
      Over all items it is not tested against a model that may.
    - `built_for`: the tasks for which its parameters were chosen, if it can do others too.

    A model with a vector for every item may offer them after `fit`: `item_embeddings()`, float32 (N, d). A model that
    builds on another's has `needs`, pairs of a model's name and its parameters: see `Context.item_embeddings`.
    """

    @property
    def tasks(self) -> frozenset[Task]: ...

    def fit(self, train: Train, valid: Mapping[Task, Split], context: Context) -> None:
        """Learn from `train`; choose checkpoints on `valid`. Forgets any earlier fit."""

    def rank(self, requests: Requests, k: int) -> Ranking:
        """At most `k` distinct items per request, best first; honours `exclude` and `candidates`. Raises
        NotFittedError."""


class Metric(Protocol):
    """A metric plugin: one value per request, or one number about all lists together, such as catalogue coverage.

    A parameter called `popularity` receives the task's training counts (N,). The attribute `better`, "higher", "lower"
    or "neither", says which values are better (`benchmark.better` sets it for a function); without it, higher values
    are, and of one number about all lists neither side. A request without a ranking scores 0, unless lower is better:
    then the metric itself scores it.
    """

    def __call__(self, ranking: Ranking, relevant: Ragged, k: int) -> Floats | float: ...


@dataclass(frozen=True)
class Cell:
    """A data set, a model and a seed: the unit that is trained once. `fingerprint` (64 hex digits) identifies exactly
    what it computes."""

    dataset: str
    model: str
    seed: int
    tasks: tuple[Task, ...]
    fingerprint: str
    digest: str
    dataset_use: str
    dataset_params: Mapping[str, Any]
    model_use: str
    model_params: Mapping[str, Any]
    versions: Mapping[str, str]
    deterministic: bool = False
    excludes_history: bool = False
    built_for: tuple[Task, ...] = TASKS
    """The model's declarations: see `Model`."""

    @property
    def name(self) -> str:
        return f"{self.dataset}/{self.model}/seed-{self.seed}"

    def __hash__(self) -> int:
        return hash((self.dataset, self.model, self.fingerprint))


@dataclass(frozen=True)
class Costs:
    """What a cell took; None: not stated.

    `fit_seconds` are the model's own, without what training other models for their item embeddings took, which is
    `embeddings_seconds`. `updates` (steps of the optimiser) and `examples` (training examples shown, repeats counted)
    are what a model recorded as its budget.
    """

    fit_seconds: float | None = None
    rank_seconds: float | None = None
    milliseconds_per_request: float | None = None
    peak_memory_bytes: float | None = None
    parameters: float | None = None
    embeddings_seconds: float | None = None
    updates: float | None = None
    examples: float | None = None

    @property
    def seconds(self) -> float:
        """Fitting and ranking together, as far as they are stated."""
        return (self.fit_seconds or 0) + (self.rank_seconds or 0)


@dataclass(frozen=True)
class CellResult:
    """How a cell ended. `means` maps (task, slice, metric) to the mean over requests; empty when it failed."""

    status: Literal["finished", "failed"]
    directory: Path
    facts: Mapping[str, Any] = field(default_factory=dict)
    costs: Costs = Costs()
    curve: Sequence[Mapping[str, float]] = ()
    means: Mapping[tuple[Task, str, str], float] = field(default_factory=dict)
    error: str = ""
    reused: bool = False


@dataclass(frozen=True)
class Scores:
    """One cell's scores on one slice of one task.

    `rows` (n,) are the requests that have a relevant item in the slice; `values` maps a metric to its float64 (n,)
    values; `totals` maps a metric of all lists together to its number; `coverage` is the share of those requests with a
    ranking. `own_rows` has the requests of metrics on fewer of them (`R@30|new`); all other metrics are over `rows`.
    """

    rows: Longs
    values: Mapping[str, Floats]
    totals: Mapping[str, float]
    coverage: float
    own_rows: Mapping[str, Longs] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run of a suite, as observers are told of it.

    `source` is the suite's file, `results` the folder of this suite's results. `cells` are all of the suite's,
    `selected` those that this run computes or finds finished; `marks` is what every row of the report must say
    (partial, reduced scale); `options` are those of each plugin by its name, as `--option` sets them.
    """

    suite: Suite
    source: Path
    results: Path
    datasets: Mapping[str, Dataset]
    cells: tuple[Cell, ...]
    selected: tuple[Cell, ...]
    device: str = "cpu"
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Analysis:
    """A table for the report, `note` below it, and a `figure` above it: the text of an SVG file, empty for none."""

    title: str
    table: pd.DataFrame
    note: str = ""
    figure: str = ""


@dataclass(frozen=True)
class AnalysisInput:
    """The input of an analysis: the data sets by name, and the results of every finished cell.

    `dataset(name)` and `ranking(cell, task)` read from disk when called; the rows of a ranking are the requests of
    `dataset(cell.dataset).test[task]`. `ranking(cell, task, variant)` is one of the cell's further rankings, named by
    `variants(cell)`, or that of a candidate list ("uni99"). `facts(cell)` are the facts that the model recorded.
    `published(cell, task, metric)` is the paper's number for the model over all requests, or None;
    `published(cell, task, metric, "T=1.5")` is that of its row "<model> T=1.5".
    """

    datasets: Sequence[str]
    cells: Sequence[Cell]
    dataset: Callable[[str], Dataset]
    ranking: Callable[..., Ranking]
    variants: Callable[[Cell], Sequence[str]] = lambda cell: ()
    facts: Callable[[Cell], Mapping[str, Any]] = lambda cell: {}
    published: Callable[..., float | None] = lambda cell, task, metric, row="": None


def check_ranking(ranking: Ranking, requests: Requests, k: int, n_items: int, where: str = "the ranking") -> None:
    """Raise ContractError, naming the request, if a ranking breaks the contract of `Model.rank`.

    A plain Ranking of plain arrays, not of a subclass; one row per request and at most `k` columns; items of the
    catalogue, each once in its row, none after padding, none of `exclude`, only `candidates`; scores finite where an
    item is, and never rising. `requests` must not be the object that the model was given, which it may have changed.
    """
    _check_arrays(ranking, requests, k, where)
    items, scores = ranking.items, ranking.scores
    filled = items != PAD

    def refuse(wrong: NDArray[np.bool_], what: str) -> None:
        if wrong.any():
            row, column = (int(axis[0]) for axis in np.nonzero(wrong))
            place = f"{where}, request '{requests.ids[row]}', rank {column + 1}"
            raise ContractError(f"{place}: {what.format(item=items[row, column], score=scores[row, column])}")

    refuse(filled & ((items < 0) | (items >= n_items)), f"item {{item}} is not in the catalogue of {n_items} items")
    gap = np.zeros_like(filled)
    gap[:, 1:] = filled[:, 1:] & ~filled[:, :-1]
    refuse(gap, "there is an item after padding (the rank before it is empty)")
    refuse(_repeated(items) & filled, "item {item} is returned for the second time")
    if len(requests.exclude.values):
        refuse(filled & _is_in(items, requests.exclude, n_items), "item {item} is one of the request's `exclude`")
    if requests.candidates is not None:
        refuse(
            filled & ~_is_in(items, requests.candidates, n_items), "item {item} is none of the request's `candidates`"
        )
    refuse(filled & ~np.isfinite(scores), "the score of item {item} is {score}, no finite number")
    rising = np.zeros_like(filled)
    rising[:, 1:] = filled[:, 1:] & (scores[:, 1:] > scores[:, :-1])
    refuse(rising, "the score {score} of item {item} is higher than the one before it; scores never rise")


def _check_arrays(ranking: Ranking, requests: Requests, k: int, where: str) -> None:
    # Of a subclass a comparison may say anything, or an attribute be another one each time.
    require(type(ranking) is Ranking, f"{where}: rank returned {type(ranking).__name__}, not a benchmark.Ranking")
    for name, array, dtype in (("items", ranking.items, np.int32), ("scores", ranking.scores, np.float32)):
        require(
            type(array) is np.ndarray,
            f"{where}: {name} is {type(array).__name__}, not a numpy array (np.ndarray itself)",
        )
        require(array.dtype == dtype, f"{where}: {name} is of type {array.dtype}; it must be {np.dtype(dtype)}")
        require(
            array.ndim == 2 and len(array) == len(requests) and array.shape[1] <= k,
            f"{where}: {name} has shape {array.shape}; "
            f"{len(requests)} requests at k={k} need ({len(requests)}, {k} or fewer)",
        )
    require(
        ranking.items.shape == ranking.scores.shape,
        f"{where}: items have shape {ranking.items.shape}, but scores {ranking.scores.shape}",
    )


def _repeated(items: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which entries are repetitions in their row."""
    order = np.argsort(items, axis=1, kind="stable")
    arranged = np.take_along_axis(items, order, axis=1)
    again = np.zeros(items.shape, dtype=bool)
    again[:, 1:] = arranged[:, 1:] == arranged[:, :-1]
    out = np.empty_like(again)
    np.put_along_axis(out, order, again, axis=1)
    return out


def _is_in(items: NDArray[np.int32], rows: Ragged, n_items: int) -> NDArray[np.bool_]:
    """Which entries of `items` (R, K) are in the row of the same number."""
    keys = np.sort(rows.rows * n_items + rows.values)
    wanted = np.arange(len(items))[:, None] * n_items + items
    if not len(keys):
        return np.zeros(items.shape, dtype=bool)
    return np.asarray(keys[np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)] == wanted)


def variants(model: Model) -> tuple[str, ...]:
    """The names of a model's further rankings; empty for a model without variants. Raises ContractError."""
    names = getattr(model, "variants", ())
    require(
        isinstance(names, Sequence)
        and all(isinstance(name, str) and name for name in names)
        and len(set(names)) == len(names),
        f"variants is {names!r}; it must be a list of different names",
    )
    for name in names:
        require(visible(name) == " ".join(name.split()), f"variants: {name!r} has characters that nobody sees")
    require(not names or hasattr(model, "rank_variant"), "a model with variants needs rank_variant")
    return tuple(names)


def check_analysis(made: Any) -> None:
    """Raises ContractError unless it is an Analysis with a DataFrame and, if any, an SVG figure."""
    import pandas as pd

    require(isinstance(made, Analysis), f"it returned {type(made).__name__}; an analysis is a benchmark.Analysis")
    for name, kind in (("title", str), ("table", pd.DataFrame), ("note", str), ("figure", str)):
        value = getattr(made, name)
        require(isinstance(value, kind), f"its {name} is {type(value).__name__}; it must be {kind.__name__}")
    require(not made.figure or "<svg" in made.figure, "its figure is not the text of an SVG file")


def require(holds: bool, message: str) -> None:
    if not holds:
        raise ContractError(message)
