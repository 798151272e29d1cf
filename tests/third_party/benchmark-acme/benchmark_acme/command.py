"""A command of a stranger's package."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable


def answer(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """The answer, and a question."""
    parser.add_argument("question", help="what it is the answer to")
    parser.add_argument("--code", type=int, default=0, help="the exit code")
    return run


def run(options: argparse.Namespace) -> int:
    sys.stdout.write(f"{options.question} 42\n")
    return int(options.code)
