"""The files of an asset beside those of others: what has the same content is one file."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from ama.exporting.members import Taken
from ama.format.hashing import hash_stream
from ama.format.objects import EntryKind
from ama.system import copies, disk, fs
from ama.system.encoding import to_system
from ama.system.progress import Progress
from ama.worktree.fetching import Fetching
from ama.worktree.listing import Some
from ama.worktree.near import Near
from ama.worktree.trees import Listed

_LATEST_S = 1 << 32
"""The latest time of a file: each file system has it."""


class Known:
    """The files that are there, by their content.

    Args:
        top: The directory that all paths are relative to.
        sums: Hashes and paths of files of earlier times: each is read before it is used.
    """

    def __init__(self, top: str, sums: Iterable[tuple[bytes, str]]) -> None:
        self._top = top
        self._earlier: dict[bytes, str] = {}
        for digest, path in sums:
            self._earlier.setdefault(digest, path)
        self._verified: dict[tuple[bytes, bool], str] = {}

    def find(self, item: Listed) -> str | None:
        """Return a file with an asset's content and rights; None if none is known, or is right."""
        key = item.id, item.kind is EntryKind.EXECUTABLE
        found = self._verified.get(key)
        if found is not None:
            return found
        earlier = self._earlier.get(item.id)
        if earlier is None:
            return None
        path = os.path.join(self._top, to_system(earlier))
        if not _is(path, item):
            return None
        self._verified[key] = path
        return path

    def note(self, item: Listed, path: str) -> None:
        """Note a verified file."""
        self._verified.setdefault((item.id, item.kind is EntryKind.EXECUTABLE), path)


def _is(path: str, item: Listed) -> bool:
    """Whether a file has an asset's content and rights: nobody has changed it."""
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode) or copies.is_writable(status):
            return False
        executable = os.name == "nt" or bool(status.st_mode & stat.S_IXUSR) == (
            item.kind is EntryKind.EXECUTABLE
        )
        with disk.open_file(path) as file:
            return executable and hash_stream(file) == (item.id, item.size)
    except OSError:
        return False


def write_files(taken: Taken, directory: str, known: Known, near: Near, progress: Progress) -> int:
    """Write the files of an asset into `files` of a directory of this command's own.

    Args:
        taken: The asset.
        directory: The directory.
        known: The files that are there.
        near: What this machine has of it.
        progress: The progress of the files' bytes.

    Returns:
        The number of files that are names of others.
    """
    listing = taken.listing
    here: dict[tuple[bytes, EntryKind], Listed] = {}
    links: list[tuple[Listed, str | Listed]] = []
    wanted = bytearray()
    for item in listing:
        key = item.id, item.kind
        source: str | Listed | None = None
        if item.kind is not EntryKind.SYMLINK and item.size:
            source = here.get(key) or known.find(item)
        wanted.append(source is None)
        if source is None:
            here[key] = item
        else:
            links.append((item, source))
    top = os.path.join(directory, "files")
    fetching = Fetching(directory, top, Some(listing, bytes(wanted)), near)
    fetching.bring(taken.sources, progress)
    changed_at = min(taken.asset.created_at // 1_000_000, _LATEST_S)
    for item in fetching.files:
        path = fetching.place_of(item.path)
        if item.kind is not EntryKind.SYMLINK:
            executable = item.kind is EntryKind.EXECUTABLE
            copies.freeze(path, changed_at, executable=executable, sharing=None)
    linked = 0
    for item, source in links:
        at = fetching.place_of(source.path) if isinstance(source, Listed) else source
        linked += _give_name(at, os.path.join(top, to_system(item.path)), item, changed_at)
        progress.advance(item.size)
    for path, at in fetching.strays.items():
        fs.place(at, os.path.join(top, to_system(path)), sync=False)
    return linked


def _give_name(source: str, path: str, item: Listed, changed_at: int) -> bool:
    """Give a file a second name; return False where it is a copy."""
    fs.make_directories(os.path.dirname(path), sync=False)
    if copies.link(source, path):
        return True
    copies.copy_new(source, path)
    copies.freeze(path, changed_at, executable=item.kind is EntryKind.EXECUTABLE, sharing=None)
    return False
