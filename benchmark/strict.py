"""The base class of what a suite's file sets, and bounds that say why they are there."""

from __future__ import annotations

import inspect
import typing
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


class Strict(BaseModel):
    """Keys with types and bounds: unknown keys, and values of another type or out of bounds, are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def part_in(hint: Any) -> type[BaseModel] | None:
    """The class of keys that a type holds: itself, or in a list or a mapping."""
    if inspect.isclass(hint) and issubclass(hint, BaseModel):
        return hint
    return next((part for inner in typing.get_args(hint) if (part := part_in(inner)) is not None), None)


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


MAX_DEPTH = 1_000_000
ListLength = AtMost(MAX_DEPTH, "longer lists fit into no memory, one for each request")
Seed = Annotated[int, Field(ge=0), AtMost(2**32 - 1, "random generators take seeds of 32 bits")]
