"""However a model ends its process, or what is around it, the run goes on to a full report and leaves no process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Command, marked
from test_limits import DAEMON, OPTIONS, cell_of, failures, wait_for, write_suite

from benchmark.execution import progress

GARBAGE = """
import multiprocessing.connection, pickle, socket, stat
class Bomb:
    def __reduce__(self):
        return os.system, (f"touch {os.environ['BOMBED']}",)
for handle in range(3, 256):
    for message in (pickle.dumps(Bomb()), os.urandom(100), b"[" * 4000, b'["fit", 1, 2, {"a": 1e999}]', b"x" * 100_000):
        try:
            kind = os.fstat(handle).st_mode
            if stat.S_ISSOCK(kind) or stat.S_ISFIFO(kind):
                os.write(handle, message)
        except OSError:
            pass
"""
ATTACKS = {
    "exit 0": ("os._exit(0)", "left no results"),
    "forged": (
        "import inspect, json\n"
        "folder = next(f.frame.f_locals['files'].path for f in inspect.stack() if 'spec' in f.frame.f_locals)\n"
        "spec = json.loads((folder / 'spec.json').read_text())\n"
        "(folder / 'cell.json').write_text(json.dumps({**spec['cell'], 'facts': {}, 'curve': [], 'costs': {}}))\n"
        "os._exit(0)",
        "ranking-recommendation.parquet is missing",
    ),
    "daemon": (f"{DAEMON}\nos._exit(3)", "exit code 3"),
    "daemon of a killed worker": (f"{DAEMON}\nos.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
    "group": ("os.killpg(0, signal.SIGKILL)", "killed by SIGKILL"),
    "server": (f"{DAEMON}\nos.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(600)", "was killed by SIGKILL"),
    "server's group": ("os.killpg(os.getpgid(os.getppid()), signal.SIGKILL)\nos._exit(0)", "was killed by SIGKILL"),
    "stopped server": ("os.kill(os.getppid(), signal.SIGSTOP)", ""),
    "children": ("for _ in range(200):\n    if os.fork() == 0: time.sleep(600)", ""),
    "garbage": (GARBAGE, ""),
    "closed": ("os.closerange(0, 256)", None),
}
"""What a model does, and what is said of its cell: "" for a cell that goes on, None where it may or may not."""


def test_an_attack_ends_its_cell_at_most(
    command: Command, faulty_environment: dict[str, str], tmp_path: Path, mark: str
) -> None:
    faulty_environment["BOMBED"] = str(tmp_path / "bombed")
    write_suite(tmp_path, {name: code for name, (code, _) in ATTACKS.items()})
    done = command("run", "s.yaml", *OPTIONS, "--jobs", "1", timeout=400)
    assert not marked(mark)
    assert "Traceback" not in done.stderr
    errors = failures(tmp_path)
    assert {name for name, (_, says) in ATTACKS.items() if says} <= errors.keys()
    for name, error in errors.items():
        says = ATTACKS[name][1]
        assert says is None or (says and says in error), f"{name}: {error}"
    assert not (tmp_path / "bombed").exists()
    assert (cell_of(tmp_path, "Pop") / "cell.json").is_file()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_a_run_that_is_stopped(
    faulty_environment: dict[str, str], tmp_path: Path, mark: str, number: signal.Signals
) -> None:
    write_suite(tmp_path, {"Bad": f"{DAEMON}\n(context.workdir / 'begun').touch()\ntime.sleep(600)"})
    words = [sys.executable, "-m", "benchmark.cli", "run", "s.yaml", *OPTIONS, "--only", "Bad"]
    process = subprocess.Popen(
        words,
        cwd=tmp_path,
        env=faulty_environment,
        stderr=subprocess.DEVNULL,
        # A shell's background job ignores Ctrl-C, and so would everything that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert wait_for(lambda: list((tmp_path / "tmp").rglob("begun")))
    process.send_signal(number)
    process.wait(60)
    assert wait_for(lambda: not marked(mark)), marked(mark)
    assert list((tmp_path / "tmp").rglob("begun")), "the next run goes on from its checkpoints"


def test_a_worker_that_has_lost_its_server_and_its_runner_takes_its_daemons_along(
    faulty_environment: dict[str, str], tmp_path: Path, mark: str
) -> None:
    write_suite(tmp_path, {"Bad": f"{DAEMON}\n(context.workdir / str(os.getppid())).touch()\ntime.sleep(600)"})
    words = [sys.executable, "-m", "benchmark.cli", "run", "s.yaml", *OPTIONS, "--only", "Bad"]
    process = subprocess.Popen(words, cwd=tmp_path, env=faulty_environment, stderr=subprocess.DEVNULL)
    (begun,) = wait_for(lambda: list((tmp_path / "tmp").glob("benchmark-*/*/work/*")))
    process.send_signal(signal.SIGSTOP)
    os.kill(int(begun.name), signal.SIGKILL)
    process.kill()
    process.wait(60)
    assert wait_for(lambda: not marked(mark)), marked(mark)


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (b'["fit", 3, 10, {"loss": 0.5}]', ("fit", 3, 10, {"loss": 0.5})),
        (b'["fit", 3, 10, {"loss": NaN, "\\u001b[31m": 1}]', ("fit", 3, 10, {r"\x1b[31m": 1.0})),
        (b'["' + b"p" * 100 + b'", 3, 10, {}]', ("p" * 40, 3, 10, {})),
        (b'["a\\nb", 3, 10, {}]', ("a b", 3, 10, {})),
        (b'["fit", -3, 10, {}]', None),
        (b'["fit", true, 10, {}]', None),
        (b'["fit", 1e99, 10, {}]', None),
        (b'["fit", 3, 10, []]', None),
        (b'["fit", 3, 10, {"loss": "0.5x"}]', None),
        (b'["fit", 3, 10, {"loss": ' + b"9" * 400 + b"}]", None),
        (b'{"fit": 3}', None),
        (b"3", None),
        (b"", None),
        (b"\xff\xfe", None),
        (b"[" * progress.MESSAGE, None),
        (b" " * progress.MESSAGE + b'["fit", 3, 10, {}]', None),
    ],
)
def test_progress_is_short_json_of_one_shape(message: bytes, told: object) -> None:
    assert progress._told(message) == told


def test_progress_blocks_no_worker_and_what_is_too_long_is_dropped() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    tell = progress.teller(theirs)
    tell("fit", 1, 2, {"x" * progress.MESSAGE: 1.0})
    for step in range(100_000):
        tell("fit", step, 100_000, {"loss": 0.5})
    assert progress._told(ours.recv(progress.MESSAGE + 1)) == ("fit", 0, 100_000, {"loss": 0.5})
    ours.close()
    tell("fit", 1, 2, {})
    theirs.close()
