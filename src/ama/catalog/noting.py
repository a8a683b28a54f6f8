"""Notes in a catalog: what was said later of assets, and what it adds up to.

The log only grows, so the catalog's notes of a class are the first of the log's. Each update takes
those that come after them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ama.catalog.documents import metadata_key
from ama.catalog.schema import to_cell
from ama.format.entries import AddNote, Event, Publish
from ama.format.notes import NoteRecord
from ama.stores.log_view import LogView
from ama.stores.remote import Remote
from ama.stores.revisions import moment


def last_note(db: sqlite3.Connection, asset: bytes) -> int:
    """Return the entry of the last note about an asset, or about what it was made from, else 0."""
    (entry,) = db.execute(
        "WITH about (class, asset) AS ("
        " SELECT class, hash FROM assets WHERE hash = :asset UNION ALL"
        " SELECT links.class, target FROM links JOIN assets ON assets.id = links.asset"
        " WHERE hash = :asset AND kind = 'ref')"
        " SELECT coalesce(max(entry), 0) FROM about"
        " JOIN notes ON notes.class = about.class AND notes.asset = about.asset",
        {"asset": asset},
    ).fetchone()
    return int(entry)


@dataclass(frozen=True, slots=True)
class Description:
    """What a class was described as: Markdown, which is empty where that was taken away."""

    text: str
    entry: int
    """The entry of the log that says so."""
    author: str
    at: datetime


def note_news(
    db: sqlite3.Connection, remote: Remote, view: LogView, since: Sequence[Event] | None
) -> None:
    """Add the notes that a catalog lacks. The assets that they are about are in it already.

    Args:
        db: The catalog, in a transaction.
        remote: The store.
        view: Its log.
        since: What happened since the catalog was filled; None: note all again.

    Raises:
        IntegrityError: A note can't be read.
    """
    if since is None:
        for table in ("notes", "noted", "tags"):
            db.execute(f"DELETE FROM {table}")
    if since is None or any(isinstance(event, AddNote) for event in since):
        notes = remote.log.notes.at(view)
        for name in notes.classes:
            (known,) = db.execute("SELECT count(*) FROM notes WHERE class = ?", (name,)).fetchone()
            if known < notes.count(name):
                for record in notes.all_of(name, known):
                    _add_up(db, record, _add(db, record))
    # Each once: a log may publish the same asset any number of times.
    published = {(e.class_name, e.asset) for e in since or () if isinstance(e, Publish)}
    for about in sorted(published):
        _note_again(db, remote, view, about)


def tags_of(db: sqlite3.Connection, asset: bytes) -> tuple[str, ...]:
    """Return the tags of an asset, in order."""
    tags = db.execute(
        "SELECT tag FROM assets CROSS JOIN tags ON tags.asset = assets.id WHERE hash = ?"
        " ORDER BY tag",
        (asset,),
    )
    return tuple(tag for (tag,) in tags)


def descriptions(db: sqlite3.Connection, class_name: str, limit: int) -> tuple[Description, ...]:
    """Return the newest descriptions of a class, the present one first.

    Args:
        db: A catalog.
        class_name: The class.
        limit: The most descriptions.
    """
    rows = db.execute(
        "SELECT message, entry, author, at FROM notes WHERE class = ? AND asset IS NULL"
        " ORDER BY id DESC LIMIT ?",
        (class_name, limit),
    )
    return tuple(Description(text, entry, by, moment(at)) for text, entry, by, at in rows)


def description_of(db: sqlite3.Connection, class_name: str) -> str:
    """Return the present description of a class, in Markdown; empty if it has none."""
    return "".join(each.text for each in descriptions(db, class_name, 1))


def _note_again(
    db: sqlite3.Connection, remote: Remote, view: LogView, about: tuple[str, bytes]
) -> None:
    """Add up what was noted of an asset, by its class and id, before it was published."""
    rows = db.execute("SELECT id FROM notes WHERE class = ? AND asset = ? ORDER BY id", about)
    if known := [row for (row,) in rows]:
        for record, row in zip(remote.log.notes.at(view).of(*about), known, strict=True):
            _add_up(db, record, row)


def _add(db: sqlite3.Connection, record: NoteRecord) -> int:
    """Add a note; return its row."""
    note = record.note
    file = (None, None, None) if note.file is None else _file_cells(note)
    said = (note.class_name, note.asset, record.entry, record.author, record.at, note.message)
    done = db.execute(
        "INSERT INTO notes (class, asset, entry, author, at, message, file, content, size)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*said, *file),
    )
    assert done.lastrowid is not None
    return done.lastrowid


def _add_up(db: sqlite3.Connection, record: NoteRecord, row: int) -> None:
    """Let a note change what the notes of its asset add up to."""
    note = record.note
    found = db.execute(
        "SELECT id FROM assets WHERE hash = ? AND class = ? AND number IS NOT NULL",
        (note.asset, note.class_name),
    ).fetchone()
    if found is None:
        return  # it is about the class, or about what is no asset of it, or not yet
    (asset,) = found
    gone = [(asset, metadata_key(key)) for key, value in note.metadata.items() if value is None]
    db.executemany("DELETE FROM noted WHERE asset = ? AND key = ?", gone)
    values = [
        (asset, metadata_key(key), *to_cell(value), row)
        for key, value in note.metadata.items()
        if value is not None
    ]
    db.executemany("INSERT OR REPLACE INTO noted VALUES (?, ?, ?, ?, ?, ?)", values)
    untagged = [(asset, tag) for tag in note.untags]
    db.executemany("DELETE FROM tags WHERE asset = ? AND tag = ?", untagged)
    tagged = [(asset, tag, row) for tag in note.tags]
    db.executemany("INSERT OR REPLACE INTO tags VALUES (?, ?, ?)", tagged)


def _file_cells(note: AddNote) -> tuple[str, bytes, int]:
    assert note.file is not None
    return note.file.name, note.file.id, note.file.size
