"""`benchmark --help` against `transformers --help`: at most a fifteenth of its time, and nothing heavy imported."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from repeats import spread

GOAL = 15.0
REPEATS = 5


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - started


def main() -> int:
    scripts = Path(sys.executable).parent
    peers = {
        "benchmark --help": [str(scripts / "benchmark"), "--help"],
        "transformers --help": [shutil.which("transformers", path=str(scripts)) or "transformers", "--help"],
        "python -c pass": [sys.executable, "-c", "pass"],
    }
    for command in peers.values():
        seconds(command)  # fill the page cache
    times: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(REPEATS):
        for name, command in peers.items():
            times[name].append(seconds(command))
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, value in medians.items():
        print(f"{name:22} {1000 * value:8.0f} ms")
    ratio = medians["transformers --help"] / medians["benchmark --help"]
    code = (
        "import sys\nfrom benchmark.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'transformers', 'pandas', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = done.stdout.splitlines()[-1]
    turns = spread(times["transformers --help"], times["benchmark --help"])
    print(f"ratio {ratio:.1f} (goal {GOAL:.0f}; {turns}); heavy modules imported: {heavy}")
    return 0 if ratio >= GOAL and heavy == "[]" else 1


if __name__ == "__main__":
    sys.exit(main())
