"""A suite's file: its path, its content, and the line of every key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from benchmark.errors import BenchmarkError, unknown

SliceName = Literal["all", "head", "torso", "other-day"]
"""`other-day`: the requests that are later than the newest item of their history; Amazon's times are days."""
MAX_BYTES = 1_000_000
MAX_NESTING = 50
MAX_VALUES = 50_000
"""Of a YAML file, counted where an alias stands as often as it is used. The largest shipped suite has 4,000 values, ten
deep, in 45 kB."""
MAX_DIGITS = 100
"""Of a number or a date: reading a number takes time with the square of its length."""


@dataclass(frozen=True)
class SuiteFile:
    """A suite as written: its raw mapping, where it came from, and the line of every key."""

    path: Path
    raw: dict[str, Any]
    lines: Mapping[tuple[str | int, ...], int]


def shipped_suites() -> dict[str, Path]:
    """The suites that come with the package, by name."""
    home = Path(__file__).resolve().parents[1]
    folder = home / "suites" if (home / "suites").is_dir() else home.parent / "suites"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def read_suite(source: str) -> SuiteFile:
    """Read a suite file, or a shipped suite by name. Raises BenchmarkError where there is none or it is not YAML."""
    path = Path(source)
    if not path.is_file():
        shipped = shipped_suites()
        if source not in shipped:
            if path.suffix in (".yaml", ".yml") or "/" in source:
                raise BenchmarkError(
                    f"there is no suite file '{source}'. Shipped suites, by name: {', '.join(shipped)}."
                )
            raise unknown("suite", source, shipped)
        path = shipped[source]
    raw, node = read_yaml(path)
    if not isinstance(raw, dict):
        raise BenchmarkError(f"{path} is not a suite: it must be a mapping with name, datasets, models and metrics.")
    return SuiteFile(path, raw, dict(_lines(node, ())))


def read_yaml(path: Path) -> tuple[Any, yaml.Node | None]:
    """The value of a YAML file, and its nodes. Raises OSError, and BenchmarkError for what `parse_yaml` refuses."""
    if path.stat().st_size > MAX_BYTES:
        raise BenchmarkError(
            f"{path} has {path.stat().st_size:,} bytes; {MAX_BYTES:,} are allowed. Take out what is not a "
            "setting: data belongs in files of its own."
        )
    try:
        return parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise BenchmarkError(f"{path} is not valid YAML: {error}. Save it as UTF-8.") from error


def parse_yaml(text: str, source: str) -> tuple[Any, yaml.Node | None]:
    """The value of a YAML text, and its nodes. Raises BenchmarkError, with the line in `source`, for what is not YAML,
    and for what could take hours or all memory to read: nesting, aliases of aliases, numbers of many digits."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is not None:
            _check_nodes(node, source)
        return (None if node is None else loader.construct_document(node)), node
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{source}:{mark.line + 1}" if mark else source
        raise BenchmarkError(f"{place} is not valid YAML: {getattr(error, 'problem', None) or error}.") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # Raised by PyYAML for a value that its type cannot have: 2024-13-45, or `!!bool maybe`.
        raise BenchmarkError(f"{source} is not valid YAML: a date or a tagged value is wrong ({error}).") from error


class _Loader(yaml.SafeLoader):
    """Refuses deep nesting before it is read: PyYAML goes down a level by calling itself."""

    nesting = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            mark = parent.start_mark if parent else None
            raise yaml.MarkedYAMLError(problem=f"more than {MAX_NESTING} levels are nested", problem_mark=mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.nesting -= 1
        return node


Refuse = Callable[[yaml.Node, str], BenchmarkError]


def _check_nodes(root: yaml.Node, source: str) -> None:
    """Raises BenchmarkError for what PyYAML would accept: aliases that grow, keys that are duplicates or not strings,
    numbers of many digits, halves of characters."""
    measured: dict[int, tuple[int, int] | None] = {}

    def refuse(node: yaml.Node, why: str) -> BenchmarkError:
        return BenchmarkError(f"{source}:{node.start_mark.line + 1}: {why}")

    def measure(node: yaml.Node) -> tuple[int, int]:
        """How many values this one is, and how many levels, when its aliases are written out."""
        if id(node) in measured:
            cached = measured[id(node)]
            if cached is None:
                raise refuse(node, "an alias in it contains itself. Write out its value.")
            return cached
        measured[id(node)] = None
        children: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            _check_keys(node, refuse)
            children = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        else:
            _check_scalar(node, refuse)
        inner = [measure(child) for child in children]
        size, levels = 1 + sum(n for n, _ in inner), 1 + max((n for _, n in inner), default=0)
        if size > MAX_VALUES:
            raise refuse(
                node, f"more than {MAX_VALUES:,} values, when aliases are written out. Split it into several suites."
            )
        if levels > MAX_NESTING:
            raise refuse(node, f"more than {MAX_NESTING} levels are nested when aliases are written out.")
        measured[id(node)] = size, levels
        return size, levels

    measure(root)


def _check_keys(node: yaml.MappingNode, refuse: Refuse) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if key.tag == "tag:yaml.org,2002:merge":
            continue
        if key.tag != "tag:yaml.org,2002:str":
            written = f"'{key.value}'" if isinstance(key, yaml.ScalarNode) else "a list or a mapping"
            raise refuse(key, f"a key must be a string, and YAML reads {written} as something else. Put it in quotes.")
        if key.value in seen:  # YAML silently keeps the last
            raise refuse(key, f"duplicate key '{key.value}'.")
        seen.add(key.value)


def _check_scalar(node: yaml.Node, refuse: Refuse) -> None:
    if node.tag != "tag:yaml.org,2002:str" and len(node.value) > MAX_DIGITS:
        raise refuse(node, f"no number or date has more than {MAX_DIGITS} characters. Put a text in quotes.")
    if any("\ud800" <= character <= "\udfff" for character in node.value):
        raise refuse(node, "a text holds half of a character (\\ud800 to \\udfff). Write the whole one, as UTF-8.")


def _lines(node: yaml.Node | None, place: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], int]]:
    """The line of every key and list entry."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*place, str(key.value)), key.start_mark.line + 1
            yield from _lines(value, (*place, str(key.value)))
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            yield (*place, i), value.start_mark.line + 1
            yield from _lines(value, (*place, i))
