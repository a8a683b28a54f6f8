"""find: the assets of a store with a file, or that meet conditions."""

from __future__ import annotations

import posixpath
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from fnmatch import fnmatchcase
from itertools import islice

from ama.catalog.conditions import Condition
from ama.catalog.roles import RUN, RUN_KEYS, UnknownKey, near_keys
from ama.catalog.schema import content_key
from ama.catalog.unread import Gap, Unread
from ama.errors import Hint, InvalidInput
from ama.format.hashing import tree_id
from ama.format.names import nearest
from ama.format.objects import EntryKind, TreeEntry, reread_tree
from ama.worktree.trees import MOST_TEXT

MOST_UNREAD = 1_000
"""The most unread things to name."""

MOST_PLACES = 100_000
"""The most paths: a hostile store may have one file at more paths than there are atoms."""


@dataclass(frozen=True, slots=True)
class Criteria:
    """The criteria of a search; an asset must meet all that are given.

    Attributes:
        content: The id of a file in the asset.
        class_name: The class.
        name: A glob of a file in the asset (with `content`, of that file): of its path, or
            without a slash of its last part.
        alias: A glob of an alias that points to it.
        author: A part of the author, in any case.
        since: The earliest time of creation.
        until: The time of creation is before this.
        meta: Conditions on the metadata, with what was noted later.
        params: Conditions on values in documents and metadata.
        tree: The id of the whole tree.
        tags: Globs of tags that it has.
        as_published: Whether what was noted later counts as little as if nobody had noted it.
    """

    content: bytes | None = None
    class_name: str | None = None
    name: str | None = None
    alias: str | None = None
    author: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    meta: tuple[Condition, ...] = ()
    params: tuple[Condition, ...] = ()
    tree: bytes | None = None
    tags: tuple[str, ...] = ()
    as_published: bool = False

    @property
    def metadata(self) -> str:
        """Return the table or view of the metadata that counts."""
        return "metadata" if self.as_published else "told"


def content_id(db: sqlite3.Connection, prefix: str) -> bytes | None:
    """Return the id of the file that begins with hex digits; None if there is none.

    Raises:
        InvalidInput: Several ids begin so.
    """
    low = bytes.fromhex(prefix.lower().ljust(64, "0"))
    high = bytes.fromhex(prefix.lower().ljust(64, "f"))
    keys = content_key(low), content_key(high)
    query = "SELECT DISTINCT content FROM files WHERE content BETWEEN ? AND ? LIMIT 2"
    found: set[bytes] = set()
    for key in db.execute(query, keys).fetchall():
        for _, *read in db.execute(f"{_TREES_WITH} = ?", key):
            found.update(
                entry.id
                for entry in _entries(*read)
                if entry.kind is not EntryKind.TREE and low <= entry.id <= high
            )
            if len(found) > 1:
                raise InvalidInput(
                    f"several files have a hash that begins with {prefix}",
                    hint="give more digits",
                )
    return found.pop() if found else None


_TREES_WITH = "SELECT tree, hash, encoded FROM files JOIN trees ON trees.id = tree WHERE content"
"""The directories with a file whose content has a key; see `content_key`."""


def entries_of(db: sqlite3.Connection, tree: int) -> tuple[TreeEntry, ...]:
    """Return the entries of a directory.

    Raises:
        sqlite3.Error: They are none: the catalog is broken.
    """
    return _entries(*db.execute("SELECT hash, encoded FROM trees WHERE id = ?", (tree,)).fetchone())


def _entries(tree: bytes, encoded: bytes, part: str = "") -> tuple[TreeEntry, ...]:
    try:
        if tree_id(encoded) != tree:  # a disk changes bits, and SQLite doesn't see it
            raise ValueError
        return reread_tree(encoded, part)
    except (ValueError, TypeError, LookupError) as error:
        raise sqlite3.DatabaseError("a tree in it is damaged") from error


def entries_by_id(db: sqlite3.Connection | None, tree: bytes) -> tuple[TreeEntry, ...] | None:
    """Return the entries of the directory with an id; None if a catalog can't say."""
    if db is None:
        return None
    with suppress(sqlite3.Error):
        query = "SELECT id FROM trees WHERE hash = ? AND encoded IS NOT NULL"
        row = db.execute(query, (tree,)).fetchone()
        return None if row is None else entries_of(db, *row)
    return None


Selected = dict[bytes, tuple[str, ...]]
"""The assets found, and the paths in each of the wanted file."""


def select(db: sqlite3.Connection, criteria: Criteria) -> Selected:
    """Return the live assets that meet the criteria.

    Args:
        db: A catalog.
        criteria: The criteria.

    Returns:
        Their ids, in the order of class and number; with each, the paths of the wanted files,
        empty if no file was wanted.
    """
    wheres, values = _conditions(criteria)
    rows = db.execute(
        f"SELECT hash, author FROM assets WHERE {' AND '.join(wheres)} ORDER BY class, number",
        values,
    )
    author = (criteria.author or "").casefold()
    allowed = [asset for asset, by in rows if author in by.casefold()]
    if criteria.alias is not None:
        aliases = db.execute("SELECT alias, asset FROM aliases")
        named = {asset for alias, asset in aliases if fnmatchcase(alias, criteria.alias)}
        allowed = [asset for asset in allowed if asset in named]
    for glob in criteria.tags:
        tagged = _tagged(db, glob)
        allowed = [asset for asset in allowed if asset in tagged]
    for condition in criteria.params:
        saying = _saying(db, condition, criteria.metadata)
        allowed = [asset for asset in allowed if asset in saying]
    if criteria.content is None and criteria.name is None:
        return dict.fromkeys(allowed, ())
    paths: dict[bytes, list[str]] = {}
    for asset, path in _holding(db, criteria.content, criteria.name, set(allowed)):
        paths.setdefault(asset, []).append(path)
    return {asset: tuple(sorted(paths[asset])) for asset in allowed if asset in paths}


def unknown_keys(db: sqlite3.Connection, criteria: Criteria) -> tuple[UnknownKey, ...]:
    """Return the keys of conditions that nothing in the catalog has: mistyped ones, say."""
    found: dict[str, UnknownKey] = {}
    for condition in (*criteria.meta, *criteria.params):
        is_param = condition in criteria.params
        tables = [criteria.metadata, *(["parameters"] if is_param else [])]
        of_run = condition.key.startswith(RUN)
        where, given = Condition(condition.key).sql()
        # A key of a value that can't be read isn't mistyped.
        known = [*tables, *(["gaps"] if is_param else [])]
        if any(
            of_run or key not in RUN_KEYS
            for each in known
            for (key,) in db.execute(f"SELECT DISTINCT key FROM {each} WHERE {where}", given)
        ):
            continue
        every = " UNION ".join(f"SELECT key FROM {each}" for each in tables)
        keys = [key for (key,) in db.execute(f"{every} ORDER BY key") if key not in RUN_KEYS]
        near = near_keys(condition.key, RUN_KEYS if of_run else keys)
        near = [key for key in near if not of_run or key in RUN_KEYS]
        found[condition.key] = UnknownKey(condition.key, tuple(near))
    return tuple(found.values())


def unknown_tags(db: sqlite3.Connection, criteria: Criteria) -> tuple[UnknownKey, ...]:
    """Return the wanted tags that no asset has, with those that have nearly such a name."""
    if not criteria.tags:
        return ()
    tags = [tag for (tag,) in db.execute("SELECT DISTINCT tag FROM tags ORDER BY tag")]
    return tuple(
        UnknownKey(glob, tuple(nearest(glob, tags)))
        for glob in criteria.tags
        if not any(_is_tag(tag, glob) for tag in tags)
    )


def _tagged(db: sqlite3.Connection, glob: str) -> set[bytes]:
    """Return the assets with a tag."""
    if set("*?[") & set(glob):
        tags = [tag for (tag,) in db.execute("SELECT DISTINCT tag FROM tags")]
    else:
        tags = [glob]
    query = "SELECT hash FROM tags JOIN assets ON assets.id = asset WHERE tag = ?"
    wanted = (tag for tag in tags if _is_tag(tag, glob))
    return {asset for tag in wanted for (asset,) in db.execute(query, (tag,))}


def _is_tag(tag: str, glob: str) -> bool:
    # A tag may be called anything, `[draft]` too.
    return tag == glob or fnmatchcase(tag, glob)


def hiding(db: sqlite3.Connection, criteria: Criteria, found: Selected) -> tuple[Unread, ...]:
    """Return gaps in documents that may hide further hits.

    Args:
        db: A catalog.
        criteria: The criteria.
        found: The assets found, which hide nothing.

    Returns:
        The gaps in documents of other assets that meet all other criteria, of 1,000 at most.
    """
    if not criteria.params:
        return ()
    fitting = select(db, replace(criteria, params=()))
    order = {asset: at for at, asset in enumerate(fitting)}
    left = fitting.keys() - found.keys()
    named: dict[Unread, bytes] = {}
    for condition in criteria.params:
        if not left:
            break
        saying = _saying(db, condition, criteria.metadata)
        gaps = _gaps_for(db, condition, left - saying)
        left &= saying | set(gaps.values())
        named |= gaps

    def place(unread: Unread) -> tuple[int, str, str]:
        return order[named[unread]], unread.file, unread.key or ""

    return tuple(sorted((each for each, asset in named.items() if asset in left), key=place))


def _gaps_for(
    db: sqlite3.Connection, condition: Condition, assets: Set[bytes]
) -> dict[Unread, bytes]:
    """Return the gaps in documents of some assets, and of their inputs, that may hide a key."""
    files: dict[tuple[int, str], list[Gap]] = {}
    for tree, name, key, reason in db.execute(
        "SELECT tree, name, key, reason FROM gaps JOIN places USING (document)"
    ):
        gap = Gap(key, reason)
        if _may_hold(condition, gap):
            files.setdefault((tree, name), []).append(gap)
    found: dict[Unread, bytes] = {}
    above = _Above(db)
    places = ((holder, path, gaps) for file, gaps in files.items()
              for holder, path in _climb(above, [file]))  # fmt: skip
    # If there are too many places, name those that were searched.
    with suppress(InvalidInput):
        for holder, path, gaps in islice(places, MOST_PLACES):
            if not _fits(path, condition.file):
                continue
            for asset, number, name, source in _told_by(db, holder):
                if asset in assets:
                    whose = f"{name}/{number}"
                    found |= {Unread(whose, path, g.key, g.reason, source): asset for g in gaps}
            if len(found) >= MOST_UNREAD:
                break
    return found


def _may_hold(condition: Condition, gap: Gap) -> bool:
    return gap.may_hide or f".{condition.key}." in f".{gap.key}."


def _told_by(db: sqlite3.Connection, holder: bytes) -> Iterator[tuple[bytes, int, str, str]]:
    """Yield an asset, and those that take facts from it, with the ref to it."""
    yield from db.execute("SELECT hash, number, class, '' FROM assets WHERE hash = ?", (holder,))
    yield from db.execute(
        "SELECT hash, number, assets.class, source FROM inputs"
        " JOIN assets ON assets.id = inputs.asset WHERE target = ?",
        (holder,),
    )


def _conditions(criteria: Criteria) -> tuple[list[str], list[object]]:
    """Return the conditions on a row of assets, in SQL."""
    wheres = ["status != 'deleted'", "number IS NOT NULL", "data IS NOT NULL"]
    values: list[object] = []

    def require(where: str, *given: object) -> None:
        wheres.append(where)
        values.extend(given)

    if criteria.class_name is not None:
        require("class = ?", criteria.class_name)
    if criteria.since is not None:
        require("created_at >= ?", _microseconds(criteria.since))
    if criteria.until is not None:
        require("created_at < ?", _microseconds(criteria.until))
    if criteria.tree is not None:
        require("tree = (SELECT id FROM trees WHERE hash = ?)", criteria.tree)
    for condition in criteria.meta:
        where, given = condition.sql()
        require(f"id IN (SELECT asset FROM {criteria.metadata} WHERE {where})", *given)
    return wheres, values


def _microseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


def _made_from(db: sqlite3.Connection, inputs: Iterable[bytes]) -> set[bytes]:
    """Return the assets with a ref to some assets of another class, whose facts they take."""
    query = (
        "SELECT hash FROM links JOIN assets ON assets.id = links.asset"
        " WHERE target = ? AND kind = 'ref' AND links.class != assets.class"
    )
    return {row[0] for asset in inputs for row in db.execute(query, (asset,))}


def _holding(
    db: sqlite3.Connection, content: bytes | None, name: str | None, wanted: Set[bytes]
) -> Iterator[tuple[bytes, str]]:
    """Yield, in the wanted assets, the files with a content and a name that matches a glob.

    Raises:
        InvalidInput: They have too many paths.
    """
    above = _Above(db, wanted)
    part = _literal(name or "")
    if content is None:
        given: object = part.encode("utf-8", "surrogatepass")
        trees = db.execute("SELECT id, hash, encoded FROM trees WHERE instr(encoded, ?)", (given,))
    else:
        given = content_key(content)
        trees = db.execute(f"{_TREES_WITH} = ?", (given,))
    files = (
        (tree, entry.name)
        for tree, of, encoded in trees
        if any(above.of(tree))
        for entry in _entries(of, encoded, part)
        if entry.kind is not EntryKind.TREE
        and content in (None, entry.id)
        and (name is None or "/" in name or _fits(entry.name, name))
    )
    return (place for place in _climb(above, files) if _fits(place[1], name))


def holding_values(
    db: sqlite3.Connection, words: Sequence[str]
) -> Iterator[tuple[bytes, str, str, str]]:
    """Yield the values in documents that contain all words, with their assets.

    Args:
        db: A catalog.
        words: The words in lower case; each is in the value or in its key.

    Returns:
        The asset, the file's path, the key, and the value as text.

    Raises:
        InvalidInput: A document has too many paths.
    """
    where = " AND ".join("instr(lower(key || '=' || text), ?)" for _ in words) or "0"
    values = db.execute(f"SELECT document, key, text FROM parameters WHERE {where}", list(words))
    above = _Above(db)
    for document, key, text in values:
        files = db.execute("SELECT tree, name FROM places WHERE document = ?", (document,))
        for asset, path in _climb(above, files.fetchall()):
            yield asset, path, key, text


def _saying(db: sqlite3.Connection, condition: Condition, metadata: str) -> set[bytes]:
    """Return the assets with a value that meets a condition, and those made from them.

    Args:
        db: A catalog.
        condition: The condition; without a file, metadata count too.
        metadata: The table or view of the metadata that counts.
    """
    found = _in_documents(db, condition)
    if condition.file is None:
        where, values = condition.sql()
        query = (
            "SELECT hash FROM assets WHERE status != 'deleted'"
            f" AND id IN (SELECT asset FROM {metadata} WHERE {where} AND NOT {_OF_RUN})"
        )
        found |= {asset for (asset,) in db.execute(query, values)}
    return found | _made_from(db, found) | _run_so(db, condition)


_OF_RUN = f"key IN ({', '.join(map(repr, RUN_KEYS))})"
"""Whether a value is of the run: that is asked for by its whole key alone."""


def _in_documents(db: sqlite3.Connection, condition: Condition) -> set[bytes]:
    """Return the assets with a document that meets a condition."""
    where, values = condition.sql()
    files = db.execute(
        "SELECT tree, name FROM places"
        f" WHERE document IN (SELECT document FROM parameters WHERE {where})",
        values,
    ).fetchall()
    above = _Above(db)
    if condition.file is not None and "/" in condition.file:
        return {asset for asset, path in _climb(above, files) if _fits(path, condition.file)}
    return above.assets({tree for tree, name in files if _fits(name, condition.file)})


def _run_so(db: sqlite3.Connection, condition: Condition) -> set[bytes]:
    """Return the assets whose run meets a condition on `run.KEY`."""
    if condition.file is not None or not condition.key.startswith(RUN):
        return set()
    where, values = condition.sql()
    query = f"SELECT hash FROM assets WHERE id IN (SELECT asset FROM metadata WHERE {where})"
    return {asset for (asset,) in db.execute(query, values)}


def _climb(above: _Above, files: Iterable[tuple[int, str]]) -> Iterator[tuple[bytes, str]]:
    """Yield the paths of some files in assets, upwards from their directories."""
    number = text = 0
    for file in files:
        # Depth first: each way soon reaches an asset, so a limit on those suffices.
        waiting = [file]
        while waiting:
            tree, path = waiting.pop()
            assets, parents = above.of(tree)
            for asset in assets:
                number += 1
                text += len(path)
                if number > MOST_PLACES or text > MOST_TEXT:
                    raise InvalidInput(
                        f"this is at more than {MOST_PLACES:,} places",
                        hint=Hint("narrow-find"),
                    )
                yield asset, path
            waiting += [(parent, f"{name}/{path}") for parent, name in parents]


_Ways = tuple[list[bytes], list[tuple[int, str]]]


class _Above:
    """The ways up from directories: to parent directories and to assets.

    Args:
        db: A catalog.
        wanted: The assets that count: no way leads to others. By default all live ones.
    """

    def __init__(self, db: sqlite3.Connection, wanted: Set[bytes] | None = None) -> None:
        self._db = db
        self._wanted = wanted
        self._known: dict[int, _Ways] = {}

    def of(self, tree: int) -> _Ways:
        """Return the assets whose top a directory is, and the directories that contain it."""
        read: dict[int, _Ways] = {}
        waiting = [tree]
        while waiting:
            at = waiting[-1]
            if at in self._known:
                waiting.pop()
                continue
            if at not in read:
                read[at] = self._read(at)
                waiting += [parent for parent, _ in read[at][1]]
                continue
            assets, parents = read[at]
            leading = [(tree, name) for tree, name in parents if any(self._known[tree])]
            self._known[at] = assets, leading
        return self._known[tree]

    def assets(self, trees: Set[int]) -> set[bytes]:
        """Return all assets above some directories."""
        found: set[bytes] = set()
        seen: set[int] = set()
        waiting = set(trees)
        while waiting:
            seen |= waiting
            ways = [self.of(tree) for tree in waiting]
            found.update(asset for assets, _ in ways for asset in assets)
            waiting = {parent for _, parents in ways for parent, _ in parents} - seen
        return found

    def _read(self, tree: int) -> _Ways:
        tops = self._db.execute(
            "SELECT hash FROM assets WHERE tree = ? AND status != 'deleted'", (tree,)
        )
        parents = self._db.execute("SELECT tree, name FROM directories WHERE child = ?", (tree,))
        wanted = self._wanted
        assets = [row[0] for row in tops if wanted is None or row[0] in wanted]
        return assets, parents.fetchall()


def _literal(glob: str) -> str:
    """Return the longest text that the name of every file contains that a glob matches.

    Example:
        >>> _literal("mod*.bin"), _literal("a/mod*.bin"), _literal("a/model")
        ('.bin', '.bin', 'model')
    """
    directory, _, name = glob.rpartition("/")
    parts = re.split(r"[*?]", name.partition("[")[0])
    # In a path, a wildcard stands for slashes too: what is before it may be of a directory.
    if directory:
        return "" if "[" in glob else parts[-1]
    return max(parts, key=len)


def _fits(path: str, glob: str | None) -> bool:
    return glob is None or fnmatchcase(path if "/" in glob else posixpath.basename(path), glob)
