"""What a number must be traceable to: versions, the machine, the state of the code."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any


def environment(source: Path) -> dict[str, Any]:
    """Versions, the machine, and the git commit of the suite's folder: what a number must be traceable to."""
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "suite": str(source),
        "git_commit": _git(source.resolve().parent, "rev-parse", "HEAD"),
        "git_dirty": bool(_git(source.resolve().parent, "status", "--porcelain")),
        "packages": dict(
            sorted({d.metadata["Name"]: d.version for d in metadata.distributions() if d.metadata["Name"]}.items())
        ),
    }


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
