"""Where exported files go: a directory, an archive, a bucket."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from ama.errors import AlreadyExists, Hint, InvalidInput, shown
from ama.exporting.directories import write_directory
from ama.exporting.members import Member, Taken, members_of
from ama.exporting.tars import gzipped, tarred, zstandardised
from ama.exporting.zips import zipped
from ama.format.objects import EntryKind
from ama.storage.protocol import HasParts, Storage
from ama.storage.urls import is_read_only
from ama.system import disk, fs
from ama.system.encoding import from_system, to_system
from ama.system.parallel import in_chunks
from ama.system.progress import Progress
from ama.worktree.near import Near

AT_ONCE = 8 * 1024 * 1024
"""The bytes up to which a file goes to a bucket as one object at once."""

Archive = Callable[[Iterable[Member]], Iterator[bytes]]
Describe = Callable[[Taken], Iterable[bytes]]
Opener = Callable[[str], Storage]
"""Opens the storage at a URL."""


def _tar_gz(members: Iterable[Member]) -> Iterator[bytes]:
    return gzipped(tarred(members))


def _tar_zst(members: Iterable[Member]) -> Iterator[bytes]:
    return zstandardised(tarred(members))


ARCHIVES: Mapping[str, Archive] = {
    ".zip": zipped,
    ".tar": tarred,
    ".tar.gz": _tar_gz,
    ".tgz": _tar_gz,
    ".tar.zst": _tar_zst,
    ".tzst": _tar_zst,
}
"""The forms of archives by the ends of their names."""

_UNWRITTEN = (".7z", ".rar", ".gz", ".bz2", ".tbz", ".tbz2", ".xz", ".txz", ".zst", ".lz4")


class Work(NamedTuple):
    """What is to be written.

    Attributes:
        taken: The assets.
        describe: Returns the description of each.
        near: What this machine has of each.
        progress: The progress of the bytes of files.
    """

    taken: Sequence[Taken]
    describe: Describe
    near: Sequence[Near]
    progress: Progress

    def members(self) -> Iterator[Member]:
        """Yield everything that is written, in order."""
        for each in self.taken:
            yield from members_of(each, lambda each=each: self.describe(each), self.progress)  # type: ignore[misc]


class Place(Protocol):
    """A place for exported files."""

    def require_free(self) -> None:
        """Refuse a place where something is.

        Raises:
            AlreadyExists: Something is.
        """

    def write(self, work: Work) -> None:
        """Write it."""


class ArchiveFile(NamedTuple):
    """An archive on this machine: it is there whole, or not at all."""

    path: str
    archive: Archive
    force: bool

    def require_free(self) -> None:
        """Refuse a path where something is. See `Place`."""
        if disk.is_directory(self.path):
            raise AlreadyExists(
                f"{shown(from_system(self.path))} is a directory",
                hint="give the name of a file, or of a directory without such an end",
            )
        if os.path.lexists(self.path) and not self.force:
            raise _taken(from_system(self.path))

    def write(self, work: Work) -> None:
        """Write it. See `Place`."""
        fs.make_directories(os.path.dirname(self.path))
        pieces = self.archive(work.members())
        try:
            (fs.write_replace if self.force else fs.write_new)(self.path, pieces)
        except FileExistsError:
            raise _taken(from_system(self.path)) from None


class Files(NamedTuple):
    """Plain files in a directory of this machine."""

    path: str
    force: bool

    def require_free(self) -> None:
        """Refuse a directory that isn't empty. See `Place`."""
        if os.path.lexists(self.path) and not disk.is_directory(self.path):
            raise AlreadyExists(f"{shown(from_system(self.path))} is no directory")
        if not self.force and disk.is_directory(self.path) and disk.list_directory(self.path):
            raise AlreadyExists(
                f"{shown(from_system(self.path))} is not empty", hint=Hint("overwrite-anyway")
            )

    def write(self, work: Work) -> None:
        """Write them. See `Place`."""
        write_directory(
            self.path, work.taken, work.describe, work.near, work.progress, force=self.force
        )


class StoredArchive(NamedTuple):
    """An archive in a bucket or on a server: it is there whole, or not at all."""

    storage: Storage
    name: str
    archive: Archive
    force: bool

    def require_free(self) -> None:
        """Refuse a name that is there. See `Place`."""
        if not self.force and self.storage.sizes([self.name]) != [None]:
            raise _taken(f"{self.storage.url}/{self.name}")

    def write(self, work: Work) -> None:
        """Write it. See `Place`."""
        _write(self.storage, self.name, self.archive(work.members()))


class StoredFiles(NamedTuple):
    """Plain files below a name in a bucket or on a server; the descriptions come last.

    Neither symlinks nor rights can be there: only the description tells of them.
    """

    storage: Storage
    force: bool

    def require_free(self) -> None:
        """Refuse a place that isn't empty. See `Place`."""
        if not self.force and next(iter(self.storage.list("")), None) is not None:
            raise AlreadyExists(f"{self.storage.url} is not empty", hint=Hint("overwrite-anyway"))

    def write(self, work: Work) -> None:
        """Write them. See `Place`."""

        def put(some: list[tuple[str, bytes]]) -> None:
            for name, data in some:
                self.storage.replace(name, data)

        last: list[tuple[str, bytes]] = []

        def small() -> Iterator[tuple[str, bytes]]:
            described = {each.directory + each.description for each in work.taken}
            for member in work.members():
                if member.path in described:
                    last.append((member.path, b"".join(member.pieces)))
                elif member.kind is EntryKind.SYMLINK:
                    continue
                elif member.size <= AT_ONCE:
                    yield member.path, b"".join(member.pieces)
                else:
                    _write(self.storage, member.path, member.pieces)

        for _ in in_chunks(put, small(), chunk=1):
            pass
        put(last)


def _write(storage: Storage, name: str, pieces: Iterable[bytes]) -> None:
    if isinstance(storage, HasParts):
        storage.write_parts(name, pieces)
    else:
        storage.replace(name, b"".join(pieces))


def _taken(where: str) -> AlreadyExists:
    return AlreadyExists(f"{shown(where)} exists already", hint=Hint("overwrite-anyway"))


def find_place(to: str, open_at: Opener, *, force: bool) -> Place:
    """Return the place that a text means.

    Args:
        to: A path or a URL; the end of its name says whether it is an archive.
        open_at: Opens the storage at a URL.
        force: Whether what is there may be overwritten.

    Raises:
        InvalidInput: It is no place, or one that can only be read.
    """
    if not to.strip():
        raise InvalidInput("the place to export to is empty", hint="for this directory, give .")
    if "://" not in to or to.startswith("file://"):
        path = os.path.abspath(os.path.expanduser(to_system(to.removeprefix("file://"))))
        archive = _archive(from_system(os.path.basename(path)))
        if archive is None and not (to.endswith("/") or disk.is_directory(path)):
            _require_directory(from_system(os.path.basename(path)))
        return Files(path, force) if archive is None else ArchiveFile(path, archive, force)
    if is_read_only(to):
        raise InvalidInput(
            f"{shown(to)}: a web server can only be read", hint="give the URL of a bucket"
        )
    url, question, query = to.partition("?")
    base, _, name = url.rstrip("/").rpartition("/")
    archive = _archive(name)
    if archive is None:
        if not url.endswith("/"):
            _require_directory(name)
        return StoredFiles(open_at(url.rstrip("/") + question + query), force)
    if base.endswith(("/", ":")):
        raise InvalidInput(f"{shown(to)} names no file in a bucket", hint="give BUCKET/NAME")
    return StoredArchive(open_at(base + question + query), name, archive, force)


def _archive(name: str) -> Archive | None:
    """Return the form of an archive; None for another name."""
    lower = name.lower()
    ends = [end for end in ARCHIVES if lower.endswith(end) and len(lower) > len(end)]
    return ARCHIVES[max(ends, key=len)] if ends else None


def _require_directory(name: str) -> None:
    if name.lower().endswith(_UNWRITTEN):
        raise InvalidInput(
            f"{shown(name)}: no archive of this form is written",
            hint=f"choose .zip, .tar, .tar.gz or .tar.zst; or, for a directory: {shown(name)}/",
        )


def looks_like_archive(name: str) -> bool:
    """Whether a name is that of an archive, of one that is written or of another.

    Example:
        >>> looks_like_archive("all.zip"), looks_like_archive("all.7z"), looks_like_archive("all")
        (True, True, False)
    """
    return name.lower().endswith((*ARCHIVES, *_UNWRITTEN))
