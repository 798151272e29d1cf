"""`benchmark ui`: MLflow's own pages on the store of a results folder."""

from __future__ import annotations

import importlib.util
import os
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
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", tracking or f"sqlite:///{store}"]
    command += ["--default-artifact-root", (results.resolve() / "mlartifacts").as_uri()]
    sys.stderr.write(f"MLflow on http://127.0.0.1:{port} (Ctrl-C ends it)\n")
    return subprocess.call(command, env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"})
