"""Tars that are written as they go out, and are the same, byte for byte, each time.

Those that are compressed are, with the same version of the compressor.
"""

from __future__ import annotations

import struct
import tarfile
import zlib
from collections.abc import Iterable, Iterator

import zstandard

from ama.exporting.members import Member
from ama.format.objects import EntryKind

_LEVEL = 6
_ZSTD_LEVEL = 3
_GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # no name, no time, no system


def tarred(members: Iterable[Member]) -> Iterator[bytes]:
    """Yield the bytes of a tar in the POSIX form of 2001: any name, any size.

    Args:
        members: What is in it. The bytes of each are taken before the next one is asked for.

    Example:
        >>> import io, tarfile
        >>> member = Member("a.txt", EntryKind.FILE, 5, 0, [b"hel", b"lo"])
        >>> tarfile.open(fileobj=io.BytesIO(b"".join(tarred([member])))).getnames()
        ['a.txt']
    """
    total = 0
    for member in members:
        info = tarfile.TarInfo(member.path)
        info.mtime = member.created // 1_000_000
        info.mode = 0o644
        if member.kind is EntryKind.EXECUTABLE:
            info.mode = 0o755
        if member.kind is EntryKind.SYMLINK:
            info.type, info.mode = tarfile.SYMTYPE, 0o777
            info.linkname = b"".join(member.pieces).decode()
        else:
            info.size = member.size
        header = info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")
        yield header
        total += len(header)
        if member.kind is not EntryKind.SYMLINK:
            yield from member.pieces
            padding = bytes(-member.size % tarfile.BLOCKSIZE)
            yield padding
            total += member.size + len(padding)
    end = 2 * tarfile.BLOCKSIZE
    yield bytes(end + -(total + end) % tarfile.RECORDSIZE)


def gzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield bytes as gzip has them.

    Example:
        >>> import gzip
        >>> gzip.decompress(b"".join(gzipped([b"hel", b"lo"])))
        b'hello'
    """
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    crc = size = 0
    yield _GZIP_HEADER
    for piece in pieces:
        crc, size = zlib.crc32(piece, crc), size + len(piece)
        yield packer.compress(piece)
    yield packer.flush() + struct.pack("<LL", crc, size & 0xFFFFFFFF)


def zstandardised(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield bytes as Zstandard has them, with a checksum.

    Example:
        >>> packed = b"".join(zstandardised([b"hel", b"lo"]))
        >>> zstandard.ZstdDecompressor().decompressobj().decompress(packed)
        b'hello'
    """
    packer = zstandard.ZstdCompressor(_ZSTD_LEVEL, write_checksum=True).compressobj()
    for piece in pieces:
        yield packer.compress(piece)
    yield packer.flush()
