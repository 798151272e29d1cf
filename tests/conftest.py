"""What several test modules use: the root, a browser, and `benchmark` as a command beside the faulty plugin."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def faulty_environment() -> dict[str, str]:
    """The environment of a process in which the plugin of tests/faulty is installed."""
    path = [str(ROOT / "tests" / "faulty"), str(ROOT), str(ROOT / "plugins")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), "COLUMNS": "200"}


@pytest.fixture
def command(faulty_environment: dict[str, str], tmp_path: Path) -> Command:
    """Run `benchmark WORDS…` in a temporary folder and give what it printed."""

    def run(*words: str | Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "benchmark.cli", *map(str, words)],
            cwd=tmp_path,
            env=faulty_environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run


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
