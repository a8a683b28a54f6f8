"""The system calls that change the disk. Only `fs` uses them, and tests make them fail."""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

# The errors of chmod and chown where a file system has no modes, or we may not set them.
_NOT_OURS = frozenset(
    getattr(errno, name) for name in "ENOSYS ENOTSUP EOPNOTSUPP EPERM EACCES EINVAL EROFS".split()
)


@dataclass(frozen=True, slots=True)
class Sharing:
    """The rights of a directory, which everything made in it gets, whatever the umask.

    Attributes:
        mode: Its permission bits, with setgid and sticky.
        group: The id of its group.
    """

    mode: int
    group: int


def is_ours(status: os.stat_result) -> bool:
    """Whether a file is this user's own."""
    return sys.platform != "win32" and status.st_uid == os.geteuid()


class System:
    """One method for each call. `fs` holds the only instance, and explains its errors."""

    def open(self, path: str, flags: int, mode: int) -> int:
        """Make a file."""
        return os.open(path, flags, mode)

    def write(self, fd: int, data: memoryview) -> int:
        """Write some of the bytes, and return how many."""
        return os.write(fd, data)

    def fsync(self, fd: int) -> None:
        """Make a file, or the names in a directory, durable."""
        if sys.platform == "darwin":
            # Fsync leaves the data in the drive's cache there; not every file system has more.
            import fcntl

            try:
                fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
                return
            except OSError:
                pass
        os.fsync(fd)

    def link(self, source: str, target: str) -> None:
        """Give a file a second, new name."""
        os.link(source, target, follow_symlinks=os.link not in os.supports_follow_symlinks)

    def clone(self, source: int, target: int) -> None:
        """Let a new, empty file share the content of another, where the file system can."""
        if sys.platform != "linux":
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        import fcntl

        fcntl.ioctl(target, 0x40049409, source)  # FICLONE

    def replace(self, source: str, target: str) -> None:
        """Rename a file, replacing what has the name."""
        os.replace(source, target)

    def rename_new(self, source: str, target: str) -> None:
        """Rename a file to a new name, on file systems without links."""
        if sys.platform == "win32":
            os.rename(source, target)
        else:
            _rename_new(os.fsencode(source), os.fsencode(target))

    def unlink(self, path: str) -> None:
        """Delete a file."""
        if sys.platform == "win32" and not os.path.islink(path):
            os.chmod(path, stat.S_IWRITE)  # there a read-only file can't be deleted
        os.unlink(path)

    def mkdir(self, path: str) -> None:
        """Make a directory."""
        os.mkdir(path)

    def rmdir(self, path: str) -> None:
        """Delete an empty directory."""
        os.rmdir(path)

    def symlink(self, target: str, path: str) -> None:
        """Make a symlink."""
        os.symlink(target, path)

    def chmod(self, path: str, mode: int) -> None:
        """Set a file's permissions."""
        os.chmod(path, mode)

    def share(self, fd: int, sharing: Sharing, owner: int, mask: int) -> None:
        """Give a file of ours the group and the rights of its directory.

        Args:
            fd: The open file or directory.
            sharing: The rights.
            owner: What its owner may do with it.
            mask: Which of the rights it gets.
        """
        status = os.fstat(fd)
        if sys.platform == "win32" or not is_ours(status):
            return
        old, shared = stat.S_IMODE(status.st_mode), sharing.mode & mask
        if status.st_gid != sharing.group and not _allowed(os.fchown, fd, -1, sharing.group):
            # The rights of that group belong to no other, but it is a part of everybody.
            group = stat.S_IRWXG | stat.S_ISGID
            shared = shared & ~group | old & group | (shared & stat.S_IRWXO) << 3
        if old != owner | shared:
            _allowed(os.fchmod, fd, owner | shared)

    def utime(self, path: str, times_ns: tuple[int, int]) -> None:
        """Set the times of a file's last read and change."""
        try:
            os.utime(path, ns=times_ns)
        except PermissionError:
            if abs(times_ns[1] - time.time_ns()) > 10**9:
                raise
            os.utime(path)  # whoever may write to another user's file may set this


def _allowed(call: Callable[..., None], *args: int) -> bool:
    try:
        call(*args)
    except OSError as error:
        if error.errno not in _NOT_OURS:
            raise
        return False
    return True


@cache
def _libc() -> Any:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def _rename_new(source: bytes, target: bytes) -> None:
    import ctypes

    libc = _libc()
    if sys.platform == "darwin" and hasattr(libc, "renamex_np"):
        result = libc.renamex_np(source, target, ctypes.c_uint(4))  # RENAME_EXCL
    elif hasattr(libc, "renameat2"):
        here = ctypes.c_int(-100)  # AT_FDCWD
        result = libc.renameat2(here, source, here, target, ctypes.c_uint(1))  # RENAME_NOREPLACE
    else:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
