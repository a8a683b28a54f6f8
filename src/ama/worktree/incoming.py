"""Content on its way into the worktree: fetched and verified in `.ama/incoming`, then placed.

Each command has a directory of its own there, and holds the file `lock` in it. If nobody holds it,
its command is dead: the next one takes it over, and verifies each file in it, named after its id,
before use. It deletes at once what it has no use for: the disk may be full of it. Where a file
system has no locks, a directory with recent writes is left alone.

A file is placed by a rename. If its place is on another file system (a disk mounted in the
worktree), a copy is made beside the place and renamed there.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from ama.errors import (
    Conflict,
    Hint,
    IntegrityError,
    InvalidInput,
    NoSpace,
    StorageError,
    shown,
)
from ama.format.chunking import THRESHOLD
from ama.format.hashing import HashingReader, blob_id, hash_stream
from ama.format.objects import MAX_LINK, EntryKind, Kind
from ama.stores.object_reader import Have
from ama.stores.sources import Sources
from ama.system import disk, fs
from ama.system.encoding import from_system, to_system
from ama.system.progress import Progress
from ama.worktree.layout import INCOMING, STALE_AFTER_S, Worktree
from ama.worktree.reader import stays_inside
from ama.worktree.trees import Listed

LOCK = "lock"

LATELY_S = 10 * 60
"""The age of the last write up to which its command may be alive, where no lock tells."""


class Incoming:
    """The directories in `.ama/incoming` of this command, while the context lasts.

    Args:
        tree: The worktree.
    """

    def __init__(self, tree: Worktree) -> None:
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
        if not self._locks and isinstance(error[1] if len(error) > 1 else None, Conflict):
            self.drop()  # nobody could tell soon that this command is done
        try:
            for name in [
                n for n in self._held if disk.list_directory(os.path.join(self._top, n)) == [LOCK]
            ]:
                self._remove(name)
        finally:
            for descriptor in self._held.values():
                os.close(descriptor)
            self._held.clear()

    def _hold(self, name: str, *, new: bool = False) -> None:
        path = os.path.join(self._top, name)
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
    def give_up(cls, tree: Worktree) -> None:
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

    def fetch(
        self, wanted: Sequence[Listed], sources: Sources, progress: Progress
    ) -> dict[str, str]:
        """Fetch content into files that nobody else sees, one for each path, verified.

        Returns:
            The file of each path; a symlink's file holds its target.

        Raises:
            IntegrityError: Content is damaged, or a symlink has an impossible target.
            InvalidInput: A symlink leads out of the asset.
        """
        earlier = {}
        ids = {item.id.hex() for item in wanted}
        for name in self._held:
            directory = os.path.join(self._top, name)
            for file in disk.list_directory(directory):
                path = os.path.join(directory, file)
                if file.partition("-")[0] in ids:
                    earlier[file.rpartition("-")[0]] = path
                elif file != LOCK:
                    fs.remove(path)
        return _fetch(
            self._tree, os.path.join(self._top, self.name), earlier, wanted, sources, progress
        )

    def place(self, item: Listed, staged: str, target: str, *, still: Callable[[], None]) -> None:
        """Give a fetched file its place: it is there whole, or the old one is untouched.

        Args:
            item: The file's path, kind, id and size.
            staged: The fetched file, as `fetch` returned it.
            target: Its place.
            still: A function that checks that the place may still be written to. It is called if
                that becomes possible only after a while, so that nothing newer there is lost.

        Raises:
            StorageError: The disk refused.
            IntegrityError: The fetched file was damaged since.
        """
        try:
            _rename(item, staged, target)
        except StorageError as error:
            # A bind mount refuses as another disk does, and no device number tells.
            if error.errno != errno.EXDEV:
                raise
            self._carry(item, staged, target, still)

    def _carry(self, item: Listed, staged: str, target: str, still: Callable[[], None]) -> None:
        """Place a file on another file system than that of `.ama`."""
        directory = os.path.dirname(target)
        self._sweep(directory)
        if item.kind is EntryKind.SYMLINK:
            fs.make_symlink(_link_text(item, _data(staged)), target, sync=False)
            return
        executable = item.kind is EntryKind.EXECUTABLE
        temp = fs.write_temp(directory, _verified(staged, item), executable=executable)
        try:
            still()
        except BaseException:
            with suppress(StorageError):
                fs.remove(temp)
            raise
        fs.place(temp, target, sync=False)

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
        for file in disk.list_directory(path):
            if file != LOCK:
                fs.remove(os.path.join(path, file))
        descriptor = self._held.pop(name)
        if os.name == "nt":  # there an open file can't be deleted
            os.close(descriptor)
        try:
            fs.remove(os.path.join(path, LOCK))
            fs.remove_empty_directory(path)
        finally:
            if os.name != "nt":
                os.close(descriptor)


def _last_written(directory: str) -> float | None:
    """Return when something was written to a directory, or to a file in it; None if it is gone."""
    paths = [directory, *(os.path.join(directory, name) for name in disk.list_directory(directory))]
    times = [time for time in map(disk.changed_at, paths) if time is not None]
    return max(times) / 1e9 if times else None


def _fetch(
    tree: Worktree,
    directory: str,
    earlier: Mapping[str, str],
    wanted: Sequence[Listed],
    sources: Sources,
    progress: Progress,
) -> dict[str, str]:
    mine = os.urandom(4).hex()  # an earlier try's file with this name may be another's
    staged: dict[str, str] = {}
    small: dict[bytes, list[Listed]] = {}
    large: dict[bytes, list[Listed]] = {}
    partial: dict[bytes, str] = {}
    uses: dict[bytes, int] = {}
    for item in wanted:
        use = uses[item.id] = uses.get(item.id, 0) + 1
        stem = f"{item.id.hex()}-{use}{'x' if item.kind is EntryKind.EXECUTABLE else ''}"
        # A symlink is checked against its own path, so an earlier try's doesn't count.
        there = earlier.get(stem) if item.kind is not EntryKind.SYMLINK else None
        if there is not None and _is_there(there, item):
            staged[item.path] = there
            progress.advance(item.size)
        else:
            if there is not None:
                partial[item.id] = there
            staged[item.path] = f"{directory}{os.sep}{stem}-{mine}"
            by_id = small if item.size < THRESHOLD else large
            by_id.setdefault(item.id, []).append(item)

    for items in small.values():
        for item in items:
            if item.kind is EntryKind.SYMLINK:
                _check_length(item, sources)
    needed = sum(
        item.size for by_id in (small, large) for items in by_id.values() for item in items
    )
    require_space(tree, needed)

    def write(object_id: bytes, data: bytes) -> None:
        for item in small[object_id]:
            if item.kind is EntryKind.SYMLINK:
                _check_link(item, data)
            _write(staged[item.path], data, item)

    for done in sources.each_file(small, write):
        progress.advance(sum(item.size for object_id in done for item in small[object_id]))
    for object_id, items in large.items():
        _fetch_large(tree, object_id, items, staged, partial.get(object_id), sources, progress)
    return staged


def require_space(tree: Worktree, needed: int) -> None:
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


def _rename(item: Listed, staged: str, target: str) -> None:
    if item.kind is EntryKind.SYMLINK:
        text = _link_text(item, _data(staged))
        fs.make_symlink(text, target, sync=False, temp_in=os.path.dirname(staged))
    else:
        fs.place(staged, target, sync=False, keep=True)


def _data(staged: str) -> bytes:
    data = disk.read_file(staged)
    if data is None:
        raise StorageError(f"{shown(staged)} is gone", hint="run the same command again")
    return data


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


def _is_there(path: str, item: Listed) -> bool:
    """Whether an earlier, interrupted try has fetched a whole file."""
    try:
        if os.path.getsize(path) != item.size:
            return False
        with disk.open_file(path) as file:
            return hash_stream(file) == (item.id, item.size)
    except OSError:
        return False


def _fetch_large(
    tree: Worktree,
    object_id: bytes,
    items: Sequence[Listed],
    staged: Mapping[str, str],
    partial: str | None,
    sources: Sources,
    progress: Progress,
) -> None:
    first, *others = items
    path = staged[first.path]
    have = _chunks_here(tree, first, partial, sources)
    _write(path, _counted(sources.stream(object_id, Kind.DATA, have), progress), first)
    for item in others:
        with disk.reading(path) as file:
            _write(staged[item.path], iter(lambda: file.read(4 << 20), b""), item)
        progress.advance(item.size)


def _counted(stream: Iterator[bytes], progress: Progress) -> Iterator[bytes]:
    for data in stream:
        yield data
        progress.advance(len(data))


def _chunks_here(
    tree: Worktree, item: Listed, partial: str | None, sources: Sources
) -> Have | None:
    """Return a source of the chunks on this machine, which reads and verifies them.

    Args:
        tree: The worktree: the present file at the path may have some.
        item: The file to fetch.
        partial: The part that an earlier, interrupted try has fetched.
        sources: The sources of the recipes.
    """
    files: list[tuple[str, bytes]] = []
    entry = tree.index.read().entries.get(item.path)
    if entry is not None and entry.size >= THRESHOLD and entry.id in sources:
        files.append((os.path.join(tree.root, to_system(item.path)), entry.id))
    if partial is not None:
        files.append((partial, item.id))
    places: dict[bytes, tuple[str, int]] = {}
    for path, whole in files:
        recipe = sources.recipe(whole)
        offset = 0
        for chunk, size in recipe.chunks if recipe and recipe.kind is Kind.DATA else ():
            places.setdefault(chunk, (path, offset))
            offset += size
    if not places:
        return None

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


def _write(path: str, data: bytes | Iterable[bytes], item: Listed) -> None:
    fs.write_private(path, data, executable=item.kind is EntryKind.EXECUTABLE)


def _check_link(item: Listed, data: bytes) -> None:
    target = _link_text(item, data)
    if not stays_inside(item.path, target):
        raise InvalidInput(
            f"{shown(item.path)} is a symlink that leads out of the asset, to {shown(target)}",
            hint=_without(item),
        )


def _check_length(item: Listed, sources: Sources) -> None:
    """Check that a symlink isn't in chunks, as large content is, before fetching it."""
    recipe = sources.recipe(item.id)
    if recipe is not None and recipe.size > MAX_LINK:
        raise _no_link(item, f"has {recipe.size:,} bytes, more than {MAX_LINK:,}")


def _link_text(item: Listed, data: bytes) -> str:
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


def _no_link(item: Listed, why: str) -> IntegrityError:
    return IntegrityError(
        f"{shown(item.path)} is a symlink whose target {why}", hint=_without(item)
    )


def _without(item: Listed) -> Hint:
    return Hint("exclude", glob=item.path)
