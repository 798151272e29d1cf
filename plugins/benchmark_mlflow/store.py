"""An MLflow store that connects or fails quickly, is used by one process at a time, and prints nothing."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import socket
import sqlite3
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from benchmark import BenchmarkError

SETTINGS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_DISABLE_AGENT_HINT": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""With MLflow's own settings a call waits minutes for a dead server. What the user has set takes precedence."""
LOCK_SECONDS = 120.0
PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


@dataclass(frozen=True)
class Store:
    """`home` is the folder of the default store, and of the artifacts of a store that has no better place for them."""

    uri: str
    home: Path
    owner: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Written to the lock file, so that the next session knows who had the store last."""

    @contextlib.contextmanager
    def session(self, problem: str, remedy: str) -> Iterator[bool]:
        """Use the store while no other process of the benchmark does: two that create it at once break it, and two that
        log one cell log it twice. Yields whether the previous session was this object's as well.

        Every error becomes a BenchmarkError: a server, a driver and a network can raise anything, and it means the same
        to the user.
        """
        try:
            with _locked(self._lock_file(), self.owner) as last_owner, _quiet():
                yield last_owner == self.owner
        except BenchmarkError:
            raise
        except Exception as error:
            raise BenchmarkError(f"MLflow store {self} {problem}: {_reason(error)}. {remedy}.") from error

    def connect(self, experiment: str, title: str) -> tuple[Any, str]:
        """An MlflowClient and the experiment's id. A missing database or experiment is created."""
        self._check_address()
        self._create()
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=self.uri)
        existing = client.get_experiment_by_name(experiment)
        if existing is None:
            tags = {"mlflow.note.content": title}
            return client, str(client.create_experiment(experiment, self._artifacts(experiment), tags))
        if existing.lifecycle_stage == "deleted":
            raise BenchmarkError(
                f"experiment '{experiment}' was deleted in MLflow store {self}. Bring it back with: mlflow experiments "
                f"restore --experiment-id {existing.experiment_id}; or run without MLflow: --tracking off"
            )
        return client, str(existing.experiment_id)

    def __str__(self) -> str:
        return _without_password(self.uri)

    @property
    def _database(self) -> Path | None:
        kind, separator, path = self.uri.partition(":///")
        return Path(path.partition("?")[0]).absolute() if separator and kind.startswith("sqlite") else None

    def _lock_file(self) -> Path:
        database = self._database
        return database.with_name(f"{database.name}.lock") if database else self.home / ".mlflow.lock"

    def _artifacts(self, experiment: str) -> str | None:
        """A server knows where its artifacts belong; with a database alone they would go to the working directory."""
        if urlsplit(self.uri).scheme.startswith(("http", "databricks")):
            return None
        home = self._database.parent if self._database else self.home
        return (home / "mlartifacts" / experiment).as_uri()

    def _check_address(self) -> None:
        """Fail at once if the server does not answer; MLflow would try again for minutes."""
        address = urlsplit(self.uri)
        kind = address.scheme.partition("+")[0]
        if kind in PORTS and address.hostname:
            socket.create_connection((address.hostname, address.port or PORTS[kind]), timeout=10).close()

    def _create(self) -> None:
        """Create a missing SQLite store under a temporary name, because MLflow cannot continue with an unfinished one.

        An unfinished one that an interrupted process has left is renamed to `NAME.half-made` and replaced.
        """
        database = self._database
        if database is None:
            return
        if database.exists() and database.stat().st_size:
            if not _half_made(database):
                return
            database.replace(database.with_name(f"{database.name}.half-made"))
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        new = database.with_name(f"{database.name}.new")
        # A journal beside the new file would be rolled back into it.
        for name in (new.name, f"{new.name}-journal", f"{database.name}-journal"):
            database.with_name(name).unlink(missing_ok=True)
        SqlAlchemyStore(f"sqlite:///{new}", (database.parent / "mlartifacts").as_uri()).engine.dispose()
        new.replace(database)


def _half_made(database: Path) -> bool:
    """Whether a database has MLflow's tables but no experiment; MLflow adds `Default` after the last table.

    Raises sqlite3.DatabaseError if the file is not a database.
    """
    with contextlib.closing(sqlite3.connect(database, timeout=20)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "_alembic_tmp_experiments" in tables:  # interrupted while MLflow changed this table
            return True
        if not {"experiments", "runs"} <= tables:
            return False
        return connection.execute("SELECT 1 FROM experiments").fetchone() is None


@contextlib.contextmanager
def _locked(path: Path, owner: str) -> Iterator[str]:
    """Hold the lock and leave the owner's name in its file. Yields the previous owner's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    give_up = time.monotonic() + LOCK_SECONDS
    with path.open("a+") as file:
        while not _lock(file):
            if time.monotonic() > give_up:
                raise TimeoutError(f"another run is logging to it and has held {path} for {LOCK_SECONDS:.0f} seconds")
            time.sleep(0.02)
        file.seek(0)
        last_owner = file.read()
        file.truncate(0)
        file.write(owner)
        file.flush()
        yield last_owner


def _lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Set `SETTINGS` and silence MLflow's loggers within this context; both are restored after it."""
    ours = {key: value for key, value in SETTINGS.items() if key not in os.environ}
    os.environ.update(ours)
    try:
        # Before the levels are read, because the import sets them.
        import mlflow  # noqa: F401

        loggers = [logging.getLogger(name) for name in ("mlflow", "alembic", "urllib3")]
        levels = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
    finally:
        for key in ours:
            os.environ.pop(key, None)


def _without_password(text: str) -> str:
    return re.sub(r"//[^/@\s]*@", "//", text)


def _reason(error: BaseException) -> str:
    """One line; of a chain of network errors the original one, which says what happened."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError | sqlite3.Error):
            error = cause
        cause = cause.__cause__ or cause.__context__
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return _without_password(lines[0])[:300].rstrip(". ")
