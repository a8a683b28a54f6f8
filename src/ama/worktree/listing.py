"""The files of an asset, walked directory by directory, as often as needed, and never all held."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import compress, repeat
from typing import Protocol

from ama.errors import Hint, IntegrityError, shown
from ama.format.names import is_git_directory, twins, unportable_reason
from ama.format.objects import EntryKind, TreeEntry
from ama.worktree.trees import MAX_DEPTH, Directory, Listed, ReadTree, require_listable


class Files(Protocol):
    """Files that can be walked several times, always in the same order."""

    def __iter__(self) -> Iterator[Listed]: ...
    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Listing:
    """The files below a tree, or some of them; those of one directory come together.

    A listing of a million files holds a few bytes for each directory, and for each file at most one
    that says whether it is chosen.

    Attributes:
        top: The root's id.
        read: A function that returns the entries of a tree.
        counts: The number of files below each distinct tree.
        size: The bytes of all chosen files.
        odd: Whether there may be names that are git's own, or that some system takes for the same,
            or doesn't take.
        whole: The bytes of all files, if some are chosen.
        chosen: For each file, in order, whether it is chosen; None: all are.
    """

    top: bytes
    read: ReadTree
    counts: Mapping[bytes, int]
    size: int
    odd: bool = False
    whole: int = -1
    chosen: bytes | None = None

    @property
    def everything(self) -> Listing:
        """Return the listing of all files."""
        return self if self.chosen is None else replace(self, chosen=None, size=self.whole)

    def __len__(self) -> int:
        return self.counts[self.top] if self.chosen is None else sum(self.chosen)

    def __iter__(self) -> Iterator[Listed]:
        return self._all() if self.chosen is None else compress(self._all(), self.chosen)

    def _all(self) -> Iterator[Listed]:
        # There may be millions, and a named tuple's own constructor takes twice as long.
        make, tree = tuple.__new__, EntryKind.TREE
        for prefix, entries in self.directories():
            for name, kind, object_id, size in entries:
                if kind is not tree:
                    yield make(Listed, (prefix + name, kind, object_id, size))

    def directories(self) -> Iterator[tuple[str, tuple[TreeEntry, ...]]]:
        """Yield each directory that has files below it: its path, with a slash, and its entries.

        Raises:
            IntegrityError: Directories are nested deeper than any file system allows.
        """
        waiting = [("", self.top)]
        while waiting:
            prefix, tree = waiting.pop()
            if prefix.count("/") > MAX_DEPTH:
                raise IntegrityError(f"{shown(prefix)} is nested deeper than {MAX_DEPTH}")
            entries = self.read(tree)
            yield prefix, entries
            waiting += [
                (f"{prefix}{entry.name}/", entry.id)
                for entry in reversed(entries)
                if entry.kind is EntryKind.TREE and self.counts[entry.id]
            ]

    def only(self, wanted: Callable[[str], bool]) -> Listing:
        """Return the listing of the files whose paths are wanted."""
        chosen, size = bytearray(), 0
        for item in self._all():
            is_wanted = wanted(item.path)
            chosen.append(is_wanted)
            size += item.size if is_wanted else 0
        return replace(self, chosen=bytes(chosen), size=size, whole=self.everything.size)

    def marked(self) -> Iterator[tuple[Listed, bool]]:
        """Yield all files, each with whether it is chosen."""
        chosen = repeat(True) if self.chosen is None else map(bool, self.chosen)
        return zip(self._all(), chosen, strict=False)

    def read_by(self, read: ReadTree) -> Listing:
        """Return the same listing, whose trees come from elsewhere."""
        return replace(self, read=read)


@dataclass(frozen=True, slots=True)
class Below:
    """The files of a directory, by their paths from above it.

    Attributes:
        prefix: The directory, with a slash; "" for the root.
        listing: The files below it.
    """

    prefix: str
    listing: Listing

    def __len__(self) -> int:
        return len(self.listing)

    def __iter__(self) -> Iterator[Listed]:
        return (item._replace(path=self.prefix + item.path) for item in self.listing)


@dataclass(frozen=True, slots=True)
class Some:
    """Some of many files, with one byte for each.

    Attributes:
        files: All of them.
        chosen: For each, in order, whether it is one.
    """

    files: Files
    chosen: bytes

    def __len__(self) -> int:
        return sum(self.chosen)

    def __iter__(self) -> Iterator[Listed]:
        return compress(self.files, self.chosen)


def survey(top: bytes, read: ReadTree, *, wanted: bool, hint: Hint) -> Listing:
    """Return the listing of a tree, after a check that it can be listed; read each tree once.

    Args:
        top: The root's id.
        read: A function that returns the entries of a tree.
        wanted: See `require_listable`.
        hint: See `require_listable`.

    Raises:
        InvalidInput: There are too many files; see `require_listable`.
    """
    odd = False
    sizes: dict[bytes, int] = {}
    below: dict[bytes, list[bytes]] = {}

    def directory(at: bytes) -> Directory[bytes]:
        nonlocal odd
        names: list[str] = []
        directories: list[tuple[str, bytes]] = []
        size = 0
        for entry in read(at):
            if entry.kind is EntryKind.TREE:
                directories.append((entry.name, entry.id))
            else:
                names.append(entry.name)
                size += entry.size
        odd = odd or _are_odd([*names, *(name for name, _ in directories)])
        sizes[at] = size
        below[at] = [inner for _, inner in directories]
        return names, directories

    counts = require_listable(top, directory, wanted=wanted, hint=hint)
    for at in counts:  # a directory comes after those in it
        sizes[at] += sum(sizes[inner] for inner in below[at])
    return Listing(top, read, counts, sizes[top], odd)


def _are_odd(names: list[str]) -> bool:
    """Whether names of one directory need a closer look."""
    if twins(names) or any(map(is_git_directory, names)):
        return True
    return os.name == "nt" and any(map(unportable_reason, names))


def size_of(files: Iterable[Listed]) -> int:
    """Return the bytes of all files."""
    return files.size if isinstance(files, Listing) else sum(item.size for item in files)
