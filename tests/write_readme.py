"""Writes the generated parts of the README, its help and its file list: `python tests/write_readme.py`."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def first_sentence(path: Path) -> str:
    """What a module says of itself, up to the first full stop that ends a sentence."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    return re.split(r"(?<=\.) (?=[A-Z])", paragraph)[0]


def files() -> str:
    """The file list, a row per module."""
    modules = sorted([*(ROOT / "benchmark").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")])
    rows = [f"| `{path.relative_to(ROOT)}` | {first_sentence(path)} |" for path in modules]
    return "\n".join(["| file | what it holds |", "| --- | --- |", *rows])


def rendered(readme: str) -> str:
    """The README with its generated parts as they should be now."""
    os.environ["COLUMNS"] = "100"
    from benchmark.cli import help_text

    for name, content in (("help", f"```\n{help_text()}```"), ("files", f"## Files\n\n{files()}")):
        block = f"<!-- {name} -->\n\n{content}\n\n<!-- end of {name} -->"
        readme = re.sub(rf"<!-- {name} -->(.*?<!-- end of {name} -->)?", lambda _: block, readme, count=1, flags=re.S)  # noqa: B023
    return readme


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(rendered(path.read_text(encoding="utf-8")), encoding="utf-8")
