"""One word names a plugin everywhere, every suite file can run, and every hook is real, tested and described."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from benchmark import hookspecs
from benchmark.plugins import Registry, check_params, load
from benchmark.suite.file import shipped_suites
from benchmark.suite.load import load_suite
from benchmark.suite.published import load_published

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORDS = PROJECT["entry-points"]["benchmark"]
LIBRARIES = {"torch"}
"""Folders of plugins/ that plugins import, and that are none: no entry point, no extra."""
HOOKS = sorted(name for name in vars(hookspecs) if name.startswith("benchmark_"))


def stems(folder: Path, prefix: str) -> set[str]:
    found = [*folder.glob(f"{prefix}*.py"), *(path.parent for path in folder.glob(f"{prefix}*/__init__.py"))]
    return {path.stem.removeprefix(prefix) for path in found}


def test_one_word_names_a_plugin_everywhere() -> None:
    words = set(WORDS)
    assert {word: f"benchmark_{word}" for word in words} == WORDS
    assert stems(ROOT / "plugins", "benchmark_") == words | LIBRARIES
    assert set(PROJECT["optional-dependencies"]) - {"all", "dev"} == words
    assert PROJECT["optional-dependencies"]["all"] == [f"{PROJECT['name']}[{','.join(sorted(words))}]"]
    tests = stems(ROOT / "tests" / "plugins", "test_")
    words |= LIBRARIES
    assert words <= tests
    # A large plugin may have further files: test_<word>_<part>.py.
    assert {stem for stem in tests - words if not any(stem.startswith(f"{word}_") for word in words)} == set()


def test_every_built_in_plugin_works() -> None:
    registry = load()
    built_in = {plugin.word: plugin.error for plugin in registry.plugins if plugin.distribution == PROJECT["name"]}
    assert built_in == dict.fromkeys(sorted(WORDS), "")


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load()


def suites_and_profiles() -> Iterator[tuple[str, str | None]]:
    for path in sorted((ROOT / "suites").glob("*.yaml")):
        yield path.stem, None
        yield from (
            (path.stem, profile) for profile in yaml.safe_load(path.read_text(encoding="utf-8")).get("profiles", {})
        )


@pytest.mark.parametrize(("name", "profile"), list(suites_and_profiles()))
def test_every_suite_can_be_planned(name: str, profile: str | None, registry: Registry) -> None:
    suite, path = load_suite(name, profile)
    assert suite.name == name
    for choice in suite.datasets:
        check_params(registry.offer("dataset", choice.use), choice.params)
    for choice in suite.models:
        check_params(registry.offer("model", choice.use), choice.params)
    for metric in suite.metrics:
        registry.metric(metric)
    for analysis in suite.analyses:
        registry.offer("analysis", analysis)
    if suite.published:
        assert load_published(path.parent / suite.published)


def test_suites_are_found_by_name() -> None:
    assert sorted(shipped_suites()) == sorted(path.stem for path in (ROOT / "suites").glob("*.yaml"))


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_implemented_tested_and_described(hook: str) -> None:
    def names(*folders: str) -> list[Path]:
        files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
        return [path for path in files if path != Path(__file__) and hook in path.read_text(encoding="utf-8")]

    assert names("plugins"), f"no plugin implements {hook}"
    assert names("tests"), f"no test uses {hook}"
    page = (ROOT / "docs" / "your-model.md").read_text(encoding="utf-8")
    assert f"| `{hook}` |" in page, f"docs/your-model.md does not describe {hook}"
