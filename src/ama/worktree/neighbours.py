"""Other worktrees of this machine, as sources of files: noted by class, and forgotten when gone.

A note is a small file in the user's cache directory that says where a worktree is. Who wants
content asks the few worktrees of the class that were used last for the file at the same path, if
their index says that it is what is wanted. Nothing is searched: the cost follows what is wanted.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ama.errors import AmaError, StorageError
from ama.format.chunking import THRESHOLD
from ama.format.hashing import blob_id
from ama.format.objects import EntryKind
from ama.stores.sources import Sources
from ama.system import disk, fs
from ama.system.encoding import to_system
from ama.system.parallel import start
from ama.worktree.entries import Entries, IndexEntry
from ama.worktree.layout import CONTROL, Worktree
from ama.worktree.near import Part
from ama.worktree.staging import RACY
from ama.worktree.trees import Listed

MOST_WORKTREES = 4
"""The worktrees that are asked: each may be on a slow disk."""

MOST_MISSES = 1024
"""The files in a row that a worktree lacks, from which it isn't asked for small ones any more."""

MOST_NOTES = 64
"""The notes of a class to keep: of those used last."""

PATIENCE_S = 2.0
"""The seconds to wait for the disk of a worktree: that of a dead server never answers."""

_NOTES = "worktrees"


def remember(cache_dir: Path | None, tree: Worktree, class_name: str) -> None:
    """Note where a worktree is, if that can be noted."""
    if cache_dir is None:
        return
    root = os.fsencode(os.path.abspath(tree.root))
    with suppress(StorageError, OSError):
        directory = _directory(cache_dir, class_name)
        fs.make_directories(directory, sync=False)
        temp = fs.write_temp(directory, root, sync=False)
        fs.place(temp, directory / blob_id(root).hex()[:16], sync=False)


def _directory(cache_dir: Path, class_name: str) -> Path:
    return cache_dir / _NOTES / f"c-{class_name}"


def _noted(cache_dir: Path | None, class_name: str) -> Iterator[Path]:
    """Yield the worktrees of a class, those used last first."""
    if cache_dir is None:
        return
    directory = _directory(cache_dir, class_name)
    names: list[str] = []
    with suppress(StorageError):
        names = [name for name in disk.list_directory(directory) if not fs.is_temp(name)]
    notes = sorted((os.path.join(directory, name) for name in names), key=_noted_at, reverse=True)
    for note in notes[MOST_NOTES:]:
        with suppress(StorageError):
            fs.remove(note)
    for note in notes[:MOST_NOTES]:
        root = _root_of(note)
        is_there = root is not None and _is_there(root)
        if is_there is None:
            return
        if is_there and root is not None:
            yield Path(root)
        else:
            with suppress(StorageError):
                fs.remove(note)


def _noted_at(note: str) -> int:
    with suppress(StorageError):
        return disk.changed_at(note) or 0
    return 0


def _root_of(note: str) -> str | None:
    """Return what a note says; None if that is no place: a crash may have left anything."""
    with suppress(StorageError):
        root = os.fsdecode(disk.read_file(note, 1 << 16) or b"")
        return root if os.path.isabs(root) and "\0" not in root else None
    return None


def _is_there(root: str) -> bool | None:
    """Whether there is a worktree; None if its disk doesn't answer."""
    found: list[bool] = []

    def look() -> None:
        is_there = True  # a disk that fails may be well again tomorrow
        with suppress(StorageError):
            is_there = disk.is_directory(os.path.join(root, CONTROL))
        found.append(is_there)

    looking = threading.Thread(target=look, daemon=True)
    try:
        start(looking)
    except StorageError:
        return None
    looking.join(PATIENCE_S)
    return found[0] if found else None


class _Neighbour:
    def __init__(self, root: Path) -> None:
        self.tree = Worktree(root)
        self.entries: Entries = self.tree.index.read().entries
        self.misses = 0

    def entry(self, path: str) -> IndexEntry | None:
        """Return the entry of a file that should be here."""
        with suppress(AmaError):
            entry = self.entries.entry(path)
            if entry is not None and not entry.skipped and entry.kind is not EntryKind.SYMLINK:
                return entry
        return None

    def place_of(self, path: str) -> str:
        return os.path.join(self.tree.root, to_system(path))


class InWorktrees:
    """The files of other worktrees of a class.

    Args:
        cache_dir: The user's cache directory, if there is one.
        class_name: The class.
        but: The root of a worktree that isn't another one.
    """

    def __init__(self, cache_dir: Path | None, class_name: str, but: Path | None) -> None:
        self._cache_dir = cache_dir
        self._class_name = class_name
        self._but = but
        self._found: list[_Neighbour] | None = None

    def _neighbours(self) -> list[_Neighbour]:
        if self._found is None:
            self._found = []
            but = None if self._but is None else os.path.abspath(self._but)
            for root in _noted(self._cache_dir, self._class_name):
                if os.fspath(root) != but:
                    with suppress(AmaError, OSError):
                        self._found.append(_Neighbour(root))
                if len(self._found) == MOST_WORKTREES:
                    break
        return self._found

    def whole(self, item: Listed) -> Iterator[str]:
        """Yield the files at the same path that are said to be this one."""
        for neighbour in self._neighbours():
            if neighbour.misses >= MOST_MISSES and item.size < THRESHOLD:
                continue
            entry = neighbour.entry(item.path)
            if entry is None or entry.id != item.id:
                neighbour.misses += 1
                continue
            neighbour.misses = 0
            path = neighbour.place_of(item.path)
            if _is_as_noted(path, entry):
                yield path

    def parts(self, item: Listed, sources: Sources) -> Iterator[Part]:
        """Yield the files at the same path, which may have chunks."""
        for neighbour in self._neighbours():
            entry = neighbour.entry(item.path)
            if entry is None or entry.size < THRESHOLD:
                continue
            with suppress(AmaError):
                known = neighbour.tree.objects.store
                if entry.id in known:
                    recipe = known.recipe(entry.id)
                else:
                    recipe = sources.recipe(entry.id) if entry.id in sources else None
                if recipe is not None:
                    yield neighbour.place_of(item.path), recipe

    def reject(self, path: str) -> None:
        """Do nothing: a user may change files there."""


def _is_as_noted(path: str, entry: IndexEntry) -> bool:
    """Whether a file may be what the index says: else a large one would be read in vain."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return status.st_size == entry.size and entry.mtime in (RACY, status.st_mtime_ns)
