"""A suite's file: where it is, what it says, and the line of every key in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmark.errors import BenchmarkError, unknown


@dataclass(frozen=True)
class SuiteFile:
    """A suite as written: its raw mapping, where it came from, and the line of every key."""

    path: Path
    raw: dict[str, Any]
    lines: Mapping[tuple[str | int, ...], int]


def shipped_suites() -> dict[str, Path]:
    """The suites that come with the package, by name."""
    home = Path(__file__).resolve().parent
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
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, yaml.SafeLoader)
        lines = dict(_lines(node, (), path))
        raw = yaml.safe_load(text)
    except RecursionError as error:
        raise BenchmarkError(f"{path} is not a suite: an alias in it holds itself.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        at = f":{mark.line + 1}" if mark else ""
        raise BenchmarkError(f"{path}{at} is not valid YAML: {getattr(error, 'problem', error)}.") from error
    if not isinstance(raw, dict):
        raise BenchmarkError(f"{path} is not a suite: it must be a mapping with name, datasets, models and metrics.")
    return SuiteFile(path, raw, lines)


def _lines(
    node: yaml.Node | None, place: tuple[str | int, ...], path: Path
) -> Iterator[tuple[tuple[str | int, ...], int]]:
    """The line of every key. Raises BenchmarkError for a key given twice, of which YAML silently keeps the last."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            inner = (*place, str(key.value))
            if key.value in seen:
                raise BenchmarkError(
                    f"{path}:{key.start_mark.line + 1}: '{key.value}' stands here for the second time."
                )
            seen.add(str(key.value))
            yield inner, key.start_mark.line + 1
            yield from _lines(value, inner, path)
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            yield (*place, i), value.start_mark.line + 1
            yield from _lines(value, (*place, i), path)
