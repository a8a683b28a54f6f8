"""What this machine remembers of a store: immutable files by name, and nothing that must be true.

Every file is checked by whoever reads it (by its id or its seal), so a cache that is damaged,
deleted under a reader or written by many at once costs time and nothing else. A cache that
can't be written is no error.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from ama.errors import AmaError, StorageError
from ama.format.hashing import Buffer, blob_id
from ama.system import fs

_STORES = "stores"


class Cache:
    """Files of one store in a directory of this machine.

    Args:
        directory: where; None remembers nothing.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    @classmethod
    def of_store(cls, cache_dir: Path | None, store_id: str, url: str) -> Cache:
        """Return the cache of one store at one URL: a copy elsewhere may have gone another way."""
        if cache_dir is None:
            return cls(None)
        return cls(cache_dir / _STORES / f"{store_id}-{_place(url)}")

    @classmethod
    def of_copies(cls, cache_dir: Path | None, store_id: str) -> list[Cache]:
        """Return the caches of one store at every URL where this machine has seen it."""
        return [
            cls(cache_dir / _STORES / name)
            for name in _names(cache_dir and cache_dir / _STORES)
            if cache_dir is not None and name.startswith(f"{store_id}-")
        ]

    @staticmethod
    def ids_at(cache_dir: Path | None, url: str) -> list[str]:
        """Return the ids of the stores that this machine has seen at a URL."""
        names = _names(cache_dir and cache_dir / _STORES)
        return [name.partition("-")[0] for name in names if name.endswith(f"-{_place(url)}")]

    @classmethod
    def of_urls(cls, cache_dir: Path | None) -> Cache:
        """Return what is remembered of which store lies at which URL."""
        return cls(None if cache_dir is None else cache_dir / "urls")

    def path(self, name: str) -> Path | None:
        """Return where a file is, or would be; None where nothing is remembered."""
        return None if self._directory is None else self._directory / name

    def names(self, directory: str) -> list[str]:
        """Return the names of the files below a directory of the cache, in their order."""
        return [f"{directory}/{name}" for name in _names(self.path(directory))]

    def get(self, name: str) -> bytes | None:
        """Return a file's bytes, or None if it isn't remembered."""
        if self._directory is None:
            return None
        try:
            return fs.read_file(self._directory / name)
        except StorageError:
            return None

    def put(self, name: str, data: Buffer) -> None:
        """Remember a file, if that is possible."""
        if self._directory is None:
            return
        path = self._directory / name
        with contextlib.suppress(AmaError, OSError):
            fs.make_directories(path.parent, sync=False)
            fs.write_replace(path, data)

    def drop(self, name: str) -> None:
        """Forget a file."""
        if self._directory is not None:
            with contextlib.suppress(AmaError, OSError):
                fs.remove(self._directory / name)


def _place(url: str) -> str:
    return blob_id(url.encode()).hex()[:16]


def _names(directory: Path | None) -> list[str]:
    if directory is None:
        return []
    try:
        return sorted(fs.list_directory(directory))
    except StorageError:
        return []
