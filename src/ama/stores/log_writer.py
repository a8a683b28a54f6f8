"""Appending to a store's log: one entry at a number that nobody else gets.

A writer that has read entry n-1 creates entry n atomically; a loser reads the winner and tries n+1.
After a lost answer the writer reads the entry back: its bytes tell whose it is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

from ama.errors import (
    AlreadyExists,
    AmaError,
    Conflict,
    Hint,
    IntegrityError,
    InvalidInput,
    StorageError,
    shown,
)
from ama.format import canonical
from ama.format.checkpoint import Checkpoint, encode_checkpoint
from ama.format.entries import (
    MAX_TIME,
    NONCE_SIZE,
    Entry,
    Event,
    decode_entry,
    encode_entry,
    entry_hash,
    entry_name,
)
from ama.format.hashing import ID_SIZE
from ama.format.notes import NOTES, encode_notes
from ama.storage.protocol import Range
from ama.stores.log_errors import check_features
from ama.stores.log_files import (
    HINT,
    MIRROR,
    checkpoint_name,
    encode_hint,
    mirror_of,
    notes_name,
    read_readable,
    segment_name,
)
from ama.stores.log_notes import LogNotes
from ama.stores.log_reader import CHECKPOINT_EVERY, LogReader
from ama.stores.log_view import LogView
from ama.system.parallel import in_chunks

CREATE_TRIES = 5
PUBLISH_TRIES = 200

OWN = "own"
"""The name in the cache that tells that a store is no mirror."""


@dataclass(frozen=True, slots=True)
class Appended:
    """An entry that is now in the log, and the log right after it."""

    number: int
    view: LogView


class Log(LogReader):
    """The log in one storage, to read and to append to."""

    @cached_property
    def mirror_of(self) -> str | None:
        """The URL of the store whose mirror this is; None: it is none.

        It is asked for once on a machine: what was none becomes one only by force.
        """
        if self._cache.get(OWN) is not None:
            return None
        found = mirror_of(read_readable(self._storage, [MIRROR])[0])
        if found is None:
            self._cache.put(OWN, b"own")
        return found

    def require_own(self) -> None:
        """Refuse to write to a mirror: it would no longer be one.

        Raises:
            InvalidInput: It is one.
        """
        if self.mirror_of is not None:
            raise InvalidInput(
                f"{shown(self._storage.url)} is a mirror of {shown(self.mirror_of or 'a store')},"
                " and only mirrored to",
                hint=Hint("publish-to-the-mirrored", name=MIRROR),
            )

    @cached_property
    def notes(self) -> LogNotes:
        """The notes in it."""
        return LogNotes(self, self._storage, self._cache)

    def append(
        self,
        events: Callable[[LogView], Sequence[Event]],
        *,
        author: str,
        now: Callable[[], int],
        before: Callable[[int, bytes], None] = lambda number, data: None,
        view: LogView | None = None,
    ) -> Appended | None:
        """Append one entry, after the entries that others append at the same time.

        Args:
            events: A function that returns the events for the current log. It is called again after
                each lost race, to check whether they still make sense. No events: append nothing.
            author: The author of the entry.
            now: The time in UTC microseconds.
            before: A function called with number and bytes before each try, to note them durably.
            view: The log as the caller has just read it. Entries since then are noticed, because
                the number is taken.

        Returns:
            The entry's number and the log after it, or None if there was nothing to append.

        Raises:
            Conflict: Others won every race.
            StorageError: The storage has no atomic create, or failed.
        """
        if self._storage.can_create is False:
            raise StorageError(
                f"{self._storage.url} can't create a file only if it is absent, so publishing to"
                " it is not safe",
                hint=Hint("use-another-remote"),
            )
        self.require_own()
        for _ in range(PUBLISH_TRIES):
            view = view or self.view()
            view.require_whole()
            check_features(view.root.write_features, self._storage.url, "write to")
            wanted = tuple(events(view))
            if not wanted:
                return None
            # Somebody's clock may stand at the end of time, which must not block everybody else.
            at = min(max(now(), view.tail[-1][0].at + 1 if view.tail else 0), MAX_TIME)
            nonce = os.urandom(NONCE_SIZE)
            entry = Entry(view.number + 1, nonce, view.entry_hash, author, at, wanted)
            try:
                data = encode_entry(entry)
                # An entry that no reader accepts would end the log, for everybody and for good.
                decode_entry(data)
            except (ValueError, IntegrityError) as error:
                raise InvalidInput(f"this can't be published in one piece: {error}") from error
            before(entry.number, data)
            if self.try_append(entry.number, data):
                return Appended(entry.number, self._after(view, entry, data))
            view = None
        raise Conflict(
            f"{self._storage.url} is too busy: others were faster {PUBLISH_TRIES} times",
            hint="run the same command again",
        )

    def try_append(self, number: int, data: bytes) -> bool:
        """Create entry `number` with these bytes; return whether it is ours.

        After an unknown outcome it reads the entry back: the nonce makes our bytes unlike anyone
        else's. If the entry is absent, the same bytes may be tried again.

        Raises:
            StorageError: The storage failed, and the outcome could not be learned.
        """
        for left in reversed(range(CREATE_TRIES)):
            failure: AmaError
            try:
                self._storage.create(entry_name(number), data)
                return True
            except (AlreadyExists, StorageError) as error:
                failure = error
            (found,) = self._storage.read([Range(entry_name(number))])
            if found is not None:
                return found == data
            if not left or not getattr(failure, "retryable", True):
                raise failure
            time.sleep(0.05 * (CREATE_TRIES - left))
        raise AssertionError("unreachable")

    def write_hint(self, number: int, digest: bytes) -> None:
        """Tell readers how far the log reaches: they find the end without it."""
        with suppress(StorageError):
            self._storage.replace(HINT, encode_hint(number, digest))

    def write_checkpoint(self, number: int) -> None:
        """Write the newest checkpoint of a log that others have written, unless it is there.

        Args:
            number: The number of the last entry.
        """
        until = number - number % CHECKPOINT_EVERY
        before = until - CHECKPOINT_EVERY
        if until == 0 or self._storage.sizes([checkpoint_name(until)]) != [None]:
            return
        if before and self.checkpoint_at(before) is None:
            self._write_checkpoint(self.refold(until))
            return
        view = self.view()
        if view.base.number <= until <= view.number:
            tail = view.tail[: until - view.base.number]
            self._write_checkpoint(LogView(view.base, tail, view.source))

    def _after(self, view: LogView, entry: Entry, data: bytes) -> LogView:
        """Write HINT for readers, and the checkpoint if it is due."""
        tail = [*view.tail, (entry, entry_hash(data))]
        after = LogView(view.base, tail, view.source)
        if entry.number % CHECKPOINT_EVERY == 0:
            self._write_checkpoint(after)
            self._write_sketches(after)
        self.write_hint(entry.number, entry_hash(data))
        self._remember(after)
        return after

    def _write_checkpoint(self, view: LogView) -> None:
        """Store the folded state. It is derived, so a failure costs later readers only time:
        the entry exists, and its writer must hear so.
        """
        with suppress(AmaError):
            base = view.base
            if base.number and not self.checkpoint_holds(base):
                view = self.refold(view.number)
            checkpoint = view.folded(self.segments.make)
            # This machine may have folded its base itself: the store lacks some of its segments.
            known = base if self._is_stored(base) else self._before(base)
            missing = checkpoint.digests() - known.digests() - self.segments.made.keys()
            for digest, rows in zip(missing, view.source.read([*missing]), strict=True):
                self.segments.made[digest] = canonical.encode(rows)
            new = self._store_made(checkpoint.digests())
            self._storage.replace(checkpoint_name(checkpoint.number), encode_checkpoint(checkpoint))
            self.segments.remember(new)
            self._write_notes(view)

    def _write_notes(self, view: LogView) -> None:
        """Store the notes of a checkpoint, also if there are none: else readers look for them."""
        if NOTES in view.root.write_features:
            notes = self.notes.folded(view)
            self._store_made(notes.digests())
            data = encode_notes(notes)
            self._storage.replace(notes_name(notes.number), data)
            self.notes.remember(notes, data)

    def _is_stored(self, checkpoint: Checkpoint) -> bool:
        """Whether the store has these very bytes: their seal is asked for."""
        data = encode_checkpoint(checkpoint)
        start = len(data) - ID_SIZE
        (found,) = self._storage.read([Range(checkpoint_name(checkpoint.number), start)])
        return found == data[start:]

    def _before(self, checkpoint: Checkpoint) -> Checkpoint:
        """Return the checkpoint of the store before another one; an empty one if there is none."""
        return self.checkpoint_at(checkpoint.number - CHECKPOINT_EVERY) or self.empty

    def _store_made(self, digests: Iterable[bytes]) -> list[bytes]:
        """Store those of some segments that this process has made, and return them."""
        new = [digest for digest in digests if digest in self.segments.made]
        if self._storage.across_network:
            list(in_chunks(self._store_segments, new, chunk=1))
        else:
            self._store_segments(new)
        return new

    def _store_segments(self, digests: Sequence[bytes]) -> None:
        for digest in digests:
            self._storage.replace(segment_name(digest), self.segments.made[digest])

    def _write_sketches(self, view: LogView) -> None:
        """Tell later writers which objects the indexes have: derived, as a checkpoint is."""
        from ama.stores.sketches import write_sketches

        with suppress(AmaError):
            write_sketches(self._storage, self._cache, view, self.read_entries)
