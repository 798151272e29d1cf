"""What `make bench` says; the benchmarks themselves take minutes and run apart."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

from conftest import ROOT

FOLDER = ROOT / "tests" / "benchmarks"


def test_every_benchmark_runs_and_the_misses_are_named_at_the_end(tmp_path: Path) -> None:
    ends = {"a.py": "sys.exit(1)", "b.py": "print('ratio 5.0')", "c.py": "raise ValueError", "d.py": "pass"}
    for name, end in ends.items():
        (tmp_path / name).write_text(f"import sys\n{end}\n")
    words = [sys.executable, FOLDER / "run_all.py", *sorted(tmp_path.glob("*.py"))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "== a.py", "== b.py", "ratio 5.0", "== c.py", "== d.py", "== 2 of 4 reached their goals"
    ]  # fmt: skip
    assert done.stderr.splitlines()[-1] == "missed: a.py (exit code 1), c.py (exit code 1)"

    done = subprocess.run([*words[:2], tmp_path / "b.py"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_spread_is_that_of_the_ratio_turn_by_turn() -> None:
    spread = runpy.run_path(str(FOLDER / "repeats.py"))["spread"]
    assert spread([8.0, 6.0], [2.0, 1.0]) == "4.0 to 6.0 in 2 turns"
    assert spread([8.0], [2.0, 1.0, 90.0]) == "4.0 to 4.0 in 1 turn"
