"""A storage in a directory: each name is a file, written whole and durable, or not at all."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ama import fs
from ama.errors import AlreadyExists, storage_error
from ama.storage.protocol import Buffer, Range, check_prefix, check_storage_name

_STALE_AFTER_S = 24 * 60 * 60
_ABSENT = (FileNotFoundError, NotADirectoryError)
_OPEN = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


Names = list[str]  # the class below has a method of that name


class LocalStorage:
    """Bytes under names, in a directory that is made at the first write.

    Args:
        root: The directory.

    Example:
        >>> storage = LocalStorage(Path("store"))
        >>> storage.put("packs/3f/3f9a.pack", b"content")
        >>> storage.read([Range("packs/3f/3f9a.pack", 3, 4), Range("absent")])
        [b'tent', None]
    """

    def __init__(self, root: Path) -> None:
        self._root = os.fspath(root)
        self._cleaned: set[str] = set()

    @property
    def url(self) -> str:
        """The directory's path."""
        return self._root

    @property
    def can_create(self) -> bool:
        """Always: where a file system has no atomic create, `create` raises StorageError."""
        return True

    @property
    def across_network(self) -> bool:
        """Not: a directory, also a shared one, takes writes as they come."""
        return False

    def read(self, ranges: Sequence[Range]) -> list[bytes | None]:
        """Read a batch of ranges; each file is opened once. See `Storage.read`."""
        by_name: dict[str, list[int]] = {}
        for number, wanted in enumerate(ranges):
            by_name.setdefault(wanted.name, []).append(number)
        found: list[bytes | None] = [None] * len(ranges)
        for name, numbers in by_name.items():
            for number, data in self._read_file(name, numbers, ranges):
                found[number] = data
        return found

    def put(self, name: str, data: Buffer) -> None:
        """Write what is named by its content. See `Storage.put`."""
        path = self._path(name)
        if os.path.isfile(path):
            # Whoever wrote it may have died before its name was durable.
            fs.sync_directory(os.path.dirname(path))
            return
        self._clean(os.path.dirname(path))
        _in_directory(path, lambda: fs.write_replace(path, data))

    def create(self, name: str, data: Buffer) -> None:
        """Write what must not be there yet. See `Storage.create`."""
        path = self._path(name)
        try:
            _in_directory(path, lambda: fs.write_new(path, data))
        except FileExistsError:
            raise AlreadyExists(f"{path} exists already") from None

    def replace(self, name: str, data: Buffer) -> None:
        """Write what may be there. See `Storage.replace`."""
        path = self._path(name)
        _in_directory(path, lambda: fs.write_replace(path, data))

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        """Return the size of each file. See `Storage.sizes`."""
        return [self._size(name) for name in names]

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Return the files whose names begin with `prefix`. See `Storage.list`."""
        check_prefix(prefix)
        directory = prefix.rpartition("/")[0]
        return self._walk(directory, prefix)

    def delete(self, name: str) -> None:
        """Delete a file; its directory stays. See `Storage.delete`."""
        fs.remove(self._path(name))

    def cancel(self) -> None:
        """Do nothing: no request takes long. See `Storage.cancel`."""

    def missing_directories(self, name: str) -> Names:
        """Return the directories that a write of a name would make. See `HasDirectories`."""
        found: Names = []
        at = os.path.dirname(self._path(name))
        while at and not os.path.lexists(at):
            found.insert(0, at)
            at = os.path.dirname(at)
        return found

    def remove_directories(self, paths: Sequence[str]) -> None:
        """Delete directories, if they are empty. See `HasDirectories`."""
        for path in reversed(paths):
            fs.remove_empty_directory(path)

    def _path(self, name: str) -> str:
        check_storage_name(name)
        return os.path.join(self._root, *name.split("/"))

    def _read_file(
        self, name: str, numbers: Sequence[int], ranges: Sequence[Range]
    ) -> Iterator[tuple[int, bytes]]:
        path = self._path(name)
        fd = None
        try:
            fd = os.open(path, _OPEN)
            size = os.fstat(fd).st_size
            for number in numbers:
                yield number, _read_range(fd, size, ranges[number])
        except _ABSENT:
            return
        except OSError as error:
            if not os.path.isdir(path):  # a directory holds no bytes itself
                raise storage_error(error, path, doing="read") from error
        finally:
            if fd is not None:
                os.close(fd)

    def _size(self, name: str) -> int | None:
        path = self._path(name)
        try:
            status = os.stat(path)
        except _ABSENT:
            return None
        except OSError as error:
            raise storage_error(error, path, doing="read") from error
        return None if stat.S_ISDIR(status.st_mode) else status.st_size

    def _walk(self, directory: str, prefix: str) -> Iterator[tuple[str, int]]:
        path = os.path.join(self._root, *directory.split("/")) if directory else self._root
        below = []
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    name = f"{directory}/{entry.name}" if directory else entry.name
                    if fs.is_temp(entry.name):
                        continue
                    if entry.is_dir():
                        below.append(name)
                    elif name.startswith(prefix) and (size := _entry_size(entry)) is not None:
                        yield name, size
        except _ABSENT:
            return
        except OSError as error:
            raise storage_error(error, path, doing="read") from error
        for name in below:
            if f"{name}/".startswith(prefix) or prefix.startswith(f"{name}/"):
                yield from self._walk(name, prefix)

    def _clean(self, directory: str) -> None:
        """Remove what crashes left there: once for each directory, as it takes a listing."""
        if directory not in self._cleaned:
            self._cleaned.add(directory)
            fs.remove_stale_temps(directory, _STALE_AFTER_S)


def _in_directory(path: str, write: Callable[[], None]) -> None:
    """Write a file, and make its directory before if that is missing.

    Which isn't found out by an error: that would keep what is written until the next garbage
    collection, by the frames that it passed through.
    """
    fs.make_directories(os.path.dirname(path))
    write()


def _read_range(fd: int, size: int, wanted: Range) -> bytes:
    # What there is bounds what is asked for, so a damaged index can't demand all memory.
    count = max(0, size - wanted.start)
    if wanted.length is not None:
        count = min(count, wanted.length)
    data = _read_at(fd, count, wanted.start)
    if len(data) == count:
        return data
    parts = [data]
    missing = count - len(data)
    while data and missing:
        data = _read_at(fd, missing, wanted.start + count - missing)
        parts.append(data)
        missing -= len(data)
    return b"".join(parts)


def _read_at(fd: int, count: int, start: int) -> bytes:
    if sys.platform == "win32":
        os.lseek(fd, start, os.SEEK_SET)
        return os.read(fd, count)
    else:
        return os.pread(fd, count, start)


def _entry_size(entry: os.DirEntry[str]) -> int | None:
    try:
        return entry.stat().st_size
    except FileNotFoundError:
        return None  # deleted since
