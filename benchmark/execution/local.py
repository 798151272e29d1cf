"""Each cell in a process of its own, forked from a server that has imported torch and the like once.

A crash, a leak or a killed worker ends that cell alone, and nothing that a cell starts outlives it: see
`benchmark.execution.server`. Where the server itself is killed, by a model or by the system, the cells that it held
fail, and another server goes on with the rest.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from multiprocessing.connection import wait
from pathlib import Path

from benchmark.execution import processes
from benchmark.execution.progress import receive
from benchmark.execution.server import signal_name
from benchmark.jobs import Execution, Job, OnProgress
from benchmark.results.cells import CellFolder


def run(jobs: Sequence[Job], execution: Execution, on_progress: OnProgress) -> Generator[tuple[Path, str]]:
    """Run each cell in a process of its own on this machine."""
    waiting = [job.folder for job in jobs]
    with _adopting_orphans():
        while waiting:
            with contextlib.closing(_Server(execution.environment, execution.preload)) as server:
                yield from server.run(waiting, execution.parallel, on_progress)


@contextlib.contextmanager
def _adopting_orphans() -> Iterator[None]:
    """While this lasts, processes whose server was killed become children of this one."""
    before = processes.adopt_orphans()
    try:
        yield
    finally:
        processes.adopt_orphans(before)


class _Server:
    """The fork server, in a session of its own, seen from the runner."""

    def __init__(self, environment: Mapping[str, str], preload: Sequence[str]) -> None:
        self._others = set(processes.children(os.getpid()))
        self._control, theirs = socket.socketpair()
        self._buffer = b""
        self._held: dict[Path, socket.socket] = {}
        """The cells that it has, and where their progress comes from."""
        start = (
            f"import sys; sys.path[:] = {sys.path!r}; from benchmark.execution import server, worker; "
            f"server.main({theirs.fileno()}, {list(preload)!r}, worker.run_and_record)"
        )
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", start],
                stdin=subprocess.DEVNULL,
                env={"TOKENIZERS_PARALLELISM": "false", **os.environ, **environment},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def run(self, waiting: list[Path], jobs: int, on_progress: OnProgress) -> Iterator[tuple[Path, str]]:
        """Run these cells, taking each off the list, for as long as the server lives."""
        while waiting or self._held:
            try:
                while waiting and len(self._held) < jobs:
                    self._start(waiting[0])
                    waiting.pop(0)
                ready = wait([self._control, *self._held.values()], timeout=1.0)
                if not ready:
                    self._process.send_signal(signal.SIGCONT)  # a model may have stopped it
                for folder, progress in self._held.items():
                    if progress in ready:
                        for told in receive(progress):
                            on_progress(folder, *told)
                ended = list(self._listen()) if self._control in ready else []
            except (EOFError, ConnectionError):
                yield from self._lost()
                return
            for folder, error in ended:
                self._held.pop(folder).close()
                yield folder, error

    def _start(self, folder: Path) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.setblocking(False)
        with theirs:
            try:
                socket.send_fds(self._control, [json.dumps(str(folder.absolute())).encode() + b"\n"], [theirs.fileno()])
            except OSError:
                ours.close()
                raise
        self._held[folder] = ours

    def _listen(self) -> Iterator[tuple[Path, str]]:
        """Which cells have ended, and why. Raises EOFError where the server has."""
        data = self._control.recv(1 << 16)
        if not data:
            raise EOFError
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            name, error = json.loads(line)
            (folder,) = (folder for folder in self._held if str(folder.absolute()) == name)
            yield folder, error

    def _lost(self) -> Iterator[tuple[Path, str]]:
        """The server has ended before its time: so do all its workers, and their cells fail."""
        code = self._process.wait()
        self.close()
        how = f"was killed by {signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
        error = (
            f"the process that starts the workers {how}, and this cell ended with it: a model may have done that, or "
            "the system because memory ran out. With --jobs 1 no other cell is lost with the one that is the cause."
        )
        for folder in self._held:
            with contextlib.suppress(OSError):
                CellFolder(folder).fail(error)
            yield folder, error

    def close(self) -> None:
        """End the server, all its workers and all that they have started."""
        self._control.close()
        for progress in self._held.values():
            progress.close()
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.wait(2 * processes.PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if (
            self._process.returncode
        ):  # its children fell to this process, and have sessions of their own, or the server's
            own = os.getsid(0)
            processes.end_children(lambda pid: pid in self._others or processes.session(pid) in (own, None))
