"""The notes in a store's log: those of one asset or class are found without reading the others.

They are in `checkpoint/notes/`, beside the checkpoint, and in the entries after it. Nothing else of
the log depends on them: only who asks for notes reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from ama.errors import IntegrityError
from ama.format.checkpoint import Checkpoint
from ama.format.entries import Entry, Feature, entry_hash
from ama.format.hashing import seal
from ama.format.notes import (
    BY_ASSET,
    NOTES,
    NoteRecord,
    NotesCheckpoint,
    decode_notes,
    fold_notes,
    note_key,
    note_record,
    notes_in,
)
from ama.format.tables import EMPTY, Row, Source, TableReader
from ama.storage.protocol import Storage
from ama.stores.cache import Cache
from ama.stores.log_errors import rewritten
from ama.stores.log_files import notes_name, read_readable
from ama.stores.log_reader import CHECKPOINT_EVERY, FEW_ENTRIES, MOST_ENTRIES, LogReader
from ama.stores.log_view import LogView
from ama.stores.segments import CheckpointSegments

NEAR = 8
"""How many checkpoints back to look for notes where the newest one has none."""


class NotesView:
    """The notes of a store after some entry.

    Args:
        base: The notes of a checkpoint.
        tail: The notes in the entries after it, in order.
        source: What returns the checkpoint's segments.
        log: The log, for long notes.
    """

    def __init__(
        self,
        base: NotesCheckpoint,
        tail: Iterable[NoteRecord],
        source: Source,
        log: LogReader,
    ) -> None:
        self._base = base
        self._tail = tuple(tail)
        self._source = source
        self._log = log

    def of(self, class_name: str, asset: bytes | None) -> tuple[NoteRecord, ...]:
        """Return the notes of an asset, oldest first; None: those of the class itself.

        Raises:
            IntegrityError: A note can't be read.
        """
        table = self._table(class_name)
        key = note_key(asset)
        places = [place for place, _ in table.find([key])[key]]
        rows = [row for row in table.rows(places).values() if row[:1] == (asset,)]
        later = (each for each in self._of_tail(class_name) if each.note.asset == asset)
        return (*self._records(rows), *later)

    def all_of(self, class_name: str, after: int = 0) -> Iterator[NoteRecord]:
        """Yield the notes of a class and its assets, oldest first.

        Args:
            class_name: The class.
            after: The number of notes to leave out; see `count`.
        """
        table = self._table(class_name)
        for start in range(min(after, table.count), table.count, FEW_ENTRIES):
            end = min(start + FEW_ENTRIES, table.count)
            yield from self._records(list(table.between(start, end)))
        yield from self._of_tail(class_name)[max(0, after - table.count) :]

    def count(self, class_name: str) -> int:
        """Return how many notes a class and its assets have."""
        return self._table(class_name).count + len(self._of_tail(class_name))

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes that have notes, in order."""
        return tuple(sorted({*self._base.classes, *(r.note.class_name for r in self._tail)}))

    def _table(self, class_name: str) -> TableReader:
        return TableReader(self._base.classes.get(class_name, EMPTY), BY_ASSET, self._source)

    def _of_tail(self, class_name: str) -> list[NoteRecord]:
        return [record for record in self._tail if record.note.class_name == class_name]

    def _records(self, rows: Sequence[Row]) -> list[NoteRecord]:
        """Return the notes of rows; those that are too long for a row are read in one batch."""
        numbers = list(dict.fromkeys(_number_of(row) for row in rows if row[-1:] == (None,)))
        entries = {entry.number: entry for entry in self._log.read_entries(numbers)}
        return [note_record(row, entries.get(_number_of(row))) for row in rows]


def _number_of(row: Row) -> int:
    if len(row) != 4 or type(row[1]) is not int or row[1] < 1:
        raise IntegrityError("a note of a checkpoint is damaged: it has no entry")
    return row[1]


class LogNotes:
    """The notes in a log.

    Args:
        log: The log.
        storage: The store's storage.
        cache: Its cache on this machine.
    """

    def __init__(self, log: LogReader, storage: Storage, cache: Cache) -> None:
        self._log = log
        self._storage = storage
        self._cache = cache
        self._last: NotesCheckpoint | None = None

    def at(self, view: LogView) -> NotesView:
        """Return the notes as a view of the log shows them.

        Raises:
            IntegrityError: An entry is lost or damaged, and no checkpoint has its notes.
        """
        known = NOTES in view.base.write_features
        tail = notes_in((entry for entry, _ in view.tail), known=known)
        base = self._base(view.base)
        return NotesView(base, tail, self._source(view.base), self._log)

    def folded(self, view: LogView) -> NotesCheckpoint:
        """Return the notes after the last entry of a view, for its checkpoint.

        What they are built on is checked first, as a checkpoint is. New segments are in this
        process's memory.

        Raises:
            IntegrityError: An entry is lost or damaged.
        """
        known = NOTES in view.base.write_features
        base, source = self._checked(view.base), self._source(view.base)
        return fold_notes(base, view.tail, source, self._log.segments.make, known=known)

    def remember(self, notes: NotesCheckpoint, data: bytes) -> None:
        """Keep a checkpoint's notes that the store has."""
        self._cache.put(notes_name(notes.number), data)
        self._log.segments.remember(notes.digests())
        self._last = notes

    # The notes of a checkpoint

    def _base(self, checkpoint: Checkpoint) -> NotesCheckpoint:
        """Return the notes of a checkpoint, from the nearest one that has a file of them."""
        if not checkpoint.number or NOTES not in checkpoint.write_features:
            return _none(checkpoint)
        last = self._last  # another thread may set it, for a checkpoint of its own
        if last is None or last.entry_hash != checkpoint.entry_hash:
            last = self._stored(checkpoint) or self._folded(checkpoint)
            self._last = last
        return last

    def _stored(self, checkpoint: Checkpoint) -> NotesCheckpoint | None:
        """Return the notes of a checkpoint as this machine or the store has them."""
        name = notes_name(checkpoint.number)
        found = _sound(self._cache.get(name), checkpoint.number, checkpoint.entry_hash)
        if found is None:
            (data,) = read_readable(self._storage, [name])
            found = _sound(data, checkpoint.number, checkpoint.entry_hash)
            if found is not None:
                self._cache.put(name, data or b"")
        return found

    def _folded(self, checkpoint: Checkpoint) -> NotesCheckpoint:
        """Return the notes of a checkpoint that has no file of them: add up those since others."""
        last = checkpoint.number - CHECKPOINT_EVERY
        numbers = range(last, max(0, last - NEAR * CHECKPOINT_EVERY), -CHECKPOINT_EVERY)
        files = read_readable(self._storage, [notes_name(number) for number in numbers])
        for number, data in zip(numbers, files, strict=True):
            if (found := _sound(data, number)) is not None:
                with suppress(IntegrityError):
                    return self._go_on(found, checkpoint)
        return self._from_the_beginning(checkpoint)

    def _from_the_beginning(self, checkpoint: Checkpoint) -> NotesCheckpoint:
        return self._go_on(_none(self._log.empty), checkpoint)

    def _go_on(self, base: NotesCheckpoint, checkpoint: Checkpoint) -> NotesCheckpoint:
        """Return the notes of a checkpoint from those of an earlier one, a few entries at a time.

        Raises:
            IntegrityError: An entry is lost or damaged, or they are of another log.
        """
        segments = self._log.segments
        known = bool(base.number) or NOTES in self._log.empty.write_features
        made = set(segments.made)
        source = CheckpointSegments(segments, lambda: None, self._storage.url)
        for start in range(base.number + 1, checkpoint.number + 1, MOST_ENTRIES):
            tail: list[tuple[Entry, bytes]] = []
            previous = base.entry_hash
            for entry, data in self._log.entries(
                start, min(start + MOST_ENTRIES, checkpoint.number + 1)
            ):
                if entry.previous != previous:
                    raise rewritten(entry.number, self._storage.url, ())
                previous = entry_hash(data)
                tail.append((entry, previous))
            base = fold_notes(base, tail, source, segments.make, known=known)
            known = known or _has_feature(tail)
        for digest in segments.made.keys() - made - base.digests():
            del segments.made[digest]
        if base.entry_hash != checkpoint.entry_hash:
            raise rewritten(checkpoint.number, self._storage.url, ())
        return base

    def _source(self, checkpoint: Checkpoint) -> CheckpointSegments:
        """Return what returns segments of notes, if need be from the whole log."""
        return CheckpointSegments(
            self._log.segments, lambda: self._from_the_beginning(checkpoint), self._storage.url
        )

    # Checks of what is built on

    def _checked(self, checkpoint: Checkpoint) -> NotesCheckpoint:
        """Return the notes of a checkpoint that equal those before it and the entries since."""
        if not checkpoint.number or NOTES not in checkpoint.write_features:
            return _none(checkpoint)
        found = self._stored(checkpoint)
        if found is not None and self._holds(found):
            return found
        return self._from_the_beginning(checkpoint)

    def _holds(self, notes: NotesCheckpoint) -> bool:
        """Whether notes equal those of the checkpoint before and the entries since."""
        number = notes.number - CHECKPOINT_EVERY
        before: NotesCheckpoint | None = _none(self._log.empty) if number <= 0 else None
        known = NOTES in self._log.empty.write_features
        if number > 0:
            (data,) = read_readable(self._storage, [notes_name(number)])
            before, known = _sound(data, number), True
            if before is None:
                # None is due where the feature is younger.
                base = self._log.checkpoint_at(number)
                if base is None or NOTES in base.write_features:
                    return False
                before, known = _none(base), False
        assert before is not None
        try:
            tail = self._log.tail_of(notes.number, notes.entry_hash)
            if tail[0][0].previous != before.entry_hash:
                return False
            source = CheckpointSegments(self._log.segments, lambda: None, self._storage.url)
            return fold_notes(before, tail, source, seal, known=known) == notes
        except IntegrityError:
            return False


def _none(checkpoint: Checkpoint) -> NotesCheckpoint:
    return NotesCheckpoint(checkpoint.number, checkpoint.entry_hash)


def _sound(data: bytes | None, number: int, digest: bytes | None = None) -> NotesCheckpoint | None:
    """Return the notes of a file, if they are sound and those of an entry."""
    if data is None:
        return None
    try:
        found = decode_notes(data)
    except IntegrityError:
        return None
    return found if found.number == number and digest in (None, found.entry_hash) else None


def _has_feature(tail: Iterable[tuple[Entry, bytes]]) -> bool:
    events = (event for entry, _ in tail for event in entry.events)
    return any(isinstance(event, Feature) and NOTES in event.write for event in events)
