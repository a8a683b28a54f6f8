"""MLflow's own client, opened for a server, a directory or an SQLite file that stays as it is."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ama.errors import AmaError, InvalidInput, NotFound, StorageError, shown
from ama.system import disk
from ama.system.encoding import from_system, system_path
from ama.system.git import public_url
from ama.system.scratch import Scratch

_ERRNO = re.compile(r"\[Errno -?\d+\] ([A-Za-z ]+)").search
_PASSED_OVER = re.compile("Malformed|will be ignored|Skipping").search


@dataclass(frozen=True, slots=True)
class Opened:
    """A client.

    Attributes:
        client: MLflow's own.
        uri: The place's URI for MLflow.
        url: The place, as it is noted.
        root: The directory where the artifacts are, if they are on this machine.
        is_near: Whether it is on this machine. A server elsewhere has no say in which of this
            machine's directories are read.
        copy: Where the copy of a database is, which is there as long as this.
    """

    client: Any
    uri: str
    url: str
    root: Path | None = None
    is_near: bool = True
    copy: Scratch | None = None


def open_client(place: str) -> Opened:
    """Open what MLflow has at a place.

    Args:
        place: The URL of a server, a directory, or an SQLite file, of which a copy is opened.

    Raises:
        NotFound: There is nothing.
        InvalidInput: It is nothing of MLflow's, or MLflow is not installed.
        StorageError: It can't be read.
    """
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise InvalidInput(
            "importing from MLflow needs its package", hint="install it: pip install mlflow"
        ) from error

    def client(uri: str, url: str) -> Any:
        with explained(url), directories_allowed():
            return MlflowClient(uri, uri)

    if place.startswith(("http://", "https://")):
        url = _public(place)
        is_near = urlsplit(place).hostname in ("localhost", "127.0.0.1", "::1")
        return Opened(client(place, url), place, url, is_near=is_near)
    if "://" in place and not place.startswith(("sqlite://", "file://")):
        raise _no_mlflow(place)
    text = place.removeprefix("sqlite:///").removeprefix("file://")
    path = Path(os.path.abspath(system_path(text)))
    if disk.is_directory(path) and not _has_experiments(path) and (path / "mlflow.db").is_file():
        path /= "mlflow.db"
    url = from_system(str(path))
    if disk.is_directory(path):
        if not _has_experiments(path):
            raise _no_mlflow(place)
        return Opened(client(path.as_uri(), url), path.as_uri(), url, path)
    if not path.exists():
        raise NotFound(f"{shown(place)}: there is nothing")
    copy = Scratch("ama-mlflow-")
    uri = _copied(path, copy.path / "mlflow.db")
    return Opened(client(uri, url), uri, url, path.parent / "mlruns", copy=copy)


def _no_mlflow(place: str) -> InvalidInput:
    return InvalidInput(
        f"{shown(place)} is nothing of MLflow's",
        hint="give the URL of a server, a directory mlruns, or an SQLite file",
    )


def _has_experiments(path: Path) -> bool:
    return any((path / name / "meta.yaml").is_file() for name in disk.list_directory(path))


def _public(url: str) -> str:
    found = public_url(url)
    if found is None:
        raise InvalidInput(
            "the URL of the MLflow server has credentials in it",
            hint="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        )
    return found.rstrip("/")


def _copied(path: Path, copy: Path) -> str:
    """Copy a database, bring the copy up to date, and return its URI."""
    place = from_system(str(path))
    try:
        with (
            closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as old,
            closing(sqlite3.connect(copy)) as new,
        ):
            old.backup(new)
            tables = new.execute("SELECT count(*) FROM sqlite_master WHERE name = 'experiments'")
            if not tables.fetchone()[0]:
                raise _no_mlflow(place)
    except sqlite3.Error as error:
        raise _no_mlflow(place) from error
    uri = f"sqlite:///{copy}"
    with explained(place):
        from mlflow.db import upgrade

        upgrade.callback(uri)
    return uri


@contextmanager
def directories_allowed() -> Iterator[None]:
    """Let MLflow open a directory, which newer versions do only if they are told to."""
    from mlflow import environment_variables

    allowed = getattr(environment_variables, "MLFLOW_ALLOW_FILE_STORE", None)
    if allowed is None or allowed.is_set():
        yield
        return
    allowed.set(True)
    try:
        yield
    finally:
        allowed.unset()


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if _PASSED_OVER(line := record.getMessage()):
            self.lines.append(shown(line.partition("\n")[0]))


@contextmanager
def complaints() -> Iterator[list[str]]:
    """Return what MLflow says that it passes over: of directories it only warns of it."""
    kept = _Kept()
    root = logging.getLogger()
    root.addHandler(kept)
    try:
        yield kept.lines
    finally:
        root.removeHandler(kept)


@contextmanager
def explained(place: str) -> Iterator[None]:
    """Raise MLflow's errors as ama's.

    Args:
        place: What was read.
    """
    from mlflow.exceptions import RestException

    try:
        yield
    except AmaError:
        raise
    except ImportError as error:
        raise InvalidInput(
            f"{shown(place)} needs all of MLflow", hint="install it: pip install mlflow"
        ) from error
    except RestException as error:
        raise StorageError(f"{shown(place)}: {_line(error)}") from error
    except Exception as error:  # of a broken directory, whatever a parser raises
        if "API request to" in str(error):
            reason = _ERRNO(str(error))
            why = f": {reason[1].lower()}" if reason else ""
            raise StorageError(f"{shown(place)} can't be reached{why}", retryable=True) from error
        raise StorageError(f"{shown(place)}: {_line(error)}") from error


def _line(error: Exception) -> str:
    return shown(str(error).strip().partition("\n")[0][:500])
