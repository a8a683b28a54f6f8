"""What lies in a worktree: its files with their stat data, links never followed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from ama.errors import storage_error
from ama.ignore import Ignore
from ama.objects import EntryKind
from ama.staging import RACY, IndexEntry


class Found(NamedTuple):
    """A file or symlink in the worktree. Times are nanoseconds, the size bytes."""

    path: str
    kind: EntryKind
    size: int
    mtime: int
    ctime: int
    inode: int


_FILE, _EXECUTABLE, _SYMLINK = EntryKind.FILE, EntryKind.EXECUTABLE, EntryKind.SYMLINK


def look(root: str | os.PathLike[str], path: str) -> Found | None:
    """Return what is at a path, or None if there's no file or symlink.

    Raises:
        StorageError: it can't be looked at.
    """
    full = os.path.join(root, path)
    try:
        status = os.lstat(full)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:  # behind a symlink that leads to itself
            return None
        raise storage_error(error, full, doing="read") from error
    kind = _kind(status.st_mode)
    if kind is None:
        return None
    return Found(path, kind, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def scan(root: str | os.PathLike[str], ignore: Ignore, below: str = "") -> Iterator[Found]:
    """Yield every file and symlink below a directory that isn't ignored.

    A directory that is a worktree itself is not entered; what is neither a file, a directory nor
    a symlink is passed over.

    Raises:
        StorageError: a directory can't be read.
    """
    top = os.fspath(root)
    waiting = [below]
    # There may be 100,000 files, and of what follows each is done once a file.
    kinds: dict[int, EntryKind] = {}
    make = tuple.__new__
    while waiting:
        directory = waiting.pop()
        full = os.path.join(top, directory) if directory else top
        prefix = f"{directory}/" if directory else ""
        try:
            with os.scandir(full) as entries:
                listed = list(entries)
        except OSError as error:
            raise storage_error(error, full, doing="read") from error
        if directory and ".ama" in {entry.name for entry in listed}:
            continue
        free = not ignore.has_rules(directory)
        for entry in listed:
            name = entry.name
            path = prefix + name
            is_directory = entry.is_dir(follow_symlinks=False)
            if (name[0] == "." or not free) and ignore.ignores(path, is_directory):
                continue
            if is_directory:
                waiting.append(path)
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            mode = status.st_mode
            kind = kinds.get(mode)
            if kind is None:
                kind = _kind(mode)
                if kind is None:
                    continue
                kinds[mode] = kind
            size, mtime, ctime = status.st_size, status.st_mtime_ns, status.st_ctime_ns
            yield make(Found, (path, kind, size, mtime, ctime, status.st_ino))


def unchanged(entry: IndexEntry, found: Found, index_written_at: int) -> bool:
    """Whether a file is what was added, judged by its stat data alone.

    False may also mean "can't tell without reading it". A file modified in the very moment that
    the index was written may have changed since without a trace ("racily clean", as git's
    Documentation/technical/racy-git.txt describes it), so it counts as unknown.
    """
    _, kind, size, mtime, ctime, inode = found
    return (
        entry[4] == mtime
        and entry[3] == size
        and entry[6] == inode
        and entry[5] == ctime
        and entry[1] is kind
        and mtime < index_written_at
        and mtime != RACY
    )


def _kind(mode: int) -> EntryKind | None:
    sort = stat.S_IFMT(mode)
    if sort == stat.S_IFREG:
        return _EXECUTABLE if mode & 0o100 and os.name != "nt" else _FILE
    return _SYMLINK if sort == stat.S_IFLNK else None


def obstacles(root: str | os.PathLike[str], paths: Iterable[str]) -> frozenset[str]:
    """Return what stands where paths have a directory above them and is none: files, symlinks.

    What is behind a symlink is not the worktree's: nobody may look, write or delete there.
    """
    top = os.fspath(root)
    parents: set[str] = set()
    for path in paths:
        parent = path.rpartition("/")[0]
        while parent and parent not in parents:
            parents.add(parent)
            parent = parent.rpartition("/")[0]
    found: set[str] = set()
    # The upper ones first: what is behind one of them counts for nothing.
    for parent in sorted(parents):
        if not is_behind(parent, found) and _is_no_directory(os.path.join(top, parent)):
            found.add(parent)
    return frozenset(found)


def is_behind(path: str, obstacles: Collection[str]) -> bool:
    """Whether one of these stands above a path.

    Example:
        >>> is_behind("link/a/b", {"link"}), is_behind("link", {"link"})
        (True, False)
    """
    parent = path.rpartition("/")[0]
    while obstacles and parent:
        if parent in obstacles:
            return True
        parent = parent.rpartition("/")[0]
    return False


def _is_no_directory(full: str) -> bool:
    try:
        return not stat.S_ISDIR(os.lstat(full).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise storage_error(error, full, doing="read") from error
