"""The errors a user can fix; anything else that is raised is a bug and keeps its traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchmarkError(Exception):
    """A mistake the user can fix: one message that says what was asked, what is wrong and what to do."""


class NotFittedError(BenchmarkError):
    """`rank` was called before `fit`."""


class MissingDataError(BenchmarkError):
    """The files of a data set are missing; the message says where to get them. A suite runs without a data set that it
    calls optional."""


class ContractError(BenchmarkError):
    """A plugin broke the contract it signed: a wrong shape, an unknown item, a score that is not a number."""


def error_text(error: BaseException) -> str:
    """What a plugin raised, with its type, and the remedy where it wrote into what it was given."""
    text = f"{type(error).__name__}: {str(error).strip()}"
    if isinstance(error, ValueError) and "read-only" in text:
        return f"{text} (what a plugin is given is read-only: copy it before you change it)"
    return text


def unknown(kind: str, name: str, names: Iterable[str], where: str = "") -> BenchmarkError:
    """The error for a name that does not exist, with the closest one that does."""
    names = sorted(names)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if not close:
        lowered = {k.lower(): k for k in reversed(names)}
        close = [lowered[m] for m in difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)]
    hint = f" Did you mean '{close[0]}'?" if close else ""
    place = f" in {where}" if where else ""
    return BenchmarkError(f"unknown {kind} '{name}'{place}.{hint} Known: {', '.join(names) or 'none'}.")


def reason(error: BaseException) -> str:
    """One line that says what ended a cell."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"out of memory: {error}. Lower the batch size or the model's size."
    text = str(error).strip() if isinstance(error, BenchmarkError) else ""
    return (text or error_text(error)).splitlines()[0]
