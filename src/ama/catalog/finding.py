"""find: the assets of a store that hold a file, or of which conditions hold."""

from __future__ import annotations

import posixpath
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from functools import cache, partial
from typing import NamedTuple

from ama.catalog.conditions import Condition
from ama.catalog.documents import Syntax, syntax_of
from ama.errors import InvalidInput
from ama.objects import EntryKind

MOST_PLACES = 100_000
"""A hostile store may hold one file at more paths than there are atoms."""


@dataclass(frozen=True, slots=True)
class Criteria:
    """What is looked for: all that is given must hold.

    Attributes:
        content: the id of a file that it holds.
        class_name: its class.
        name: a glob of a file that it holds, which with `content` is that file: of its path, or
            without a slash of its last part.
        alias: a glob of an alias that points to it.
        author: a part of who made it, in any case.
        since: it was made then or later.
        until: it was made before.
        meta: conditions on its metadata.
        params: conditions on values in its documents.
        tree: the id of its whole tree.
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


Selected = dict[bytes, tuple[str, ...]]
"""The assets that were found, and the paths in each of the file that was looked for."""


def select(db: sqlite3.Connection, criteria: Criteria) -> Selected:
    """Return the assets for which the criteria hold, those that were deleted left out.

    Args:
        db: a catalog.
        criteria: what is looked for.

    Returns:
        Their ids, in the order of class and number; with each, the paths of the files that were
        looked for, none where no file was.
    """
    wheres, values = _conditions(criteria)
    allowed = dict.fromkeys(
        row[0]
        for row in db.execute(
            f"SELECT hash FROM assets WHERE {' AND '.join(wheres)} ORDER BY class, number",
            values,
        )
    )
    for condition in criteria.params:
        saying = {place.asset for place in _saying(db, condition)}
        saying |= _made_from(db, saying)
        allowed = {asset: None for asset in allowed if asset in saying}
    if criteria.content is None and criteria.name is None:
        return dict.fromkeys(allowed, ())
    paths: dict[bytes, list[str]] = {}
    for place in _holding(db, criteria.content, criteria.name):
        if place.asset in allowed:
            paths.setdefault(place.asset, []).append(place.path)
    return {asset: tuple(sorted(paths[asset])) for asset in allowed if asset in paths}


def _conditions(criteria: Criteria) -> tuple[list[str], list[object]]:
    """Return conditions on a row of assets, in SQL."""
    wheres = ["status != 'deleted'", "number IS NOT NULL", "data IS NOT NULL"]
    values: list[object] = []

    def require(where: str, *given: object) -> None:
        wheres.append(where)
        values.extend(given)

    if criteria.class_name is not None:
        require("class = ?", criteria.class_name)
    if criteria.alias is not None:
        require("hash IN (SELECT asset FROM aliases WHERE alias GLOB ?)", _sql_glob(criteria.alias))
    if criteria.author is not None:
        require("instr(lower(author), lower(?))", criteria.author)
    if criteria.since is not None:
        require("created_at >= ?", _microseconds(criteria.since))
    if criteria.until is not None:
        require("created_at < ?", _microseconds(criteria.until))
    if criteria.tree is not None:
        require("tree = (SELECT id FROM objects WHERE hash = ?)", criteria.tree)
    for condition in criteria.meta:
        where, given = condition.sql()
        require(f"id IN (SELECT asset FROM metadata WHERE {where})", *given)
    return wheres, values


def _microseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


def _made_from(db: sqlite3.Connection, inputs: Iterable[bytes]) -> set[bytes]:
    """Return what has a ref to one of some assets of another class, which say it for it."""
    query = (
        "SELECT hash FROM links JOIN assets ON assets.id = links.asset"
        " WHERE target = ? AND kind = 'ref' AND links.class != assets.class"
    )
    return {row[0] for asset in inputs for row in db.execute(query, (asset,))}


class _Place(NamedTuple):
    asset: bytes
    path: str
    syntax: Syntax | None = None


def _holding(db: sqlite3.Connection, content: bytes | None, name: str | None) -> Iterator[_Place]:
    """Yield where files are that have a content, and a name that fits a glob."""
    if content is not None:
        start = "children WHERE object = (SELECT id FROM objects WHERE hash = ?)"
        places = _climb(db, start, "NULL", content)
    else:
        start = "children WHERE name GLOB ?"
        places = _climb(db, start, "NULL", _sql_glob(posixpath.basename(name or "*")))
    return (place for place in places if _fits(place.path, name))


def _saying(db: sqlite3.Connection, condition: Condition) -> Iterator[_Place]:
    """Yield where documents are of which a condition holds."""
    where, values = condition.sql()
    start = (
        "(SELECT DISTINCT object, syntax FROM documents JOIN parameters"
        f" ON parameters.document = documents.id WHERE {where}) JOIN children USING (object)"
        " WHERE 1"
    )
    for place in _climb(db, start, "syntax", *values):
        if syntax_of(place.path) == place.syntax and _fits(place.path, condition.file):
            yield place


def holding_values(
    db: sqlite3.Connection, words: Sequence[str]
) -> Iterator[tuple[bytes, str, str, str]]:
    """Yield the values in documents that have all words, of every asset that holds them.

    Args:
        db: a catalog.
        words: in lower case; each is in the value or in its key.

    Returns:
        The asset, the file's path, the key, and the value as text.
    """
    where = " AND ".join("instr(lower(key || '=' || text), ?)" for _ in words) or "0"
    rows = db.execute(
        "SELECT object, syntax, key, text FROM parameters"
        f" JOIN documents ON documents.id = document WHERE {where}",
        list(words),
    )
    for content, syntax, key, text in rows:
        for place in _climb(db, "children WHERE object = ?", "NULL", content):
            if syntax_of(place.path) == syntax:
                yield place.asset, place.path, key, text


def _climb(db: sqlite3.Connection, start: str, syntax: str, *values: object) -> Iterator[_Place]:
    """Yield the paths of some files in all assets, up from the directories that they are in."""
    above = cache(partial(_above, db))
    number = 0
    files = f"SELECT tree, name, {syntax} FROM {start} AND kind != {int(EntryKind.TREE)}"
    for row in db.execute(files, values):
        # One way after another: each soon comes to an asset, and so a limit on those is enough.
        waiting: list[tuple[int, str]] = [row[:2]]
        while waiting:
            tree, path = waiting.pop()
            assets, parents = above(tree)
            for asset in assets:
                number += 1
                if number > MOST_PLACES:
                    raise InvalidInput(
                        f"this is at more than {MOST_PLACES:,} places",
                        hint="ask for less: give --class, --name or a condition",
                    )
                yield _Place(asset, path, row[2])
            waiting += [(parent, f"{name}/{path}") for parent, name in parents]


def _above(db: sqlite3.Connection, tree: int) -> tuple[list[bytes], list[tuple[int, str]]]:
    """Return the assets that have a directory as their top, and those that have it below."""
    assets = db.execute("SELECT hash FROM assets WHERE tree = ?", (tree,))
    parents = db.execute(
        "SELECT tree, name FROM children WHERE object = ? AND kind = ?",
        (tree, int(EntryKind.TREE)),
    )
    return [row[0] for row in assets], parents.fetchall()


def _sql_glob(glob: str) -> str:
    return glob.replace("[!", "[^")


def _fits(path: str, glob: str | None) -> bool:
    return glob is None or fnmatchcase(path if "/" in glob else posixpath.basename(path), glob)
