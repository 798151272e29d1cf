"""How a suite's file becomes the settings of one run: a profile laid over it, `--set`, and entries that are `like`
others; on plain mappings, before anything is validated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.errors import BenchmarkError, unknown
from benchmark.suite.file import parse_yaml

NAMED = ("datasets", "models")
"""The lists of a suite whose entries are addressed by name, in profiles and in `--set`."""


def name_entries(raw: Mapping[str, Any]) -> None:
    """Call an entry without a `name` by its `use`."""
    for kind in NAMED:
        for entry in _entries(raw, kind):
            if "use" in entry:
                entry["name"] = entry.get("name") or entry["use"]


def merge(base: Any, change: Any, key: str = "", top: bool = True) -> Any:
    """`change` laid over `base`: mappings merge, entries of named lists merge by name, all else replaces."""
    if top and key in NAMED and isinstance(base, list) and isinstance(change, list):
        return _merge_entries(base, change, key)
    if isinstance(base, dict) and isinstance(change, dict):
        return {**base, **{k: merge(base.get(k), v, k, top and not key) for k, v in change.items()}}
    return change


def _merge_entries(base: Sequence[Any], change: Sequence[Any], key: str) -> list[Any]:
    merged = list(base)
    names = [entry.get("name") if isinstance(entry, dict) else None for entry in merged]
    for entry in change:
        name = entry.get("name", entry.get("use")) if isinstance(entry, dict) else None
        if isinstance(entry, dict) and name in names:
            row = names.index(name)
            origin = ("use", "like")
            if any(word in entry for word in origin) and any(entry.get(w) != merged[row].get(w) for w in origin):
                merged[row] = entry
            else:
                merged[row] = merge(merged[row], entry, top=False)
        elif isinstance(entry, dict) and not {"use", "like"} & entry.keys():
            raise unknown(key[:-1], str(name), [str(n) for n in names], "the profile")
        else:
            merged.append({"name": name, **entry} if isinstance(entry, dict) else entry)
            names.append(name)
    return merged


def set_value(raw: dict[str, Any], setting: str) -> None:
    """Apply one `path=value`, such as `models.Gen_R.params.epochs=3`."""
    path, equals, text = setting.partition("=")
    keys = path.split(".")
    if not equals or not all(keys):
        raise BenchmarkError(f"--set {setting}: write it as path=value, such as models.Gen_R.params.epochs=3.")
    place: Any = raw
    for depth, key in enumerate(keys[:-1]):
        if isinstance(place, list):
            place = _entry(place, key, setting)
        elif isinstance(place, dict):
            place = place.setdefault(key, [] if depth == 0 and key in NAMED else {})
        else:
            raise BenchmarkError(f"--set {setting}: '{'.'.join(keys[:depth])}' holds no keys.")
    if not isinstance(place, dict):
        raise BenchmarkError(f"--set {setting}: '{'.'.join(keys[:-1])}' holds no keys.")
    place[keys[-1]] = parse_yaml(text, f"--set {setting}")[0]


def _entry(entries: Sequence[Any], name: str, setting: str) -> Any:
    named = {str(e.get("name")): e for e in entries if isinstance(e, dict)}
    if name not in named:
        raise unknown("name", name, named, f"--set {setting}")
    return named[name]


def take_likes(raw: dict[str, Any], parts: Sequence[Any]) -> None:
    """Give each model that is `like` another the other's `use` and parameters, and lay its own over these.

    `parts` are the file and its profiles: a parameter that an entry goes `without` may be set in another profile only.
    """
    models = {str(entry.get("name")): entry for entry in _entries(raw, "models")}
    stated: dict[str, set[str]] = {}
    for entry in (entry for part in parts if isinstance(part, dict) for entry in _entries(part, "models")):
        if isinstance(entry.get("params"), dict):
            stated.setdefault(str(entry.get("name")), set()).update(map(str, entry["params"]))
    whole: dict[str, Mapping[str, Any]] = {}

    def taken(entry: Mapping[str, Any]) -> Mapping[str, Any]:
        chain = _chain(entry, models)
        start = next((n for n, one in enumerate(chain) if str(one.get("name")) in whole), len(chain) - 1)
        base = whole.get(str(chain[start].get("name")), chain[start])
        for one in reversed(chain[:start]):
            whole[str(one["name"])] = base = _laid_over(base, one, stated)
        return base

    for name, entry in models.items():
        if "without" in entry and "like" not in entry:
            raise BenchmarkError(f"model '{name}' has `without` and no `like`. Drop it, or say which model it is like.")
    if isinstance(raw.get("models"), list):
        raw["models"] = [taken(e) if isinstance(e, dict) and "like" in e else e for e in raw["models"]]


def _chain(entry: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The entry, the one that it is like, the one that that is like, …"""
    chain, names = [entry], [str(entry.get("name"))]
    while "like" in (last := chain[-1]):
        name, other = names[-1], last["like"]
        if not last.get("name"):
            raise BenchmarkError(f"a model that is like '{other}' has no name. Give it a `name:` of its own.")
        if "use" in last:
            raise BenchmarkError(f"model '{name}' has both `use` and `like`. Its `use` is that of '{other}': drop it.")
        if not isinstance(other, str) or other not in models:
            raise unknown("model", str(other), models, f"`like` of model '{name}'")
        if other in names:
            circle = " is like ".join([*names[names.index(other) :], other])
            raise BenchmarkError(f"models are like each other in a circle: {circle}. Give one of them a `use`.")
        chain.append(models[other])
        names.append(other)
    return chain


def _laid_over(other: Mapping[str, Any], entry: Mapping[str, Any], stated: Mapping[str, set[str]]) -> Mapping[str, Any]:
    """The entry with the other's `use` and parameters below its own; what the schema will refuse is left as it is."""
    params, changes, without = other.get("params", {}), entry.get("params", {}), entry.get("without", [])
    if not isinstance(params, dict) or not isinstance(changes, dict) or not isinstance(without, list):
        return {**entry, "use": other.get("use")}
    names = params.keys() | stated.get(str(other.get("name")), set()) if without else ()
    for key in without:
        if str(key) not in names:
            raise unknown("parameter", str(key), names, f"`without` of model '{entry['name']}'")
    kept = {key: value for key, value in params.items() if key not in without}
    return {**entry, "use": other.get("use"), "params": merge(kept, changes, top=False)}


def _entries(raw: Mapping[str, Any], kind: str) -> list[Any]:
    entries = raw.get(kind)
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
