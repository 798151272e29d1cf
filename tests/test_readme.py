"""What the README shows works: its plugin passes the contract, its suites are valid, its generated parts current."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from write_readme import EXCERPTS, first_sentence, rendered, suite_keys_page

from benchmark.suite import load_suite
from benchmark.testing import check_model

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_plugin_passes_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = blocks("python")
    assert len(code.splitlines()) <= 50
    (tmp_path / "benchmark_repeat.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    import benchmark_repeat

    try:
        check_model(benchmark_repeat.Repeat, min_success=0.0)
    finally:
        del sys.modules["benchmark_repeat"]


def test_the_suite_for_own_data_is_valid(tmp_path: Path) -> None:
    text = blocks("yaml")[0]
    (tmp_path / "ours.yaml").write_text(text)
    assert load_suite(str(tmp_path / "ours.yaml"))[0].name == "ours"


def test_the_commands_are_those_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for command in ("pytest -n 2 --dist loadfile", "pip install", "benchmark run suites/penha2024.yaml"):
        assert command in README
        assert command in makefile


def test_its_generated_parts_are_current() -> None:
    assert rendered(README) == README, "run: python tests/write_readme.py"


def test_the_page_of_suite_keys_is_current() -> None:
    page = (ROOT / "docs" / "suite-keys.md").read_text(encoding="utf-8")
    assert page == suite_keys_page(), "run: python tests/write_readme.py"


def test_every_module_says_what_it_holds() -> None:
    for path in sorted([*(ROOT / "benchmark").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]):
        assert first_sentence(path), f"{path} opens without a sentence"


def test_nothing_is_left_to_be_filled_in() -> None:
    assert "BENCH_" not in README
    for suite in EXCERPTS:
        assert f"<!-- end of {suite} -->" in README


def test_every_suite_is_described() -> None:
    for path in (ROOT / "suites").glob("*.yaml"):
        assert f"| `{path.stem}` |" in README
        for profile in yaml.safe_load(path.read_text()).get("profiles", {}):
            assert f"`{profile}`" in README
