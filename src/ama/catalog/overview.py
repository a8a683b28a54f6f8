"""A store at a glance: each class, the newest assets, and searches for words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from ama.catalog.find import Criteria, content_id, holding_values, select
from ama.catalog.noting import description_of, tags_of
from ama.lineage import ancestry
from ama.stores.revisions import moment
from ama.values import AssetStatus, display_name

MOST_WORDS = 12
"""The most words of a search."""

SIZE = "(SELECT size FROM trees WHERE trees.id = assets.tree)"
"""The size of an asset's files; NULL if they aren't known."""


_LIVE_TREES = """
WITH RECURSIVE live (tree) AS (
    SELECT tree FROM assets WHERE number IS NOT NULL AND status != 'deleted'
    UNION
    SELECT child FROM live JOIN directories USING (tree)
)"""


def summed(sizes: str) -> str:
    """Return an SQL sum of sizes: `sum` fails when hostile ones exceed 64 bits."""
    return f"CAST(min(total({sizes}), 9223372036854774784.0) AS INTEGER)"


_LINE = f"hash, class, number, status, author, created_at, message, {SIZE}, unread"


@dataclass(frozen=True, slots=True)
class AssetLine:
    """An asset in a table: everything known without its files or its links.

    Fields of an asset that can't be read are empty or None.
    """

    id: str
    class_name: str
    number: int
    aliases: tuple[str, ...]
    author: str
    created_at: datetime | None
    message: str
    status: AssetStatus
    size: int | None
    """The bytes of its files."""
    unread: str | None = None
    """Why the asset, or a part of it, can't be read."""
    tags: tuple[str, ...] = ()
    """The tags that were noted of it."""

    @property
    def name(self) -> str:
        """Return `class/number (shortid)`."""
        return display_name(self.class_name, self.number, self.id)


@dataclass(frozen=True, slots=True)
class ClassOverview:
    """A class at a glance."""

    name: str
    assets: int
    """The number of live assets."""
    size: int
    """The bytes of their files."""
    newest: AssetLine | None
    """The newest live asset; None if all are deleted."""
    description: str = ""
    """Its description, in Markdown; empty if there is none."""


@dataclass(frozen=True, slots=True)
class FoundValue:
    """A value in an asset's documents that contains all words of a search."""

    asset: AssetLine
    file: str
    """The document's path."""
    key: str
    text: str
    """The value as a text."""


@dataclass(frozen=True, slots=True)
class Holder:
    """An asset with a file, and the file's paths in it."""

    asset: AssetLine
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Contents:
    """The content of the live assets of a store."""

    assets: int
    """The number of live assets."""
    size: int
    """The bytes of their files."""
    files: int
    """The number of their files."""
    distinct: int
    """The bytes of their files, each distinct content counted once."""


def lines(db: sqlite3.Connection, where: str, *values: object) -> tuple[AssetLine, ...]:
    """Return assets as lines.

    Args:
        db: A catalog.
        where: A condition on assets in SQL, and what follows it.
        values: The values of its question marks.
    """
    query = f"SELECT {_LINE} FROM assets WHERE number IS NOT NULL AND {where}"
    found = []
    for row in db.execute(query, values).fetchall():
        asset, name, number, status, author, created_at, message, size, unread = row
        aliases = db.execute("SELECT alias FROM aliases WHERE asset = ? ORDER BY alias", (asset,))
        found.append(
            AssetLine(
                asset.hex(),
                name,
                number,
                tuple(alias for (alias,) in aliases),
                author or "",
                None if created_at is None else moment(created_at),
                message or "",
                status,
                size,
                unread,
                tags_of(db, asset),
            )
        )
    return tuple(found)


def classes(db: sqlite3.Connection) -> tuple[ClassOverview, ...]:
    """Return every class of a store, the one with the newest asset first."""
    live = f"CASE WHEN status != 'deleted' THEN {SIZE} END"
    rows = db.execute(
        "SELECT class, sum(status != 'deleted'),"
        f" {summed(live)},"
        " max(CASE WHEN status != 'deleted' THEN number END)"
        " FROM assets WHERE number IS NOT NULL GROUP BY class"
    )
    found = []
    for name, count, size, newest in rows.fetchall():
        line = lines(db, "class = ? AND number = ?", name, newest) if newest else ()
        newest_line = line[0] if line else None
        found.append(ClassOverview(name, count, size, newest_line, description_of(db, name)))
    return tuple(sorted(found, key=_age))


def _age(each: ClassOverview) -> tuple[float, str]:
    at = each.newest.created_at if each.newest else None
    return -at.timestamp() if at else 0.0, each.name


def recent(db: sqlite3.Connection, limit: int) -> tuple[AssetLine, ...]:
    """Return the newest live assets of all classes."""
    return lines(db, "status != 'deleted' ORDER BY created_at DESC LIMIT ?", limit)


def ancestors(db: sqlite3.Connection, asset: bytes, limit: int) -> tuple[AssetLine, ...]:
    """Return the earlier versions of an asset, as far as they are known here.

    Args:
        db: A catalog.
        asset: Its id.
        limit: The most versions.
    """

    # Of several parents, the first: the page says where it mostly comes from.
    def parents(of: bytes) -> list[bytes]:
        rows = db.execute(
            "SELECT target FROM links JOIN assets ON assets.id = links.asset"
            " WHERE hash = ? AND kind = 'parent' ORDER BY links.rowid LIMIT 1",
            (of,),
        )
        return [parent for (parent,) in rows]

    found: list[AssetLine] = []
    for each in islice(ancestry(asset, parents), 1, limit + 1):
        line = lines(db, "hash = ?", each)
        if not line:
            break
        found += line
    return tuple(found)


def in_words(words: Iterable[str]) -> tuple[str, list[object]]:
    """Return an SQL condition on assets: the asset's texts contain all words, in any case.

    The texts are its name, the beginning of its id, its author, message, aliases, metadata, and the
    values and tags that were noted later.

    Example:
        >>> in_words([])
        ('1', [])
    """
    parts: list[str] = []
    values: list[object] = []
    for word in [each.lower() for each in words if each][:MOST_WORDS]:
        parts.append(
            "(instr(lower(class || '/' || number), ?) OR instr(lower(author), ?)"
            " OR instr(lower(message), ?) OR substr(lower(hex(hash)), 1, ?) = ?"
            " OR hash IN (SELECT asset FROM aliases WHERE instr(lower(alias), ?))"
            " OR id IN (SELECT asset FROM told WHERE instr(lower(key || '=' || text), ?))"
            " OR id IN (SELECT asset FROM tags WHERE instr(lower(tag), ?)))"
        )
        values += [word, word, word, len(word), word, word.lstrip("@"), word, word]
    return " AND ".join(parts) or "1", values


def search(db: sqlite3.Connection, words: Sequence[str], limit: int) -> tuple[AssetLine, ...]:
    """Return the assets whose texts contain all words, the newest first; see `in_words`."""
    where, values = in_words(words)
    newest = f"status != 'deleted' AND {where} ORDER BY created_at DESC LIMIT ?"
    return lines(db, newest, *values, limit)


def search_values(
    db: sqlite3.Connection, words: Sequence[str], limit: int
) -> tuple[FoundValue, ...]:
    """Return values in documents that contain all words, in their keys or themselves.

    Args:
        db: A catalog.
        words: The words, in any case.
        limit: The most values.
    """
    found: dict[tuple[bytes, str, str], str] = {}
    wanted = [word.lower() for word in words if word][:MOST_WORDS]
    for asset, path, key, text in holding_values(db, wanted):
        found[asset, path, key] = text
        if len(found) >= limit:
            break
    known: dict[bytes, tuple[AssetLine, ...]] = {}
    values = []
    for (asset, path, key), text in found.items():
        if asset not in known:
            known[asset] = lines(db, "hash = ? AND status != 'deleted'", asset)
        values += [FoundValue(line, path, key, text) for line in known[asset]]
    return tuple(values)


def files_with_gaps(db: sqlite3.Connection) -> int:
    """Return how many files in live assets have gaps."""
    (count,) = db.execute(
        f"{_LIVE_TREES} SELECT count(DISTINCT content) FROM documents"
        " WHERE id IN (SELECT document FROM gaps) AND EXISTS"
        " (SELECT 1 FROM places WHERE document = documents.id AND tree IN (SELECT tree FROM live))"
    ).fetchone()
    return int(count)


def holders(db: sqlite3.Connection, prefix: str, limit: int) -> tuple[Holder, ...]:
    """Return the assets with the file whose hash begins with hex digits, the newest first.

    Raises:
        InvalidInput: Several files' hashes begin so.
    """
    content = content_id(db, prefix)
    if content is None:
        return ()
    paths = select(db, Criteria(content=content))
    times = dict(db.execute("SELECT hash, created_at FROM assets WHERE data IS NOT NULL"))
    newest = sorted(paths, key=lambda asset: times[asset], reverse=True)[:limit]
    return tuple(
        Holder(line, paths[asset]) for asset in newest for line in lines(db, "hash = ?", asset)
    )


def contents(db: sqlite3.Connection) -> Contents:
    """Return the total content of a store's assets, and how much of it is distinct."""
    assets, size = db.execute(
        f"SELECT count(*), {summed(SIZE)} FROM assets"
        " WHERE number IS NOT NULL AND status != 'deleted'"
    ).fetchone()
    # The catalog still has files of deleted assets.
    files, distinct = db.execute(
        f"{_LIVE_TREES} SELECT count(*), {summed('size')} FROM"
        " (SELECT max(size) AS size FROM files"
        " WHERE tree IN (SELECT tree FROM live) GROUP BY content)"
    ).fetchone()
    return Contents(assets, size, files, distinct)
