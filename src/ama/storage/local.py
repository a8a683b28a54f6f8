"""A storage in a directory: each name is a file, written whole and durable, or not at all."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ama.errors import AlreadyExists, StorageError, shown, storage_error
from ama.storage.permissions import refusal, require_open_to_members, try_as_member
from ama.storage.protocol import Buffer, Detail, Range, check_prefix, check_storage_name
from ama.system import disk, fs
from ama.system.encoding import from_system

_STALE_AFTER_S = 24 * 60 * 60
_ABSENT = (FileNotFoundError, NotADirectoryError)
_REFUSED = (errno.EACCES, errno.EPERM)

Names = list[str]  # the class below has a method of that name
Details = list[Detail | None]


class LocalStorage:
    """Bytes under names, in a directory that the first write makes.

    Temporary files lie at its top, where a short listing finds those that a crash left; if that is
    impossible, beside their place.

    Args:
        root: The directory.
        shared: Whether files get the rights of the directory, if others may use it.

    Example:
        >>> storage = LocalStorage(Path("store"))
        >>> storage.put("packs/3f/3f9a.pack", b"content")
        >>> storage.read([Range("packs/3f/3f9a.pack", 3, 4), Range("absent")])
        [b'tent', None]
    """

    def __init__(self, root: Path, *, shared: bool = True) -> None:
        self._root = os.fspath(root)
        self._shared = shared
        self._cleaned: set[str] = set()

    @property
    def url(self) -> str:
        """Return the directory's path."""
        return from_system(self._root)

    @property
    def can_create(self) -> bool:
        """Return True: where a file system has no atomic create, `create` raises StorageError."""
        return True

    @property
    def across_network(self) -> bool:
        """Return False: even a shared directory takes writes as they come."""
        return False

    def read(self, ranges: Sequence[Range]) -> list[bytes | None]:
        """Read a batch of ranges, opening each file once. See `Storage.read`."""
        by_name: dict[str, list[int]] = {}
        for number, wanted in enumerate(ranges):
            by_name.setdefault(wanted.name, []).append(number)
        found: list[bytes | None] = [None] * len(ranges)
        for name, numbers in by_name.items():
            for number, data in self._read_file(name, numbers, ranges):
                found[number] = data
        return found

    def put(self, name: str, data: Buffer) -> None:
        """Write bytes under a name that their content gives. See `Storage.put`."""
        path = self._path(name)
        if self._is_sound(path):
            # Its writer may have died before its name was durable.
            fs.sync_directory(os.path.dirname(path))
            return
        self._clean(os.path.dirname(path))
        self._write(path, data, fs.write_replace)

    def create(self, name: str, data: Buffer) -> None:
        """Write a name that must be absent. See `Storage.create`."""
        path = self._path(name)
        try:
            self._write(path, data, fs.write_new)
        except FileExistsError:
            raise AlreadyExists(f"{shown(from_system(path))} exists already") from None

    def replace(self, name: str, data: Buffer) -> None:
        """Write a name, whether or not it exists. See `Storage.replace`."""
        self._write(self._path(name), data, fs.write_replace)

    def write_parts(self, name: str, pieces: Iterable[Buffer]) -> None:
        """Write bytes that come in pieces. See `HasParts.write_parts`."""
        path = self._path(name)
        sharing = self._make_directory(path)
        self._clean(os.path.dirname(path))
        try:
            # Beside its place: there is no second try, for which the pieces would be gone.
            fs.write_replace(path, pieces, sharing=sharing)
        except StorageError as error:
            raise self._explained(error, path, "write") from error

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        """Return the size of each file. See `Storage.sizes`."""
        return [self._size(name) for name in names]

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Return the files whose names begin with `prefix`. See `Storage.list`."""
        return ((name, status.st_size) for name, status in self._found(prefix))

    def details(self, prefix: str) -> Iterator[tuple[str, Detail]]:
        """Return the files whose names begin with `prefix`. See `HasDetails.details`."""
        return ((name, detail_of(status)) for name, status in self._found(prefix))

    def details_of(self, names: Sequence[str]) -> Details:
        """Return the details of each file. See `HasHeads.details_of`."""
        return [self._detail(name) for name in names]

    def delete(self, name: str) -> None:
        """Delete a file; its directory stays. See `Storage.delete`."""
        path = self._path(name)
        try:
            fs.remove(path)
        except StorageError as error:
            raise self._explained(error, path, "write") from error

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

    def is_shared(self) -> bool:
        """Whether others should publish there. See `HasMembers`."""
        return self._shared and fs.sharing_of(self._root) is not None

    def check_members(self, name: str) -> str:
        """Check that others can read and write there. See `HasMembers`."""
        seen = require_open_to_members(self._root)
        return f"{seen}; {try_as_member(self._root, self._path(name))}"

    def _write(self, path: str, data: Buffer, write: Callable[..., None]) -> None:
        for last in (False, True):
            try:
                self._write_once(path, data, write)
                break
            except StorageError as error:
                told = self._explained(error, path, "write")
                # A new directory of somebody else opens to us a moment after it is visible.
                if last or told is not error or error.errno not in _REFUSED:
                    raise told from error

    def _write_once(self, path: str, data: Buffer, write: Callable[..., None]) -> None:
        """Write a file, and before it its directory if that is missing.

        Don't find that out by an error: it would keep the data until the next garbage collection,
        by the frames that it passed.
        """
        sharing = self._make_directory(path)
        place = self._place_of_temps(os.path.dirname(path))
        self._clean(place)
        try:
            write(path, data, temp_in=place, sharing=sharing)
        except StorageError as error:
            if error.errno != errno.EXDEV:  # a bind mount says so, and nothing tells before
                raise
            write(path, data, sharing=sharing)

    def _make_directory(self, path: str) -> fs.Sharing | None:
        """Make the directory of a file; return the rights that the file gets."""
        fs.make_directories(self._root)
        sharing = fs.sharing_of(self._root) if self._shared else None
        fs.make_directories(os.path.dirname(path), top=self._root, sharing=sharing)
        return sharing

    def _is_sound(self, path: str) -> bool:
        """Whether a file exists and everybody who may use the storage can read it.

        If not, the caller writes it again, which gives the same file.
        """
        try:
            status = os.stat(path)
        except OSError:
            return False
        if not stat.S_ISREG(status.st_mode):
            return False
        sharing = fs.sharing_of(self._root) if self._shared else None
        if sharing is not None and fs.is_ours(status):
            return not sharing.mode & 0o044 & ~status.st_mode
        return os.access(path, os.R_OK)

    def _place_of_temps(self, directory: str) -> str:
        try:
            apart = os.stat(self._root).st_dev != os.stat(directory).st_dev
        except OSError:
            return directory
        return directory if apart or not os.access(self._root, os.W_OK | os.X_OK) else self._root

    def _explained(self, error: StorageError, path: str, doing: str) -> StorageError:
        if error.errno not in _REFUSED:
            return error
        return refusal(error, path, self._root, doing=doing)

    def _path(self, name: str) -> str:
        check_storage_name(name)
        return os.path.join(self._root, *name.split("/"))

    def _read_file(
        self, name: str, numbers: Sequence[int], ranges: Sequence[Range]
    ) -> Iterator[tuple[int, bytes]]:
        path = self._path(name)
        try:
            with disk.reading(path) as file:
                fd = file.fileno()
                size = os.fstat(fd).st_size
                for number in numbers:
                    yield number, read_range(fd, size, ranges[number])
        except _ABSENT:
            return
        except StorageError as error:
            if not os.path.isdir(path):  # a directory has no bytes of its own
                raise self._explained(error, path, "read") from error

    def _size(self, name: str) -> int | None:
        found = self._detail(name)
        return None if found is None else found.size

    def _detail(self, name: str) -> Detail | None:
        path = self._path(name)
        try:
            status = os.stat(path)
        except _ABSENT:
            return None
        except OSError as error:
            raise self._explained(storage_error(error, path, doing="read"), path, "read") from error
        return None if stat.S_ISDIR(status.st_mode) else detail_of(status)

    def _found(self, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
        check_prefix(prefix)
        return self._walk(prefix.rpartition("/")[0], prefix)

    def _walk(self, directory: str, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
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
                    elif name.startswith(prefix) and (status := _status(entry)) is not None:
                        yield name, status
        except _ABSENT:
            return
        except OSError as error:
            raise self._explained(storage_error(error, path, doing="read"), path, "read") from error
        for name in below:
            if f"{name}/".startswith(prefix) or prefix.startswith(f"{name}/"):
                yield from self._walk(name, prefix)

    def _clean(self, directory: str) -> None:
        """Remove what crashes left, once for each directory, because it takes a listing."""
        if directory not in self._cleaned:
            self._cleaned.add(directory)
            fs.remove_stale_temps(directory, _STALE_AFTER_S)


def read_range(fd: int, size: int, wanted: Range) -> bytes:
    """Return the bytes of a range of an open file of `size` bytes."""
    # Ask for no more than there is, so that a damaged index can't demand all memory.
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


def detail_of(status: os.stat_result) -> Detail:
    """Return the details of a file."""
    return Detail(
        status.st_size, str(status.st_mtime_ns), datetime.fromtimestamp(status.st_mtime, UTC)
    )


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat()
    except FileNotFoundError:
        return None  # deleted since
