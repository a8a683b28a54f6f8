"""Careful reading from the disk: a pipe in a file's place is not waited for.

Every error of the user's disk comes out of each function as a `StorageError` of one clear line.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO

from ama.errors import StorageError, shown, storage_error

AnyPath = str | os.PathLike[str]

_ABSENT = (FileNotFoundError, NotADirectoryError)
_READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_READ |= getattr(os, "O_NOINHERIT", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_NONBLOCK", 0)


def open_file(path: AnyPath) -> FileIO:
    """Open a file to read; what else may stand in its place, such as a pipe, is not waited for.

    What goes wrong later, while it is read, comes as the system says it: see `reading`.

    Raises:
        FileNotFoundError, NotADirectoryError: There is no such file.
        StorageError: It can't be opened, or it is a pipe, a socket, a device or a directory.

    Example:
        >>> from ama.system import fs
        >>> fs.write_replace("HINT", b"7")
        >>> with open_file("HINT") as file:
        ...     file.read()
        b'7'
    """
    target = os.fspath(path)
    fd = _open(target)
    try:
        require_file(fd, target)
        return FileIO(fd)
    except BaseException:
        os.close(fd)
        raise


def _open(target: str) -> int:
    try:
        return os.open(target, _READ)
    except _ABSENT:
        raise
    except OSError as error:
        if error.errno == errno.ENXIO:  # what a socket says
            raise _no_file(target, "no regular file") from error
        raise storage_error(error, target, doing="read") from error


def read_steady(path: AnyPath, size: int | None = None) -> bytes | None:
    """Return a small file's bytes, at once; None if it changed meanwhile.

    It is what `open_file` and a read do, in fewest calls of the system: for each of many files.

    Args:
        path: The file.
        size: The bytes that it should have: one of another size isn't read. None: it has any.

    Raises:
        FileNotFoundError, NotADirectoryError: There is no such file.
        StorageError: It can't be read, or it is a pipe, a socket, a device or a directory.

    Example:
        >>> from ama.system import fs
        >>> fs.write_replace("HINT", b"7")
        >>> read_steady("HINT")
        b'7'
    """
    target = os.fspath(path)
    fd = _open(target)
    try:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            raise _no_regular(before.st_mode, target)
        if size not in (None, before.st_size):
            return None
        data = os.read(fd, before.st_size + 1)
        while len(data) < before.st_size and (more := os.read(fd, before.st_size + 1 - len(data))):
            data += more
        after = os.fstat(fd)
    except OSError as error:
        raise storage_error(error, target, doing="read") from error
    finally:
        os.close(fd)
    steady = len(data) == before.st_size and before.st_mtime_ns == after.st_mtime_ns
    return data if steady else None


@contextmanager
def reading(path: AnyPath) -> Iterator[FileIO]:
    """Open a file as `open_file` does, and explain also what goes wrong while it is read.

    Raises:
        FileNotFoundError, NotADirectoryError: There is no such file.
        StorageError: It can't be opened, read or closed.

    Example:
        >>> from ama.system import fs
        >>> fs.write_replace("HINT", b"7")
        >>> with reading("HINT") as file:
        ...     file.read()
        b'7'
    """
    file = open_file(path)
    with explained(path, doing="read"), file:
        yield file


def read_file(path: AnyPath, most: int = -1) -> bytes | None:
    """Return a whole file's bytes, or the first `most`; None if there is no such file.

    Raises:
        StorageError: It can't be read, or is no regular file.

    Example:
        >>> read_file("no-such-file") is None
        True
    """
    try:
        with reading(path) as file:
            return file.read(most)
    except _ABSENT:
        return None


class SteadyFile:
    """A file that nobody changes: read in parts, with a check that it is the same all the time.

    It isn't mapped into memory: a map of a file that is cut off, or of a disk that fails, ends the
    process without a word, where a read fails with an error. And it isn't kept open: a process may
    hold more such files than a system allows, and on Windows nobody could delete one.

    Args:
        path: The file.

    Attributes:
        size: Its size in bytes.

    Raises:
        FileNotFoundError, NotADirectoryError: There is no such file.
        StorageError: It can't be opened.

    Example:
        >>> from ama.system import fs
        >>> fs.write_replace("pack", b"content")
        >>> SteadyFile("pack").read(3, 4)
        b'tent'
    """

    def __init__(self, path: AnyPath) -> None:
        self._path = path
        with open_file(path) as file:
            self._seen = _identity(file)
        self.size = self._seen[2]

    def read(self, start: int, length: int) -> bytes:
        """Return bytes of the file, fewer than asked for where it ends.

        Raises:
            StorageError: It can't be read, or is another file by now.
        """
        with self._opened() as file:
            file.seek(start)
            data = file.read(length)
            while len(data) < length and (more := file.read(length - len(data))):
                data += more
            return data

    def pieces(self, length: int) -> Iterator[bytes]:
        """Yield the whole file, this many bytes at a time; it is the same file to the end.

        Raises:
            StorageError: See `read`.
        """
        with self._opened() as file:
            while data := file.read(length):
                yield data
            self._require(file)

    @contextmanager
    def _opened(self) -> Iterator[FileIO]:
        try:
            with reading(self._path) as file:
                self._require(file)
                yield file
        except _ABSENT as error:
            raise storage_error(error, self._path, doing="read") from error

    def _require(self, file: FileIO) -> None:
        if _identity(file) != self._seen:
            raise StorageError(f"{shown(os.fspath(self._path))} was changed while it was read")


def _identity(file: FileIO) -> tuple[int, int, int, int]:
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def read_symlink(path: AnyPath) -> str:
    """Return what a symlink says.

    Raises:
        StorageError: It can't be read, or there is none.

    Example:
        >>> from ama.system import fs
        >>> fs.make_symlink("model.h5", "latest")
        >>> read_symlink("latest")
        'model.h5'
    """
    with explained(path, doing="read"):
        return os.readlink(os.fspath(path))


def list_directory(path: AnyPath) -> list[str]:
    """Return the names in a directory; none if there is no such directory.

    Raises:
        StorageError: It can't be read.

    Example:
        >>> list_directory("no-such-directory")
        []
    """
    with explained(path, doing="read"), suppress(*_ABSENT):
        return os.listdir(os.fspath(path))
    return []


def inherits_alike(directory: AnyPath, other: AnyPath) -> bool:
    """Whether what is made in two directories gets the same group and the same rights.

    Raises:
        StorageError: One of them can't be looked at.

    Example:
        >>> inherits_alike(".", ".")
        True
    """
    return _heritage(directory) == _heritage(other)


def _heritage(directory: AnyPath) -> tuple[object, ...]:
    with explained(directory, doing="read"):
        status = os.stat(directory)
    setgid = bool(status.st_mode & stat.S_ISGID)
    group = status.st_gid if setgid or sys.platform != "linux" else None
    defaults = None
    if sys.platform == "linux":
        with suppress(OSError):  # it has none, or its file system hasn't
            defaults = os.getxattr(directory, "system.posix_acl_default")
    return setgid, group, defaults


def is_directory(path: AnyPath) -> bool:
    """Whether a path is a directory, or a symlink to one; not where one may not look.

    Raises:
        StorageError: The disk says neither.

    Example:
        >>> is_directory("."), is_directory("no-such-directory")
        (True, False)
    """
    try:
        status = _status(path)
    except StorageError as error:
        if error.errno in (errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG):
            return False
        raise
    return status is not None and stat.S_ISDIR(status.st_mode)


def changed_at(path: AnyPath) -> int | None:
    """Return when a file or directory was changed last, in nanoseconds; None if there is none.

    Raises:
        StorageError: It can't be looked at.

    Example:
        >>> changed_at("no-such-file") is None
        True
    """
    status = _status(path)
    return None if status is None else status.st_mtime_ns


def _status(path: AnyPath) -> os.stat_result | None:
    with explained(path, doing="read"), suppress(*_ABSENT):
        return os.stat(path)
    return None


def require_file(fd: int, path: str) -> None:
    """Check that what was opened is a regular file.

    Raises:
        StorageError: It is a pipe, a socket, a device or a directory.
    """
    with explained(path, doing="read"):
        mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode):
        raise _no_regular(mode, path)


def _no_regular(mode: int, path: str) -> StorageError:
    if stat.S_ISDIR(mode):
        return storage_error(IsADirectoryError(errno.EISDIR, ""), path)
    return _no_file(path, "a pipe" if stat.S_ISFIFO(mode) else "a device")


def _no_file(path: str, what: str) -> StorageError:
    return StorageError(
        f"{shown(path)} is {what}, where a file should be",
        hint="move it away, and run the same command again",
        errno=errno.EINVAL,
    )


@contextmanager
def explained(path: AnyPath, unless: tuple[int, ...] = (), doing: str = "write") -> Iterator[None]:
    """Turn an error of the system into one clear line.

    Args:
        path: What the system was asked about.
        unless: The errors that don't matter, as `errno` numbers them.
        doing: "write" or "read": what was tried.

    Raises:
        StorageError: The system refused it.
    """
    try:
        yield
    except (StorageError, FileExistsError):
        raise
    except OSError as error:
        if error.errno not in unless:
            raise storage_error(error, path, doing=doing) from error
