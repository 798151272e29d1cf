"""How a cell's progress reaches the runner: as short JSON, and whatever a model writes there instead harms nobody."""

from __future__ import annotations

import contextlib
import json
import math
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from benchmark.text import visible

Progress = Callable[[str, int, int, Mapping[str, float]], None]
"""(phase, step, total, values): phase is "fit" or "rank"."""

MESSAGE = 4096
"""Bytes of a message at most; a longer one is dropped."""


def teller(progress: socket.socket) -> Progress:
    """What sends progress to this socket; it waits for nobody, and drops what finds no room there."""
    progress.setblocking(False)

    def tell(phase: str, step: int, total: int, values: Mapping[str, float]) -> None:
        with contextlib.suppress(OSError, ValueError, TypeError, OverflowError):  # the runner is busy, or has gone
            message = json.dumps([phase, int(step), int(total), numbers(values)]).encode()
            if len(message) <= MESSAGE:
                progress.send(message)

    return tell


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """The values that are numbers; a progress message crosses a pipe and must be plain."""
    return {k: float(v) for k, v in values.items() if isinstance(v, int | float) and math.isfinite(v)}


def receive(progress: socket.socket) -> Iterator[tuple[str, int, int, dict[str, float]]]:
    """(phase, step, total, values) of the messages that have come; anything else is dropped."""
    for _ in range(100):  # and the next ones the next time: other cells wait too
        try:
            message = progress.recv(MESSAGE + 1)
        except OSError:  # nothing is left
            return
        if (told := _told(message)) is not None:
            yield told


def _told(message: bytes) -> tuple[str, int, int, dict[str, float]] | None:
    """(phase, step, total, values), None for what is not a progress message."""
    try:
        if len(message) > MESSAGE:
            return None
        phase, step, total, values = json.loads(message)
        numbers = {_short(name): float(value) for name, value in values.items()}
        if not all(type(count) is int and 0 <= count < 2**53 for count in (step, total)):
            return None
        return _short(phase), step, total, {name: value for name, value in numbers.items() if math.isfinite(value)}
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def _short(text: Any) -> str:
    if not isinstance(text, str):
        raise TypeError
    return visible(text[:40]).replace("\n", " ").replace("\t", " ")
