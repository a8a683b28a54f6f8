"""The catalog's database: its tables, and questions to a consistent version of it.

It is SQLite in the cache directory of this machine, beside the rest of a store's cache. Where it is
missing, broken, of another version or can't be locked, it is made again, in memory if need be.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import RLock
from typing import TypeVar

from ama.catalog.filling import fill, is_filled
from ama.catalog.find import entries_by_id
from ama.catalog.schema import FILE, SCHEMA
from ama.errors import AmaError, StorageError
from ama.format.objects import TreeEntry
from ama.stores.log_view import LogView
from ama.stores.remote import Remote
from ama.system import fs
from ama.system.progress import NO_PROGRESS, Progress

Answer = TypeVar("Answer")
Question = Callable[[sqlite3.Connection, LogView], Answer]

PATIENCE = 120
"""Seconds to wait for another process that fills the same catalog."""

_NOT_BROKEN = frozenset(
    (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_FULL)
)
"""Errors that say nothing against the file, which others may be using."""

_NO_VALUES = (TypeError, ValueError, LookupError)
"""Errors from values that no sound catalog has: SQLite itself has no checksums."""

_CHANGES = 50
"""How often the log may move on during a question before that is an error."""


class Catalog:
    """The catalog of one store, as seen from this machine.

    Args:
        remote: The store.
        progress: The progress of the reading that a first question needs.
    """

    def __init__(self, remote: Remote, progress: Progress = NO_PROGRESS) -> None:
        self._remote = remote
        self._progress = progress
        self._path = remote.cache.path(FILE)
        self._memory: sqlite3.Connection | None = None
        self._alone = RLock()

    def ask(self, question: Question[Answer], view: LogView | None = None) -> Answer:
        """Answer a question about the store as it is now.

        Args:
            question: A function that reads the database, and must not change it. It is called again
                if the database is broken, or if somebody publishes meanwhile.
            view: The store's log, if it was just read: it isn't asked for again.

        Returns:
            The question's answer.

        Raises:
            IntegrityError: The store's log is damaged.
            StorageError: The store can't be reached.
        """
        places = [None] if self._path is None else [self._path, self._path, None]
        in_use = False
        for place in places:
            if in_use and place is not None:
                continue
            try:
                return self._ask(place, question, view)
            except sqlite3.Error as error:
                if place is None:
                    raise StorageError(f"the catalog failed: {error}") from error
                in_use = _code(error) in _NOT_BROKEN
                if not in_use:
                    _remove(place)
            except _NO_VALUES as error:
                if place is None or isinstance(error, AmaError):
                    raise
                _remove(place)
        raise AssertionError("unreachable")

    @contextmanager
    def trees(self) -> Iterator[Callable[[bytes], tuple[TreeEntry, ...] | None]]:
        """Yield a function that returns a directory's entries; None if they are not here.

        An id says what a directory holds for ever: no moment of the log matters.
        """
        db = None
        with contextlib.ExitStack() as opened:
            with contextlib.suppress(sqlite3.Error):
                place = self._path if self._memory is None else None
                db = opened.enter_context(self._connected(place))
            yield partial(entries_by_id, db)

    def _ask(self, place: Path | None, question: Question[Answer], view: LogView | None) -> Answer:
        with self._connected(place) as db:
            view = view or self._remote.view(only_reading=True)
            for _ in range(_CHANGES):
                view.require_whole()
                fill(db, self._remote, view, self._progress)
                with _reading(db):
                    if is_filled(db, view):
                        return question(db, view)
                view = self._remote.log.view()
        raise StorageError(
            f"{self._remote.url} changes all the time: others publish to it",
            hint="run the same command again",
            retryable=True,
        )

    @contextmanager
    def _connected(self, place: Path | None) -> Iterator[sqlite3.Connection]:
        if place is None:
            with self._alone:
                if self._memory is None:
                    self._memory = _connect(":memory:")
                    weakref.finalize(self, self._memory.close)
                yield self._memory
            return
        try:
            fs.make_directories(place.parent, sync=False)
        except (AmaError, OSError) as error:
            raise sqlite3.OperationalError("no place for it") from error
        with contextlib.closing(_connect(str(place))) as db:
            yield db


def _connect(place: str) -> sqlite3.Connection:
    for path in (place, f"{place}-journal"):
        if os.path.exists(path) and not os.path.isfile(path):  # reading a pipe would wait
            raise sqlite3.DatabaseError(f"{path} is no file")
    db = sqlite3.connect(place, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
    try:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'state'").fetchone():
            db.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
    except BaseException:
        db.close()
        raise
    return db


@contextmanager
def _reading(db: sqlite3.Connection) -> Iterator[None]:
    """Read from one moment inside, whatever others write."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        db.execute("ROLLBACK")


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def _remove(place: Path) -> None:
    for path in (place, place.with_name(place.name + "-journal")):
        with contextlib.suppress(AmaError, OSError):
            fs.remove(path)
