"""A storage of which only the URL is known: for what this machine remembers of its store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NoReturn

from ama.errors import StorageError, shown
from ama.storage.protocol import Buffer, Range


class UnaskedStorage:
    """Refuses every request, and needs no client, which takes long to import.

    Args:
        url: as the storage itself says it.

    Example:
        >>> UnaskedStorage("s3://models/ama").read([])
        Traceback (most recent call last):
            ...
        ama.errors.StorageError: s3://models/ama is not asked
    """

    can_create = False
    across_network = False

    def __init__(self, url: str) -> None:
        self.url = url

    def read(self, ranges: Sequence[Range]) -> list[bytes | None]:
        """Refuse."""
        self._refuse()

    def put(self, name: str, data: Buffer) -> None:
        """Refuse."""
        self._refuse()

    def create(self, name: str, data: Buffer) -> None:
        """Refuse."""
        self._refuse()

    def replace(self, name: str, data: Buffer) -> None:
        """Refuse."""
        self._refuse()

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        """Refuse."""
        self._refuse()

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Refuse."""
        self._refuse()

    def delete(self, name: str) -> None:
        """Refuse."""
        self._refuse()

    def cancel(self) -> None:
        """Do nothing: nothing is waited for."""

    def _refuse(self) -> NoReturn:
        raise StorageError(f"{shown(self.url)} is not asked")
