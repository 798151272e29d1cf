"""What a result hangs on: the code that made it, without its comments and docstrings, and the versions of libraries.

Code is followed from a module to the modules of its own distribution that it imports, and to those of the harness, so
that an edit changes the results that it can reach and no others.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib.metadata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import benchmark
from benchmark import plugins
from benchmark.plugins import Offer
from benchmark.sources import file_of

LIBRARIES = ("benchmark", "benchmark_torch")
"""What plugins of other distributions import of this one."""
CORE = "benchmark.data.ranking"
"""What every ranking goes through, whatever a model imports."""


def versions(offer: Offer) -> dict[str, str]:
    """The model's code and the harness's part in a ranking as hashes, numpy and what the model `requires` by version.

    A module without source counts by its bytes.
    """
    target = plugins.resolve(offer)
    home = plugins.home_of(offer.target)
    codes = {"benchmark": code(CORE), offer.name: code(home, offer.plugin.distribution)}
    for library in ("numpy", *getattr(target, "requires", ())):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            codes[library] = importlib.metadata.version(library)
    return codes


@functools.cache
def code(module: str, distribution: str = "") -> str:
    """A hash of the code of all `modules_of` a module."""
    parts = [f"{name}\0{code_alone(name)}" for name in modules_of(module, distribution)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def modules_of(module: str, distribution: str = "") -> list[str]:
    """What importing `module` runs, in alphabetical order: itself, and each module of its distribution and of the
    harness that it imports, transitively, anywhere in its text but under `TYPE_CHECKING`. Hook implementations are
    passed over, for they say what there is and compute nothing."""
    own = _own(module, distribution)
    waiting, modules = [module], set[str]()
    while waiting:
        name = waiting.pop()
        top = name.partition(".")[0]
        path = file_of(name) if name not in modules and (top in LIBRARIES or own(file_of(top))) else None
        if path is not None:
            modules.add(name)
            waiting += _parsed(path, name)[1]
    return sorted(modules)


def code_alone(module: str) -> str:
    """A hash of the code of one module."""
    path = file_of(module)
    assert path is not None
    return _parsed(path, module)[0]


_INSTALLED = {"site-packages", "dist-packages"}
"""Folders of libraries: a checkout may hold one, in its virtual environment."""


def _own(module: str, distribution: str) -> Callable[[Path | None], bool]:
    """Whether a file belongs to the same distribution as `module`: it is in its list of files, or, of a checkout that
    is installed as editable, in the same folder of modules."""
    first = file_of(module.partition(".")[0])
    if first is None:
        return lambda path: False
    folder = first.parent.parent if first.name == "__init__.py" else first.parent
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        listed = importlib.metadata.files(distribution) if distribution else None
        files = {Path(str(file.locate())).resolve() for file in listed or () if file.suffix in (".py", ".so")}
        if first in files:
            return files.__contains__

    def beside(path: Path | None) -> bool:
        if path is None or not path.is_relative_to(folder):
            return False
        return not _INSTALLED & {*path.relative_to(folder).parts}

    return beside


@functools.cache
def _parsed(path: Path, name: str) -> tuple[str, tuple[str, ...]]:
    """The hash of a module's code, and the modules that it imports and that are run before it: its packages."""
    content = path.read_bytes()
    parents = [name.rpartition(".")[0]] if "." in name and not name.startswith("benchmark.") else []
    if path.suffix != ".py":
        return hashlib.sha256(content).hexdigest(), tuple(parents)
    tree = ast.parse(content)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    text = "".join(_text(tree))
    return hashlib.sha256(text.encode()).hexdigest(), (*parents, *dict.fromkeys(_imports(tree, package)))


def _text(value: Any) -> Iterator[str]:
    """A syntax tree as text, equal for all versions of Python: empty fields, which differ between them, are left
    out."""
    if isinstance(value, ast.AST):
        yield f"{type(value).__name__}("
        for field, part in ast.iter_fields(value):
            if part is None or part == [] or isinstance(part, ast.expr_context):
                continue
            yield f"{field}="
            yield from _text(_code(part) if field == "body" and isinstance(part, list) else part)
        yield ")"
    elif isinstance(value, list):
        yield "["
        for part in value:
            yield from _text(part)
        yield "]"
    else:
        yield f"{value!r},"


def _code(body: list[ast.stmt]) -> list[ast.stmt]:
    """Statements without texts that stand alone, which are docstrings, and without hook implementations."""
    return [node for node in body if not _is_text(node) and not _is_hook(node)]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_hook(node: ast.AST) -> bool:
    marks = node.decorator_list if isinstance(node, ast.FunctionDef) else []
    return any(ast.unparse(mark).partition("(")[0].endswith("hookimpl") for mark in marks)


def _imports(node: ast.AST, package: str) -> Iterator[str]:
    """The modules that a syntax tree may import. A name taken from a package may be a module, too."""
    if _is_hook(node):
        return
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        for statement in node.orelse:
            yield from _imports(statement, package)
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        parents = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
        module = ".".join([*parents, *filter(None, [node.module])])
        if module == "benchmark":  # whose names are imported from their homes when they are used
            names = [alias.name for alias in node.names if alias.name != "hookimpl"]
            yield from (benchmark.HOME.get(name, f"benchmark.{name}") for name in names)
        else:
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
    for part in ast.iter_child_nodes(node):
        yield from _imports(part, package)
