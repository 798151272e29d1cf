"""Kill a run at random points, run it again, and compare its tables with those of a run that nobody disturbed.

    python tests/torture.py [--kills 100] [--seed 0] [--jobs N] [--only NUMBER]

A run has three cells and the default tracking, MLflow's store in the results folder. Each kill is in a folder of its
own: a run is ended there at a moment drawn by the seed, run again to its end, and then must have

- the same leaderboard (but for seconds and memory), rankings, scores and runs in MLflow as the undisturbed run,
- nothing half-written in its results, nor a cell's scratch folder,
- no process left, neither after the kill nor at the end.

The moments are spread over the whole run, with extra ones where most is written: while the store is made, in the two
seconds after it is there, after the first cell has finished, and while the report is written. Most kills are SIGKILL to
the whole process group; some are SIGKILL to the runner alone, SIGTERM, and Ctrl-C.

Exit code 1 where any differs, with the number and the moment of each; `--only NUMBER` repeats that one and keeps its
folder.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SUITE = """
name: torture
datasets: [{use: files, name: Shop, params: {path: data}}]
models:
  - {use: popular, name: Pop}
  - {use: bm25, name: BM25}
  - {use: sasrec, name: SASRec, params: {epochs: 2, layers: 1, hidden_size: 8, inner_size: 8, heads: 1}}
metrics: [R@10, nDCG@10]
slices: [all, head]
depth: 20
compare: [{model: SASRec, against: [Pop]}, {model: BM25, against: [Pop]}]
claims:
  - {where: {dataset: Shop, task: recommendation, metric: R@10}, expect: {SASRec > Pop: t}}
"""
CELLS = 3
LIMIT = 300.0
"""Seconds for one run, on however busy a machine."""
MARK = "BENCHMARK_TORTURE"
"""The environment variable by which the processes of one run are known."""
HALF_WRITTEN = re.compile(r"\.[^/]+\.\d+\.\w+|.*\.new|.*-journal|.*-wal|.*\.half-made|failure\.json")
MEASURED = ("fit_seconds", "rank_seconds", "milliseconds_per_request", "peak_memory_bytes", "embeddings_seconds")


@dataclass(frozen=True)
class Kill:
    """When and how: `seconds` after the first file that fits the pattern `after` is there (empty: after the start)."""

    after: str
    seconds: float
    way: str

    def __str__(self) -> str:
        where = f"{self.after} was there" if self.after else "its start"
        return f"{self.way}, {self.seconds:.2f} s after {where}"


def draw(chance: random.Random, whole: float) -> Kill:
    """A moment of a run that takes `whole` seconds, and a way to end it."""
    after, most = chance.choices(
        [
            ("", whole),
            ("mlflow.db.new", 0.25 * whole),
            ("mlflow.db", 2.0),
            ("torture/cells/*/*/*/log.txt", 0.3 * whole),
            ("torture/cells/*/*/*/cell.json", 1.5),
            ("torture/leaderboard.*", 0.6),
        ],
        weights=[35, 15, 20, 10, 10, 10],
    )[0]
    ways = ["SIGKILL", "SIGKILL to the runner alone", "SIGTERM", "SIGTERM to the runner alone", "SIGINT"]
    return Kill(after, chance.uniform(0, most), chance.choices(ways, weights=[60, 15, 10, 5, 10])[0])


class Run:
    """One `benchmark run` in a folder, and every process that it has started."""

    def __init__(self, folder: Path) -> None:
        self.results = folder / "results"
        scratch = folder / "tmp"
        scratch.mkdir(exist_ok=True)
        self.mark = f"{MARK}={folder.name}-{time.monotonic_ns()}"
        name, _, value = self.mark.partition("=")
        path = os.pathsep.join([str(ROOT), str(ROOT / "plugins")])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmark.cli", "run", "torture.yaml"],
            cwd=folder,
            env={**os.environ, name: value, "TMPDIR": str(scratch), "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""},
            stdout=subprocess.DEVNULL,
            stderr=(folder / "stderr.txt").open("w"),
            start_new_session=True,
            # What a shell starts in the background ignores Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def meets(self, kill: Kill) -> bool:
        """Wait for the moment and end the run; False where it had ended before."""
        give_up = time.monotonic() + LIMIT
        while kill.after and not any(self.results.glob(kill.after)):
            if self.process.poll() is not None or time.monotonic() > give_up:
                return False
            time.sleep(0.005)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=kill.seconds)
            return False
        number = getattr(signal, kill.way.split()[0])
        (os.kill if kill.way.endswith("alone") else os.killpg)(self.process.pid, number)
        self.process.wait(timeout=LIMIT)
        return True

    def outlived(self, patience: float = 60.0) -> list[str]:
        """The command lines of the processes that are still there, when they had some seconds to notice."""
        give_up = time.monotonic() + patience
        while (alive := list(self._alive())) and time.monotonic() < give_up:
            time.sleep(0.05)
        return alive

    def _alive(self) -> Iterator[str]:
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                dead = (path / "stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
                if not dead and self.mark.encode() in (path / "environ").read_bytes():
                    yield (path / "cmdline").read_text().replace("\0", " ")


def prepare(folder: Path) -> Path:
    """A folder with a suite and its small data: 60 users, 50 items, 30 queries."""
    folder.mkdir(parents=True)
    (folder / "torture.yaml").write_text(SUITE)
    data = folder / "data"
    data.mkdir()
    chance = random.Random(7)
    words = ["red", "green", "tall", "small", "round", "old", "lamp", "chair", "table", "shelf"]
    texts = [" ".join(chance.sample(words, 3)) for _ in range(50)]
    clicks = [(u, i, 1000 * u + t) for u in range(60) for t, i in enumerate(chance.sample(range(50), 8))]
    tables: dict[str, list[tuple[Any, ...]]] = {
        "items": [("id", "text"), *enumerate(texts)],
        "interactions": [("user", "item", "time"), *clicks],
        "queries": [("id", "text"), *((q, " ".join(chance.sample(words, 2))) for q in range(30))],
        "relevance": [("query", "item"), *((q, i) for q in range(30) for i in chance.sample(range(50), 2))],
    }
    for name, rows in tables.items():
        with (data / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    return folder


def whole(folder: Path) -> str:
    """Run to the end; what went wrong, empty for nothing."""
    run = Run(folder)
    try:
        code = run.process.wait(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(run.process.pid, signal.SIGKILL)
        return f"the run did not end within {LIMIT:.0f} seconds"
    said = (folder / "stderr.txt").read_text()
    if code or "Traceback" in said:
        return f"the run ended with exit code {code}: {said[-1500:]}"
    if alive := run.outlived():
        return f"outlived its run: {alive}"
    return ""


def remains(folder: Path) -> dict[str, Any]:
    """Everything that must be equal to the undisturbed run, by name."""
    home = folder / "results" / "torture"
    board = json.loads((home / "leaderboard.json").read_text())
    for cost in board["costs"]:
        for name in MEASURED:
            cost.pop(name, None)
    markdown = (home / "leaderboard.md").read_bytes()
    files = [home / name for name in ("leaderboard.csv", "leaderboard.tex", "significance.csv", "claims.json")]
    files += sorted(home.glob("cells/*/*/*/*.parquet")) + sorted(home.glob("datasets/**/*.parquet"))
    return {
        "leaderboard.json": board,
        "leaderboard.md": markdown[: markdown.index(b"## Cost")],
        **{str(path.relative_to(home)): path.read_bytes() for path in files},
        "MLflow": logged(folder / "results" / "mlflow.db"),
        "half-written": sorted(
            str(path.relative_to(folder))
            for path in folder.rglob("*")
            if HALF_WRITTEN.fullmatch(path.name) or path.match("tmp/benchmark-*/*/work")
        ),
    }


def logged(database: Path) -> dict[str, Any]:
    """What the newest parent run in the store holds: names, states, numbers but for seconds and memory, files."""
    child = "SELECT run_uuid FROM tags WHERE key = 'mlflow.parentRunId'"
    with contextlib.closing(sqlite3.connect(database)) as store:
        parents = store.execute(
            f"SELECT run_uuid, status FROM runs WHERE run_uuid NOT IN ({child}) ORDER BY start_time DESC"
        ).fetchall()
        runs = store.execute(
            "SELECT r.run_uuid, r.name, r.status FROM runs r JOIN tags t USING (run_uuid) "
            "WHERE t.key = 'mlflow.parentRunId' AND t.value = ? ORDER BY r.name",
            parents[0][:1],
        ).fetchall()
        numbers = {
            name: [
                row
                for row in store.execute(
                    "SELECT key, step, value FROM metrics WHERE run_uuid = ? ORDER BY key, step", (run,)
                )
                if row[0] not in MEASURED
            ]
            for run, name, _ in runs
        }
        open_runs = store.execute("SELECT count(*) FROM runs WHERE status = 'RUNNING'").fetchone()[0]
    artifacts = database.parent / "mlartifacts" / "torture"
    files = {name: sorted(p.name for p in (artifacts / run).rglob("*") if p.is_file()) for run, name, _ in runs}
    states = [(name, state) for _, name, state in runs]
    return {"parent": parents[0][1], "runs": states, "numbers": numbers, "files": files, "left open": open_runs}


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """The names of what differs; short values with both."""
    names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    return [f"{name}: {str(ours.get(name))[:600]} where it was {str(theirs.get(name))[:600]}" for name in names]


class Torture:
    def __init__(self, home: Path, seed: int, seconds: float, expected: dict[str, Any]) -> None:
        self.home, self.seed, self.seconds, self.expected = home, seed, seconds, expected
        self.equal = self.done = 0
        self.failures: list[str] = []
        self.lock = threading.Lock()

    def kill(self, number: int) -> None:
        """Kill a run, run it again, compare."""
        chance = random.Random(f"{self.seed} {number}")
        folder, problems = self.home / f"kill-{number}", []
        while True:  # until the run is met alive: a quick one may have ended before its moment
            kill = draw(chance, self.seconds)
            prepare(folder)
            run = Run(folder)
            if run.meets(kill):
                break
            run.process.wait(timeout=LIMIT)
            shutil.rmtree(folder)
        if alive := run.outlived():
            problems.append(f"outlived the kill: {alive}")
        if error := whole(folder):
            problems.append(error)
        else:
            problems += differences(remains(folder), self.expected)
        with self.lock:
            self.done += 1
            if problems:
                self.failures.append(f"kill {number} ({kill}): {'; '.join(problems)}")
                print(self.failures[-1], flush=True)
            else:
                self.equal += 1
                shutil.rmtree(folder)
            if self.done % 10 == 0:
                print(f"{self.equal} of {self.done} tables equal so far", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="runs at a time (cores)")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="repeat this kill alone")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="torture-"))
    undisturbed = prepare(home / "undisturbed")
    whole(prepare(home / "first"))  # which finds no library in the disk's cache
    started = time.monotonic()
    if error := whole(undisturbed):
        sys.exit(f"undisturbed: {error}")
    seconds = time.monotonic() - started
    expected = remains(undisturbed)
    runs = expected["MLflow"]["runs"]
    assert len(runs) == CELLS, runs
    numbers = range(options.kills) if options.only is None else [options.only]
    print(f"an undisturbed run takes {seconds:.1f} s; seed {options.seed}, folder {home}", flush=True)
    torture = Torture(home, options.seed, seconds, expected)
    with ThreadPoolExecutor(options.jobs) as lanes:
        list(lanes.map(torture.kill, numbers))
    print(f"{torture.equal} of {len(numbers)} tables equal")
    for failure in torture.failures:
        print(failure, file=sys.stderr)
    if not torture.failures:
        shutil.rmtree(home)
    return int(bool(torture.failures))


if __name__ == "__main__":
    sys.exit(main())
