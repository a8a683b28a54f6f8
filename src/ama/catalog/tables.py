"""The assets of a class as a table: chosen columns, sorted and filtered, page by page.

Only the shown page is read whole. The sort column is looked up for the whole class along the one
path of its file, so that ten thousand assets are quick.
"""

from __future__ import annotations

import math
import posixpath
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import islice
from typing import Literal

from ama.catalog.compare import default_columns, facts_by_key, known_columns, number_of, ranked
from ama.catalog.conditions import Condition
from ama.catalog.documents import Value, syntax_of
from ama.catalog.facts import FactReader, RulesOf
from ama.catalog.find import Criteria, select
from ama.catalog.overview import SIZE, AssetLine, in_words, lines
from ama.catalog.schema import from_cell
from ama.catalog.values import Column

MOST_POINTS = 20_000
MOST_DEPTH = 30
MOST_CONDITION_COLUMNS = 20

State = Literal["live", "active", "deprecated", "deleted", "all"]

_STATES: Mapping[str, str] = {
    "live": "status != 'deleted'",
    "active": "status = 'active'",
    "deprecated": "status = 'deprecated'",
    "deleted": "status = 'deleted'",
    "all": "1",
}
PLAIN_SORTS: Mapping[str, str] = {
    "number": "number",
    "created": "created_at",
    "author": "author",
    "message": "message",
    "size": SIZE,
}


@dataclass(frozen=True, slots=True)
class Required:
    """A condition, and the columns of which one must meet it; none: any value."""

    condition: Condition
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """The assets of a class in a table, and their order.

    Attributes:
        class_name: The class.
        words: Words that each asset's texts contain.
        conditions: Conditions that each asset meets in one of their columns.
        state: The status; "live" means all but deleted.
        sort: "number", "created", "author", "message", "size", or a column.
        reverse: Whether to reverse the order; assets without a number still come last.
    """

    class_name: str
    words: tuple[str, ...] = ()
    conditions: tuple[Required, ...] = ()
    state: State = "live"
    sort: str | Column = "number"
    reverse: bool = True


@dataclass(frozen=True, slots=True)
class TableRow:
    """An asset, and its value in each column; None: it has none.

    `noted` says which of the values were noted later.
    """

    asset: AssetLine
    values: tuple[Value, ...]
    noted: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class TablePage:
    """A part of a table: the rows from `offset` on, out of `total`."""

    rows: tuple[TableRow, ...]
    offset: int
    total: int


def page(
    db: sqlite3.Connection,
    choice: Choice,
    shown: Sequence[Column],
    *,
    offset: int = 0,
    limit: int = 50,
) -> TablePage:
    """Return a part of a table.

    Args:
        db: A catalog.
        choice: The assets, and their order.
        shown: The table's columns.
        offset: The number of rows before it.
        limit: The most rows.
    """
    order = _ordered(db, choice)
    part = order[offset : offset + limit]
    found = {line.id: line for line in lines(db, f"id IN ({_marks(part)})", *part)}
    hashes = dict(db.execute(f"SELECT id, hash FROM assets WHERE id IN ({_marks(part)})", part))
    cells = [_cells(db, choice.class_name, column, part) for column in shown]
    rows = tuple(
        TableRow(
            found[hashes[row].hex()],
            tuple(each.get(row, _NOTHING)[0] for each in cells),
            tuple(each.get(row, _NOTHING)[1] for each in cells),
        )
        for row in part
    )
    return TablePage(rows, offset, len(order))


def series(db: sqlite3.Connection, choice: Choice, column: Column) -> tuple[tuple[int, float], ...]:
    """Return a column's numbers, with the number of each asset that has one, in order.

    For a history (a list of numbers), it is the last one.
    """
    chosen = _chosen(db, choice)
    numbers = dict(
        db.execute("SELECT id, number FROM assets WHERE class = ?", (choice.class_name,))
    )
    found = []
    for row, value in column_values(db, choice.class_name, column).items():
        number = number_of(value)
        if row in chosen and number is not None and math.isfinite(number):
            found.append((int(numbers[row]), number))
    return tuple(sorted(found)[-MOST_POINTS:])


def column_values(
    db: sqlite3.Connection, class_name: str, column: Column, only: Sequence[int] | None = None
) -> dict[int, Value]:
    """Return the values of a class's assets in a column, by the assets' rows.

    Args:
        db: A catalog.
        class_name: The class.
        column: The column.
        only: The rows to read; None: all.
    """
    return {row: value for row, (value, _) in _cells(db, class_name, column, only).items()}


_NOTHING = None, False


def _cells(
    db: sqlite3.Connection, class_name: str, column: Column, only: Sequence[int] | None = None
) -> dict[int, tuple[Value, bool]]:
    """Return the values in a column, each with whether it was noted later."""
    query, values = _said(class_name, column)
    if only is not None:
        query += f" AND asset.id IN ({_marks(only)})"
        values += only
    return {
        row: (from_cell(kind, text), bool(noted))
        for row, _, kind, _, text, noted in db.execute(query, values)
    }


def required(condition: Condition, known: Sequence[Column]) -> Required:
    """Return a condition with the columns that it may mean, by the rules of `Store.find`."""
    name, glob = condition.key, condition.file

    def fits(column: Column) -> bool:
        if glob is not None:
            path = column.file if "/" in glob else posixpath.basename(column.file)
            if not fnmatchcase(path, glob):
                return False
        return column.key == name or column.key.endswith(f".{name}")

    return Required(condition, tuple(filter(fits, known))[:MOST_CONDITION_COLUMNS])


def _said(class_name: str, column: Column) -> tuple[str, list[object]]:
    """Return a query for the rows of a class's assets, with their cells in a column."""
    joins: list[str] = []
    values: list[object] = []
    holder = "asset"
    cell = (
        "said.key AS key, said.kind AS kind, said.number AS number, said.text AS text, 0 AS noted"
    )
    there = ""
    if column.source:
        joins.append(
            "JOIN inputs ON inputs.asset = asset.id AND inputs.source = ?"
            " JOIN assets AS source ON source.hash = inputs.target"
        )
        values.append(column.source)
        holder = "source"
    if column.file:
        parts = column.file.split("/")
        if syntax_of(column.file) is None or len(parts) > MOST_DEPTH:
            joins.append("JOIN metadata AS said ON 0")
        else:
            joins.append(_document_join(parts, holder))
            values += [*parts, column.key]
    else:
        # Two lookups by the asset and the key, where a view of both would be read whole.
        joins += [
            f"LEFT JOIN {table} AS {name} ON {name}.asset = {holder}.id AND {name}.key = ?"
            for table, name in (("noted", "later"), ("metadata", "said"))
        ]
        values += [column.key, column.key]
        cell = _NEWEST
        there = " AND coalesce(later.kind, said.kind) IS NOT NULL"
    query = (
        f"SELECT asset.id AS id, {cell} FROM assets AS asset {' '.join(joins)}"
        f" WHERE asset.class = ?{there}"
    )
    return query, [*values, class_name]


_NEWEST = (
    "coalesce(later.key, said.key) AS key, coalesce(later.kind, said.kind) AS kind,"
    " CASE WHEN later.kind IS NULL THEN said.number ELSE later.number END AS number,"
    " coalesce(later.text, said.text) AS text, later.kind IS NOT NULL AS noted"
)
"""What was noted later, or else what the asset says itself."""


def _document_join(parts: Sequence[str], holder: str) -> str:
    *above, _ = parts
    tree = f"{holder}.tree"
    joins = []
    for at in range(len(above)):
        joins.append(f"JOIN directories AS d{at} ON d{at}.tree = {tree} AND d{at}.name = ?")
        tree = f"d{at}.child"
    joins.append(
        f"JOIN places ON places.tree = {tree} AND places.name = ?"
        " JOIN documents ON documents.id = places.document"
        f" AND documents.problem IS NULL AND {holder}.status != 'deleted'"
        " JOIN parameters AS said ON said.document = documents.id AND said.key = ?"
    )
    return " ".join(joins)


def _chosen(db: sqlite3.Connection, choice: Choice) -> dict[int, None]:
    """Return the rows of a table's assets, in an order that SQL can give."""
    where, values = in_words(choice.words)
    wheres = ["class = ?", "number IS NOT NULL", _STATES[choice.state], where]
    order = PLAIN_SORTS.get(choice.sort, "number") if isinstance(choice.sort, str) else "number"
    way = "DESC" if choice.reverse else "ASC"
    query = (
        f"SELECT id FROM assets WHERE {' AND '.join(wheres)}"
        f" ORDER BY {order} IS NULL, {order} {way}, number {way}"
    )
    rows = [row for (row,) in db.execute(query, [choice.class_name, *values])]
    for condition in choice.conditions:
        holding = _holding(db, choice.class_name, condition)
        rows = [row for row in rows if row in holding]
    return dict.fromkeys(rows)


def _holding(db: sqlite3.Connection, class_name: str, wanted: Required) -> set[int]:
    where, given = wanted.condition.sql()
    found: set[int] = set()
    for column in wanted.columns:
        query, values = _said(class_name, column)
        rows = db.execute(f"SELECT id FROM ({query}) WHERE {where}", [*values, *given])
        found |= {row for (row,) in rows}
    if not wanted.columns:
        assets = set(select(db, Criteria(class_name=class_name, params=(wanted.condition,))))
        of = db.execute("SELECT id, hash FROM assets WHERE class = ?", (class_name,))
        found = {row for row, asset in of if asset in assets}
    return found


def _ordered(db: sqlite3.Connection, choice: Choice) -> list[int]:
    rows = list(_chosen(db, choice))
    if isinstance(choice.sort, str):
        return rows
    values = column_values(db, choice.class_name, choice.sort)
    return ranked(rows, values, falling=choice.reverse)


def _marks(values: Iterable[object]) -> str:
    return ", ".join("?" for _ in values)


SAMPLE = 12
"""The number of newest assets that decide the default columns of a table."""

MOST_ASSETS = 20_000
"""The most of the newest assets of a class to look through."""

MOST_READ = 50
"""The assets to read at a time for the values that only they have."""

MOST_COLUMNS = 2_000
MOST_DIRECTORIES = 200_000
MOST_PLACES = 20_000

_Place = tuple[str, str, str]
"""The source, file and key of a value, as in `Fact`."""

_LIVE = "assets.class = :class AND assets.status != 'deleted' AND assets.data IS NOT NULL"

# For each place the newest asset that has it. What many assets share is read once.
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
below (number, source, tree, prefix) AS (
    SELECT number, source, tree, '' FROM tops
    UNION ALL
    SELECT number, source, child, prefix || name || '/'
    FROM below JOIN directories USING (tree) JOIN trees ON trees.id = child
    WHERE documents IS NOT 0
    LIMIT {MOST_DIRECTORIES}
),
held (number, source, file, document) AS (
    SELECT max(below.number), source, prefix || name, document
    FROM below
    CROSS JOIN places USING (tree)
    CROSS JOIN documents ON documents.id = document
    WHERE problem IS NULL
    GROUP BY source, prefix, name, document
)
SELECT source, file, key, max(held.number)
FROM held CROSS JOIN parameters ON parameters.document = held.document
GROUP BY source, file, key
UNION ALL
SELECT '', '', key, max(live.number)
FROM live JOIN metadata ON metadata.asset = live.id GROUP BY key
LIMIT {MOST_PLACES}
"""


# For each noted key the newest asset that has it. Notes are about old assets too.
_NOTED = f"""
SELECT key, max(assets.number) FROM assets CROSS JOIN noted ON noted.asset = assets.id
WHERE {_LIVE} AND assets.number IS NOT NULL GROUP BY key LIMIT {MOST_PLACES}
"""


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns that a class's table can have, and its default ones."""

    known: tuple[Column, ...]
    default: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    """The columns of a class's assets up to a number, with a number of them deleted."""

    deleted: int
    upto: int = 0
    known: Mapping[_Place, Column] = field(default_factory=dict)
    noted: frozenset[str] = frozenset()
    """The keys that were noted of them."""


class ColumnFinder:
    """A finder of columns. It reads an asset only once, unless others are deleted, or what was
    noted is taken back.

    Args:
        rules_of: A function that returns a class's rules.
        each: How many metrics, and how many differing parameters, are the default.
    """

    def __init__(self, rules_of: RulesOf, each: int = 2) -> None:
        self._rules_of = rules_of
        self._each = each
        self._seen: dict[str, _Seen] = {}

    def columns(self, db: sqlite3.Connection, class_name: str) -> Columns:
        """Return the columns of a class's live assets, those of the newest first.

        Args:
            db: A catalog.
            class_name: The class.
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
        noted = dict(db.execute(_NOTED, {"class": class_name}).fetchall())
        seen = self._seen.get(class_name)
        if seen is None or seen.deleted != deleted or not seen.noted <= noted.keys():
            seen = _Seen(deleted)
        for place, column in seen.known.items():
            known.setdefault(place, column)
        missing = [*db.execute(_PLACES, {"class": class_name, "after": seen.upto})]
        missing += [("", "", key, number) for key, number in noted.items()]
        _add_missing(db, reader, class_name, missing, newest, known)
        known = dict(islice(known.items(), MOST_COLUMNS))
        self._seen[class_name] = _Seen(deleted, max(newest), known, frozenset(noted))
        return Columns(tuple(known.values()), tuple(default))


def _add_missing(
    db: sqlite3.Connection,
    reader: FactReader,
    class_name: str,
    places: Iterable[tuple[str, str, str, int]],
    read: Iterable[int],
    known: dict[_Place, Column],
) -> None:
    """Add the columns for places, each with the number of an asset that has it."""
    missing: dict[int, list[_Place]] = {}
    for source, file, key, number in places:
        if (source, file, key) not in known:
            missing.setdefault(number, []).append((source, file, key))
    # Some are no columns, such as the metrics of an asset's sources.
    for number in sorted(missing.keys() - set(read), reverse=True)[:MOST_READ]:
        if any(place not in known for place in missing[number]):
            (asset,) = db.execute(
                "SELECT hash FROM assets WHERE class = ? AND number = ?", (class_name, number)
            ).fetchone()
            for place, column in known_columns(
                [facts_by_key(reader.facts(asset, class_name))]
            ).items():
                known.setdefault(place, column)
