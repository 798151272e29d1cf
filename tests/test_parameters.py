"""Parameters: values checked against the types, the bounds and the nested settings that a plugin declares."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from benchmark import (
    BenchmarkError,
    Count,
    Natural,
    NonNegative,
    Positive,
    ProperFraction,
    Share,
)
from benchmark.parameters import as_json, resolve_params, spell
from benchmark.testing import check_model


@dataclass
class Toy:
    """Parameters without bounds."""

    layers: int = 2
    rate: float = 0.1
    mode: Literal["concat", "balanced"] = "concat"
    tasks: tuple[Literal["recommendation", "search"], ...] = ("recommendation",)
    path: str | None = None
    words: list[str] = field(default_factory=lambda: ["a"])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"layer": 3},
            "unknown parameter 'layer' in model 'toy'. Did you mean 'layers'? "
            "Known: layers, mode, path, rate, tasks, words.",
        ),
        ({"layers": "3"}, "model 'toy': the parameter 'layers' must be int, got '3' (str)."),
        ({"layers": 3.0}, "model 'toy': the parameter 'layers' must be int, got 3.0 (float)."),
        ({"layers": True}, "model 'toy': the parameter 'layers' must be int, got True (bool)."),
        ({"layers": None}, "model 'toy': the parameter 'layers' must be int, got None (NoneType)."),
        ({"path": 3}, "model 'toy': the parameter 'path' must be str or None, got 3 (int)."),
        ({"words": "ab"}, "model 'toy': the parameter 'words' must be list of str, got 'ab' (str)."),
        (
            {"mode": "balanced!"},
            "model 'toy': the parameter 'mode' must be one of 'concat', 'balanced', got 'balanced!' (str). "
            "Did you mean 'balanced'?",
        ),
        (
            {"tasks": ["serch"]},
            "model 'toy': the parameter 'tasks' must be tuple of one of 'recommendation', 'search', "
            "got ['serch'] (list). "
            "Did you mean 'search'?",
        ),
    ],
)
def test_a_wrong_parameter_is_one_line_that_names_it(params: dict[str, object], message: str) -> None:
    with pytest.raises(BenchmarkError) as caught:
        resolve_params(Toy, params, "model 'toy'")
    assert str(caught.value) == message


@dataclass
class Bounded:
    """Parameters with bounds."""

    d: Count = 64
    rate: Positive = 1e-3
    dropout: ProperFraction = 0.1
    share: Annotated[float, Field(gt=0, lt=1)] | None = None
    widths: list[Count] = field(default_factory=list)
    weights: dict[Literal["search", "recommendation"], NonNegative] = field(default_factory=dict)
    heads: Annotated[int, Field(multiple_of=4)] = 4


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"d": -5}, "the parameter 'd' must be int of at least 1, got -5 (int)."),
        ({"d": "64"}, "the parameter 'd' must be int of at least 1, got '64' (str)."),
        ({"rate": 0}, "the parameter 'rate' must be float above 0, got 0 (int)."),
        ({"rate": float("nan")}, "the parameter 'rate' must be float above 0, got nan (float)."),
        ({"dropout": 1}, "the parameter 'dropout' must be float from 0 to below 1, got 1 (int)."),
        ({"share": 1.0}, "the parameter 'share' must be float above 0 and below 1 or None, got 1.0 (float)."),
        ({"widths": [8, 0]}, "the parameter 'widths' must be list of int of at least 1, got [8, 0] (list)."),
        (
            {"weights": {"serch": 1}},
            "the parameter 'weights' must be a mapping from one of 'search', 'recommendation' to float of at least 0, "
            "got {'serch': 1} (dict). Did you mean 'search'?",
        ),
        ({"heads": 6}, "the parameter 'heads' must be int, got 6 (int). Input should be a multiple of 4."),
    ],
)
def test_a_value_outside_its_bounds_is_one_line_that_says_them(params: dict[str, object], message: str) -> None:
    with pytest.raises(BenchmarkError, match=f"^model 'toy': {re.escape(message)}$"):
        resolve_params(Bounded, params, "model 'toy'")


def test_what_is_within_the_bounds_is_taken_with_all_defaults() -> None:
    assert resolve_params(Bounded, {"d": 1, "rate": 2, "share": 0.5}, "model 'toy'") == {
        "d": 1, "rate": 2.0, "dropout": 0.1, "share": 0.5, "widths": [], "weights": {}, "heads": 4,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (Natural, "int of at least 0"),
        (Share, "float from 0 to 1"),
        (
            Annotated[int, Field(ge=2, le=65536)] | tuple[Count, ...],
            "int from 2 to 65,536 or tuple of int of at least 1",
        ),
        (Annotated[float, Field(gt=0, le=0.5)], "float above 0 and of at most 0.5"),
        (Annotated[int | None, Field(ge=1)], "int of at least 1 or None"),
        (str | None, "str or None"),
    ],
)
def test_a_type_is_spelt_with_its_bounds(hint: Any, words: str) -> None:
    assert spell(hint) == words


@dataclass(frozen=True)
class Codes:
    """Settings that belong together."""

    method: Literal["rqvae", "lsh"] = "rqvae"
    size: int | tuple[int, ...] = 256
    levels: Count = 3

    def __post_init__(self) -> None:
        if self.method == "lsh" and isinstance(self.size, int) and self.size % 2:
            raise BenchmarkError(f"`size` is {self.size}; lsh has an even number of codes.")


@dataclass
class Nested:
    codes: Codes = Codes(levels=4)


def test_nested_settings_are_a_mapping_in_a_suite_and_an_object_in_the_model() -> None:
    made = resolve_params(Nested, {"codes": {"size": [4, 16]}}, "model 'toy'")
    assert made == {"codes": Codes(size=(4, 16))}  # a mapping says all that differs from the class's defaults
    assert as_json(made) == {"codes": {"method": "rqvae", "size": [4, 16], "levels": 3}}
    assert resolve_params(Nested, as_json(made), "model 'toy'") == made
    assert resolve_params(Nested, {}, "model 'toy'") == {"codes": Codes(levels=4)}


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ({"levles": 3}, "unknown parameter 'levles' in codes of model 'toy'. Did you mean 'levels'?"),
        ({"levels": 0}, "codes of model 'toy': the parameter 'levels' must be int of at least 1, got 0 (int)."),
        ({"method": "lsh", "size": 3}, "codes of model 'toy': `size` is 3; lsh has an even number of codes."),
        (Codes(levels=0), "codes of model 'toy': the parameter 'levels' must be int of at least 1, got 0 (int)."),
        (3, "model 'toy': the parameter 'codes' must be a mapping of method, size, levels, got 3 (int)."),
        (None, "model 'toy': the parameter 'codes' must be a mapping of method, size, levels, got None (NoneType)."),
    ],
)
def test_a_mistake_in_nested_settings_says_where_it_is(codes: Any, message: str) -> None:
    with pytest.raises(BenchmarkError, match=f"^{re.escape(message)}"):
        resolve_params(Nested, {"codes": codes}, "model 'toy'")


def test_a_default_outside_its_bounds_is_found_by_check_model() -> None:
    @dataclass
    class Wrong:
        layers: Count = 0

    with pytest.raises(BenchmarkError, match="model 'Wrong': the parameter 'layers' must be int of at least 1, got 0"):
        check_model(Wrong)  # type: ignore[arg-type]
