"""Each cell in a process of its own, forked from a server that has imported torch and the like once.

A crash, a leak or a killed worker ends that cell alone. A worker whose runner has died stops at once.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import multiprocessing.util
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from benchmark import results


class OnProgress(Protocol):
    def __call__(self, folder: Path, phase: str, step: int, total: int, values: Mapping[str, float]) -> None: ...


def run(
    folders: Sequence[Path],
    jobs: int,
    environment: Mapping[str, str],
    preload: Sequence[str],
    on_progress: OnProgress,
) -> Iterator[tuple[Path, str]]:
    """Run the cells of these folders, `jobs` at a time, in this order, each with these variables in its environment;
    gives (folder, error) as each ends, "" for none."""
    # The server is a fresh process: what stands in the environment when it starts holds for every worker.
    os.environ.update(environment)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ["BENCHMARK_PRELOAD"] = ",".join(preload)
    # Workers leave without clean-up (see _work), so multiprocessing's tracker cleans up after them, and would say so.
    quiet = "ignore::UserWarning:multiprocessing.resource_tracker"
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), quiet]))
    _keep_sockets_short()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmark.execution.preload", "benchmark.execution.worker"])
    waiting = list(folders)
    running: dict[Any, tuple[Any, Path, Connection]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                folder = waiting.pop(0)
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(str(folder), theirs), name=f"cell {folder.name}")
                process.start()
                theirs.close()
                running[process.sentinel] = (process, folder, ours)
            pipes = {pipe: folder for _, folder, pipe in running.values() if not pipe.closed}
            for ready in multiprocessing.connection.wait([*running, *pipes], timeout=1.0):
                if ready in pipes:
                    _receive(ready, pipes[ready], on_progress)
                elif ready in running:
                    process, folder, pipe = running.pop(ready)
                    process.join()
                    pipe.close()
                    yield folder, _outcome(folder, process.exitcode)
    finally:
        for process, _, _ in running.values():
            process.terminate()
        for process, _, _ in running.values():
            process.join(timeout=5)
            if process.is_alive():
                process.kill()
                process.join()


def _keep_sockets_short() -> None:
    """Let multiprocessing put its sockets into /tmp where TMPDIR is too long for them: the path of a socket has at most
    108 characters, and 30 of them are multiprocessing's own."""
    folder = tempfile.gettempdir()
    if len(os.fsencode(folder)) > 70 and os.access("/tmp", os.W_OK):
        tempfile.tempdir = "/tmp"
        try:
            multiprocessing.util.get_temp_dir()  # made once, and kept
        finally:
            tempfile.tempdir = folder


def _receive(pipe: Any, folder: Path, on_progress: OnProgress) -> None:
    try:
        phase, step, total, values = pipe.recv()
    except (EOFError, OSError):
        pipe.close()
        return
    on_progress(folder, phase, step, total, values)


def _outcome(folder: Path, exit_code: int | None) -> str:
    failure = results.read_failure(folder)
    if exit_code == 0 or (exit_code == 1 and failure):
        return failure
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        error = f"the worker was killed by {name}" + (
            ", which is how the system ends a process when memory runs out" if name == "SIGKILL" else ""
        )
    else:
        error = f"the worker ended with exit code {exit_code}"
    # On a full disk the failure is still told, though not kept.
    with contextlib.suppress(OSError):
        results.fail_cell(folder, error)
    return error


def _work(folder: str, pipe: Connection) -> None:
    """The life of a worker. Its output goes to the cell's log, at the level of file descriptors: libraries print
    too."""
    from benchmark.execution.worker import numbers, run_and_record

    # Ctrl-C reaches the whole group; the runner decides what happens to its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_stop_with_runner, daemon=True).start()
    log = os.open(results.log_path(Path(folder)), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)

    def tell(phase: str, step: int, total: int, values: Mapping[str, float]) -> None:
        with contextlib.suppress(OSError, ValueError):
            pipe.send((phase, int(step), int(total), numbers(values)))

    error = run_and_record(Path(folder), tell)
    sys.stdout.flush()
    sys.stderr.flush()
    # Leave without the libraries' exit handlers: everything is on the disk, and some of them hang.
    os._exit(1 if error else 0)


def _stop_with_runner() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
