"""The keys of a suite, with their types, bounds and defaults."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ByteSize,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from benchmark.data.protocol import Protocol
from benchmark.data.types import Task
from benchmark.metric import parse_metric
from benchmark.strict import AtMost, ListLength, Seed, Strict
from benchmark.suite.file import SliceName
from benchmark.text import visible

MAX_ENTRIES = 1_000
"""Of each list of a suite: everything is combined with everything."""
MAX_CELLS = 100_000
Entries = Field(min_length=1, max_length=MAX_ENTRIES)
Seeds = Annotated[list[Seed], Entries]


def _plain_name(name: str) -> str:
    if len(name) > MAX_NAME:
        raise ValueError(f"a name has at most {MAX_NAME} characters: it is in every table")
    if visible(name) != name or "\n" in name or "\t" in name:
        shown = visible(name).replace("\n", "\\n").replace("\t", "\\t")
        raise ValueError(f"a name has no control characters, nor any that turn or hide text: {shown}")
    return name


def _size(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    try:
        return handler(value)
    except ValidationError:
        raise ValueError("must be a size of at least 1 MB, such as 8GB or 500MB") from None


MAX_NAME = 500
Name = AfterValidator(_plain_name)
Timeout = Annotated[float | None, Field(gt=0), AtMost(10**8, "that is three years")]
Memory = Annotated[Annotated[ByteSize, Field(ge=10**6, le=10**18)] | None, WrapValidator(_size)]


class Named(Strict):
    """A data set or a model: the plugin's name (`use`), its name in the tables, and its parameters."""

    use: Annotated[str, Name] = Field(min_length=1)
    """Its name in its plugin; `benchmark list` shows all. A model that is `like` another takes it from there."""
    name: Annotated[str, Name] = ""
    """Its name in the tables; the same as `use` where empty."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Its parameters; `benchmark list NAME` shows all."""
    note: str = ""
    """What a reader of its numbers must know; shown below the tables."""
    published_as: str = ""
    """Its name in the published tables; the same as `name` where empty."""


class ModelEntry(Named):
    """A model."""

    like: str = Field("", exclude=True)
    """In place of `use`, the name of another model of the suite: this one has its `use` and, in every profile, its
    parameters, with those of `params` laid over them."""
    without: list[str] = Field([], exclude=True)
    """With `like`: parameters of the other model that this one does not take over."""
    seconds: Annotated[float | None, AtMost(10**8, "that is three years")] = Field(None, gt=0)
    """About how long one cell takes: orders the work and gives `--dry-run` its estimate, until a finished cell in the
    results folder says how long it took."""
    timeout: Timeout = None
    """Seconds that a cell of it may take; null: as the suite says."""
    memory: Memory = None
    """What a cell of it may take; null: as the suite says."""
    seeds: Seeds | None = None
    """The seeds that it is trained with; null: the suite's. A deterministic model runs with one."""


NEW = "new"
"""The list name (R@30|new) for recommendation with the items of the request's own history left out."""


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name equals or fits one of these; SASRec[CE] is a name, which fnmatch alone would read as a pattern."""
    return any(pattern == name or fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


class DatasetEntry(Named):
    """A data set, the models that run on it, and its own protocol."""

    models: list[str] = Field([])
    """Names or patterns (`TIGER*`) of the models that run on it, or with `!` before it of those that do not; empty:
    all."""
    protocol: Protocol | None = None
    """What differs from the suite's protocol (in a resolved suite, the whole protocol); null: the suite's."""
    optional: bool = False
    """True: without its files the suite runs without it, and the report says so."""

    def wants(self, model: str) -> bool:
        """Whether this model runs on it."""
        only = [pattern for pattern in self.models if not pattern.startswith("!")]
        without = [pattern[1:] for pattern in self.models if pattern.startswith("!")]
        return (not only or matches(model, only)) and not matches(model, without)


class Comparison(Strict):
    """Each model tested against each of the baselines: everywhere, or where `task`, `slice` and `metric` say."""

    model: Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)] = Entries
    """The name of the model, or a list of names."""
    against: list[str] = Entries
    """The names of the baselines."""
    primary: bool = False
    """True for the suite's own question. The primary comparisons are one family for the correction, all others, which
    explore, another; a comparison that is stated in both is in the first."""
    task: Task | None = None
    """The only task it is made in; null: all."""
    slice: SliceName | None = None
    """The only slice; null: all."""
    metric: str = ""
    """The only metric; empty: all."""

    def asks(self, task: str, slice_name: str, metric: str) -> bool:
        """Whether the comparison is made for this task, slice and metric."""
        place = (task, slice_name, metric)
        limits = (self.task, self.slice, self.metric)
        return all(not limit or limit == name for limit, name in zip(limits, place, strict=True))


class Significance(Strict):
    test: Literal["paired-t"] = "paired-t"
    """The test of two models' values on the same requests."""
    alpha: float = Field(0.05, gt=0, lt=1)
    """The level of significance."""
    correction: Literal["holm", "none"] = "holm"
    """The correction for many comparisons."""
    permutations: Annotated[int, AtMost(10**7, "more change no verdict, and take hours")] = Field(10_000, ge=100)
    """Sign flips per comparison; more are drawn where a family is so large that they could not decide."""
    min_requests: int = Field(30, ge=1)
    """Slices with fewer requests are shown and not tested."""


class Where(Strict):
    dataset: str
    """A name; in the file also a pattern (`*`), which states the claim for every data set that it fits."""
    task: Task
    """The task."""
    slice: SliceName = "all"
    """The slice of its requests."""
    metric: str
    """One of the suite's metrics."""


class Claim(Strict):
    """What a paper says, as a check with a verdict: see `Expectation` for what `expect` may say.

    `id` is the place and the expectation, as in `ML/recommendation/head/R@30/Gen_R+S > Gen_R`. `source` has the numbers
    that the paper prints.
    """

    id: str
    text: str
    """What is claimed, in a sentence."""
    source: str = ""
    """Where the paper says it."""
    where: Where
    """In which numbers it is looked up."""
    expect: str = Field(max_length=10_000)
    """`A > B`, `A < B`, `A > B, C`, `A = B ± 0.01` or `A = 0 ± 0.01`, for names of models."""
    real_searches: bool = False


class ClaimBlock(Strict):
    """What a paper says about one place, as a suite's file has it."""

    where: Where
    """In which numbers it is looked up."""
    source: str = ""
    """Where the paper says it. The numbers of a table that the published values have, as in `Table 4`, are added."""
    expect: dict[Annotated[str, Field(max_length=10_000)], str] = Entries
    """What is claimed, in a sentence, by what is expected: `A > B`, `A < B`, `A > B, C`, `A = B ± 0.01` or
    `A = 0 ± 0.01`, for names of models."""
    real_searches: bool = False
    """True for what a paper says of how people search: not testable on a log whose searches are made, not typed."""


class Settings(Strict):
    """All of a suite but its claims, which a file has in blocks."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    """The name of its results folder: letters, digits and . _ -"""
    title: str = ""
    """The heading of its report."""
    profile: Annotated[str, Name] = Field("", pattern=r"^[^/]*$", max_length=100)
    """The profile that runs by default; in a resolved suite, the one that is applied."""
    reduced: bool = False
    """True where a profile runs on less data or smaller models than the paper; its verdicts say so."""
    datasets: list[DatasetEntry] = Entries
    """The data sets."""
    models: list[ModelEntry] = Entries
    """The models."""
    metrics: list[str] = Entries
    """As nDCG@10 or AP(rel=2)@100; over a candidate list HR@10|uni99, over items new to the user R@30|new."""
    slices: list[SliceName] = Field(default=["all"], min_length=1)
    """Groups of requests with a table of their own: all, head and torso (see `head_share`), other-day (later than the
    newest item of their history)."""
    head_share: float = Field(0.01, gt=0, lt=1)
    """Head = this share of the items, the most popular in training of the task; torso = the rest."""
    depth: Annotated[int, ListLength] = Field(100, ge=1)
    """How many items are ranked and stored per request; the largest cut-off a metric may have."""
    primary_metric: str = ""
    """The metric that the tables lead with; the first one over all items where empty."""
    seeds: Seeds = Field([0])
    """Each model is trained once with each."""
    threads: Annotated[int, AtMost(1024, "no machine has more cores")] = Field(1, ge=1)
    """CPU threads of one cell. Part of the suite because the order of a sum, and so its last digits, depend on it."""
    reproducible: bool = False
    """The same numbers on every x86-64 CPU with AVX2, at the price of slower training (`benchmark run --reproducible`).
    Part of the suite because the numbers differ from those that a CPU's fastest code gives."""
    timeout: Timeout = None
    """Seconds from the start of a cell to its end, what it waits for included. A cell that takes longer is stopped,
    with every process that it has started, and fails alone (`benchmark run --timeout`). None: no limit. What a finished
    cell found does not depend on its limits, so that they may change."""
    memory: Memory = None
    """What the processes of a cell may take together, such as 8GB (`benchmark run --memory`); looked at twice a second.
    On a GPU, its own memory does not count."""
    protocol: Protocol = Protocol()
    """How logs are split into training, validation and test, and which candidates are ranked."""
    compare: list[Comparison] = Field([], max_length=MAX_ENTRIES)
    """Which models are tested against which."""
    significance: Significance = Significance()
    """How they are tested."""
    published: str = ""
    """A file of published values, relative to the suite's own folder."""
    analyses: list[str] = Field([], max_length=MAX_ENTRIES)
    """Further tables and figures; `benchmark list` shows all."""

    def protocol_of(self, dataset: DatasetEntry) -> Protocol:
        """The suite's protocol, or the data set's own."""
        return dataset.protocol or self.protocol

    def seeds_of(self, model: str, deterministic: bool = False) -> list[int]:
        """The seeds that a model is trained with; only the first for a `deterministic` one."""
        (seeds,) = (entry.seeds or self.seeds for entry in self.models if entry.name == model)
        return seeds[:1] if deterministic else seeds

    def limits_of(self, model: str) -> tuple[float | None, int | None]:
        """The timeout in seconds and the bytes of memory of a cell of this model; its own come before the suite's."""
        (entry,) = (entry for entry in self.models if entry.name == model)
        return entry.timeout or self.timeout, entry.memory or self.memory

    @property
    def pairs(self) -> list[tuple[Comparison, str, str]]:
        """Each model and baseline that are to be compared, with the entry that says so."""
        return [(entry, model, other) for entry in self.compare for model in entry.model for other in entry.against]

    @property
    def ordered_metrics(self) -> list[str]:
        """The primary metric, then those over the whole catalogue, over what is new to the user, over lists."""

        def place(metric: str) -> tuple[bool, int]:
            return metric != self.primary_metric, {"": 0, NEW: 1}.get(parse_metric(metric).candidates, 2)

        return sorted(self.metrics, key=place)


class WrittenSuite(Settings):
    """What a suite file says."""

    claims: list[ClaimBlock] = Field([], max_length=MAX_ENTRIES)
    """What the paper says, to be checked, by data set, task, slice and metric."""
    profiles: dict[str, Any] = Field(default_factory=dict)
    """By name, what a profile changes: keys of the suite, laid over the file's. Mappings merge, entries of `datasets`
    and `models` merge by name, all else replaces."""


class Suite(Settings):
    """A suite as it runs, with its profile and `--set` applied; each claim is about one data set."""

    claims: list[Claim] = Field([])
