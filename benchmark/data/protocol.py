"""The evaluation protocol: how a log is split, and which candidates are ranked; the same for every model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from benchmark.data.types import Task
from benchmark.strict import AtMost, ListLength, Seed, Strict

DRAWN = ("uniform", "popularity")
"""The kinds of candidate lists that are drawn at random, without a model."""
Spare = Literal["target", "history", "user", "query"]
Fill = Literal["popular", "random"]


class Sampler(Strict):
    """How the negatives of a candidate list are chosen: their source, their number, and which items are spared.

    A list of the best items of a model is by default as Shi 2025 makes it (`data/process_raw.ipynb` of the authors):
    `{kind: bm25, n: 99}` spares only the request's own answers, and fills up in proportion to popularity where BM25
    finds fewer. Their list for recommendation is `{kind: popularity, n: 99, spare: history}`.
    """

    kind: str = Field(min_length=1)
    """uniform, popularity (in proportion to training interactions), or a model whose best items become negatives."""
    n: Annotated[int, ListLength] = Field(99, ge=1)
    """How many negatives there are."""
    seed: Seed = 0
    """The seed of random draws."""
    params: dict[str, Any] = Field(default_factory=dict)
    """The model's parameters."""
    spare: Spare = "target"
    """Items that are never negatives, besides the request's own answers: none (`target`), what the user had clicked
    before the request or in training (`history`), what the user clicked at any time (`user`), or what anybody clicked
    for the query or was judged relevant to it (`query`, for search alone: whoever knows the clicks of a query then
    knows the answer). `target` by default for a model's list, `user` for a random one."""
    fill: Fill | None = "popular"
    """Where a model finds fewer than `n`, the rest is drawn in proportion to popularity in training (`popular`, the
    default) or uniformly (`random`), from what may be a negative and the user did not click before. Random lists have
    no `fill`."""

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, values: Any) -> Any:
        """The defaults of random lists; a resolved suite states them."""
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
        """The model's name in the registry; empty for random lists."""
        return "" if self.kind in DRAWN else self.kind

    @property
    def list_name(self) -> str:
        """The part of a metric's name after the |, without defaults: uni99, pop99-history, bm25-99, bm25-99-query."""
        name = f"{self.model}-{self.n}" if self.model else f"{self.kind[:3]}{self.n}"
        usual = "target" if self.model else "user"
        return name + f"-{self.spare}" * (self.spare != usual) + "-random" * (self.fill == "random")


def _samplers(value: Any) -> Any:
    """One sampler, or none, for a task as a list of them."""
    if not isinstance(value, dict):
        return {} if value is None else value
    return {task: one if isinstance(one, list) else [] if one is None else [one] for task, one in value.items()}


class Protocol(Strict):
    """How a log becomes training, validation and test, and which candidates are ranked. Invalid values raise pydantic's
    ValidationError.

    Leave-one-out follows Penha 2024, section 5, as does `drop_untrained_targets`; `unseen_share` is that of Rajput
    2023, section 4.4.1 (0.05). Queries without users are always split by shares, into disjoint sets of queries.

    In a joint log, searches and interactions are split in the same way, separately: a user's last search is a test
    request. No history contains events of its own or a later split; training data contains no copy of a validation or
    test target. An interaction and a click of a search are copies if they have the same user and item and are at most
    `copies_within` seconds apart; see `benchmark.data.timeline`. `leaky` ignores copies between the tasks, as the
    public pipeline of Shi 2025 does, to measure their effect.
    """

    split: Literal["leave-one-out", "ratio", "random-ratio", "global-time", "all-test"] = "leave-one-out"
    """leave-one-out by time (test: a user's last interaction, validation: the one before), ratio of each user's
    interactions (the newest to test), random-ratio (in random order, for logs without times: repeated items of a user
    count once, and histories have no order), global-time (what happened before one moment trains, for everybody), or
    all-test (logs of queries and judgements, nothing to train on)."""
    max_history: Annotated[int | None, ListLength] = Field(50, ge=1)
    """Items of a history that models are given, the newest; null: all."""
    max_prefixes_per_user: Annotated[int | None, ListLength] = Field(None, ge=1)
    """Prefixes of a user's history that models train on, the newest; null: all."""
    valid_share: float = Field(0.1, gt=0, lt=1)
    """Share of the interactions (ratio, random-ratio, global-time) and of the queries for validation."""
    test_share: float = Field(0.1, gt=0, lt=1)
    """Share for the test, likewise."""
    unseen_share: float = Field(0.0, ge=0, lt=1)
    """Share of the test items that occur nowhere else, as if they were new: neither in training and validation nor in
    the histories of test requests."""
    drop_untrained_targets: bool = False
    """True: items that never occur in a task's training do not count as answers of its validation and test, and
    requests without any other answer are left out."""
    mask_seen: bool = False
    """True: items of a request's history do not count as answers, and no model may return them."""
    copies_within: Annotated[int, AtMost(2**31, "these are seconds, and that is 68 years")] = Field(0, ge=0)
    """Of a joint log: an interaction and a searched click of the same user and item, at most so many seconds apart, are
    one event that is logged twice."""
    leaky: bool = False
    """True: copies between the tasks of a joint log are ignored, to measure how much that leaks."""
    seed: Seed = 0
    """The seed of all that is random in the split."""
    candidates: Annotated[dict[Task, list[Sampler]], BeforeValidator(_samplers)] = Field({})
    """By task, the lists that every model ranks besides the whole catalogue."""

    @model_validator(mode="after")
    def _consistent(self) -> Protocol:
        if self.valid_share + self.test_share >= 1:
            raise ValueError(
                f"valid_share {self.valid_share} and test_share {self.test_share} leave nothing to train on; their sum "
                "must be below 1"
            )
        if self.drop_untrained_targets and (self.unseen_share or self.split == "all-test"):
            other = "unseen_share" if self.unseen_share else "split: all-test"
            raise ValueError(
                f"{other} asks for items that nothing trains, and drop_untrained_targets drops them; take out one of "
                "the two"
            )
        if self.copies_within and self.leaky:
            raise ValueError("leaky leaves copies in, copies_within says what is one; drop one of the two")
        return self

    def split_settings(self) -> dict[str, Any]:
        """All but the candidate lists, as JSON: what the split depends on, hashed into the data set's digest."""
        return self.model_dump(exclude={"candidates"})
