"""What there is, at a glance: each class, the newest assets of all, words that are looked for."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ama.catalog.find import Criteria, content_id, holding_values, select
from ama.format.objects import EntryKind
from ama.stores.description import moment
from ama.values import AssetStatus, display_name

MOST_WORDS = 12
"""So many words of a search are looked at."""

SIZE = "(SELECT size FROM trees WHERE object = assets.tree)"
"""The size of an asset's files; nothing where they aren't known."""


def summed(sizes: str) -> str:
    """Return what adds sizes up in SQL: `sum` fails where hostile ones are more than 64 bits."""
    return f"CAST(min(total({sizes}), 9223372036854774784.0) AS INTEGER)"


_LINE = f"hash, class, number, status, author, created_at, message, {SIZE}, unread"


@dataclass(frozen=True, slots=True)
class AssetLine:
    """An asset in a table: what is told of it without reading its files or its links.

    `unread` says why it, or a part of it, can't be read; what isn't known then is empty or None.
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
    unread: str | None = None

    @property
    def name(self) -> str:
        """`class/number (shortid)`."""
        return display_name(self.class_name, self.number, self.id)


@dataclass(frozen=True, slots=True)
class ClassOverview:
    """A class: how many assets it has, their size in bytes, and the newest; deleted ones left out.

    `newest` is None where all were deleted.
    """

    name: str
    assets: int
    size: int
    newest: AssetLine | None


@dataclass(frozen=True, slots=True)
class FoundValue:
    """A value in an asset's documents that has all words that were looked for."""

    asset: AssetLine
    file: str
    key: str
    text: str


@dataclass(frozen=True, slots=True)
class Holder:
    """An asset that holds a file, and the file's paths in it."""

    asset: AssetLine
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Contents:
    """What the live assets of a store hold, in bytes.

    `size` counts each asset's files; `distinct` each file once, however many assets hold it.
    """

    assets: int
    size: int
    files: int
    distinct: int


def lines(db: sqlite3.Connection, where: str, *values: object) -> tuple[AssetLine, ...]:
    """Return assets as lines.

    Args:
        db: A catalog.
        where: A condition on assets in SQL, and what follows it.
        values: For its question marks.
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
        found.append(ClassOverview(name, count, size, line[0] if line else None))
    return tuple(sorted(found, key=_age))


def _age(each: ClassOverview) -> tuple[float, str]:
    at = each.newest.created_at if each.newest else None
    return -at.timestamp() if at else 0.0, each.name


def recent(db: sqlite3.Connection, limit: int) -> tuple[AssetLine, ...]:
    """Return the newest assets of all classes, those that were deleted left out."""
    return lines(db, "status != 'deleted' ORDER BY created_at DESC LIMIT ?", limit)


def ancestors(db: sqlite3.Connection, asset: bytes, limit: int) -> tuple[AssetLine, ...]:
    """Return what an asset is a next version of, and that one in turn, as far as it is known here.

    Args:
        db: A catalog.
        asset: Its id.
        limit: How many at most.
    """
    found: list[AssetLine] = []
    while len(found) < limit:
        # Of several, the first: the page says where it mostly comes from.
        parent = db.execute(
            "SELECT target FROM links JOIN assets ON assets.id = links.asset"
            " WHERE hash = ? AND kind = 'parent' ORDER BY links.rowid LIMIT 1",
            (asset,),
        ).fetchone()
        line = lines(db, "hash = ?", parent[0]) if parent else ()
        if not line:
            break
        found += line
        (asset,) = parent
    return tuple(found)


def in_words(words: Iterable[str]) -> tuple[str, list[object]]:
    """Return a condition on assets in SQL: all words are in what is told of each, in any case.

    That is its name, its id's beginning, who made it, its message, aliases and metadata.

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
            " OR id IN (SELECT asset FROM metadata WHERE instr(lower(key || '=' || text), ?)))"
        )
        values += [word, word, word, len(word), word, word.lstrip("@"), word]
    return " AND ".join(parts) or "1", values


def search(db: sqlite3.Connection, words: Sequence[str], limit: int) -> tuple[AssetLine, ...]:
    """Return the assets of which all words are told, the newest first; see `in_words`."""
    where, values = in_words(words)
    newest = f"status != 'deleted' AND {where} ORDER BY created_at DESC LIMIT ?"
    return lines(db, newest, *values, limit)


def search_values(
    db: sqlite3.Connection, words: Sequence[str], limit: int
) -> tuple[FoundValue, ...]:
    """Return values in documents that have all words, in their keys or themselves.

    Args:
        db: A catalog.
        words: What is looked for, in any case.
        limit: How many values at most.
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
    """Return of how many files in live assets not all could be read."""
    (count,) = db.execute(
        "WITH RECURSIVE live(tree) AS ("
        " SELECT tree FROM assets WHERE number IS NOT NULL AND status != 'deleted'"
        " UNION SELECT object FROM live JOIN children USING (tree) WHERE kind = ?)"
        " SELECT count(*) FROM (SELECT DISTINCT object FROM gaps"
        " JOIN documents ON documents.id = document) AS unread WHERE EXISTS"
        " (SELECT 1 FROM children WHERE children.object = unread.object"
        " AND tree IN (SELECT tree FROM live))",
        (int(EntryKind.TREE),),
    ).fetchone()
    return int(count)


def holders(db: sqlite3.Connection, prefix: str, limit: int) -> tuple[Holder, ...]:
    """Return the assets that hold the file whose hash begins with hex digits, the newest first.

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
    """Return how much the assets of a store hold, and how much of that is not the same."""
    assets, size = db.execute(
        f"SELECT count(*), {summed(SIZE)} FROM assets"
        " WHERE number IS NOT NULL AND status != 'deleted'"
    ).fetchone()
    # What only deleted assets had is in the catalog still.
    files, distinct = db.execute(
        "WITH RECURSIVE live(tree) AS ("
        " SELECT tree FROM assets WHERE number IS NOT NULL AND status != 'deleted'"
        " UNION SELECT object FROM live JOIN children USING (tree) WHERE kind = :tree)"
        f" SELECT count(*), {summed('size')} FROM"
        " (SELECT max(size) AS size FROM children"
        " WHERE kind != :tree AND tree IN (SELECT tree FROM live) GROUP BY object)",
        {"tree": int(EntryKind.TREE)},
    ).fetchone()
    return Contents(assets, size, files, distinct)
