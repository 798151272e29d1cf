"""A cell as a command, and what it leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from conftest import FAULTY_SUITE, Command


def test_a_worker_is_a_command(command: Command, faulty_environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(FAULTY_SUITE % ("raise", ""))
    command("run", "s.yaml", "--results", "out", "--tracking", "off", "--only", "Good")
    (folder,) = (tmp_path / "out" / "faults" / "cells" / "Board" / "Good").iterdir()
    (folder / "cell.json").unlink()
    worker = [sys.executable, "-m", "benchmark.execution.worker"]
    done = subprocess.run([*worker, folder], env=faulty_environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "cell.json").read_text())["model"] == "Good"
    nothing = subprocess.run([*worker, tmp_path], env=faulty_environment, capture_output=True, text=True)
    assert nothing.returncode == 1
    assert "not the folder of a cell" in nothing.stderr
