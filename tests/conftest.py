"""What several test modules use: the root, a browser, `benchmark` as a command beside the faulty plugin, and
distributions of plugins."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent

# What a shell starts in the background ignores Ctrl-C, and so would every command that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

FAULTY_SUITE = """
name: faults
datasets: [{use: checkerboard, name: Board}]
models:
  - {use: popular, name: Pop}
  - {use: faulty, name: Good}
  - {use: faulty, name: Bad, params: {fault: %s%s}}
metrics: [R@5]
depth: 5
compare: [{model: Good, against: [Pop, Bad]}]
"""
"""Two models without a fault, and one with the parameters that are filled in."""

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Install = Callable[..., None]


class Silent:
    """Nobody watches."""

    def planned(self, *_: object) -> None: ...
    def progressed(self, *_: object) -> None: ...
    def finished(self, *_: object) -> None: ...
    def warned(self, message: str) -> None:
        raise AssertionError(message)


def benchmark(
    folder: Path, environment: dict[str, str], *words: str | Path, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run `benchmark WORDS…` in this folder, and give what it printed."""
    arguments = [sys.executable, "-m", "benchmark.cli", *map(str, words)]
    return subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout)


def with_faulty_plugin() -> dict[str, str]:
    """The environment of a process in which the plugin of tests/faulty is installed."""
    path = [str(ROOT / "tests" / "faulty"), str(ROOT), str(ROOT / "plugins")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), "COLUMNS": "200"}


@pytest.fixture
def faulty_environment() -> dict[str, str]:
    """That environment, for a test to change."""
    return with_faulty_plugin()


@pytest.fixture
def command(faulty_environment: dict[str, str], tmp_path: Path) -> Command:
    """Run `benchmark WORDS…` in a temporary folder and give what it printed."""
    return partial(benchmark, tmp_path, faulty_environment)


def leaderboard(folder: Path) -> dict[str, list[dict[str, object]]]:
    """What a run has written."""
    content: dict[str, list[dict[str, object]]] = json.loads((folder / "leaderboard.json").read_text())
    return content


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """The same in this process, cells too: several times as fast, for tests that are not about processes."""
    from benchmark.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "faulty"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        arguments = [*map(str, words)]
        if arguments[0] == "run" and "--executor" not in arguments:
            arguments += ["--executor", "inline"]
        capsys.readouterr()
        try:
            code = main(arguments)
        except SystemExit as end:  # as argparse ends
            code = int(end.code or 0)
        printed = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, printed.out, printed.err)

    yield run
    sys.modules.pop("benchmark_faulty", None)


@pytest.fixture
def mark(faulty_environment: dict[str, str], tmp_path: Path) -> str:
    """A word in the environment of all that the commands of this test start."""
    faulty_environment["MARKED_BY_TEST"] = str(tmp_path)
    faulty_environment["TMPDIR"] = str(tmp_path / "tmp")
    (tmp_path / "tmp").mkdir()
    return f"MARKED_BY_TEST={tmp_path}"


def marked(mark: str) -> list[int]:
    """The processes that were started with this word in their environment, and live."""
    alive = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (path / "environ").read_bytes().split(b"\0"):
                state = (path / "stat").read_text().rsplit(")", 1)[1].split()[0]
                alive += [int(path.name)] * (state != "Z")
        except OSError:
            continue
    return alive


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """Chromium without a window, driven by selenium."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    paths = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in paths:
        pytest.skip("needs chromium and chromedriver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    for argument in (
        *("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "window-size=1600,1400"),
        *("disable-background-networking", "disable-component-update", "disable-sync", "disable-dev-shm-usage"),
        f"user-data-dir={tmp_path / 'chromium'}",
    ):
        options.add_argument(f"--{argument}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(paths[1]))
    driver.implicitly_wait(30)
    yield driver
    driver.quit()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Write a distribution of one module, `benchmark_<word>`, into a folder that is on sys.path."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write(word: str, source: str, *, extras: tuple[str, ...] = (), module: str = "") -> None:
        module = module or f"benchmark_{word}"
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
        info = tmp_path / f"benchmark_{word}-1.5.dist-info"
        info.mkdir()
        lines = [
            "Metadata-Version: 2.1",
            f"Name: benchmark-{word}",
            "Version: 1.5",
            *(f"Provides-Extra: {e}" for e in extras),
        ]
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        (info / "entry_points.txt").write_text(f"[benchmark]\n{word} = {module}\n")

    yield write
    for name in set(sys.modules) - before:
        if name.startswith("benchmark_"):
            del sys.modules[name]
