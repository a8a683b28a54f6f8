"""Content by reference: what a store says of a place elsewhere, and how it is read from there."""

from __future__ import annotations

import os
import random
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ama.errors import AmaError, FormatError, IntegrityError, InvalidInput, StorageError
from ama.format import canonical
from ama.format.chunking import chunks
from ama.format.hashing import blob_id, seal
from ama.format.objects import Kind, Recipe, encode_recipe
from ama.format.pack import PackBuilder, open_record, read_record
from ama.format.references import (
    MAX_REFERENCE,
    REFERENCE,
    REFERENCES,
    Method,
    Reference,
    decode_reference,
    encode_reference,
)
from ama.storage.memory import MemoryStorage
from ama.storage.outside import Outside, Part, Reach, url_of_path
from ama.stores import references
from ama.stores.object_reader import ObjectStore
from ama.stores.pack_writer import PackWriter
from ama.stores.references import References
from ama.stores.sources import Sources
from ama.stores.stored_file import StoredFile
from ama.wording.hints import words


class Counted(Outside):
    """Files outside of stores, with a count of what was asked."""

    def __init__(self, reach: Reach = Reach()) -> None:
        super().__init__(reach)
        self.bytes = 0
        self.parts: list[Part] = []
        self.batches = 0

    def read(self, parts: Sequence[Part]) -> list[bytes | AmaError]:
        found = super().read(parts)
        self.batches += bool(parts)
        self.parts += parts
        self.bytes += sum(len(data) for data in found if isinstance(data, bytes))
        return found


def mark(path: Path) -> str:
    return str(path.stat().st_mtime_ns)


class Elsewhere:
    """A store in memory whose content is in files of this machine."""

    def __init__(self) -> None:
        self.outside = Counted()
        self.storage = MemoryStorage("elsewhere")
        self.writer = PackWriter(self.storage, features=(REFERENCES,))
        self.sizes: dict[bytes, int] = {}

    def file(self, path: Path) -> bytes:
        """Keep where a whole file lies."""
        where = Reference(url_of_path(path), mark(path), path.stat().st_size, 0, 0)
        return self.content(path.read_bytes(), where)

    def zipped(self, path: Path) -> dict[str, bytes]:
        """Keep where the members of a zip lie."""
        found = {}
        with zipfile.ZipFile(path) as archive, path.open("rb") as raw:
            for info in archive.infolist():
                raw.seek(info.header_offset)
                header = raw.read(30)
                skipped = int.from_bytes(header[26:28], "little") + int.from_bytes(
                    header[28:30], "little"
                )
                where = Reference(
                    url_of_path(path),
                    mark(path),
                    path.stat().st_size,
                    info.header_offset + 30 + skipped,
                    info.compress_size,
                    Method.DEFLATE if info.compress_type else Method.STORED,
                )
                found[info.filename] = self.content(archive.read(info), where)
        return found

    def content(self, data: bytes, where: Reference) -> bytes:
        whole = blob_id(data)
        self.sizes[whole] = len(data)
        if len(data) < 1 << 20:
            self.piece(whole, where, 0, len(data))
            return whole
        made = []
        start = 0
        from io import BytesIO

        for piece in chunks(BytesIO(data)):
            made.append((blob_id(piece), len(piece)))
            self.piece(made[-1][0], where, start, len(piece))
            start += len(piece)
        recipe = encode_recipe(Recipe(1, Kind.DATA, tuple(made)))
        self.writer.add(Kind.RECIPE, whole, recipe)
        return whole

    def piece(self, content: bytes, where: Reference, start: int, size: int) -> None:
        if where.method is Method.DEFLATE:
            there = replace(where, start=start)
        else:
            there = replace(where, offset=where.offset + start, length=size)
        self.writer.add_reference(content, there, size)

    def objects(self) -> ObjectStore:
        with self.writer:
            indexes = self.writer.finish()
        self.outside.bytes = self.outside.batches = 0
        return ObjectStore(self.storage, indexes, references=References(self.outside))


def text(size: int, seed: int = 1) -> bytes:
    source = random.Random(seed)
    some = [source.randbytes(4).hex().encode() for _ in range(200)]
    return b" ".join(source.choices(some, k=size // 9 + 1))[:size]


@pytest.fixture
def store() -> Elsewhere:
    return Elsewhere()


def zip_of(path: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as made:
        for name, data in files.items():
            made.writestr(name, data)
    return path


# The form of a reference

SOME = Reference("file:///srv/run%201.zip", "17", 10_000, 40, 5_000, Method.DEFLATE, 70)


@given(
    st.sampled_from(["file:///a", "s3://bucket/a/b.zip", "abfs://c@account.net/x", "https://h/a"]),
    st.text(st.characters(categories=["L", "N"]), max_size=100),
    st.integers(0, 2**40),
    st.integers(1, 2**40),
    st.integers(0, 2**40),
    st.integers(0, 2**30),
)
def test_a_reference_comes_back(
    url: str, said: str, offset: int, length: int, more: int, start: int
) -> None:
    size = offset + length + more
    stored = Reference(url, said, size, offset, length)
    assert decode_reference(encode_reference(stored), length, "it") == stored
    deflated = replace(stored, method=Method.DEFLATE, start=start)
    data = encode_reference(deflated)
    if start + 7 <= 1032 * length:
        assert decode_reference(data, 7, "it") == deflated
    else:
        with pytest.raises(IntegrityError):
            decode_reference(data, 7, "it")


def sealed(body: bytes) -> bytes:
    return body + seal(body)[:8]


def form(**changes: object) -> bytes:
    fields = {
        "version": 1,
        "url": SOME.url,
        "mark": SOME.mark,
        "size": SOME.size,
        "offset": SOME.offset,
        "length": SOME.length,
        "method": int(SOME.method),
        "start": SOME.start,
    }
    return sealed(canonical.encode([*{**fields, **changes}.values()]))


def test_the_form_of_a_reference() -> None:
    assert form() == encode_reference(SOME)


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"\x00",
        sealed(b""),
        sealed(b"\x00"),
        form()[:-1],
        form() + b"\0",
        form()[:-8],
        form()[:-8] + bytes(8),
        sealed(form()[:-9]),
        sealed(form()[:-8] + b"\0"),
        form(version=0),
        form(version=True),
        form(url=b"file:///a"),
        form(url=""),
        form(url="file:///"),
        form(url="file://host/a"),
        form(url="file:///a b"),
        form(url="file:///a?b"),
        form(url="file:///%00"),
        form(url="file:///%0"),
        form(url="memory://a/b"),
        form(url="ftp://a/b"),
        form(url="a/b"),
        form(url="s3://bucket"),
        form(url="s3:///key"),
        form(url="s3://bucket/key?endpoint_url=http://evil"),
        form(url="s3://bucket/key#1"),
        form(url="s3://bucket/a\nb"),
        form(url="S3://bucket/a"),
        form(url="https://ann:secret@host/a"),
        form(url="https://token@host/a"),
        form(url="sftp://ann:secret@host/a"),
        form(url="s3://b/" + "a" * MAX_REFERENCE),
        form(mark=None),
        form(mark="a" * 513),
        form(size=-1),
        form(size=2**63),
        form(size=1.0),
        form(size=5_039),  # it ends behind its source
        form(offset=5_001),
        form(offset=-1),
        form(length=0),
        form(length=9_961),
        form(method=-1),
        form(method="deflate"),
        form(start=-1),
        form(start=5_000 * 1032),
        form(method=0),  # with a start
        form(method=0, start=0),  # with another length than it has
        sealed(canonical.encode([1])),
        sealed(canonical.encode({"version": 1})),
        sealed(canonical.encode([*canonical.decode(form()[:-8], ""), 1])),
    ],
)
def test_what_can_be_no_reference_is_refused(stored: bytes) -> None:
    with pytest.raises(IntegrityError, match="it is damaged"):
        decode_reference(stored, 100, "it")


@pytest.mark.parametrize(
    "stored", [form(version=2), sealed(canonical.encode([2, "x"])), form(method=2)]
)
def test_a_later_form_is_told(stored: bytes) -> None:
    with pytest.raises(FormatError, match="does not know"):
        decode_reference(stored, 100, "it")


@pytest.mark.parametrize(
    "url",
    ["https://ann:secret@host/a", "s3://bucket/a?X-Amz-Signature=1", "memory://a/b", "s3://b/\0"],
)
def test_no_credential_is_kept(url: str) -> None:
    with pytest.raises(InvalidInput):
        encode_reference(replace(SOME, url=url))


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_is_noticed(at: int, change: int) -> None:
    data = bytearray(encode_reference(SOME))
    data[at % len(data)] ^= change
    with pytest.raises(IntegrityError):
        decode_reference(bytes(data), 100, "it")


def test_only_records_of_the_kind_have_the_codec() -> None:
    data = os.urandom(100)
    for kind, codec in ((Kind.DATA, REFERENCE), (Kind.REFERENCE, 0), (Kind.TREE, REFERENCE)):
        pack = PackBuilder()
        record = pack.add(kind, blob_id(data), codec, form() if codec else data, 100)
        with pytest.raises(IntegrityError, match="codec of another kind"):
            read_record(pack.seal().data[record.offset :], record)
    pack = PackBuilder()
    record = pack.add(Kind.REFERENCE, blob_id(data), REFERENCE, form(), 100)
    raw = pack.seal().data[record.offset :]
    assert read_record(raw, record) == SOME
    with pytest.raises(FormatError):
        open_record(raw, record)


# Reading


def test_files_and_members_come_back(store: Elsewhere, tmp_path: Path) -> None:
    large, small = text(3_000_000), text(50_000, 2)
    (tmp_path / "a b.bin").write_bytes(large)
    members = {"weights.bin": large[::-1], "small": small, "one/more": text(70_000, 3)}
    zip_of(tmp_path / "deflated.zip", members)
    zip_of(tmp_path / "stored.zip", {"other": text(2_000_000, 4)}, zipfile.ZIP_STORED)
    expected = {store.file(tmp_path / "a b.bin"): large}
    expected |= {
        found: members[name] for name, found in store.zipped(tmp_path / "deflated.zip").items()
    }
    expected |= {
        found: text(2_000_000, 4) for found in store.zipped(tmp_path / "stored.zip").values()
    }
    objects = store.objects()
    for content, data in expected.items():
        assert objects.read(content, Kind.DATA) == data
    stored = sum(size for _, size in store.storage.list(""))
    assert stored < 0.01 * sum(map(len, expected.values()))
    assert objects.holds(blob_id(large))


def test_small_members_of_a_zip_come_in_one_range(store: Elsewhere, tmp_path: Path) -> None:
    files = {f"{number}.bin": text(20_000, number) for number in range(50)}
    ids = store.zipped(zip_of(tmp_path / "a.zip", files))
    objects = store.objects()
    found = dict(objects.read_records(ids.values(), Kind.DATA))
    assert found == {ids[name]: data for name, data in files.items()}
    assert store.outside.batches == 1
    assert len(store.outside.parts) == 1
    assert store.outside.bytes <= (tmp_path / "a.zip").stat().st_size


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_a_member_is_read_and_inflated_once(
    store: Elsewhere, tmp_path: Path, method: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = text(60_000_000)
    made = 0

    class Stream(references._Stream):
        def inflate(self, most: int) -> bytes:
            nonlocal made
            found = super().inflate(most)
            made += len(found)
            return found

    monkeypatch.setattr(references, "_Stream", Stream)
    (content,) = store.zipped(zip_of(tmp_path / "a.zip", {"big": data}, method)).values()
    objects = store.objects()
    with StoredFile(Sources(objects), content, len(data), "big") as file:
        read = bytearray()
        while piece := file.read(1_000_003):
            read += piece
    assert read == data
    assert store.outside.bytes <= 1.02 * (tmp_path / "a.zip").stat().st_size
    assert made == (len(data) if method else 0)


def test_a_part_of_a_stored_member_takes_its_chunks_alone(store: Elsewhere, tmp_path: Path) -> None:
    data = os.urandom(20_000_000)
    path = zip_of(tmp_path / "a.zip", {"big": data}, zipfile.ZIP_STORED)
    (content,) = store.zipped(path).values()
    with StoredFile(Sources(store.objects()), content, len(data), "big") as file:
        file.seek(15_000_000)
        assert file.read(1000) == data[15_000_000:15_001_000]
    assert store.outside.bytes < 2_000_000


def test_a_part_of_a_deflated_member_comes_from_before_it(store: Elsewhere, tmp_path: Path) -> None:
    data = text(20_000_000)
    path = zip_of(tmp_path / "a.zip", {"big": data})
    (content,) = store.zipped(path).values()
    with StoredFile(Sources(store.objects()), content, len(data), "big") as file:
        for at in (5_000_000, 100, 19_999_000, 7_000_000):
            file.seek(at)
            assert file.read(500) == data[at : at + 500]
        file.seek(-10, os.SEEK_END)
        assert file.read() == data[-10:]


def test_who_jumps_about_in_a_member_does_not_begin_anew(
    store: Elsewhere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(references, "MARK_EVERY", 1 << 20)
    monkeypatch.setattr(references, "PIECE", 1 << 17)
    data = text(40_000_000)
    path = zip_of(tmp_path / "a.zip", {"big": data})
    (content,) = store.zipped(path).values()
    objects = store.objects()
    with StoredFile(Sources(objects), content, len(data), "big") as file:
        file.seek(-1000, os.SEEK_END)
        assert file.read() == data[-1000:]
        once = store.outside.bytes
        assert once <= 1.05 * path.stat().st_size
        places = random.Random(1).sample(range(39_000_000), 40)
        for at in places:
            file.seek(at)
            assert file.read(500) == data[at : at + 500]
    assert store.outside.bytes - once < 40 * 0.08 * once
    (stream,) = objects.references._streams.values()
    assert len(stream._marks) <= references.MOST_MARKS


def test_reading_takes_little_memory(store: Elsewhere, tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", {"zeros": bytes(300_000_000)})
    (content,) = store.zipped(path).values()
    objects = store.objects()
    tracemalloc.start()
    try:
        size = sum(map(len, objects.stream(content, Kind.DATA)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size == 300_000_000
    assert peak < 80_000_000


# What is wrong with a source


def failing(objects: ObjectStore, content: bytes) -> AmaError:
    with pytest.raises(AmaError) as raised:
        objects.read(content, Kind.DATA)
    return raised.value


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def other_bytes(path: Path) -> None:
    before = path.stat()
    path.write_bytes(os.urandom(before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (Path.unlink, "is gone"),
        (truncated, "has changed: it has 1,000 bytes, not "),
        (lambda path: path.write_bytes(os.urandom(path.stat().st_size)), "was written again"),
        (other_bytes, "has other bytes in that place"),
        (pipe, "is a pipe"),
        (lambda path: path.unlink() or path.mkdir(), "is a directory"),
        (lambda path: path.unlink() or path.symlink_to("/dev/zero"), "is a device"),
    ],
)
def test_a_source_that_is_not_what_it_was_is_named(
    store: Elsewhere, tmp_path: Path, method: int, harm: Callable[[Path], object], said: str
) -> None:
    path = zip_of(tmp_path / "a.zip", {"big": text(2_000_000), "small": text(9_000, 2)}, method)
    ids = store.zipped(path)
    objects = store.objects()
    assert objects.read(ids["small"], Kind.DATA)
    objects.references._streams.clear()
    harm(path)
    for content in ids.values():
        error = failing(objects, content)
        assert str(path) in error.message
        assert said in error.message
        assert isinstance(error, IntegrityError | StorageError)
        assert error.hints


def test_another_place_serves(store: Elsewhere, tmp_path: Path) -> None:
    data = text(30_000)
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(data)
    content = store.file(tmp_path / "a")
    first = store.objects()
    second = Elsewhere()
    second.storage = store.storage
    second.writer = PackWriter(store.storage, features=(REFERENCES,))
    second.file(tmp_path / "b")
    both = ObjectStore(
        store.storage,
        [*first.indexes, *second.objects().indexes],
        references=References(store.outside),
    )
    (tmp_path / "a").unlink()
    assert both.read(content, Kind.DATA) == data
    assert dict(both.read_records([content], Kind.DATA)) == {content: data}
    (tmp_path / "b").write_bytes(b"changed")
    error = failing(both, content)
    for name in ("a", "b"):
        assert str(tmp_path / name) in error.message
    with PackWriter(store.storage) as writer:
        writer.add(Kind.DATA, content, data)
        (inside,) = writer.finish()
    both.add_index(inside)
    store.outside.batches = 0
    assert both.read(content, Kind.DATA) == data
    assert store.outside.batches == 0


def test_what_can_be_read_is_read(store: Elsewhere, tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(text(30_000))
    (tmp_path / "bad").write_bytes(text(40_000, 2))
    good, bad = store.file(tmp_path / "good"), store.file(tmp_path / "bad")
    (tmp_path / "bad").unlink()
    errors: dict[bytes, AmaError] = {}
    objects = store.objects()
    assert [found for found, _ in objects.read_records([bad, good], Kind.DATA, errors)] == [good]
    assert errors.keys() == {bad}
    done: list[bytes] = []
    for some in objects.each_file([bad, good], lambda content, data: None, errors):
        done += some
    assert done == [good]


# Hostile references


def hostile(store: Elsewhere, where: Reference, size: int = 100_000) -> AmaError:
    content = blob_id(b"wanted")
    store.writer.add_reference(content, where, size)
    return failing(store.objects(), content)


def test_a_server_is_read_only_where_the_user_says_so(store: Elsewhere) -> None:
    for url in ("https://127.0.0.1:1/latest/meta-data", "http://h/x", "sftp://h/etc/passwd"):
        other = Elsewhere()
        error = hostile(other, Reference(url, "", 200_000, 0, 100_000))
        assert "not allowed" in error.message
        assert isinstance(error, IntegrityError)
        assert "references.allow" in words(error.hints)
    allowing = Outside(Reach(allowed=("https://data.example/sets/",)))
    allowing.check("https://data.example/sets/a.zip")
    for url in (
        "https://data.example/setsx/a.zip",
        "https://data.example/sets/../a.zip",
        "https://data.example.evil/sets/a.zip",
        "http://data.example/sets/a.zip",
    ):
        with pytest.raises(InvalidInput, match="not allowed"):
            allowing.check(url)


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/stdin", "/proc/self/mem", "/dev", "/dev/tty"])
def test_no_device_is_read(store: Elsewhere, path: str) -> None:
    error = hostile(store, Reference(f"file://{path}", "", 200_000, 0, 100_000))
    assert isinstance(error, IntegrityError | StorageError)


def test_a_bomb_takes_little_memory(store: Elsewhere, tmp_path: Path) -> None:
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join(packed.compress(bytes(1 << 20)) for _ in range(200)) + packed.flush()
    (tmp_path / "bomb").write_bytes(bomb)
    where = Reference(
        url_of_path(tmp_path / "bomb"), "", len(bomb), 0, len(bomb), Method.DEFLATE, 150 << 20
    )
    tracemalloc.start()
    try:
        error = hostile(store, where)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(error, IntegrityError)
    assert peak < 30_000_000


@pytest.mark.parametrize("data", [b"", b"\xff" * 1000, bytes(1000), os.urandom(5000)])
def test_what_is_not_deflated_is_damage(store: Elsewhere, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a").write_bytes(data)
    where = Reference(url_of_path(tmp_path / "a"), "", 5000, 0, 5000, Method.DEFLATE, 3)
    assert isinstance(hostile(store, where, 4000), IntegrityError)


@given(st.lists(st.tuples(st.integers(0, 90_000), st.integers(1, 9_000)), max_size=12))
def test_overlapping_parts_of_a_member(parts: list[tuple[int, int]]) -> None:
    data = text(100_000)
    packed = zlib.compressobj(6, zlib.DEFLATED, -15)
    deflated = packed.compress(data) + packed.flush()

    class Held(Outside):
        def read(self, parts: Sequence[Part]) -> list[bytes | AmaError]:
            return [deflated[part.start : part.start + part.length] for part in parts]

    where = Reference("file:///a", "", len(deflated), 0, len(deflated), Method.DEFLATE, 0)
    reader = References(Held())
    for _ in range(2):
        wanted = []
        for start, size in parts:
            piece = data[start : start + size]
            pack = PackBuilder()
            there = replace(where, start=start)
            record = pack.add(
                Kind.REFERENCE, blob_id(piece), REFERENCE, encode_reference(there), len(piece)
            )
            wanted.append(references.Wanted(record, there))
        found = reader.fetch(wanted)
        assert found == [data[start : start + size] for start, size in parts]
