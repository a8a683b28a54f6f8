"""What is the content cache's own: only that is ever deleted.

The cache may lie in a directory that others use, too, and whoever is handed a directory may put
files of his own there. So only names that the cache gives are looked at, no symlink is followed,
and of what was handed out only files go that have the time of change that the pool gives.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress

from ama.errors import StorageError
from ama.system import copies, disk, fs
from ama.worktree.pool import FIRST_TIME_S, NO_STAMP_S, TIMES

ID = re.compile("[0-9a-f]{64}")
BLOB = re.compile(r"[0-9a-f]{64}(\.x)?")
SHARD = re.compile("[0-9a-f]{2}")
CLASS = re.compile("c-.+")
CHOICE = re.compile(r"(all|(path|some)-[0-9a-f]{16})(\.[0-9]+)?")
GONE = re.compile("(objects-)?[0-9a-f]{16}")

Stamps = Collection[int] | None
"""The times that files of an asset have, in seconds since 1970; None: they aren't known."""


def names_in(directory: str, shape: re.Pattern[str]) -> list[str]:
    """Return the names of a directory that the cache may have given."""
    if not os.path.islink(directory):
        with suppress(StorageError):
            return [name for name in disk.list_directory(directory) if shape.fullmatch(name)]
    return []


def ids_in(directory: str) -> list[bytes]:
    """Return the names of a directory that are ids."""
    return [bytes.fromhex(name) for name in names_in(directory, ID)]


def has_others(top: str, stamps: Stamps) -> bool:
    """Whether anything is below a directory that somebody has put there, or changed."""
    return any(not _is_own(status, stamps) for _, status in _below(top) if not _is_link(status))


def size_of_own(top: str) -> int:
    """Return the bytes below a directory that have no other name, and go with it."""
    return sum(_freed(status) for _, status in _below(top) if _is_own(status, None))


def size_below(top: str) -> int:
    """Return the bytes of all files below a directory."""
    return sum(status.st_size for _, status in _below(top))


def remove_own(top: str, stamps: Stamps) -> int:
    """Delete a directory, but what somebody has put there; return the bytes that this frees.

    Raises:
        StorageError: The disk refused.
    """
    links = not has_others(top, stamps)
    freed = 0
    for path, status in list(_below(top)):
        if _is_own(status, stamps) or (links and _is_link(status)):
            fs.remove(path)
            freed += _freed(status)
    for directory, _, _ in os.walk(top, topdown=False):
        fs.remove_empty_directory(directory)
    return freed


def _below(top: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield all that is below a directory, but directories."""
    if os.path.islink(top):
        return
    for directory, directories, names in os.walk(top):
        for name in (*directories, *names):
            path = os.path.join(directory, name)
            with suppress(OSError):
                status = os.lstat(path)
                if not stat.S_ISDIR(status.st_mode):
                    yield path, status


def _is_own(status: os.stat_result, stamps: Stamps) -> bool:
    if not stat.S_ISREG(status.st_mode):
        return False
    time = status.st_mtime_ns // 10**9
    if stamps is not None:
        return time == NO_STAMP_S or time in stamps
    in_range = NO_STAMP_S <= time < FIRST_TIME_S + 2 * TIMES
    return in_range and (os.name == "nt" or not copies.is_writable(status))


def _is_link(status: os.stat_result) -> bool:
    return stat.S_ISLNK(status.st_mode)


def _freed(status: os.stat_result) -> int:
    return status.st_size if stat.S_ISREG(status.st_mode) and status.st_nlink <= 1 else 0
