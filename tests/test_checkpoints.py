"""Checkpoints in segments: they say what the whole fold says, and cost what changed and was asked.

Histories are made at random, with small segments, so that every way to cut a table is gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ama.format import canonical, tables
from ama.format.checkpoint import (
    BY_ID,
    MOVES,
    Checkpoint,
    decode_checkpoint,
    encode_checkpoint,
    fold_checkpoint,
)
from ama.format.conversion import checkpoint_of, root_of, state_of
from ama.format.entries import Entry, Event, Publish
from ama.format.hashing import seal
from ama.format.state import AssetRecord, ClassState, Root, fold_class, fold_root
from ama.format.tables import Rows, decode_rows
from ama.stores.log_files import segment_name
from ama.stores.log_view import LogView
from test_fold import GENESIS, IDS, READER, aliases, classes, events

Log = list[tuple[Entry, bytes]]


class Kept:
    """Segments in a dictionary; what is read of them is noted."""

    def __init__(self) -> None:
        self.segments: dict[bytes, bytes] = {}
        self.rows: dict[bytes, Rows] = {}
        self.read_of: list[bytes] = []
        self.trips = 0

    def store(self, data: bytes) -> bytes:
        self.segments[seal(data)] = data
        return seal(data)

    def read(self, digests: Sequence[bytes]) -> list[Rows]:
        self.trips += bool(digests)
        self.read_of += digests
        for digest in digests:
            if digest not in self.rows:
                self.rows[digest] = decode_rows(self.segments[digest])
        return [self.rows[digest] for digest in digests]


def log_of(listed: list[list[Event]]) -> Log:
    log: Log = []
    previous = GENESIS
    for number, each in enumerate(listed, 1):
        entry = Entry(number, bytes(16), previous, f"author {number}", number, (*each,))
        previous = seal(b"%d" % number)
        log.append((entry, previous))
    return log


def folded(log: Log, kept: Kept, *cuts: int) -> Checkpoint:
    """The checkpoint at the end of a log, folded in parts."""
    checkpoint = Checkpoint(0, GENESIS)
    for start, end in zip((0, *cuts), (*cuts, len(log)), strict=True):
        checkpoint = fold_checkpoint(checkpoint, log[start:end], kept, kept.store)
    return checkpoint


@contextmanager
def small() -> Iterator[None]:
    """Segments of few rows, so that a few events make many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "SIZES", (4, 2, 1))
        patch.setattr(tables, "BLOCK", 4)
        yield


ids = st.sampled_from([*IDS, *(bytes([1, 1, 1, 1, 1, n]) * 5 + b"xx" for n in range(8))])
publications: st.SearchStrategy[Event] = st.builds(
    Publish,
    st.binary(min_size=32, max_size=32) | ids,
    classes,
    st.lists(st.tuples(aliases, st.none()), max_size=1).map(tuple),
    st.lists(st.binary(min_size=32, max_size=32), max_size=2).map(tuple),
    st.lists(ids, max_size=2).map(tuple),
    st.just(()),
)
histories = st.lists(st.lists(publications | events, max_size=4), max_size=24)


def plain(record: AssetRecord) -> AssetRecord:
    return AssetRecord(record.id, record.entry, record.status, record.reason)


def needs_of(log: Log, class_name: str, asset: bytes) -> tuple[bytes, ...]:
    return next(
        event.needs
        for entry, _ in log
        for event in entry.events
        if isinstance(event, Publish) and (event.asset, event.class_name) == (asset, class_name)
    )


def check_class(log: Log, view: LogView, name: str, *, converted: bool = False) -> None:
    expected = fold_class(ClassState(name), [entry for entry, _ in log])
    state = view.class_state(name)
    assert list(map(plain, state.assets)) == list(expected.assets)
    assert [plain(r) for r in reversed(state.assets)] == list(reversed(expected.assets))
    assert len(state.assets) == state.count == len(expected.assets)
    assert state.live == sum(record.status != "deleted" for record in expected.assets)
    assert dict(state.aliases) == expected.aliases
    assert {alias: state.moves(alias) for alias in expected.aliases} == expected.aliases
    pointing = expected.aliases_by_asset()
    for number, record in enumerate(expected.assets, 1):
        found = state.record(number)
        assert found is not None
        assert (plain(found), state.number(record.id)) == (record, number)
        assert (number, found) in state.with_prefix(record.id.hex()[:7])
        assert found.aliases == pointing.get(record.id, ())
        assert found.former == tuple(
            alias
            for alias in sorted(expected.aliases)
            if any(move.asset == record.id for move in expected.aliases[alias])
            and expected.target(alias) != record.id
        )
        if number <= len(view.base.classes[name].assets.segments) and not converted:
            assert found.needs in (None, needs_of(log, name, record.id))
    assert state.record(0) is state.record(len(expected.assets) + 1) is None
    for asset in IDS:
        assert state.number(asset) == expected.number(asset)
        assert state.aliases_of(asset) == pointing.get(asset, ())
    for alias in ("best", "v1.0", "Z", "none"):
        moves = expected.aliases.get(alias, ())
        assert state.target(alias) == expected.target(alias)
        assert state.last_move(alias) == (moves[-1] if moves else None)
        known = {record.id: record.entry for record in expected.assets}
        if all(known.get(move.asset, 99) < move.entry for move in moves if move.asset):
            numbers = [expected.number(move.asset) or 0 for move in moves if move.asset]
            assert state.lowest(alias) == min(numbers, default=0)
        assert state.alike(alias.upper()) == {alias} & expected.aliases.keys()
    live = [record for record in expected.assets if record.status != "deleted"]
    newest = state.newest_live()
    assert (newest and plain(newest)) == (live[-1] if live else None)
    active = state.newest_active()
    assert (active and plain(active)) == expected.newest_active()
    assert state.alias_names() == sorted(
        alias for alias in expected.aliases if expected.target(alias) is not None
    )


def check_root(log: Log, view: LogView) -> None:
    expected = fold_root(Root(0, GENESIS), log)
    root = view.root
    assert (root.number, root.entry_hash) == (expected.number, expected.entry_hash)
    assert root.read_features == expected.read_features
    assert root.write_features == expected.write_features
    assert tuple(root.indexes) == expected.indexes
    assert tuple(reversed(root.indexes)) == expected.indexes[::-1]
    assert len(root.indexes) == len(expected.indexes)
    assert dict(root.replaced) == dict(expected.replaced)
    assert set(root.condemned_packs) == expected.condemned_packs
    assert set(root.condemned_indexes) == expected.condemned_indexes
    for each in IDS:
        assert (each in root.indexes) == (each in expected.indexes)
        assert root.current([each, *IDS]) == expected.current([each, *IDS])
    assert root.condemned_packs & set(IDS) == expected.condemned_packs & set(IDS)


@given(histories, st.data())
@settings(deadline=None, max_examples=60)
def test_what_is_read_of_a_checkpoint_is_what_the_log_adds_up_to(
    listed: list[list[Event]], data: st.DataObject
) -> None:
    log, kept = log_of(listed), Kept()
    with small():
        cut, until = sorted(data.draw(st.lists(st.integers(0, len(log)), min_size=2, max_size=2)))
        base = folded(log[:until], kept, cut)
        assert decode_checkpoint(encode_checkpoint(base)) == base
        view = LogView(base, log[until:], kept)
        check_root(log, view)
        for name in ("models", "datasets"):
            if name in view.base.classes:
                check_class(log, view, name)
        # However it was folded, it is the same checkpoint.
        assert view.folded(kept.store) == folded(log, kept)
        assert view.folded(kept.store, until) == base


@given(histories)
@settings(deadline=None, max_examples=60)
def test_from_values_to_tables_and_back(listed: list[list[Event]]) -> None:
    log, kept = log_of(listed), Kept()
    root = fold_root(Root(0, GENESIS), log)
    entries = [entry for entry, _ in log]
    names = [name for name in ("models", "datasets") if any(name in str(e) for e in entries)]
    states = [fold_class(ClassState(name), entries) for name in names]
    with small():
        for base in (checkpoint_of(root, states, kept.store), folded(log, kept)):
            assert replace(root_of(base, kept), classes=root.classes) == root
            for state in states:
                if state.name in base.classes:
                    assert state_of(state.name, base.classes[state.name], kept) == state
            view = LogView(base, (), kept)
            check_root(log, view)
            for name in base.classes:
                check_class(log, view, name, converted=True)


@pytest.mark.parametrize("count", [0, 1, 511, 512, 513, 2 * 512 + 83, 21 * 512 + 17])
@pytest.mark.parametrize("step", [7_000, 2_111])
def test_a_table_is_cut_as_the_document_says(count: int, step: int) -> None:
    """However it grew: of assets by id, and of moves by alias, of which pages have the last."""
    names = [f"alias{n % 90}" for n in range(count)]
    moves = [(names[n], None, 0, "Ann", n, n, 0, 0) for n in range(count)]
    assets = [(seal(b"%d" % n), n, 0, "", b"", (), ()) for n in range(count)]
    for shape, rows, value in ((BY_ID, assets, None), (MOVES, moves, lambda row: row[:3])):
        kept, theirs = Kept(), dict[str, bytes]()
        table = tables.EMPTY
        for start in range(0, count, step):
            draft = tables.Draft(table, shape, kept)
            for row in rows[start : start + step]:
                draft.append(row)
            table = draft.finish(kept.store)
        key = READER.alias_key if value else lambda row: row[0][:5]
        listed = READER.unpack(canonical.encode(rows))
        assert tables.encode_table(table) == tuple(READER.write_table(listed, key, theirs, value))
        mine = {segment_name(d): kept.segments[d] for d in (*table.segments, *table.pages)}
        assert mine == theirs
        assert tables.decode_table(tables.encode_table(table)) == table
        reader = tables.TableReader(table, shape, kept)
        assert list(reader.between(0, count)) == list(rows)
        last = {row[0]: place for place, row in enumerate(rows)}
        for place in range(0, count, 997):
            found = [at for at, _ in reader.within(*[shape.key(rows[place])] * 2)]
            assert found[-1:] == [last[rows[place][0]]]


def test_a_lookup_reads_one_page_of_each_run() -> None:
    """And an append writes few segments, now and then a run."""
    kept = Kept()
    count = 21 * 512 + 17
    draft = tables.Draft(tables.EMPTY, BY_ID, kept)
    for n in range(count):
        draft.append((seal(b"%d" % n), n, 0, "", b"", (), ()))
    table = draft.finish(kept.store)
    reader = tables.TableReader(table, BY_ID, kept)
    assert len(tables.runs(count)) == 3
    assert len(reader.parts_of([bytes(5)])) == 3 + 2
    kept.read_of.clear()
    written = len(kept.segments)
    draft = tables.Draft(table, BY_ID, kept)
    for n in range(count, count + 64):
        draft.append((seal(b"%d" % n), n, 0, "", b"", (), ()))
    draft.finish(kept.store)
    assert len(kept.segments) - written <= 3


@pytest.mark.parametrize(
    "fields",
    [
        (-1, b"", b""),
        (10**12, b"", b""),
        (True, bytes(32), b""),
        (1, b"", b""),
        (1, bytes(31), b""),
        (1, bytes(64), b""),
        (0, bytes(32), b""),
        (512, bytes(32), b""),
        (511, bytes(32) * 2, b""),
        (1, "a", b""),
        (1, bytes(32), None),
        (1, bytes(32)),
    ],
)
def test_fields_that_are_no_table(fields: tuple[object, ...]) -> None:
    with pytest.raises((ValueError, TypeError)):
        tables.decode_table(fields)
