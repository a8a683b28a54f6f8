"""Repair of a store's log: put back lost files if their bytes are provably the same.

Each entry has the hash of the one before it, and the first entry that of format.json. So a walk
from the end of the log to its beginning knows at each step which hash the next file has, and
compares remembered bytes with that. The store itself gives the end: its last sound entry, or HINT.
This machine's memory of the end counts only for an entry that nothing in the store vouches for.
Entries after that end are not damage, but a history that was taken back: they stay away. HINT and
the checkpoints are made again from the entries.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain
from pathlib import Path

from ama.errors import (
    AlreadyExists,
    AmaError,
    Conflict,
    FormatError,
    Hint,
    IntegrityError,
    StorageError,
)
from ama.format.entries import Entry, decode_entry, entry_hash, entry_name
from ama.results import PutBack
from ama.settings import Settings
from ama.storage.protocol import Range, Storage
from ama.storage.urls import open_storage
from ama.stores.cache import Cache, LogMemory, remembered_end
from ama.stores.log_errors import another_history
from ama.stores.log_files import (
    HINT,
    decode_hint,
    read_readable,
)
from ama.stores.remote import FORMAT, Remote, decode_format, formats_of
from ama.system.encoding import from_system, path_text
from ama.system.progress import NO_PROGRESS, Progress
from ama.transfer.log_derived import derive

AT_ONCE = 256
_ENTRY = re.compile(r"log/([0-9]{12})").fullmatch
_ID = re.compile(rb"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])").findall


@dataclass(frozen=True, slots=True)
class Mended:
    """The result of a repair of a log."""

    done: tuple[PutBack, ...] = ()
    """The files put back."""
    lost: tuple[str, ...] = ()
    """The files of the log that can't be put back, each with the reason."""


def repair_log(
    remote: str | os.PathLike[str] | None = None,
    *,
    settings: Settings | None = None,
    progress: Progress = NO_PROGRESS,
) -> tuple[PutBack, ...]:
    """Put back the lost files of a store's log, even if the store can't be opened without them.

    Those are its entries, format.json, HINT and checkpoints. The copies come from this machine's
    memory or from another configured remote, and are proven to be the same bytes. In a worktree,
    `Repo.push(repair=True)` does the same, and sends lost content again.

    Args:
        remote: A configured remote's name, or a URL; by default the default remote.
        settings: The settings; loaded by default.
        progress: Receives the progress of long work.

    Returns:
        The files put back.

    Raises:
        IntegrityError: Something can't be put back, or entries that this machine saw after the
            log's end are gone; everything else was put back. Or the log contradicts what this
            machine saw: nothing was put back.
        NotFound: There is no store.
        FormatError: The store needs a newer version of ama.
        StorageError: The store can't be reached or written to, or it is gone.

    Example:
        >>> import ama
        >>> store = ama.Store.open("store")
        >>> ama.repair_log(store.url)
        ()
    """
    settings = settings or Settings.load(None)
    named = None if remote is None else _name_of(remote)
    url, *others = (
        partial(open_storage, place, settings.options_at(place))
        for place in (settings.remote_url(named), *settings.urls())
    )
    storage = url()
    mended = mend(storage, settings.cache_dir, others, progress)
    refuse_lost(mended, storage.url)
    # If nothing was put back, there may be no store: opening it finds out.
    Remote.open(storage, settings.cache_dir, settings.reach).view().require_whole()
    return mended.done


def _name_of(remote: str | os.PathLike[str]) -> str:
    """Return a remote's name or URL as a text; a `Path` means a directory, whatever its name."""
    text = path_text("the remote", remote)
    return text if isinstance(remote, str) else from_system(os.path.abspath(text))


def refuse_lost(mended: Mended, url: str) -> None:
    """Raise an error about the files of a log that could not be put back.

    Raises:
        IntegrityError: Some files could not be put back.
    """
    if mended.lost:
        first, *more = mended.lost
        others = f" (and {len(more):,} more like it)" if more else ""
        raise IntegrityError(
            f"not all of {url} could be put back: {first}, and nothing that is known here fits in"
            f" its place{others}",
            hint=(Hint("repair-where-seen", store=url), "restore it from a backup"),
        )


def mend(
    storage: Storage,
    cache_dir: Path | None,
    others: Iterable[Callable[[], Storage]] = (),
    progress: Progress = NO_PROGRESS,
) -> Mended:
    """Put back the lost files of a store's log: entries, format.json, HINT and checkpoints.

    Several processes may do so at once, because all write the same bytes.

    Args:
        storage: The store's storage.
        cache_dir: The directory of this machine's caches of stores.
        others: Open storages of other stores, which may be copies of this one.
        progress: The progress of the bytes read.

    Returns:
        The files that were put back, and those that couldn't be.

    Raises:
        IntegrityError: The log mixes two histories, or is not the one that this machine saw:
            nothing was put back.
        FormatError: The store needs a newer version of ama.
        StorageError: The storage failed, or can't be written to.
    """
    (hint,) = read_readable(storage, [HINT])
    memory = _Memory(storage, cache_dir, others)
    links = _read_links(storage, progress)
    if not links and decode_hint(hint or b"") == (0, b""):
        return Mended()  # nothing was published there, so nothing depends on anything
    plan = _Plan(storage, memory, links, decode_hint(hint or b""))
    plan.make()
    done = [put for found in plan.found if (put := _put_back(storage, found)) is not None]
    if not plan.lost and not plan.is_taken_back:
        done += derive(Remote.open(storage, cache_dir), plan.digests)
    return Mended(tuple(done), tuple(plan.lost))


# The log as it is


@dataclass(frozen=True, slots=True)
class _Link:
    """An entry's place in the chain as the store has it; without hashes if it isn't sound."""

    digest: bytes = b""
    previous: bytes = b""

    @property
    def is_sound(self) -> bool:
        return bool(self.digest)


def _link(number: int, data: bytes) -> _Link:
    """Return the place of an entry.

    Raises:
        FormatError: A newer version of ama has written it.
    """
    entry = _sound(number, data)
    return _Link() if entry is None else _Link(entry_hash(data), entry.previous)


def _sound(number: int, data: bytes) -> Entry | None:
    try:
        entry = decode_entry(data)
    except IntegrityError:
        return None
    return entry if entry.number == number else None


def _read_links(storage: Storage, progress: Progress) -> dict[int, _Link]:
    listed = {int(m[1]): size for name, size in storage.list("log/") if (m := _ENTRY(name))}
    numbers = sorted(number for number in listed if number)
    links: dict[int, _Link] = {}
    progress.start("Reading the log", sum(listed.values()))
    try:
        for start in range(0, len(numbers), AT_ONCE):
            batch = numbers[start : start + AT_ONCE]
            answers = storage.read([Range(entry_name(number)) for number in batch])
            for number, data in zip(batch, answers, strict=True):
                if data is not None:
                    links[number] = _link(number, data)
                progress.advance(listed[number])
    finally:
        progress.finish()
    return links


# Memory of the log


class _Memory:
    """The copies of a log and its format.json on this machine and in other stores.

    Args:
        storage: The store's storage.
        cache_dir: The directory of this machine's caches.
        others: Open storages of other stores.
    """

    def __init__(
        self, storage: Storage, cache_dir: Path | None, others: Iterable[Callable[[], Storage]]
    ) -> None:
        self._url = storage.url
        self._cache_dir = cache_dir
        self._others = list(others)
        self._opened: list[Storage] = []
        (self.format_bytes,) = storage.read([Range(FORMAT)])
        self._seen = Remote.seen(storage, cache_dir)

    def entry(self, number: int, digest: bytes) -> tuple[bytes, str] | None:
        """Return the entry with a hash, and where it was found."""
        data = self._entries.entry(digest)
        if data is not None and _sound(number, data):
            return data, "cache"
        found = self._elsewhere(entry_name(number), digest)
        return found if found is not None and _sound(number, found[0]) else None

    def format(self, digest: bytes) -> tuple[bytes, str] | None:
        """Return the format.json with a hash, and where it was found."""
        for data in (self._seen, *_of_ids(self._ids_here)):
            if data is not None and entry_hash(data) == digest:
                return data, "cache"
        for data in _of_ids(self._ids_left):
            if entry_hash(data) == digest:
                return data, "id"
        return self._elsewhere(FORMAT, digest)

    def hashes(self, genesis: bytes | None) -> dict[int, bytes]:
        """Return the hashes of the log's entries, as this machine last saw them at this URL.

        Args:
            genesis: The hash of format.json, if the store's first entry tells it.
        """
        for data in (self._seen, self.format_bytes, *_of_ids(self._ids_here)):
            if data is not None and (genesis is None or entry_hash(data) == genesis):
                with suppress(IntegrityError, FormatError):
                    store_id = decode_format(data, self._url).id
                    cache = Cache.of_store(self._cache_dir, store_id, self._url)
                    return self._entries.hashes(remembered_end(cache))
        return {}

    @property
    def _ids_here(self) -> list[str]:
        return Cache.ids_at(self._cache_dir, self._url)

    @property
    def _ids_left(self) -> list[str]:
        """Return the id that is still readable in a damaged format.json, if any."""
        return [found.decode() for found in _ID(self.format_bytes or b"")]

    @cached_property
    def _entries(self) -> LogMemory:
        ids = dict.fromkeys([*self._ids_here, *self._ids_left, *_id_in(self._seen)])
        copies = (cache for i in ids for cache in Cache.of_copies(self._cache_dir, i))
        return LogMemory(copies)

    def _elsewhere(self, name: str, digest: bytes) -> tuple[bytes, str] | None:
        for storage in self._stores():
            try:
                (data,) = storage.read([Range(name)])
            except AmaError:  # the storage can't be reached, or refuses us
                self._opened.remove(storage)
                continue
            if data is not None and entry_hash(data) == digest:
                return data, storage.url
        return None

    def _stores(self) -> Iterator[Storage]:
        yield from tuple(self._opened)
        while self._others:
            try:
                storage = self._others.pop(0)()
            except AmaError:
                continue
            if storage.url != self._url:
                self._opened.append(storage)
                yield storage


def _of_ids(ids: Iterable[str]) -> Iterator[bytes]:
    return chain.from_iterable(map(formats_of, ids))


def _id_in(data: bytes | None) -> list[str]:
    return [found.decode() for found in _ID(data or b"")]


# Plan of the repair


@dataclass(frozen=True, slots=True)
class _Found:
    """A file to put back."""

    name: str
    data: bytes
    source: str
    """The place where the copy was found."""
    is_sound: Callable[[bytes], bool]
    """Tells whether the bytes of the present file are sound."""


@dataclass
class _Plan:
    """The plan of a repair, made from the log's end to its beginning."""

    storage: Storage
    memory: _Memory
    links: Mapping[int, _Link]
    hint: tuple[int, bytes]
    found: list[_Found] = field(default_factory=list)
    """The files that can be put back, in the order of the log."""
    lost: list[str] = field(default_factory=list)
    """The files that can't be put back, each with the reason."""
    digests: dict[int, bytes] = field(default_factory=dict)
    """The hashes of the entries by number, as far as they are certain."""
    is_taken_back: bool = False
    """Whether this machine saw entries after the log's end."""

    def make(self) -> None:
        """Fill in the plan.

        Raises:
            IntegrityError: The log has no single history.
        """
        first = self.links.get(1, _Link())
        known = self.memory.hashes(first.previous if first.is_sound else None)
        last = max(self.links, default=0)
        self._walk(max(last, self.hint[0]), last, known)
        for number, digest in known.items():
            if self.digests.get(number, digest) != digest:
                raise another_history(number, self.storage.url)
        self.is_taken_back = max(known, default=0) > max(self.digests, default=0)
        self.found.reverse()

    def _walk(self, top: int, last: int, known: Mapping[int, bytes]) -> None:
        """Walk from the end to the beginning.

        Args:
            top: The last number that the store's log had.
            last: The last number that is there.
            known: The hashes that this machine saw.
        """
        number, expected = top, b""
        while number > 0:
            link = self.links.get(number) or self._look_again(number)
            wanted = expected or self._vouched(number, link, known if number <= last else {})
            previous = self._require(number, link, wanted) if wanted else None
            if previous is None:
                number, expected = self._lose(number, link, alone=bool(wanted)), b""
            else:
                self.digests[number] = wanted
                number, expected = number - 1, previous
        self._need_whole_end(last)
        self._check_format(expected)

    def _require(self, number: int, link: _Link | None, wanted: bytes) -> bytes | None:
        """Return the hash before an entry, which is there or can be put back; None if it can't."""
        if link is not None and link.is_sound:
            if link.digest != wanted:
                raise self._mixed(number)
            return link.previous
        found = self.memory.entry(number, wanted)
        if found is None:
            return None
        self._find(number, *found)
        return decode_entry(found[0]).previous

    def _vouched(self, number: int, link: _Link | None, known: Mapping[int, bytes]) -> bytes:
        """Return the hash of an entry that no later one names; empty if nothing tells it."""
        sound = link.digest if link is not None else b""
        if number == self.hint[0] and self.hint[1] != sound:
            if not sound:
                return self.hint[1]
            if known.get(number) != sound:
                raise self._mixed(number, f"it is not the one that {HINT} names")
        return sound or known.get(number, b"")

    def _look_again(self, number: int) -> _Link | None:
        """Ask for an entry that was not listed: it may be new."""
        (data,) = self.storage.read([Range(entry_name(number))])
        return None if data is None else _link(number, data)

    def _find(self, number: int, data: bytes, source: str) -> None:
        def is_sound(now: bytes) -> bool:
            return _sound(number, now) is not None

        self.found.append(_Found(entry_name(number), data, source, is_sound))

    def _lose(self, number: int, link: _Link | None, *, alone: bool) -> int:
        """Note that an entry and those missing before it can't be put back; return the next one.

        Args:
            number: Its number.
            link: The present entry.
            alone: Whether the entry's hash is known, and so those before it are searched for.
        """
        before = max((n for n in self.links if n < number), default=0)
        following = number - 1 if alone or link is not None else before
        was = "missing" if link is None else "damaged"
        if following == number - 1:
            self.lost.append(f"log entry {number} is {was}")
        else:
            self.lost.append(f"log entries {following + 1} to {number} are {was}")
        return following

    def _need_whole_end(self, last: int) -> None:
        """Put back all entries after the last one, or none: a part would leave a gap."""
        beyond = [
            entry_name(number) for number in range(last + 1, max(self.digests, default=0) + 1)
        ]
        names = {found.name for found in self.found}
        if not names.issuperset(beyond) or last not in (0, *self.digests):
            self.found = [found for found in self.found if found.name not in beyond]
            for number in [n for n in self.digests if n > last]:
                del self.digests[number]

    def _check_format(self, expected: bytes) -> None:
        """Check that format.json is the one in the first entry."""
        data = self.memory.format_bytes
        if not expected:
            if data is None:
                self.lost.append(f"{FORMAT} is missing")
            return
        if data is not None and entry_hash(data) == expected:
            return
        found = self.memory.format(expected)
        if found is None:
            self.lost.append(f"{FORMAT} is {'missing' if data is None else 'damaged'}")
            return

        def is_right(now: bytes) -> bool:
            return entry_hash(now) == expected

        self.found.append(_Found(FORMAT, *found, is_right))

    def _mixed(self, number: int, why: str = "") -> IntegrityError:
        why = why or f"entry {number + 1} does not follow it"
        return IntegrityError(
            f"log entry {number} of {self.storage.url} is of another history: it is sound, but"
            f" {why}; nothing was put back",
            hint=Hint("restore-then-fsck", store=self.storage.url),
        )


# Execution


def _put_back(storage: Storage, found: _Found) -> PutBack | None:
    """Write a file if it is still absent or bad; None if another process was faster.

    Raises:
        Conflict: Somebody has written something else there.
        StorageError: The storage can't do it.
    """
    if storage.can_create is False:
        raise StorageError(
            f"{storage.url} can't create a file only if it is absent, so putting {found.name} back"
            " there is not safe",
            hint="restore it from a backup",
        )
    (now,) = storage.read([Range(found.name)])
    if now == found.data:
        return None
    if now is None:
        try:
            storage.create(found.name, found.data)
        except (AlreadyExists, StorageError) as error:
            (now,) = storage.read([Range(found.name)])
            if now == found.data:
                return None
            if now is None and isinstance(error, AlreadyExists):
                raise StorageError(
                    f"something that is no file is in the place of {found.name} of {storage.url}",
                    hint="move it away, and run the same command again",
                ) from error
            raise
        return PutBack(found.name, "missing", found.source)
    if found.is_sound(now):
        raise Conflict(
            f"{found.name} of {storage.url} was written by somebody else meanwhile",
            hint="run the same command again",
        )
    storage.replace(found.name, found.data)
    return PutBack(found.name, "damaged", found.source)
