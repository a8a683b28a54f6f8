"""The rows of documents in a catalog: where they are, and once they are read, their values."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from ama.catalog.documents import (
    HEADERS,
    MAX_SIZE,
    Document,
    Syntax,
    read_document,
    read_header,
)
from ama.catalog.schema import to_cell
from ama.catalog.unread import Gap
from ama.errors import FormatError, IntegrityError, NotFound
from ama.format.objects import Kind, TreeEntry
from ama.stores.object_reader import Bad, ObjectStore
from ama.stores.references import Away
from ama.stores.stored_parts import each_in_parts

AT_ONCE = 10_000
"""The most documents to read at once."""


def note_places(
    db: sqlite3.Connection, tree: int, documents: Sequence[tuple[TreeEntry, Syntax]]
) -> None:
    """Note where documents are; new ones wait to be read, unless they are too large."""
    for entry, syntax in documents:
        if entry.size > MAX_SIZE and syntax not in HEADERS:
            _note_large(db, entry.id, syntax)
    db.executemany(
        "INSERT OR IGNORE INTO documents (content, syntax, problem) VALUES (?, ?, 'unread')",
        [(entry.id, syntax) for entry, syntax in documents],
    )
    db.executemany(
        "INSERT OR IGNORE INTO places"
        " SELECT ?, ?, id FROM documents WHERE content = ? AND syntax = ?",
        [(tree, entry.name, entry.id, syntax) for entry, syntax in documents],
    )


def _note_large(db: sqlite3.Connection, content: bytes, syntax: Syntax) -> None:
    """Note a document that is too large to be read, unless it is known."""
    new = db.execute(
        "INSERT OR IGNORE INTO documents (content, syntax) VALUES (?, ?) RETURNING id",
        (content, syntax),
    ).fetchone()
    if new is not None:
        _note_gaps(db, new[0], [Gap(None, "too_large")])


def read_documents(db: sqlite3.Connection, objects: ObjectStore) -> Bad:
    """Note the values of documents that wait to be read; return the unreadable ones."""
    bad: Bad = {}
    last = 0
    while rows := db.execute(
        "SELECT id, content, syntax FROM documents WHERE problem = 'unread' AND id > ?"
        " ORDER BY id LIMIT ?",
        (last, AT_ONCE),
    ).fetchall():
        last = rows[-1][0]
        waiting: dict[bytes, list[tuple[int, Syntax]]] = {}
        for row, content, syntax in rows:
            waiting.setdefault(content, []).append((row, syntax))
        _read_texts(db, objects, waiting, bad)
        _read_headers(db, objects, waiting, bad)
    return bad


Waiting = Mapping[bytes, Sequence[tuple[int, Syntax]]]
"""The documents of each content, and how to read it."""


def _read_texts(db: sqlite3.Connection, objects: ObjectStore, waiting: Waiting, bad: Bad) -> None:
    wanted = [key for key, rows in waiting.items() if any(s not in HEADERS for _, s in rows)]
    for content, data in objects.read_records(wanted, Kind.DATA, bad):
        for row, syntax in waiting[content]:
            if syntax not in HEADERS:
                _note_document(db, row, read_document(data, syntax))


def _read_headers(db: sqlite3.Connection, objects: ObjectStore, waiting: Waiting, bad: Bad) -> None:
    ends = {
        content: HEADERS[syntax].ends
        for content, rows in waiting.items()
        for _, syntax in rows
        if syntax in HEADERS
    }
    for content, size, read_at in each_in_parts(objects, ends, bad):
        for row, syntax in waiting[content]:
            if syntax in HEADERS:
                try:
                    found = read_header(read_at, size, syntax)
                except (NotFound, IntegrityError, FormatError, Away) as error:
                    bad[content] = error
                else:
                    _note_document(db, row, found)


def _note_document(db: sqlite3.Connection, document: int, found: Document) -> None:
    rows = [(document, key, *to_cell(value)) for key, value in found.values.items()]
    db.executemany("INSERT INTO parameters VALUES (?, ?, ?, ?, ?)", rows)
    _note_gaps(db, document, found.gaps)
    db.execute("UPDATE documents SET problem = NULL WHERE id = ?", (document,))


def _note_gaps(db: sqlite3.Connection, document: int, gaps: Sequence[Gap]) -> None:
    rows = [(document, gap.key, gap.reason) for gap in gaps]
    db.executemany("INSERT INTO gaps VALUES (?, ?, ?)", rows)
