"""`benchmark ui`: MLflow's own pages on the store of a results folder."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path

from benchmark import BenchmarkError


def ui(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """MLflow's pages on this store."""
    parser.add_argument("--results", metavar="DIR", default="results", help="where results are (default: results)")
    parser.add_argument("--tracking", metavar="URI", default="",
                        help="the store's URI (default: sqlite in the results folder)")  # fmt: skip
    parser.add_argument("--port", metavar="N", type=int, default=5000, help="where to serve them (default: 5000)")
    return lambda options: serve(Path(options.results), options.tracking, options.port)


def serve(results: Path, tracking: str, port: int) -> int:
    """Serve until Ctrl-C or SIGTERM, then end every process of the server. Returns the exit code.

    Raises BenchmarkError if there is nothing to show or the port cannot be used.
    """
    if importlib.util.find_spec("mlflow") is None:
        raise BenchmarkError(
            "benchmark ui needs 'mlflow', which is not installed.\n"
            "Install it with: pip install 'genrec-benchmark[mlflow]'"
        )
    if tracking.startswith(("http://", "https://")):
        raise BenchmarkError(f"{tracking} is a server already: open it in a browser.")
    store = results.resolve() / "mlflow.db"
    if not tracking and not store.is_file():
        raise BenchmarkError(f"there is no MLflow store in {results}. Run a suite first: benchmark run SUITE")
    experiments = [] if tracking else _experiments(store)
    _check_port(port)
    received: list[int] = []  # noted, not raised: an exception while the server starts would leave it running
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(number, lambda number, _: received.append(number))
    home = f"http://127.0.0.1:{port}"
    sys.stderr.write(f"MLflow on {home} (Ctrl-C ends it)\n")
    for experiment, name, leaderboard in experiments:
        sys.stderr.write(f"  {name}: {home}/#/experiments/{experiment}/runs?{_charts(leaderboard)}\n")
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
         "--backend-store-uri", tracking or f"sqlite:///{store}",
         "--default-artifact-root", (results.resolve() / "mlartifacts").as_uri()],
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
             "PYTHONWARNINGS": "ignore"},
        start_new_session=True,
    )  # fmt: skip
    try:
        while server.poll() is None and not received:
            time.sleep(0.1)
        return 128 + received[0] if received else server.returncode
    finally:
        _end_group(server)


def _end_group(server: subprocess.Popen[bytes]) -> None:
    """End the server and its workers, which form a process group."""
    for number, seconds in ((signal.SIGTERM, 5), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(timeout=seconds)


def _check_port(port: int) -> None:
    if not 1 <= port <= 65535:
        raise BenchmarkError(f"--port {port}: a port is a number from 1 to 65535.")
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise BenchmarkError(
                f"port {port} cannot be used ({error.strerror}). Give another one: --port N"
            ) from error


def _charts(leaderboard: str | None) -> str:
    """The part of an address that opens the charts of all cells of a leaderboard; of all runs if there is none."""
    shown = {
        "workflowType": "machine_learning",  # without it MLflow shows the pages for chat applications
        "searchFilter": f"tags.`mlflow.parentRunId` = '{leaderboard}'" if leaderboard else "",
        "orderByKey": "tags.`mlflow.runName`",  # sorted by time, MLflow hides child runs under their parent
        "orderByAsc": "true",
        "compareRunsMode": "CHART",
    }
    return urllib.parse.urlencode(shown, quote_via=urllib.parse.quote)


def _experiments(store: Path) -> list[tuple[int, str, str | None]]:
    """Number and name of every experiment of a local store that has cells, and its newest leaderboard that has some;
    None if no leaderboard has any yet."""
    query = """
        SELECT e.experiment_id, e.name, board.run_uuid, max(board.end_time)
        FROM experiments e JOIN runs cell USING (experiment_id)
        JOIN tags key ON key.run_uuid = cell.run_uuid AND key.key = 'benchmark.computation'
        LEFT JOIN tags parent ON parent.run_uuid = cell.run_uuid AND parent.key = 'mlflow.parentRunId'
        LEFT JOIN runs board ON board.run_uuid = parent.value AND board.lifecycle_stage = 'active'
        WHERE cell.lifecycle_stage = 'active' GROUP BY e.experiment_id ORDER BY e.name
    """  # SQLite takes the other columns from the row with the maximum
    try:
        with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
            return [row[:3] for row in connection.execute(query)]
    except sqlite3.Error as error:
        raise BenchmarkError(
            f"MLflow store {store} cannot be read ({error}). Run a suite again: benchmark run SUITE"
        ) from error
