"""The content cache of this machine: assets as read-only directories, each content once.

    blobs/<2 hex>/<id>          whole files, see `pool`; programs end in `.x`
    assets/<id>/objects/        the asset, its trees and recipes, as far as they were needed
    assets/<id>/<choice>/       a directory that was handed out: further names of the files
    classes/c-<class>/<id>      the mark of an asset: when it was used last
    filling/<user>/<id>/        content on its way, in `incoming` as in a worktree
    turns/<id>/turn             held by who brings files of an asset: others wait for them
    gone/                       what is being deleted
    account                     the bytes of all content, and when they were counted

A directory is built unseen and gets its name whole; then nobody changes it. Every step may be
repeated, and several processes may do the same at once: whoever is late takes what is there. Locks
only keep two from the same work. What a crash leaves is deleted when content has to go.

When there is more than is allowed, the assets that were used least recently go, each by a rename
first. One that was handed out lately stays: somebody is about to use it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
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
from ama.worktree.incoming import Incoming, delete_all
from ama.worktree.layout import INCOMING, TURN, Begun
from ama.worktree.listing import Files
from ama.worktree.local_objects import LocalObjects
from ama.worktree.near import OtherContentError, small_content
from ama.worktree.pool import Pool, Verified
from ama.worktree.trees import Listed

LATELY_S = 10 * 60
"""The seconds for which an asset that was handed out isn't deleted, whatever the bound."""

MARK_AGAIN_S = 30
"""The seconds for which a mark needn't be set again."""

COUNT_AGAIN_S = 24 * 60 * 60
"""The age from which the bytes are counted again before content goes, and litter is deleted."""

OBJECTS, FILLING = "objects", "filling"

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
        names = disk.list_directory(self._path("classes"))
        found = {asset: used for name in names for used, asset in self._marks_in(name)}
        for name in disk.list_directory(self._path("assets")):
            with suppress(ValueError):
                found.setdefault(bytes.fromhex(name), 0)
        return sorted((used, asset) for asset, used in found.items())

    def _marks_in(self, directory: str) -> Iterator[tuple[int, bytes]]:
        where = self._path("classes", directory)
        with suppress(StorageError):
            for name in disk.list_directory(where):
                with suppress(ValueError):
                    used = disk.changed_at(os.path.join(where, name))
                    yield used or 0, bytes.fromhex(name)

    # How much there is

    def grew(self, size: int) -> None:
        """Note that content has come, or (below 0) has gone."""
        if not size:
            return
        with suppress(StorageError):
            lock = self._held("account.lock")
            try:
                total, counted = self._account()
                self._write_account(total + size, counted)
            finally:
                if lock is not None:
                    fs.let_go(lock)

    def total(self) -> int:
        """Return the bytes of all content, as far as is known."""
        return self._account()[0]

    def _account(self) -> tuple[int, int]:
        """Return the bytes of all content, and when they were counted, in seconds since 1970."""
        try:
            total, counted = map(int, (disk.read_file(self._path("account"), 100) or b"").split())
        except (StorageError, ValueError):
            return 0, 0
        return max(total, 0), counted

    def _write_account(self, total: int, counted: int) -> None:
        temp = fs.write_temp(
            self._top, b"%d %d\n" % (total, counted), sync=False, sharing=self.sharing
        )
        fs.place(temp, self._path("account"), sync=False)

    def _held(self, name: str) -> int | None:
        """Lock a file for a moment; None: another seems to hang, and is not waited for."""
        for _ in range(_PATIENCE):
            lock = self.hold(name)
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
        if not needed and self.total() <= self.size:
            return 0
        with suppress(StorageError):
            lock = self.hold("evicting")
            if lock is not None:
                try:
                    return self._trim(keep, needed)
                finally:
                    fs.let_go(lock)
        return 0

    def _trim(self, keep: bytes, needed: int) -> int:
        total, counted = self._account()
        if abs(time.time() - counted) > COUNT_AGAIN_S:
            total = self._count_again()
        freed = 0
        for used, asset in self._marks():
            if total - freed <= self.size and freed >= needed:
                break
            if asset != keep and abs(time.time() - used / 1e9) >= LATELY_S:
                freed += self._remove(asset, used)
        self.grew(-freed)
        return freed

    def _remove(self, asset: bytes, used: int) -> int:
        """Delete an asset, unless it was used meanwhile; return the bytes that this frees."""
        marks = [
            self._path("classes", name, asset.hex())
            for name in disk.list_directory(self._path("classes"))
        ]
        marks = [path for path in marks if os.path.lexists(path)]
        if any(disk.changed_at(path) != used for path in marks):
            return 0
        aside = os.path.join(self.make("gone"), os.urandom(8).hex())
        root = self._path("assets", asset.hex())
        freed = 0
        if os.path.isdir(root) and fs.move_directory(root, aside):
            freed = self._delete_asset(aside, asset)
        filling = Filling(self, asset)
        with suppress(StorageError):
            Incoming.give_up(filling)
            fs.remove_empty_directory(filling.control / INCOMING)
            fs.remove_empty_directory(filling.control)
        for path in marks:
            fs.remove(path)
        return freed

    def _delete_asset(self, root: str, asset: bytes) -> int:
        ids = set(_ids_in(LocalObjects(Path(root, OBJECTS)), asset))
        freed = sum(
            _only_name(os.path.join(directory, name))
            for directory, _, names in os.walk(root)
            for name in names
            if not directory.startswith(os.path.join(root, OBJECTS))
        )
        delete_all(root)
        return freed + sum(map(self.pool.remove_unused, ids))

    def _count_again(self) -> int:
        """Count the bytes of all content, and delete what crashes have left."""
        now, total = time.time(), 0
        for directory, _, names in os.walk(self.pool.directory):
            for path in (os.path.join(directory, name) for name in names):
                with suppress(OSError):
                    status = os.lstat(path)
                    if status.st_nlink > 1 or abs(now - status.st_ctime) < COUNT_AGAIN_S:
                        total += status.st_size
                    else:
                        fs.remove(path)
        for directory, directories, names in os.walk(self._path("assets")):
            if OBJECTS in directories and os.path.dirname(directory) == self._path("assets"):
                directories.remove(OBJECTS)
            total += sum(_only_name(os.path.join(directory, name)) for name in names)
        for name in disk.list_directory(self._path("gone")):
            with suppress(OSError):
                path = self._path("gone", name)
                if abs(now - os.lstat(path).st_ctime) >= COUNT_AGAIN_S:
                    delete_all(path)
        for name in disk.list_directory(self._path("turns")):
            path = self._path("turns", name)
            changed = disk.changed_at(os.path.join(path, TURN)) or 0
            # Not at once: whoever is about to take his turn would wait for nobody.
            if abs(now - changed / 1e9) >= COUNT_AGAIN_S:
                fs.remove(os.path.join(path, TURN))
                fs.remove_empty_directory(path)
        fs.remove_stale_temps(self._top, COUNT_AGAIN_S)
        self._write_account(total, int(now))
        return total


class Filling:
    """The place through which content of an asset comes into the cache; see `Incoming`.

    Each user has one of his own, which no other may write to: content is deleted there by what
    it is called, and what a dead command has left is taken over.
    """

    def __init__(self, cache: ContentCache, asset: bytes) -> None:
        self.root = cache.directory
        user = "user" if sys.platform == "win32" else str(os.geteuid())
        self._cache = cache
        self._users = cache.directory / FILLING / user
        self.control = self._users / asset.hex()

    def make(self) -> None:
        """Make it.

        Raises:
            StorageError: The disk refused, or another user could write there.
        """
        self._cache.make(FILLING)
        for each in (self._users, self.control, self.control / INCOMING):
            copies.make_private(os.fspath(each))


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
                self._put_away(path)
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

    def _put_away(self, path: str) -> None:
        with suppress(StorageError):
            fs.move_directory(path, os.path.join(self._cache.make("gone"), os.urandom(8).hex()))

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


def _only_name(path: str) -> int:
    """Return the bytes of a file that has no other name; 0 if it has one."""
    with suppress(OSError):
        status = os.lstat(path)
        return status.st_size if status.st_nlink <= 1 and not os.path.islink(path) else 0
    return 0


def _ids_in(objects: LocalObjects, asset: bytes) -> Iterable[bytes]:
    """Yield the contents of an asset, as far as its trees are at hand."""
    with suppress(AmaError):
        waiting = {objects.asset(asset).tree}
        seen: set[bytes] = set()
        while waiting:
            tree = waiting.pop()
            seen.add(tree)
            with suppress(NotFound):
                for entry in objects.tree(tree):
                    if entry.kind is not EntryKind.TREE:
                        yield entry.id
                    elif entry.id not in seen:
                        waiting.add(entry.id)
