"""The keys of a suite, with their types, bounds and defaults."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ByteSize,
    Field,
    GetCoreSchemaHandler,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from benchmark.data.types import Task
from benchmark.metric import parse_metric
from benchmark.suite.file import Part, SliceName
from benchmark.text import visible

DRAWN = ("uniform", "popularity")
"""The kinds of candidate lists that chance alone samples."""


@dataclass(frozen=True)
class AtMost:
    """An upper bound that says why there is one. None is within it."""

    le: int
    why: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def _checked(self, value: Any) -> Any:
        if value is not None and value > self.le:
            raise ValueError(f"must be at most {self.le:,}: {self.why}")
        return value


MAX_ENTRIES = 1_000
"""Of each list of a suite: everything is combined with everything."""
MAX_CELLS = 100_000
MAX_DEPTH = 1_000_000
Entries = Field(min_length=1, max_length=MAX_ENTRIES)
Seed = Annotated[int, Field(ge=0), AtMost(2**32 - 1, "random generators take seeds of 32 bits")]
Seeds = Annotated[list[Seed], Entries]
ListLength = AtMost(MAX_DEPTH, "longer lists fit into no memory, one for each request")


def _plain_name(name: str) -> str:
    if len(name) > MAX_NAME:
        raise ValueError(f"a name has at most {MAX_NAME} characters: it stands in every table")
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


class Named(Part):
    """A data set or a model: the plugin's name (`use`), its name in the tables, and its parameters."""

    use: Annotated[str, Name] = Field(min_length=1)
    """What it is called by its plugin; `benchmark list` has all. A model that is `like` another has that one's."""
    name: Annotated[str, Name] = ""
    """Its name in the tables; the same as `use` where empty."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Its parameters; `benchmark list NAME` has all."""
    note: str = ""
    """What a reader of its numbers must know; stands below the tables."""
    published_as: str = ""
    """The row of the published tables that this one answers to; its own name where empty."""


class Choice(Named):
    """A model."""

    like: str = Field("", exclude=True)
    """In place of `use`, the name of another model of the suite: this one has its `use` and, in every profile, its
    parameters, with those of `params` laid over them."""
    without: list[str] = Field([], exclude=True)
    """With `like`: parameters of the other model that this one does not take over."""
    seconds: Annotated[float | None, AtMost(10**8, "that is three years")] = Field(None, gt=0)
    """About how long one cell takes, where none of it has finished in the results folder: orders the work and gives
    `--dry-run` its estimate. After that, what finished cells took counts."""
    timeout: Timeout = None
    """Seconds that a cell of it may take, where they are not the suite's."""
    memory: Memory = None
    """What a cell of it may take, where that is not the suite's."""
    seeds: Seeds | None = None
    """The seeds that it is trained with, where they are not the suite's. A deterministic model runs with one anyway."""


Spare = Literal["target", "history", "user", "query"]
Fill = Literal["popular", "random"]


class Sampler(Part):
    """Where the negatives of a candidate list come from, what is none, and how many there are.

    A list of the best items of a model is by default as Shi 2025 makes it (`data/process_raw.ipynb` of the authors):
    `{kind: bm25, n: 99}` spares the request's own answers alone, and takes what BM25 leaves open in proportion to
    popularity. Their list for recommendation is `{kind: popularity, n: 99, spare: history}`.
    """

    kind: str = Field(min_length=1)
    """uniform, popularity (in proportion to training interactions), or a model whose best items become negatives."""
    n: Annotated[int, ListLength] = Field(99, ge=1)
    """How many negatives there are."""
    seed: Seed = 0
    """Of what chance draws."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Of the model."""
    spare: Spare = "target"
    """What is never a negative besides the request's own answers: nothing (`target`), what the user had clicked before
    the request or in training (`history`), what the user clicked at any time (`user`), or what anybody clicked for the
    query or was judged relevant to it (`query`, for search alone: whoever knows the clicks of a query then knows the
    answer). `target` by default for a model's list, `user` for one that is drawn."""
    fill: Fill | None = "popular"
    """Where a model finds fewer than `n`, the rest is drawn in proportion to popularity in training (`popular`, the
    default) or uniformly (`random`), of what may be a negative and the user did not click before. A list that is drawn
    has none."""

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, values: Any) -> Any:
        """What a list that is drawn has by default; a resolved suite says it all."""
        if not isinstance(values, dict):
            return values
        if "personal" in values:
            raise ValueError(
                "`personal` is now `spare`: write `spare: user` for `personal: true`, and `spare: query` for "
                "`personal: false`"
            )
        return {"spare": "user", "fill": None} | values if values.get("kind") in DRAWN else values

    @property
    def model(self) -> str:
        """The model's name in the registry; empty where chance alone samples."""
        return "" if self.kind in DRAWN else self.kind

    @property
    def list_name(self) -> str:
        """What stands after the | of a metric: uni99, pop99-history, bm25-99, bm25-99-query. What is as by default is
        not in the name."""
        name = f"{self.model}-{self.n}" if self.model else f"{self.kind[:3]}{self.n}"
        usual = "target" if self.model else "user"
        return name + f"-{self.spare}" * (self.spare != usual) + "-random" * (self.fill == "random")


def _samplers(value: Any) -> Any:
    """One sampler, or none, for a task as a list of them."""
    if not isinstance(value, dict):
        return {} if value is None else value
    return {task: of if isinstance(of, list) else [] if of is None else [of] for task, of in value.items()}


NEW = "new"
"""The list name (R@30|new) for recommendation with the items of the request's own history left out."""


class ProtocolModel(Part):
    """`benchmark.data.protocol.ProtocolSettings`, as it is written in a suite, and the candidate lists."""

    split: Literal["leave-one-out", "ratio", "random-ratio", "global-time", "all-test"] = "leave-one-out"
    """leave-one-out by time (test: a user's last interaction, validation: the one before), ratio of each user's
    interactions (the newest to test), random-ratio (in random order, for logs without times), global-time (what
    happened before one moment trains, for everybody), or all-test (logs of queries and judgements, nothing to train
    on)."""
    max_history: Annotated[int | None, ListLength] = Field(50, ge=1)
    """Items of a history that models are given, the newest; null: all."""
    max_prefixes_per_user: Annotated[int | None, ListLength] = Field(None, ge=1)
    """Prefixes of a user's history that models train on, the newest; null: all."""
    valid_share: float = Field(0.1, gt=0, lt=1)
    """Share of the interactions (ratio, random-ratio, global-time) and of the queries that is for validation."""
    test_share: float = Field(0.1, gt=0, lt=1)
    """The share for the test, likewise."""
    unseen_share: float = Field(0.0, ge=0, lt=1)
    """Share of the test items that occur nowhere else, as if they were new."""
    drop_untrained_targets: bool = False
    """True: items that never occur in a task's training are no answers of its validation and test."""
    copies_within: Annotated[int, AtMost(2**31, "these are seconds, and that is 68 years")] = Field(0, ge=0)
    """Of a joint log: an interaction and a searched click of the same user and item, at most so many seconds apart, are
    one event that is logged twice."""
    leaky: bool = False
    """True: each task of a joint log is split without a look at the other, to measure what that is worth."""
    seed: Seed = 0
    """Of what chance decides in the split."""
    candidates: Annotated[dict[Task, list[Sampler]], BeforeValidator(_samplers)] = Field({})
    """For each task the lists that every model ranks beside the whole catalogue."""


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name is one of these, or fits one as a pattern: SASRec[CE] is a name, and to fnmatch a pattern."""
    return any(pattern == name or fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


class DataChoice(Named):
    """A data set, which models run on it, and what it has of its own in the protocol."""

    models: list[str] = Field([])
    """Names or patterns (`TIGER*`) of the models that run on it, or with `!` before it of those that do not; empty:
    all."""
    protocol: ProtocolModel | None = None
    """As written, what differs from the suite's protocol; as resolved, all of it. None: the suite's."""
    optional: bool = False
    """True: where its files are not here, the suite runs without it, and the report says so."""

    def wants(self, model: str) -> bool:
        """Whether this model runs on it."""
        only = [pattern for pattern in self.models if not pattern.startswith("!")]
        without = [pattern[1:] for pattern in self.models if pattern.startswith("!")]
        return (not only or matches(model, only)) and not matches(model, without)


class Comparison(Part):
    """One model tested against each of several baselines: everywhere, or where `task`, `slice` and `metric` say."""

    model: str
    """The name of the model."""
    against: list[str] = Entries
    """The names of the baselines."""
    primary: bool = False
    """True for the suite's own question. All primary comparisons are one family for the correction, all others,
    which explore, another one; a comparison that both ask for is in the first."""
    task: Task | None = None
    """The only task it is made in; null: all."""
    slice: SliceName | None = None
    """The only slice; null: all."""
    metric: str = ""
    """The only metric; empty: all."""

    def asks(self, task: str, slice_name: str, metric: str) -> bool:
        """Whether the comparison is made in this place."""
        own = (self.task, self.slice, self.metric)
        return all(not wanted or wanted == place for wanted, place in zip(own, (task, slice_name, metric), strict=True))


class Significance(Part):
    test: Literal["paired-t"] = "paired-t"
    """The test of two models' values on the same requests."""
    alpha: float = Field(0.05, gt=0, lt=1)
    """The level of significance."""
    correction: Literal["holm", "none"] = "holm"
    """For many comparisons."""
    permutations: Annotated[int, AtMost(10**7, "more change no verdict, and take hours")] = Field(10_000, ge=100)
    """Sign flips per comparison; more are drawn where a family is so large that they could not decide."""
    min_requests: int = Field(30, ge=1)
    """Slices with fewer requests are shown and not tested."""


class Where(Part):
    dataset: str
    """A name; in the file also a pattern (`*`), which states the claim for every data set that it fits."""
    task: Task
    """The task."""
    slice: SliceName = "all"
    """The slice of its requests."""
    metric: str
    """One of the suite's metrics."""


class Claim(Part):
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


class ClaimBlock(Part):
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


class Settings(Part):
    """All of a suite but its claims, which a file has in blocks."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    """The name of its results folder: letters, digits and . _ -"""
    title: str = ""
    """The heading of its report."""
    profile: Annotated[str, Name] = Field("", pattern=r"^[^/]*$", max_length=100)
    """The profile these settings are of; in the file, the one that runs by default."""
    reduced: bool = False
    """True where a profile runs on less data or smaller models than the paper; its verdicts say so."""
    datasets: list[DataChoice] = Entries
    """The data sets."""
    models: list[Choice] = Entries
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
    mask_seen: bool = False
    """True: items of a request's history are no answers, and no model may return them."""
    protocol: ProtocolModel = ProtocolModel()
    """How logs are split into training, validation and test, and which candidates are ranked."""
    compare: list[Comparison] = Field([], max_length=MAX_ENTRIES)
    """Which models are tested against which."""
    significance: Significance = Significance()
    """How they are tested."""
    published: str = ""
    """A file of published values, relative to the suite's own folder."""
    analyses: list[str] = Field([], max_length=MAX_ENTRIES)
    """Further tables and figures; `benchmark list` has all."""

    def protocol_of(self, dataset: DataChoice) -> ProtocolModel:
        """The suite's protocol, or the data set's own."""
        return dataset.protocol or self.protocol

    def seeds_of(self, model: str, deterministic: bool = False) -> list[int]:
        """The seeds that a model is trained with; one where it is the same with all of them."""
        (own,) = (choice.seeds for choice in self.models if choice.name == model)
        return (own or self.seeds)[:1] if deterministic else own or self.seeds

    def limits_of(self, model: str) -> tuple[float | None, int | None]:
        """The timeout in seconds and the bytes of memory of a cell of this model; its own come before the suite's."""
        (choice,) = (choice for choice in self.models if choice.name == model)
        return choice.timeout or self.timeout, choice.memory or self.memory

    @property
    def ordered_metrics(self) -> list[str]:
        """The primary metric, then those over the whole catalogue, over what is new to the user, over lists."""

        def place(metric: str) -> tuple[bool, int]:
            return metric != self.primary_metric, {"": 0, NEW: 1}.get(parse_metric(metric).candidates, 2)

        return sorted(self.metrics, key=place)


class WrittenSuite(Settings):
    """What a suite file says."""

    claims: list[ClaimBlock] = Field([], max_length=MAX_ENTRIES)
    """What the paper says, to be checked, by place."""
    profiles: dict[str, Any] = Field(default_factory=dict)
    """By name, what a profile changes: keys of the suite, laid over the file's. Mappings merge, entries of `datasets`
    and `models` merge by name, all else replaces."""


class Suite(Settings):
    """A suite as it runs, with its profile and `--set` applied; each claim is about one data set."""

    claims: list[Claim] = Field([])
