"""A result is computed again where the code that made it changed, and only there."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmark import fingerprint, sources
from benchmark.plugins import Offer, Plugin

FILES = {
    "acme/__init__.py": '"""A plugin."""\n',
    "acme/model.py": '''
"""A model."""
from typing import TYPE_CHECKING

from benchmark import top_k
from acme import layers

if TYPE_CHECKING:
    from acme import names


class Model:
    """Ranks."""

    requires = ("numpy",)

    def fit(self, train, valid, context):
        from acme.steps import step
        return step(layers.width(2))
''',
    "acme/layers.py": "from .sizes import SIZE\n\ndef width(n):\n    return n * SIZE\n",
    "acme/sizes.py": "SIZE = 4  # of a layer\n",
    "acme/steps.py": "def step(n):\n    return n\n",
    "acme/names.py": "NAME = 1\n",
    "acme/charts.py": "COLOUR = 1\n",
    "other.py": "VALUE = 1\n",
}


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """The hash of `acme.model`, after the files named were given another text."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "acme", None)  # nothing is imported to look at its source
    monkeypatch.delitem(sys.modules, "acme")

    def hash_of(**texts: str) -> str:
        for name, text in (FILES | {f"acme/{name}.py": text for name, text in texts.items()}).items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        clear()
        return fingerprint.code("acme.model")

    yield hash_of
    clear()


def clear() -> None:
    for function in (fingerprint.code, sources.file_of, fingerprint._parsed):
        function.cache_clear()


@pytest.mark.parametrize(
    "texts",
    [
        {"sizes": "SIZE = 4\n"},
        {"sizes": '"""Sizes."""\n\n# of a layer\nSIZE = (\n    4\n)\n'},
        {"model": FILES["acme/model.py"].replace("Ranks.", "Ranks well.")},
        {"steps": 'def step(n):\n    """The same."""\n    return n\n'},
        {"charts": "COLOUR = 2\n"},
        {"names": "NAME = 2\n"},
        {"__init__": "@hookimpl\ndef benchmark_models():\n    return {'m': 'acme.model:Model'}\n"},
    ],
    ids=["comment", "layout", "docstring", "docstring of a helper", "unused module", "for types only", "an offer"],
)
def test_what_does_not_run_changes_nothing(code: Callable[..., str], texts: dict[str, str]) -> None:
    assert code(**texts) == code()


@pytest.mark.parametrize(
    "texts",
    [
        {"model": FILES["acme/model.py"].replace("width(2)", "width(3)")},
        {"steps": "def step(n):\n    return -n\n"},
        {"sizes": "SIZE = 5\n"},
        {"__init__": "import os\nos.environ['X'] = '1'\n"},
        {"layers": "from acme.charts import COLOUR as SIZE\n\ndef width(n):\n    return n * SIZE\n"},
    ],
    ids=["the model", "an import in a function", "two imports away", "its package", "another import"],
)
def test_what_runs_changes_the_hash(code: Callable[..., str], texts: dict[str, str]) -> None:
    assert code(**texts) != code()


def test_the_harness_is_followed_where_a_model_uses_it(code: Callable[..., str]) -> None:
    code()
    modules = fingerprint.modules_of("acme.model")
    assert [name for name in modules if name.startswith("acme")] == [
        "acme",
        "acme.layers",
        "acme.model",
        "acme.sizes",
        "acme.steps",
    ]
    assert {"benchmark.data.ranking", "benchmark.data.types", "benchmark.data.hashing"} <= {*modules}
    assert not {"benchmark.results.cells", "benchmark.plan", "benchmark.hookspecs"} & {*modules}


def test_the_library_for_plugins_is_followed_too(code: Callable[..., str]) -> None:
    code(steps="from benchmark_torch.training import train as step\n")
    assert [name for name in fingerprint.modules_of("acme.model") if name.startswith("benchmark_")] == [
        "benchmark_torch",
        "benchmark_torch.randomness",
        "benchmark_torch.training",
    ]


def test_a_library_is_not_followed_that_is_installed_inside_the_checkout(
    code: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    libraries = tmp_path / ".venv" / "lib" / "python3" / "site-packages"
    libraries.mkdir(parents=True)
    (libraries / "blocks.py").write_text("")
    monkeypatch.syspath_prepend(str(libraries))
    code(sizes="import blocks\nSIZE = 4\n")
    assert "blocks" not in fingerprint.modules_of("acme.model")


def test_a_library_counts_by_its_version(code: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    code()
    offer = Offer("model", "toy", "acme.model:Model", Plugin("acme", "acme", "acme", "1.0"))
    before = fingerprint.versions(offer)
    assert list(before) == ["benchmark", "toy", "numpy"]
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "9.9" if name == "numpy" else version(name))
    assert fingerprint.versions(offer) == {**before, "numpy": "9.9"}


def test_nothing_is_imported_to_read_its_source(code: Callable[..., str]) -> None:
    code(model="import torch.nn\nimport acme.steps\n", steps="raise SystemExit\n")
    assert "acme" not in sys.modules
