"""Notes in a checkpoint: what is known later of assets and classes, in tables beside the fold.

`checkpoint/notes/N` says what `checkpoint/fold/N` can't: its fields are closed. It has a table of
notes for each class that has any. Its bytes are a function of the log alone. docs/format.md,
section 12.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ama.errors import IntegrityError
from ama.format import canonical
from ama.format.checkpoint import Store, id_key
from ama.format.entries import AddNote, Entry, Feature, note_fields, note_of
from ama.format.names import check_class
from ama.format.tables import (
    EMPTY,
    KEY_SIZE,
    Draft,
    Row,
    Shape,
    Source,
    Table,
    decode_table,
    encode_table,
)

if TYPE_CHECKING:
    from ama.values import Scalar

NOTES = "notes"
"""The feature that writers of a store with notes know; before it a note has no effect."""

VERSION = 1
MAGIC = b"ama-note"

LONGEST = 4096
"""The most bytes of what a row says itself; of a longer note the entry is read."""


@dataclass(frozen=True, slots=True)
class NoteRecord:
    """A note in the log: its event, and the entry that has it.

    `place` is the note's place among the entry's events, from 0 on.
    """

    note: AddNote
    entry: int
    place: int
    author: str
    at: int


@dataclass(frozen=True, slots=True)
class NotesCheckpoint:
    """The notes of a store after entry `number`, whose bytes hash to `entry_hash`."""

    number: int
    entry_hash: bytes
    classes: Mapping[str, Table] = field(default_factory=dict)

    def digests(self) -> set[bytes]:
        """Return the digests of all segments and pages."""
        tables = self.classes.values()
        return {digest for table in tables for digest in (*table.segments, *table.pages)}


def note_key(asset: bytes | None) -> bytes:
    """Return the key of the notes of an asset; None: of those of the class itself."""
    return bytes(KEY_SIZE) if asset is None else id_key(asset)


def _key(row: Row) -> bytes:
    # A forged row may be anything.
    asset = row[0] if row else None
    return note_key(asset if type(asset) is bytes else None)


BY_ASSET = Shape(_key)
"""Notes (asset or nil, entry, place in the entry, and author, time and fields, or nil if these are
more than `LONGEST` bytes: then the entry has them)."""


def encode_notes(notes: NotesCheckpoint) -> bytes:
    """Return the bytes of a checkpoint's notes: a magic, canonical MessagePack, a seal.

    Example:
        >>> decode_notes(encode_notes(NotesCheckpoint(64, bytes(32)))).number
        64
    """
    classes = {name: encode_table(table) for name, table in notes.classes.items()}
    return canonical.encode_sealed(MAGIC, (VERSION, notes.number, notes.entry_hash, classes))


def decode_notes(data: bytes, what: str = "notes of a checkpoint") -> NotesCheckpoint:
    """Decode a checkpoint's notes.

    Raises:
        IntegrityError: The bytes are damaged, or of another version.

    Example:
        >>> decode_notes(encode_notes(NotesCheckpoint(64, bytes(32)))).classes
        {}
    """
    fields = canonical.decode_sealed(MAGIC, data, what)
    try:
        version, number, entry_hash, classes = fields
        if (type(version), version) != (int, VERSION):
            raise ValueError("another version")
        notes = NotesCheckpoint(
            canonical.check_number(number),
            canonical.check_id(entry_hash),
            {check_class(name): decode_table(table) for name, table in classes.items()},
        )
        if encode_notes(notes) != data:
            raise ValueError("a field of another type")
    except (ValueError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{what} is damaged: {error}") from error
    return notes


def notes_in(entries: Iterable[Entry], *, known: bool) -> Iterator[NoteRecord]:
    """Yield the notes of some entries, in order.

    Args:
        entries: The entries, in order.
        known: Whether the store has the feature before them; a note without it has no effect.
    """
    for entry in entries:
        for place, event in enumerate(entry.events):
            if isinstance(event, Feature):
                known = known or NOTES in event.write
            elif known and isinstance(event, AddNote):
                yield NoteRecord(event, entry.number, place, entry.author, entry.at)


def fold_notes(
    before: NotesCheckpoint,
    entries: Sequence[tuple[Entry, bytes]],
    source: Source,
    store: Store,
    *,
    known: bool,
) -> NotesCheckpoint:
    """Return the notes after more entries.

    Args:
        before: The notes before.
        entries: The entries in order, each with the hash of its bytes.
        source: What returns the segments before.
        store: A function that keeps a new segment's bytes, and returns their digest.
        known: Whether the store has the feature before them.
    """
    if not entries:
        return before
    added: dict[str, list[Row]] = {}
    for record in notes_in((entry for entry, _ in entries), known=known):
        added.setdefault(record.note.class_name, []).append(note_row(record))
    classes = dict(before.classes)
    for name, rows in sorted(added.items()):
        draft = Draft(classes.get(name, EMPTY), BY_ASSET, source)
        draft.extend(rows)
        classes[name] = draft.finish(store)
    last, last_hash = entries[-1]
    return NotesCheckpoint(last.number, last_hash, classes)


def noted(notes: Iterable[AddNote]) -> tuple[dict[str, Scalar], tuple[str, ...], str]:
    """Return what notes add up to: the values, the tags, and the last message.

    The last message of a class is its description, and an empty one takes that away.

    Args:
        notes: The notes of an asset, or of a class itself, oldest first.

    Example:
        >>> noted([AddNote("models", None, {"loss": 0.5}), AddNote("models", None, {"loss": None})])
        ({}, (), '')
    """
    values: dict[str, Scalar] = {}
    tags: dict[str, None] = {}
    message = ""
    for note in notes:
        for key, value in note.metadata.items():
            values.pop(key, None)
            if value is not None:
                values[key] = value
        for tag in note.untags:
            tags.pop(tag, None)
        tags.update(dict.fromkeys(note.tags))
        if note.message or note.asset is None:
            message = note.message
    return values, tuple(sorted(tags)), message


def note_row(record: NoteRecord) -> Row:
    """Return the row of a note."""
    fields = note_fields(record.note)
    said: tuple[Any, ...] | None = (record.author, record.at, fields)
    if len(canonical.encode(said)) > LONGEST:
        said = None
    return record.note.asset, record.entry, record.place, said


def note_record(row: Row, entry: Entry | None = None) -> NoteRecord:
    """Return the note of a row.

    Args:
        row: The row.
        entry: The note's entry, if the row doesn't say what it says.

    Raises:
        IntegrityError: It is no note's row, or the entry has no such note.
    """
    try:
        asset, number, place, said = row
        canonical.check_number(number)
        canonical.check_number(place)
        if said is None:
            event = None if entry is None else entry.events[place]
            if entry is None or not isinstance(event, AddNote):
                raise ValueError("its entry has no such note")
            note, author, at = event, entry.author, entry.at
        else:
            author, at, fields = said
            note = note_of(fields)
            canonical.check_text(author)
            canonical.check_number(at)
        if note.asset != asset:
            raise ValueError("it is about another asset")
        return NoteRecord(note, number, place, author, at)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise IntegrityError(f"a note of a checkpoint is damaged: {error}") from error
