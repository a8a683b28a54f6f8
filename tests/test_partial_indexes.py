"""Indexes of which a reader of few objects reads parts: how little, and that no guess is believed.

The index of one asset is made large by rows of objects that nobody wants. What is in the store may
be damaged or hostile: a reader gets the right bytes or a clear error.
"""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest
from blake3 import blake3

import ama
from ama.errors import IntegrityError, StorageError
from ama.format.entries import Publish
from ama.format.hashing import asset_id, blob_id
from ama.format.objects import Asset, EntryKind, Kind, TreeEntry, encode_asset, encode_tree
from ama.format.objects import object_id as id_of
from ama.format.pack import Record
from ama.format.packindex import Location, PackIndex, encode_index
from ama.settings import Settings
from ama.storage.protocol import Range
from ama.storage.urls import open_storage
from ama.stores import naming
from ama.stores.cache import Cache
from ama.stores.index_parts import TRIP, Parts, of_file
from ama.stores.indexes import BEGINNING, SHORT, Indexes
from ama.stores.naming import Naming
from ama.stores.object_reader import index_name, pack_name
from ama.stores.pack_writer import PackWriter
from ama.stores.remote import Remote
from ama.system.disk import SteadyFile
from counting_storage import CountingStorage
from test_budgets import settings_with

FILLER = 200_000
ROW = 64
DIRECTORIES, FILES = 40, 25


def content(directory: int, file: int) -> bytes:
    return b"file %d of directory %d" % (file, directory)


def filler(pack: bytes, count: int = FILLER) -> list[Location]:
    """Rows of objects that nobody asks for, at a place that is within a pack."""
    ids = blake3(b"filler").digest(length=32 * count)
    return [
        Location(pack, Record(ids[32 * n : 32 * n + 32], Kind.DATA, 32, 0, 0)) for n in range(count)
    ]


class World(NamedTuple):
    """A store with one asset, whose index is large."""

    storage: CountingStorage
    index: PackIndex
    tree: bytes
    cold: Callable[[], ama.Store]
    """The store as a machine sees it that has never seen it."""

    @property
    def name(self) -> str:
        return index_name(self.index.id)

    def serve(self, data: bytes | None) -> None:
        """Let the storage give other bytes for the index."""
        self.storage.inner.delete(self.name)
        if data is not None:
            self.storage.inner.put(self.name, data)

    def with_row(self, object_id: bytes, change: Callable[[bytes], bytes]) -> bytes:
        """The index's bytes with another row for an object."""
        data = self.index.data
        at = data.index(object_id)
        return data[:at] + change(data[at : at + ROW]) + data[at + ROW :]


class Across(CountingStorage):
    """A storage that says that a network lies between."""

    @property
    def across_network(self) -> bool:
        return True


@pytest.fixture(scope="module")
def made() -> dict[str, bytes]:
    """The files of a store, and what is asked for, made once."""
    storage = open_storage(f"memory://{uuid4()}")
    remote = Remote.create(storage, None)[0]
    directories = []
    with PackWriter(storage) as writer:
        for number in range(DIRECTORIES):
            entries = []
            for file in range(FILES):
                data = content(number, file)
                writer.add(Kind.DATA, blob_id(data), data)
                entries.append(
                    TreeEntry(f"{file:03}.txt", EntryKind.FILE, blob_id(data), len(data))
                )
            directories.append(_tree(writer, f"{number:03}", entries))
        tree = _tree(writer, "", directories)
        asset = encode_asset(Asset("models", tree.id, (), (), "Eve", 1))
        writer.add(Kind.ASSET, asset_id(asset), asset)
        (small,) = writer.finish()
    pack = min(small.pack_sizes)
    data = encode_index([*small, *filler(pack)], small.pack_sizes)
    storage.delete(index_name(small.id))
    storage.put(index_name(blob_id(data)), data)
    event = Publish(asset_id(asset), "models", (), (blob_id(data),), (blob_id(data),))
    remote.log.append(lambda _: [event], author="Eve", now=lambda: 0)
    names = [name for name, _ in storage.list("")]
    files = dict(zip(names, storage.read([Range(name) for name in names]), strict=True))
    return {"tree": tree.id, **{name: data for name, data in files.items() if data is not None}}


def _tree(writer: PackWriter, name: str, entries: list[TreeEntry]) -> TreeEntry:
    data = encode_tree(entries)
    writer.add(Kind.TREE, id_of(Kind.TREE, data), data)
    return TreeEntry(name, EntryKind.TREE, id_of(Kind.TREE, data), sum(e.size for e in entries))


@pytest.fixture(params=["near", "across a network"])
def world(
    made: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> World:
    url = f"memory://{uuid4()}"
    inner = open_storage(url)
    for name, data in made.items():
        if name != "tree":
            inner.put(name, data)
    storage = (CountingStorage if request.param == "near" else Across)(inner)
    monkeypatch.setattr("ama.store.open_storage", lambda url, options=None: storage)
    machines = iter(range(100))

    def cold() -> ama.Store:
        settings: Settings = settings_with(url, tmp_path / f"machine {next(machines)}")
        storage.reset()
        return ama.Store.open(url, settings=settings)

    (name,) = (name for name in made if name.startswith("index/"))
    return World(storage, PackIndex(made[name]), made["tree"], cold)


def asked_of_indexes(storage: CountingStorage) -> int:
    return sum(name.startswith("index/") for _, names in storage.log for name in names)


# How little


def test_a_directory_is_listed_by_a_few_rows(world: World) -> None:
    assert world.index.size > 40 * BEGINNING
    store = world.cold()
    listed = store.files("models", "007")
    assert [file.path for file in listed] == [f"007/{n:03}.txt" for n in range(FILES)]
    assert world.storage.bytes_read < BEGINNING + 100_000
    assert world.storage.round_trips <= 4 + 2 * 3  # the log and the beginning; 3 objects
    assert asked_of_indexes(world.storage) <= 4


def test_a_file_is_read_by_a_few_rows(world: World) -> None:
    for read in (
        lambda store: b"".join(store.read("models", "031/004.txt")),
        lambda store: store.resolve("models").read("031/004.txt"),
        lambda store: b"".join(store.resolve("models").stream("031/004.txt")),
    ):
        assert read(world.cold()) == content(31, 4)
        assert world.storage.bytes_read < BEGINNING + 100_000
        assert world.storage.round_trips <= 4 + 2 * 4
        assert asked_of_indexes(world.storage) <= 5


def test_what_was_read_is_not_read_again(world: World) -> None:
    asset = world.cold().resolve("models")
    assert asset.read("031/004.txt") == content(31, 4)
    world.storage.reset()
    assert asset.read("031/004.txt") == content(31, 4)
    assert asked_of_indexes(world.storage) == 0


def test_whoever_wants_everything_reads_the_index_once(world: World, tmp_path: Path) -> None:
    store = world.cold()
    assert len(store.files("models")) == DIRECTORIES * FILES
    assert asked_of_indexes(world.storage) == 1
    world.storage.reset()
    store.download("models", tmp_path / "copy")
    assert asked_of_indexes(world.storage) == 0
    assert (tmp_path / "copy" / "031" / "004.txt").read_bytes() == content(31, 4)


def test_many_questions_read_the_whole_once(world: World) -> None:
    """Never more than about twice what the whole costs, however much is asked."""
    asset = world.cold().resolve("models")
    for number in range(DIRECTORIES):
        for file in range(FILES):
            assert asset.read(f"{number:03}/{file:03}.txt") == content(number, file)
    sizes = world.storage.bytes_read - sum(
        len(data or b"")
        for data in world.storage.inner.read([Range(pack) for pack in packs(world)])
    )
    assert sizes < 2 * world.index.size + BEGINNING + 1_000_000
    parts = [op for op, names in world.storage.log if any(n == world.name for n in names)]
    assert len(parts) < 3 + world.index.size / (TRIP if world.storage.across_network else 1)


def packs(world: World) -> list[str]:
    return [pack_name(pack) for pack in world.index.pack_sizes]


def test_a_machine_that_has_the_index_asks_for_none(world: World, tmp_path: Path) -> None:
    store = world.cold()
    store.download("models", tmp_path / "copy")
    world.storage.reset()
    again = ama.Store.open(store.url, settings=settings_with(store.url, tmp_path / "machine 0"))
    assert again.resolve("models").read("003/004.txt") == content(3, 4)
    assert asked_of_indexes(world.storage) == 0


def test_an_index_that_the_cache_has_damaged_is_read_from_the_store(
    world: World, tmp_path: Path
) -> None:
    store = world.cold()
    store.download("models", tmp_path / "copy")
    (kept,) = (tmp_path / "machine 0").rglob("*.idx")
    row = blob_id(content(3, 4))
    for bad in (
        world.with_row(row, lambda row: row[:40] + bytes(24)),
        world.with_row(row, lambda row: bytes([row[0] ^ 1]) + row[1:]),
        world.index.data[:-1000],
        world.index.data[: SHORT // 2],
        b"",
    ):
        kept.write_bytes(bad)
        settings = settings_with(store.url, tmp_path / "machine 0")
        again = ama.Store.open(store.url, settings=settings)
        assert again.resolve("models").read("003/004.txt") == content(3, 4)


# That no guess is believed


FILE = blob_id(content(3, 4))

LIES: dict[str, Callable[[bytes], bytes]] = {
    "another place": lambda row: row[:40] + (4000).to_bytes(8, "little") + row[48:],
    "outside of its pack": lambda row: row[:40] + (1 << 60).to_bytes(8, "little") + row[48:],
    "no pack": lambda row: row[:32] + (77).to_bytes(4, "little") + row[36:],
    "a kind of a later version": lambda row: row[:36] + b"\x4d" + row[37:],
    "another kind": lambda row: row[:36] + bytes([Kind.RECIPE]) + row[37:],
    "another size": lambda row: row[:48] + bytes(16),
    "another object": lambda row: bytes([row[0], row[1] ^ 1]) + row[2:],
}


@pytest.mark.parametrize("lie", LIES)
def test_a_row_that_lies_shows_no_wrong_file(world: World, lie: str) -> None:
    world.serve(world.with_row(FILE, LIES[lie]))
    store = world.cold()
    assert b"".join(store.read("models", "003/005.txt")) == content(3, 5)
    with pytest.raises(IntegrityError, match=rf"{world.index.id.hex()}|damaged"):
        b"".join(store.read("models", "003/004.txt"))


@pytest.mark.parametrize("lie", LIES)
def test_another_index_serves_where_a_row_lies(world: World, lie: str) -> None:
    remote = Remote.create(world.storage, None)[0]
    with PackWriter(world.storage) as writer:
        writer.add(Kind.DATA, FILE, content(3, 4))
        other = encode_asset(Asset("others", world.tree, (), (), "Bob", 2))
        writer.add(Kind.ASSET, asset_id(other), other)
        (index,) = writer.finish()
    event = Publish(asset_id(other), "others", (), (index.id,), (index.id, world.index.id))
    remote.log.append(lambda _: [event], author="Bob", now=lambda: 0)
    world.serve(world.with_row(FILE, LIES[lie]))
    assert b"".join(world.cold().read("models", "003/004.txt")) == content(3, 4)


@pytest.mark.parametrize("left", [0, 10, 2000, 3000, BEGINNING, BEGINNING + 1, -1])
def test_an_index_that_is_cut_off_is_named(world: World, left: int) -> None:
    before_the_row = world.index.data.index(FILE)
    world.serve(world.index.data[: before_the_row if left < 0 else left])
    with pytest.raises(IntegrityError, match=world.index.id.hex()):
        b"".join(world.cold().read("models", "003/004.txt"))


@pytest.mark.parametrize("at", [0, 8, 12, 16, 40, 2060])
def test_an_index_whose_beginning_is_damaged_is_named(world: World, at: int) -> None:
    data = world.index.data
    world.serve(data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :])
    store = world.cold()
    with pytest.raises(IntegrityError, match=world.index.id.hex()):
        list(store.files("models"))


def test_an_index_that_is_gone_is_named(world: World) -> None:
    world.serve(None)
    with pytest.raises(IntegrityError, match=f"{world.index.id.hex()}.* is missing"):
        world.cold().resolve("models").read("003/004.txt")


# An index in its own bytes, in blocks, and of ids that are no hashes


def small(ids: list[bytes], repeated: int = 1) -> PackIndex:
    pack = bytes(32)
    rows = [
        Location(pack, Record(each, Kind.DATA, 32 + 100 * n, 0, 0))
        for each in ids
        for n in range(repeated)
    ]
    return PackIndex(encode_index(rows, {pack: 1 << 20}))


def in_parts(index: PackIndex, reads: list[tuple[int, int]] | None = None) -> PackIndex:
    data = index.data

    def fetch(start: int, length: int) -> bytes:
        if reads is not None:
            reads.append((start, length))
        return data[start : start + length]

    return PackIndex.over(Parts(fetch, len(data), "parts"), index.id)


NUMBERS = random.Random(13)

SHAPES: dict[str, list[bytes]] = {
    "hashes": [NUMBERS.randbytes(32) for _ in range(3000)],
    "one": [NUMBERS.randbytes(32)],
    "of one first byte": [b"\x07" + NUMBERS.randbytes(31) for _ in range(2000)],
    "of one beginning": [b"\x07" * 12 + NUMBERS.randbytes(20) for _ in range(2000)],
    "crowded at the top": [b"\xff" * 9 + NUMBERS.randbytes(23) for _ in range(1000)] + [bytes(32)],
    "ever closer": [(1 << n).to_bytes(32) for n in range(256)],
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("repeated", [1, 3])
def test_each_object_is_found_and_no_other(shape: str, repeated: int) -> None:
    ids = SHAPES[shape]
    whole = small(ids, repeated)
    others = [bytes([*each[:-1], each[-1] ^ 1]) for each in ids if each[-1] < 255]
    others = [each for each in others if each not in set(ids)]
    for index in (whole, in_parts(whole)):
        for each in ids[:500]:
            assert [at.record.offset for at in index.find(each)] == [
                32 + 100 * n for n in range(repeated)
            ]
        assert not any(each in index for each in others[:500])
        assert list(index) == list(whole)
    whole.validate()


def test_a_row_of_many_is_found_with_one_read(made: dict[str, bytes]) -> None:
    reads: list[tuple[int, int]] = []
    index = PackIndex(next(made[name] for name in made if name.startswith("index/")))
    parts = in_parts(index, reads)
    source = parts.source
    assert isinstance(source, Parts)
    for each in (at.record.id for at in index.locate(NUMBERS.sample(range(len(index)), 300))):
        wanted = source.lacking([parts.expected(each)])
        for start, length in wanted:
            source.keep(start, index.data[start : start + length])
        reads.clear()
        assert each in parts
        assert not reads
        assert sum(length for _, length in wanted) <= 32 * 1024


def test_a_table_of_many_indexes_finds_what_each_names() -> None:
    indexes = [small([NUMBERS.randbytes(32) for _ in range(1 + n % 30)]) for n in range(300)]
    shared = NUMBERS.randbytes(32)
    indexes += [small([shared]), small([shared, NUMBERS.randbytes(32)])]
    table = Naming(indexes)
    for index in indexes:
        for at in index:
            assert index in table.candidates(at.record.id)
    assert table.candidates(shared) == indexes[-2:]
    assert sum(bool(table.candidates(NUMBERS.randbytes(32))) for _ in range(2000)) == 0


def test_a_large_table_is_made_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naming, "PART", 1000)
    pack = bytes(32)
    rows = filler(pack, 9000)
    indexes = [PackIndex(encode_index(rows[n::3], {pack: 1 << 20})) for n in range(3)]
    table = Naming(indexes)
    for n in range(0, len(rows), 41):
        assert table.candidates(rows[n].record.id) == [indexes[n % 3]]


# Files of this machine


def test_a_steady_file_is_refused_once_it_is_another(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    file = SteadyFile(path)
    assert (file.read(3, 4), file.read(5, 100), file.size) == (b"tent", b"nt", 7)
    assert b"".join(file.pieces(2)) == b"content"
    path.write_bytes(b"other, longer")
    with pytest.raises(StorageError, match="changed"):
        file.read(0, 1)
    path.unlink()
    with pytest.raises(StorageError):
        file.read(0, 1)


def test_an_index_outlives_its_file(world: World, tmp_path: Path) -> None:
    """Another command may clean the cache at any time."""
    cache = Cache(tmp_path / "cache")
    indexes = Indexes(world.storage, cache)
    (index,) = indexes.whole([world.index.id])
    kept = tmp_path / "cache" / world.name
    for damage in (lambda: kept.write_bytes(b"nothing"), kept.unlink):
        damage()
        assert index.find(FILE) == world.index.find(FILE)
    assert list(islice(index, 1000)) == list(islice(world.index, 1000))


def test_a_long_index_is_held_only_once_as_much_was_read(world: World, tmp_path: Path) -> None:
    Indexes(world.storage, Cache(tmp_path / "cache")).whole([world.index.id])
    tracemalloc.start()
    try:
        (index,) = Indexes(world.storage, Cache(tmp_path / "cache")).whole([world.index.id])
        assert not any(NUMBERS.randbytes(32) in index for _ in range(200))
        _, few = tracemalloc.get_traced_memory()
        assert not any(NUMBERS.randbytes(32) in index for _ in range(5000))
        _, many = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert index.size > 10_000_000
    assert few < 4_000_000
    assert index.size < many < index.size + 4_000_000


def test_blocks_of_a_file_are_those_of_its_bytes(tmp_path: Path) -> None:
    data = NUMBERS.randbytes(1_000_003)
    (tmp_path / "file").write_bytes(data)
    parts = of_file(SteadyFile(tmp_path / "file"), "file")
    for _ in range(500):
        start = NUMBERS.randrange(len(data))
        length = NUMBERS.randrange(1, min(100_000, len(data) - start) + 1)
        assert parts.read(start, length) == data[start : start + length]
    with pytest.raises(IntegrityError, match="too short"):
        parts.read(len(data) - 5, 6)
