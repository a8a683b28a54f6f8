"""Zips that are written as they go out, and are the same, byte for byte, each time.

Nothing depends on the machine: the times are the asset's, the order is the caller's, the rights are
two. Compression would depend on it: versions of zlib differ. So content is in blocks of deflate
that store it as it is, 5 bytes for each 65,535. Unlike plain storing, that tells a reader where a
file ends, and so its sum may follow behind it, and nothing is read twice or held.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from ama.exporting.members import Member
from ama.format.objects import EntryKind

BLOCK = 65_535
"""The bytes of a stored block of deflate."""

LIMIT = 0xFFFFFFFF
"""The first size, or offset, that only fields of Zip64 hold."""

MOST_MEMBERS = 0xFFFF
"""The first number of members that only a field of Zip64 holds."""

_SEE_32, _SEE_16 = 0xFFFFFFFF, 0xFFFF
"""What says that Zip64 has the number."""

_PIECE = 16 * BLOCK
_FLAGS = 1 << 3 | 1 << 11  # sums follow; names are UTF-8
_DEFLATED = 8
_PLAIN, _ZIP64 = 20, 45
_UNIX = 3 << 8
_LATEST_IN_32_BITS = 0x7FFFFFFF

_MODES = {
    EntryKind.FILE: 0o100644,
    EntryKind.EXECUTABLE: 0o100755,
    EntryKind.SYMLINK: 0o120777,
}


class _Written(NamedTuple):
    """A member that has gone out."""

    member: Member
    crc: int
    stored: int
    size: int
    offset: int


def zipped(members: Iterable[Member]) -> Iterator[bytes]:
    """Yield the bytes of a zip.

    Args:
        members: What is in it. The bytes of each are taken before the next one is asked for.

    Example:
        >>> import io, zipfile
        >>> member = Member("a.txt", EntryKind.FILE, 5, 0, [b"hel", b"lo"])
        >>> zipfile.ZipFile(io.BytesIO(b"".join(zipped([member])))).read("a.txt")
        b'hello'
    """
    written = []
    offset = 0
    for member in members:
        start = offset
        header = _local_header(member)
        yield header
        crc = size = stored = 0
        for piece, block in _stored(member.pieces):
            crc, size, stored = zlib.crc32(piece, crc), size + len(piece), stored + len(block)
            yield block
        form = "<4sLQQ" if _is_large(member) else "<4sLLL"
        tail = struct.pack(form, b"PK\7\10", crc, stored, size)
        yield tail
        offset += len(header) + stored + len(tail)
        written.append(_Written(member._replace(pieces=()), crc, stored, size, start))
    yield from _directory(written, offset)


def _stored(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield bytes, and as blocks of deflate. They don't depend on how the bytes were cut."""
    held = bytearray()
    for piece in pieces:
        held += piece
        while len(held) > _PIECE:  # not at its end: the last block says that it is
            yield bytes(held[:_PIECE]), _blocks(held[:_PIECE], is_last=False)
            del held[:_PIECE]
    yield bytes(held), _blocks(held, is_last=True)


def _blocks(data: bytearray, *, is_last: bool) -> bytes:
    blocks = bytearray()
    for at in range(0, max(len(data), 1), BLOCK):
        part = data[at : at + BLOCK]
        final = is_last and at + BLOCK >= len(data)
        blocks += struct.pack("<BHH", final, len(part), len(part) ^ 0xFFFF)
        blocks += part
    return bytes(blocks)


def _is_large(member: Member) -> bool:
    """Whether a member's sizes take more than 32 bits: told by the size that it should have."""
    return member.size + 5 * (member.size // BLOCK + 1) >= LIMIT


def _local_header(member: Member) -> bytes:
    large = _is_large(member)
    size = _SEE_32 if large else 0
    zip64 = struct.pack("<HHQQ", 1, 16, 0, 0) if large else b""
    extra = zip64 + _exact_time(member.created)
    name = member.path.encode()
    fixed = struct.pack(
        "<4sHHHLLLLHH",
        b"PK\3\4",
        _ZIP64 if large else _PLAIN,
        _FLAGS,
        _DEFLATED,
        _dos_time(member.created),
        0,
        size,
        size,
        len(name),
        len(extra),
    )
    return fixed + name + extra


def _directory(written: list[_Written], start: int) -> Iterator[bytes]:
    """Yield the list at the end of a zip."""
    some = bytearray()
    size = 0
    for each in written:
        record = _record(each)
        size += len(record)
        some += record
        if len(some) > _PIECE:
            yield bytes(some)
            some.clear()
    count = len(written)
    if count >= MOST_MEMBERS or start >= LIMIT or size >= LIMIT:
        place = start + size
        versions = _UNIX | _ZIP64, _ZIP64
        some += struct.pack(
            "<4sQHHLLQQQQ", b"PK\6\6", 44, *versions, 0, 0, count, count, size, start
        )
        some += struct.pack("<4sLQL", b"PK\6\7", 0, place, 1)
        count, size, start = _SEE_16, _SEE_32, _SEE_32
    yield bytes(some) + struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, count, count, size, start, 0)


def _record(each: _Written) -> bytes:
    """Return the record of a member in the list at the end."""
    member, large = each.member, _is_large(each.member)
    wide = [each.size, each.stored] if large else []
    far = each.offset >= LIMIT
    wide += [each.offset] if far else []
    zip64 = struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
    extra = zip64 + _exact_time(member.created)
    name = member.path.encode()
    fixed = struct.pack(
        "<4sHHHHLLLLHHHHHLL",
        b"PK\1\2",
        _UNIX | (_ZIP64 if wide else _PLAIN),
        _ZIP64 if wide else _PLAIN,
        _FLAGS,
        _DEFLATED,
        _dos_time(member.created),
        each.crc,
        _SEE_32 if large else each.stored,
        _SEE_32 if large else each.size,
        len(name),
        len(extra),
        0,
        0,
        0,
        _MODES[member.kind] << 16,
        _SEE_32 if far else each.offset,
    )
    return fixed + name + extra


def _dos_time(microseconds: int) -> int:
    """Return a time as zips have it: from 1980 to 2107, in steps of two seconds, without a zone."""
    earliest, latest = datetime(1980, 1, 1, tzinfo=UTC), datetime(2107, 12, 31, tzinfo=UTC)
    seconds = min(microseconds // 1_000_000, int(latest.timestamp()))
    at = max(earliest, datetime.fromtimestamp(seconds, UTC))
    date = (at.year - 1980) << 9 | at.month << 5 | at.day
    return date << 16 | at.hour << 11 | at.minute << 5 | at.second // 2


def _exact_time(microseconds: int) -> bytes:
    """Return the field with a time in UTC, to the second, as far as it fits."""
    seconds = microseconds // 1_000_000
    return struct.pack("<HHBl", 0x5455, 5, 1, seconds) if seconds <= _LATEST_IN_32_BITS else b""
