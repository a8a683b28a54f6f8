"""Updates of a catalog: the log's news, and the content of new assets.

Each batch of assets is one transaction. After an interruption, the next process continues; two that
fill it at once write the same rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from ama.catalog.documents import MAX_SIZE as MAX_DOCUMENT
from ama.catalog.documents import Syntax, metadata_key, read_document, syntax_of
from ama.catalog.roles import source_names
from ama.catalog.schema import TABLES, to_cell
from ama.catalog.unread import Gap
from ama.errors import AmaError, IntegrityError
from ama.format.checkpoint import class_of
from ama.format.entries import Event, MoveAlias, Publish, SetStatus, entry_hash, entry_name
from ama.format.hashing import asset_id
from ama.format.objects import MAX_SIZE, EntryKind, Kind, TreeEntry, decode_asset, decode_tree
from ama.format.state import AssetRecord
from ama.storage.protocol import Range
from ama.stores.class_view import ClassView
from ama.stores.log_view import LogView
from ama.stores.object_reader import Bad, ObjectStore
from ama.stores.remote import Remote
from ama.system.progress import Progress

BATCH = 500
"""The assets of one transaction."""

FEW = 8
"""The most new assets to read through their own indexes, instead of all of the store's."""

MOST_BEHIND = 4096
"""The most entries to read to learn what has changed, instead of noting every asset again."""

_State = tuple[int, bytes, int]
"""The number of an entry, its hash, and whether everything in it was read."""

Documents = dict[tuple[bytes, Syntax], int]
"""Files by their content and syntax, and their sizes in bytes."""


def is_filled(db: sqlite3.Connection, view: LogView) -> bool:
    """Whether a catalog is up to date with the log."""
    return _state(db) == (view.number, view.entry_hash, 1)


def fill(db: sqlite3.Connection, remote: Remote, view: LogView, progress: Progress) -> None:
    """Bring a catalog up to date with the log; one that is further is left alone.

    Args:
        db: The catalog.
        remote: The store.
        view: Its log, whole.
        progress: The progress of the assets read.

    Raises:
        StorageError: The store can't be reached.
        sqlite3.Error: The catalog is broken, or can't be written.
    """
    if is_filled(db, view):
        # Damaged or absent content may be back, without any entry about it.
        _read(db, remote, view, progress, "unread IS NOT NULL AND status != 'deleted'")
        return
    with _writing(db):
        known = _state(db)
        if known is not None and not _follows(view, known, remote):
            for table in TABLES:
                db.execute(f"DELETE FROM {table}")
            known = None
        if known is not None and known[0] > view.number:
            return
        since = None if known is None else _since(view, known, remote)
        for name, state in view.class_states().items():
            _note_class(db, state, None if since is None else _of_class(since, name))
        db.execute("DELETE FROM state")
        db.execute("INSERT INTO state VALUES (?, ?, 0)", (view.number, view.entry_hash))
    _read(db, remote, view, progress, "data IS NULL OR unread IS NOT NULL")
    # Unless another process has moved on: what that has noted may not be read yet.
    db.execute(
        "UPDATE state SET complete = 1 WHERE number = ? AND entry_hash = ?",
        (view.number, view.entry_hash),
    )


def _read(
    db: sqlite3.Connection, remote: Remote, view: LogView, progress: Progress, which: str
) -> None:
    """Read the content of the published assets that meet a condition in SQL."""
    unread = db.execute(f"SELECT class, hash FROM assets WHERE number IS NOT NULL AND ({which})")
    wanted = [(str(name), bytes(asset)) for name, asset in unread]
    if not wanted:
        return
    progress.start("reading what assets hold", None)
    try:
        objects = _objects(remote, view, wanted)
        for start in range(0, len(wanted), BATCH):
            with _writing(db):
                _read_assets(db, objects, [a for _, a in wanted[start : start + BATCH]])
    finally:
        progress.finish()


@contextmanager
def _writing(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _state(db: sqlite3.Connection) -> _State | None:
    row = db.execute("SELECT number, entry_hash, complete FROM state").fetchone()
    return None if row is None else (row[0], row[1], row[2])


def _follows(view: LogView, known: _State, remote: Remote) -> bool:
    """Whether the log has the entry that a catalog was filled up to, maybe beyond the view."""
    number, found, _ = known
    if number == view.number:
        return found == view.entry_hash
    for entry, its_hash in view.tail:
        if entry.number == number:
            return found == its_hash
    if number == view.base.number:
        return found == view.base.entry_hash
    (data,) = remote.storage.read([Range(entry_name(number))])
    return data is not None and entry_hash(data) == found


def _since(view: LogView, known: _State, remote: Remote) -> list[Event] | None:
    """Return what happened since then; None if that is much, or can't be read."""
    behind = range(known[0] + 1, view.base.number + 1)
    if len(behind) > MOST_BEHIND:
        return None
    try:
        entries = list(remote.log.read_entries(behind))
    except IntegrityError:
        return None
    entries += [entry for entry, _ in view.tail if entry.number > known[0]]
    return [event for entry in entries for event in entry.events]


def _of_class(events: Iterable[Event], name: str) -> list[Event]:
    return [event for event in events if class_of(event) == name]


def _note_class(db: sqlite3.Connection, state: ClassView, since: list[Event] | None) -> None:
    """Note the log's facts of a class: its assets with their status, and its aliases.

    Args:
        db: The catalog.
        state: The class.
        since: What happened in it since the catalog was filled; None: note all.
    """
    if since is None:
        rows = [(r.id, state.name, at, r.status) for at, r in enumerate(state.assets, 1)]
        moves = {alias: move.asset for alias, move in state.last_moves().items()}
        db.execute("DELETE FROM aliases WHERE class = ?", (state.name,))
    else:
        named = {e.asset for e in since if isinstance(e, Publish | SetStatus)}
        state.load(named)
        found = [(state.number(asset), state.find(asset)) for asset in sorted(named)]
        rows = [(r.id, state.name, number, r.status) for number, r in found if number and r]
        moves = {alias: state.target(alias) for alias in _moved(since)}
        gone = [(state.name, alias) for alias in moves]
        db.executemany("DELETE FROM aliases WHERE class = ? AND alias = ?", gone)
    db.executemany(
        "INSERT INTO assets (hash, class, number, status) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (hash) DO UPDATE SET number = excluded.number, status = excluded.status,"
        # The content of a deleted asset, or one from elsewhere, was not read.
        " unread = 'its files were not read yet'"
        " WHERE number IS NOT excluded.number OR status != excluded.status",
        rows,
    )
    aliases = [(state.name, alias, asset) for alias, asset in moves.items() if asset]
    db.executemany("INSERT INTO aliases VALUES (?, ?, ?)", aliases)


def _moved(events: Iterable[Event]) -> list[str]:
    """Return the aliases that events move."""
    found: dict[str, None] = {}
    for event in events:
        if isinstance(event, Publish):
            found.update((alias, None) for alias, _ in event.aliases)
        elif isinstance(event, MoveAlias):
            found[event.alias] = None
    return list(found)


def _objects(remote: Remote, view: LogView, wanted: Sequence[tuple[str, bytes]]) -> ObjectStore:
    """Return the objects of some assets: of few, in the indexes that they need."""
    if len(wanted) > FEW:
        return remote.current(view)
    stores = [remote.objects_of(view, name, _record(view, name, asset)) for name, asset in wanted]
    return ObjectStore(
        remote.storage,
        {index.id: index for store in stores for index in store.indexes}.values(),
        added=lambda: remote.indexes(view.root.indexes, []),
    )


def _record(view: LogView, class_name: str, asset: bytes) -> AssetRecord:
    record = view.class_state(class_name).find(asset)
    assert record is not None
    return record


def _read_assets(db: sqlite3.Connection, objects: ObjectStore, ids: Sequence[bytes]) -> None:
    """Read assets with their trees and documents; note the unreadable parts of each."""
    bad: Bad = {}
    roots: dict[bytes, bytes] = {}
    for asset, data in objects.read_records(ids, Kind.ASSET, bad):
        try:
            roots[asset] = _note_asset(db, asset, data)
        except AmaError as error:
            bad[asset] = error
    _read_elsewhere(db, objects)
    deleted = {
        row[0]
        for row in db.execute("SELECT hash FROM assets WHERE status = 'deleted'")
        if row[0] in roots
    }
    documents: Documents = {}
    # The content of a deleted asset may be gone, and nobody asks for it.
    live = {root for asset, root in roots.items() if asset not in deleted}
    unread = _read_trees(db, objects, live, documents)
    unread |= _read_documents(db, objects, documents)
    for asset, root in roots.items():
        if unread and asset not in deleted and (why := _lacking(db, root, unread)):
            bad[asset] = why
    db.executemany("UPDATE assets SET unread = NULL WHERE hash = ?", [(asset,) for asset in ids])
    db.executemany(
        "UPDATE assets SET unread = ? WHERE hash = ?", [(str(e), asset) for asset, e in bad.items()]
    )


def _read_elsewhere(db: sqlite3.Connection, objects: ObjectStore) -> None:
    """Note the sources of assets that are published elsewhere: their records are here too."""
    tried: set[bytes] = set()
    while True:
        targets = db.execute(
            "SELECT DISTINCT target, class FROM links WHERE target NOT IN (SELECT hash FROM assets)"
        )
        wanted = {target: name for target, name in targets if target not in tried}
        if not wanted:
            return
        tried |= wanted.keys()
        for asset, data in objects.read_records(wanted, Kind.ASSET, {}):
            with suppress(AmaError):
                decode_asset(data)
                db.execute(
                    "INSERT INTO assets (hash, class, status) VALUES (?, ?, 'active')",
                    (asset, wanted[asset]),
                )
                _note_asset(db, asset, data)


def _note_asset(db: sqlite3.Connection, asset_hash: bytes, data: bytes) -> bytes:
    """Note an asset's own fields, and return its tree's id."""
    if asset_id(data) != asset_hash:
        raise IntegrityError("an object of another kind is filed as an asset")
    asset = decode_asset(data)
    (row,) = db.execute("SELECT id FROM assets WHERE hash = ?", (asset_hash,)).fetchone()
    (tree,) = _rowids(db, [asset.tree])
    db.execute(
        "UPDATE assets SET data = ?, tree = ?, author = ?, created_at = ?, message = ?"
        " WHERE id = ?",
        (data, tree, asset.author, asset.created_at, asset.message, row),
    )
    for table in ("links", "metadata"):
        db.execute(f"DELETE FROM {table} WHERE asset = ?", (row,))
    parents = [(row, "parent", parent, asset.class_name, "", "") for parent in asset.parents]
    refs = [
        (row, "ref", ref.asset, ref.class_name, ref.label, source)
        for ref, source in zip(asset.refs, source_names(asset.refs), strict=True)
    ]
    db.executemany("INSERT INTO links VALUES (?, ?, ?, ?, ?, ?)", [*parents, *refs])
    values = [(row, metadata_key(key), *to_cell(value)) for key, value in asset.metadata.items()]
    db.executemany("INSERT INTO metadata VALUES (?, ?, ?, ?, ?)", values)
    return asset.tree


def _rowids(db: sqlite3.Connection, hashes: Sequence[bytes]) -> list[int]:
    db.executemany("INSERT OR IGNORE INTO objects (hash) VALUES (?)", [(h,) for h in hashes])
    query = "SELECT id FROM objects WHERE hash = ?"
    return [db.execute(query, (h,)).fetchone()[0] for h in hashes]


def _read_trees(
    db: sqlite3.Connection, objects: ObjectStore, roots: Iterable[bytes], documents: Documents
) -> Bad:
    """Note trees and everything below them; return the unreadable ones."""
    unread: Bad = {}
    waiting = set(roots)
    seen: set[bytes] = set()
    while waiting := {tree for tree in waiting if tree not in seen and not _has_tree(db, tree)}:
        seen |= waiting
        below: set[bytes] = set()
        for tree, entries in _trees(objects, waiting, unread):
            _note_tree(db, tree, entries)
            below |= {entry.id for entry in entries if entry.kind is EntryKind.TREE}
            documents |= _documents_in(entries)
        waiting = below
    return unread


def _has_tree(db: sqlite3.Connection, tree: bytes) -> bool:
    query = "SELECT 1 FROM trees JOIN objects ON objects.id = trees.object WHERE hash = ?"
    return db.execute(query, (tree,)).fetchone() is not None


def _trees(
    objects: ObjectStore, ids: Iterable[bytes], unread: Bad
) -> Iterator[tuple[bytes, tuple[TreeEntry, ...]]]:
    bad: Bad = {}
    for tree, data in objects.read_records(ids, Kind.TREE, bad):
        try:
            yield tree, decode_tree(data)
        except AmaError as damage:
            unread[tree] = damage
    for tree, error in bad.items():
        try:
            # A huge directory is in chunks, and so in no record of its own.
            yield tree, decode_tree(objects.read(tree, Kind.TREE))
        except AmaError:
            unread[tree] = error


def _note_tree(db: sqlite3.Connection, tree: bytes, entries: Sequence[TreeEntry]) -> None:
    (row,) = _rowids(db, [tree])
    db.executemany(
        "INSERT OR IGNORE INTO objects (hash) VALUES (?)", [(entry.id,) for entry in entries]
    )
    db.executemany(
        "INSERT OR IGNORE INTO children (tree, name, kind, object, size)"
        " SELECT ?, ?, ?, id, ? FROM objects WHERE hash = ?",
        [(row, entry.name, int(entry.kind), entry.size, entry.id) for entry in entries],
    )
    total = min(sum(entry.size for entry in entries), MAX_SIZE)  # a hostile one claims any size
    db.execute("INSERT OR IGNORE INTO trees VALUES (?, ?)", (row, total))


def _documents_in(entries: Iterable[TreeEntry]) -> Documents:
    return {
        (entry.id, syntax): entry.size
        for entry in entries
        if entry.kind in (EntryKind.FILE, EntryKind.EXECUTABLE)
        and (syntax := syntax_of(entry.name)) is not None
    }


def _lacking(db: sqlite3.Connection, root: bytes, unread: Bad) -> AmaError | None:
    """Return why something below a tree can't be read, if so."""
    below = db.execute(
        "WITH RECURSIVE below (object) AS ("
        " SELECT id FROM objects WHERE hash = ? UNION"
        " SELECT children.object FROM below JOIN children ON children.tree = below.object"
        ") SELECT hash FROM below JOIN objects ON objects.id = below.object",
        (root,),
    )
    return next((unread[each] for (each,) in below if each in unread), None)


def _read_documents(db: sqlite3.Connection, objects: ObjectStore, found: Documents) -> Bad:
    """Note the values of new documents; return the unreadable ones."""
    again = db.execute(
        "SELECT hash, syntax FROM documents JOIN objects ON objects.id = documents.object"
        " WHERE problem = 'unread'"
    )
    wanted = found | {(row[0], row[1]): 0 for row in again}
    formats: dict[bytes, list[Syntax]] = {}
    for (content, syntax), size in wanted.items():
        if _has_document(db, content, syntax):
            continue
        if size > MAX_DOCUMENT:
            _note_gaps(db, _document_row(db, content, syntax, None), [Gap(None, "too_large")])
        else:
            formats.setdefault(content, []).append(syntax)
    bad: Bad = {}
    for content, data in objects.read_records(formats, Kind.DATA, bad):
        for syntax in formats[content]:
            _note_document(db, content, syntax, data)
    for content in bad:
        for syntax in formats[content]:
            _document_row(db, content, syntax, "unread")
    return bad


def _has_document(db: sqlite3.Connection, content: bytes, syntax: Syntax) -> bool:
    query = (
        "SELECT 1 FROM documents JOIN objects ON objects.id = documents.object"
        " WHERE hash = ? AND syntax = ? AND problem IS NOT 'unread'"
    )
    return db.execute(query, (content, syntax)).fetchone() is not None


def _note_document(db: sqlite3.Connection, content: bytes, syntax: Syntax, data: bytes) -> None:
    document = read_document(data, syntax)
    row = _document_row(db, content, syntax, None)
    rows = [(row, key, *to_cell(value)) for key, value in document.values.items()]
    db.executemany("INSERT INTO parameters VALUES (?, ?, ?, ?, ?)", rows)
    _note_gaps(db, row, document.gaps)


def _note_gaps(db: sqlite3.Connection, document: int, gaps: Sequence[Gap]) -> None:
    rows = [(document, gap.key, gap.reason) for gap in gaps]
    db.executemany("INSERT INTO gaps VALUES (?, ?, ?)", rows)


def _document_row(
    db: sqlite3.Connection, content: bytes, syntax: Syntax, problem: str | None
) -> int:
    (at,) = _rowids(db, [content])
    (row,) = db.execute(
        "INSERT INTO documents (object, syntax, problem) VALUES (?, ?, ?)"
        " ON CONFLICT (object, syntax) DO UPDATE SET problem = excluded.problem RETURNING id",
        (at, syntax, problem),
    ).fetchone()
    for table in ("parameters", "gaps"):
        db.execute(f"DELETE FROM {table} WHERE document = ?", (row,))
    return int(row)
