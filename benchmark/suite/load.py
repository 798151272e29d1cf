"""A suite file with a profile and `--set` becomes a `Suite`, checked whole before anything runs."""

from __future__ import annotations

import copy
import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import (
    BaseModel,
    ValidationError,
)

from benchmark.errors import BenchmarkError, unknown
from benchmark.strict import part_in
from benchmark.suite.expectation import EXPECT_WORDS, parse_expectation
from benchmark.suite.file import SuiteFile, read_suite
from benchmark.suite.profiles import merge, name_entries, set_value, take_likes
from benchmark.suite.published import Published, load_published
from benchmark.suite.schema import (
    MAX_CELLS,
    MAX_ENTRIES,
    NEW,
    Claim,
    ClaimBlock,
    Settings,
    Suite,
    WrittenSuite,
    matches,
)


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
        raise BenchmarkError("\n".join(_explain(file, chosen, e) for e in error.errors())) from error
    _check_patterns(written, [raw, file.raw, *profiles.values()], file.path)
    settings_of_all = {name: getattr(written, name) for name in Settings.model_fields}
    suite = Suite(**settings_of_all, claims=list(_claims(written, file.path)))
    check_names(suite, file.path)
    return suite, file.path


def _whole_protocols(raw: dict[str, Any]) -> None:
    """Lay a data set's own protocol over the suite's, so that a resolved suite states it in full."""
    common = raw.get("protocol") or {}
    for entry in raw["datasets"] if isinstance(raw.get("datasets"), list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("protocol"), dict) and isinstance(common, dict):
            entry["protocol"] = {**common, **entry["protocol"]}


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
    models = {model.name for model in suite.models if model.name in re.split(EXPECT_WORDS, expect.strip())}
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


def _explain(file: SuiteFile, profile: str, error: Any) -> str:
    """One line about a mistake, with the line of its key in the suite or else in the profile."""
    loc = tuple(error["loc"])
    parts = [(*home, *loc[:n]) for n in range(len(loc), 0, -1) for home in ((), ("profiles", profile))]
    line = next((file.lines[part] for part in parts if part in file.lines), None)
    place = f"{file.path}:{line}" if line else str(file.path)
    key = ".".join(str(part) for part in loc)
    if error["type"] == "extra_forbidden":
        return f"{place}: unknown key '{key}'.{_hint(loc)}"
    if error["type"] == "missing":
        return f"{place}: '{key}' is missing; add it."
    message = error["msg"].removeprefix("Value error, ")
    value = f" (given: {error['input']!r})" if not isinstance(error["input"], dict | list) else ""
    return f"{place}: '{key}': {message[0].lower()}{message[1:]}{value}."


def _hint(loc: tuple[Any, ...]) -> str:
    """What an unknown key may have been meant for: a key with a similar name, or the same key in another place."""
    name, part = str(loc[-1]), _part_at(loc[:-1])
    close = difflib.get_close_matches(name, sorted(part.model_fields), n=1)
    places = _places(part, name, "its " if len(loc) > 1 else "") or _places(WrittenSuite, name)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    hint += f" '{name}' belongs in {' or '.join(places)}." if places else ""
    return hint or f" Known: {', '.join(sorted(part.model_fields))}."


def _part_at(loc: tuple[Any, ...]) -> type[BaseModel]:
    """The class with the keys of this place of a suite."""
    part: type[BaseModel] = WrittenSuite
    for key in loc:
        if isinstance(key, str) and key in part.model_fields:
            part = part_in(part.model_fields[key].annotation) or part
    return part


def _places(part: type[BaseModel], name: str, owner: str = "") -> list[str]:
    """Where this part of a suite, or one in it, has a key of this name. A part that occurs twice counts once, where it
    is nearest."""
    places, seen = [], {part}
    waiting: list[tuple[type[BaseModel], list[str]]] = [(part, [])]
    for here, path in waiting:
        if name in here.model_fields:
            places.append(f"{owner}`{' '.join(path)}`" if path else "the suite itself")
        for key, field in here.model_fields.items():
            inner = part_in(field.annotation)
            if inner and inner not in seen:
                seen.add(inner)
                waiting.append((inner, [*path, f"{key}:"]))
    return places


def _repeated(values: Sequence[Any]) -> list[Any]:
    """Values that occur more than once, in the order of the list."""
    return [value for value, count in Counter(values).items() if count > 1]


def check_names(suite: Suite, path: Path) -> None:
    """Raises BenchmarkError for names that are not unique, and for comparisons and lists of what the suite lacks."""
    for kind, entries in (("data set", suite.datasets), ("model", suite.models)):
        duplicates = _repeated([entry.name for entry in entries])
        if duplicates:
            raise BenchmarkError(f"{path}: two {kind}s are called '{duplicates[0]}'. Give each its own `name:`.")
    cells = len(suite.datasets) * sum(len(suite.seeds_of(entry.name)) for entry in suite.models)
    if cells > MAX_CELLS:
        raise BenchmarkError(f"{path}: up to {cells:,} cells are asked for, and {MAX_CELLS:,} are allowed. Take fewer.")
    pairs = [
        (model, baseline, entry.primary, entry.task, entry.slice, entry.metric)
        for entry, model, baseline in suite.pairs
    ]
    lists: dict[str, Sequence[Any]] = {
        "seeds": suite.seeds, "metrics": suite.metrics, "slices": suite.slices, "analyses": suite.analyses,
        **{f"seeds of {entry.name}": entry.seeds for entry in suite.models if entry.seeds},
    }  # fmt: skip
    for key, values in lists.items():
        duplicates = _repeated(values)
        if duplicates:
            raise BenchmarkError(f"{path}: {key} holds {duplicates[0]!r} twice. Take one of them out.")
    for model, baseline, *_ in _repeated(pairs):
        raise BenchmarkError(f"{path}: compare tests '{model}' against '{baseline}' twice. Take one of them out.")
    if suite.primary_metric and suite.primary_metric not in suite.metrics:
        raise unknown("metric", suite.primary_metric, suite.metrics, f"primary_metric of {path}")
    for entry in suite.compare:
        for kind, name, names in (("metric", entry.metric, suite.metrics), ("slice", entry.slice, suite.slices)):
            if name and name not in names:
                raise unknown(kind, name, names, f"compare of {path}")
    for model, baseline, *_ in pairs:
        if model == baseline:
            raise BenchmarkError(f"{path}: compare tests '{model}' against itself.")
    for protocol in (suite.protocol, *(data.protocol for data in suite.datasets if data.protocol)):
        for task, samplers in protocol.candidates.items():
            names = [sampler.list_name for sampler in samplers]
            duplicates = _repeated(names)
            if duplicates:
                raise BenchmarkError(f"{path}: candidates of {task}: two lists are called '{duplicates[0]}'. Drop one.")
            if NEW in names:
                raise BenchmarkError(
                    f"{path}: candidates of {task}: '{NEW}' is the name of the list without the items of the "
                    "history. Take another name."
                )
    models = [entry.name for entry in suite.models]
    for data in suite.datasets:
        for pattern in data.models:
            if not any(matches(model, [pattern.removeprefix("!")]) for model in models):
                raise unknown("model", pattern, models, f"data set '{data.name}' of {path}")
    for comparison in suite.compare:
        for name in (*comparison.model, *comparison.against):
            if name not in models:
                raise unknown("model", name, models, f"compare of {path}")
