"""A suite: the YAML file that names data sets, models, metrics and what to compare, validated whole before anything runs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from benchmark.types import Task

SliceName = Literal["all", "head", "torso"]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Choice(Strict):
    """A data set or a model: the plugin's name (`use`), its name in the tables, and its parameters."""

    use: str
    name: str = ""
    params: dict[str, Any] = Field(default_factory=dict)
    published_as: str = ""
    """The row of the published tables that this one answers to; its own name where empty."""


class Comparison(Strict):
    """One model tested against each of several baselines."""

    model: str
    against: list[str]


class Significance(Strict):
    test: Literal["paired-t"] = "paired-t"
    alpha: float = Field(0.05, gt=0, lt=1)
    correction: Literal["holm", "none"] = "holm"
    permutations: int = Field(10_000, ge=100)


class Where(Strict):
    dataset: str
    task: Task
    slice: SliceName = "all"
    metric: str


class Claim(Strict):
    """What a paper says, as a check with a verdict: `expect` reads "A > B" or "A < B", names of models."""

    id: str
    text: str
    source: str = ""
    where: Where
    expect: str


class ProtocolModel(Strict):
    """`benchmark.protocol.ProtocolSettings`, as it is written in a suite."""

    split: Literal["leave-one-out", "ratio", "global-time"] = "leave-one-out"
    max_history: int | None = Field(50, ge=1)
    max_prefixes_per_user: int | None = Field(None, ge=1)
    valid_share: float = Field(0.1, gt=0, lt=1)
    test_share: float = Field(0.1, gt=0, lt=1)
    seed: int = 0


class Suite(Strict):
    name: str
    title: str = ""
    reduced: bool = False
    """True where a profile runs on less data or smaller models than the paper; its verdicts say so."""
    datasets: list[Choice]
    models: list[Choice]
    metrics: list[str]
    slices: list[SliceName] = ["all"]
    head_share: float = Field(0.01, gt=0, lt=1)
    """Head = this share of the items, the most popular in training of the task; torso = the rest."""
    depth: int = Field(100, ge=1)
    """How many items are ranked and stored per request; the largest cut-off a metric may have."""
    seeds: list[int] = [0]
    mask_seen: bool = False
    protocol: ProtocolModel = ProtocolModel()
    compare: list[Comparison] = []
    significance: Significance = Significance()
    published: str = ""
    claims: list[Claim] = []
    analyses: list[str] = []
