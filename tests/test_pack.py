"""Packs and indexes as bytes: what they hold comes back, and what was changed is refused."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import zstandard
from hypothesis import assume, given
from hypothesis import strategies as st

from ama.errors import FormatError, IntegrityError
from ama.format.compression import RAW, ZSTD, compress
from ama.format.hashing import blob_id
from ama.format.objects import (
    MAX_ASSET,
    MAX_CHUNK,
    Asset,
    EntryKind,
    Kind,
    Recipe,
    TreeEntry,
    decode_recipe,
    encode_asset,
    encode_recipe,
    encode_tree,
    object_id,
)
from ama.format.pack import (
    CHECKSUM_SIZE,
    FOOTER_SIZE,
    HEADER_SIZE,
    RECORD_HEADER_SIZE,
    ROW_SIZE,
    PackBuilder,
    Record,
    SealedPack,
    check_header,
    open_record,
    read_trailer,
    scan_records,
)
from ama.format.packindex import Location, PackIndex, encode_index

SALT = bytes(range(16))


@dataclass(frozen=True)
class Thing:
    """An object to put into a pack."""

    kind: Kind
    id: bytes
    data: bytes


def thing(kind: Kind, data: bytes) -> Thing:
    return Thing(kind, object_id(kind, data), data)


TREE = thing(Kind.TREE, encode_tree([TreeEntry("a", EntryKind.FILE, bytes(32), 0)]))
ASSET = thing(Kind.ASSET, encode_asset(Asset("models", TREE.id, (), (), "Ann", 0)))
RECIPE = Thing(
    Kind.RECIPE, b"w" * 32, encode_recipe(Recipe(1, Kind.DATA, ((bytes(32), 1), (bytes(32), 2))))
)
BLOBS = st.one_of(
    st.binary(max_size=200), st.integers(64, 3000).map(bytes), st.binary(min_size=64, max_size=300)
).map(lambda data: thing(Kind.DATA, data))
THINGS = st.lists(BLOBS | st.sampled_from([TREE, ASSET, RECIPE]), min_size=1, max_size=8)


def pack_of(things: Sequence[Thing]) -> SealedPack:
    builder = PackBuilder(SALT)
    for one in things:
        codec, stored = compress(one.data)
        builder.add(one.kind, one.id, codec, stored, len(one.data))
    return builder.seal()


def raw_of(pack: SealedPack, record: Record) -> memoryview:
    return memoryview(pack.data)[record.offset : record.end]


def opened(raw: memoryview, record: Record) -> bytes:
    """A record's bytes as every reader gets them: a recipe has a seal in the place of an id."""
    data = open_record(raw, record)
    if record.kind is Kind.RECIPE:
        decode_recipe(data)
    return data


@given(THINGS)
def test_what_a_pack_holds_comes_back(things: list[Thing]) -> None:
    pack = pack_of(things)
    assert pack.id == blob_id(pack.data)
    assert read_trailer(pack.data, "pack") == pack.records == tuple(scan_records(pack.data))
    assert [(r.kind, r.id, r.full) for r in pack.records] == [
        (one.kind, one.id, len(one.data)) for one in things
    ]
    for one, record in zip(things, pack.records, strict=True):
        assert open_record(raw_of(pack, record), record) == one.data


@given(st.lists(BLOBS, min_size=1, max_size=5))
def test_records_move_to_another_pack_as_they_are(things: list[Thing]) -> None:
    pack = pack_of(things)
    builder = PackBuilder()
    moved = [builder.add_raw(record, raw_of(pack, record)) for record in pack.records]
    other = builder.seal()
    assert tuple(moved) == read_trailer(other.data, "pack") == tuple(scan_records(other.data))
    for one, record in zip(things, other.records, strict=True):
        assert open_record(raw_of(other, record), record) == one.data


def test_the_same_objects_packed_again_are_another_pack() -> None:
    builders = [PackBuilder(), PackBuilder()]
    for builder in builders:
        builder.add(Kind.DATA, blob_id(b"abc"), RAW, b"abc", 3)
    assert builders[0].seal().id != builders[1].seal().id


@given(st.data(), THINGS)
def test_every_changed_byte_of_a_pack_is_noticed(data: st.DataObject, things: list[Thing]) -> None:
    pack = pack_of(things)
    at = data.draw(st.integers(0, len(pack.data) - 1))
    bad = bytearray(pack.data)
    bad[at] ^= data.draw(st.integers(1, 255))
    assert blob_id(bad) != pack.id
    records_end = pack.records[-1].end
    if at >= records_end:  # trailer and footer
        with pytest.raises(IntegrityError):
            read_trailer(bad, "pack")
        assert tuple(scan_records(bad)) == pack.records
        return
    if at >= HEADER_SIZE:
        hit = next(record for record in pack.records if at < record.end)
        with pytest.raises((IntegrityError, FormatError)):
            opened(memoryview(bad)[hit.offset : hit.end], hit)
        found = list(scan_records(bad))
        assert found == list(pack.records)[: len(found)]
        assert hit in found or at < hit.offset + RECORD_HEADER_SIZE
        return
    if at < HEADER_SIZE - len(SALT):  # magic and version; only the pack's id covers the salt
        with pytest.raises((IntegrityError, FormatError)):
            check_header(bad, "pack")


@given(st.data(), THINGS)
def test_a_pack_that_is_cut_off_or_extended_has_no_trailer(
    data: st.DataObject, things: list[Thing]
) -> None:
    pack = pack_of(things)
    cut = pack.data[: data.draw(st.integers(0, len(pack.data) - 1))]
    longer = bytes(pack.data) + data.draw(st.binary(min_size=1, max_size=100))
    for bad in (cut, longer):
        with pytest.raises(IntegrityError):
            read_trailer(bad, "pack")
    found = tuple(scan_records(cut))
    assert found == pack.records[: len(found)]
    assert len(found) == sum(record.end <= len(cut) for record in pack.records)
    for record in pack.records:
        if record.end > len(cut):
            with pytest.raises(IntegrityError):
                open_record(memoryview(cut)[record.offset : record.end], record)


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_no_pack_and_no_crash(data: bytes) -> None:
    for form in (data, b"ama-pack\1\0\0\0\0\0\0\0" + data):
        with pytest.raises((IntegrityError, FormatError)):
            read_trailer(form, "pack")
        for record in scan_records(form):
            assert record.end <= len(form)


def test_a_record_of_another_object_is_refused() -> None:
    pack = pack_of([thing(Kind.DATA, b"abc"), thing(Kind.DATA, b"abd")])
    first, second = pack.records
    with pytest.raises(IntegrityError, match="something else in its place"):
        open_record(raw_of(pack, second), first)
    with pytest.raises(IntegrityError, match="something else in its place"):
        open_record(raw_of(pack, first), first._replace(kind=Kind.TREE))


def test_bytes_of_another_hash_are_refused() -> None:
    builder = PackBuilder(SALT)
    builder.add(Kind.DATA, blob_id(b"abc"), RAW, b"abd", 3)
    pack = builder.seal()
    with pytest.raises(IntegrityError, match="another hash"):
        open_record(raw_of(pack, pack.records[0]), pack.records[0])


def test_a_blob_does_not_pose_as_a_tree() -> None:
    builder = PackBuilder(SALT)
    builder.add(Kind.TREE, blob_id(TREE.data), RAW, TREE.data, len(TREE.data))
    pack = builder.seal()
    with pytest.raises(IntegrityError, match="another hash"):
        open_record(raw_of(pack, pack.records[0]), pack.records[0])


def forged_record(kind: int, codec: int, flags: int, data: bytes) -> bytes:
    """A pack of one record with fields that no builder writes, and checksums that fit."""
    pack = bytearray(PackBuilder(SALT).seal().data[:HEADER_SIZE])
    header = struct.pack("<4sBBHQQ32s", b"arec", kind, codec, flags, len(data), 3, blob_id(b"abc"))
    pack += header + blob_id(header)[:CHECKSUM_SIZE] + data
    row = struct.pack("<32sB7xQQQ", blob_id(b"abc"), kind, HEADER_SIZE, len(data), 3)
    pack += row + struct.pack("<8sQQ8x32s", b"ama-pend", len(pack), 1, blob_id(row))
    return bytes(pack)


def test_a_kind_of_a_later_version() -> None:
    pack = forged_record(9, RAW, 0, b"abc")
    with pytest.raises(FormatError, match="kind"):
        read_trailer(pack, "pack")
    assert list(scan_records(pack)) == []


@pytest.mark.parametrize(("codec", "flags"), [(2, 0), (255, 0), (RAW, 1)])
def test_a_codec_or_flag_of_a_later_version(codec: int, flags: int) -> None:
    pack = forged_record(Kind.DATA, codec, flags, b"abc")
    (record,) = read_trailer(pack, "pack")
    with pytest.raises(FormatError):
        open_record(memoryview(pack)[record.offset : record.end], record)


def test_a_pack_of_a_later_version() -> None:
    pack = bytearray(pack_of([TREE]).data)
    pack[8] = 2
    with pytest.raises(FormatError, match="upgrade"):
        read_trailer(pack, "pack")


@pytest.mark.parametrize(("kind", "most"), [(Kind.DATA, MAX_CHUNK), (Kind.ASSET, MAX_ASSET)])
def test_a_record_that_would_expand_too_far_is_refused_before_it_does(
    kind: Kind, most: int
) -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(most + 1))
    builder = PackBuilder(SALT)
    builder.add(kind, object_id(kind, bytes(most + 1)), ZSTD, bomb, most + 1)
    pack = builder.seal()
    with pytest.raises(IntegrityError, match="so large"):
        open_record(raw_of(pack, pack.records[0]), pack.records[0])


@pytest.mark.parametrize(
    "change",
    [
        {"offset": 0},
        {"offset": HEADER_SIZE + 1},
        {"offset": 2**63},
        {"stored": 0},
        {"stored": 2**64 - 1},
    ],
)
def test_a_trailer_that_names_other_records_than_there_are(change: dict[str, int]) -> None:
    pack = pack_of([thing(Kind.DATA, b"abc")])
    record = pack.records[0]._replace(**change)
    rows = struct.pack(
        "<32sB7xQQQ", record.id, record.kind, record.offset, record.stored, record.full
    )
    bad = bytearray(pack.data)
    bad[-FOOTER_SIZE - ROW_SIZE :] = rows + struct.pack(
        "<8sQQ8x32s", b"ama-pend", len(bad) - FOOTER_SIZE - ROW_SIZE, 1, blob_id(rows)
    )
    with pytest.raises(IntegrityError):
        read_trailer(bad, "pack")


def test_what_a_trailer_leaves_free_is_zero() -> None:
    pack = pack_of([thing(Kind.DATA, b"abc")])
    bad = bytearray(pack.data)
    start = len(bad) - FOOTER_SIZE - ROW_SIZE
    bad[start + 33] = 1
    bad[-32:] = blob_id(bad[start:-FOOTER_SIZE])
    with pytest.raises(IntegrityError):
        read_trailer(bad, "pack")


# The index


PACKS = [bytes([n]) * 32 for n in range(4)]
SIZES = dict.fromkeys(PACKS, 10**9)


@st.composite
def locations(draw: st.DrawFn) -> list[Location]:
    ids = draw(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=8))
    found = []
    for named in [*ids, *draw(st.lists(st.sampled_from(ids), max_size=4))]:
        stored = draw(st.integers(0, 10**6))
        record = Record(
            named,
            draw(st.sampled_from(Kind)),
            draw(st.integers(HEADER_SIZE, 10**6)),
            stored,
            draw(st.integers(stored, 2**64 - 1)),
        )
        found.append(Location(draw(st.sampled_from(PACKS)), record))
    return found


def key(location: Location) -> tuple[bytes, int, bytes, int]:
    record = location.record
    return record.id, int(record.kind), location.pack, record.offset


@given(locations(), st.randoms())
def test_what_an_index_names_comes_back_in_order(found: list[Location], random: Any) -> None:
    data = encode_index(found, SIZES)
    index = PackIndex(data)
    index.validate()
    by_key = {key(location): location for location in found}
    assert list(index) == [by_key[at] for at in sorted(by_key)]
    assert len(index) == len(by_key)
    assert index.id == blob_id(data)
    assert set(index.pack_sizes) == {location.pack for location in by_key.values()}
    for location in found:
        assert location.record.id in index
        assert by_key[key(location)] in index.find(location.record.id)
        named = {at for at in by_key.values() if at.record.id == location.record.id}
        assert set(index.find(location.record.id)) == named
    content = (Kind.DATA, Kind.REFERENCE)
    expected = [at for at in index if at.record.kind not in content]
    assert list(index.metadata()) == expected
    assert sum(index.pack_counts().values()) == len(index)
    random.shuffle(found)
    last = {key(location): location for location in found}
    if last == by_key:
        assert encode_index(found, SIZES) == data


@given(locations(), st.binary(min_size=32, max_size=32))
def test_an_index_does_not_find_what_it_does_not_name(found: list[Location], other: bytes) -> None:
    assume(all(location.record.id != other for location in found))
    index = PackIndex(encode_index(found, SIZES))
    assert other not in index
    assert index.find(other) == []


@given(locations(), st.integers(1, 64), st.data())
def test_ids_are_found_by_their_first_digits(
    found: list[Location], digits: int, data: st.DataObject
) -> None:
    index = PackIndex(encode_index(found, SIZES))
    prefix = data.draw(st.sampled_from(found)).record.id.hex()[:digits]
    ids = {location.record.id for location in found}
    assert index.starting_with(prefix) == {i for i in ids if i.hex().startswith(prefix)}


@given(locations(), st.data())
def test_every_changed_byte_of_an_index_is_refused(
    found: list[Location], data: st.DataObject
) -> None:
    good = encode_index(found, SIZES)
    at = data.draw(st.integers(0, len(good) - 1))
    flipped = bytearray(good)
    flipped[at] ^= data.draw(st.integers(1, 255))
    for bad in (flipped, good[:at], good + good[at:]):
        with pytest.raises((IntegrityError, FormatError)):
            PackIndex(bad)


@given(locations(), st.data())
def test_a_forged_index_is_refused_or_has_one_form(
    found: list[Location], data: st.DataObject
) -> None:
    good = bytearray(encode_index(found, SIZES)[:-32])
    at = data.draw(st.integers(12, len(good) - 1))
    good[at : at + 1] = data.draw(st.binary(min_size=1, max_size=1))
    bad = bytes(good + blob_id(good))
    try:
        index = PackIndex(bad)
        index.validate()
    except (IntegrityError, FormatError):
        # Looking things up in what was not validated may fail, in these ways only.
        probe(bad, found)
        return
    assert encode_index(list(index), index.pack_sizes) == bad


def probe(data: bytes, found: list[Location]) -> None:
    try:
        index = PackIndex(data)
        for location in found:
            index.find(location.record.id)
        list(index)
        list(index.metadata())
        index.pack_counts()
    except (IntegrityError, FormatError):
        pass


@given(st.binary(max_size=3000))
def test_arbitrary_bytes_are_no_index(data: bytes) -> None:
    with pytest.raises((IntegrityError, FormatError)):
        PackIndex(data)


def test_an_index_of_a_later_version() -> None:
    record = Record(bytes(32), Kind.DATA, HEADER_SIZE, 0, 0)
    data = bytearray(encode_index([Location(PACKS[0], record)], SIZES)[:-32])
    data[8] = 2
    with pytest.raises(FormatError, match="upgrade"):
        PackIndex(bytes(data + blob_id(data)))


@pytest.mark.parametrize(
    "record",
    [
        Record(bytes(32), Kind.DATA, HEADER_SIZE - 1, 0, 0),
        Record(bytes(32), Kind.DATA, HEADER_SIZE, 10**9, 0),
        Record(bytes(32), Kind.DATA, 2**64 - 1, 0, 0),
        Record(bytes(32), Kind.DATA, HEADER_SIZE, 2**64 - 1, 0),
    ],
)
def test_a_place_outside_its_pack_is_refused(record: Record) -> None:
    index = PackIndex(encode_index([Location(PACKS[0], record)], SIZES))
    with pytest.raises(IntegrityError, match="outside its pack"):
        index.find(record.id)
    with pytest.raises(IntegrityError, match="outside its pack"):
        index.validate()


def test_an_index_is_searched_alike_however_often() -> None:
    """After many lookups an index keeps a table of its ids."""
    found = [
        Location(PACKS[n % 3], Record(blob_id(bytes([n % 50])), Kind.DATA, 32 + n, 0, 0))
        for n in range(150)
    ]
    index = PackIndex(encode_index(found, SIZES))
    once = {n: index.find(blob_id(bytes([n]))) for n in range(60)}
    for _ in range(50):
        for n in range(60):
            assert index.find(blob_id(bytes([n]))) == once[n]
            assert (blob_id(bytes([n])) in index) == (n < 50)
    assert all(len(once[n]) == 3 for n in range(50))
