"""A storage around another that counts what is asked of it: what budgets are tested with."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence

from ama.storage.protocol import Buffer, Detail, HasDetails, HasParts, Range, Storage


class CountingStorage:
    """Passes everything on to another storage, and counts it, also what then fails.

    Attributes:
        inner: The storage that does the work.
        round_trips: Calls that waited for an answer; a batch is one.
        requests: What the calls asked for: each range and each size is one.
        bytes_read: Bytes of the answers.
        bytes_written: Bytes sent to `put`, `create` and `replace`.
        writes: The names that were sent to those, in order.
        log: Every call: the method's name, and the names it was about.

    Example:
        >>> from ama.storage.memory import MemoryStorage
        >>> storage = CountingStorage(MemoryStorage("counted"))
        >>> storage.put("a", b"content")
        >>> _ = storage.read([Range("a"), Range("b")])
        >>> storage.round_trips, storage.requests, storage.bytes_read, storage.writes
        (2, 3, 7, ['a'])
    """

    def __init__(self, inner: Storage) -> None:
        self.inner = inner
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Begin again at zero."""
        with self._lock:
            self.round_trips = 0
            self.requests = 0
            self.bytes_read = 0
            self.bytes_written = 0
            self.writes: list[str] = []
            self.log: list[tuple[str, tuple[str, ...]]] = []

    @property
    def url(self) -> str:
        """The other storage's."""
        return self.inner.url

    @property
    def can_create(self) -> bool | None:
        """As the other storage has it."""
        return self.inner.can_create

    @property
    def across_network(self) -> bool:
        """As the other storage has it."""
        return self.inner.across_network

    def read(self, ranges: Sequence[Range]) -> list[bytes | None]:
        """Read a batch of ranges. See `Storage.read`."""
        self._count("read", tuple(wanted.name for wanted in ranges))
        answers = self.inner.read(ranges)
        with self._lock:
            self.bytes_read += sum(len(data) for data in answers if data is not None)
        return answers

    def put(self, name: str, data: Buffer) -> None:
        """Write what is named by its content. See `Storage.put`."""
        self._count_write("put", name, data)
        self.inner.put(name, data)

    def create(self, name: str, data: Buffer) -> None:
        """Write what must not be there yet. See `Storage.create`."""
        self._count_write("create", name, data)
        self.inner.create(name, data)

    def replace(self, name: str, data: Buffer) -> None:
        """Write what may be there. See `Storage.replace`."""
        self._count_write("replace", name, data)
        self.inner.replace(name, data)

    def write_parts(self, name: str, pieces: Iterable[Buffer]) -> None:
        """Write bytes that come in pieces. See `HasParts.write_parts`."""
        self._count_write("write_parts", name, b"")
        assert isinstance(self.inner, HasParts)
        self.inner.write_parts(name, self._counted(pieces))

    def _counted(self, pieces: Iterable[Buffer]) -> Iterator[Buffer]:
        for piece in pieces:
            with self._lock:
                self.bytes_written += memoryview(piece).nbytes
            yield piece

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        """Return how many bytes each name holds. See `Storage.sizes`."""
        self._count("sizes", tuple(names))
        return self.inner.sizes(names)

    def details(self, prefix: str) -> Iterator[tuple[str, Detail]]:
        """Return what `list` does, with details. See `HasDetails.details`."""
        self._count("list", (prefix,))
        assert isinstance(self.inner, HasDetails)
        return self.inner.details(prefix)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Return the names that begin with `prefix`. See `Storage.list`."""
        self._count("list", (prefix,))
        return self.inner.list(prefix)

    def delete(self, name: str) -> None:
        """Make the name hold nothing. See `Storage.delete`."""
        self._count("delete", (name,))
        self.inner.delete(name)

    def cancel(self) -> None:
        """Let requests fail that are waited for. See `Storage.cancel`."""
        self.inner.cancel()

    def _count(self, operation: str, names: tuple[str, ...]) -> None:
        with self._lock:
            self.round_trips += 1
            self.requests += len(names)
            self.log.append((operation, names))

    def _count_write(self, operation: str, name: str, data: Buffer) -> None:
        self._count(operation, (name,))
        with self._lock:
            self.bytes_written += memoryview(data).nbytes
            self.writes.append(name)
