"""`benchmark ui`: MLflow's own pages on the store of a results folder."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

from benchmark.errors import BenchmarkError


def serve(results: Path, tracking: str, port: int) -> int:
    """Serve until Ctrl-C; gives MLflow's exit code. Raises BenchmarkError where there is nothing to show."""
    if importlib.util.find_spec("mlflow") is None:
        raise BenchmarkError(
            "the pages are MLflow's, which is not installed. Install it with: pip install 'genrec-benchmark[mlflow]'"
        )
    if tracking.startswith(("http://", "https://")):
        raise BenchmarkError(f"{tracking} is a server already: open it in a browser.")
    store = results.resolve() / "mlflow.db"
    if not tracking and not store.is_file():
        raise BenchmarkError(f"there is no MLflow store in {results}. Run a suite first: benchmark run SUITE")
    home = f"http://127.0.0.1:{port}"
    sys.stderr.write(f"MLflow on {home} (Ctrl-C ends it)\n")
    # Without this parameter MLflow opens its pages for chat applications, which have no runs table.
    for number, name in [] if tracking else _experiments(store):
        sys.stderr.write(f"  {name}: {home}/#/experiments/{number}?workflowType=machine_learning\n")
    return subprocess.call(
        [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
         "--backend-store-uri", tracking or f"sqlite:///{store}",
         "--default-artifact-root", (results.resolve() / "mlartifacts").as_uri()],
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
             "PYTHONWARNINGS": "ignore"},
    )  # fmt: skip


def _experiments(store: Path) -> list[tuple[int, str]]:
    """Number and name of every experiment of a local store that has runs."""
    query = "SELECT DISTINCT e.experiment_id, e.name FROM experiments e JOIN runs USING (experiment_id) ORDER BY 2"
    with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()
