"""The fork server: a process that has imported torch and the like once, forks a worker per cell, and keeps it to its
limits.

No model runs in it. It is the parent of the workers, and of every process that a worker leaves: all of these end
with their cell. It ends with the runner, and every cell with it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path

from pydantic import ByteSize

from benchmark.errors import BenchmarkError
from benchmark.execution import processes
from benchmark.execution.log import CappedLog
from benchmark.execution.progress import Progress, teller
from benchmark.results.cells import CellFolder

Work = Callable[[Path, Progress | None], str]
"""What a worker does: run the cell in this folder, tell of its progress, and give the error, "" for none."""
PERIOD = 0.5
"""Seconds between two looks at the limits."""


@dataclass
class _Cell:
    folder: Path
    pid: int
    started: float
    timeout: float | None
    memory: int | None
    output: int = -1
    """What the worker prints can be read here; -1 where that is not ours."""
    log: CappedLog | None = None
    stopped: str = ""
    """Why it was ended; empty where it was not."""


class ForkServer:
    """Starts workers, waits for them, writes their logs, and ends those that exceed their limits."""

    def __init__(self, work: Work, control: socket.socket | None = None) -> None:
        self._do = work
        processes.adopt_orphans()
        self._cells: dict[int, _Cell] = {}
        self._ended: list[tuple[Path, str]] = []
        self._control, self._buffer, self._sockets = control, b"", deque[int]()
        self._selector = selectors.DefaultSelector()
        # Workers read from `_alive`, to which nobody writes: it ends when the holder of `_held`, this process, does.
        self._alive, self._held = os.pipe()
        self._woken, self._wake = os.pipe()
        for handle in (self._woken, self._wake):
            os.set_blocking(handle, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        if control is not None:
            self._selector.register(control, selectors.EVENT_READ)
        self._kept = set(processes.children(os.getpid()))

    def start(self, folder: Path, progress: socket.socket | None = None, log: bool = True) -> None:
        """Fork a worker for the cell, which tells `progress` how it goes. Its output goes into the cell's log, at the
        level of file descriptors because libraries print too, or where this process prints."""
        cell = _Cell(folder, 0, time.monotonic(), None, None)
        try:
            with contextlib.suppress(BenchmarkError):  # which the worker reports
                spec = CellFolder(folder).read_spec()
                cell.timeout, cell.memory = spec.timeout, spec.memory
            target = None
            if log:
                cell.log = CappedLog(CellFolder(folder).log)
                cell.output, target = os.pipe()
                os.set_blocking(cell.output, False)
            cell.pid = os.fork()
        except OSError as error:
            self._finish(cell, f"the cell could not be started ({error})")
            return
        if cell.pid == 0:
            try:
                self._work(cell, progress, target)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        if target is not None:
            os.close(target)
            self._selector.register(cell.output, selectors.EVENT_READ, cell)
        self._cells[cell.pid] = cell

    def step(self) -> list[tuple[Path, str]]:
        """Wait for something to happen; gives (folder, error) of the cells that have ended, "" for none. Raises
        EOFError when the runner has gone."""
        limited = any(cell.timeout or cell.memory for cell in self._cells.values())
        for key, _ in self._selector.select(PERIOD if limited else None):
            if isinstance(key.data, _Cell):
                self._read(key.data)
            elif key.fileobj is self._control:
                self._listen(self._control)
            else:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._woken, 1 << 16)
        self._wait()
        for cell in list(self._cells.values()):
            if not cell.stopped and (reason := _excess(cell)):
                cell.stopped = reason
                processes.end([cell.pid])
        ended, self._ended = self._ended, []
        return ended

    @property
    def busy(self) -> bool:
        return bool(self._cells or self._ended)

    def close(self) -> None:
        """End all workers and what they have started."""
        processes.end(self._cells)
        processes.end_children(lambda pid: pid in self._kept)

    def _listen(self, control: socket.socket) -> None:
        """A line per cell, the name of its folder, and with it the socket for its progress."""
        data, handles, _, _ = socket.recv_fds(control, 1 << 16, 16)
        if not data:
            raise EOFError
        for handle in handles:
            os.set_inheritable(handle, False)
        self._sockets.extend(handles)
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            with socket.socket(fileno=self._sockets.popleft()) as progress:
                self.start(Path(json.loads(line)), progress)

    def _wait(self) -> None:
        """See which workers have ended. The orphans that these leave have fallen to this process."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if (cell := self._cells.pop(pid, None)) is not None:
                processes.end_children(lambda pid: pid in self._kept or pid in self._cells)
                self._finish(cell, outcome(cell.folder, os.waitstatus_to_exitcode(status), cell.stopped))

    def _finish(self, cell: _Cell, error: str) -> None:
        if cell.output >= 0:
            for _ in range(64):  # what the pipe holds
                if not self._read(cell):
                    break
            self._forget(cell.output)
            os.close(cell.output)
        if cell.log is not None:
            with contextlib.suppress(OSError):
                cell.log.close()
        if error:  # on a full disk it is told, though not kept
            with contextlib.suppress(OSError):
                CellFolder(cell.folder).fail(error)
        self._ended.append((cell.folder, error))

    def _read(self, cell: _Cell) -> bool:
        """Move what the worker has printed to its log; False where there was nothing."""
        assert cell.log is not None
        try:
            data = os.read(cell.output, 1 << 16)
        except BlockingIOError:
            return False
        if not data:  # closed by all that had it
            self._forget(cell.output)
            return False
        with contextlib.suppress(OSError):  # the disk is full
            cell.log.write(data)
        return True

    def _forget(self, output: int) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(output)

    def _work(self, cell: _Cell, progress: socket.socket | None, output: int | None) -> None:
        """The life of a worker, in a session of its own: a signal to its group reaches nobody else."""
        os.setsid()
        processes.adopt_orphans()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        for handle in (self._held, self._woken, self._wake, *(one.output for one in [cell, *self._cells.values()])):
            if handle >= 0:
                os.close(handle)
        if self._control is not None:
            self._control.close()
        threading.Thread(target=_end_with_server, args=(self._alive,), daemon=True).start()
        if output is not None:
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.close(output)
        error = self._do(cell.folder, None if progress is None else teller(progress))
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        # Leave without the libraries' exit handlers: everything is on the disk, and some of them hang.
        os._exit(1 if error else 0)


def _end_with_server(alive: int) -> None:
    with contextlib.suppress(OSError):
        os.read(alive, 1)
        processes.end_children()
        os._exit(1)


def _excess(cell: _Cell) -> str:
    """Which limit the cell exceeds, and what it used; empty where it keeps to both."""
    seconds = time.monotonic() - cell.started
    late = cell.timeout is not None and seconds > cell.timeout
    if not late and cell.memory is None:
        return ""
    used = processes.memory(processes.tree([cell.pid]), 0 if late else cell.memory or 0)
    size = ByteSize(used).human_readable(decimal=True)
    if late:
        return (
            f"stopped after {seconds:.0f} s, when it used {size}: its timeout is {cell.timeout:g} s (suite key "
            "`timeout`). Give it more time, or train less."
        )
    if cell.memory is not None and used > cell.memory:
        limit = ByteSize(cell.memory).human_readable(decimal=True)
        return (
            f"stopped after {seconds:.0f} s: it used {size}, and its memory limit is {limit} (suite key `memory`). "
            "Allow more, or lower the batch size or the model's size."
        )
    return ""


def outcome(folder: Path, exit_code: int, stopped: str = "") -> str:
    """Why a cell failed whose worker has ended, "" where it did not."""
    failure = CellFolder(folder).failure()
    if stopped or exit_code == 0 or (exit_code == 1 and failure):
        return stopped or failure
    if exit_code < 0:
        name = signal_name(-exit_code)
        hint = ", which is how the system ends a process when memory runs out" if name == "SIGKILL" else ""
        return f"the worker was killed by {name}{hint}"
    return f"the worker ended with exit code {exit_code}"


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def main(control: int, modules: Sequence[str], work: Work) -> None:
    """Serve the runner that holds the other end of this socket."""
    for name in modules:
        # A module that breaks here breaks again in the cell that needs it, and is reported there.
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    # Workers share this process's tracker of semaphores and shared memory: their own would end with them, before it has
    # cleaned up. What it says of their leaks is for nobody.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    resource_tracker.ensure_running()
    runner = socket.socket(fileno=control)
    server = ForkServer(work, runner)
    with contextlib.suppress(EOFError, ConnectionError):  # the runner has gone
        while True:
            for folder, error in server.step():
                runner.sendall(json.dumps([str(folder), error]).encode() + b"\n")
    server.close()
    os._exit(0)
