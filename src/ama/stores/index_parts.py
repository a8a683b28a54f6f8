"""Indexes of which only parts are read: those with the rows that somebody asks for.

An asset of a million files has an index of 64 MB, and a reader of one of its files needs three rows
of it. An index that was read in parts is not verified, so what it says is a guess until a record is
read that has the right id; and what it doesn't name may be there. `ObjectStore` reads the whole
index, and verifies it, before it calls anything missing or damaged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ama.errors import IntegrityError
from ama.format.packindex import PackIndex
from ama.storage.protocol import Range, Storage
from ama.system.disk import SteadyFile

BLOCK = 4096
"""The bytes of an index that are read and kept together: 64 rows."""

MOST_BLOCKS = 2048
"""The blocks that are kept of an index in a store: 8 MiB."""

MOST_OF_FILES = 64
"""The blocks that are kept of one in a file of this machine, of which there may be hundreds."""

MOST_HELD = 32 * 1024 * 1024
"""The size in bytes up to which a file is held whole, once as much of it was read in parts."""

LONG = 16
"""The blocks from which on bytes are read for one use, and not kept."""

AHEAD = 4
"""The blocks to read where a row is not in its expected place."""

TRIP = 1024 * 1024
"""The bytes that come across a network in about the time in which one request is answered."""

SEEK = 16 * 1024
"""The same, for a disk."""

Fetch = Callable[[int, int], bytes]
"""Returns bytes of a file, given as start and length; fewer where it ends."""


class Parts:
    """The bytes of an index, read in blocks when they are asked for, and kept.

    Args:
        fetch: Reads bytes.
        size: The index's size in bytes, as its beginning says.
        what: The index's name, for errors.
        begin: Its first bytes, if they were read.
        most: The most blocks to keep.
        held: The size up to which all bytes are held, once as many were read.

    Attributes:
        spent: What was read so far, in bytes, with `TRIP` or `SEEK` for each request.
    """

    def __init__(
        self,
        fetch: Fetch,
        size: int,
        what: str,
        begin: bytes = b"",
        most: int = MOST_BLOCKS,
        held: int = 0,
    ) -> None:
        self.size = size
        self.spent = 0
        self._most = most
        self._fetch = fetch
        self._what = what
        self._held = held
        self._whole: bytes | None = None
        self._blocks: dict[int, bytes] = {}  # replaced, never changed
        self.keep(0, begin[: len(begin) // BLOCK * BLOCK])

    def read(self, start: int, length: int) -> bytes:
        """Return bytes; see `Readable.read`.

        Raises:
            IntegrityError: The index is shorter than it says.
        """
        if self._whole is None and self.spent >= self.size and self.size <= self._held:
            self._whole = self._fetch(0, self.size)
        if self._whole is not None:
            data = self._whole[start : start + length]
        elif length > LONG * BLOCK:
            data = self._fetch(start, length)
        else:
            first, end = start // BLOCK, -(-(start + length) // BLOCK)
            blocks = self._blocks  # as it is now: other threads may drop what they find
            if not all(at in blocks for at in range(first, end)):
                (at, count), *_ = self._runs(range(first, max(end, first + AHEAD)))
                blocks = self.keep(at, self._fetch(at, count))
            found = b"".join([blocks[at] for at in range(first, end) if at in blocks])
            data = found[start - first * BLOCK : start - first * BLOCK + length]
        if len(data) < length:
            raise IntegrityError(f"{self._what} is damaged: it is too short")
        return data

    def lacking(self, wanted: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return the ranges to read for the wanted ones: of whole blocks, neighbours together.

        Args:
            wanted: Ranges, each as start and length.
        """
        missing: set[int] = set()
        for start, length in wanted:
            missing.update(range(start // BLOCK, -(-(start + length) // BLOCK)))
        return self._runs(sorted(missing - self._blocks.keys()))

    def _runs(self, blocks: Iterable[int]) -> list[tuple[int, int]]:
        """Return blocks in order as ranges of bytes, neighbours together."""
        runs: list[list[int]] = []
        for at in blocks:
            start, end = at * BLOCK, min((at + 1) * BLOCK, self.size)
            if start >= end:
                break
            if runs and runs[-1][1] == start:
                runs[-1][1] = end
            else:
                runs.append([start, end])
        return [(start, end - start) for start, end in runs]

    def keep(self, start: int, data: bytes) -> dict[int, bytes]:
        """Keep bytes that were read from the beginning of a block on; return all that is kept."""
        blocks = self._blocks if len(self._blocks) < self._most else {}
        new = {(start + at) // BLOCK: data[at : at + BLOCK] for at in range(0, len(data), BLOCK)}
        self._blocks = found = {**blocks, **new}
        self.spent += len(data)
        return found


class RemoteParts(Parts):
    """An index in a store, read in ranges.

    Args:
        storage: The store's storage.
        name: The index's name in it.
        size: The index's size in bytes, as its beginning says.
        what: The index's name, for errors.
        begin: Its first bytes.
    """

    def __init__(self, storage: Storage, name: str, size: int, what: str, begin: bytes) -> None:
        self.name = name
        self._storage = storage
        super().__init__(self._range, size, what, begin)

    def _range(self, start: int, length: int) -> bytes:
        self.spent += TRIP if self._storage.across_network else SEEK
        (data,) = self._storage.read([Range(self.name, start, length)])
        return data or b""


def read_rows(
    storage: Storage, indexes: Iterable[PackIndex], ids: Sequence[bytes]
) -> list[PackIndex]:
    """Read the rows of objects from indexes that are read in parts, all in one batch.

    Args:
        storage: The storage of the indexes.
        indexes: The indexes; those that are not read in parts are passed over.
        ids: The objects.

    Returns:
        The indexes of which so much was asked for that it costs less to read the whole. That is
        decided as one decides whether to buy or to rent skis: once as much was spent on parts as
        the whole costs, so it is never more than twice what was best (A. R. Karlin and others,
        Competitive Snoopy Caching, Algorithmica 3, 1988).
    """
    wanted: list[tuple[RemoteParts, Range]] = []
    dear = []
    for index in indexes:
        parts = index.source
        if not isinstance(parts, RemoteParts):
            continue
        lacking = parts.lacking([index.expected(each) for each in ids])
        if not lacking:
            continue
        cost = sum(length for _, length in lacking)
        cost += TRIP if storage.across_network else SEEK * len(lacking)
        if parts.spent + cost > parts.size:
            dear.append(index)
            continue
        parts.spent += cost - sum(length for _, length in lacking)
        wanted += [(parts, Range(parts.name, start, length)) for start, length in lacking]
    if wanted:
        answers = storage.read([each for _, each in wanted])
        for (parts, asked), data in zip(wanted, answers, strict=True):
            parts.keep(asked.start, data or b"")
    return dear


def of_file(file: SteadyFile, what: str) -> Parts:
    """Return the bytes of an index in a file of this machine."""
    return Parts(file.read, file.size, what, most=MOST_OF_FILES, held=MOST_HELD)
