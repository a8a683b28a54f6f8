"""A storage in this process's memory: for tests, experiments and notebooks."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence

from ama.errors import AlreadyExists
from ama.format.hashing import blob_id
from ama.storage.protocol import Buffer, Detail, Range, check_prefix, check_storage_name


class MemoryStorage:
    """Bytes under names, which end with the process.

    Args:
        name: The name behind `memory://` in its URL.

    Example:
        >>> storage = MemoryStorage("example")
        >>> storage.put("a", b"content")
        >>> storage.sizes(["a", "b"])
        [7, None]
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._held: dict[str, bytes] = {}

    @property
    def url(self) -> str:
        """Return `memory://` and the name."""
        return f"memory://{self._name}"

    @property
    def can_create(self) -> bool:
        """Return True."""
        return True

    @property
    def across_network(self) -> bool:
        """Return False."""
        return False

    def read(self, ranges: Sequence[Range]) -> list[bytes | None]:
        """Read a batch of ranges. See `Storage.read`."""
        for wanted in ranges:
            check_storage_name(wanted.name)
        with self._lock:
            held = [self._held.get(wanted.name) for wanted in ranges]
        return [
            None if data is None else _cut(data, wanted)
            for data, wanted in zip(held, ranges, strict=True)
        ]

    def put(self, name: str, data: Buffer) -> None:
        """Write bytes under a name that their content gives. See `Storage.put`."""
        check_storage_name(name)
        with self._lock:
            if name not in self._held:
                self._held[name] = bytes(data)

    def create(self, name: str, data: Buffer) -> None:
        """Write a name that must be absent. See `Storage.create`."""
        check_storage_name(name)
        with self._lock:
            if name in self._held:
                raise AlreadyExists(f"{self.url}/{name} exists already")
            self._held[name] = bytes(data)

    def replace(self, name: str, data: Buffer) -> None:
        """Write a name, whether or not it exists. See `Storage.replace`."""
        check_storage_name(name)
        with self._lock:
            self._held[name] = bytes(data)

    def write_parts(self, name: str, pieces: Iterable[Buffer]) -> None:
        """Write bytes that come in pieces. See `HasParts.write_parts`."""
        check_storage_name(name)
        self.replace(name, b"".join(pieces))

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        """Return the size of each name in bytes. See `Storage.sizes`."""
        for name in names:
            check_storage_name(name)
        with self._lock:
            return [len(self._held[name]) if name in self._held else None for name in names]

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Return the names that begin with `prefix`. See `Storage.list`."""
        check_prefix(prefix)
        with self._lock:
            found = [(n, len(data)) for n, data in self._held.items() if n.startswith(prefix)]
        return iter(found)

    def details(self, prefix: str) -> Iterator[tuple[str, Detail]]:
        """Return the names that begin with `prefix`. See `HasDetails.details`."""
        check_prefix(prefix)
        with self._lock:
            found = {n: data for n, data in self._held.items() if n.startswith(prefix)}
        return ((n, Detail(len(data), blob_id(data).hex())) for n, data in found.items())

    def delete(self, name: str) -> None:
        """Delete a name. See `Storage.delete`."""
        check_storage_name(name)
        with self._lock:
            self._held.pop(name, None)

    def cancel(self) -> None:
        """Do nothing: no request takes long. See `Storage.cancel`."""


def _cut(data: bytes, wanted: Range) -> bytes:
    end = None if wanted.length is None else wanted.start + wanted.length
    return data[wanted.start : end]
