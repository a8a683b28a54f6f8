"""A storage around another that lets nothing be changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NoReturn

from ama.errors import StorageError, shown
from ama.storage.protocol import Buffer, Range, Storage, check_storage_name


class ReadOnlyStorage:
    """Passes on what only reads, and refuses the rest.

    Args:
        inner: The storage that does the work.

    Example:
        >>> from ama.storage.memory import MemoryStorage
        >>> ReadOnlyStorage(MemoryStorage("kept")).delete("a")
        Traceback (most recent call last):
            ...
        ama.errors.StorageError: memory://kept was opened for reading only: can't delete a
    """

    def __init__(self, inner: Storage) -> None:
        self.inner = inner

    @property
    def url(self) -> str:
        """The other storage's."""
        return self.inner.url

    @property
    def can_create(self) -> bool:
        """Never."""
        return False

    @property
    def across_network(self) -> bool:
        """As the other storage has it."""
        return self.inner.across_network

    def read(self, ranges: Sequence[Range]) -> list[bytes | None]:
        """Read a batch of ranges. See `Storage.read`."""
        return self.inner.read(ranges)

    def put(self, name: str, data: Buffer) -> None:
        """Refuse."""
        self._refuse("write", name)

    def create(self, name: str, data: Buffer) -> None:
        """Refuse."""
        self._refuse("write", name)

    def replace(self, name: str, data: Buffer) -> None:
        """Refuse."""
        self._refuse("write", name)

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        """Return how many bytes each name holds. See `Storage.sizes`."""
        return self.inner.sizes(names)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Return the names that begin with `prefix`. See `Storage.list`."""
        return self.inner.list(prefix)

    def delete(self, name: str) -> None:
        """Refuse."""
        self._refuse("delete", name)

    def cancel(self) -> None:
        """Let requests fail that are waited for. See `Storage.cancel`."""
        self.inner.cancel()

    def _refuse(self, what: str, name: str) -> NoReturn:
        check_storage_name(name)
        raise StorageError(
            f"{shown(self.url)} was opened for reading only: can't {what} {name}",
            hint="open it for writing",
        )
