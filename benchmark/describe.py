"""What can be written: the parameters of what a plugin offers, and the keys of a suite, each with type, default and
meaning, read from the code that checks them."""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from benchmark.errors import unknown
from benchmark.parameters import Parameter, as_json, init_values, is_settings, parameters, spell
from benchmark.plugins import GIVEN, Offer, Registry, resolve
from benchmark.strict import part_in
from benchmark.suite.schema import WrittenSuite

REQUIRED = "must be given"


@dataclass(frozen=True)
class Entry:
    """One parameter or key: `name` with dots where it is inside another, `default` as a suite writes it (empty for a
    group, whose parts have their own), `meaning` empty where the code says none."""

    name: str
    type: str
    default: str
    meaning: str


def offers_called(name: str, registry: Registry) -> list[Offer]:
    """All offers of this name, of any kind. Raises BenchmarkError with the closest name where there is none."""
    tables = registry.tables.values()
    offers = [table[name] for table in tables if name in table]
    if not offers:
        kinds = "data set, model, metric, analysis, executor, command or options"
        raise unknown(kinds, name, {known for table in tables for known in table})
    return offers


def docstring(offer: Offer) -> str:
    """What the plugin says of an offer. Raises BenchmarkError where a module that it imports is missing."""
    return _ARGUMENTS.sub("", inspect.cleandoc(_documented(resolve(offer)).__doc__ or ""))


def parameter_entries(offer: Offer) -> list[Entry]:
    """The parameters of an offer, those of nested settings after the group they belong to; analyses, executors and
    commands have none."""
    if offer.kind in ("analysis", "executor", "command"):
        return []
    target = resolve(offer)
    return list(_entries(target, parameters(target, str(offer), GIVEN[offer.kind]), ""))


def _entries(target: Any, known: Mapping[str, Parameter], prefix: str) -> Iterator[Entry]:
    texts = meanings(target) if inspect.isclass(target) else arguments(target)
    for p in known.values():
        name, group = f"{prefix}{p.name}", is_settings(p.hint)
        default = REQUIRED if p.required else "" if group else _written(p.default)
        yield Entry(name, "settings" if group else spell(p.hint), default, texts.get(p.name, ""))
        if group:
            # The parameter's own default may differ from those of its class.
            values = {} if p.required else init_values(p.default)
            inner = parameters(p.hint, name)
            own = {key: Parameter(key, q.hint, values.get(key, q.default)) for key, q in inner.items()}
            yield from _entries(p.hint, own, f"{name}.")


def suite_keys() -> list[Entry]:
    """Every key of a suite file, in the order of the schema; `[]` stands for each entry of a list."""
    return list(_keys(WrittenSuite, ""))


def _keys(model: type[BaseModel], prefix: str) -> Iterator[Entry]:
    homes = {field.annotation: name for name, field in WrittenSuite.model_fields.items()}
    texts = meanings(model)
    for name, field in model.model_fields.items():
        inner = part_in(field.annotation)
        default = REQUIRED if field.is_required() else _default(field)
        if inner is None:
            hint = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
            yield Entry(prefix + name, spell(hint), default, texts.get(name, ""))
            continue
        kind, path = _shape(field.annotation, inner)
        elsewhere = bool(prefix) and inner in homes
        same = f", with the keys of `{homes[inner]}`" if elsewhere else ""
        yield Entry(prefix + name, kind + same, default, texts.get(name, ""))
        if not elsewhere:
            yield from _keys(inner, f"{prefix}{name}{path}.")


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    return "" if isinstance(value, BaseModel) else _written(value)


def _shape(hint: Any, model: type[BaseModel]) -> tuple[str, str]:
    """How a type holds a part of a suite in words, and what that adds to the names of the part's keys."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is model:
        return "a mapping", ""
    if origin is list:
        inner, path = _shape(args[0], model)
        return f"list of {inner.removeprefix('a ')}s", f"[]{path}"
    if origin is dict:
        inner, path = _shape(args[1], model)
        return f"a mapping from {spell(args[0])} to {inner}", f".*{path}"
    if origin in (typing.Union, types.UnionType):
        inner, path = _shape(next(arg for arg in args if part_in(arg)), model)
        return f"{inner} or None", path
    return _shape(args[0], model)


def meanings(kind: type) -> dict[str, str]:
    """The docstrings below the fields of a class and of those it inherits from, by the field's name."""
    texts: dict[str, str] = {}
    for owner in reversed(kind.__mro__):
        try:
            body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
        except (OSError, TypeError):  # a built-in class, or one that was made without a file
            continue
        assert isinstance(body, ast.ClassDef)
        for line, after in zip(body.body, body.body[1:], strict=False):
            if not isinstance(line, ast.AnnAssign) or not isinstance(line.target, ast.Name):
                continue
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                texts[line.target.id] = " ".join(str(after.value.value).split())
    return texts


def arguments(function: Any) -> dict[str, str]:
    """What the docstring of a function says of its arguments below `Args:`, by name."""
    block = _ARGUMENTS.search(inspect.cleandoc(_documented(function).__doc__ or ""))
    entries = re.findall(r"^    (\w+): (.*(?:\n     .*)*)", block["lines"], re.MULTILINE) if block else []
    return {name: " ".join(text.split()) for name, text in entries}


_ARGUMENTS = re.compile(r"^Args:\n(?P<lines>(?:    .*\n?)+)\n?", re.MULTILINE)


def _documented(target: Any) -> Any:
    return target if inspect.isclass(target) or inspect.isroutine(target) else type(target)


def _written(value: Any) -> str:
    """A default as a suite would say it; a number without digits that mean nothing."""
    (plain,) = as_json({"": value}).values()
    return json.dumps(plain, ensure_ascii=False)
