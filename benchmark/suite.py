"""A suite: the YAML file that names data sets, models, metrics and what to compare, validated whole before anything
runs."""

from __future__ import annotations

import copy
import difflib
import fnmatch
import re
import typing
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
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

from benchmark.errors import BenchmarkError, unknown
from benchmark.metric import parse_metric
from benchmark.profiles import merge, name_entries, set_value, take_likes
from benchmark.published import Published, load_published
from benchmark.suite_file import Part, SliceName, SuiteFile, read_suite
from benchmark.text import visible
from benchmark.types import Task

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
    """`benchmark.protocol.ProtocolSettings`, as it is written in a suite, and the candidate lists."""

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


def results_name(suite: Suite, source: Path, limit: int | None = None) -> str:
    """The name of the suite's results folder. Another profile than the default one, and a limit, have their own."""
    default = str(read_suite(str(source)).raw.get("profile") or "")
    profile = f"-{suite.profile}" if suite.profile != default else ""
    return f"{suite.name}{profile}" + (f"-limit-{limit}" if limit is not None else "")


def load_suite(
    source: str, profile: str | None = None, settings: Sequence[str] = (), seeds: int | None = None
) -> tuple[Suite, Path]:
    """The suite with its profile and `--set` applied, and the file it came from.

    Raises BenchmarkError with one line per mistake: file, line, key, what is wrong, the closest name that would do.
    """
    file = read_suite(source)
    raw = copy.deepcopy(file.raw)
    profiles = raw.pop("profiles", None) or {}
    if not isinstance(profiles, dict):
        raise BenchmarkError(f"{file.path}: profiles must be a mapping from a profile's name to what it changes.")
    chosen = profile or str(raw.get("profile") or "")
    if chosen and chosen not in profiles:
        raise unknown("profile", chosen, profiles, str(file.path))
    name_entries(raw)
    if chosen:
        change = copy.deepcopy(profiles[chosen]) or {}
        if not isinstance(change, dict):
            raise BenchmarkError(f"{file.path}: profile '{chosen}' must be a mapping of what it changes.")
        name_entries(change)
        raw = merge(raw, change)
    raw["profile"] = chosen
    for setting in settings:
        set_value(raw, setting)
    if "profiles" in raw:
        raise BenchmarkError("--set profiles: the chosen profile is laid over the suite already. Set the key itself.")
    take_likes(raw, [file.raw, *profiles.values()])
    if seeds is not None:
        if not 1 <= seeds <= MAX_ENTRIES:
            raise BenchmarkError(f"--seeds {seeds}: at least one seed is needed, and at most {MAX_ENTRIES:,}.")
        raw["seeds"] = list(range(seeds))
        for entry in raw["models"] if isinstance(raw.get("models"), list) else []:
            if isinstance(entry, dict):
                entry.pop("seeds", None)
    _whole_protocols(raw)
    try:
        written = WrittenSuite.model_validate(raw)
    except ValidationError as error:
        raise BenchmarkError("\n".join(_explain(file, e) for e in error.errors())) from error
    _check_patterns(written, [raw, file.raw, *profiles.values()], file.path)
    settings_of_all = {name: getattr(written, name) for name in Settings.model_fields}
    suite = Suite(**settings_of_all, claims=list(_claims(written, file.path)))
    check_names(suite, file.path)
    return suite, file.path


def _whole_protocols(raw: dict[str, Any]) -> None:
    """Lay what a data set has of its own in the protocol over the suite's, so that a resolved suite says it all."""
    common = raw.get("protocol") or {}
    for entry in raw["datasets"] if isinstance(raw.get("datasets"), list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("protocol"), dict) and isinstance(common, dict):
            entry["protocol"] = {**common, **entry["protocol"]}


_SIGNS = r"\s+(?P<sign>[<>=])\s+"
_EXPECT = re.compile(rf"\s*(?P<a>\S.*?){_SIGNS}(?P<rest>.*\S)\s*")
_EXPECT_WORDS = r"\s+[<>=±]\s+|,\s+"


@dataclass(frozen=True)
class Expectation:
    """What a claim says of model `a`.

    - "A > B" or "A < B": it is better, or worse, than another model: higher, or lower, but for a metric whose lower
      values are better.
    - "A > B, C, D": than each of these.
    - "A = B ± 0.01": it is as good as another model, but for less than 0.01 to either side.
    - "A = 0 ± 0.01": its mean is 0, but for less than 0.01.

    `rivals` are the other models; with none of them `value` is the number. `margin` is 0 but for the last two.
    """

    a: str
    sign: Literal[">", "<", "="]
    rivals: tuple[str, ...]
    value: float = 0.0
    margin: float = 0.0

    @property
    def models(self) -> tuple[str, ...]:
        return (self.a, *self.rivals)


def parse_expectation(text: str) -> Expectation:
    """Raises BenchmarkError where the text is not an expectation."""

    def refuse() -> BenchmarkError:
        return BenchmarkError(
            f"expect: '{text}' is not an expectation. Write two models as 'A > B' or 'A < B', several as 'A > B, C', "
            "or an equality as 'A = B ± 0.01' or 'A = 0 ± 0.01'."
        )

    match = _EXPECT.fullmatch(text)
    if match is None or re.search(r"\s[<>=]\s", match["rest"]):
        raise refuse()
    a, rest = match["a"], match["rest"]
    if match["sign"] != "=":
        rivals = tuple(name.strip() for name in re.split(r",\s+", rest))
        if not all(rivals) or len(set(rivals)) < len(rivals) or "±" in rest:
            raise refuse()
        return Expectation(a, ">" if match["sign"] == ">" else "<", rivals)
    other, _, margin = rest.rpartition("±")
    try:
        size = float(margin)
    except ValueError:
        raise refuse() from None
    if not other.strip() or not size > 0:
        raise refuse()
    try:
        return Expectation(a, "=", (), float(other), size)
    except ValueError:
        return Expectation(a, "=", (other.strip(),), 0.0, size)


def _claims(suite: WrittenSuite, path: Path) -> Iterator[Claim]:
    """The claims of all blocks; where one names data sets by a pattern, one for each that runs all of its models."""
    sourced = suite.published and any(block.source for block in suite.claims)
    published = load_published(path.parent / suite.published) if sourced else None
    for block in suite.claims:
        for expect, text in block.expect.items():
            source = _source(block, expect, suite, published) if published else block.source
            for dataset in _datasets(block.where.dataset, expect, suite):
                where = block.where.model_copy(update={"dataset": dataset})
                place = [dataset, where.task, *([where.slice] if where.slice != "all" else []), where.metric]
                yield Claim(
                    id="/".join([*place, expect]),
                    text=text,
                    source=source,
                    where=where,
                    expect=expect,
                    real_searches=block.real_searches,
                )


def _source(block: ClaimBlock, expect: str, suite: WrittenSuite, published: Published) -> str:
    """The block's source, with the numbers that it prints for the models where it is a table with all of them."""
    try:
        expectation = parse_expectation(expect)
    except BenchmarkError:
        return block.source  # refused by `check_claims`, with the claim's name
    rows = {model.name: model.published_as or model.name for model in suite.models}
    places = {data.name: data.published_as or data.name for data in suite.datasets}
    where, dataset = block.where, block.where.dataset
    return published.quote(
        block.source,
        None if _is_pattern(dataset) else places.get(dataset, dataset),
        where.task,
        where.slice,
        where.metric.removesuffix(f"|{NEW}"),
        [rows.get(name, name) for name in expectation.models],
    )


def _is_pattern(dataset: str) -> bool:
    return any(sign in dataset for sign in "*?")


def _datasets(pattern: str, expect: str, suite: Settings) -> list[str]:
    """The data set of this name, whether the suite has it or not; or those that fit the pattern and run the models."""
    if pattern in [data.name for data in suite.datasets] or not _is_pattern(pattern):
        return [pattern]
    models = {model.name for model in suite.models if model.name in re.split(_EXPECT_WORDS, expect.strip())}
    return [
        data.name
        for data in suite.datasets
        if matches(data.name, [pattern]) and all(data.wants(name) for name in models)
    ]


def _check_patterns(suite: WrittenSuite, parts: Iterable[Any], path: Path) -> None:
    """A claim's pattern may fit no data set of this profile, but where it fits none of the file, it is misspelt."""
    lists = [part.get("datasets") for part in parts if isinstance(part, dict)]
    entries = [entry for entries in lists if isinstance(entries, list) for entry in entries if isinstance(entry, dict)]
    names = {str(entry.get("name") or entry.get("use")) for entry in entries}
    for block in suite.claims:
        pattern = block.where.dataset
        if _is_pattern(pattern) and not any(matches(name, [pattern]) for name in names):
            raise unknown("data set", pattern, names, f"claims of {path}")


def _explain(file: SuiteFile, error: Any) -> str:
    loc = tuple(error["loc"])
    at = next((file.lines[loc[:n]] for n in range(len(loc), 0, -1) if loc[:n] in file.lines), None)
    place = f"{file.path}:{at}" if at else str(file.path)
    key = ".".join(str(part) for part in loc)
    if error["type"] == "extra_forbidden":
        known = sorted(_fields_at(loc[:-1]))
        close = difflib.get_close_matches(str(loc[-1]), known, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else f" Known: {', '.join(known)}."
        return f"{place}: unknown key '{key}'.{hint}"
    if error["type"] == "missing":
        return f"{place}: '{key}' is missing; add it."
    message = error["msg"].removeprefix("Value error, ")
    given = f" (given: {error['input']!r})" if not isinstance(error["input"], dict | list) else ""
    return f"{place}: '{key}': {message[0].lower()}{message[1:]}{given}."


def _fields_at(loc: tuple[Any, ...]) -> Iterable[str]:
    """The keys that are known at this place of a suite."""
    model: type[BaseModel] = WrittenSuite
    for part in loc:
        if isinstance(part, str) and part in model.model_fields:
            kinds = [model.model_fields[part].annotation]
            while kinds:
                kind = kinds.pop()
                if isinstance(kind, type) and issubclass(kind, BaseModel):
                    model = kind
                    break
                kinds.extend(typing.get_args(kind))
    return model.model_fields


def _repeated(values: Sequence[Any]) -> list[Any]:
    """What stands more than once, in the order of the list."""
    return [value for value, count in Counter(values).items() if count > 1]


def check_names(suite: Suite, path: Path) -> None:
    """Names are unique, and what is compared is there."""
    for kind, choices in (("data set", suite.datasets), ("model", suite.models)):
        twice = _repeated([choice.name for choice in choices])
        if twice:
            raise BenchmarkError(f"{path}: two {kind}s are called '{twice[0]}'. Give each its own `name:`.")
    cells = len(suite.datasets) * sum(len(suite.seeds_of(choice.name)) for choice in suite.models)
    if cells > MAX_CELLS:
        raise BenchmarkError(f"{path}: up to {cells:,} cells are asked for, and {MAX_CELLS:,} are allowed. Take fewer.")
    pairs = [
        (entry.model, baseline, entry.primary, entry.task, entry.slice, entry.metric)
        for entry in suite.compare
        for baseline in entry.against
    ]
    lists: dict[str, Sequence[Any]] = {
        "seeds": suite.seeds, "metrics": suite.metrics, "slices": suite.slices, "analyses": suite.analyses,
        **{f"seeds of {choice.name}": choice.seeds for choice in suite.models if choice.seeds},
    }  # fmt: skip
    for key, values in lists.items():
        again = _repeated(values)
        if again:
            raise BenchmarkError(f"{path}: {key} holds {again[0]!r} twice. Take one of them out.")
    for model, baseline, *_ in _repeated(pairs):
        raise BenchmarkError(f"{path}: compare tests '{model}' against '{baseline}' twice. Take one of them out.")
    if suite.primary_metric and suite.primary_metric not in suite.metrics:
        raise unknown("metric", suite.primary_metric, suite.metrics, f"primary_metric of {path}")
    for entry in suite.compare:
        for kind, name, known in (("metric", entry.metric, suite.metrics), ("slice", entry.slice, suite.slices)):
            if name and name not in known:
                raise unknown(kind, name, known, f"compare of {path}")
    for model, baseline, *_ in pairs:
        if model == baseline:
            raise BenchmarkError(f"{path}: compare tests '{model}' against itself.")
    for protocol in (suite.protocol, *(data.protocol for data in suite.datasets if data.protocol)):
        for task, samplers in protocol.candidates.items():
            names = [sampler.list_name for sampler in samplers]
            twice = _repeated(names)
            if twice:
                raise BenchmarkError(f"{path}: candidates of {task}: two lists are called '{twice[0]}'. Drop one.")
            if NEW in names:
                raise BenchmarkError(
                    f"{path}: candidates of {task}: no list can be called '{NEW}', which is what metrics over items "
                    "outside the history are called. Take another name."
                )
    models = [choice.name for choice in suite.models]
    for data in suite.datasets:
        for pattern in data.models:
            if not any(matches(model, [pattern.removeprefix("!")]) for model in models):
                raise unknown("model", pattern, models, f"data set '{data.name}' of {path}")
    for comparison in suite.compare:
        for name in (comparison.model, *comparison.against):
            if name not in models:
                raise unknown("model", name, models, f"compare of {path}")
