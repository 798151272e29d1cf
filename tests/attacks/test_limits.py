"""A cell that takes too long, too much memory or too much room for its log ends alone, with all that it has started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, marked

from benchmark import BenchmarkError
from benchmark.execution import log, processes
from benchmark.results.cells import CellFolder
from benchmark.results.scratch import leave_shared, shared_folder
from benchmark.suite.load import load_suite

OPTIONS = ("--results", "out", "--tracking", "off")
DAEMON = """
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    time.sleep(600)
    os._exit(0)
"""
"""A process in a session of its own, whose parent has ended."""


def write_suite(
    folder: Path, codes: Mapping[str, str], keys: str = "", entries: Mapping[str, str] | None = None
) -> None:
    """Models by name that run this code when fitted, with further keys of their entries, and one that works."""
    models = [
        f"  - {{use: scripted, name: {name}, params: {{code: {json.dumps(code)}}}{(entries or {}).get(name, '')}}}"
        for name, code in codes.items()
    ]
    (folder / "s.yaml").write_text(
        "name: s\ndatasets: [{use: checkerboard, name: Board}]\nmetrics: [R@5]\ndepth: 5\n"
        + "\n".join(["models:", *models, "  - {use: popular, name: Pop}", keys, ""])
    )


def failures(folder: Path) -> dict[str, str]:
    """The errors of the cells that failed, by model; of all others there are numbers."""
    content = json.loads((folder / "out" / "s" / "leaderboard.json").read_text())
    return {failure["model"]: failure["error"] for failure in content["failures"]}


def cell_of(folder: Path, model: str) -> Path:
    (cell,) = (folder / "out" / "s" / "cells" / "Board" / model).iterdir()
    return cell


def wait_for(event: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (result := event()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return result


LOUD = """
os.write(1, b'first words\\n')
for _ in range(300): os.write(1, b'x' * 99_999 + b'\\n')
os.write(2, b'last words')
os.kill(os.getpid(), signal.SIGSEGV)
"""
"""Prints 30,000,022 bytes and dies."""
LARGE = "if os.fork() == 0:\n    kept = bytearray(os.urandom(1 << 20) * 700)\n    time.sleep(600)\ntime.sleep(600)"
"""Has a child that takes 734 MB."""


def test_a_cell_that_exceeds_a_limit_ends_alone_with_all_that_it_has_started(
    command: Command, tmp_path: Path, mark: str
) -> None:
    codes = {"Slow": f"{DAEMON}\ntime.sleep(600)", "Large": LARGE, "Loud": LOUD}
    write_suite(tmp_path, codes, entries={"Slow": ", timeout: 1.5", "Loud": ", memory: 2GB"})
    done = command("run", "s.yaml", *OPTIONS, "--memory", "600MB")
    assert done.returncode == 1, done.stderr
    assert not marked(mark)
    errors = failures(tmp_path)
    assert "its timeout is 1.5 s (suite key `timeout`)" in errors["Slow"]
    assert "when it used" in errors["Slow"]
    assert CellFolder(cell_of(tmp_path, "Slow")).failure() == errors["Slow"]
    assert "its memory limit is 600.0MB (suite key `memory`)" in errors["Large"]
    assert "killed by SIGSEGV" in errors["Loud"]
    assert len(errors) == 3
    text = (cell_of(tmp_path, "Loud") / "log.txt").read_bytes()
    assert text.startswith(b"first words\n")
    assert text.endswith(b"last words")
    line = b"\n[28,000,022 bytes are left out here]\n"
    assert line in text
    assert len(text) == 2_000_000 + len(line)


def test_limits_change_no_cell_and_are_kept_by_a_worker_of_its_own(
    command: Command, faulty_environment: dict[str, str], tmp_path: Path
) -> None:
    write_suite(tmp_path, {"Bad": "if 'SLOW' in os.environ: time.sleep(600)"})
    assert "2 cells computed" in command("run", "s.yaml", *OPTIONS).stdout
    assert (
        "0 cells computed, 2 reused" in command("run", "s.yaml", *OPTIONS, "--timeout", "90", "--memory", "8GB").stdout
    )
    folder = cell_of(tmp_path, "Bad")
    (folder / "cell.json").unlink()
    spec = json.loads((folder / "spec.json").read_text())
    (folder / "spec.json").write_text(json.dumps({**spec, "timeout": 1}))
    worker = [sys.executable, "-m", "benchmark.execution.worker", str(folder)]
    done = subprocess.run(worker, env={**faulty_environment, "SLOW": "1"}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "its timeout is 1 s" in done.stderr


def test_check_shows_the_limits_and_a_model_has_its_own(command: Command, tmp_path: Path) -> None:
    write_suite(tmp_path, {"Bad": ""}, "timeout: 60\nmemory: 8GB", {"Bad": ", timeout: 5"})
    done = command("check", "s.yaml", *OPTIONS)
    assert "limits of a cell: timeout 60 s, memory 8.0GB; Bad: timeout 5 s, memory 8.0GB" in done.stdout, done.stderr
    suite, _ = load_suite(str(tmp_path / "s.yaml"), settings=["timeout=7"])
    assert suite.limits_of("Bad") == (5, 8 * 10**9)
    assert suite.limits_of("Pop") == (7, 8 * 10**9)
    write_suite(tmp_path, {})
    suite, _ = load_suite(str(tmp_path / "s.yaml"))
    assert suite.limits_of("Pop") == (None, None)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("memory=much", "must be a size of at least 1 MB, such as 8GB or 500MB (given: 'much')"),
        ("memory=8", "must be a size of at least 1 MB"),
        ("timeout=0", "greater than 0"),
        ("timeout=soon", "valid number"),
        ("models.Pop.timeout=1000000000", "that is three years"),
    ],
)
def test_a_limit_that_is_none_is_refused(tmp_path: Path, setting: str, says: str) -> None:
    write_suite(tmp_path, {})
    with pytest.raises(BenchmarkError) as error:
        load_suite(str(tmp_path / "s.yaml"), settings=[setting])
    assert says in str(error.value)


def test_inline_says_that_it_keeps_to_no_limits(command: Command, tmp_path: Path) -> None:
    write_suite(tmp_path, {})
    done = command("run", "s.yaml", *OPTIONS, "--executor", "inline", "--timeout", "60")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("--executor inline") == 1


def test_a_log_never_grows_beyond_three_megabytes_and_goes_on_after_an_attempt(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    for _ in range(2):
        capped = log.CappedLog(path)
        for _ in range(50):
            capped.write(b"a" * 100_000)
            assert path.stat().st_size < 3_000_100
        capped.write(b"end")
        capped.close()
    text = path.read_bytes()
    assert text.endswith(b"aend")
    assert text.count(b"left out") == 1
    assert b"\n[8,000,006 bytes are left out here]\n" in text  # of 10,000,006
    short = log.CappedLog(tmp_path / "short.txt")
    short.write(b"one line\n")
    short.close()
    assert (tmp_path / "short.txt").read_bytes() == b"one line\n"


def test_the_memory_of_processes_is_counted_and_shared_pages_once() -> None:
    before = processes.memory([os.getpid()])
    kept = bytearray(os.urandom(1 << 20) * 100)
    child = os.fork()
    if child == 0:
        time.sleep(600)
        os._exit(0)
    together = processes.memory(processes.tree([os.getpid()]))
    assert child in set(processes.tree([os.getpid()]))
    processes.end([child])
    os.waitpid(child, 0)
    assert 80 << 20 < together - before < 190 << 20
    assert processes.memory([os.getpid()]) > len(kept)


def test_scratch_folders_of_finished_cells_and_data_sets_are_gone_and_a_failed_cell_keeps_its_checkpoints(
    command: Command, faulty_environment: dict[str, str], tmp_path: Path, mark: str
) -> None:
    code = (
        "context.record('resumed', (context.workdir / 'checkpoint').exists())\n"
        "(context.workdir / 'checkpoint').touch()\n"
        "(context.shared / 'made.txt').write_text('once')\n"
        "if 'FAIL' in os.environ: raise ValueError('fails')"
    )
    write_suite(tmp_path, {"Bad": code})
    words = ("run", "s.yaml", *OPTIONS, "--only", "Bad")
    for fresh in ((), ("--fresh",)):
        faulty_environment["FAIL"] = "1"
        assert command(*words, *fresh).returncode == 1
        assert [path.name for path in (tmp_path / "tmp").rglob("benchmark-*/*/**/*") if path.is_file()] == [
            "checkpoint"
        ]
        assert [path.read_text() for path in (tmp_path / "out").rglob("made.txt")] == ["once"]
        del faulty_environment["FAIL"]
        assert command(*words, *fresh).returncode == 0
        assert list((tmp_path / "tmp").rglob("benchmark-*/*")) == []
        facts = json.loads((cell_of(tmp_path, "Bad") / "facts.json").read_text())
        assert facts["resumed"] == (not fresh)


def test_what_data_sets_share_is_not_removed_while_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    data = tmp_path / "out" / "data"
    with shared_folder(data) as shared:
        leave_shared(data)
        (shared / "work").mkdir()
    leave_shared(data)
    assert shared.is_dir(), "something unfinished lies there"
    (shared / "work").rmdir()
    leave_shared(data)
    assert not shared.parent.exists()
    leave_shared(data)
