"""Exported files in a directory: they come beside their places, and verified. A new directory
appears with all of them at once.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from ama.errors import AlreadyExists, StorageError, shown
from ama.exporting.members import Taken
from ama.system import disk, fs
from ama.system.encoding import from_system, to_system
from ama.system.progress import Progress
from ama.worktree.fetching import Fetching
from ama.worktree.incoming import delete_all
from ama.worktree.near import Near
from ama.worktree.scan import require_possible


def write_directory(
    path: str,
    taken: Sequence[Taken],
    describe: Callable[[Taken], Iterable[bytes]],
    near: Sequence[Near],
    progress: Progress,
    *,
    force: bool,
) -> None:
    """Write assets into a directory. What is there under another name stays.

    Args:
        path: The directory; it needn't exist.
        taken: The assets.
        describe: Returns the description of each.
        near: What this machine has of each.
        progress: The progress of the files' bytes.
        force: Whether files that are there are overwritten.

    Raises:
        AlreadyExists: Something is where a file, or a directory, must be.
        InvalidInput: This system can't hold a name.
        IntegrityError: Content is damaged; nothing was written.
        StorageError: The disk refused.
    """
    path = os.path.realpath(path)
    for each in taken:
        _require_room(path, each)
    is_there = os.path.isdir(path)
    # Beside a new directory, so that it appears whole; in one that may be a disk of its own.
    around = path if is_there else os.path.dirname(path)
    fs.make_directories(around)
    own = os.path.join(around, fs.temp_name())
    top = os.path.join(own, "all")
    fs.make_directories(top, sync=False)
    try:
        strays: dict[str, str] = {}
        for number, (each, known) in enumerate(zip(taken, near, strict=True)):
            fetched = _fetch(os.path.join(own, str(number)), each, known, progress)
            fs.write_private(os.path.join(fetched.top, each.description), describe(each), new=True)
            fs.move_directory(fetched.top, os.path.join(top, each.directory).rstrip("/"))
            strays |= {each.directory + name: at for name, at in fetched.strays.items()}
        if is_there or not fs.move_directory(top, path):
            last = {each.description for each in taken}
            fs.make_directories(path)
            _place_each(top, path, last, force=force)
        for name, at in strays.items():
            place = os.path.join(path, to_system(name))
            fs.make_directories(os.path.dirname(place), sync=False)
            _place(at, place, force=force)
    finally:
        with suppress(StorageError):  # what stays is litter
            delete_all(own)


def _fetch(directory: str, taken: Taken, near: Near, progress: Progress) -> Fetching:
    """Bring the files of an asset into a directory of this command's own."""
    fs.make_directories(directory, sync=False)
    listing = taken.listing
    if listing.odd:
        require_possible(Path(directory), [item.path for item in listing])
    fetching = Fetching(directory, os.path.join(directory, "files"), listing, near)
    fetching.bring(taken.sources, progress)
    return fetching


def _require_room(path: str, taken: Taken) -> None:
    """Refuse a directory in which something else is where a file or a directory must be.

    Nothing is written through a symlink.
    """
    if not os.path.isdir(path):
        return
    known: set[str] = set()
    for item in taken.listing:
        parts = to_system(taken.directory + item.path).split("/")
        for depth in range(1, len(parts)):
            inner = os.path.join(path, *parts[:depth])
            if inner not in known:
                known.add(inner)
                if os.path.lexists(inner) and not _is_directory(inner):
                    raise _in_the_way(inner)
        at = os.path.join(path, *parts)
        if _is_directory(at):
            raise _in_the_way(at)


def _is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def _in_the_way(path: str) -> AlreadyExists:
    return AlreadyExists(
        f"{shown(from_system(path))} is in the way", hint="move it elsewhere, or export elsewhere"
    )


def _place_each(source: str, target: str, last: set[str], *, force: bool) -> None:
    """Give files their places in a directory that is there; the descriptions come last."""
    for name in sorted(disk.list_directory(source), key=lambda name: (name in last, name)):
        one, other = os.path.join(source, name), os.path.join(target, name)
        if not _is_directory(one):
            _place(one, other, force=force)
        elif not fs.move_directory(one, other):
            if os.path.lexists(other) and not _is_directory(other):
                raise _in_the_way(other)
            fs.make_directories(other, sync=False)
            _place_each(one, other, last, force=force)


def _place(source: str, target: str, *, force: bool) -> None:
    if force:
        fs.place(source, target, sync=False)
        return
    try:
        fs.place_new(source, target)
    except FileExistsError:
        raise _in_the_way(target) from None
