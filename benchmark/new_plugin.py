"""`benchmark new-plugin`: a third-party package with a model and its contract test, ready to install and to change."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from string import Template

from benchmark import __version__
from benchmark.errors import BenchmarkError

TEMPLATES = Path(__file__).with_name("templates")
FILES = {
    "pyproject.toml": "pyproject.toml.template",
    "README.md": "README.md.template",
    "benchmark_{word}.py": "module.py.template",
    "tests/test_{word}.py": "test.py.template",
}


def create(name: str, folder: Path) -> Path:
    """Write the package `benchmark-<name>` into a new folder inside `folder`; gives that new folder.

    Raises BenchmarkError for a name that cannot name a module, or is taken, and for a folder that is already there.
    """
    _check_word(name)
    dashed = name.replace("_", "-")
    package = folder / f"benchmark-{dashed}"
    if package.exists():
        raise BenchmarkError(f"'{package}' is already there. Take another name, or another folder with --folder.")
    values = {
        "word": name,
        "dashed": dashed,
        "title": "".join(part.capitalize() for part in name.split("_")),
        "minimum": __version__,
    }
    for target, source in FILES.items():
        path = package / target.format(word=name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template((TEMPLATES / source).read_text(encoding="utf-8")).substitute(values), encoding="utf-8")
    return package


def _check_word(name: str) -> None:
    if not re.fullmatch("(?!benchmark_)[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        close = "_".join(re.findall("[a-z0-9]+", re.sub("^benchmark[-_]", "", name.lower())))
        hint = f" '{close}' would do." if re.fullmatch("[a-z]\\w*", close) else ""
        raise BenchmarkError(
            f"'{name}' cannot name a plugin: it becomes the module benchmark_<name>, so it is lower-case letters, "
            f"digits and single underscores, and begins with a letter.{hint}"
        )
    if importlib.util.find_spec(f"benchmark_{name}") is not None:
        raise BenchmarkError(f"there is already a module 'benchmark_{name}' in this environment. Take another name.")
