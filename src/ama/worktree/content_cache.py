"""The content cache of this machine: assets as read-only directories, each content once.

    blobs/<2 hex>/<id>          whole files, see `pool`; programs end in `.x`
    assets/<id>/objects/        the asset, its trees and recipes, as far as they were needed
    assets/<id>/<choice>/       a directory that was handed out: further names of the files
    classes/c-<class>/<id>      the mark of an asset: when it was used last
    filling/<user>/<id>/        content on its way, in `incoming` as in a worktree: his alone
    turns/<id>/turn             held by who brings files of an asset: others wait for them
    gone/                       what is being deleted
    account                     the bytes of all content, and when they were counted

A directory is built unseen and gets its name whole; then nobody changes it. Every step may be
repeated, and several processes may do the same at once: whoever is late takes what is there. Locks
only keep two from the same work. What a crash leaves is deleted when content has to go.

When there is more than is allowed, the assets that were used least recently go, each by a rename
first. One that was handed out lately stays: somebody is about to use it. What isn't the cache's own
stays as well, see `cached_files`.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum, auto
from itertools import count
from pathlib import Path

from ama.errors import AmaError, NotFound, StorageError
from ama.format.hashing import blob_id
from ama.format.objects import EntryKind
from ama.settings import Settings
from ama.system import copies, disk, fs
from ama.system.encoding import to_system
from ama.worktree.cached_files import (
    BLOB,
    CHOICE,
    CLASS,
    GONE,
    ID,
    SHARD,
    Stamps,
    has_others,
    ids_in,
    names_in,
    remove_own,
    size_below,
    size_of_own,
)
from ama.worktree.incoming import Incoming, delete_all
from ama.worktree.layout import INCOMING, TURN, Begun
from ama.worktree.listing import Files
from ama.worktree.local_objects import LocalObjects
from ama.worktree.near import OtherContentError, small_content
from ama.worktree.pool import Pool, Verified, stamp
from ama.worktree.trees import Listed

LATELY_S = 10 * 60
"""The seconds for which an asset that was handed out isn't deleted, whatever the bound."""

MARK_AGAIN_S = 30
"""The seconds for which a mark needn't be set again."""

COUNT_AGAIN_S = 24 * 60 * 60
"""The age from which the bytes are counted again before content goes, and litter is deleted."""

OBJECTS, FILLING = "objects", "filling"

_DENIED = (errno.EACCES, errno.EPERM)
_PATIENCE = 100
_A_MOMENT_S = 0.01


class State(Enum):
    """What became of a directory that was handed out."""

    GONE = auto()
    AS_IT_WAS = auto()
    MORE = auto()
    """Something was put there."""
    CHANGED = auto()
    """A file of it is missing or another."""


class ContentCache:
    """The content cache in a directory.

    Args:
        directory: The directory; it needn't exist.
        size: The most bytes to keep.
        own: A directory of this user alone, for what he has verified of others; None: nothing.
    """

    def __init__(self, directory: Path, size: int, own: Path | None = None) -> None:
        self.directory = directory
        self.size = size
        self._top = os.fspath(directory)
        self.sharing = fs.sharing_of(directory)
        self.pool = Pool(self._path("blobs"), self._top, self.sharing, Verified(own))

    @classmethod
    def of(cls, settings: Settings) -> ContentCache | None:
        """Return the cache that is configured; None: it is switched off, or has no place."""
        if settings.content_dir is None or settings.content_size <= 0:
            return None
        own = settings.cache_dir and settings.cache_dir / "verified"
        return cls(settings.content_dir, settings.content_size, own)

    def _path(self, *parts: str) -> str:
        return os.path.join(self._top, *parts)

    def is_there(self) -> bool:
        """Whether anything was ever kept here."""
        return os.path.isdir(self.pool.directory)

    def make(self, *parts: str) -> str:
        """Make a directory in the cache, with the rights of the cache's own."""
        if not os.path.isdir(self._top):
            fs.make_directories(self._top, sync=False)
        path = self._path(*parts)
        fs.make_directories(path, sync=False, top=self._top, sharing=self.sharing)
        return path

    def asset(self, class_name: str, asset: bytes) -> CachedAsset:
        """Return an asset's place in the cache."""
        return CachedAsset(self, class_name, asset)

    def assets(self, class_name: str) -> Iterator[CachedAsset]:
        """Yield the assets of a class that are here, those used last first."""
        marks = sorted(self._marks_in(f"c-{class_name}"), reverse=True)
        return (self.asset(class_name, asset) for _, asset in marks)

    def mark(self, class_name: str, asset: bytes) -> None:
        """Note that an asset is used now, if that can be noted."""
        path = self._path("classes", f"c-{class_name}", asset.hex())
        with suppress(StorageError, OSError):
            changed = disk.changed_at(path)
            if changed is not None and abs(time.time() - changed / 1e9) < MARK_AGAIN_S:
                return
            # A new file: another user's can't be touched.
            directory = self.make("classes", f"c-{class_name}")
            temp = fs.write_temp(directory, b"", sync=False, sharing=self.sharing)
            fs.place(temp, path, sync=False)

    def _marks(self) -> list[tuple[int, bytes]]:
        """Return all assets here, those used least recently first; one without a mark is old."""
        names = names_in(self._path("classes"), CLASS)
        found = {asset: used for name in names for used, asset in self._marks_in(name)}
        for directory in (self._path("assets"), self._fillings()):
            for asset in ids_in(directory):
                found.setdefault(asset, 0)
        return sorted((used, asset) for asset, used in found.items())

    def _marks_in(self, directory: str) -> Iterator[tuple[int, bytes]]:
        where = self._path("classes", directory)
        for asset in ids_in(where):
            with suppress(StorageError):
                yield disk.changed_at(os.path.join(where, asset.hex())) or 0, asset

    def _marks_of(self, asset: bytes) -> list[str]:
        names = names_in(self._path("classes"), CLASS)
        paths = (self._path("classes", name, asset.hex()) for name in names)
        return [path for path in paths if os.path.lexists(path)]

    def _fillings(self) -> str:
        return self._path(FILLING, _user())

    def _left(self, but: bytes = b"") -> int:
        """Return the bytes that commands of this user have fetched and not brought to their end."""
        assets = [asset for asset in ids_in(self._fillings()) if asset != but]
        return sum(Filling(self, asset).size() for asset in assets)

    # How much there is

    def grew(self, size: int) -> None:
        """Note that content is about to come, or (below 0) has gone."""
        if not size:
            return
        with suppress(StorageError):
            lock = self._held("account.lock")
            try:
                total, counted = self._account() or self._count_again()
                self._write_account(total + size, counted)
            finally:
                if lock is not None:
                    fs.let_go(lock)

    def total(self) -> int:
        """Return the bytes of all content, as far as is known."""
        return (self._account() or (0, 0))[0]

    def _account(self) -> tuple[int, int] | None:
        """Return the bytes of all content, and when they were counted, in seconds since 1970.

        None: nothing says so. A crash may have emptied the file.
        """
        try:
            total, counted = map(int, (disk.read_file(self._path("account"), 100) or b"").split())
        except (StorageError, ValueError):
            return None
        return max(total, 0), counted

    def _write_account(self, total: int, counted: int) -> None:
        temp = fs.write_temp(
            self._top, b"%d %d\n" % (total, counted), sync=False, sharing=self.sharing
        )
        fs.place(temp, self._path("account"), sync=False)

    def _held(self, name: str) -> int | None:
        """Lock a file for a moment; None: another seems to hang, and is not waited for.

        Nor is a file that another user has made for himself alone.
        """
        for _ in range(_PATIENCE):
            try:
                lock = self.hold(name)
            except StorageError as error:
                if error.errno not in _DENIED:
                    raise
                return None
            if lock is not None:
                return lock
            time.sleep(_A_MOMENT_S)
        return None

    def hold(self, *parts: str) -> int | None:
        """Lock a file of the cache, which all its users can lock; None: another has it."""
        lock = fs.hold(self._path(*parts))
        if lock is not None and self.sharing is not None:
            copies.share(lock, self.sharing)
        return lock

    # Letting go

    def trim(self, keep: bytes, needed: int = 0) -> int:
        """Delete the assets that were used least recently, if there is more than is allowed.

        Args:
            keep: An asset that stays.
            needed: The bytes that the disk lacks: so much goes, whatever is allowed.

        Returns:
            The bytes that this has freed.
        """
        left = self._left(keep)
        total = self.total() + left
        if (needed > total) if needed else (total <= self.size):
            return 0  # or nothing would be won
        with suppress(StorageError):
            try:
                lock = self.hold("evicting")
            except StorageError as error:
                if error.errno not in _DENIED:
                    raise
                return self._trim(keep, needed, left)  # another user's: go on without
            if lock is not None:
                try:
                    return self._trim(keep, needed, left)
                finally:
                    fs.let_go(lock)
        return 0

    def _trim(self, keep: bytes, needed: int, left: int) -> int:
        total, counted = self._account() or (0, 0)
        if abs(time.time() - counted) > COUNT_AGAIN_S:
            total, _ = self._count_again()
        total += left
        freed = 0
        for used, asset in self._marks():
            if total - freed <= self.size and freed >= needed:
                break
            if asset != keep and abs(time.time() - used / 1e9) >= LATELY_S:
                with suppress(StorageError):
                    freed += self._remove(asset, used)
        return freed

    def _remove(self, asset: bytes, used: int) -> int:
        """Delete an asset, unless it was used meanwhile; return the bytes that this frees.

        What somebody has put there stays.
        """
        root = self._path("assets", asset.hex())
        ids, are_all = _ids_in(LocalObjects(Path(root, OBJECTS)), asset)
        stamps = set(map(stamp, ids)) if are_all else None
        choices = [os.path.join(root, name) for name in names_in(root, CHOICE)]
        go = [each for each in choices if not has_others(each, stamps)]
        if self._was_used(asset, used):
            return 0
        aside = [(each, self._aside()) for each in go]
        aside.append((os.path.join(root, OBJECTS), self._aside("objects-")))
        moved = [
            (path, there)
            for path, there in aside
            if os.path.isdir(path) and not os.path.islink(path) and fs.move_directory(path, there)
        ]
        if self._was_used(asset, used):  # and handed out before it was gone
            for path, there in moved:
                fs.move_directory(there, path)
            return 0
        freed = sum(remove_own(each, stamps) for each in choices if each not in go)
        freed += sum(self._remove_aside(there, stamps) for _, there in moved)
        freed += sum(map(self.pool.remove_unused, ids))
        self.grew(-freed)
        if os.path.isdir(root) and not os.path.islink(root):
            fs.remove_empty_directory(root)
        left = Filling(self, asset).give_up()
        for path in self._marks_of(asset):
            fs.remove(path)
        return freed + left

    def _was_used(self, asset: bytes, used: int) -> bool:
        return any(disk.changed_at(path) != used for path in self._marks_of(asset))

    def _aside(self, kind: str = "") -> str:
        return os.path.join(self.make("gone"), kind + os.urandom(8).hex())

    def put_away(self, path: str) -> None:
        """Put a directory away that isn't what it was, if that is possible."""
        with suppress(StorageError):
            fs.move_directory(path, self._aside())

    def _remove_aside(self, path: str, stamps: Stamps) -> int:
        if os.path.basename(path).startswith("objects-"):
            delete_all(path)
            return 0
        return remove_own(path, stamps)

    def _count_again(self) -> tuple[int, int]:
        """Count the bytes of all content, and delete what crashes have left."""
        now, total = time.time(), 0
        blobs = self.pool.directory
        for shard in names_in(blobs, SHARD):
            for name in names_in(os.path.join(blobs, shard), BLOB):
                with suppress(OSError):
                    path = os.path.join(blobs, shard, name)
                    status = os.lstat(path)
                    if status.st_nlink > 1 or abs(now - status.st_ctime) < COUNT_AGAIN_S:
                        total += status.st_size
                    else:
                        fs.remove(path)
        for asset in names_in(self._path("assets"), ID):
            root = self._path("assets", asset)
            total += sum(size_of_own(os.path.join(root, name)) for name in names_in(root, CHOICE))
        for name in names_in(self._path("gone"), GONE):
            with suppress(OSError):
                path = self._path("gone", name)
                if abs(now - os.lstat(path).st_ctime) >= COUNT_AGAIN_S:
                    self._remove_aside(path, None)
        for name in names_in(self._path("turns"), ID):
            path = self._path("turns", name)
            if os.path.islink(path):
                continue
            with suppress(StorageError):
                changed = disk.changed_at(os.path.join(path, TURN)) or 0
                # Not at once: whoever is about to take his turn would wait for nobody.
                if abs(now - changed / 1e9) >= COUNT_AGAIN_S:
                    fs.remove(os.path.join(path, TURN))
                    fs.remove_empty_directory(path)
        fs.remove_stale_temps(self._top, COUNT_AGAIN_S)
        self._write_account(total, int(now))
        return total, int(now)


class Filling:
    """The place through which content of an asset comes into the cache; see `Incoming`.

    Each user has one of his own, which no other may write to: content is deleted there by what
    it is called, and what a dead command has left is taken over.
    """

    def __init__(self, cache: ContentCache, asset: bytes) -> None:
        self.root = cache.directory
        self._cache = cache
        self._users = cache.directory / FILLING / _user()
        self.control = self._users / asset.hex()

    def make(self) -> None:
        """Make it.

        Raises:
            StorageError: The disk refused, or another user could write there.
        """
        self._cache.make(FILLING)
        for each in (self._users, self.control, self.control / INCOMING):
            copies.make_private(os.fspath(each))

    def size(self) -> int:
        """Return the bytes that are here."""
        return size_below(os.fspath(self.control))

    def give_up(self) -> int:
        """Delete what dead commands have left; return the bytes that this frees."""
        if os.path.islink(self._users) or os.path.islink(self.control):
            return 0
        size = self.size()
        with suppress(StorageError):
            Incoming.give_up(self)
        freed = size - self.size()
        self.close()
        return freed

    def close(self) -> None:
        """Delete it if there is nothing in it."""
        with suppress(StorageError):
            fs.remove_empty_directory(self.control / INCOMING)
            fs.remove_empty_directory(self.control)


class Turn:
    """The turns of those that bring files of one asset into the cache; see `turn`."""

    def __init__(self, cache: ContentCache, asset: bytes) -> None:
        self.root = cache.directory
        self.control = Path(cache.make("turns", asset.hex()))
        lock = cache.hold("turns", asset.hex(), TURN)  # so that other users can hold it, too
        if lock is not None:
            fs.let_go(lock)

    def begun(self) -> Begun | None:
        """Return None: whoever waits looks for the files again."""
        return None


class CachedAsset:
    """An asset's place in the content cache.

    Args:
        cache: The cache.
        class_name: The asset's class.
        asset: Its id.
    """

    def __init__(self, cache: ContentCache, class_name: str, asset: bytes) -> None:
        self.id = asset
        self._cache = cache
        self._class_name = class_name
        self._root = cache.directory / "assets" / asset.hex()
        self.objects = LocalObjects(self._root / OBJECTS, shared=cache.sharing is not None)

    def mark(self) -> None:
        """Note that it is used now. Then nobody deletes it for a while."""
        self._cache.mark(self._class_name, self.id)

    def make(self) -> None:
        """Make its directory, and that of its objects: their rights are those of it."""
        self._cache.make("assets", self.id.hex(), OBJECTS)

    def find(self, choice: str, files: Files, *, alone: bool = True) -> str | None:
        """Return the directory of a choice of files, if it is as it was made.

        One in which something was changed is put away, where nobody finds it.

        Args:
            choice: The name of the choice.
            files: The files.
            alone: Whether nothing else may be there.
        """
        for number in self._numbers(choice):
            path = self._place(choice, number)
            state = self._state(path, files, alone=alone)
            if state is State.AS_IT_WAS:
                return path
            if state is State.MORE:
                return None  # those before it are no better: it was made because they weren't
            if state is State.CHANGED:
                if has_others(path, {stamp(item.id) for item in files}):
                    return None  # it may be somebody's work
                self._cache.put_away(path)
        return None

    def link(self, choice: str, item: Listed) -> bytes | None:
        """Return what a symlink says, if it is in a directory of a choice, or in the pool."""
        for number in self._numbers(choice)[:1]:
            path = f"{self._place(choice, number)}{os.sep}{to_system(item.path)}"
            with suppress(StorageError):
                data = os.fsencode(disk.read_symlink(path))
                if blob_id(data) == item.id:
                    return data
        with suppress(OSError, OtherContentError):
            return small_content(self._cache.pool.path(item), item)
        return None

    def _numbers(self, choice: str) -> list[int]:
        """Return the numbers of the directories of a choice, the newest first."""
        found = []
        names: list[str] = []
        with suppress(StorageError):
            names = disk.list_directory(self._root)
        for name in names:
            begin, dot, number = name.partition(".")
            if begin == choice and (not dot or number.isdecimal()):
                found.append(int(number) if dot else 1)
        return sorted(found, reverse=True)

    def place(self, built: str, choice: str, files: Files) -> str:
        """Give a directory that is whole its name, unless another process was faster.

        Returns:
            Its path.
        """
        self.make()
        for number in count(max(self._numbers(choice), default=1)):
            path = self._place(choice, number)
            if fs.move_directory(built, path):
                return path
            if self._state(path, files, alone=True) is State.AS_IT_WAS:
                delete_all(built)
                return path
        raise AssertionError

    def _place(self, choice: str, number: int) -> str:
        return os.path.join(self._root, choice if number == 1 else f"{choice}.{number}")

    def _state(self, top: str, files: Files, *, alone: bool) -> State:
        if os.path.islink(top) or not os.path.isdir(top):
            return State.GONE if not os.path.lexists(top) else State.MORE
        number = 0
        directories: set[str] = set()
        for item in files:
            path = f"{top}{os.sep}{to_system(item.path)}"
            if item.kind is EntryKind.SYMLINK:
                right: bool | None = _says(path, item)
            else:
                right = self._cache.pool.is_intact(path, item)
            if not right:
                return State.CHANGED
            number += 1
            above = item.path.rpartition("/")[0]
            while above and above not in directories:
                directories.add(above)
                above = above.rpartition("/")[0]
        if any(os.path.islink(f"{top}{os.sep}{to_system(each)}") for each in directories):
            return State.CHANGED
        if alone:
            there = sum(len(inner) + len(names) for _, inner, names in os.walk(top))
            if there != number + len(directories):
                return State.MORE
        return State.AS_IT_WAS


def _says(path: str, item: Listed) -> bool:
    """Whether a symlink is what an asset has."""
    try:
        return blob_id(os.fsencode(disk.read_symlink(path))) == item.id
    except OSError:
        return False


def _ids_in(objects: LocalObjects, asset: bytes) -> tuple[set[bytes], bool]:
    """Return the contents of an asset, as far as its trees are at hand, and if none is damaged."""
    found: set[bytes] = set()
    try:
        waiting = {objects.asset(asset).tree}
        seen: set[bytes] = set()
        while waiting:
            tree = waiting.pop()
            seen.add(tree)
            with suppress(NotFound):
                for entry in objects.tree(tree):
                    if entry.kind is not EntryKind.TREE:
                        found.add(entry.id)
                    elif entry.id not in seen:
                        waiting.add(entry.id)
    except AmaError:
        return found, False
    return found, True


def _user() -> str:
    return "user" if sys.platform == "win32" else str(os.geteuid())
