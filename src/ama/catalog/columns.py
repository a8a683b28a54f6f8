"""The columns that the table of a class can have: every value that its assets have.

Reading what ten thousand assets say would take a minute. The database tells in a moment where there
is a value that no asset which was read has, and so few need be read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

from ama.catalog.comparing import default_columns, facts_by_key, known_columns
from ama.catalog.facts import FactReader, RulesOf
from ama.catalog.values import Column
from ama.format.objects import EntryKind

SAMPLE = 12
"""So many of the newest assets say which columns a table has unless one chooses."""

MOST_ASSETS = 20_000
"""So many of the newest assets of a class are looked through."""

MOST_READ = 50
"""So many assets are read at a time for the values that only they have."""

MOST_COLUMNS = 2_000
MOST_DIRECTORIES = 200_000
MOST_PLACES = 20_000

_Place = tuple[str, str, str]
"""Source, file and key of a value, as in `Fact`."""

_LIVE = "assets.class = :class AND assets.status != 'deleted' AND assets.data IS NOT NULL"

# Of each place the newest asset that has it. What many assets hold is looked at once.
_PLACES = f"""
WITH RECURSIVE live AS (
    SELECT id, class, number, tree FROM assets
    WHERE {_LIVE} AND number > :after ORDER BY number DESC LIMIT {MOST_ASSETS}
),
tops (number, source, tree) AS (
    SELECT max(number), '', tree FROM live GROUP BY tree
    UNION ALL
    SELECT max(live.number), source, made_from.tree
    FROM live
    JOIN inputs ON inputs.asset = live.id
    JOIN assets AS made_from ON made_from.hash = inputs.target
    GROUP BY source, made_from.tree
),
directories (number, source, tree, prefix) AS (
    SELECT number, source, tree, '' FROM tops
    UNION ALL
    SELECT number, source, children.object, prefix || name || '/'
    FROM directories JOIN children ON children.tree = directories.tree
    WHERE kind = {int(EntryKind.TREE)}
    LIMIT {MOST_DIRECTORIES}
),
held (number, source, file, document) AS (
    SELECT max(directories.number), source, prefix || name, documents.id
    FROM directories
    CROSS JOIN children ON children.tree = directories.tree
    CROSS JOIN documents ON documents.object = children.object
    WHERE problem IS NULL AND kind NOT IN ({int(EntryKind.TREE)}, {int(EntryKind.SYMLINK)})
    GROUP BY source, prefix, name, documents.id
)
SELECT source, file, key, max(held.number)
FROM held CROSS JOIN parameters ON parameters.document = held.document
GROUP BY source, file, key
UNION ALL
SELECT '', '', key, max(live.number)
FROM live JOIN metadata ON metadata.asset = live.id GROUP BY key
LIMIT {MOST_PLACES}
"""


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns that a class's table can have, and those that it has unless one says which."""

    known: tuple[Column, ...]
    default: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    """The columns of a class's assets up to a number, when so many of them were deleted."""

    deleted: int
    upto: int = 0
    known: Mapping[_Place, Column] = field(default_factory=dict)


class ColumnFinder:
    """Finds columns. Assets that it has seen it looks at no more, unless others were deleted.

    Args:
        rules_of: what is configured for a class.
        each: how many metrics, and how many parameters that differ, are the default.
    """

    def __init__(self, rules_of: RulesOf, each: int = 2) -> None:
        self._rules_of = rules_of
        self._each = each
        self._seen: dict[str, _Seen] = {}

    def columns(self, db: sqlite3.Connection, class_name: str) -> Columns:
        """Return the columns that the live assets of a class have, the newest one's first.

        Args:
            db: a catalog.
            class_name: the class.
        """
        reader = FactReader(db, self._rules_of)
        newest = dict(
            db.execute(
                f"SELECT number, hash FROM assets WHERE {_LIVE} AND number IS NOT NULL"
                f" ORDER BY number DESC LIMIT {SAMPLE}",
                {"class": class_name},
            ).fetchall()
        )
        if not newest:
            return Columns((), ())
        facts = [facts_by_key(reader.facts(asset, class_name)) for asset in newest.values()]
        known = known_columns(facts)
        default = default_columns(known, facts, self._each)
        (deleted,) = db.execute(
            "SELECT count(*) FROM assets WHERE class = ? AND status = 'deleted'", (class_name,)
        ).fetchone()
        seen = self._seen.get(class_name)
        if seen is None or seen.deleted != deleted:
            seen = _Seen(deleted)
        for place, column in seen.known.items():
            known.setdefault(place, column)
        _add_missing(db, reader, class_name, seen.upto, newest, known)
        known = dict(islice(known.items(), MOST_COLUMNS))
        self._seen[class_name] = _Seen(deleted, max(newest), known)
        return Columns(tuple(known.values()), tuple(default))


def _add_missing(
    db: sqlite3.Connection,
    reader: FactReader,
    class_name: str,
    after: int,
    read: Iterable[int],
    known: dict[_Place, Column],
) -> None:
    """Add the columns that only assets have which were not read: those with a number above one."""
    missing: dict[int, list[_Place]] = {}
    for *place, number in db.execute(_PLACES, {"class": class_name, "after": after}):
        source, file, key = place
        if (source, file, key) not in known:
            missing.setdefault(number, []).append((source, file, key))
    # Some are no columns, such as the metrics of what an asset was made from.
    for number in sorted(missing.keys() - set(read), reverse=True)[:MOST_READ]:
        if any(place not in known for place in missing[number]):
            (asset,) = db.execute(
                "SELECT hash FROM assets WHERE class = ? AND number = ?", (class_name, number)
            ).fetchone()
            for place, column in known_columns(
                [facts_by_key(reader.facts(asset, class_name))]
            ).items():
                known.setdefault(place, column)
