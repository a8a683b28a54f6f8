"""Updates of a catalog: the log's news, and the content of new assets.

Each batch of assets is one transaction. After an interruption, the next process continues; two that
fill it at once write the same rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from ama.catalog.document_rows import note_places, read_documents
from ama.catalog.documents import documents_among, metadata_key
from ama.catalog.noting import note_news
from ama.catalog.roles import run_values, source_names
from ama.catalog.schema import TABLES, content_key, to_cell
from ama.errors import AmaError, IntegrityError
from ama.format.checkpoint import class_of
from ama.format.entries import Event, MoveAlias, Publish, SetStatus, entry_hash, entry_name
from ama.format.hashing import asset_id
from ama.format.objects import MAX_SIZE, EntryKind, Kind, TreeEntry, decode_asset, decode_tree
from ama.format.recorded import run_of
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

AT_ONCE = 10_000
"""The most trees to read at once."""

WAITING = 1 << 16
"""The most files to sort before they are noted: in their order that takes a third of the time."""


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
        note_news(db, remote, view, since)
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
    return remote.objects(
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
    # The content of a deleted asset may be gone, and nobody asks for it.
    live = {root for asset, root in roots.items() if asset not in deleted}
    unread = _read_trees(db, objects, live)
    unread |= read_documents(db, objects)
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
    tree = _tree_row(db, asset.tree)
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
    said = {**run_values(run_of(asset.extra)), **asset.metadata}
    values = [(row, metadata_key(key), *to_cell(value)) for key, value in said.items()]
    db.executemany("INSERT INTO metadata VALUES (?, ?, ?, ?, ?)", values)
    return asset.tree


def _tree_row(db: sqlite3.Connection, tree: bytes) -> int:
    db.execute("INSERT OR IGNORE INTO trees (hash) VALUES (?)", (tree,))
    (row,) = db.execute("SELECT id FROM trees WHERE hash = ?", (tree,)).fetchone()
    return int(row)


def _read_trees(db: sqlite3.Connection, objects: ObjectStore, roots: Iterable[bytes]) -> Bad:
    """Note trees and everything below them that is not here yet; return the unreadable ones."""
    unread: Bad = {}
    tops = [_tree_row(db, root) for root in roots]
    waiting = set(tops)
    seen: set[int] = set()
    files = _Files(db)
    while waiting:
        seen |= waiting
        below: set[int] = set()
        for some in _in_parts(waiting):
            partly = _not_whole(db, some)
            new = {tree: row for row, tree, here in partly if not here}
            for tree, data, entries in _read_new(objects, new, unread):
                _note_tree(db, new[tree], data, entries)
                files.add(new[tree], entries)
            below.update(child for row, _, _ in partly for child in _children(db, row))
        waiting = below - seen
    files.note()
    for top, _, _ in _not_whole(db, tops):
        _count(db, top)
    return unread


def _in_parts(rows: Iterable[int]) -> Iterator[list[int]]:
    ordered = sorted(rows)
    for start in range(0, len(ordered), AT_ONCE):
        yield ordered[start : start + AT_ONCE]


def _not_whole(db: sqlite3.Connection, trees: Iterable[int]) -> list[tuple[int, bytes, bool]]:
    """Return the trees that lack something below, with their hashes and whether each is here."""
    query = "SELECT id, hash, size IS NOT NULL FROM trees WHERE id = ? AND files IS NULL"
    return [found for tree in trees for found in db.execute(query, (tree,))]


def _children(db: sqlite3.Connection, tree: int) -> list[int]:
    rows = db.execute("SELECT child FROM directories WHERE tree = ?", (tree,))
    return [child for (child,) in rows]


def _read_new(
    objects: ObjectStore, ids: Iterable[bytes], unread: Bad
) -> Iterator[tuple[bytes, bytes, tuple[TreeEntry, ...]]]:
    """Yield trees with their bytes and entries; note the unreadable ones."""
    bad: Bad = {}
    for tree, data in objects.read_records(ids, Kind.TREE, bad):
        try:
            yield tree, data, decode_tree(data)
        except AmaError as damage:
            unread[tree] = damage
    for tree, error in bad.items():
        try:
            # A huge directory is in chunks, and so in no record of its own.
            data = objects.read(tree, Kind.TREE)
            yield tree, data, decode_tree(data)
        except AmaError:
            unread[tree] = error


def _note_tree(db: sqlite3.Connection, row: int, data: bytes, entries: Sequence[TreeEntry]) -> None:
    """Note a tree's own entries, but not yet its files' contents."""
    inner = [entry for entry in entries if entry.kind is EntryKind.TREE]
    if inner:
        db.executemany("INSERT OR IGNORE INTO trees (hash) VALUES (?)", [(e.id,) for e in inner])
        db.executemany(
            "INSERT OR IGNORE INTO directories SELECT ?, ?, id FROM trees WHERE hash = ?",
            [(row, entry.name, entry.id) for entry in inner],
        )
    files = {e.name: e for e in entries if e.kind in (EntryKind.FILE, EntryKind.EXECUTABLE)}
    documents = [(files[name], syntax) for name, syntax in documents_among(files).items()]
    if documents:
        note_places(db, row, documents)
    names = [entry.name for entry in entries if entry.kind is not EntryKind.TREE]
    size = min(sum(entry.size for entry in entries), MAX_SIZE)  # a hostile one claims any size
    db.execute(
        "UPDATE trees SET size = ?, own = ?, own_text = ?, encoded = ? WHERE id = ?",
        (size, len(names), sum(map(len, names)), data, row),
    )


class _Files:
    """The files of new trees, on their way into the catalog.

    Args:
        db: The catalog.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._rows: list[tuple[int, int, int]] = []

    def add(self, tree: int, entries: Iterable[TreeEntry]) -> None:
        """Take a tree's files; note those that wait if they are many."""
        self._rows += [
            (content_key(entry.id), tree, entry.size)
            for entry in entries
            if entry.kind is not EntryKind.TREE
        ]
        if len(self._rows) >= WAITING:
            self.note()

    def note(self) -> None:
        """Note the files that wait."""
        self._rows.sort()
        self._db.executemany("INSERT OR IGNORE INTO files VALUES (?, ?, ?)", self._rows)
        self._rows.clear()


def _count(db: sqlite3.Connection, top: int) -> None:
    """Count what is below a tree, and below each on the way, as far as all of it is here."""
    waiting = [top]
    incomplete: set[int] = set()
    while waiting:
        tree = waiting[-1]
        lacking = {
            child
            for (child,) in db.execute(
                "SELECT child FROM directories JOIN trees ON trees.id = child"
                " WHERE tree = ? AND files IS NULL",
                (tree,),
            )
        }
        if further := lacking - incomplete:
            waiting += further
            continue
        waiting.pop()
        if lacking or not _add_up(db, tree):
            incomplete.add(tree)


def _add_up(db: sqlite3.Connection, tree: int) -> bool:
    """Add up the counts of a tree and of its directories; return whether it is here."""
    files, text, documents = db.execute(
        "SELECT own, own_text, (SELECT count(*) FROM places WHERE tree = trees.id)"
        " FROM trees WHERE id = ?",
        (tree,),
    ).fetchone()
    if files is None:
        return False
    for name, *below in db.execute(
        "SELECT name, files, text, documents FROM directories JOIN trees ON trees.id = child"
        " WHERE tree = ?",
        (tree,),
    ):
        files += below[0]
        text += below[1] + below[0] * (len(name) + 1)
        documents += below[2]
    counts = (min(each, MAX_SIZE) for each in (files, text, documents))  # a hostile one multiplies
    db.execute("UPDATE trees SET files = ?, text = ?, documents = ? WHERE id = ?", (*counts, tree))
    return True


def _lacking(db: sqlite3.Connection, root: bytes, unread: Bad) -> AmaError | None:
    """Return why something below a tree can't be read, if so."""
    lacking = db.execute(
        "WITH RECURSIVE below (tree) AS ("
        " SELECT id FROM trees WHERE hash = ? UNION"
        " SELECT child FROM below JOIN directories USING (tree)"
        ") SELECT hash FROM below JOIN trees ON trees.id = tree WHERE size IS NULL"
        " UNION ALL SELECT content FROM below JOIN places USING (tree)"
        " JOIN documents ON documents.id = document WHERE problem = 'unread'",
        (root,),
    )
    return next((unread[each] for (each,) in lacking if each in unread), None)
