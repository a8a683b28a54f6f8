"""A check of a storage by trial: above all, whether several may publish to it at once.

A storage that only seems to create atomically loses entries of the log, as soon as several writers
race. Writing twice in a row doesn't reveal it (fsspec's own local storage passes that).
"""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from ama.errors import AlreadyExists, AmaError, Hint, Hints, StorageError
from ama.storage.protocol import HasDirectories, HasMembers, Range, Storage
from ama.system.parallel import start

PLACE = "check"
"""The directory in a storage for the files of a check; nobody reads it."""

RECORD = f"{PLACE}/create.json"
"""The race, before a store is made, that the storage ran with one winner."""

WRITERS = 8
ROUNDS = 10
SHORT_ROUNDS = 3
PROBES = 10
BULK = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a storage should do: whether it does, and what the check saw."""

    what: str
    ok: bool
    seen: str
    hints: Hints = ()


@dataclass(frozen=True, slots=True)
class StorageReport:
    """The abilities of a storage.

    Attributes:
        url: The storage's URL.
        is_there: Whether its directory exists; always true of a bucket.
        findings: The result of each trial.
        can_read: Whether stores in it can be read.
        can_publish: Whether several may publish to a store in it at once.
        latency: Seconds of a small read, the median; None: nothing could be read.
        write_rate: Bytes a second of one large write; None: it failed.
        read_rate: Bytes a second of one large read; None: it failed.
    """

    url: str
    is_there: bool
    findings: tuple[Finding, ...]
    can_read: bool
    can_publish: bool
    latency: float | None
    write_rate: float | None
    read_rate: float | None


def race(
    storage: Storage, *, writers: int = WRITERS, rounds: int = ROUNDS, place: str | None = None
) -> list[int]:
    """Let writers race for names, one after another.

    Args:
        storage: The storage.
        writers: The number of writers.
        rounds: The number of names.
        place: The directory of the names in it; None: a new one.

    Returns:
        For each name, how many writers believe that they created it; 0 if its content is not that
        of the one winner. 1 everywhere is right.

    Raises:
        StorageError: A write failed for another reason than that the name is taken.

    Example:
        >>> from ama.storage.memory import MemoryStorage
        >>> race(MemoryStorage("raced"), rounds=2)
        [1, 1]
    """
    place = place or _place()
    return [_race_once(storage, f"{place}/{number}", writers) for number in range(rounds)]


def _race_once(storage: Storage, name: str, writers: int) -> int:
    together = threading.Barrier(writers)
    won: list[bytes] = []
    failed: list[AmaError] = []

    def attempt(mine: bytes) -> None:
        try:
            together.wait()
            storage.create(name, mine)
            won.append(mine)
        except (AlreadyExists, threading.BrokenBarrierError):
            pass
        except AmaError as error:
            failed.append(error)

    contents = [f"writer {number}".encode() for number in range(writers)]
    threads = [threading.Thread(target=attempt, args=(mine,)) for mine in contents]
    started: list[threading.Thread] = []
    try:
        for thread in threads:
            start(thread)
            started.append(thread)
    except BaseException:
        together.abort()  # else the waiting threads would keep the process alive for ever
        raise
    finally:
        for thread in started:
            thread.join()
    (found,) = storage.read([Range(name)])
    _forget(storage, name)
    # Who isn't told whether it won may have won: only an outright failure of all is an error.
    if failed and found is None:
        raise failed[0]
    if len(won) > 1:
        return len(won)
    return 1 if found in (won or contents) else 0


def require_races_with_one_winner(storage: Storage) -> None:
    """Refuse a storage in which several can create the same name: before a store is made there.

    Raises:
        StorageError: Its creates are not atomic, or it can't be written to.
    """
    if storage.can_create:
        return
    if storage.can_create is None and set(race(storage, rounds=SHORT_ROUNDS)) == {1}:
        record = {"writers": WRITERS, "rounds": SHORT_ROUNDS, "url": storage.url}
        storage.replace(RECORD, json.dumps(record, indent=2).encode() + b"\n")
        return
    raise StorageError(
        f"{storage.url} lets several writers create the same file, so publishing to it could lose"
        " assets",
        hint=(Hint("use-another-storage"), Hint("single-writer")),
    )


def require_bucket(storage: Storage) -> None:
    """Tell a bucket that isn't there from one that holds nothing: only a listing can.

    Raises:
        StorageError: There is no such bucket.
    """
    try:
        next(iter(storage.list("log/")), None)
    except StorageError as error:  # a web server has none, and not everybody may list
        if error.errno == errno.ENOENT:
            raise


def check_storage(storage: Storage) -> StorageReport:
    """Find out what a storage can do. What it writes for that lies in `check/`, and is deleted,
    with the directories that this made.

    Args:
        storage: The storage; it needn't hold a store.

    Returns:
        What was seen. A storage that can't be reached gives a report that says so.

    Example:
        >>> from ama.storage.memory import MemoryStorage
        >>> check_storage(MemoryStorage("checked")).can_publish
        True
    """
    return _Check(storage).report()


class _Check:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._place = _place()
        self._findings: list[Finding] = []
        self._write_rate: float | None = None
        self._read_rate: float | None = None

    def report(self) -> StorageReport:
        latency = self._latency()
        storage = self._storage
        made: list[str] = []
        if latency is not None and isinstance(storage, HasDirectories):
            made = storage.missing_directories(f"{self._place}/bulk")
        try:
            return self._report(latency, len(made) <= len(self._place.split("/")))
        finally:
            with suppress(StorageError):
                if made and isinstance(storage, HasDirectories):
                    storage.remove_directories(made)

    def _report(self, latency: float | None, is_there: bool) -> StorageReport:
        if latency is not None and self._storage.can_create is False:
            self._try("create once", self._race)
            return StorageReport(
                self._storage.url, is_there, tuple(self._findings), True, False, latency, None, None
            )
        writable = latency is not None and self._try("write", self._write)
        if writable:
            self._try("read back", self._read_back)
            self._try("read ranges", self._read_range)
            self._try("sizes", self._sizes)
            self._try("list", self._list)
            self._try("replace", self._replace)
            if isinstance(self._storage, HasMembers) and self._storage.is_shared():
                self._try("share", self._share)
        publishes = writable and self._try("create once", self._race)
        if writable:
            self._try("delete", self._delete, needed=False)
        return StorageReport(
            self._storage.url,
            is_there,
            tuple(self._findings),
            latency is not None,
            publishes and all(found.ok for found in self._findings if found.what != "delete"),
            latency,
            self._write_rate,
            self._read_rate,
        )

    def _try(self, what: str, step: Callable[[], str], *, needed: bool = True) -> bool:
        try:
            seen = step()
        except (AmaError, _Wrong) as error:
            hints = error.hints if isinstance(error, AmaError) else ()
            said = error.message if isinstance(error, AmaError) else str(error)
            said = said if needed else f"{said} (not needed)"
            self._findings.append(Finding(what, False, said, hints))
            return False
        self._findings.append(Finding(what, True, seen))
        return True

    def _latency(self) -> float | None:
        times = []

        def measure() -> str:
            for _ in range(PROBES):
                start = time.perf_counter()
                self._storage.read([Range("format.json")])
                times.append(time.perf_counter() - start)
            require_bucket(self._storage)
            return f"{_median(times) * 1000:.1f} ms a request"

        return _median(times) if self._try("reach", measure) else None

    def _write(self) -> str:
        start = time.perf_counter()
        self._storage.put(f"{self._place}/bulk", self._bulk())
        self._write_rate = BULK / (time.perf_counter() - start)
        return f"{self._write_rate / 1e6:.1f} MB/s"

    def _read_back(self) -> str:
        start = time.perf_counter()
        (data,) = self._storage.read([Range(f"{self._place}/bulk")])
        rate = BULK / (time.perf_counter() - start)
        if data != self._bulk():
            raise _Wrong("what was written is not what is read")
        self._read_rate = rate
        return f"{rate / 1e6:.1f} MB/s"

    def _read_range(self) -> str:
        ranges = [Range(f"{self._place}/bulk", at, 1000) for at in (0, 5_000, BULK - 1000)]
        found = self._storage.read(ranges)
        bulk = self._bulk()
        if found != [bulk[r.start : r.start + 1000] for r in ranges]:
            raise _Wrong("a range holds other bytes than the whole has there")
        return "each has its bytes"

    def _sizes(self) -> str:
        if self._storage.sizes([f"{self._place}/bulk", f"{self._place}/none"]) != [BULK, None]:
            raise _Wrong("it tells another size")
        return "right"

    def _list(self) -> str:
        name = f"{self._place}/bulk"
        if dict(self._storage.list(f"{self._place}/")) != {name: BULK}:
            raise _Wrong("it lists something else than there is")
        return "what was just written"

    def _replace(self) -> str:
        name = f"{self._place}/replaced"
        for data in (b"old", b"new"):
            self._storage.replace(name, data)
        if self._storage.read([Range(name)]) != [b"new"]:
            raise _Wrong("what was replaced is still read")
        _forget(self._storage, name)
        return "the new is read at once"

    def _share(self) -> str:
        if not isinstance(self._storage, HasMembers):
            raise _Wrong("it knows no members")
        return self._storage.check_members(f"{self._place}/bulk")

    def _race(self) -> str:
        if self._storage.can_create is False:
            raise _Wrong("it has no way to create a file only if it is absent")
        winners = race(self._storage, place=self._place)
        right = sum(number == 1 for number in winners)
        if right < len(winners):
            raise _Wrong(f"{WRITERS} writers raced: one winner in {right} of {len(winners)} rounds")
        return f"{WRITERS} writers raced: one winner in {right} of {len(winners)} rounds"

    def _delete(self) -> str:
        name = f"{self._place}/bulk"
        self._storage.delete(name)
        if self._storage.sizes([name]) != [None]:
            raise _Wrong("what was deleted is still there")
        return "gone at once"

    def _bulk(self) -> bytes:
        return bytes(range(256)) * (BULK // 256)


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


class _Wrong(Exception):
    """A storage did something else than it was asked."""


def _place() -> str:
    return f"{PLACE}/{os.urandom(8).hex()}"


def _forget(storage: Storage, name: str) -> None:
    """Delete a probe. Publishing needs no right to delete, so some may stay."""
    with suppress(StorageError):
        storage.delete(name)
