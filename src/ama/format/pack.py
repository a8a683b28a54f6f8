"""The pack: one file of many objects, each in a record with a header.

    header (32)   magic, version, salt
    records       header (64: marker, kind, codec, flags, sizes, id, checksum), stored bytes
    trailer       a row (64) per record, so that a lost index can be rebuilt
    footer (64)   where the trailer is, how many rows, its hash

A pack's id is the BLAKE3 of the whole file. With another salt, the same objects make another
pack: a pack that gc condemned never comes back under its old name. docs/format.md is the
specification.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple

from ama.errors import FormatError, IntegrityError
from ama.format.compression import decompress
from ama.format.hashing import ID_SIZE, Buffer, blob_id, short
from ama.format.objects import MAX_ASSET, MAX_CHUNK, MAX_RECIPE, MAX_TREE, Kind, object_id
from ama.format.references import REFERENCE, Reference, decode_reference

MAGIC = b"ama-pack"
VERSION = 1
END_MAGIC = b"ama-pend"
MARKER = b"arec"

_HEADER = Struct("<8sII16s")
_RECORD = Struct("<4sBBHQQ32s")
_ROW = Struct("<32sB7xQQQ")
_FOOTER = Struct("<8sQQQ32s")
_KINDS = {int(kind): kind for kind in Kind}

HEADER_SIZE = _HEADER.size
_LARGEST = {
    Kind.DATA: MAX_CHUNK,
    Kind.TREE: MAX_TREE,
    Kind.ASSET: MAX_ASSET,
    Kind.RECIPE: MAX_RECIPE + ID_SIZE,
    Kind.REFERENCE: MAX_CHUNK,
}
"""The largest decoded size of a record of each kind, in bytes."""

_FIRST_SIZE = 256 * 1024
"""The memory that a pack begins with: most packs are small, and memory costs time too."""

CHECKSUM_SIZE = 8
_CODEC_OFFSET = 5
RECORD_HEADER_SIZE = _RECORD.size + CHECKSUM_SIZE
ROW_SIZE = _ROW.size
FOOTER_SIZE = _FOOTER.size
SALT_SIZE = 16


class Record(NamedTuple):
    """One record of a pack. `offset` is that of its header; `stored` excludes the header.

    It is a tuple, because there may be millions.
    """

    id: bytes
    kind: Kind
    offset: int
    stored: int
    full: int

    @property
    def end(self) -> int:
        """Return the offset of the first byte after the record."""
        return self.offset + RECORD_HEADER_SIZE + self.stored


@dataclass(frozen=True, slots=True)
class SealedPack:
    """A finished pack: its id, its bytes (until its builder begins anew), and its trailer's rows.

    A row takes 64 bytes, a record as an object some 400.
    """

    id: bytes
    data: memoryview
    rows: bytes

    @property
    def records(self) -> tuple[Record, ...]:
        """Return its records."""
        return _records_of(self.rows)


class PackBuilder:
    """A pack in memory, built from records.

    Args:
        salt: The bytes that make the pack's name unique; None: random.
        expected: About how many bytes the pack will have at most. Its memory grows up to that as
            needed, and beyond it at some cost.

    Example:
        >>> builder = PackBuilder()
        >>> _ = builder.add(Kind.DATA, blob_id(b"abc"), 0, b"abc", 3)
        >>> sealed = builder.seal()
        >>> open_record(sealed.data[32:], sealed.records[0])
        b'abc'
    """

    def __init__(self, salt: bytes | None = None, *, expected: int = 64 * 1024) -> None:
        self._expected = expected
        self._memory = memoryview(bytearray(min(expected, _FIRST_SIZE)))
        self.begin(salt)

    def begin(self, salt: bytes | None = None) -> None:
        """Begin another pack in the memory of this one, which is cheaper than fresh memory.

        Nobody may use the bytes of the previous pack any more.
        """
        self._size = 0
        self._rows = bytearray()
        self._append(_HEADER.pack(MAGIC, VERSION, 0, salt or os.urandom(SALT_SIZE)))

    def __len__(self) -> int:
        return self._size

    @property
    def count(self) -> int:
        """Return the number of records."""
        return len(self._rows) // ROW_SIZE

    def add(self, kind: Kind, object_id: bytes, codec: int, stored: Buffer, full: int) -> Record:
        """Append a record of encoded bytes."""
        record = Record(object_id, kind, self._size, len(stored), full)
        header = _RECORD.pack(MARKER, kind, codec, 0, len(stored), full, object_id)
        self._rows += trailer_row(record)
        self._append(header + blob_id(header)[:CHECKSUM_SIZE])
        self._append(stored)
        return record

    def add_raw(self, record: Record, raw: Buffer) -> Record:
        """Append a record of another pack, with its header."""
        moved = Record(record.id, record.kind, self._size, record.stored, record.full)
        self._rows += trailer_row(moved)
        self._append(raw)
        return moved

    def seal(self) -> SealedPack:
        """Close the pack with its trailer and return it."""
        offset, rows = self._size, bytes(self._rows)
        self._append(rows)
        self._append(_FOOTER.pack(END_MAGIC, offset, self.count, 0, blob_id(rows)))
        data = self._memory[: self._size]
        return SealedPack(blob_id(data), data, rows)

    def _append(self, data: Buffer) -> None:
        end = self._size + len(data)
        if end > len(self._memory):
            # In few steps: the process may keep what it gives back. But all of it is touched.
            planned = max(min(4 * len(self._memory), self._expected), end)
            larger = memoryview(bytearray(planned if end <= self._expected else end * 9 // 8))
            larger[: self._size] = self._memory[: self._size]
            self._memory = larger
        self._memory[self._size : end] = data
        self._size = end


def codec_of(raw: Buffer) -> int:
    """Return the codec of a record from a pack, by its header, which nobody has verified yet.

    Example:
        >>> builder = PackBuilder()
        >>> _ = builder.add(Kind.DATA, blob_id(b"abc"), 0, b"abc", 3)
        >>> codec_of(builder.seal().data[32:])
        0
    """
    return memoryview(raw)[_CODEC_OFFSET]


def open_record(raw: Buffer, record: Record) -> bytes:
    """Verify a record from a pack (header and stored bytes), and return its decoded bytes.

    A recipe's own seal verifies its bytes, when they are decoded.

    Raises:
        IntegrityError: It isn't the record that `record` describes, or its bytes have another id.
        FormatError: It is a reference: its bytes are elsewhere, see `read_record`.
    """
    found = read_record(raw, record)
    if isinstance(found, Reference):
        raise FormatError(f"object {short(record.id)} is a reference, and its bytes are elsewhere")
    return found


def read_record(raw: Buffer, record: Record) -> bytes | Reference:
    """Verify a record from a pack, and return its decoded bytes, or where they are.

    A reference is verified as far as it goes: nobody has asked its source.

    Raises:
        IntegrityError: It isn't the record that `record` describes, or its bytes have another id.

    Example:
        >>> builder = PackBuilder()
        >>> _ = builder.add(Kind.DATA, blob_id(b"abc"), 0, b"abc", 3)
        >>> sealed = builder.seal()
        >>> read_record(sealed.data[32:], sealed.records[0])
        b'abc'
    """
    what = f"object {short(record.id)}"
    size = RECORD_HEADER_SIZE + record.stored
    if len(raw) < size:
        raise IntegrityError(f"{what} is damaged: its pack ends in the middle of it")
    if record.full > _LARGEST[record.kind]:
        raise IntegrityError(f"{what} is damaged: no {record.kind.name.lower()} is so large")
    view = memoryview(raw)[:size]
    codec = _read_record_header(view, record, what)
    stored = view[RECORD_HEADER_SIZE:]
    if (codec == REFERENCE) != (record.kind is Kind.REFERENCE):
        raise IntegrityError(f"{what} is damaged: it has a codec of another kind")
    if record.kind is Kind.REFERENCE:
        return decode_reference(stored, record.full, what)
    data = decompress(codec, stored, record.full, what)
    verify_content(record, data)
    return data


def verify_content(record: Record, data: bytes) -> None:
    """Check that bytes are those of a record.

    Raises:
        IntegrityError: They have another id.

    Example:
        >>> verify_content(Record(blob_id(b"abc"), Kind.DATA, 32, 3, 3), b"abc")
    """
    if record.kind is not Kind.RECIPE and object_id(record.kind.makes, data) != record.id:
        raise IntegrityError(f"object {short(record.id)} is damaged: its bytes have another hash")


def _read_record_header(view: memoryview, record: Record, what: str) -> int:
    header = view[: _RECORD.size]
    marker, kind, codec, flags, stored, full, object_id = _RECORD.unpack(header)
    found = (marker, kind, stored, full, object_id)
    if found != (MARKER, record.kind, record.stored, record.full, record.id):
        raise IntegrityError(f"{what} is damaged: its pack holds something else in its place")
    if blob_id(header)[:CHECKSUM_SIZE] != view[_RECORD.size : RECORD_HEADER_SIZE]:
        raise IntegrityError(f"{what} is damaged: its header's checksum does not match")
    if flags:
        raise FormatError(f"{what} has flags {flags}, which this version of ama does not know")
    return int(codec)


def check_header(data: Buffer, what: str) -> None:
    """Check a pack's first bytes.

    Raises:
        IntegrityError: It isn't a pack.
        FormatError: A newer version of ama has written the pack.
    """
    if len(data) < HEADER_SIZE:
        raise IntegrityError(f"{what} is damaged: it is shorter than a pack's header")
    magic, version, zero, _ = _HEADER.unpack(memoryview(data)[:HEADER_SIZE])
    if magic != MAGIC or zero:
        raise IntegrityError(f"{what} is damaged: it does not begin as a pack does")
    if version != VERSION:
        raise FormatError(f"{what} has pack version {version}: upgrade ama to read it")


def read_trailer(data: Buffer, what: str) -> tuple[Record, ...]:
    """Return the records in the trailer of a whole pack.

    Raises:
        IntegrityError: The trailer is damaged (`scan_records` may still find the records).
    """
    check_header(data, what)
    view = memoryview(data)
    if len(view) < HEADER_SIZE + FOOTER_SIZE:
        raise IntegrityError(f"{what} is damaged: it has no footer")
    magic, offset, count, zero, digest = _FOOTER.unpack(view[-FOOTER_SIZE:])
    if magic != END_MAGIC or zero or offset + count * ROW_SIZE + FOOTER_SIZE != len(view):
        raise IntegrityError(f"{what} is damaged: its footer does not fit")
    rows = view[offset : len(view) - FOOTER_SIZE]
    if blob_id(rows) != digest:
        raise IntegrityError(f"{what} is damaged: its trailer has another hash")
    try:
        records = _records_of(rows)
    except KeyError as error:
        raise FormatError(f"{what} holds a kind of object that is not known: {error}") from error
    ends = [HEADER_SIZE, *(record.end for record in records)]
    rewritten = b"".join(map(trailer_row, records))
    if [*(record.offset for record in records), offset] != ends or rewritten != rows:
        raise IntegrityError(f"{what} is damaged: its trailer does not match its records")
    return records


def count_records(footer: Buffer) -> int | None:
    """Return the number of records from a pack's last `FOOTER_SIZE` bytes; None: no footer.

    Example:
        >>> builder = PackBuilder()
        >>> _ = builder.add(Kind.DATA, blob_id(b"abc"), 0, b"abc", 3)
        >>> count_records(builder.seal().data[-FOOTER_SIZE:])
        1
    """
    if len(footer) != FOOTER_SIZE:
        return None
    magic, _, count, zero, _ = _FOOTER.unpack(footer)
    return int(count) if magic == END_MAGIC and not zero else None


def trailer_row(record: Record) -> bytes:
    """Return a record's row in the trailer."""
    return _ROW.pack(*record)


def row_fields(rows: Buffer) -> Iterator[tuple[bytes, int, int, int, int]]:
    """Yield the fields of `Record` for each row of a trailer: much faster than records."""
    return _ROW.iter_unpack(rows)


def _records_of(rows: Buffer) -> tuple[Record, ...]:
    return tuple(Record(i, _KINDS[k], o, s, f) for i, k, o, s, f in row_fields(rows))


def scan_records(data: Buffer) -> Iterator[Record]:
    """Yield the records by their headers, up to the first damage or the trailer."""
    view = memoryview(data)
    offset = HEADER_SIZE
    while offset + RECORD_HEADER_SIZE <= len(view):
        header = view[offset : offset + _RECORD.size]
        checksum = view[offset + _RECORD.size : offset + RECORD_HEADER_SIZE]
        marker, kind, _, _, stored, full, object_id = _RECORD.unpack(header)
        if marker != MARKER or blob_id(header)[:CHECKSUM_SIZE] != checksum:
            return
        end = offset + RECORD_HEADER_SIZE + stored
        if end > len(view):
            return
        # Skip a kind of a later version: what follows it may be known.
        if kind in _KINDS:
            yield Record(object_id, Kind(kind), offset, stored, full)
        offset = end
