"""Content on its way into the worktree: fetched and verified in `.ama/incoming`, then placed.

Each command has a directory of its own there, and holds the file `lock` in it. If nobody holds it,
its command is dead: the next one takes over the tree of files that is in it, and verifies each of
them before use. It deletes at once what it has no use for: the disk may be full of it. Where a file
system has no locks, a directory with recent writes is left alone.

A tree is taken over by a rename of it. So whoever is alive nevertheless notices: all its paths are
gone.

A file is placed by a rename. If its place is on another file system (a disk mounted in the
worktree), a copy is made beside the place and renamed there.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from ama.errors import Conflict, IntegrityError, NoSpace, StorageError, shown
from ama.format.hashing import HashingReader
from ama.format.objects import EntryKind
from ama.stores.sources import Sources
from ama.system import disk, fs
from ama.system.encoding import from_system
from ama.system.progress import Progress
from ama.worktree.fetching import Fetching, link_text, remove_symlinks
from ama.worktree.layout import INCOMING, STALE_AFTER_S
from ama.worktree.listing import Files, size_of
from ama.worktree.near import Near
from ama.worktree.trees import Listed

LOCK = "lock"

FILES = "files-"
"""The start of the name of a tree of files in a command's directory."""

LATELY_S = 10 * 60
"""The age of the last write up to which its command may be alive, where no lock tells."""


class Landing(Protocol):
    """A place that gets files: a worktree, or an asset in the content cache."""

    @property
    def root(self) -> Path:
        """The directory that gets them."""

    @property
    def control(self) -> Path:
        """The directory, on the same file system, in which `incoming` is."""


class Incoming:
    """The directories in `.ama/incoming` of this command, while the context lasts.

    Args:
        tree: The worktree, or another place that gets files.
    """

    def __init__(self, tree: Landing) -> None:
        self._tree = tree
        self._top = os.path.join(tree.control, INCOMING)
        self._held: dict[str, int] = {}
        self._locks = True
        self._began = time.time()
        self._alone = False
        self._swept: set[str] = set()
        self._sweeping = threading.Lock()

    def __enter__(self) -> Incoming:
        self._began = time.time()
        fs.make_directories(self._top)
        try:
            for name in sorted(disk.list_directory(self._top)):
                self._hold(name)
            while not self._held:
                name = os.urandom(8).hex()
                fs.make_directories(os.path.join(self._top, name))
                self._hold(name, new=True)
            self._alone = self._locks and not any(
                self.is_others(name) for name in disk.list_directory(self._top)
            )
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        raised = error[1] if len(error) > 1 else None
        if not self._locks and isinstance(raised, (Conflict, IntegrityError)):
            self.drop()  # nobody could tell soon that this command is done
        try:
            for name in list(self._held):
                if _is_empty(os.path.join(self._top, name)):
                    self._remove(name)
        finally:
            for descriptor in self._held.values():
                os.close(descriptor)
            self._held.clear()

    def _hold(self, name: str, *, new: bool = False) -> None:
        path = os.path.join(self._top, name)
        if os.path.islink(path):
            return  # what it leads to isn't ours to delete
        written = None if new else _last_written(path)
        lock = os.path.join(path, LOCK)
        held = fs.hold(lock) if os.path.isdir(path) else None
        if held is None:
            return
        again = fs.hold(lock)
        if again is not None:
            os.close(again)
            self._locks = False
            if written is not None and time.time() - written < LATELY_S:
                os.close(held)
                return
        self._held[name] = held

    @property
    def name(self) -> str:
        """Return the directory for fetched content: no other living command has it."""
        return next(iter(self._held))

    @classmethod
    def give_up(cls, tree: Landing) -> None:
        """Delete what dead commands have fetched: work goes on with the files as they are here."""
        left = cls(tree)
        for name in disk.list_directory(left._top):
            left._hold(name)
        left.drop()

    def is_others(self, name: str) -> bool:
        """Whether a directory belongs to another command, which is known to be alive."""
        return (
            self._locks and name not in self._held and os.path.isdir(os.path.join(self._top, name))
        )

    def fetch(self, files: Files, sources: Sources, progress: Progress, near: Near) -> Fetching:
        """Fetch content into a tree of files that nobody else sees, verified.

        Args:
            files: The files.
            sources: The sources of the asset's objects.
            progress: Is told of each byte that is there.
            near: What this machine has already.

        Raises:
            IntegrityError: Content is damaged, or a symlink has an impossible target.
            InvalidInput: A symlink leads out of the asset.
            NoSpace: The disk has less room than the files take.
        """
        directory = os.path.join(self._top, self.name)
        top = os.path.join(directory, FILES + os.urandom(4).hex())
        fetching = Fetching(directory, top, files, near)
        size = size_of(files)
        if self._take_over(top):
            size -= fetching.find_again(progress)
        require_space(self._tree, size)
        fetching.bring(sources, progress)
        return fetching

    def _take_over(self, top: str) -> bool:
        """Make one tree of those that dead commands have left, and delete all else of theirs."""
        taken = False
        for name in self._held:
            for path in _content(os.path.join(self._top, name)):
                if not _is_tree(path):
                    delete_all(path)
                elif not taken:
                    taken = fs.move_directory(path, top)
                else:
                    _merge(path, top)
        return taken

    def place(
        self,
        staged: str,
        target: str,
        *,
        new: bool,
        item: Callable[[], Listed],
        still: Callable[[], None],
    ) -> None:
        """Give a fetched file its place: it is there whole, or the old one is untouched.

        Args:
            staged: The fetched file.
            target: Its place.
            new: Whether nothing may be there.
            item: A function that returns the file's path, kind, id and size. It is called if they
                are needed.
            still: A function that checks that the place may still be written to. It is called if
                that becomes possible only after a while, so that nothing newer there is lost.

        Raises:
            FileExistsError: Something is there, and the file must be `new`.
            StorageError: The disk refused.
            IntegrityError: The fetched file was damaged since.
        """
        try:
            _rename(staged, target, new=new)
        except StorageError as error:
            # A bind mount refuses as another disk does, and no device number tells.
            if error.errno != errno.EXDEV:
                raise
            self._carry(item(), staged, target, new=new, still=still)

    def _carry(
        self, item: Listed, staged: str, target: str, *, new: bool, still: Callable[[], None]
    ) -> None:
        """Place a file on another file system than that of `.ama`."""
        directory = os.path.dirname(target)
        self._sweep(directory)
        if item.kind is EntryKind.SYMLINK:
            text = link_text(item, os.fsencode(disk.read_symlink(staged)))
            temp = os.path.join(directory, fs.temp_name())
            fs.make_symlink(text, temp, sync=False)
        else:
            executable = item.kind is EntryKind.EXECUTABLE
            temp = fs.write_temp(directory, _verified(staged, item), executable=executable)
        try:
            still()
            _rename(temp, target, new=new)
        except BaseException:
            with suppress(StorageError):
                fs.remove(temp)
            raise

    def _sweep(self, directory: str) -> None:
        """Delete what dead commands left in a directory, before anything comes there.

        It may be large, and the disk full of it. If no other command is alive, everything older
        than this one is litter; a command that loses its file nevertheless reports that and can run
        again.
        """
        with self._sweeping:
            if directory not in self._swept:
                self._swept.add(directory)
                age = time.time() - self._began if self._alone else STALE_AFTER_S
                fs.remove_stale_temps(directory, age)

    def drop(self) -> None:
        """Delete fetched content that is placed, or not wanted any more."""
        for name in list(self._held):
            self._remove(name)

    def _remove(self, name: str) -> None:
        path = os.path.join(self._top, name)
        for content in _content(path):
            delete_all(content)
        descriptor = self._held.pop(name)
        if os.name == "nt":  # there an open file can't be deleted
            os.close(descriptor)
        try:
            fs.remove(os.path.join(path, LOCK))
            fs.remove_empty_directory(path)
        finally:
            if os.name != "nt":
                os.close(descriptor)


def _content(directory: str) -> list[str]:
    """Return the paths of all in a command's directory but its lock."""
    names = disk.list_directory(directory)
    return [os.path.join(directory, name) for name in names if name != LOCK]


def _is_empty(directory: str) -> bool:
    """Whether there is nothing but directories in a command's directory, and its lock."""
    for path in _content(directory):
        if os.path.islink(path) or not os.path.isdir(path):
            return False
        if any(names for _, _, names in os.walk(path)):
            return False
    return True


def _is_tree(path: str) -> bool:
    is_directory = os.path.isdir(path) and not os.path.islink(path)
    return is_directory and os.path.basename(path).startswith(FILES)


def _merge(tree: str, top: str) -> None:
    """Move the files of a tree into another that lacks them."""
    for each in (tree, top):
        remove_symlinks(each)
    for directory, _, names in os.walk(tree):
        place = os.path.join(top, os.path.relpath(directory, tree))
        if names:
            fs.make_directories(place, sync=False)
        for name in names:
            with suppress(FileExistsError):
                fs.place_new(os.path.join(directory, name), os.path.join(place, name))
    delete_all(tree)


def delete_all(path: str) -> None:
    """Delete a file, or a directory with all that is in it."""
    if os.path.islink(path) or not os.path.isdir(path):
        fs.remove(path)
        return
    for directory, directories, names in os.walk(path, topdown=False):
        links = [name for name in directories if os.path.islink(os.path.join(directory, name))]
        for name in (*names, *links):
            fs.remove(os.path.join(directory, name))
        fs.remove_empty_directory(directory)


def _last_written(directory: str) -> float | None:
    """Return when something was written in a directory or below; None if it is gone."""
    names = (
        os.path.join(where, name)
        for where, directories, names in os.walk(directory)
        for name in (*directories, *names)
        if not os.path.islink(os.path.join(where, name))
    )
    times = [disk.changed_at(directory), *map(disk.changed_at, names)]
    return max((time for time in times if time is not None), default=0) / 1e9 or None


def require_space(tree: Landing, needed: int) -> None:
    """Check that a worktree's disk has room for so many bytes, before any of them comes.

    Quotas are invisible. A file system that doesn't report its size isn't checked.

    Raises:
        NoSpace: The disk has less room.
    """
    try:
        disk = shutil.disk_usage(tree.control)
    except OSError:
        return
    if needed > disk.free and disk.total:
        raise NoSpace(from_system(tree.root), needed=needed, free=disk.free)


def _rename(staged: str, target: str, *, new: bool) -> None:
    if new:
        fs.place_new(staged, target)
    else:
        fs.place(staged, target, sync=False, keep=True)


def _verified(staged: str, item: Listed) -> Iterator[memoryview]:
    """Yield the content of a fetched file; discard what was made of it if this raises."""
    buffer = memoryview(bytearray(fs.PIECE))
    with disk.reading(staged) as file:
        reader = HashingReader(file)
        while count := reader.readinto(buffer):
            yield buffer[:count]
    if reader.digest() != item.id:
        raise IntegrityError(
            f"what was fetched for {shown(item.path)} was damaged on the disk",
            hint="run the same command again",
        )
