"""The state of a store as one value, and in the tables of a checkpoint: from each to the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ama.format.checkpoint import (
    BY_ID,
    MOVES,
    Checkpoint,
    ClassTables,
    Store,
    alias_record,
    asset_record,
    lower,
)
from ama.format.entries import STATUSES
from ama.format.state import AliasRecord, AssetRecord, ClassState, Root
from ama.format.tables import EMPTY, Draft, Row, Rows, Shape, Source, Table, TableReader


class _Nothing:
    def read(self, digests: Sequence[bytes]) -> list[Rows]:
        return []


def checkpoint_of(root: Root, states: Iterable[ClassState], store: Store) -> Checkpoint:
    """Return a state in tables: to read from it, for it isn't what the log adds up to.

    What it doesn't say is not in them: what an asset needs, and the places of what has ended.

    Args:
        root: The root.
        states: The states of all classes.
        store: A function that keeps a segment's bytes, and returns their digest.

    Example:
        >>> checkpoint_of(Root(64, bytes(32)), [ClassState("models")], len).classes["models"].live
        0
    """
    return Checkpoint(
        root.number,
        root.entry_hash,
        root.read_features,
        root.write_features,
        _table(BY_ID, ((index, True) for index in root.indexes), store),
        _table(BY_ID, root.replaced.items(), store),
        _table(BY_ID, ((pack, True) for pack in sorted(root.condemned_packs)), store),
        _table(BY_ID, ((index, True) for index in sorted(root.condemned_indexes)), store),
        {state.name: _class_tables(state, store) for state in states},
    )


def _table(shape: Shape, rows: Iterable[Row], store: Store) -> Table:
    draft = Draft(EMPTY, shape, _Nothing())
    for row in rows:
        draft.append(row)
    return draft.finish(store)


def _class_tables(state: ClassState, store: Store) -> ClassTables:
    numbers = {record.id: number for number, record in enumerate(state.assets, 1)}
    pointing = state.aliases_by_asset()
    former: dict[bytes, set[str]] = {}
    moves = []
    for alias in sorted(state.aliases):
        for move in state.aliases[alias]:
            moves.append((move.entry, alias, move))
            if move.asset is not None and move.asset != state.target(alias):
                former.setdefault(move.asset, set()).add(alias)
    rows: list[Row] = []
    last: dict[str, int] = {}
    for number, (entry, alias, move) in enumerate(sorted(moves, key=lambda each: each[0]), 1):
        at = numbers.get(move.asset, 0) if move.asset else 0
        before = last.get(alias, 0)
        lowest = lower(rows[before - 1][7] if before else 0, at)
        rows.append((alias, move.asset, at, move.author, move.at, entry, before, lowest))
        last[alias] = number
    assets = [
        (
            record.id,
            record.entry,
            STATUSES.index(record.status),
            record.reason,
            None,
            pointing.get(record.id, ()),
            tuple(sorted(former.get(record.id, ()))),
        )
        for record in state.assets
    ]
    return ClassTables(
        sum(record.status != "deleted" for record in state.assets),
        any(move.asset is not None and move.asset not in numbers for _, _, move in moves),
        _table(BY_ID, assets, store),
        _table(MOVES, rows, store),
    )


def root_of(checkpoint: Checkpoint, source: Source) -> Root:
    """Return the root of a checkpoint as one value, without its classes; all of it is read.

    Raises:
        IntegrityError: A segment can't be read.

    Example:
        >>> root_of(Checkpoint(64, bytes(32)), _Nothing()).number
        64
    """
    return Root(
        checkpoint.number,
        checkpoint.entry_hash,
        tuple(_values(checkpoint.indexes, source)),
        _values(checkpoint.replaced, source),
        frozenset(_values(checkpoint.condemned_packs, source)),
        frozenset(_values(checkpoint.condemned_indexes, source)),
        checkpoint.read_features,
        checkpoint.write_features,
    )


def _values(table: Table, source: Source) -> Mapping[bytes, Any]:
    rows = TableReader(table, BY_ID, source).between(0, table.count)
    return {row[0]: row[1] for row in rows if row[1] is not None}


def state_of(name: str, tables: ClassTables, source: Source) -> ClassState:
    """Return the state of a class in a checkpoint as one value; all of it is read.

    Raises:
        IntegrityError: A segment can't be read.

    Example:
        >>> state_of("models", ClassTables(), _Nothing()).assets
        ()
    """
    aliases: dict[str, tuple[AliasRecord, ...]] = {}
    for row in TableReader(tables.moves, MOVES, source).between(0, tables.moves.count):
        aliases[row[0]] = (*aliases.get(row[0], ()), alias_record(row))
    rows = TableReader(tables.assets, BY_ID, source).between(0, tables.assets.count)
    records = [asset_record(row) for row in rows]
    plain = [AssetRecord(each.id, each.entry, each.status, each.reason) for each in records]
    return ClassState(name, tuple(plain), aliases)
