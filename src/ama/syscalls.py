"""The system calls that change the disk: only `fs` uses them, and tests make them fail."""

from __future__ import annotations

import errno
import os
import sys


class System:
    """One method for each call. `fs` holds the one instance, and explains what goes wrong."""

    def open(self, path: str, flags: int, mode: int) -> int:
        """Make a file."""
        return os.open(path, flags, mode)

    def write(self, fd: int, data: memoryview) -> int:
        """Write some of the bytes, and return how many."""
        return os.write(fd, data)

    def fsync(self, fd: int) -> None:
        """Make a file, or the names in a directory, durable."""
        if sys.platform == "darwin":
            # There fsync leaves the data in the drive's cache; not every file system has more.
            import fcntl

            try:
                fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
                return
            except OSError:
                pass
        os.fsync(fd)

    def link(self, source: str, target: str) -> None:
        """Give a file a second name, which must not exist."""
        os.link(source, target, follow_symlinks=os.link not in os.supports_follow_symlinks)

    def replace(self, source: str, target: str) -> None:
        """Rename, replacing what has the name."""
        os.replace(source, target)

    def rename_new(self, source: str, target: str) -> None:
        """Rename, to a name that must not exist: for file systems without links."""
        if sys.platform == "win32":
            os.rename(source, target)
        else:
            _rename_new(os.fsencode(source), os.fsencode(target))

    def unlink(self, path: str) -> None:
        """Delete a file."""
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

    def utime(self, path: str, times_ns: tuple[int, int]) -> None:
        """Set when a file was last read and changed."""
        os.utime(path, ns=times_ns)


def _rename_new(source: bytes, target: bytes) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
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
