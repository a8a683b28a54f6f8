"""The assets of a class as a table: columns of one's choice, sorted and filtered, page by page.

Only the page that is shown is read whole. What it is sorted by is looked up for all of the class
along the one path of its file, so that ten thousand assets are quick.
"""

from __future__ import annotations

import math
import posixpath
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from ama.catalog.comparing import number_of, ranked
from ama.catalog.conditions import Condition
from ama.catalog.documents import Value, syntax_of
from ama.catalog.finding import Criteria, select
from ama.catalog.overview import SIZE, AssetLine, in_words, lines
from ama.catalog.schema import from_cell
from ama.catalog.values import Column
from ama.format.objects import EntryKind

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
    """A condition, and the columns of which one must fit it; none: any value that there is."""

    condition: Condition
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """Which assets of a class a table has, and in which order.

    Attributes:
        class_name: the class.
        words: all of them are told of each asset.
        conditions: each holds for one of its columns.
        state: its status; "live" are all but those that were deleted.
        sort: "number", "created", "author", "message", "size", or a column.
        reverse: whether the order is turned round; what has no number still comes last.
    """

    class_name: str
    words: tuple[str, ...] = ()
    conditions: tuple[Required, ...] = ()
    state: State = "live"
    sort: str | Column = "number"
    reverse: bool = True


@dataclass(frozen=True, slots=True)
class TableRow:
    """An asset, and what it has in each column; None: nothing."""

    asset: AssetLine
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class TablePage:
    """A part of a table: the rows from `offset` on, of `total`."""

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
        db: a catalog.
        choice: which assets, and in which order.
        shown: its columns.
        offset: how many rows come before it.
        limit: how many rows it has at most.
    """
    order = _ordered(db, choice)
    part = order[offset : offset + limit]
    found = {line.id: line for line in lines(db, f"id IN ({_marks(part)})", *part)}
    hashes = dict(db.execute(f"SELECT id, hash FROM assets WHERE id IN ({_marks(part)})", part))
    values = [column_values(db, choice.class_name, column, part) for column in shown]
    rows = tuple(
        TableRow(found[hashes[row].hex()], tuple(each.get(row) for each in values)) for row in part
    )
    return TablePage(rows, offset, len(order))


def series(db: sqlite3.Connection, choice: Choice, column: Column) -> tuple[tuple[int, float], ...]:
    """Return a column's numbers, with the number of each asset that has one, in their order.

    Of a list of numbers, a history, it is the last.
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
    """Return what the assets of a class have in a column, by their row.

    Args:
        db: a catalog.
        class_name: the class.
        column: the column.
        only: the rows that are looked at; all by default.
    """
    query, values = _said(class_name, column)
    if only is not None:
        query += f" AND asset.id IN ({_marks(only)})"
        values += only
    return {row: from_cell(kind, text) for row, _, kind, _, text in db.execute(query, values)}


def required(condition: Condition, known: Sequence[Column]) -> Required:
    """Return a condition with the columns that it may mean, as `Store.find` would read it."""
    name, glob = condition.key, condition.file

    def fits(column: Column) -> bool:
        if glob is not None:
            path = column.file if "/" in glob else posixpath.basename(column.file)
            if not fnmatchcase(path, glob):
                return False
        return column.key == name or column.key.endswith(f".{name}")

    return Required(condition, tuple(filter(fits, known))[:MOST_CONDITION_COLUMNS])


def _said(class_name: str, column: Column) -> tuple[str, list[object]]:
    """Return a query for the rows of a class's assets with the cell that a column has in each."""
    joins: list[str] = []
    values: list[object] = []
    holder = "asset"
    if column.source:
        joins.append(
            "JOIN inputs ON inputs.asset = asset.id AND inputs.source = ?"
            " JOIN assets AS source ON source.hash = inputs.target"
        )
        values.append(column.source)
        holder = "source"
    if column.file:
        syntax, parts = syntax_of(column.file), column.file.split("/")
        if syntax is None or len(parts) > MOST_DEPTH:
            joins.append("JOIN metadata AS said ON 0")
        else:
            joins.append(_document_join(parts, holder))
            values += [*parts, syntax, column.key]
    else:
        joins.append(f"JOIN metadata AS said ON said.asset = {holder}.id AND said.key = ?")
        values.append(column.key)
    query = (
        "SELECT asset.id AS id, said.key AS key, said.kind AS kind, said.number AS number,"
        f" said.text AS text FROM assets AS asset {' '.join(joins)} WHERE asset.class = ?"
    )
    return query, [*values, class_name]


def _document_join(parts: Sequence[str], holder: str) -> str:
    tree = f"{holder}.tree"
    joins = []
    for at in range(len(parts)):
        joins.append(f"JOIN children AS c{at} ON c{at}.tree = {tree} AND c{at}.name = ?")
        tree = f"c{at}.object"
    last = f"c{len(parts) - 1}"
    joins.append(
        f"JOIN documents ON documents.object = {tree} AND documents.syntax = ?"
        f" AND documents.problem IS NULL AND {holder}.status != 'deleted'"
        f" AND {last}.kind NOT IN ({int(EntryKind.TREE)}, {int(EntryKind.SYMLINK)})"
        " JOIN parameters AS said ON said.document = documents.id AND said.key = ?"
    )
    return " ".join(joins)


def _chosen(db: sqlite3.Connection, choice: Choice) -> dict[int, None]:
    """Return the rows of the assets that a table has, in the order that SQL can give."""
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
        if wanted.condition.file is None:
            assets |= set(select(db, Criteria(class_name=class_name, meta=(wanted.condition,))))
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
