"""The log of a cell: the first and the last megabyte of what was printed, however much it was."""

from __future__ import annotations

import os
import re
from pathlib import Path

PART = 1_000_000
"""Bytes that are kept of the beginning, and of the end."""
_LEFT_OUT = re.compile(rb"\n\[([\d,]+) bytes are left out here\]\n")


class CappedLog:
    """Appends to a file. When that is longer than three parts, and at the end than two, its middle is left out, and a
    line in its place says how much that was."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._size = os.fstat(self._file).st_size
        line = _LEFT_OUT.match(os.pread(self._file, 100, PART))  # of an earlier attempt
        self._left_out = int(line[1].replace(b",", b"")) if line else 0
        self._end = PART + len(line[0] if line else b"")
        """Where the first part, with the line, ends."""

    def write(self, data: bytes) -> None:
        """Raises OSError where the disk is full."""
        self._size += os.pwrite(self._file, data, self._size)
        if self._size > 3 * PART:
            self._leave_out()

    def close(self) -> None:
        try:
            if self._size > self._end + PART:
                self._leave_out()
        finally:
            os.close(self._file)

    def _leave_out(self) -> None:
        last = os.pread(self._file, PART, self._size - PART)
        self._left_out += self._size - PART - self._end
        line = f"\n[{self._left_out:,} bytes are left out here]\n".encode()
        os.pwrite(self._file, line + last, PART)
        self._end, self._size = PART + len(line), PART + len(line) + len(last)
        os.ftruncate(self._file, self._size)
