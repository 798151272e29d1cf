"""Trees of processes: who descends from whom, what memory they take together, and how to end them all.

On Linux (`/proc` and `prctl`); elsewhere a process ends with its group, and its memory is not known.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

LINUX = sys.platform == "linux"
_PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 36, 37
PATIENCE = 10.0
"""Seconds that processes have to die; what belongs to another user (sudo) never does."""


def adopt_orphans(adopt: bool = True) -> bool:
    """Make this process the parent of its descendants whose parents have died, so that none leaves its tree, whatever
    sessions and daemons they make of themselves; gives what it was before. See prctl(2), PR_SET_CHILD_SUBREAPER."""
    if not LINUX:
        return False
    libc, before = ctypes.CDLL(None), ctypes.c_int()
    libc.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(adopt), 0, 0, 0)
    return bool(before.value)


def children(pid: int) -> list[int]:
    """The processes whose parent this one is, those that have ended and are not yet waited for among them."""
    numbers: list[int] = []
    for path in Path("/proc", str(pid), "task").glob("*/children"):
        with contextlib.suppress(OSError):
            numbers += map(int, path.read_text().split())
    return numbers


def tree(pids: Iterable[int]) -> Iterator[int]:
    """These processes and all their descendants."""
    waiting = list(pids)
    while waiting:
        yield (pid := waiting.pop())
        waiting += children(pid)


def session(pid: int) -> int | None:
    """The number of the process's session; None where it has gone."""
    try:
        return os.getsid(pid)
    except OSError:
        return None


def end(pids: Iterable[int]) -> None:
    """Send SIGKILL to these processes and all their descendants. They are stopped first: else some could start others
    while the list of them is read."""
    stopped, roots = set[int](), list(pids)
    while running := set(tree(roots)) - stopped:
        _signal(running, signal.SIGSTOP)
        stopped |= running
    _signal(stopped, signal.SIGKILL)
    if not LINUX:
        for pid in roots:
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)


def end_children(kept: Callable[[int], bool] = lambda pid: False) -> None:
    """End this process's children, orphans that fell to it included, and their descendants, but for those that are
    `kept`; gives up on what has not died after `PATIENCE`."""
    deadline = time.monotonic() + PATIENCE
    while (rest := [pid for pid in children(os.getpid()) if not kept(pid)]) and time.monotonic() < deadline:
        end(rest)
        for pid in rest:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.001)


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, number)


def memory(pids: Iterable[int], limit: int = 0) -> int:
    """The bytes that these processes take, in memory or swapped out; what several processes share is counted once, in
    parts. Where their sum without that, which is quick to read, is within `limit`, it is that sum."""
    numbers = list(pids)
    most = sum(_kilobytes(pid, "status", ("VmRSS", "VmSwap")) or 0 for pid in numbers)
    if 1024 * most <= limit:
        return 1024 * most
    # Not readable where a process has other rights than this one.
    parts = (
        _kilobytes(pid, "smaps_rollup", ("Pss", "SwapPss")) or _kilobytes(pid, "status", ("VmRSS", "VmSwap")) or 0
        for pid in numbers
    )
    return 1024 * sum(parts)


def _kilobytes(pid: int, file: str, names: tuple[str, ...]) -> int | None:
    try:
        lines = Path("/proc", str(pid), file).read_text().splitlines()
    except OSError:
        return None
    pairs = (line.partition(":") for line in lines)
    return sum(int(value.split()[0]) for name, _, value in pairs if name in names)
