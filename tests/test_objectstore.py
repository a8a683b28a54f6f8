"""Objects in the packs of a real directory: written, found, read in few ranges, and verified."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from blake3 import blake3

from ama.errors import IntegrityError, NotFound, StorageError
from ama.format.chunking import PROFILE, chunks
from ama.format.hashing import blob_id
from ama.format.objects import (
    Asset,
    EntryKind,
    Kind,
    Recipe,
    TreeEntry,
    encode_asset,
    encode_recipe,
    encode_tree,
    object_id,
)
from ama.format.pack import FOOTER_SIZE, RECORD_HEADER_SIZE, Record, read_trailer, scan_records
from ama.format.packindex import Location, PackIndex, encode_index
from ama.storage.local import LocalStorage
from ama.storage.protocol import Buffer, Range
from ama.stores import pack_writer
from ama.stores.object_reader import BATCH_SIZE, ObjectStore, index_name, pack_name
from ama.stores.pack_writer import PackWriter
from ama.stores.records import GAP, RANGE_SIZE
from ama.transfer.send import Load, adopt
from ama.worktree.local_objects import MANY, LocalObjects
from counting_storage import CountingStorage


def noise(size: int, seed: object = "noise") -> bytes:
    """Bytes that nothing compresses, the same ones every time."""
    return blake3(repr(seed).encode()).digest(length=size)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def storage(root: Path) -> CountingStorage:
    return CountingStorage(LocalStorage(root))


def write(
    storage: CountingStorage | LocalStorage, blobs: Sequence[bytes], **options: int
) -> tuple[PackIndex, ...]:
    with PackWriter(storage, **options) as writer:
        for blob in blobs:
            writer.add(Kind.DATA, blob_id(blob), blob)
        return writer.finish()


def write_large(storage: CountingStorage, data: bytes) -> tuple[Recipe, tuple[PackIndex, ...]]:
    """Store a large file in chunks, as `add` and `upload` do."""
    made = []
    with PackWriter(storage) as writer:
        for chunk in chunks(io.BytesIO(data)):
            writer.add(Kind.DATA, blob_id(chunk), chunk)
            made.append((blob_id(chunk), len(chunk)))
        recipe = Recipe(PROFILE, Kind.DATA, tuple(made))
        writer.add(Kind.RECIPE, blob_id(data), encode_recipe(recipe))
        return recipe, writer.finish()


def write_recipe(storage: CountingStorage, whole: bytes, recipe: Recipe) -> tuple[PackIndex, ...]:
    with PackWriter(storage) as writer:
        writer.add(Kind.RECIPE, whole, encode_recipe(recipe))
        return writer.finish()


def packs(root: Path) -> list[Path]:
    return sorted(root.glob("packs/*/*.pack"))


# Reading in few ranges


@pytest.mark.parametrize(("count", "most"), [(1, 1), (1000, 1), (5000, 3)])
def test_small_files_that_lie_together_come_in_few_ranges(
    storage: CountingStorage, count: int, most: int
) -> None:
    blobs = {blob_id(blob): blob for n in range(count) if (blob := noise(4000, n))}
    store = ObjectStore(storage, write(storage, list(blobs.values())))
    storage.reset()
    assert dict(store.read_records(reversed(list(blobs)))) == blobs
    assert storage.requests <= most
    assert storage.round_trips == 1
    assert storage.bytes_read <= count * (4000 + RECORD_HEADER_SIZE)


def test_what_lies_far_apart_is_not_read_with_what_is_between(storage: CountingStorage) -> None:
    wanted = [noise(1000, n) for n in range(4)]
    between = [noise(GAP // 2, "near"), noise(2 * GAP, "far"), noise(GAP // 4, "nearer")]
    order = [wanted[0], between[0], wanted[1], between[1], wanted[2], between[2], wanted[3]]
    store = ObjectStore(storage, write(storage, order))
    storage.reset()
    assert dict(store.read_records(blob_id(blob) for blob in wanted)) == {
        blob_id(blob): blob for blob in wanted
    }
    assert (storage.round_trips, storage.requests) == (1, 2)
    assert storage.bytes_read < len(between[0]) + len(between[2]) + 4 * 1000 + 1000


def test_ranges_and_batches_are_bounded(storage: CountingStorage) -> None:
    blobs = {blob_id(blob): blob for n in range(80) if (blob := noise(500_000, n))}
    store = ObjectStore(storage, write(storage, list(blobs.values())))
    sizes: list[list[int]] = []
    read = storage.inner.read

    def noted(ranges: Sequence[Range]) -> list[bytes | None]:
        sizes.append([wanted.length or 0 for wanted in ranges])
        return read(ranges)

    storage.inner.read = noted  # type: ignore[method-assign]
    assert dict(store.read_records(blobs)) == blobs
    assert all(size <= RANGE_SIZE for batch in sizes for size in batch)
    assert all(sum(batch) <= BATCH_SIZE for batch in sizes)
    assert len(sizes) == 2


def test_files_are_handed_out_on_several_threads_each_once(storage: CountingStorage) -> None:
    blobs = {blob_id(blob): blob for n in range(500) if (blob := noise(n, n))}
    store = ObjectStore(storage, write(storage, list(blobs.values())))
    got: list[tuple[bytes, bytes]] = []
    done = [
        i for part in store.each_file(blobs, lambda i, data: got.append((i, data))) for i in part
    ]
    assert sorted(done) == sorted(blobs)
    assert len(got) == len(blobs)
    assert dict(got) == blobs


def test_an_error_in_one_file_is_raised(storage: CountingStorage, root: Path) -> None:
    blobs = [noise(500, n) for n in range(300)]
    store = ObjectStore(storage, write(storage, blobs))
    (pack,) = packs(root)
    damage(pack, flip(store.find(blob_id(blobs[200]))[0].record.offset + 100))
    with pytest.raises(IntegrityError, match="damaged"):
        list(store.each_file(map(blob_id, blobs), lambda i, data: None))


# Damage


def damage(path: Path, change: Callable[[bytes], bytes | None]) -> None:
    data = change(path.read_bytes())
    path.unlink()
    if data is not None:
        path.write_bytes(data)


def flip(at: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "deleted": lambda data: None,
    "emptied": lambda data: b"",
    "cut off": lambda data: data[:100],
    "flipped in the content": lambda data: flip(200)(data),
    "flipped in the header": lambda data: flip(40)(data),
    "flipped in the checksum": lambda data: flip(90)(data),
    "moved": lambda data: data[:32] + b"\0" + data[32:],
    "zeroed": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("bad", [0, 1])
def test_another_place_serves_where_one_is_bad(
    storage: CountingStorage, root: Path, how: str, bad: int
) -> None:
    blob = noise(1000)
    (first,) = write(storage, [blob])
    (second,) = write(storage, [blob])
    assert first.id != second.id
    store = ObjectStore(storage, [first, second])
    places = store.find(blob_id(blob))
    assert len(places) == 2
    damage(root / pack_name(places[bad].pack), DAMAGES[how])
    assert store.read(blob_id(blob), Kind.DATA) == blob
    assert list(store.read_records([blob_id(blob)])) == [(blob_id(blob), blob)]
    got = []
    list(store.each_file([blob_id(blob)], lambda i, data: got.append(data)))
    assert got == [blob]


@pytest.mark.parametrize("how", DAMAGES)
def test_damage_is_named(storage: CountingStorage, root: Path, how: str) -> None:
    blob = noise(1000)
    store = ObjectStore(storage, write(storage, [blob]))
    (pack,) = packs(root)
    damage(pack, DAMAGES[how])
    for read in (
        lambda: store.read(blob_id(blob), Kind.DATA),
        lambda: list(store.read_records([blob_id(blob)])),
        lambda: list(store.read_raw(store.find(blob_id(blob)))),
    ):
        with pytest.raises(IntegrityError) as raised:
            read()
        assert blob_id(blob).hex()[:10] in raised.value.message
        assert pack.name in raised.value.message
        assert str(root) in raised.value.message


def test_the_rest_of_a_damaged_pack_stays_readable(storage: CountingStorage, root: Path) -> None:
    blobs = [noise(1000, n) for n in range(10)]
    store = ObjectStore(storage, write(storage, blobs))
    (pack,) = packs(root)
    damage(pack, flip(store.find(blob_id(blobs[4]))[0].record.offset + 70))
    for n, blob in enumerate(blobs):
        if n != 4:
            assert store.read(blob_id(blob), Kind.DATA) == blob
    with pytest.raises(IntegrityError):
        store.read(blob_id(blobs[4]), Kind.DATA)


def test_what_no_index_names_is_not_found(storage: CountingStorage) -> None:
    store = ObjectStore(storage, write(storage, [b"abc"]))
    for read in (
        lambda: store.read(bytes(32), Kind.DATA),
        lambda: list(store.read_records([bytes(32)])),
        lambda: store.recipe(bytes(32)),
    ):
        with pytest.raises(NotFound):
            read()
    assert bytes(32) not in store
    assert not store.holds(bytes(32))


def test_an_object_is_not_read_as_another_kind(storage: CountingStorage) -> None:
    store = ObjectStore(storage, write(storage, [b"abc"]))
    with pytest.raises(IntegrityError, match="another kind"):
        store.read(blob_id(b"abc"), Kind.TREE)
    with pytest.raises(IntegrityError, match="another kind"):
        list(store.read_records([blob_id(b"abc")], Kind.TREE))


# Recipes


LARGE = noise(3_000_000)


def test_a_large_file_comes_back_from_its_chunks(storage: CountingStorage) -> None:
    recipe, indexes = write_large(storage, LARGE)
    store = ObjectStore(storage, indexes)
    assert recipe.size == len(LARGE)
    assert store.recipe(blob_id(LARGE)) == recipe
    assert store.holds(blob_id(LARGE))
    storage.reset()
    assert store.read(blob_id(LARGE), Kind.DATA) == LARGE
    assert storage.round_trips == 2  # the recipe, and its chunks
    assert storage.requests <= 2


def test_chunks_that_are_here_are_not_read(storage: CountingStorage) -> None:
    recipe, indexes = write_large(storage, LARGE)
    store = ObjectStore(storage, indexes)
    lacking = recipe.chunks[3][0]
    parts = {}
    at = 0
    for chunk, size in recipe.chunks:
        parts[chunk] = LARGE[at : at + size]
        at += size
    storage.reset()
    pieces = store.stream(
        blob_id(LARGE), Kind.DATA, lambda chunk, size: None if chunk == lacking else parts[chunk]
    )
    assert b"".join(pieces) == LARGE
    assert storage.bytes_read < recipe.chunks[3][1] + 2000


def test_the_last_piece_comes_only_if_the_whole_is_right(storage: CountingStorage) -> None:
    """A recipe has no id of its own: what it makes is checked."""
    recipe, indexes = write_large(storage, LARGE)
    swapped = Recipe(PROFILE, Kind.DATA, (recipe.chunks[1], recipe.chunks[0], *recipe.chunks[2:]))
    other = blob_id(b"another file's")
    store = ObjectStore(storage, [*indexes, *write_recipe(storage, other, swapped)])
    got = []
    with pytest.raises(IntegrityError, match="its chunks make another"):
        got.extend(store.stream(other, Kind.DATA))
    assert len(got) == len(recipe.chunks) - 1


def test_a_good_recipe_serves_where_one_is_bad(storage: CountingStorage, root: Path) -> None:
    recipe, indexes = write_large(storage, LARGE)
    again = write_recipe(storage, blob_id(LARGE), recipe)
    store = ObjectStore(storage, [*indexes, *again])
    places = [at for at in store.find(blob_id(LARGE)) if at.record.kind is Kind.RECIPE]
    assert len(places) == 2
    damage(root / pack_name(places[0].pack), flip(places[0].record.offset + 100))
    assert store.read(blob_id(LARGE), Kind.DATA) == LARGE


def test_a_recipe_serves_where_the_whole_record_is_bad(
    storage: CountingStorage, root: Path
) -> None:
    data = noise(700_000)
    half = len(data) // 2
    parts = [data[:half], data[half:]]
    (whole,) = write(storage, [data])
    recipe = Recipe(PROFILE, Kind.DATA, tuple((blob_id(p), len(p)) for p in parts))
    chunked = [*write(storage, parts), *write_recipe(storage, blob_id(data), recipe)]
    store = ObjectStore(storage, [*chunked, whole])
    storage.reset()
    assert store.read(blob_id(data), Kind.DATA) == data
    assert storage.requests == 1  # a whole record is preferred
    damage(root / pack_name(next(iter(whole)).pack), flip(5000))
    assert store.read(blob_id(data), Kind.DATA) == data


@pytest.mark.parametrize("wrong", [-1, 1])
def test_a_recipe_that_is_wrong_about_a_size_is_refused(
    storage: CountingStorage, wrong: int
) -> None:
    parts = [noise(1000, 1), noise(1000, 2)]
    sizes = (1000 + wrong, 1000)
    recipe = Recipe(PROFILE, Kind.DATA, tuple(zip(map(blob_id, parts), sizes, strict=True)))
    whole = blob_id(b"".join(parts))
    store = ObjectStore(storage, [*write(storage, parts), *write_recipe(storage, whole, recipe)])
    with pytest.raises(IntegrityError, match="another size"):
        store.read(whole, Kind.DATA)


def test_a_chunk_is_never_a_recipe(storage: CountingStorage) -> None:
    inner, indexes = write_large(storage, LARGE)
    size = len(encode_recipe(inner))
    outer = Recipe(PROFILE, Kind.DATA, ((blob_id(LARGE), size), (blob_id(LARGE), size)))
    store = ObjectStore(storage, [*indexes, *write_recipe(storage, b"o" * 32, outer)])
    with pytest.raises(IntegrityError, match="another kind"):
        list(store.stream(b"o" * 32, Kind.DATA))


def test_a_recipe_without_its_chunks_is_not_the_whole(storage: CountingStorage) -> None:
    recipe, _ = write_large(storage, LARGE)
    store = ObjectStore(storage, write_recipe(storage, blob_id(LARGE), recipe))
    assert blob_id(LARGE) in store
    assert not store.holds(blob_id(LARGE))
    with pytest.raises(NotFound):
        store.read(blob_id(LARGE), Kind.DATA)


def test_a_tree_may_be_in_chunks(storage: CountingStorage) -> None:
    tree = encode_tree([TreeEntry(f"file-{n}", EntryKind.FILE, bytes(32), n) for n in range(500)])
    parts = [tree[:9000], tree[9000:]]
    recipe = Recipe(PROFILE, Kind.TREE, tuple((blob_id(p), len(p)) for p in parts))
    whole = object_id(Kind.TREE, tree)
    store = ObjectStore(storage, [*write(storage, parts), *write_recipe(storage, whole, recipe)])
    assert store.read(whole, Kind.TREE) == tree
    with pytest.raises(IntegrityError, match="another kind"):
        store.read(whole, Kind.DATA)
    # The same chunks as a file are another object.
    lie = Recipe(PROFILE, Kind.DATA, recipe.chunks)
    store = ObjectStore(storage, [*write(storage, parts), *write_recipe(storage, whole, lie)])
    with pytest.raises(IntegrityError, match="its chunks make another"):
        store.read(whole, Kind.DATA)


# Metadata


def write_metadata(storage: CountingStorage, trees: int, size: int = 20) -> list[bytes]:
    ids = []
    with PackWriter(storage) as writer:
        for n in range(trees):
            blobs = noise(32 * size, n)
            entries = [
                TreeEntry(f"{n}-{m}", EntryKind.FILE, blobs[32 * m : 32 * m + 32], m)
                for m in range(size)
            ]
            data = encode_tree(entries)
            ids.append(object_id(Kind.TREE, data))
            writer.add(Kind.TREE, ids[-1], data)
        asset = encode_asset(Asset("models", ids[0], (), (), "Ann", 0))
        ids.append(object_id(Kind.ASSET, asset))
        writer.add(Kind.ASSET, ids[-1], asset)
        for n in range(50):
            blob = noise(1000, n)
            writer.add(Kind.DATA, blob_id(blob), blob)
        writer.finish()
    return ids


def all_of(storage: CountingStorage) -> ObjectStore:
    names = [name for name, _ in storage.inner.list("index/")]
    datas = storage.inner.read([Range(name) for name in names])
    return ObjectStore(storage, [PackIndex(data) for data in datas if data is not None])


def test_all_metadata_comes_in_one_request(storage: CountingStorage) -> None:
    *trees, asset = write_metadata(storage, 100)
    store = all_of(storage)
    storage.reset()
    store.load_metadata()
    assert (storage.round_trips, storage.requests) == (1, 1)
    for tree in trees:
        assert object_id(Kind.TREE, store.read(tree, Kind.TREE)) == tree
    store.read(asset, Kind.ASSET)
    store.load_metadata()
    assert storage.round_trips == 1
    with pytest.raises(IntegrityError, match="another kind"):
        list(store.read_records([asset], Kind.TREE))


def test_metadata_that_is_too_much_is_read_when_it_is_asked_for(storage: CountingStorage) -> None:
    *trees, _ = write_metadata(storage, 15, size=18_000)
    store = all_of(storage)
    storage.reset()
    store.load_metadata()
    assert storage.round_trips == 0
    assert store.read(trees[7], Kind.TREE)
    assert storage.round_trips == 1


def test_damaged_metadata_troubles_only_who_needs_it(storage: CountingStorage, root: Path) -> None:
    *trees, _ = write_metadata(storage, 10)
    store = all_of(storage)
    place = store.find(trees[3])[0]
    damage(root / pack_name(place.pack), flip(place.record.offset + 80))
    store.load_metadata()
    assert store.read(trees[2], Kind.TREE)
    with pytest.raises(IntegrityError):
        store.read(trees[3], Kind.TREE)


# A lost index


def rebuilt(root: Path, records: Callable[[bytes], Sequence[object]]) -> PackIndex:
    locations, sizes = [], {}
    for path in packs(root):
        data = path.read_bytes()
        pack = bytes.fromhex(path.stem)
        sizes[pack] = len(data)
        locations += [Location(pack, record) for record in records(data)]  # type: ignore[arg-type]
    return PackIndex(encode_index(locations, sizes))


def test_an_index_is_rebuilt_from_the_trailers(storage: CountingStorage, root: Path) -> None:
    write_metadata(storage, 5)
    (index,) = all_of(storage).indexes
    assert rebuilt(root, lambda data: read_trailer(data, "pack")).id == index.id


def test_an_index_is_rebuilt_from_records_where_the_trailers_are_lost(
    storage: CountingStorage, root: Path
) -> None:
    write_metadata(storage, 5)
    (index,) = all_of(storage).indexes
    assert rebuilt(root, lambda data: tuple(scan_records(data))).id == index.id
    for pack in packs(root):
        damage(pack, lambda data: data[:-FOOTER_SIZE])
    found = rebuilt(root, lambda data: tuple(scan_records(data)))
    assert [at.record for at in found] == [at.record for at in index]


# Prefixes


@pytest.mark.parametrize("digits", [7, 8, 10, 63, 64])
def test_a_prefix_finds_blobsin_all_indexes(storage: CountingStorage, digits: int) -> None:
    blobs = [noise(50, n) for n in range(20)]
    store = ObjectStore(storage, [*write(storage, blobs[:12]), *write(storage, blobs[8:])])
    for blob in blobs:
        assert store.starting_with(blob_id(blob).hex()[:digits]) == {blob_id(blob)}
    assert store.starting_with("f" * digits) == set()


def test_a_prefix_may_have_several_ids() -> None:
    ids = [b"\xab\xcd\xef\x12" + bytes([n]) * 28 for n in range(5)] + [b"\xff" * 32, bytes(32)]
    index = PackIndex(
        encode_index(
            [Location(bytes(32), Record(i, Kind.DATA, 32, 0, 0)) for i in ids], {bytes(32): 1000}
        )
    )
    assert index.starting_with("abcdef1") == set(ids[:5])
    assert index.starting_with("abcdef12") == set(ids[:5])
    assert index.starting_with("abcdef1203") == {ids[3]}
    assert index.starting_with("abcdef13") == set()
    assert index.starting_with("ffffffff") == {b"\xff" * 32}
    assert index.starting_with("0" * 64) == {bytes(32)}


# The writer


def test_packs_have_about_the_size_that_was_asked_for(storage: CountingStorage, root: Path) -> None:
    (index,) = write(storage, [noise(10_000, n) for n in range(100)], pack_size=200_000)
    sizes = [path.stat().st_size for path in packs(root)]
    assert len(sizes) == 5
    assert all(200_000 <= size < 220_000 for size in sizes)
    assert index.pack_sizes == {
        bytes.fromhex(path.stem): path.stat().st_size for path in packs(root)
    }
    for path in packs(root):
        assert blob_id(path.read_bytes()).hex() == path.stem
        assert path.parent.name == path.stem[:2]


def test_packs_of_tiny_objects_have_so_many(
    storage: CountingStorage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack_writer, "PACK_RECORDS", 100)
    monkeypatch.setattr(pack_writer, "INDEX_ROWS", 300)
    blobs = [b"%d" % n for n in range(1050)]
    indexes = write(storage, [*blobs, *blobs])
    assert len(packs(root)) == 11
    assert 2 <= len(indexes) <= 4
    named = [at.record.id for index in indexes for at in index]
    assert sorted(named) == sorted(map(blob_id, blobs))


def test_content_and_metadata_have_packs_of_their_own(storage: CountingStorage) -> None:
    write_metadata(storage, 5)
    write_large(storage, LARGE)
    kinds: dict[bytes, set[bool]] = {}
    for at in (at for index in all_of(storage).indexes for at in index):
        kinds.setdefault(at.pack, set()).add(at.record.kind is Kind.DATA)
    assert len(kinds) == 4
    assert all(len(found) == 1 for found in kinds.values())


def test_an_index_is_written_every_so_often(storage: CountingStorage, root: Path) -> None:
    blobs = [noise(10_000, n) for n in range(100)]
    indexes = write(storage, blobs, pack_size=50_000, index_every=200_000)
    assert 4 <= len(indexes) <= 6
    assert sorted(p.name for p in root.glob("index/*")) == sorted(
        f"{index.id.hex()}.idx" for index in indexes
    )
    named = [at.record.id for index in indexes for at in index]
    assert sorted(named) == sorted(map(blob_id, blobs))
    # Each says only what was stored before it was.
    order = [name for name in storage.writes if name.startswith(("index/", "packs/"))]
    for index in indexes:
        at = order.index(index_name(index.id))
        assert {pack_name(pack) for pack in index.pack_sizes} <= set(order[:at])


def test_each_object_is_written_once(storage: CountingStorage) -> None:
    blobs = [noise(100, n % 10) for n in range(100)]
    (index,) = write(storage, blobs)
    assert len(index) == 10
    with PackWriter(storage) as writer:
        writer.add(Kind.DATA, blob_id(b"abc"), b"abc")
        assert blob_id(b"abc") in writer
        assert bytes(32) not in writer
        (first,) = writer.finish()
    assert len(first) == 1


def test_a_callers_buffer_may_be_used_again(storage: CountingStorage) -> None:
    buffer = bytearray(5000)
    ids = {}
    with PackWriter(storage, pack_size=20_000) as writer:
        for n in range(50):
            buffer[:] = noise(5000, n)
            ids[blob_id(buffer)] = bytes(buffer)
            writer.add(Kind.DATA, blob_id(buffer), memoryview(buffer))
        buffer[:] = bytes(5000)
        store = ObjectStore(storage, writer.finish())
    assert dict(store.read_records(ids)) == ids


def test_an_empty_writer_writes_nothing(storage: CountingStorage) -> None:
    with PackWriter(storage) as writer:
        assert writer.finish() == ()
    assert storage.writes == []


def test_what_was_written_is_counted(storage: CountingStorage, root: Path) -> None:
    counted: list[int] = []
    with PackWriter(storage, advance=counted.append, pack_size=10_000) as writer:
        for n in range(30):
            writer.add(Kind.DATA, blob_id(noise(1000, n)), noise(1000, n))
        writer.finish()
    on_disk = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    assert writer.bytes_written == storage.bytes_written == on_disk
    # Of content, as it is stored, whatever it takes there.
    assert sum(counted) == 30 * 1000
    assert len(counted) > 1


def test_memory_is_bounded_whatever_passes_through(root: Path) -> None:
    block = 500_000
    tracemalloc.start()
    try:
        with PackWriter(LocalStorage(root), pack_size=1_000_000) as writer:
            for n in range(60):
                data = noise(block, n)
                writer.add(Kind.DATA, blob_id(data), data)
            writer.finish()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Packs in flight and being filled, and what waits for compression: a fraction of 30 MB.
    assert peak < 12_000_000


def test_nothing_counts_if_the_writer_is_left_by_an_error(
    storage: CountingStorage, root: Path
) -> None:
    def interrupted() -> None:
        with PackWriter(storage, pack_size=1000) as writer:
            for n in range(50):
                writer.add(Kind.DATA, blob_id(noise(500, n)), noise(500, n))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert list(root.glob("index/*")) == []


@pytest.mark.parametrize("failing", ["packs/", "index/"])
def test_a_storage_that_fails_is_heard_of(root: Path, failing: str) -> None:
    class Full(LocalStorage):
        def put(self, name: str, data: Buffer) -> None:
            if name.startswith(failing):
                raise StorageError("no space left on the disk")
            super().put(name, data)

    with pytest.raises(StorageError, match="no space left"):
        write(Full(root), [noise(500, n) for n in range(100)], pack_size=1000)  # type: ignore[arg-type]
    assert list(root.glob("index/*")) == []


def test_a_whole_pack_is_adopted_as_it_is(storage: CountingStorage, tmp_path: Path) -> None:
    theirs = CountingStorage(LocalStorage(tmp_path / "theirs"))
    blobs = {blob_id(blob): blob for n in range(20) if (blob := noise(1000, n))}
    write(theirs, list(blobs.values()))
    (path,) = packs(tmp_path / "theirs")
    with PackWriter(storage) as writer:
        records = read_trailer(path.read_bytes(), path.name)
        writer.adopt(bytes.fromhex(path.stem), path.read_bytes(), records)
        writer.add(Kind.DATA, next(iter(blobs)), next(iter(blobs.values())))  # it has that one
        writer.add(Kind.DATA, blob_id(b"one more"), b"one more")
        (index,) = writer.finish()
    assert (tmp_path / "store" / pack_name(bytes.fromhex(path.stem))).read_bytes() == (
        path.read_bytes()
    )
    assert len(index) == 21
    store = ObjectStore(storage, [index])
    assert dict(store.read_records(blobs)) == blobs
    assert store.read(blob_id(b"one more"), Kind.DATA) == b"one more"


@pytest.mark.parametrize("more", [0, 1], ids=["whole", "in part"])
def test_a_pack_that_holds_more_than_is_wanted_is_not_adopted(
    more: int, storage: CountingStorage, tmp_path: Path
) -> None:
    """No index tells: the one there is names no more than what is wanted."""
    theirs = CountingStorage(LocalStorage(tmp_path / "theirs"))
    (full,) = write(theirs, [noise(1000, n) for n in range(20)])
    wanted = list(full)[more:]
    source = ObjectStore(theirs, [PackIndex(encode_index(wanted, full.pack_sizes))])
    with PackWriter(storage) as writer:
        load = Load(source)
        for at in wanted:
            load.add(at.record.id, at)
        adopt(writer, storage, load, lambda pack: False)
        found = {at.record.id for index in writer.finish() for at in index}
    assert len(load.packs) == (19 if more else 0)
    assert found == (set() if more else {at.record.id for at in wanted})


def test_records_are_copied_as_they_are(storage: CountingStorage, tmp_path: Path) -> None:
    theirs = CountingStorage(LocalStorage(tmp_path / "theirs"))
    blobs = [bytes(1000 + n) for n in range(5)] + [noise(1000, n) for n in range(5)]
    source = ObjectStore(theirs, write(theirs, blobs))
    wanted = [source.find(blob_id(blob))[0] for blob in blobs[::2]]
    with PackWriter(storage) as writer:
        for location, raw in source.read_raw(wanted):
            writer.copy(location.record, raw)
        store = ObjectStore(storage, writer.finish())
    for blob in blobs[::2]:
        assert store.read(blob_id(blob), Kind.DATA) == blob
    assert {at.record.stored for at in store.indexes[0]} == {at.record.stored for at in wanted}


# A worktree's own packs


def add_one_by_one(local: LocalObjects, count: int, seed: str = "") -> list[bytes]:
    """Write blobs as `add` does, one command for each."""
    blobs = [noise(300, (seed, n)) for n in range(count)]
    for blob in blobs:
        with local.writing() as writer:
            writer.add(Kind.DATA, blob_id(blob), blob)
        local.merge_small()
    return blobs


def test_small_packs_are_merged_in_passing(root: Path) -> None:
    local = LocalObjects(root)
    blobs = add_one_by_one(local, 3 * MANY)
    assert len(list(root.glob("index/*"))) < MANY
    for fresh in (local, LocalObjects(root)):
        for blob in blobs:
            assert blob_id(blob) in fresh
            assert fresh.store.read(blob_id(blob), Kind.DATA) == blob


def test_packs_that_are_swept_before_they_are_indexed_are_missed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine slept for a day amid an add, and another command took its packs for litter."""
    local = LocalObjects(root)
    put = LocalStorage.put

    def swept(self: LocalStorage, name: str, data: Buffer) -> None:
        put(self, name, data)
        for pack in root.glob("packs/*/*"):
            pack.unlink()

    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "put", swept)
        with pytest.raises(StorageError, match="a day ago"), local.writing() as writer:
            writer.add(Kind.DATA, blob_id(b"content"), b"content")
    again = LocalObjects(root)
    assert blob_id(b"content") not in again
    with again.writing() as writer:
        writer.add(Kind.DATA, blob_id(b"content"), b"content")
    for fresh in (again, LocalObjects(root)):
        assert blob_id(b"content") in fresh
        assert fresh.store.read(blob_id(b"content"), Kind.DATA) == b"content"


def test_merging_keeps_the_content_of_what_has_a_recipe_too(root: Path) -> None:
    """A store may have a small file in chunks, and of those nothing but the recipe comes here."""
    local = LocalObjects(root)
    blobs = [noise(300, n) for n in range(8)]
    for number in range(MANY):
        with local.writing() as writer:
            for n, blob in enumerate(blobs):
                if n == number % len(blobs):
                    writer.add(Kind.DATA, blob_id(blob), blob)
                    continue
                halves = tuple((blob_id(half), 150) for half in (blob[:150], blob[150:]))
                recipe = Recipe(PROFILE, Kind.DATA, halves)
                writer.add(Kind.RECIPE, blob_id(blob), encode_recipe(recipe))
    local.merge_small()
    assert len(list(root.glob("index/*"))) < MANY
    assert all(LocalObjects(root).is_sound(blob_id(blob)) for blob in blobs)


def test_a_damaged_pack_does_not_keep_others_from_working(root: Path) -> None:
    local = LocalObjects(root)
    blobs = add_one_by_one(local, 5)
    place = local.store.find(blob_id(blobs[2]))[0]
    damage(root / pack_name(place.pack), flip(place.record.offset + 100))
    blobs += add_one_by_one(local, 2 * MANY, "more")
    for n, blob in enumerate(blobs):
        if n != 2:
            assert LocalObjects(root).store.read(blob_id(blob), Kind.DATA) == blob
    with pytest.raises(IntegrityError):
        LocalObjects(root).store.read(blob_id(blobs[2]), Kind.DATA)


def test_a_damaged_index_is_named(root: Path) -> None:
    add_one_by_one(LocalObjects(root), 2)
    path = min(root.glob("index/*"))
    damage(path, flip(2000))
    with pytest.raises(IntegrityError, match=path.name):
        _ = LocalObjects(root).store
