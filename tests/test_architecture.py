"""Who may import whom, read from the source; and what is imported when nothing heavy is needed."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import benchmark

ROOT = Path(__file__).parents[1]
CORE = ROOT / "benchmark"
PLUGINS = ROOT / "plugins"
ORDER = [
    "errors",
    "text",
    "strict",
    "reproducible",
    "isolation",
    "jobs",
    "data",
    "metric",
    "suite",
    "contract",
    "evaluation",
    "hookspecs",
    "parameters",
    "plugins",
    "sources",
    "fingerprint",
    "builders",
    "testing",
    "describe",
    "candidates",
    "plan",
    "results",
    "scored",
    "report",
    "execution",
    "provenance",
    "reporting",
    "stored",
    "runner",
    "console",
    "checks",
    "new_plugin",
    "cli",
]
"""Imports point upwards only in this list, those for types too. A folder counts as one."""
LIBRARY = "benchmark_torch"
"""Not a plugin: all plugins may import it, and it imports none of them."""
HEAVY = ("torch", "transformers", "recbole", "pyterrier", "sentence_transformers", "mlflow", "matplotlib")


def sources(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """The dotted names that a file imports anywhere, "benchmark.Ranking" for `from benchmark import Ranking`."""
    nodes: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        nodes.extend(ast.iter_child_nodes(node))


def core_module(name: str) -> str:
    """The module behind an imported name, as "evaluation.scores"; empty for the public names of `benchmark` itself."""
    parts = name.split(".")[1:]
    while parts:
        path = CORE.joinpath(*parts)
        if path.with_suffix(".py").is_file() or path.is_dir():
            return ".".join(parts)
        parts.pop()
    return ""


def core_imports(path: Path) -> set[str]:
    names = {core_module(name) for name in imports(path) if name.split(".")[0] == "benchmark"}
    return names - {""}


def own_name(path: Path) -> str:
    return ".".join(path.relative_to(CORE).with_suffix("").parts).removesuffix(".__init__")


CORE_MODULES = [path for path in sources(CORE) if path != CORE / "__init__.py"]


def floors() -> list[list[str]]:
    """The modules and folders of the core by floors, the lowest first: each imports only from floors below its own."""
    graph: dict[str, set[str]] = {name: set() for name in ORDER}
    for path in CORE_MODULES:
        own = own_name(path).split(".")[0]
        graph[own] |= {name.split(".")[0] for name in core_imports(path)} - {own}
    sorter = graphlib.TopologicalSorter(graph)
    sorter.prepare()
    drawn = []
    while sorter.is_active():
        drawn.append(sorted(sorter.get_ready(), key=ORDER.index))
        sorter.done(*drawn[-1])
    return drawn


def test_every_module_has_its_place_in_the_order() -> None:
    assert {own_name(path).split(".")[0] for path in CORE_MODULES} == set(ORDER)


@pytest.mark.parametrize("path", CORE_MODULES, ids=own_name)
def test_imports_point_downwards(path: Path) -> None:
    own = own_name(path).split(".")[0]
    above = {name for name in core_imports(path) if ORDER.index(name.split(".")[0]) > ORDER.index(own)}
    assert above == set()


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {own_name(path): core_imports(path) for path in CORE_MODULES}
    assert list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("path", sources(CORE), ids=own_name)
def test_the_core_imports_no_plugin_and_nothing_heavy(path: Path) -> None:
    found = {name.split(".")[0] for name in imports(path)}
    assert {name for name in found if name in HEAVY or name.startswith("benchmark_")} == set()


def family(path: Path) -> str:
    return path.relative_to(PLUGINS).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sources(PLUGINS), ids=lambda path: str(path.relative_to(PLUGINS)))
def test_plugins_import_public_names_and_never_each_other(path: Path) -> None:
    found = set(imports(path))
    families = {name.split(".")[0] for name in found if name.startswith("benchmark_")}
    assert families <= {family(path), LIBRARY}
    ours = {name for name in found if name.split(".")[0] == "benchmark"}
    assert ours <= {f"benchmark.{name}" for name in benchmark.__all__}


def test_analyses_need_no_library_of_models() -> None:
    names = {name.split(".")[0] for path in sources(PLUGINS / "benchmark_analyses") for name in imports(path)}
    assert names & set(HEAVY) == {"matplotlib"}


@pytest.mark.parametrize("path", [*sources(CORE), *sources(PLUGINS)], ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_open_with_a_sentence(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_public_names_are_complete_sorted_and_there() -> None:
    def place(name: str) -> tuple[int, str]:
        """Constants, then classes, then functions."""
        return (0 if name.isupper() else 1 if name[0].isupper() else 2), name

    assert benchmark.__all__ == sorted(benchmark.__all__, key=place)
    typed = {name.split(".")[-1] for name in imports(CORE / "__init__.py") if name.startswith("benchmark.")}
    assert typed == set(benchmark.__all__) == set(benchmark.HOME)
    for name in benchmark.__all__:
        assert getattr(benchmark, name) is not None


def imported_by(code: str, unwanted: tuple[str, ...]) -> set[str]:
    """Which of the unwanted modules a fresh interpreter has after this code."""
    code = f"{code}\nimport sys\nprint(*sorted(sys.modules.keys() & set({unwanted!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.splitlines()[-1].split())


def test_the_command_line_and_the_package_import_nothing_heavy() -> None:
    unwanted = (*HEAVY, "numpy", "pandas", "pydantic", "pluggy", "scipy", "pyarrow", "yaml", "rich")
    assert imported_by("import benchmark.cli", unwanted) == set()


def test_listing_plugins_imports_nothing_heavy() -> None:
    code = "from benchmark.plugins import load\nassert load().plugins"
    assert imported_by(code, (*HEAVY, "pandas", "pydantic", "scipy", "pyarrow", "yaml", "ir_measures")) == set()


def test_the_modules_behind_all_offers_import_nothing_heavy() -> None:
    code = (
        "from benchmark.plugins import load, resolve\n"
        "registry = load()\n"
        "for kind in registry.tables.keys() - {'executor'}:  # which are used when all is imported\n"
        "    for offer in registry.tables[kind].values(): resolve(offer)"
    )
    assert imported_by(code, (*HEAVY, "pandas", "scipy", "ir_measures")) == set()
