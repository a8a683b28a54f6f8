"""Second names and copies of whole files, and files that nobody changes.

As in `fs`, the system's errors come as a `StorageError` of one clear line.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import suppress

from ama.errors import StorageError, shown, storage_error
from ama.system import disk, fs
from ama.system.disk import explained

_NO_LINK = (
    *(errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.EXDEV),
    *(errno.EMLINK, errno.EINVAL),
)
"""The errors of link(2) where a file can't get another name: the directory may still be written."""

_WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
_PROGRAM = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)

PIECE = 4 << 20


def link(source: str, path: str) -> bool:
    """Give a file a second name, unsynced.

    Returns:
        Whether it has the name: not where the file system refuses links, or more of them.

    Raises:
        FileNotFoundError: There is no such file, or no such directory.
        FileExistsError: Something has the name.
        StorageError: The disk refused.

    Example:
        >>> fs.write_replace("file", b"content")
        >>> link("file", "other")
        True
    """
    try:
        fs._os.link(source, path)
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise storage_error(error, path) from error
        return False
    return True


def freeze(path: str, changed_at: int, *, executable: bool, sharing: fs.Sharing | None) -> None:
    """Make a file of ours read-only, and give it a time of change.

    Args:
        path: The file.
        changed_at: The time, in seconds since 1970.
        executable: Whether it is a program.
        sharing: The rights of a shared directory; None: who may read the file, still may.

    Raises:
        StorageError: The disk refused.

    Example:
        >>> fs.write_replace("file", b"content")
        >>> freeze("file", 10**9, executable=False, sharing=None)
        >>> is_frozen(os.stat("file"), 10**9, executable=False)
        True
    """
    with explained(path):
        if sharing is not None and sys.platform != "win32":
            fd = fs._os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0)
            try:
                fs._os.share(fd, sharing, 0o400, 0o044)
            finally:
                os.close(fd)
        times = changed_at * 10**9
        fs._os.utime(path, (times, times))
        old = stat.S_IMODE(os.lstat(path).st_mode)
        new = old & ~(_WRITABLE | _PROGRAM)
        if executable:
            new |= (new & 0o444) >> 2
        if new != old:
            fs._os.chmod(path, new)


def is_frozen(status: os.stat_result, changed_at: int, *, executable: bool) -> bool:
    """Whether a file is as `freeze` has left it, by its stat data.

    Example:
        >>> fs.write_replace("file", b"content")
        >>> is_frozen(os.stat("file"), 10**9, executable=False)
        False
    """
    if is_writable(status) or status.st_mtime_ns // 10**9 != changed_at:
        return False
    return sys.platform == "win32" or bool(status.st_mode & stat.S_IXUSR) == executable


def is_writable(status: os.stat_result) -> bool:
    """Whether anybody may write to a file.

    Example:
        >>> is_writable(os.stat("."))
        True
    """
    return bool(status.st_mode & _WRITABLE)


def set_changed_at(path: str, changed_at: int) -> None:
    """Set a file's time of change, in seconds since 1970, unless it is a symlink.

    Raises:
        StorageError: It isn't there, or not ours.

    Example:
        >>> fs.write_replace("file", b"content")
        >>> set_changed_at("file", 10**9)
        >>> disk.changed_at("file")
        1000000000000000000
    """
    with explained(path):
        if not stat.S_ISLNK(os.lstat(path).st_mode):
            fs._os.utime(path, (changed_at * 10**9, changed_at * 10**9))


def share(fd: int, sharing: fs.Sharing) -> None:
    """Let everybody write to an open file of ours who may write to its directory.

    Example:
        >>> descriptor = fs.hold("lock")
        >>> share(descriptor, fs.Sharing(0o775, os.stat(".").st_gid))
        >>> fs.let_go(descriptor)
    """
    with suppress(OSError):
        fs._os.share(fd, sharing, 0o600, 0o066)


def make_private(path: str) -> None:
    """Make a directory in which only its owner reads and writes; or make it so.

    Raises:
        StorageError: The disk refused, it is another user's, or others may have written to it.

    Example:
        >>> make_private("mine")
        >>> oct(os.stat("mine").st_mode & 0o077)
        '0o0'
    """
    made = fs._make_directory(path)
    if sys.platform == "win32":
        return
    with explained(path):
        # By its descriptor: who may write to the directory above may replace it meanwhile.
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = fs._os.open(path, flags, 0)
        try:
            status = os.fstat(fd)
            if not fs.is_ours(status):
                if made or _owner_of_new(os.path.dirname(path)) == status.st_uid:
                    return  # this file system doesn't tell owners
                raise _not_ours(path, "is another user's")
            fs._os.share(fd, fs.Sharing(0, status.st_gid), 0o700, 0)
            is_closed = not os.fstat(fd).st_mode & 0o022
            if status.st_mode & 0o022 and is_closed and disk.list_directory(path):
                raise _not_ours(path, "could be written to by others, and isn't empty")
        finally:
            os.close(fd)


def _owner_of_new(directory: str) -> int:
    """Return whose a new directory is: a network file system may have its own opinion."""
    path = os.path.join(directory, fs.temp_name())
    fs._make_directory(path)
    try:
        return os.lstat(path).st_uid
    finally:
        fs.remove_empty_directory(path)


def _not_ours(path: str, why: str) -> StorageError:
    return StorageError(
        f"{shown(path)} {why}", hint="delete it, or let its owner delete it", errno=errno.EPERM
    )


def copy_new(source: str, path: str) -> None:
    """Copy a file to a new name, unsynced, by a reflink where the file system can.

    Nothing is verified: the source may be changed meanwhile.

    Raises:
        FileNotFoundError: There is no such file.
        FileExistsError: Something has the name.
        StorageError: The disk refused; nothing is left behind.

    Example:
        >>> fs.write_replace("file", b"content")
        >>> copy_new("file", "copy")
        >>> disk.read_file("copy")
        b'content'
    """
    with disk.reading(source) as file:
        try:
            if not _clone(file.fileno(), path, 0o666):
                fs.write_private(path, iter(lambda: file.read(PIECE), b""), new=True)
        except FileExistsError:
            raise
        except BaseException:
            with suppress(OSError):
                fs.remove(path)
            raise


def clone(source: str, path: str, *, executable: bool) -> bool | None:
    """Make a new file that shares the content of another, unsynced, if the file system can.

    Nothing is verified: the source may be changed meanwhile.

    Returns:
        Whether it is made; None if the source can't be read.

    Raises:
        FileExistsError: Something has the name.
        StorageError: The disk refused to make a file.

    Example:
        >>> clone("no-such-file", "copy", executable=False) is None
        True
    """
    try:
        file = disk.open_file(source)
    except OSError:
        return None
    with file:
        return _clone(file.fileno(), path, 0o777 if executable else 0o666)


def _clone(source: int, path: str, mode: int) -> bool:
    """Make a file share the content of another; return whether that is possible."""
    with explained(path):
        fd = fs._os.open(path, _NEW, mode)
        try:
            fs._os.clone(source, fd)
            return True
        except OSError:
            pass
        finally:
            os.close(fd)
    fs.remove(path)
    return False
