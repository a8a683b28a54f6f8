"""Whole, verified files of this machine by the ids of their content, read-only.

A file's time of change is made of its id. So whoever has changed it shows in its stat data, unless
he hides it; what differs is hashed again before it is used. Assets in the content cache are
directories of further names of these files, so content is here once.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path

from ama.errors import Hint, IntegrityError, StorageError, shown
from ama.format.hashing import blob_id, hash_stream
from ama.format.objects import EntryKind
from ama.system import copies, disk, fs
from ama.worktree.staging import is_settled
from ama.worktree.trees import Listed

FIRST_TIME_S = 1_000_000_000
TIMES = 250_000_000
"""The number of times that files get, two seconds apart: some file systems know no others."""

NO_STAMP_S = FIRST_TIME_S - 2
"""The time of a file that has turned out to be another."""


class Verified:
    """The files of other users that this one has verified: of each, its inode and its id.

    Args:
        directory: A directory of this user alone; None: nothing is remembered.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._known: dict[str, set[bytes]] = {}
        self._changed: set[str] = set()

    def has(self, status: os.stat_result, object_id: bytes) -> bool:
        """Whether a file needn't be read: it is this user's own, or he has verified it."""
        if sys.platform == "win32" or fs.is_ours(status):
            return True
        return _mark(status, object_id) in self._shard(object_id.hex()[:2])

    def note(self, status: os.stat_result, object_id: bytes) -> None:
        """Note that a file was verified."""
        shard = object_id.hex()[:2]
        self._shard(shard).add(_mark(status, object_id))
        self._changed.add(shard)

    def _shard(self, name: str) -> set[bytes]:
        if name not in self._known:
            data = b""
            if self._directory is not None:
                with suppress(StorageError):
                    data = disk.read_file(self._directory / name) or b""
            self._known[name] = {data[at : at + _MARK] for at in range(0, len(data), _MARK)}
        return self._known[name]

    def save(self) -> None:
        """Remember what was noted, if that is possible."""
        directory = self._directory
        for shard in self._changed if directory is not None else ():
            assert directory is not None
            with suppress(StorageError):
                fs.make_directories(directory, sync=False)
                temp = fs.write_temp(directory, b"".join(self._known[shard]), sync=False)
                fs.place(temp, directory / shard, sync=False)
        self._changed.clear()


_MARK = 16


def _mark(status: os.stat_result, object_id: bytes) -> bytes:
    return blob_id(b"%d %d " % (status.st_dev, status.st_ino) + object_id)[:_MARK]


class Pool:
    """The files below a directory.

    Args:
        directory: The directory; it needn't exist.
        top: The directory of the content cache, above it.
        sharing: The rights of that directory, if several users share it.
        verified: Which files of other users needn't be read.
    """

    def __init__(
        self, directory: str, top: str, sharing: fs.Sharing | None, verified: Verified
    ) -> None:
        self.directory = directory
        self._top = top
        self._sharing = sharing
        self.verified = verified
        self._made: set[str] = set()

    def place_of(self, object_id: bytes, *, executable: bool) -> str:
        """Return the path of a file, there or not."""
        name = object_id.hex()
        name = f"{name}.x" if executable else name
        return f"{self.directory}{os.sep}{name[:2]}{os.sep}{name}"

    def path(self, item: Listed) -> str:
        """Return the path of the content of an asset's file, there or not."""
        return self.place_of(item.id, executable=item.kind is EntryKind.EXECUTABLE)

    def has(self, item: Listed) -> bool:
        """Whether the content of an asset's file is here, as it was put here."""
        return self.is_intact(self.path(item), item) is True

    def is_intact(self, path: str, item: Listed) -> bool | None:
        """Whether a file is as the pool has made it; None if there is none.

        One that was touched is read, and one of another user once. If the content is right, it gets
        its stamp again.
        """
        try:
            status = os.lstat(path)
        except OSError:
            return None
        if not stat.S_ISREG(status.st_mode) or status.st_size != item.size:
            return False
        executable = item.kind is EntryKind.EXECUTABLE
        is_frozen = copies.is_frozen(status, stamp(item.id), executable=executable)
        if is_frozen and self.verified.has(status, item.id):
            return True
        looked = time.time_ns()
        if not _holds(path, item):
            return False
        if is_frozen:
            self.verified.note(status, item.id)
            return True
        return self._is_right_still(path, item, status, looked)

    def _is_right_still(self, path: str, item: Listed, seen: os.stat_result, looked: int) -> bool:
        """Give a touched file that was right its stamp again, unless somebody writes to it.

        It would be taken for verified for ever. A further name sets the time of the inode's change,
        too, so that one doesn't tell.
        """
        executable = item.kind is EntryKind.EXECUTABLE
        try:
            now = os.lstat(path)
        except OSError:
            return False
        if now.st_size != item.size:
            return False
        if copies.is_frozen(now, stamp(item.id), executable=executable):
            return True  # another process was faster
        if now.st_mtime_ns != seen.st_mtime_ns:
            return False
        if is_settled(seen.st_mtime_ns, looked):
            with suppress(StorageError):
                copies.freeze(path, stamp(item.id), executable=executable, sharing=self._sharing)
                self.verified.note(now, item.id)
                return True
        # It can't be set, or not yet. Beside its content it counts whether it can be run.
        return os.name == "nt" or bool(now.st_mode & stat.S_IXUSR) == executable

    def take(self, temp: str, item: Listed) -> int:
        """Take a verified file that nobody else sees, unless there is one of this content.

        Returns:
            The bytes by which the pool has grown.

        Raises:
            IntegrityError: The asset says another size.
            StorageError: The disk refused.
        """
        size = os.lstat(temp).st_size
        if size != item.size:  # else its content would count as changed, for other assets too
            raise IntegrityError(
                f"{shown(item.path)} has {size:,} bytes, and its directory says {item.size:,}",
                hint=Hint("exclude", glob=item.path),
            )
        path = self.path(item)
        directory = os.path.dirname(path)
        if directory not in self._made:
            fs.make_directories(directory, sync=False, top=self._top, sharing=self._sharing)
            self._made.add(directory)
        executable = item.kind is EntryKind.EXECUTABLE
        copies.freeze(temp, stamp(item.id), executable=executable, sharing=self._sharing)
        try:
            fs.place_new(temp, path)
        except FileExistsError:
            if self.has(item):
                fs.remove(temp)
                return 0
            fs.place(temp, path, sync=False)
        return item.size

    def put_name(self, item: Listed, path: str) -> int | None:
        """Give the content of an asset's file a second name.

        Where the file system refuses that, it becomes a copy, which is verified.

        Returns:
            The bytes that this has taken; None if the content isn't here any more.

        Raises:
            FileExistsError: Something has the name.
            StorageError: The disk refused.
        """
        source = self.path(item)
        try:
            if copies.link(source, path):
                return 0
            copies.copy_new(source, path)
        except FileNotFoundError:
            if os.path.lexists(source):
                raise
            return None
        executable = item.kind is EntryKind.EXECUTABLE
        if not _holds(path, item):
            fs.remove(path)
            self.drop(item)
            return None
        copies.freeze(path, stamp(item.id), executable=executable, sharing=self._sharing)
        return item.size

    def doubt(self, path: str) -> None:
        """Note at a file that it is another, for all its names: whoever uses it reads it first.

        One that shows that it was changed stays as it is: it may be somebody's work.
        """
        name, _, program = os.path.basename(path).partition(".")
        if path.startswith(self.directory + os.sep):
            with suppress(StorageError, OSError):
                status, time_s = os.lstat(path), stamp(bytes.fromhex(name))
                if copies.is_frozen(status, time_s, executable=bool(program)):
                    copies.set_changed_at(path, NO_STAMP_S)

    def drop(self, item: Listed) -> None:
        """Forget content that has turned out to be another."""
        fs.remove(self.path(item))

    def remove_unused(self, object_id: bytes) -> int:
        """Delete content that no asset here has any more; return the bytes that this frees."""
        freed = 0
        for executable in (False, True):
            path = self.place_of(object_id, executable=executable)
            with suppress(OSError):
                status = os.lstat(path)
                if status.st_nlink <= 1:
                    fs.remove(path)
                    freed += status.st_size
        return freed


def stamp(object_id: bytes) -> int:
    """Return the time of change of a file in the pool, in seconds since 1970.

    Example:
        >>> stamp(bytes(32))
        1000000000
    """
    return FIRST_TIME_S + 2 * (int.from_bytes(object_id[:8], "big") % TIMES)


def _holds(path: str, item: Listed) -> bool:
    try:
        with disk.open_file(path) as file:
            return hash_stream(file) == (item.id, item.size)
    except OSError:
        return False
