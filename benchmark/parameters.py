"""Parameters of a plugin: a suite's values checked against the typed keyword arguments of what they are for."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import json
import os
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt

from benchmark.errors import BenchmarkError, ContractError, unknown

Count = Annotated[int, Ge(1)]
"""A whole number from 1: layers, widths, epochs."""
Natural = Annotated[int, Ge(0)]
"""A whole number from 0: stages that may be left out."""
Positive = Annotated[float, Gt(0)]
"""A number above 0: learning rates, temperatures."""
NonNegative = Annotated[float, Ge(0)]
"""A number from 0: weights of a loss or a penalty."""
Share = Annotated[float, Ge(0), Le(1)]
"""From 0 to 1, both included: a share of the items."""
ProperFraction = Annotated[float, Ge(0), Lt(1)]
"""From 0 to below 1: a part that is never the whole, such as dropout."""


@dataclass(frozen=True)
class Parameter:
    """One keyword argument: its type at run time, and its default (`inspect.Parameter.empty` where it has none)."""

    name: str
    hint: Any
    default: Any

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty


def parameters(target: Callable[..., Any], where: str, given_by_core: Iterable[str] = ()) -> dict[str, Parameter]:
    """The arguments of `target` that a suite may set, by name: all but those `given_by_core`.

    `where` names the plugin in errors. Raises ContractError for a type that cannot be read at run time.
    """
    skipped = {*given_by_core}
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    listed = [p for p in inspect.signature(target).parameters.values() if p.kind in kinds and p.name not in skipped]
    return {p.name: Parameter(p.name, _hint(target, p, where), _default(target, p)) for p in listed}


def resolve_params(
    target: Callable[..., Any], params: Mapping[str, Any], where: str, given_by_core: Iterable[str] = ()
) -> dict[str, Any]:
    """Every parameter of `target` with the value it will have, as its own type: tuples and sets as such.

    A parameter whose type is a dataclass takes a mapping of that class's own parameters, or an object of it. A target
    that takes `**anything` is given whatever else is there, to judge for itself.

    Raises BenchmarkError for a parameter that is unknown, missing, of a wrong type, or outside the bounds of its type
    (`Count`, `Positive`, `Annotated[int, Field(multiple_of=8)]`); nothing is converted but a list to the tuple or set
    that is asked for, and a whole number to a float.
    """
    typed = parameters(target, where, given_by_core)
    others = {name: value for name, value in params.items() if name not in typed}
    if others and not takes_any(target):
        raise unknown("parameter", str(next(iter(others))), typed, where)
    missing = [p for p in typed.values() if p.required and p.name not in params]
    if missing:
        raise BenchmarkError(
            f"{where}: the parameter '{missing[0].name}' must be given; it is {spell(missing[0].hint)}."
        )
    return {name: _typed(p, params.get(name, p.default), where) for name, p in typed.items()} | others


def as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same parameters in JSON types, sets in sorted order: what is stored, compared and hashed."""
    plain = {name: json.loads(json.dumps(value, default=_plain)) for name, value in values.items()}
    return dict(sorted(plain.items()))


def names_path(value: str) -> bool:
    """Whether a parameter points to files: a path is what holds a slash, and a file's name also what has an ending
    (`codes.tsv`). A word such as `search` must not change its meaning with the folder one stands in."""
    path = Path(os.path.expanduser(value))
    return "/" in value or bool(path.suffix and os.path.isfile(path))  # which is false for a text that no path can be


def absolute_paths(value: Any) -> Any:
    """Parameters with the paths among them made absolute: a model works in another directory than the command."""
    if isinstance(value, Mapping):
        return {name: absolute_paths(part) for name, part in value.items()}
    if isinstance(value, list):
        return [absolute_paths(part) for part in value]
    if isinstance(value, str) and names_path(value) and os.path.exists(value):
        return str(Path(value).absolute())
    return value


def takes_any(target: Callable[..., Any]) -> bool:
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in inspect.signature(target).parameters.values())


def init_values(settings: Any) -> dict[str, Any]:
    """What a dataclass object was made of, by name."""
    return {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings) if field.init}


def _typed(parameter: Parameter, value: Any, where: str) -> Any:
    import pydantic  # costs 0.1 s, and `benchmark list` checks no parameter

    hint = parameter.hint
    if is_settings(hint) and isinstance(value, Mapping | hint):
        kind = hint if isinstance(value, Mapping) else type(value)
        return _made(kind, value if isinstance(value, Mapping) else init_values(value), f"{parameter.name} of {where}")
    # Through JSON, because strict JSON is what YAML means: '3' is not a number, but a list is a fine tuple.
    try:
        text = json.dumps(value, default=_plain)
        if not is_settings(hint):
            return pydantic.TypeAdapter(hint).validate_json(text, strict=True)
        problem = ""
    except (TypeError, pydantic.ValidationError) as error:
        problem = _problem(error)
    got = f"{value!r} ({type(value).__name__})"
    text = f"{where}: the parameter '{parameter.name}' must be {spell(hint)}, got {got}."
    raise BenchmarkError(text + problem + _closest(hint, value))


def is_settings(hint: Any) -> bool:
    """Whether a parameter of this type is a group of parameters itself: its type is a dataclass."""
    return inspect.isclass(hint) and dataclasses.is_dataclass(hint)


def _made(kind: Callable[..., Any], params: Mapping[str, Any], where: str) -> Any:
    values = resolve_params(kind, params, where)
    try:
        return kind(**values)
    except BenchmarkError as error:
        raise type(error)(f"{where}: {error}") from error


def _problem(error: Exception) -> str:
    """What is wrong with a value of the right type, in pydantic's words, where the spelling of the type does not say
    it."""
    problems: list[Any] = error.errors() if hasattr(error, "errors") else []
    texts = dict.fromkeys(problem["msg"] for problem in problems if problem.get("ctx") and problem["type"] in _UNSPELT)
    return f" {'; '.join(texts)}." if texts else ""


_UNSPELT = {
    *("multiple_of", "finite_number", "string_too_short", "string_too_long", "string_pattern_mismatch"),
    *("too_short", "too_long", "value_error"),
}
"""The types of pydantic's errors about what `spell` leaves out."""


def _plain(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    if hasattr(value, "__fspath__"):
        return str(value)
    if dataclasses.is_dataclass(value):
        return init_values(value)
    raise TypeError(f"{value!r} is not a JSON value")


def _hint(target: Callable[..., Any], parameter: inspect.Parameter, where: str) -> Any:
    """The type of one parameter. Only this one is evaluated: others may be known to type checkers alone."""
    owner: Any = target
    if inspect.isclass(target):
        # A dataclass's own annotations, not those of its generated __init__, are read in the module that wrote them.
        homes = [
            c for c in target.__mro__ if dataclasses.is_dataclass(c) and parameter.name in inspect.get_annotations(c)
        ]
        owner = homes[0] if homes else target.__init__
    elif not inspect.isroutine(target):
        owner = type(target).__call__
    owner = inspect.unwrap(owner)
    annotation = inspect.get_annotations(owner).get(parameter.name, Any)
    try:
        holder = types.SimpleNamespace(__annotations__={parameter.name: annotation})
        return typing.get_type_hints(holder, vars(sys.modules[owner.__module__]), include_extras=True)[parameter.name]
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise ContractError(
            f"{where}: the type of the parameter '{parameter.name}' cannot be read at run time ({error}). "
            "Parameters take built-in types and Literal, imported outside of TYPE_CHECKING."
        ) from None


def _default(target: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    if dataclasses.is_dataclass(target):
        for field in dataclasses.fields(target):
            if field.name == parameter.name and field.default_factory is not dataclasses.MISSING:
                return field.default_factory()
    return parameter.default


def _choices(hint: Any) -> list[Any]:
    """The values of every Literal inside a type."""
    if typing.get_origin(hint) is typing.Literal:
        return list(typing.get_args(hint))
    return [choice for part in typing.get_args(hint) for choice in _choices(part)]


def _closest(hint: Any, value: Any) -> str:
    words = [choice for choice in _choices(hint) if isinstance(choice, str)]
    wrong = [
        v
        for v in (value if isinstance(value, list | tuple | dict) else [value])
        if isinstance(v, str) and v not in words
    ]
    close = difflib.get_close_matches(wrong[0], words, n=1, cutoff=0.5) if wrong else []
    return f" Did you mean '{close[0]}'?" if close else ""


def spell(hint: Any) -> str:
    """A type as a person would say it: "one of 'a', 'b' or None", "list of int of at least 1"."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is type(None):
        return "None"
    if is_settings(hint):
        return f"a mapping of {', '.join(field.name for field in dataclasses.fields(hint) if field.init)}"
    if origin is typing.Literal:
        return ("one of " if len(args) > 1 else "") + ", ".join(map(repr, args))
    if origin is typing.Annotated:
        bounds = _range(args[1:])
        if bounds and typing.get_args(args[0])[-1:] == (type(None),):
            return f"{' or '.join(spell(arg) for arg in typing.get_args(args[0])[:-1])} {bounds} or None"
        return f"{spell(args[0])} {bounds}".rstrip()
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(spell, args))
    if origin is dict:
        return f"a mapping from {spell(args[0])} to {spell(args[1])}"
    if origin is not None:
        inside = [spell(arg) for arg in args if arg is not ...]
        return f"{origin.__name__} of {', '.join(inside)}"
    return str(getattr(hint, "__name__", hint))


def _range(metadata: Iterable[Any]) -> str:
    """The bounds of an `Annotated` number in words; empty where it has none."""
    bounds: dict[str, Any] = {}
    for part in metadata:
        for bound in (part, *getattr(part, "metadata", ())):  # pydantic's Field has a list of them
            bounds |= {name: v for name in ("gt", "ge", "lt", "le") if (v := getattr(bound, name, None)) is not None}
    low, high = (f"{bounds[name]:,}" if name in bounds else "" for name in ("ge", "le"))
    above, below = (f"{bounds[name]:,}" if name in bounds else "" for name in ("gt", "lt"))
    if low and (high or below):
        return f"from {low} to {high or f'below {below}'}"
    lower = f"of at least {low}" if low else f"above {above}" if above else ""
    upper = f"of at most {high}" if high else f"below {below}" if below else ""
    return " and ".join(filter(None, (lower, upper)))
