"""Every benchmark of this folder, one after the other; the misses are named at the end.

    python tests/benchmarks/run_all.py [SCRIPT ...]

Exit code 1 where a script ended with an error, which is how each says that it is below its goal.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scripts", nargs="*", type=Path, metavar="SCRIPT", help="only these (default: all)")
    scripts = parser.parse_args().scripts or sorted(Path(__file__).parent.glob("bench_*.py"))
    missed = []
    for script in scripts:
        print(f"== {script.name}", flush=True)
        code = subprocess.call([sys.executable, str(script)])
        if code:
            missed.append(f"{script.name} (exit code {code})")
    print(f"== {len(scripts) - len(missed)} of {len(scripts)} reached their goals", flush=True)
    if missed:
        print(f"missed: {', '.join(missed)}", file=sys.stderr)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
