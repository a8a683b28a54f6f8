"""What a store of many assets costs: requests, bytes and segments follow what is asked for.

The stores are forged, with 128 and with 5,120 assets in 20 classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import ama.stores.segments
from ama.errors import IntegrityError
from ama.format import canonical
from ama.format.checkpoint import decode_checkpoint, encode_checkpoint
from ama.format.conversion import root_of, state_of
from ama.format.entries import Event, MoveAlias, Publish, SetStatus, entry_name
from ama.format.hashing import blob_id, seal
from ama.format.state import encode_class_state, encode_root
from ama.format.tables import Rows, Table
from ama.settings import Settings
from ama.storage.memory import MemoryStorage
from ama.storage.protocol import Range
from ama.store import Store
from ama.stores.cache import VIEW, Cache, keep_view
from ama.stores.log_files import HINT, checkpoint_name, encode_hint, segment_name, state_name
from ama.stores.log_reader import CHECKPOINT_EVERY
from ama.stores.log_view import LogView, When
from ama.stores.remote import Remote
from counting_storage import CountingStorage
from forged_store import CLASSES, class_name, forge

FEW, MANY = 128, 5_120
ONE_CLASS = "class-03"


def copy(storage: MemoryStorage) -> MemoryStorage:
    other = MemoryStorage(storage.url)
    names = [name for name, _ in storage.list("")]
    for name, data in zip(names, storage.read([Range(name) for name in names]), strict=True):
        other.replace(name, data or b"")
    return other


@pytest.fixture(scope="module")
def forged() -> dict[int, MemoryStorage]:
    stores = {}
    for count in (FEW, MANY):
        stores[count] = MemoryStorage("forged")
        forge(stores[count], count)
    return stores


@pytest.fixture
def stores(forged: dict[int, MemoryStorage]) -> dict[int, CountingStorage]:
    return {count: CountingStorage(copy(storage)) for count, storage in forged.items()}


@pytest.fixture
def many(stores: dict[int, CountingStorage]) -> CountingStorage:
    return stores[MANY]


def opened(storage: CountingStorage, cache: Path | None = None) -> Remote:
    storage.reset()
    return Remote.open(storage, cache)


def segments_of(storage: CountingStorage) -> list[str]:
    return [
        name
        for operation, names in storage.log
        for name in names
        if operation == "read" and "/segment/" in name
    ]


# A publication


def publish(storage: CountingStorage, cache: Path, number: int) -> None:
    """One entry, and what an upload looks up for it."""
    remote = Remote.open(storage, cache)
    name = class_name(number)
    asset, index = blob_id(b"asset %d" % number), blob_id(b"index %d" % number)

    def events(view: LogView) -> list[Event]:
        state = view.class_state(name)
        parent = state.newest_live()
        assert parent is not None
        assert state.number(asset) is None
        assert all(need in view.root.indexes for need in remote.needs(view, name, parent))
        old = state.target("tested")
        published = Publish(asset, name, (), (index,), (index,))
        return [published, MoveAlias(name, "tested", asset, old)]

    done = remote.log.append(events, author="Ann", now=lambda: 0)
    assert done is not None
    assert done.view.class_state(name).number(asset) == number // CLASSES + 1


def test_a_publication_costs_as_much_in_a_store_of_many(
    stores: dict[int, CountingStorage], tmp_path: Path
) -> None:
    alone: dict[int, tuple[int, int]] = {}
    with_checkpoint: dict[int, tuple[int, int]] = {}
    for count, storage in stores.items():
        cache = tmp_path / str(count)
        for number in range(count, count + CLASSES):
            publish(storage, cache, number)
        storage.reset()
        publish(storage, cache, count + CLASSES)
        alone[count] = storage.requests, storage.bytes_read + storage.bytes_written
        for number in range(count + CLASSES + 1, count + CHECKPOINT_EVERY):
            publish(storage, cache, number)
        storage.reset()
        for number in range(count + CHECKPOINT_EVERY, count + 2 * CHECKPOINT_EVERY):
            publish(storage, cache, number)
        assert checkpoint_name(count + 2 * CHECKPOINT_EVERY) in storage.writes
        with_checkpoint[count] = storage.requests, storage.bytes_read + storage.bytes_written
    assert alone[MANY][0] == alone[FEW][0]
    for cost in (alone, with_checkpoint):
        assert all(much <= 1.2 * little for little, much in zip(*cost.values(), strict=True))


def test_a_checkpoint_writes_what_is_new(many: CountingStorage, tmp_path: Path) -> None:
    for number in range(MANY, MANY + CHECKPOINT_EVERY):
        many.reset()
        publish(many, tmp_path, number)
    written = [name for name in many.writes if "/segment/" in name]
    # Of each class the last assets and moves; of the store the last indexes. Now and then blocks.
    assert len(written) <= 2 * CLASSES + 10
    assert many.bytes_written < 60_000
    base = decode_checkpoint(
        many.inner.read([Range(checkpoint_name(MANY + CHECKPOINT_EVERY))])[0] or b""
    )
    assert len(base.digests()) > 4 * len(written)


# Lookups of a cold reader


LOOKUPS: dict[str, tuple[Callable[[LogView], object], int, int]] = {
    # What is asked; the most segments that it may take, and round trips.
    "the newest": (lambda view: view.class_state(ONE_CLASS).newest_live(), 2, 1),
    "a number": (lambda view: view.class_state(ONE_CLASS).record(7), 1, 1),
    "the last twenty": (lambda view: view.class_state(ONE_CLASS).assets[:-21:-1], 4, 1),
    "an alias that moves": (lambda view: view.class_state(ONE_CLASS).target("latest"), 10, 1),
    "an old alias": (lambda view: view.class_state(ONE_CLASS).target("v20"), 10, 1),
    "no alias": (lambda view: view.class_state(ONE_CLASS).target("none"), 10, 1),
    "no asset": (lambda view: view.class_state(ONE_CLASS).number(bytes(32)), 10, 1),
    "an alias in every class": (
        lambda view: [view.load(s.parts_of_alias("v20")) for s in view.class_states().values()],
        10 * CLASSES,
        CLASSES,
    ),
    "a current index": (lambda view: bytes(32) in view.root.indexes, 1, 1),
    "what stands for an index": (lambda view: view.root.current([bytes(32)]), 0, 0),
    "the sizes of the classes": (lambda view: [s.live for s in view.class_states().values()], 0, 0),
}


@pytest.mark.parametrize("what", LOOKUPS)
def test_a_lookup_reads_a_few_segments(many: CountingStorage, what: str) -> None:
    ask, most, trips = LOOKUPS[what]
    view = opened(many).view()
    total = len(view.base.digests())
    assert total > 150
    many.reset()
    assert ask(view) is not False or what == "a current index"
    assert len(segments_of(many)) <= most
    assert many.round_trips <= trips


def test_a_cold_reader_needs_six_round_trips_by_alias_and_five_by_number(
    many: CountingStorage, tmp_path: Path
) -> None:
    settings = replace(Settings.load(None), cache_dir=tmp_path)
    for name, most in [
        (f"{ONE_CLASS}@v20", 6),
        (f"{ONE_CLASS}@latest", 6),
        (f"{ONE_CLASS}/7", 5),
        (ONE_CLASS, 5),
    ]:
        store = Store(opened(many), settings)
        asset = store.resolve(name)
        assert [file.path for file in asset.files()] == ["a.txt"]
        assert many.round_trips <= most, many.log
        assert many.requests <= 120


def test_a_prefix_of_an_id_is_found_in_all_classes_at_once(many: CountingStorage) -> None:
    remote = opened(many)
    asset = remote.view().class_state(ONE_CLASS).assets[6].id
    store = Store(opened(many), replace(Settings.load(None), cache_dir=None))
    many.reset()
    assert store.resolve(asset.hex()[:10]).info.number == 7
    batches = [names for operation, names in many.log if any("/segment/" in n for n in names)]
    assert len(batches) <= 3  # where it is in each class, then itself
    assert len(segments_of(many)) <= 10 * CLASSES + 2


# What this machine has seen


def test_a_warm_list_decodes_what_it_shows(
    many: CountingStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(Settings.load(None), cache_dir=tmp_path)
    Store(opened(many, tmp_path), settings).assets(ONE_CLASS)
    decoded: list[int] = []
    decode_rows = ama.stores.segments.decode_rows

    def noted(data: bytes) -> Rows:
        rows = decode_rows(data)
        decoded.append(len(rows))
        return rows

    monkeypatch.setattr(ama.stores.segments, "decode_rows", noted)
    shown = Store(opened(many, tmp_path), settings).assets(ONE_CLASS, limit=20)
    assert [asset.number for asset in shown] == list(range(256, 236, -1))
    assert sum(decoded) <= 4 * 64
    assert segments_of(many) == []


def test_who_looks_again_reads_on_and_not_anew(many: CountingStorage, tmp_path: Path) -> None:
    """However many entries come, the tail that is kept stays short, and no fold is made for it."""
    remote = opened(many, tmp_path)
    remote.view().class_state(ONE_CLASS).newest_live()
    for number in range(MANY, MANY + 3 * CHECKPOINT_EVERY):
        publish(many, tmp_path / "of another", number)
        if number % 40 == 0:
            reader = CountingStorage(many.inner)
            view = opened(reader, tmp_path).view()
            assert len(view.tail) <= 2 * CHECKPOINT_EVERY
            assert segments_of(reader) == []
    assert view.base.number > MANY


def first_form_of(view: LogView) -> tuple[bytes, dict[str, bytes]]:
    """The checkpoint of a view's base as earlier versions of ama wrote it, and its states."""
    root = root_of(view.base, view.source)
    names = view.base.classes
    states = {
        name: encode_class_state(state_of(name, tables, view.source))
        for name, tables in names.items()
    }
    classes = {name: seal(data) for name, data in states.items()}
    files = {state_name(classes[name]): data for name, data in states.items()}
    return encode_root(replace(root, classes=classes)), files


@pytest.fixture
def kept_before(stores: dict[int, CountingStorage], tmp_path: Path) -> Remote:
    """A machine whose cache was written by the version before: a root, and states of classes."""
    storage = stores[FEW]
    publish(storage, tmp_path / "another", FEW)
    remote = opened(storage, tmp_path / "cache")
    view = remote.view()
    root, files = first_form_of(view)
    (last,) = storage.inner.read([Range(entry_name(FEW + 1))])
    body = canonical.encode((root, [last]))
    remote.cache.put(VIEW, body + seal(body))
    for name, data in files.items():
        remote.cache.put(name, data)
    return remote


class TestWhatTheVersionBeforeHasKept:
    def test_it_is_read(self, kept_before: Remote, tmp_path: Path) -> None:
        storage = kept_before.storage
        assert isinstance(storage, CountingStorage)
        seen = opened(storage, tmp_path / "cache").log.view(When.LAST_SEEN)
        assert seen is not None
        assert storage.requests == 2  # those of opening it
        assert seen.number == FEW + 1
        state = seen.class_state(class_name(FEW))
        assert state.count == FEW // CLASSES + 1
        assert state.target("latest") == state.assets[-2].id

    def test_without_all_of_it_the_store_is_read(self, kept_before: Remote, tmp_path: Path) -> None:
        kept_before.cache.drop(kept_before.cache.names("checkpoint/state")[0])
        assert isinstance(kept_before.storage, CountingStorage)
        remote = opened(kept_before.storage, tmp_path / "cache")
        assert remote.log.view(When.LAST_SEEN) is None
        view = remote.view()
        view.require_whole()
        assert (view.number, view.base.number) == (FEW + 1, FEW)

    def test_a_log_that_was_rolled_back_since_is_noticed(
        self, kept_before: Remote, tmp_path: Path
    ) -> None:
        kept_before.cache.drop(kept_before.cache.names("checkpoint/state")[0])
        storage = kept_before.storage
        (last,) = storage.read([Range(entry_name(FEW))])
        storage.delete(entry_name(FEW + 1))
        storage.replace(HINT, encode_hint(FEW, blob_id(last or b"")))
        assert isinstance(storage, CountingStorage)
        damage = opened(storage, tmp_path / "cache").view().damage
        assert isinstance(damage, IntegrityError)
        assert "entry 129" in damage.message


# Damage


def test_a_lost_segment_is_made_again_from_the_log(stores: dict[int, CountingStorage]) -> None:
    storage = stores[FEW]
    expected = list(opened(storage).view().class_state(ONE_CLASS).assets)
    for name in [name for name, _ in storage.inner.list("checkpoint/segment/")]:
        storage.inner.delete(name)
    assert list(opened(storage).view().class_state(ONE_CLASS).assets) == expected


def test_a_segment_that_nothing_adds_up_to_is_refused(stores: dict[int, CountingStorage]) -> None:
    """A checkpoint that names what never was: an answer is refused, not made up."""
    storage = stores[FEW].inner
    (data,) = storage.read([Range(checkpoint_name(FEW))])
    base = decode_checkpoint(data or b"")
    tables = base.classes[ONE_CLASS]
    lie = replace(tables, assets=Table(tables.assets.count, (bytes(32),)))
    forged = replace(base, classes={**base.classes, ONE_CLASS: lie})
    storage.replace(checkpoint_name(FEW), encode_checkpoint(forged))
    view = opened(stores[FEW]).view()
    with pytest.raises(IntegrityError, match="not what its log adds up to"):
        view.class_state(ONE_CLASS).record(1)
    assert view.class_state("class-04").record(1)


ROWS = {
    "none": (),
    "a short row": ((bytes(32), 1),),
    "an alias that is no name": ((bytes(32), 1, 0, "", b"", ("a/b",), ()),),
    "an alias once that is no name": ((bytes(32), 1, 0, "", b"", (), ("\x1b[2J",)),),
    "no id": ((b"short", 1, 0, "", b"", (), ()),),
    "an unknown status": ((bytes(32), 1, 7, "", b"", (), ()),),
    "needs that are no ids": ((bytes(32), 1, 0, "", b"123", (), ()),),
    "no rows": (1, 2),
}


@pytest.mark.parametrize("what", ROWS)
def test_rows_of_another_shape_are_refused(stores: dict[int, CountingStorage], what: str) -> None:
    storage = stores[FEW].inner
    (data,) = storage.read([Range(checkpoint_name(FEW))])
    base = decode_checkpoint(data or b"")
    segment = canonical.encode(ROWS[what])
    storage.replace(segment_name(seal(segment)), segment)
    lie = replace(base.classes[ONE_CLASS], assets=Table(1, (seal(segment),)))
    forged = replace(base, classes={**base.classes, ONE_CLASS: lie})
    storage.replace(checkpoint_name(FEW), encode_checkpoint(forged))
    with pytest.raises(IntegrityError):
        opened(stores[FEW]).view().class_state(ONE_CLASS).record(1)


def test_moves_that_go_round_in_circles_end(stores: dict[int, CountingStorage]) -> None:
    storage = stores[FEW].inner
    (data,) = storage.read([Range(checkpoint_name(FEW))])
    base = decode_checkpoint(data or b"")
    rows = [("best", None, 0, "Eve", 1, 1, before, 0) for before in (2, 3, 3)]
    segment = canonical.encode(rows)
    storage.replace(segment_name(seal(segment)), segment)
    lie = replace(base.classes[ONE_CLASS], moves=Table(3, (seal(segment),)))
    forged = replace(base, classes={**base.classes, ONE_CLASS: lie})
    storage.replace(checkpoint_name(FEW), encode_checkpoint(forged))
    assert len(opened(stores[FEW]).view().class_state(ONE_CLASS).moves("best")) == 1


def test_a_status_of_an_old_asset_writes_its_segment_alone(many: CountingStorage) -> None:
    view = opened(many).view()
    asset = view.class_state(ONE_CLASS).assets[6].id
    remote = opened(many)
    for _ in range(CHECKPOINT_EVERY):
        event = SetStatus(asset, ONE_CLASS, "deprecated", "old")
        many.reset()
        remote.log.append(lambda view, e=event: [e], author="Ann", now=lambda: 0)
    assert len([name for name in many.writes if "/segment/" in name]) == 1
    assert Cache(None).get("nothing") is None
    state = opened(many).view().class_state(ONE_CLASS)
    assert (state.assets[6].status, state.live, state.count) == ("deprecated", 256, 256)


def test_who_builds_on_a_fold_of_its_own_stores_all_of_it(
    stores: dict[int, CountingStorage], tmp_path: Path
) -> None:
    """Where entry 192 was somebody's who writes no checkpoints of this form."""
    storage = stores[FEW]
    for number in range(FEW, FEW + CHECKPOINT_EVERY):
        publish(storage, tmp_path, number)
    lost = FEW + CHECKPOINT_EVERY
    (data,) = storage.inner.read([Range(checkpoint_name(lost))])
    (before,) = storage.inner.read([Range(checkpoint_name(FEW))])
    # As it is kept when the tail gets long: folded here, in segments that only this cache has.
    cache = opened(storage, tmp_path).cache
    base = decode_checkpoint(data or b"")
    kept = decode_checkpoint(before or b"").digests()
    storage.inner.delete(checkpoint_name(lost))
    for digest in base.digests() - kept:
        storage.inner.delete(segment_name(digest))
    (last,) = storage.inner.read([Range(entry_name(lost))])
    keep_view(cache, base, [], (lost, blob_id(last or b"")))
    for number in range(lost, lost + CHECKPOINT_EVERY):
        event = MoveAlias(ONE_CLASS, "moving", bytes([number % 2]) * 32)
        opened(storage, tmp_path).log.append(lambda view, e=event: [e], author="", now=lambda: 0)
    (data,) = storage.inner.read([Range(checkpoint_name(lost + CHECKPOINT_EVERY))])
    names = sorted(map(segment_name, decode_checkpoint(data or b"").digests()))
    assert all(storage.inner.sizes(names))
