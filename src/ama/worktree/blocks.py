r"""Blocks of the index: small immutable files, each with the rows of neighbouring directories.

A block has "ama block 1\n", a random salt of 8 bytes, a MessagePack array, and a seal of 32 bytes
over all of that, which names it. The array has for each directory its path, the names in it in
order, their ids (32 bytes each, zeros for none) and their stat data (33 bytes each: size, mtime,
ctime and inode as little-endian 64-bit numbers, and flags). The salt makes each name a new one: so
no block comes back while another command deletes it.
"""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import msgpack

from ama.errors import Conflict, FormatError, Hint, IntegrityError, shown
from ama.format.hashing import ID_SIZE, seal
from ama.format.objects import EntryKind
from ama.system import disk, fs
from ama.system.parallel import in_chunks

DIRECTORY = "blocks"
NOTHING = bytes(ID_SIZE)
"""The id of a directory whose tree is not known."""

LITTER_AFTER_S = 7 * 24 * 60 * 60
"""The age from which a block that no root names is litter of a command that died. An `add` of very
much takes days, and a machine may sleep over a weekend."""

_MAGIC = b"ama block 1\n"
_SALT_SIZE = 8
_STAT = struct.Struct("<qqqQB")
KIND = 0x3F
"""The bits of the flags that are an `EntryKind`."""
SKIPPED = 0x80
_STORED = 0x40
_INODE = (1 << 64) - 1
_DECODED = 6
"""The blocks that are kept decoded: enough for a walk through some directories at once."""


Stats = tuple[int, ...]
"""Size, mtime, ctime, inode and flags."""


class Row(NamedTuple):
    """One name in a directory: what `IndexEntry` has after its path.

    A directory's own row has the id and the size of its tree, as far as they are known.
    """

    kind: EntryKind
    id: bytes
    size: int
    mtime: int = 0
    ctime: int = 0
    inode: int = 0
    stored: bool = True
    skipped: bool = False


_FLAGS = {
    int(kind) | _STORED * stored | SKIPPED * skipped: (kind, stored, skipped)
    for kind in EntryKind
    for stored in (False, True)
    for skipped in (False, True)
}


class Part(NamedTuple):
    """The names of one directory, or some of them, in one block."""

    names: tuple[str, ...]
    ids: bytes
    stats: bytes

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Yield each name with its row, in order."""
        ids, make, flags_of = self.ids, tuple.__new__, _FLAGS
        at = 0
        for name, (size, mtime, ctime, inode, flags) in zip(
            self.names, _STAT.iter_unpack(self.stats), strict=True
        ):
            kind, stored, skipped = flags_of[flags]
            fields = (kind, ids[at : at + 32], size, mtime, ctime, inode, stored, skipped)
            yield name, make(Row, fields)
            at += 32

    def stat_data(self) -> Iterator[tuple[str, Stats]]:
        """Yield each name with its stat data and flags: all that a scan looks at."""
        return zip(self.names, _STAT.iter_unpack(self.stats), strict=True)

    def row(self, at: int) -> Row:
        """Return the row of the name at a place."""
        size, mtime, ctime, inode, flags = _STAT.unpack_from(self.stats, at * _STAT.size)
        kind, stored, skipped = _FLAGS[flags]
        found = self.ids[at * ID_SIZE : (at + 1) * ID_SIZE]
        return Row(kind, found, size, mtime, ctime, inode, stored, skipped)


Parts = dict[str, Part]
"""A decoded block: the part of each directory, by its key."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block as a root lists it: its first row, its name, and totals of the files in it.

    `data` are its bytes as long as they are in no file yet.
    """

    directory: str
    name: str
    id: bytes
    files: int
    size: int
    skipped: int
    unstored: int
    """The files whose content is neither in the local packs nor skipped."""
    text: int
    """The characters of all paths."""
    data: bytes | None = None


def key_of(directory: str) -> str:
    """Return the key by which directories are in order: each one before those in it.

    Example:
        >>> sorted(["a-b", "a/b", "a"], key=key_of)
        ['a', 'a/b', 'a-b']
    """
    return directory.replace("/", "\0")


def path_of(key: str) -> str:
    """Return the directory with a key."""
    return key.replace("\0", "/")


def make_block(rows: Iterable[tuple[str, Iterable[tuple[str, Row]]]]) -> Block:
    """Return the block of some rows: by the keys of their directories, each with its names.

    Example:
        >>> block = make_block([("a", [("b", Row(EntryKind.FILE, bytes(32), 5))])])
        >>> block.directory, block.name, block.files, block.size
        ('a', 'b', 1, 5)
    """
    parts = []
    files = size = skipped = unstored = text = 0
    for key, named in rows:
        names, ids, stats = [], [], []
        above = len(key) + 1 if key else 0
        for name, row in named:
            names.append(name)
            ids.append(row.id or NOTHING)
            flags = int(row.kind) | _STORED * row.stored | SKIPPED * row.skipped
            stats.append(_STAT.pack(row.size, row.mtime, row.ctime, row.inode & _INODE, flags))
            if row.kind is not EntryKind.TREE:
                files += 1
                text += above + len(name)
                size += row.size
                skipped += row.skipped
                unstored += not (row.stored or row.skipped)
        parts.append((key, names, b"".join(ids), b"".join(stats)))
    packed = msgpack.packb(parts, use_bin_type=True)
    body = b"".join((_MAGIC, os.urandom(_SALT_SIZE), packed))
    block = seal(body)
    key, names, *_ = parts[0]
    return Block(key, names[0], block, files, size, skipped, unstored, text, body + block)


def decode_block(data: bytes, what: str = "block") -> Parts:
    """Decode a block.

    Raises:
        IntegrityError: It is damaged.
        FormatError: A newer version of ama has written it.
    """
    view = memoryview(data)
    if len(data) < ID_SIZE or seal(view[:-ID_SIZE]) != view[-ID_SIZE:]:
        raise IntegrityError(f"{what} is damaged: its checksum is wrong")
    if not data.startswith(_MAGIC):
        raise FormatError(f"{what} is of a newer version of ama: upgrade ama to use it")
    try:
        parts = msgpack.unpackb(
            view[len(_MAGIC) + _SALT_SIZE : -ID_SIZE], raw=False, use_list=False
        )
        found = {key: Part(names, ids, stats) for key, names, ids, stats in parts}
        for part in found.values():
            count = len(part.names)
            if (len(part.ids), len(part.stats)) != (count * ID_SIZE, count * _STAT.size):
                raise ValueError("a row is missing")
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise IntegrityError(f"{what} is damaged: {error}") from error
    return found


class _Unlisted(threading.local):
    """The blocks that a thread has kept since it settled last: another's are about to be listed."""

    def __init__(self) -> None:
        self.blocks: set[bytes] = set()


class BlockFiles:
    """The files of blocks in a directory. Several threads may use them at once.

    Args:
        directory: The directory; it is made when the first block is kept.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._decoded = lru_cache(_DECODED)(self._decode)
        self._unlisted = _Unlisted()

    def read(self, block: Block) -> Parts:
        """Return a block, decoded.

        Raises:
            IntegrityError: It is lost or damaged.
            StorageError: It can't be read.
        """
        return decode_block(block.data) if block.data is not None else self._decoded(block.id)

    def _decode(self, block: bytes) -> Parts:
        path = self._path(block)
        data = disk.read_file(path)
        anew = Hint("begin-from-head")
        if data is None:
            raise IntegrityError(
                f"{shown(Path(path))}, a part of the index, is missing",
                hint=("another command may have changed it: run the same command again", anew),
            )
        if data[-ID_SIZE:] != block:
            raise IntegrityError(f"{shown(Path(path))} is damaged: it is another block", hint=anew)
        try:
            return decode_block(data, shown(Path(path)))
        except IntegrityError as error:
            raise IntegrityError(error.message, hint=anew) from error

    def keep(self, blocks: Iterable[Block]) -> tuple[Block, ...]:
        """Return the blocks, each of them durable in a file."""
        blocks = tuple(blocks)
        fresh = [block for block in blocks if block.data is not None]
        if not fresh:
            return blocks
        self._unlisted.blocks.update(block.id for block in fresh)
        fs.make_directories(self._directory)
        if len(fresh) == 1:
            self._write(fresh)
        else:
            for _ in in_chunks(self._write, fresh, chunk=1):
                pass
        fs.sync_directory(self._directory)
        return tuple(replace(block, data=None) if block.data else block for block in blocks)

    def _write(self, blocks: Sequence[Block]) -> int:
        for block in blocks:
            assert block.data is not None
            temp = fs.write_temp(self._directory, block.data)
            fs.place(temp, self._path(block.id), sync=False)
        return len(blocks)

    def require_kept(self, blocks: Iterable[Block]) -> None:
        """Check that what this thread has kept is still there, before a root names it.

        Raises:
            Conflict: It took so long that others took a block for litter.
        """
        for block in blocks:
            path = self._path(block.id)
            if block.id in self._unlisted.blocks and not os.path.exists(path):
                raise Conflict(
                    f"{shown(Path(path))}, a part of the new index, was deleted meanwhile",
                    hint="run the same command again",
                )

    def settle(self, named: Set[bytes], gone: Sequence[bytes]) -> None:
        """Delete blocks that nobody reads: those this thread kept in vain, and of old roots.

        Args:
            named: The blocks of the newest root, and those that others may still read.
            gone: The blocks of older ones.
        """
        for block in (*gone, *(self._unlisted.blocks - named)):
            fs.remove(self._path(block))
        self._unlisted.blocks.clear()
        if gone:  # now and then, also what commands that died have left
            self._sweep(named)

    def _sweep(self, named: Set[bytes]) -> None:
        names = {block.hex() for block in named}
        before = time.time_ns() - LITTER_AFTER_S * 1_000_000_000
        for name in disk.list_directory(self._directory):
            path = os.path.join(self._directory, name)
            written = None if name in names else disk.changed_at(path)
            if written is not None and written < before:
                fs.remove(path)

    def _path(self, block: bytes) -> str:
        return os.path.join(self._directory, block.hex())
