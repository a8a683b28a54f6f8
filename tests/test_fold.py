"""The fold of the log: ama's, and the one that was written from docs/format.md alone, agree."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ama.errors import FormatError, IntegrityError
from ama.format.checkpoint import Checkpoint, encode_checkpoint, fold_checkpoint
from ama.format.entries import (
    Entry,
    Event,
    Feature,
    Gc,
    MoveAlias,
    Publish,
    Purged,
    SetStatus,
    StatusName,
    Unknown,
    decode_entry,
    encode_entry,
    entry_hash,
)
from ama.format.hashing import seal
from ama.format.state import (
    ClassState,
    Root,
    encode_class_state,
    encode_root,
    fold_class,
    fold_root,
)
from ama.storage.memory import MemoryStorage
from ama.storage.protocol import Range
from ama.stores.cache import Cache
from ama.stores.log_files import checkpoint_name, segment_name
from ama.stores.log_writer import Log
from ama.stores.remote import Remote, StoreFormat, encode_format
from ama.stores.segments import CheckpointSegments, Segments


def load_reader() -> ModuleType:
    path = Path(__file__).parent / "golden" / "reader.py"
    spec = importlib.util.spec_from_file_location("reader", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["reader"] = module
    spec.loader.exec_module(module)
    return module


READER = load_reader()
GENESIS = bytes(32)
IDS = tuple(bytes([number]) * 32 for number in range(1, 7))
A, B, C, D = IDS[:4]


def folded(*events: Event) -> Root:
    """The root after one entry for each event."""
    root = Root(0, GENESIS)
    for number, event in enumerate(events, 1):
        root = fold_root(root, [(Entry(number, bytes(16), root.entry_hash, "", 0, (event,)), A)])
    return root


def publish(*indexes: bytes) -> Publish:
    return Publish(A, "models", (), indexes, (), ())


def gc(old: tuple[bytes, ...], new: tuple[bytes, ...]) -> Gc:
    return Gc(((old, new),))


ids = st.sampled_from(IDS)
several = st.lists(ids, max_size=3).map(tuple)
classes = st.sampled_from(["models", "datasets"])
aliases = st.sampled_from(["best", "v1.0", "Z"])
expected = st.one_of(st.none(), st.just(b""), ids)
statuses: st.SearchStrategy[StatusName] = st.sampled_from(["active", "deprecated", "deleted"])
texts = st.lists(st.sampled_from(["a", "b", "\u00e9", "z"]), max_size=2).map(tuple)
moves = st.lists(st.tuples(aliases, expected), max_size=2).map(tuple)


def is_sound(event: Gc) -> bool:
    gone = {*event.indexes, *(index for old, _ in event.replaced for index in old)}
    return gone.isdisjoint(index for _, new in event.replaced for index in new)


events: st.SearchStrategy[Event] = st.one_of(
    st.builds(Publish, ids, classes, moves, several, several, st.just(())),
    st.builds(MoveAlias, classes, aliases, st.one_of(st.none(), ids), expected),
    st.builds(SetStatus, ids, classes, statuses, st.sampled_from(["", "old"])),
    st.builds(
        Gc, st.lists(st.tuples(several, several), max_size=2).map(tuple), several, several
    ).filter(is_sound),
    st.builds(Purged, several, several),
    st.builds(Feature, texts, texts),
    st.builds(Unknown, st.just("attest"), st.just(False), st.just({"x": 1})),
)


@given(st.lists(st.lists(events, max_size=4), max_size=8))
def test_two_independent_folds_agree(log: list[list[Event]]) -> None:
    root = Root(0, GENESIS)
    theirs = READER.Fold(GENESIS, {"read": [], "write": []})
    their_tables = READER.Tables(GENESIS, {"read": [], "write": []})
    checkpoint, segments = Checkpoint(0, GENESIS), Segments(MemoryStorage("fold"), Cache(None))
    source = CheckpointSegments(segments, lambda: None, "fold")
    entries = []
    for number, listed in enumerate(log, 1):
        entry = Entry(number, bytes(16), root.entry_hash, f"author {number}", number, (*listed,))
        data = encode_entry(entry)
        assert decode_entry(data) == entry
        read = READER.read_entry(data, number, root.entry_hash)
        theirs.add(read, entry_hash(data))
        their_tables.add(read, entry_hash(data))
        tail = [(entry, entry_hash(data))]
        root = fold_root(root, tail)
        checkpoint = fold_checkpoint(checkpoint, tail, source, segments.make)
        entries.append(entry)
    states = {
        name: encode_class_state(fold_class(ClassState(name), entries)) for name in theirs.classes
    }
    assert states == {name: theirs.state(name) for name in theirs.classes}
    digests = {name: seal(state) for name, state in states.items()}
    assert encode_root(replace(root, classes=digests)) == theirs.root()
    for index in IDS:
        assert list(root.current([index])) == theirs.standing_for([index])
    files = {segment_name(digest): segments.made[digest] for digest in checkpoint.digests()}
    files[checkpoint_name(checkpoint.number)] = encode_checkpoint(checkpoint)
    assert files == their_tables.files()


class TestIndexes:
    def test_an_index_is_current_once(self) -> None:
        assert folded(publish(A, B, A), publish(B, C)).indexes == (A, B, C)

    def test_what_replaced_an_index_stands_for_it(self) -> None:
        root = folded(publish(A, B), gc((A,), (C,)), gc((C, B), (D,)))
        assert root.indexes == (D,)
        assert root.current([A]) == (D,)
        assert root.current([A, B, C]) == (D,)
        assert root.condemned_indexes == {A, B, C}

    def test_an_index_that_is_current_again_stands_for_itself(self) -> None:
        # It was purged, and a push of the same packs made the same index: what the old one was
        # replaced by needn't name all of it.
        root = folded(publish(A), gc((A,), (B,)), Purged((), (A,)), publish(A))
        assert root.indexes == (B, A)
        assert root.current([A]) == (A,)
        root = folded(publish(A), gc((A,), (B,)), Purged((), (A,)), gc((B,), (A,)))
        assert root.indexes == (A,)
        assert root.current([A]) == (A,)
        assert root.current([B]) == (A,)

    def test_a_gc_that_condemns_what_it_adds_is_refused(self) -> None:
        for event in (gc((A, B), (A,)), Gc((((A,), (B,)),), (), (B,))):
            data = encode_entry(Entry(1, bytes(16), GENESIS, "", 0, (event,)))
            with pytest.raises(IntegrityError, match="gc event"):
                decode_entry(data)


class TestFeatures:
    def store(self, read: tuple[str, ...], write: tuple[str, ...]) -> MemoryStorage:
        storage = MemoryStorage("features")
        store = StoreFormat("0" * 32, 1, read, write)
        storage.create("format.json", encode_format(store))
        return storage

    def test_a_feature_for_readers_in_format_json(self) -> None:
        with pytest.raises(FormatError, match="sealed"):
            Remote.open(self.store(("sealed",), ()), None)

    def test_a_feature_for_writers_in_format_json(self) -> None:
        storage = self.store((), ("sealed",))
        remote = Remote.open(storage, None)
        assert remote.view().root.write_features == ("sealed",)
        with pytest.raises(FormatError, match="sealed"):
            remote.log.append(
                lambda view: [MoveAlias("models", "best", None)], author="", now=lambda: 0
            )
        assert not list(storage.list("log/"))

    def test_features_of_events(self) -> None:
        storage = self.store((), ())
        (found,) = storage.read([Range("format.json")])
        genesis = entry_hash(found or b"")
        data = encode_entry(Entry(1, bytes(16), genesis, "", 0, (Feature(("r",), ("w",)),)))
        storage.create("log/000000000001", data)
        with pytest.raises(FormatError, match="r; it can't read"):
            Log(storage, genesis, Cache(None)).view()
