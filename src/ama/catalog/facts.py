"""Facts: the values in assets' documents and metadata, and assets' files."""

from __future__ import annotations

import posixpath
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import BinaryIO, NamedTuple, TypeVar

from ama.catalog.documents import (
    HEADERS,
    MAX_SIZE,
    Document,
    Syntax,
    Value,
    documents_among,
    metadata_key,
    read_document,
    read_header,
    syntax_of,
)
from ama.catalog.find import Criteria, entries_of, select
from ama.catalog.roles import Rules, direction_of, roles_of
from ama.catalog.schema import from_cell
from ama.catalog.unread import Gap, Unread
from ama.catalog.values import Code, Fact, Summary
from ama.errors import AmaError, Hint, IntegrityError, InvalidInput
from ama.format.hashing import short
from ama.format.objects import Asset, TreeEntry, decode_asset
from ama.format.recorded import environment_of
from ama.stores.log_view import LogView
from ama.stores.revisions import Describer
from ama.values import File, Ref
from ama.worktree.status import as_file
from ama.worktree.trees import SHARING, is_many, require_few, require_held, require_listable, walk

RulesOf = Callable[[str], Rules]
"""Returns the rules of a class."""


def files_of(db: sqlite3.Connection, asset: bytes, limit: int | None = None) -> tuple[File, ...]:
    """Return the files of an asset, or the first of them, in the order of their paths.

    Args:
        db: A catalog.
        asset: Its id.
        limit: The most files; None: all.

    Raises:
        InvalidInput: There are too many to list.
    """
    row, top = db.execute(
        "SELECT trees.id, trees.hash FROM assets JOIN trees ON trees.id = tree"
        " WHERE assets.hash = ?",
        (asset,),
    ).fetchone()
    _require_listable(db, row)

    def read(tree: bytes) -> tuple[TreeEntry, ...]:
        (found,) = db.execute("SELECT id FROM trees WHERE hash = ?", (tree,)).fetchone()
        return entries_of(db, found)

    return tuple(map(as_file, islice(walk(top, read), limit)))


def _require_listable(db: sqlite3.Connection, top: int) -> None:
    """Check that everything below a directory can be listed, from what was counted.

    Raises:
        InvalidInput: It can't; see `ama.worktree.trees.require_listable`.
    """
    query = "SELECT files, text FROM trees WHERE id = ?"
    files, text = db.execute(query, (top,)).fetchone()
    require_few(files, text)
    if not is_many(files, text):
        return
    held = 0
    for (entries,) in db.execute(
        "WITH RECURSIVE below (tree) AS ("
        " VALUES (?) UNION SELECT child FROM below JOIN directories USING (tree)"
        ") SELECT own + (SELECT count(*) FROM directories WHERE directories.tree = below.tree)"
        " FROM below JOIN trees ON trees.id = tree",
        (top,),
    ):
        held += entries
        if SHARING * held >= files:  # in an honest one, after a part of its directories
            return
    require_held(files, held)


def has_all_trees(db: sqlite3.Connection, asset: bytes) -> bool:
    """Whether every directory of an asset is known, and so all its files."""
    query = (
        "SELECT 1 FROM assets JOIN trees ON trees.id = tree"
        " WHERE assets.hash = ? AND files IS NOT NULL"
    )
    return db.execute(query, (asset,)).fetchone() is not None


MOST_VALUES = 100_000
"""The most values to read from an asset's documents."""

MOST_GAPS = 1_000
"""The most unread things to name."""


def _further_up_first(place: tuple[str, int]) -> tuple[int, str]:
    return place[0].count("/"), place[0]


class FactReader:
    """A reader of facts. It reads a document of several assets only once.

    Args:
        db: A catalog.
        rules_of: A function that returns a class's rules.
        as_published: Whether to leave out what was noted later.
    """

    def __init__(
        self, db: sqlite3.Connection, rules_of: RulesOf, *, as_published: bool = False
    ) -> None:
        self._db = db
        self._rules_of = rules_of
        self.as_published = as_published
        self._documents: dict[int, Document] = {}
        self._facts: dict[tuple[int, str, str], tuple[Fact, ...]] = {}
        self._unread: dict[Unread, None] = {}
        self._gaps: dict[Unread, None] = {}

    @property
    def unread(self) -> tuple[Unread, ...]:
        """Return the assets and refs that should have facts and could not be read so far."""
        return tuple(self._unread)

    @property
    def gaps(self) -> tuple[Unread, ...]:
        """Return the first gaps of the documents read so far."""
        return tuple(self._gaps)

    def facts(self, asset: bytes, class_name: str) -> tuple[Fact, ...]:
        """Return an asset's facts, and its refs' facts on its code, parameters and data.

        Code, parameters and data are often an asset of their own, to which it has a ref. A ref to
        an asset of its own class is an earlier model instead, and doesn't count.

        Returns:
            The values of its documents in the order of their paths, its metadata with what was
            noted later, and the same of its refs to assets of other classes.
        """
        found = list(self._own(asset, class_name, ""))
        # Its row as a value makes this an index lookup, not a scan of all others.
        row = self._db.execute("SELECT id FROM assets WHERE hash = ?", (asset,)).fetchone()
        rows = self._db.execute(
            "SELECT target, class, source FROM inputs WHERE asset = ? ORDER BY at", row
        )
        for target, name, source in rows.fetchall():
            found += [
                replace(fact, source=source)
                for fact in self._own(target, name, source)
                if fact.role in ("code", "parameter", "data")
            ]
        return tuple(found)

    def _note_unread(self, asset: bytes, class_name: str, source: str) -> str:
        """Note an asset that can't be read, and return its name."""
        row = self._db.execute(
            "SELECT number, unread FROM assets WHERE hash = ?", (asset,)
        ).fetchone()
        if row is None or row[0] is None:
            self._unread[Unread(short(asset), reason="elsewhere", source=source)] = None
            return short(asset)
        name = f"{class_name}/{row[0]}"
        if row[1] is not None:
            self._unread[Unread(name, source=source, detail=str(row[1]))] = None
        return name

    def _own(self, asset: bytes, class_name: str, source: str) -> tuple[Fact, ...]:
        name = self._note_unread(asset, class_name, source)
        rules = self._rules_of(class_name)
        by_path: dict[str, tuple[Fact, ...]] = {}
        left = MOST_VALUES
        try:
            paths = sorted(self._paths(asset), key=_further_up_first)
        except InvalidInput:
            paths = []
            why = "its files with values are more than can be listed"
            self._unread[Unread(name, reason="too_many", source=source, detail=why)] = None
        try:
            for path, document in paths:
                key = (document, path, class_name)
                if key not in self._facts:
                    self._facts[key] = _facts(path, self._document(document).values, rules)
                self._note_gaps(name, source, path, self._document(document).gaps)
                left -= len(self._facts[key])
                if left < 0:
                    raise InvalidInput(
                        f"more than {MOST_VALUES:,} values, of which those in the files furthest"
                        " down are left out"
                    )
                by_path[path] = self._facts[key]
        except InvalidInput as error:
            told = Unread(name, reason="too_many", source=source, detail=error.message)
            self._unread[told] = None
        found = [fact for path in sorted(by_path) for fact in by_path[path]]
        return (*found, *self._metadata(asset, rules))

    def _metadata(self, asset: bytes, rules: Rules) -> Iterator[Fact]:
        """Yield an asset's metadata; what was noted later counts, unless it is left out."""
        rows = self._db.execute(
            "SELECT key, metadata.kind, text FROM assets"
            " CROSS JOIN metadata ON metadata.asset = assets.id WHERE hash = ?",
            (asset,),
        )
        values = {key: from_cell(kind, text) for key, kind, text in rows}
        entries: dict[str, int] = {}
        if not self.as_published:
            for key, kind, text, entry in self._db.execute(
                "SELECT key, noted.kind, text, entry FROM assets"
                " CROSS JOIN noted ON noted.asset = assets.id"
                " CROSS JOIN notes ON notes.id = note WHERE assets.hash = ?",
                (asset,),
            ):
                values[key] = from_cell(kind, text)
                entries[key] = entry
        for fact in _facts("", dict(sorted(values.items())), rules):
            yield replace(fact, entry=entries[fact.key]) if fact.key in entries else fact

    def _paths(self, asset: bytes) -> list[tuple[str, int]]:
        items: dict[int, list[tuple[str, int]]] = {}
        for tree, name, document in self._db.execute(
            f"{BELOW} SELECT tree, name, document FROM below JOIN places USING (tree)"
            " JOIN documents ON documents.id = document WHERE problem IS NULL",
            (asset,),
        ):
            items.setdefault(tree, []).append((name, document))
        return list(_paths_of(self._db, asset, items))

    def _note_gaps(self, asset: str, source: str, path: str, gaps: Iterable[Gap]) -> None:
        for gap in gaps:
            if len(self._gaps) < MOST_GAPS:
                self._gaps[Unread(asset, path, gap.key, gap.reason, source)] = None

    def _document(self, document: int) -> Document:
        if document not in self._documents:
            rows = self._db.execute(
                "SELECT key, kind, text FROM parameters WHERE document = ? ORDER BY rowid",
                (document,),
            )
            values = {key: from_cell(kind, text) for key, kind, text in rows}
            gaps = self._db.execute(
                "SELECT key, reason FROM gaps WHERE document = ? ORDER BY rowid", (document,)
            )
            self._documents[document] = Document(values, tuple(Gap(*row) for row in gaps))
        return self._documents[document]


def read_facts(
    files: Iterable[File],
    open_file: Callable[[str], BinaryIO],
    metadata: Mapping[str, Value],
    rules: Rules,
) -> tuple[tuple[Fact, ...], tuple[Unread, ...]]:
    """Return the facts of an asset that is in no catalog yet, and the unread parts.

    Args:
        files: Its files.
        open_file: A function that opens a file, to be read at any place.
        metadata: Its metadata.
        rules: The rules of its class.
    """
    found: list[Fact] = []
    unread: list[Unread] = []
    for file, syntax in _documents(files):
        if file.size > MAX_SIZE and syntax not in HEADERS:
            unread.append(Unread("", file.path, reason="too_large"))
            continue
        try:
            with open_file(file.path) as opened:
                document = (
                    read_header(partial(_read_at, opened), file.size, syntax)
                    if syntax in HEADERS
                    else read_document(opened.read(), syntax)
                )
        except AmaError as error:
            unread.append(Unread("", file.path, detail=error.message))
            continue
        found += _facts(file.path, document.values, rules)
        unread += [Unread("", file.path, gap.key, gap.reason) for gap in document.gaps]
    said = {metadata_key(name): value for name, value in metadata.items()}
    return (*found, *_facts("", said, rules)), tuple(unread)


def _read_at(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)


def _documents(files: Iterable[File]) -> list[tuple[File, Syntax]]:
    """Return the documents among the files of an asset, in their order."""
    wanted = [file for file in files if file.kind != "symlink" and syntax_of(file.path)]
    near: dict[str, list[str]] = {}
    for file in wanted:
        near.setdefault(posixpath.dirname(file.path), []).append(file.path)
    found = {
        path: syntax for some in near.values() for path, syntax in documents_among(some).items()
    }
    return [(file, found[file.path]) for file in wanted if file.path in found]


def _facts(path: str, document: Mapping[str, Value], rules: Rules) -> tuple[Fact, ...]:
    roles = roles_of(path, document, rules)
    return tuple(
        Fact(
            roles[key],
            path,
            key,
            value,
            direction_of(key, rules) if roles[key] == "metric" else None,
        )
        for key, value in document.items()
    )


_CODE_KEYS: Mapping[str, Sequence[str]] = {
    "repository": ("repository", "repo", "remote", "url", "git_repository"),
    "commit": ("commit", "revision", "sha", "git_commit", "commit_hash", "commit_sha", "git_sha"),
    "branch": ("branch", "ref", "git_branch"),
    "dirty": ("dirty", "is_dirty", "git_dirty"),
}


def code_of(facts: Sequence[Fact]) -> Code | None:
    """Return the code that made an asset; a file takes precedence over the notes of `upload`."""
    by_file: dict[tuple[str, str], dict[str, Value]] = {}
    for fact in facts:
        if fact.role == "code":
            last = fact.key.rpartition(".")[2].lower()
            by_file.setdefault((fact.source, fact.file), {}).setdefault(last, fact.value)
    for (source, file), said in sorted(by_file.items(), key=lambda each: not each[0][1]):
        code = {
            name: next((said[key] for key in keys if key in said), None)
            for name, keys in _CODE_KEYS.items()
        }
        dirty = code["dirty"]
        if code["commit"] is not None:
            return Code(
                _text(code["repository"]),
                _text(code["commit"]),
                _text(code["branch"]),
                dirty if isinstance(dirty, bool) else None,
                file,
                source,
            )
    return None


def _text(value: Value) -> str | None:
    return None if value is None else str(value)


Item = TypeVar("Item")

BELOW = """
WITH RECURSIVE below (tree) AS (
    SELECT tree FROM assets WHERE hash = ? AND tree IS NOT NULL AND status != 'deleted'
    UNION
    SELECT child FROM below JOIN directories USING (tree) JOIN trees ON trees.id = child
    WHERE documents IS NOT 0
)"""
"""The directories of an asset that lead to documents, each once; none if it is deleted."""


def _paths_of(
    db: sqlite3.Connection, asset: bytes, items: Mapping[int, Collection[tuple[str, Item]]]
) -> Iterator[tuple[str, Item]]:
    """Yield items of an asset with their paths.

    Args:
        db: A catalog.
        asset: Its id.
        items: The items in each of its directories, with their names there.

    Raises:
        InvalidInput: They have too many paths; see `require_listable`.
    """
    inner: dict[int, list[tuple[str, int]]] = {}
    outer: dict[int, list[int]] = {}
    for tree, name, child in db.execute(
        f"{BELOW} SELECT tree, name, child FROM below JOIN directories USING (tree)",
        (asset,),
    ):
        inner.setdefault(tree, []).append((name, child))
        outer.setdefault(child, []).append(tree)
    leading: set[int] = set()
    above = list(items)
    while above:
        tree = above.pop()
        if tree not in leading:
            leading.add(tree)
            above += outer.get(tree, ())
    ways = {tree: [way for way in below if way[1] in leading] for tree, below in inner.items()}
    waiting = [
        (tree, "") for (tree,) in db.execute("SELECT tree FROM assets WHERE hash = ?", (asset,))
    ]
    for top, _ in waiting:
        require_listable(
            top, lambda at: ([name for name, _ in items.get(at, ())], ways.get(at, []))
        )
    while waiting:
        tree, prefix = waiting.pop()
        for name, item in items.get(tree, ()):
            yield prefix + name, item
        waiting += [(child, f"{prefix}{name}/") for name, child in ways.get(tree, ())]


def summarise(
    db: sqlite3.Connection,
    view: LogView,
    rules_of: RulesOf,
    class_name: str,
    asset_id: bytes,
    most_files: int | None = None,
) -> Summary:
    """Return the summary of a published asset; for a deleted one, from its record.

    Args:
        db: A catalog.
        view: The log that the catalog was filled from.
        rules_of: A function that returns a class's rules.
        class_name: The asset's class.
        asset_id: Its id.
        most_files: The most files to list; None: all.

    Raises:
        IntegrityError: The asset could not be read, or not all of it.
    """
    describer = Describer(view)
    asset, size = read_asset(db, asset_id)
    reader = FactReader(db, rules_of, as_published=True)
    facts = reader.facts(asset_id, class_name)
    number = view.class_state(class_name).number(asset_id)
    held = _Held()
    if describer.status(class_name, asset_id) == "deleted":
        # A catalog filled before its deletion has its files, and a later one has not.
        facts = tuple(fact for fact in facts if fact.source or not fact.file)
    else:
        held = _held(db, asset_id, asset.tree, f"{class_name}/{number}", most_files)
    return Summary(
        asset=describer.info(asset_id, asset, size),
        files=held.files,
        facts=facts,
        code=code_of(facts),
        parents=tuple(describer.ref(parent, class_name, "") for parent in asset.parents),
        aliases_before=_aliases_before(view, class_name, asset_id),
        made_from_it=_made_from(db, asset_id),
        same_files=tuple(_named(db, describer, each) for each in held.same if each != asset_id),
        unread=tuple(dict.fromkeys((*held.unlisted, *reader.unread, *reader.gaps))),
        listed=not held.unlisted,
        file_count=held.number,
        environment=environment_of(asset.extra),
    )


class _Held(NamedTuple):
    """The files of a live asset: the first of them, how many, and who else has the same.

    If they are too many to be listed, `unlisted` says so.
    """

    files: tuple[File, ...] = ()
    unlisted: tuple[Unread, ...] = ()
    number: int = 0
    same: Collection[bytes] = ()


def _held(db: sqlite3.Connection, asset: bytes, tree: bytes, name: str, limit: int | None) -> _Held:
    files: tuple[File, ...] = ()
    unlisted: tuple[Unread, ...] = ()
    try:
        files = files_of(db, asset, limit)
    except InvalidInput as error:
        unlisted = (Unread(name, reason="too_many", detail=error.message),)
    (number,) = db.execute("SELECT files FROM trees WHERE hash = ?", (tree,)).fetchone()
    return _Held(files, unlisted, number, select(db, Criteria(tree=tree)).keys())


def read_asset(db: sqlite3.Connection, asset_id: bytes) -> tuple[Asset, int | None]:
    """Return an asset of a catalog, and the size of its files in bytes, None if deleted.

    Raises:
        IntegrityError: The asset could not be read, or not all of it: the catalog is incomplete.
    """
    data, size, unread = db.execute(
        "SELECT data, size, unread FROM assets LEFT JOIN trees ON trees.id = tree"
        " AND status != 'deleted' WHERE assets.hash = ?",
        (asset_id,),
    ).fetchone()
    # If only its documents can't be read, return the rest; the gaps are reported beside it.
    if data is None or (unread is not None and not has_all_trees(db, asset_id)):
        raise IntegrityError(f"asset {short(asset_id)} can't be read: {unread}", hint=Hint("fsck"))
    return decode_asset(data), size


def unread_assets(db: sqlite3.Connection, class_name: str | None) -> tuple[Unread, ...]:
    """Return the assets of a class, or of all classes, that could not be read, each with why."""
    rows = db.execute(
        "SELECT class, number, unread FROM assets WHERE unread IS NOT NULL"
        " AND number IS NOT NULL AND status != 'deleted' AND class = coalesce(?, class)"
        " ORDER BY class, number",
        (class_name,),
    )
    return tuple(Unread(f"{name}/{number}", detail=why) for name, number, why in rows)


def _aliases_before(view: LogView, class_name: str, asset: bytes) -> tuple[str, ...]:
    record = view.class_state(class_name).find(asset)
    return record.former if record else ()


def _made_from(db: sqlite3.Connection, asset: bytes) -> int:
    (count,) = db.execute(
        "SELECT count(DISTINCT asset) FROM links JOIN assets ON assets.id = links.asset"
        " WHERE target = ? AND status != 'deleted' AND number IS NOT NULL",
        (asset,),
    ).fetchone()
    return int(count)


def _named(db: sqlite3.Connection, describer: Describer, asset: bytes) -> Ref:
    (name,) = db.execute("SELECT class FROM assets WHERE hash = ?", (asset,)).fetchone()
    return describer.ref(asset, name, "")
