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
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from ama.errors import Hint, IntegrityError, InvalidInput, shown
from ama.format.chunking import THRESHOLD
from ama.format.hashing import hash_stream
from ama.format.objects import MAX_LINK, EntryKind, Kind
from ama.stores.sources import Sources
from ama.system import copies, disk, fs
from ama.system.encoding import to_system
from ama.system.progress import Progress
from ama.worktree.listing import Files
from ama.worktree.near import (
    Near,
    OtherContentError,
    Part,
    chunk_reader,
    small_content,
    verified_pieces,
)
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
    """A tree of files on its way to its place.

    Args:
        directory: A directory of this command's own.
        top: The tree's place in it; it needn't exist.
        files: The files to fetch.
        near: What this machine has already.
    """

    def __init__(self, directory: str, top: str, files: Files, near: Near) -> None:
        self.top = top
        self.files = files
        self.stats = Stats(len(files))
        self.strays: dict[str, str] = {}
        """The paths that are too long below `top`, and where their files are."""
        self._near = near
        self._clones = True
        self._directory = directory
        self._made: set[str] = set()
        self._large: dict[bytes, str] = {}
        self._parts: dict[str, bytes] = {}
        self._links: list[tuple[int, Listed, str]] = []

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
                raise one_name(item)
            fs.make_symlink(text, path, sync=False, temp_in=self._directory)
            self.stats.note(position, os.lstat(path))

    def _bring_window(self, window: list[Placed], sources: Sources, progress: Progress) -> None:
        small: dict[bytes, list[Placed]] = {}
        large: dict[bytes, list[Placed]] = {}
        for position, item in window:
            self._make_room(item.path)
            if item.kind is EntryKind.SYMLINK:
                check_link_length(item, sources)
            by_id = small if item.size < THRESHOLD else large
            by_id.setdefault(item.id, []).append((position, item))

        def write(object_id: bytes, data: bytes) -> None:
            for position, item in small[object_id]:
                if item.kind is EntryKind.SYMLINK:
                    self._links.append((position, item, checked_link(item, data)))
                else:
                    self._write(position, item, data)

        taken = self._take_small(small, write, progress)
        for done in sources.each_file([i for i in small if i not in taken], write):
            progress.advance(sum(item.size for i in done for _, item in small[i]))
        for object_id, files in large.items():
            self._bring_large(object_id, files, sources, progress)

    def _take_small(
        self,
        small: dict[bytes, list[Placed]],
        write: Callable[[bytes, bytes], None],
        progress: Progress,
    ) -> set[bytes]:
        """Write the small files that are near here; return their ids."""
        taken = set()
        for object_id, files in small.items():
            for path in self._near.whole(files[0][1]):
                try:
                    data = small_content(path, files[0][1])
                except OtherContentError:
                    self._near.reject(path)
                    continue
                if data is not None:
                    write(object_id, data)
                    progress.advance(len(data) * len(files))
                    taken.add(object_id)
                    break
        return taken

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
            raise one_name(item) from None
        self.stats.note(position, status)

    def _bring_large(
        self, object_id: bytes, files: list[Placed], sources: Sources, progress: Progress
    ) -> None:
        for position, item in files:
            here = self._large.get(object_id)
            if here is not None:
                self._bring_pieces(position, item, _pieces(self.place_of(here)), progress)
            elif not self._take_large(position, item, progress):
                have = chunk_reader(self._parts_here(item, sources))
                stream = sources.stream(object_id, Kind.DATA, have)
                self._bring_pieces(position, item, stream, progress)
            self._large.setdefault(object_id, item.path)

    def _bring_pieces(
        self, position: int, item: Listed, stream: Iterator[bytes], progress: Progress
    ) -> None:
        pieces = _counted(stream, progress)
        if item.path not in self._parts:
            self._write(position, item, pieces)
            return
        # The part is read meanwhile, and stays if this is interrupted.
        path = self.place_of(item.path)
        executable = item.kind is EntryKind.EXECUTABLE
        temp = fs.write_temp(self._directory, pieces, executable=executable, sync=False)
        fs.place(temp, path, sync=False)
        self.stats.note(position, os.lstat(path))

    def _take_large(self, position: int, item: Listed, progress: Progress) -> bool:
        """Copy a large file that is near here; return whether there is one that is right."""
        for near in self._near.whole(item):
            if self._clone_large(position, item, near, progress):
                return True
            counted = _Counted(progress)
            try:
                self._bring_pieces(position, item, verified_pieces(near, item), counted)
                return True
            except OtherContentError:
                counted.take_back()
                self._near.reject(near)
                if item.path not in self._parts:
                    fs.remove(self.place_of(item.path))
        return False

    def _clone_large(self, position: int, item: Listed, near: str, progress: Progress) -> bool:
        """Let a file share the content of one near here, if the disk can; verify what it got."""
        path = self.place_of(item.path)
        if item.path in self._parts or not self._clones:
            return False
        try:
            made = copies.clone(near, path, executable=item.kind is EntryKind.EXECUTABLE)
        except FileExistsError:
            raise one_name(item) from None
        if not made:
            if made is False:
                self._clones = False  # it won't, then: most file systems can't
            return False
        status = os.lstat(path)
        if not _is_whole(path, status, item):
            fs.remove(path)
            return False
        self.stats.note(position, status)
        progress.advance(item.size)
        return True

    def _parts_here(self, item: Listed, sources: Sources) -> Iterator[Part]:
        """Yield the files that may have chunks: of an earlier try, and what is near here."""
        for path in (path for path, object_id in self._parts.items() if object_id == item.id):
            recipe = sources.recipe(item.id)
            if recipe is not None:
                yield self.place_of(path), recipe
        yield from self._near.parts(item, sources)


class _Counted:
    """Progress that can be taken back."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._count = 0

    def start(self, task: str, total_bytes: int | None) -> None:
        self._progress.start(task, total_bytes)

    def advance(self, count: int) -> None:
        self._count += count
        self._progress.advance(count)

    def skip(self, count: int) -> None:
        self._progress.skip(count)

    def finish(self) -> None:
        self._progress.finish()

    def take_back(self) -> None:
        self._progress.advance(-self._count)


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


def checked_link(item: Listed, data: bytes) -> str:
    """Return the target of a symlink that stays in its asset.

    Raises:
        InvalidInput: It leads out of the asset.
        IntegrityError: It is impossible.
    """
    target = link_text(item, data)
    if not stays_inside(item.path, target):
        raise InvalidInput(
            f"{shown(item.path)} is a symlink that leads out of the asset, to {shown(target)}",
            hint=_without(item),
        )
    return target


def check_link_length(item: Listed, sources: Sources) -> None:
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


def one_name(item: Listed) -> InvalidInput:
    """Return the error of a name that some system takes for another one's."""
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
