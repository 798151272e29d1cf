"""Where the source of a module is, and what it says of itself, without importing anything."""

from __future__ import annotations

import ast
import functools
import importlib.util
from pathlib import Path


@functools.cache
def file_of(module: str) -> Path | None:
    """The file of a module; None where there is no such module, or no file."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    places = [Path(spec.origin)] if spec.origin and not rest else []
    for folder in spec.submodule_search_locations or () if rest else ():
        place = Path(folder, *rest)
        places += [place.with_name(f"{place.name}.py"), place / "__init__.py", *place.parent.glob(f"{place.name}.*.so")]
    return next((place.resolve() for place in places if place.is_file()), None)


def offered(module: str, hook: str) -> dict[str, str]:
    """What the hook of this name in a plugin's module returns, where the source writes it out as a mapping of texts;
    empty where it does not, or has no such hook."""
    function = _definition(module, hook)
    for node in ast.walk(function) if function is not None else ():
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Dict):
            try:
                return {str(name): str(target) for name, target in ast.literal_eval(node.value).items()}
            except ValueError:
                return {}
    return {}


def first_line(target: str) -> str:
    """The first line of the docstring of "module:attribute", without its full stop; empty where it has none."""
    module, _, attribute = target.partition(":")
    definition = _definition(module, attribute)
    text = ast.get_docstring(definition) if definition is not None else None
    return (text or "").partition("\n")[0].removesuffix(".")


def _definition(module: str, name: str) -> ast.FunctionDef | ast.ClassDef | None:
    path = file_of(module)
    if path is None or path.suffix != ".py":
        return None
    try:
        text = path.read_text(encoding="utf-8")
        if name not in text:  # quicker than parsing it
            return None
        body = ast.parse(text).body
    except (OSError, ValueError, SyntaxError):
        return None
    return next((node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name), None)
