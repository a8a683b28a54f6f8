"""A stored file as programs read files: seekable; of a large one, only what is read is fetched."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Generator, Iterator, Sequence
from itertools import accumulate
from typing import Any, Final

from ama.errors import IntegrityError
from ama.format.chunking import THRESHOLD
from ama.format.hashing import Hasher, short
from ama.format.objects import Kind
from ama.stores.sources import Sources
from ama.system.parallel import one_ahead

MOST_HELD: Final = 24 * 1024 * 1024
"""The most bytes of chunks in memory: of those read last."""

MOST_AT_ONCE: Final = 8 * 1024 * 1024
"""The most bytes to fetch at once for somebody who asks for them."""

MOST_AHEAD: Final = 16 * 1024 * 1024
"""The most bytes to fetch at once for somebody who reads forwards: a bucket answers late. They must
fit in what is held."""

FIRST_AHEAD: Final = 256 * 1024
"""The bytes to fetch once somebody reads forwards; each time twice as many."""

BUFFER: Final = 64 * 1024
"""The bytes that a buffered reader asks for at least."""


class BufferedFile(io.BufferedReader):
    """A stored file with a buffer.

    A read that fails in the middle gives nothing away: the position is where the read began. One of
    `io.BufferedReader` is behind what it had read, and who reads again never sees that.
    """

    def __init__(self, file: StoredFile) -> None:
        super().__init__(file, BUFFER)
        self.size = file.size
        """The size in bytes: fsspec asks for it."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Return as many bytes, or all that follow."""
        at = self.tell()
        try:
            return super().read(size)
        except BaseException:
            self.seek(at)
            raise

    def readinto(self, buffer: Any, /) -> int:
        """Read bytes into a buffer until it is full; return how many."""
        at = self.tell()
        try:
            return super().readinto(buffer)
        except BaseException:
            self.seek(at)
            raise

    def readline(self, size: int | None = -1, /) -> bytes:
        """Return the bytes to the end of the line."""
        at = self.tell()
        try:
            return super().readline(size)
        except BaseException:
            self.seek(at)
            raise


class StoredFile(io.RawIOBase):
    """A file of an asset, to be read at any place.

    Each chunk is verified by its id. Who reads the whole file forwards gets its last chunk only if
    the whole is what was uploaded. An error leaves the position where it was: reading again goes
    on.

    Args:
        sources: The objects of the asset.
        object_id: The file's id.
        size: Its size in bytes.
        name: What the file is called, for whoever asks for `name`.
    """

    def __init__(self, sources: Sources, object_id: bytes, size: int, name: str) -> None:
        super().__init__()
        self.name = name
        self.mode = "rb"
        self._sources = sources
        self._id = object_id
        self.size = size
        self._at = 0
        self._chunks: tuple[tuple[bytes, int], ...] | None = None
        self._starts: list[int] = []
        self._held: OrderedDict[int, bytes] = OrderedDict()
        self._ahead: Generator[Sequence[tuple[int, bytes]], None, None] | None = None
        self._process = os.getpid()
        self._following = 0
        """The chunk after those that were fetched last."""
        self._hasher = Hasher()
        self._digested = 0
        """The number of chunks, from the first on, that are in the digest."""
        self._is_wrong = False
        """Whether all chunks together were found to be another file."""

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in bytes."""
        self._require_open()
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to a position, also behind the end; return it.

        Raises:
            ValueError: It is before the beginning, or the file is closed.
        """
        self._require_open()
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}.get(whence)
        if base is None:
            raise ValueError(f"whence is 0, 1 or 2, not {whence}")
        if base + offset < 0:
            raise ValueError(f"position {base + offset} is before the beginning")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        """Read bytes into a buffer; return how many: 0 at the end.

        Raises:
            ValueError: The file is closed.
            IntegrityError: What is stored is damaged.
            StorageError: The store can't be read: it is an `OSError`.
        """
        self._require_open()
        view = memoryview(buffer).cast("B")
        end = min(self._at + min(len(view), MOST_AT_ONCE), self.size)
        if end <= self._at:
            return 0
        filled = 0
        for start, data in self._read(self._at, end):
            first = max(self._at - start, 0)
            part = memoryview(data)[first : end - start]
            view[filled : filled + len(part)] = part
            filled += len(part)
        self._at += filled
        return filled

    def close(self) -> None:
        """Stop reading ahead, and let go of what was read."""
        if not self.closed:
            self._stop()
            self._held.clear()
        super().close()

    def _require_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")

    # Chunks

    def _read(self, at: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Yield the chunks between two positions, each with its start."""
        self._open()
        first, last = bisect_right(self._starts, at) - 1, bisect_right(self._starts, end - 1) - 1
        found = {n: self._held[n] for n in range(first, last + 1) if n in self._held}
        missing = [n for n in range(first, last + 1) if n not in found]
        while missing:
            for number, data in self._fetch_from(missing[0], missing[-1] + 1):
                self._hold(number, data)
                found[number] = data
            missing = [n for n in missing if n not in found]
        return ((self._starts[n], found[n]) for n in range(first, last + 1))

    def _open(self) -> None:
        if self._chunks is None:
            recipe = self._sources.recipe(self._id) if self.size >= THRESHOLD else None
            chunks = recipe.chunks if recipe else ((self._id, self.size),)
            *starts, whole = accumulate((size for _, size in chunks), initial=0)
            if whole != self.size:
                raise IntegrityError(
                    f"object {short(self._id)} is damaged: its recipe makes {whole:,} bytes,"
                    f" not {self.size:,}"
                )
            self._chunks, self._starts = chunks, starts

    def _fetch_from(self, first: int, end: int) -> Sequence[tuple[int, bytes]]:
        """Fetch chunks: those asked for, and if they follow on the last ones, some more."""
        if self._process != os.getpid():  # a fork has no threads, so nobody reads ahead there
            self._ahead, self._process = None, os.getpid()
        if first != self._following or not first:
            self._stop()
            found = self._fetch(range(first, end))
            self._following = end
            return found
        if self._ahead is None:
            self._ahead = one_ahead(self._fetch, self._windows(first))
        try:
            found = next(self._ahead)
        except BaseException:
            self._ahead = None  # a generator that has failed goes on no more
            raise
        self._following = found[-1][0] + 1
        return found

    def _windows(self, first: int) -> Iterator[range]:
        """Yield the chunks that follow, always more at once."""
        room = FIRST_AHEAD
        while first < len(self._starts):
            end = first + 1
            limit = self._starts[first] + room
            while end < len(self._starts) and self._end_of(end) <= limit:
                end += 1
            yield range(first, end)
            first, room = end, min(2 * room, MOST_AHEAD)

    def _end_of(self, number: int) -> int:
        return self._starts[number + 1] if number + 1 < len(self._starts) else self.size

    def _fetch(self, numbers: range) -> Sequence[tuple[int, bytes]]:
        assert self._chunks is not None
        chunks = self._chunks[numbers.start : numbers.stop]
        if chunks == ((self._id, self.size),):
            data = self._sources.read(self._id, Kind.DATA)
            if len(data) != self.size:
                raise IntegrityError(
                    f"object {short(self._id)} is damaged: it has {len(data):,} bytes,"
                    f" not {self.size:,}"
                )
            return [(0, data)]
        return list(zip(numbers, self._sources.read_chunks(self._id, chunks), strict=True))

    def _hold(self, number: int, data: bytes) -> None:
        self._verify(number, data)
        self._held[number] = data
        self._held.move_to_end(number)
        assert self._chunks is not None
        while sum(map(len, self._held.values())) > MOST_HELD and len(self._held) > 1:
            self._held.popitem(last=False)

    def _verify(self, number: int, data: bytes) -> None:
        """Check the hash of the whole, once all of it was read in order; a wrong one stays so."""
        if number == self._digested:
            self._digest(data)
        if self._is_wrong:
            raise IntegrityError(f"object {short(self._id)} is damaged: its chunks make another")

    def _digest(self, data: bytes) -> None:
        self._hasher.update(data)
        self._digested += 1
        self._is_wrong = self._digested == len(self._starts) and self._hasher.digest() != self._id

    def _stop(self) -> None:
        ahead, self._ahead = self._ahead, None
        if ahead is not None and self._process == os.getpid():
            ahead.close()
