"""What the README and the pages of docs/ show works: code runs, suites are valid, generated parts are current."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pluggy
import pytest
import yaml
from conftest import ROOT
from write_readme import (
    EXCERPTS,
    FOLDERS,
    KEYS,
    first_sentence,
    names_for_tests,
    pages,
    public_names,
    rendered,
    suite_keys_page,
)

import benchmark
from benchmark import AnalysisInput, Execution, Job, hookspecs
from benchmark.cli import _parse
from benchmark.contract import check_analysis
from benchmark.plugins import Registry, check_params, load
from benchmark.suite.load import load_suite
from benchmark.testing import check_dataset, check_metric, check_model, checkerboard

README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = ROOT / "docs"
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Block:
    """A code block of a page, with its language."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(*languages: str) -> list[Any]:
    return [pytest.param(block, id=str(block)) for block in BLOCKS if block.language in languages]


def _blocks() -> Iterator[Block]:
    for page in pages():
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            yield Block(page, text[: match.start()].count("\n") + 1, match[1], match[2])


BLOCKS = list(_blocks())


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load()


def test_every_block_is_of_a_language_that_is_tested() -> None:
    # text: trees, flows and the generated help.
    assert {block.language for block in BLOCKS} == {"python", "yaml", "sh", "toml", "csv", "text"}


@pytest.mark.parametrize("block", blocks("python"))
def test_python_runs_and_passes_the_contract(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    targets = re.findall(r'"(benchmark_\w+):\w+"', block.text)
    name = targets[0] if targets else "benchmark_of_a_page"
    (tmp_path / f"{name}.py").write_text(block.text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        _check_plugin(importlib.import_module(name), tmp_path)
    finally:
        del sys.modules[name]
        importlib.invalidate_caches()


def _check_plugin(module: ModuleType, folder: Path) -> None:
    """Hold everything that a module offers against the contract."""
    manager = pluggy.PluginManager(hookspecs.NAME)
    manager.add_hookspecs(hookspecs)
    manager.register(module)
    manager.check_pending()

    def offers(hook: str) -> list[Any]:
        made: Mapping[str, str] = getattr(module, hook, dict)()
        return [getattr(module, target.partition(":")[2]) for target in made.values()]

    for model in offers("benchmark_models"):
        check_model(model, min_success=0.0)
    for metric in offers("benchmark_metrics"):
        check_metric(metric, high=None)
    for reader in offers("benchmark_datasets"):
        check_dataset(reader)
    data = checkerboard()
    for analysis in offers("benchmark_analyses"):
        run = AnalysisInput(["checkerboard"], [], lambda name: data, lambda cell, task: pytest.fail("no cells"))
        check_analysis(analysis(run))
    jobs = [Job(folder, (sys.executable, "-c", f"raise SystemExit({code})"), folder / "log.txt") for code in (0, 1, 3)]
    for executor in offers("benchmark_executors"):
        ended = executor(jobs, Execution(parallel=1), lambda *told: None)
        assert [bool(error) for _, error in ended] == [False, False, True]
    for command in offers("benchmark_commands"):
        parser = argparse.ArgumentParser()
        assert command(parser)(parser.parse_args(["--results", str(folder)])) == 0


def test_the_readmes_plugin_fits_one_screen() -> None:
    (code,) = [block.text for block in BLOCKS if block.language == "python" and block.page.name == "README.md"]
    assert len(code.splitlines()) <= 50


BASE = """
name: base
datasets: [{use: movielens, name: ML}]
models:
  - {use: popular, name: Pop}
  - {use: sasrec, name: "SASRec[CE]", params: {loss: CE}}
  - {use: tiger, name: TIGER}
metrics: [R@10]
protocol: {candidates: {recommendation: {kind: uniform, n: 99}, search: {kind: bm25, n: 99}}}
"""


@pytest.mark.parametrize("block", blocks("yaml"))
def test_yaml_is_a_suite_or_a_part_of_one(block: Block, tmp_path: Path, registry: Registry) -> None:
    given = yaml.safe_load(block.text)
    if isinstance(given, list):
        given = {"models": given}
    whole = given if "name" in given else {**yaml.safe_load(BASE), **given}
    path = tmp_path / f"{whole['name']}.yaml"
    path.write_text(yaml.safe_dump(whole, sort_keys=False), encoding="utf-8")
    for profile in (None, *whole.get("profiles", {})):
        suite, _ = load_suite(str(path), profile)
        for kind, entries in (("dataset", suite.datasets), ("model", suite.models)):
            for entry in entries:
                check_params(registry.offer(kind, entry.use), entry.params)  # type: ignore[arg-type]
        for metric in suite.metrics:
            registry.metric(metric)
        for analysis in suite.analyses:
            registry.offer("analysis", analysis)


@pytest.mark.parametrize("block", blocks("sh"))
def test_commands_and_their_options_exist(block: Block, capsys: pytest.CaptureFixture[str]) -> None:
    for line in block.text.splitlines():
        command, *words = shlex.split(line, comments=True)
        match Path(command).name:
            case "make":
                assert all(re.search(rf"^{word}:", MAKEFILE, re.MULTILINE) for word in words), line
            case "benchmark":
                options = _parse(words)
                if hasattr(options, "suite") and options.suite != "ours.yaml":
                    source = options.suite.replace("suites/", str(ROOT / "suites") + "/")
                    load_suite(source, options.profile, options.settings)
            case "pip" | "python3" | "pytest":
                assert words
            case _:
                pytest.fail(f"no test knows the command {command}: {line}")


@pytest.mark.parametrize("block", blocks("toml"))
def test_entry_points_name_modules(block: Block) -> None:
    (points,) = tomllib.loads(block.text)["project"]["entry-points"].values()
    assert all(module == f"benchmark_{word}" for word, module in points.items())


@pytest.mark.parametrize("block", blocks("csv"))
def test_tables_are_read(block: Block, tmp_path: Path) -> None:
    from benchmark_files import files

    (tmp_path / "searches.csv").write_text(block.text, encoding="utf-8")
    (tmp_path / "interactions.csv").write_text("user,item,time\nann,B01,1\nann,B07,2\n", encoding="utf-8")
    log = files(str(tmp_path))
    assert log.searches is not None
    assert len(log.searches.query) == len(pd.read_csv(tmp_path / "searches.csv"))


def test_the_plain_commands_are_those_of_the_makefile() -> None:
    for command in ("pytest -n 2 --dist loadfile", "pip install", "benchmark run suites/penha2024.yaml"):
        assert command in README
        assert command in MAKEFILE


def test_the_readme_has_at_most_220_lines() -> None:
    assert len(README.splitlines()) <= 220


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_generated_parts_are_current(page: Path) -> None:
    assert rendered(page) == page.read_text(encoding="utf-8"), "run: python tests/write_readme.py"


def test_the_page_of_suite_keys_is_current() -> None:
    assert KEYS.read_text(encoding="utf-8") == suite_keys_page(), "run: python tests/write_readme.py"


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)\s]*\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).is_file()]
    assert not missing


def test_every_page_is_in_the_navigation_and_on_the_home_page() -> None:
    def paths(entries: Any) -> Iterator[str]:
        if isinstance(entries, str):
            yield entries
        else:
            for entry in entries.values() if isinstance(entries, dict) else entries:
                yield from paths(entry)

    there = sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
    assert sorted(paths(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])) == there
    home = (DOCS / "index.md").read_text(encoding="utf-8")
    assert [page for page in there if f"({page})" not in home] == ["index.md"]


def test_every_module_says_what_it_holds() -> None:
    for path in sorted([*(ROOT / "benchmark").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]):
        assert first_sentence(path), f"{path} opens without a sentence"


def test_every_folder_of_the_tree_is_there() -> None:
    assert all((ROOT / folder).is_dir() for folder in FOLDERS)


def test_every_public_name_is_described() -> None:
    assert set(public_names()) == set(benchmark.__all__)
    assert [name for name, text in public_names().items() if not text] == []
    assert {"checkerboard", "check_model", "check_dataset", "check_metric", "check_analysis"} <= set(names_for_tests())


def test_every_suite_shows_its_results() -> None:
    for suite in EXCERPTS:
        assert f"<!-- end of {suite} -->" in (DOCS / "suites" / f"{suite}.md").read_text(encoding="utf-8")
    assert "<!-- end of penha2024 -->" in README


def test_every_suite_is_described() -> None:
    for path in (ROOT / "suites").glob("*.yaml"):
        assert f"| `{path.stem}` |" in README
        for profile in yaml.safe_load(path.read_text(encoding="utf-8")).get("profiles", {}):
            assert f"`{profile}`" in README


def test_the_citation_is_of_this_version() -> None:
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"cff-version", "message", "title", "authors"} <= set(cff)  # what the format requires
    assert cff["cff-version"] == "1.2.0"
    assert (cff["title"], cff["license"]) == (project["name"], project["license"])
    assert cff["version"] == benchmark.__version__
