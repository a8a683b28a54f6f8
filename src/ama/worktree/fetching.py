"""Content is fetched into a tree of its own, which looks as the worktree will: verified, unseen.

Files are written where they will be, below another top. So whole directories can be given their
places by one rename, and what is known of a file when it is written (its stat data) is still true
then. Only one thread writes where the disk is local: threads that make files wait for each other.

Files come in windows, in the order of the packs within each, so that the memory doesn't grow with
their number. Symlinks come last: nothing can be written through them.
"""

from __future__ import annotations

import os
import stat
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from ama.errors import Hint, IntegrityError, InvalidInput, shown
from ama.format.chunking import THRESHOLD
from ama.format.hashing import blob_id, hash_stream
from ama.format.objects import MAX_LINK, EntryKind, Kind
from ama.stores.object_reader import Have
from ama.stores.sources import Sources
from ama.system import disk, fs
from ama.system.encoding import to_system
from ama.system.progress import Progress
from ama.worktree.entries import IndexEntry
from ama.worktree.layout import Worktree
from ama.worktree.listing import Files
from ama.worktree.reader import stays_inside
from ama.worktree.scan import Found
from ama.worktree.trees import Listed

WINDOW = 1 << 15
"""The files to sort by their places in the packs, and to hold in memory, at once."""

LONGEST_PATH = {"win32": 240, "darwin": 1000}.get(sys.platform, 4000)
"""The bytes of a path from which a file is written beside the tree, under a short name."""

Placed = tuple[int, Listed]
"""A file and its position among all that are fetched."""


class Stats:
    """The stat data of files by their positions: 25 bytes a file, as there may be millions.

    Args:
        count: The number of files.
    """

    def __init__(self, count: int) -> None:
        self._known = bytearray(count)
        self._mtimes, self._ctimes = array("q", bytes(8 * count)), array("q", bytes(8 * count))
        self._inodes = array("Q", bytes(8 * count))

    def note(self, position: int, status: os.stat_result) -> None:
        """Note a file's stat data."""
        self._mtimes[position] = status.st_mtime_ns
        self._ctimes[position] = status.st_ctime_ns
        # One that is too large won't be found again, and then the file counts as unknown.
        self._inodes[position] = status.st_ino & (1 << 64) - 1
        self._known[position] = True

    def knows(self, position: int) -> bool:
        """Whether a file's stat data are noted."""
        return bool(self._known[position])

    def found(self, position: int, item: Listed) -> Found:
        """Return what a look at the file would find."""
        times = self._mtimes[position], self._ctimes[position]
        return Found(item.path, item.kind, item.size, *times, self._inodes[position])


class Fetching:
    """A tree of files on its way into a worktree.

    Args:
        tree: The worktree.
        directory: A directory of this command's own.
        top: The tree's place in it; it needn't exist.
        files: The files to fetch.
    """

    def __init__(self, tree: Worktree, directory: str, top: str, files: Files) -> None:
        self.top = top
        self.files = files
        self.stats = Stats(len(files))
        self.strays: dict[str, str] = {}
        """The paths that are too long below `top`, and where their files are."""
        self._tree = tree
        self._directory = directory
        self._made: set[str] = set()
        self._large: dict[bytes, str] = {}
        self._parts: dict[str, bytes] = {}
        self._links: list[tuple[int, Listed, str]] = []
        self._entries: Mapping[str, IndexEntry] | None = None

    def place_of(self, path: str) -> str:
        """Return where the file of a path is until it has its place."""
        return self.strays.get(path) or f"{self.top}{os.sep}{to_system(path)}"

    def find_again(self, progress: Progress) -> int:
        """Verify what an earlier try has brought; delete all else, as the disk may be full of it.

        A part of a large file stays: its chunks needn't be fetched again.

        Returns:
            The bytes of the files that needn't be fetched.
        """
        remove_symlinks(self.top)
        kept: set[int] = set()
        size = 0
        for position, item in enumerate(self.files):
            # A symlink is checked against its own path, so an earlier try's doesn't count.
            status = None if item.kind is EntryKind.SYMLINK else _status(self.place_of(item.path))
            if status is None or status.st_size > item.size:
                continue
            if _is_whole(self.place_of(item.path), status, item):
                self.stats.note(position, status)
                size += item.size
                progress.advance(item.size)
                if item.size >= THRESHOLD:
                    self._large.setdefault(item.id, item.path)
            elif item.size >= THRESHOLD:
                self._parts[item.path] = item.id
            else:
                continue
            kept.add(status.st_ino)
        for directory, _, names in os.walk(self.top):
            for name in names:
                path = os.path.join(directory, name)
                found = _status(path)
                if found is not None and found.st_ino not in kept:
                    fs.remove(path)
        return size

    def bring(self, sources: Sources, progress: Progress) -> None:
        """Fetch the files that are not here yet.

        Raises:
            IntegrityError: Content is damaged, or a symlink has an impossible target.
            InvalidInput: A symlink leads out of the asset, or two names are one here.
            StorageError: The disk refused.
        """
        fs.make_directories(self.top, sync=False)
        wanted = (
            (position, item)
            for position, item in enumerate(self.files)
            if not self.stats.knows(position)
        )
        while window := list(islice(wanted, WINDOW)):
            self._bring_window(window, sources, progress)
        for position, item, text in self._links:
            path = self.place_of(item.path)
            if os.path.lexists(path):
                raise _one_name(item)
            fs.make_symlink(text, path, sync=False, temp_in=self._directory)
            self.stats.note(position, os.lstat(path))

    def _bring_window(self, window: list[Placed], sources: Sources, progress: Progress) -> None:
        small: dict[bytes, list[Placed]] = {}
        large: dict[bytes, list[Placed]] = {}
        for position, item in window:
            self._make_room(item.path)
            if item.kind is EntryKind.SYMLINK:
                _check_length(item, sources)
            by_id = small if item.size < THRESHOLD else large
            by_id.setdefault(item.id, []).append((position, item))

        def write(object_id: bytes, data: bytes) -> None:
            for position, item in small[object_id]:
                if item.kind is EntryKind.SYMLINK:
                    self._links.append((position, item, _checked_link(item, data)))
                else:
                    self._write(position, item, data)

        for done in sources.each_file(small, write):
            progress.advance(sum(item.size for i in done for _, item in small[i]))
        for object_id, files in large.items():
            self._bring_large(object_id, files, sources, progress)

    def _make_room(self, path: str) -> None:
        """Make the directory of a file, or find another place for one with a long path."""
        parent = path.rpartition("/")[0]
        if len(os.fsencode(f"{self.top}{to_system(path)}")) >= LONGEST_PATH:
            self.strays[path] = f"{self.top}-{len(self.strays)}"
        elif parent not in self._made:
            directory = os.path.join(self.top, to_system(parent))
            fs.make_directories(directory, sync=False)
            self._made.add(parent)

    def _write(self, position: int, item: Listed, data: bytes | Iterable[bytes]) -> None:
        path = self.place_of(item.path)
        executable = item.kind is EntryKind.EXECUTABLE
        try:
            status = fs.write_private(path, data, executable=executable, new=True)
        except FileExistsError:
            raise _one_name(item) from None
        self.stats.note(position, status)

    def _bring_large(
        self, object_id: bytes, files: list[Placed], sources: Sources, progress: Progress
    ) -> None:
        for position, item in files:
            path = self.place_of(item.path)
            here = self._large.get(object_id)
            if here is None:
                stream = sources.stream(object_id, Kind.DATA, self._chunks_here(item, sources))
            else:
                stream = _pieces(self.place_of(here))
            pieces = _counted(stream, progress)
            if item.path in self._parts:
                # The part is read meanwhile, and stays if this is interrupted.
                executable = item.kind is EntryKind.EXECUTABLE
                fs.place(
                    fs.write_temp(self._directory, pieces, executable=executable, sync=False),
                    path,
                    sync=False,
                )
                self.stats.note(position, os.lstat(path))
            else:
                self._write(position, item, pieces)
            self._large.setdefault(object_id, item.path)

    def _chunks_here(self, item: Listed, sources: Sources) -> Have | None:
        """Return a source of the chunks on this machine, which reads and verifies them.

        The present file at the path may have some, and what an earlier try has fetched.
        """
        if self._entries is None:
            self._entries = self._tree.index.read().entries
        files: list[tuple[str, bytes]] = []
        entry = self._entries.get(item.path)
        if entry is not None and entry.size >= THRESHOLD and entry.id in sources:
            files.append((os.path.join(self._tree.root, to_system(item.path)), entry.id))
        parts = (path for path, object_id in self._parts.items() if object_id == item.id)
        files += [(self.place_of(path), item.id) for path in parts]
        places: dict[bytes, tuple[str, int]] = {}
        for path, whole in files:
            recipe = sources.recipe(whole)
            offset = 0
            for chunk, size in recipe.chunks if recipe and recipe.kind is Kind.DATA else ():
                places.setdefault(chunk, (path, offset))
                offset += size
        return _reader_of(places) if places else None


def remove_symlinks(top: str) -> None:
    """Delete all symlinks below a directory, so that no path there leads elsewhere."""
    for directory, directories, names in os.walk(top):
        for name in (*directories, *names):
            path = os.path.join(directory, name)
            if os.path.islink(path):
                fs.remove(path)


def _status(path: str) -> os.stat_result | None:
    """Return a regular file's stat data; None if there is no such file."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _is_whole(path: str, status: os.stat_result, item: Listed) -> bool:
    executable = os.name == "nt" or bool(status.st_mode & stat.S_IXUSR) == (
        item.kind is EntryKind.EXECUTABLE
    )
    if status.st_size != item.size or not executable:
        return False
    try:
        with disk.open_file(path) as file:
            return hash_stream(file) == (item.id, item.size)
    except OSError:
        return False


def _pieces(path: str) -> Iterator[bytes]:
    with disk.reading(path) as file:
        while data := file.read(4 << 20):
            yield data


def _counted(stream: Iterator[bytes], progress: Progress) -> Iterator[bytes]:
    for data in stream:
        yield data
        progress.advance(len(data))


def _reader_of(places: Mapping[bytes, tuple[str, int]]) -> Have:
    """Return a function that reads chunks where they should be: file and offset; it verifies."""

    def have(chunk: bytes, size: int) -> bytes | None:
        path, at = places.get(chunk, ("", 0))
        if not path:
            return None
        try:
            with disk.open_file(path) as file:
                file.seek(at)
                data = file.read(size)
        except OSError:
            return None
        return data if blob_id(data) == chunk else None

    return have


def _checked_link(item: Listed, data: bytes) -> str:
    target = link_text(item, data)
    if not stays_inside(item.path, target):
        raise InvalidInput(
            f"{shown(item.path)} is a symlink that leads out of the asset, to {shown(target)}",
            hint=_without(item),
        )
    return target


def _check_length(item: Listed, sources: Sources) -> None:
    """Check that a symlink isn't in chunks, as large content is, before fetching it."""
    recipe = sources.recipe(item.id)
    if recipe is not None and recipe.size > MAX_LINK:
        raise _no_link(item, f"has {recipe.size:,} bytes, more than {MAX_LINK:,}")


def link_text(item: Listed, data: bytes) -> str:
    """Return the target of a symlink; its size in the asset isn't trusted.

    Raises:
        IntegrityError: It has an impossible target.
    """
    if len(data) > MAX_LINK:
        raise _no_link(item, f"has {len(data):,} bytes, more than {MAX_LINK:,}")
    if not data:
        raise _no_link(item, "is empty")
    try:
        target = data.decode()
    except UnicodeDecodeError:
        text = data.decode("utf-8", "backslashreplace")
        raise _no_link(item, f"isn't valid UTF-8: {shown(text)}") from None
    if "\0" in target:
        raise _no_link(item, f"has a NUL: {shown(target)}")
    return target


def _one_name(item: Listed) -> InvalidInput:
    return InvalidInput(
        f"'{shown(item.path)}' and another file of the asset are one name here",
        hint=_without(item),
    )


def _no_link(item: Listed, why: str) -> IntegrityError:
    return IntegrityError(
        f"{shown(item.path)} is a symlink whose target {why}", hint=_without(item)
    )


def _without(item: Listed) -> Hint:
    return Hint("exclude", glob=item.path)
