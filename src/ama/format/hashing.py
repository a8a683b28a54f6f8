"""Object ids: BLAKE3-256, plain for a file's bytes, keyed by a context for everything else.

A file's id is what `b3sum` prints for it. Trees, assets, recipes and log entries are hashed in
BLAKE3's derive-key mode (BLAKE3 paper, section 2.3), each with its own context string, so that no
file's bytes can pose as one of them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from functools import cache
from typing import BinaryIO

from blake3 import blake3

from ama.errors import InvalidInput, NotFound, storage_error
from ama.system.encoding import from_system, system_path

ID_SIZE = 32
SHORT = 10
SHORTEST_PREFIX = 7
BLOCK = 4 * 1024 * 1024

TREE_CONTEXT = "ama 2026-11-23 tree object version 1"
ASSET_CONTEXT = "ama 2026-11-23 asset object version 1"
SEAL_CONTEXT = "ama 2026-11-23 seal version 1"

Buffer = bytes | bytearray | memoryview


def blob_id(data: Buffer) -> bytes:
    """Return the id of a file's bytes (or of a chunk's): 32 bytes.

    Example:
        >>> blob_id(b"").hex()[:10]
        'af1349b9f5'
    """
    return blake3(data).digest()


def pieces_id(pieces: Iterable[Buffer]) -> bytes:
    """Return the id of a file's bytes, given in pieces: 32 bytes.

    Example:
        >>> pieces_id([b"a", b"bc"]) == blob_id(b"abc")
        True
    """
    digest = blake3()
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


def tree_id(data: Buffer) -> bytes:
    """Return the id of an encoded tree: 32 bytes.

    Example:
        >>> tree_id(b"") == blob_id(b"")
        False
    """
    return blake3(data, derive_key_context=TREE_CONTEXT).digest()


def asset_id(data: Buffer) -> bytes:
    """Return the id of an encoded asset: 32 bytes.

    Example:
        >>> len(asset_id(b""))
        32
    """
    return blake3(data, derive_key_context=ASSET_CONTEXT).digest()


def seal(data: Buffer) -> bytes:
    """Return the checksum that ends ama's own small files: 32 bytes.

    Example:
        >>> len(seal(b"log entry"))
        32
    """
    return blake3(data, derive_key_context=SEAL_CONTEXT).digest()


class Hasher:
    """The hash of a file's bytes that come in pieces and are not kept.

    Example:
        >>> hasher = Hasher()
        >>> hasher.update(b"abc")
        >>> hasher.digest() == blob_id(b"abc")
        True
    """

    def __init__(self) -> None:
        self._hash = blake3()

    def update(self, data: Buffer) -> None:
        """Add the next bytes."""
        self._hash.update(data)

    def digest(self) -> bytes:
        """Return the id of all bytes added: 32 bytes."""
        return self._hash.digest()


class HashingReader:
    """A file read once: `readinto` hashes and reports the bytes that pass.

    Example:
        >>> import io
        >>> reader = HashingReader(io.BytesIO(b"abc"))
        >>> reader.readinto(memoryview(bytearray(8)))
        3
        >>> reader.digest() == blob_id(b"abc")
        True
    """

    def __init__(self, file: BinaryIO, advance: Callable[[int], None] | None = None) -> None:
        self._file = file
        self._hash = blake3()
        self._advance = advance
        self.size = 0

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` from the file, and return the number of bytes read (0 at the end)."""
        count: int = self._file.readinto(buffer)  # type: ignore[attr-defined]
        if count:
            self._hash.update(buffer[:count])
            self.size += count
            if self._advance:
                self._advance(count)
        return count

    def digest(self) -> bytes:
        """Return the id of all bytes read: 32 bytes."""
        return self._hash.digest()


def hash_stream(file: BinaryIO, advance: Callable[[int], None] | None = None) -> tuple[bytes, int]:
    """Return the id and the size in bytes of the rest of an open file.

    Args:
        file: A file opened to read bytes.
        advance: A function called with the number of bytes after each block.

    Example:
        >>> import io
        >>> hash_stream(io.BytesIO(b"abc"))[1]
        3
    """
    # A forked process has none of its parent's threads, and would wait for them for ever.
    threads = blake3.AUTO if _process_of_threads() == os.getpid() else 1
    digest = blake3(max_threads=threads)
    size = 0
    buffer = memoryview(bytearray(BLOCK))
    while count := file.readinto(buffer):  # type: ignore[attr-defined]
        digest.update(buffer[:count])
        size += count
        if advance:
            advance(count)
    return digest.digest(), size


@cache
def _process_of_threads() -> int:
    """Return the process that BLAKE3's threads belong to: the first that asked."""
    return os.getpid()


def hash_file(path: str | os.PathLike[str]) -> str:
    """Return a file's id as 64 hex digits, as `b3sum` prints it.

    Args:
        path: The file. Its content is read once, in blocks.

    Raises:
        NotFound: There is no such file.
        InvalidInput: It is a directory, or something without an end, such as a pipe or a device.
        StorageError: It can't be read.

    Example:
        >>> from pathlib import Path
        >>> _ = Path("empty.txt").write_bytes(b"")
        >>> hash_file("empty.txt")[:10]
        'af1349b9f5'
    """
    place = system_path(path)
    name = from_system(place)
    try:
        mode = os.stat(place).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # reading a pipe would wait
            raise InvalidInput(f"{name} is no regular file, and only such a file has a hash")
        with open(place, "rb", buffering=0, opener=_at_once) as file:
            return hash_stream(file)[0].hex()
    except FileNotFoundError:
        raise NotFound(f"{name}: no such file") from None
    except IsADirectoryError:
        raise InvalidInput(f"{name} is a directory, and only a file has a hash") from None
    except OSError as error:
        raise storage_error(error, place, doing="read") from error


def _at_once(path: str, flags: int) -> int:
    """Open a file, without waiting for a pipe that has replaced it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def short(object_id: bytes) -> str:
    """Return the first 10 hex digits of an id, for people.

    Example:
        >>> short(bytes(32))
        '0000000000'
    """
    return object_id.hex()[:SHORT]
