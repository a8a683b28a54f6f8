"""The differences between the worktree, the index and HEAD."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice
from typing import Any

from ama.errors import AmaError, Hint, InvalidInput, NotFound, StorageError, shown
from ama.format.names import nearest
from ama.format.objects import EntryKind, TreeEntry
from ama.system.encoding import path_text
from ama.values import Change, ChangeKind, Directory, File, FileKind
from ama.worktree.entries import Entries, IndexEntry
from ama.worktree.layout import Worktree
from ama.worktree.reader import hash_found
from ama.worktree.scan import Found, look, scan
from ama.worktree.staging import Index
from ama.worktree.trees import Listed, ReadTree, look_up, top_of, walk, walk_at

KIND_NAMES: dict[EntryKind, FileKind] = {
    EntryKind.FILE: "file",
    EntryKind.EXECUTABLE: "executable",
    EntryKind.SYMLINK: "symlink",
}


@dataclass(frozen=True, slots=True)
class WorktreeChanges:
    """The differences from the index: changed since `add`, never added, and unreadable."""

    changed: tuple[Change, ...]
    untracked: tuple[str, ...]
    unreadable: tuple[str, ...] = ()
    whole: bool = True
    """Whether all files were looked at."""


def compare_worktree(tree: Worktree, index: Index, most: int | None = None) -> WorktreeChanges:
    """Compare the worktree with the index, reading only files whose stat data differ.

    A file that can't be read, or is in such a directory, doesn't count as changed.

    Args:
        tree: The worktree.
        index: The index.
        most: The files to look at, about: further directories are left out; None: all.
    """
    changes: list[Change] = []
    untracked: list[str] = []
    unreadable: list[str] = []
    entries = index.entries
    looked = 0
    for part in scan(tree.root, tree.read_ignore(), staged=index, unreadable=unreadable):
        if most is not None and looked > most:
            break
        looked += part.unchanged + len(part.new) + len(part.doubtful)
        untracked += [found.path for found in part.new]
        for found in part.doubtful:
            try:
                change = _changed(tree, entries[found.path], found)
            except StorageError:
                unreadable.append(found.path)
                continue
            if change is not None:
                changes.append(change)
        changes += (_removed(entries[path]) for path in part.missing)
        for directory in part.gone:
            changes += map(_removed, (e for e in entries.below(directory) if not e.skipped))
    changes.sort(key=lambda change: change.path)
    named = _collapsed(untracked, entries)
    whole = most is None or looked <= most
    return WorktreeChanges(tuple(changes), named, tuple(sorted(unreadable)), whole)


def _removed(entry: Listed | IndexEntry) -> Change:
    return Change(entry.path, "removed", entry.size, None, entry.id.hex(), None)


def _changed(tree: Worktree, entry: IndexEntry, found: Found) -> Change | None:
    if entry.size == found.size or entry.kind is EntryKind.SYMLINK:
        content = hash_found(tree.root, found)
        if content == entry.id:
            if entry.kind is found.kind:
                return None
            hexed = content.hex()
            return Change(found.path, "mode", entry.size, found.size, hexed, hexed)
        new_id: str | None = content.hex()
    else:
        new_id = None
    return Change(found.path, "modified", entry.size, found.size, entry.id.hex(), new_id)


def as_it_is(tree: Worktree, path: str) -> Listed:
    """Return a file of the worktree with its present id, by reading it.

    Raises:
        NotFound: It is gone.
    """
    found = look(tree.root, path)
    if found is None:
        raise NotFound(f"{shown(path)}: no such file")
    return Listed(path, found.kind, hash_found(tree.root, found), found.size)


def _collapsed(untracked: Iterable[str], staged: Entries) -> tuple[str, ...]:
    """Name a directory without staged files once, instead of everything in it."""
    paths = sorted(untracked)
    if not any("/" in path for path in paths):
        return tuple(paths)
    known = cache(staged.has_directory)
    named: dict[str, None] = {}
    for path in paths:
        at = path.find("/")
        while at >= 0 and known(path[:at]):
            at = path.find("/", at + 1)
        named[path if at < 0 else path[: at + 1]] = None
    return tuple(named)


def compare_listings(
    old: Mapping[str, Listed | IndexEntry], new: Mapping[str, Listed | IndexEntry]
) -> tuple[Change, ...]:
    """Return the differences between two listings of files, in the order of their paths."""
    paths = sorted(old.keys() | new.keys())
    found = (change_of(old.get(path), new.get(path)) for path in paths)
    return tuple(change for change in found if change is not None)


def change_of(old: Listed | IndexEntry | None, new: Listed | IndexEntry | None) -> Change | None:
    """Return the difference between two states of a file, with None for none; None if there is no
    difference.
    """
    if new is None:
        return None if old is None else _removed(old)
    if old is None:
        return Change(new.path, "added", None, new.size, None, new.id.hex())
    kind = kind_of_change(old, new)
    if kind is None:
        return None
    return Change(new.path, kind, old.size, new.size, old.id.hex(), new.id.hex())


def kind_of_change(old: Listed | IndexEntry, new: Listed | IndexEntry) -> ChangeKind | None:
    """Return how two states of a file differ; None if they don't."""
    if old.id == new.id and old.kind is new.kind:
        return None
    link = EntryKind.SYMLINK in (old.kind, new.kind)
    return "mode" if old.id == new.id and not link else "modified"


class Changes(Sequence[Change]):
    """The changes from some entries of the index to others, read anew each time they are asked for.

    There may be a million, and most callers want the first few, or only their number.

    Args:
        old: The entries before.
        new: The entries after.
        count: The number of changes.

    Example:
        >>> from ama.worktree.entries import Entries
        >>> list(Changes(Entries(), Entries(), 0))
        []
    """

    def __init__(self, old: Entries, new: Entries, count: int) -> None:
        self._old = old
        self._new = new
        self._count = count

    def __iter__(self) -> Iterator[Change]:
        found = (change_of(old, new) for _, new, old in self._new.difference(self._old))
        return (change for change in found if change is not None)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return tuple(self._at(range(self._count)[at]))
        return next(self._at([range(self._count)[at]]))

    def _at(self, places: Sequence[int]) -> Iterator[Change]:
        if places and list(places) == sorted(places):  # no more is read than is asked for
            wanted = set(places)
            found = enumerate(islice(self, places[-1] + 1))
            return (change for at, change in found if at in wanted)
        listed = tuple(self)
        return (listed[at] for at in places)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(tuple(self))

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as a plain tuple: where it arrives, there may be no such index."""
        return tuple, (list(self),)


def as_file(item: Listed) -> File:
    """Return a listed file as a value."""
    return File(item.path, KIND_NAMES[item.kind], item.id.hex(), item.size)


def entry_at(tree: bytes, path: str, asset: str, read: ReadTree) -> File | Directory:
    """Return what is at a path of an asset, a file or a directory; see `find_file`.

    Raises:
        NotFound: There is nothing; the hint has suggestions.
    """
    path = path_text("a path", path).strip("/")
    found = require_entry(tree, path, asset, read)
    if not path:
        return Directory("", found.id.hex(), sum(entry.size for entry in read(found.id)))
    return _as_entry(path, found)


def entries_at(tree: bytes, path: str, asset: str, read: ReadTree) -> tuple[File | Directory, ...]:
    """Return what stands directly in a directory of an asset; see `entry_at`.

    Raises:
        NotFound: There is nothing; the hint has suggestions.
        InvalidInput: It is a file.
    """
    found = entry_at(tree, path, asset, read)
    if isinstance(found, File):
        raise InvalidInput(f"{shown(found.path)} is a file in {asset}, and no directory")
    above = f"{found.path}/" if found.path else ""
    return tuple(_as_entry(above + entry.name, entry) for entry in read(bytes.fromhex(found.id)))


def _as_entry(path: str, entry: TreeEntry) -> File | Directory:
    if entry.kind is EntryKind.TREE:
        return Directory(path, entry.id.hex(), entry.size)
    return as_file(Listed(path, entry.kind, entry.id, entry.size))


def require_entry(tree: bytes, path: str, asset: str, read: ReadTree) -> TreeEntry:
    """Return the entry at a path of an asset, of a file or a directory; see `find_file`.

    Raises:
        NotFound: There is nothing; the hint has suggestions.
    """
    found = look_up(tree, path, read)
    if found is None:
        near = _near(path, ((tree, read),))
        hint = Hint("did-you-mean", names=tuple(near)) if near else Hint("ls-of", asset=asset)
        raise NotFound(f"{asset} has no file {shown(path)}", hint=hint)
    return found


def find_file(tree: bytes, path: str, asset: str, read: ReadTree) -> Listed:
    """Return the file at a path of an asset; only the directories on the way are read.

    Args:
        tree: The asset's tree.
        path: POSIX, relative to the asset's root.
        asset: The asset's name, for the error.
        read: A function that returns the entries of a tree.

    Raises:
        NotFound: There is no such file; the hint has suggestions.
        InvalidInput: It is a directory, or no path.
    """
    path = path_text("a file's name", path).strip("/")
    if not path:
        raise no_file_named(asset)
    found = require_entry(tree, path, asset, read)
    if found.kind is EntryKind.TREE:
        raise InvalidInput(
            f"{shown(path)} is a directory in {asset}",
            hint=Hint("ls-directory", asset=asset, path=path),
        )
    return Listed(path, found.kind, found.id, found.size)


def files_at(tree: bytes, path: str, asset: str, read: ReadTree) -> tuple[File, ...]:
    """Return the file at a path of an asset, or the files below it; see `find_file`.

    Raises:
        NotFound: There is nothing; the hint has suggestions.
        InvalidInput: There are too many to list.
    """
    path = path_text("a file's or a directory's name", path).strip("/")
    found = look_up(tree, path, read)
    files = () if found is None else tuple(map(as_file, walk_at(path, found, read)))
    if path and not files:
        near = _near(path, ((tree, read),))
        hint = Hint("did-you-mean", names=tuple(near)) if near else Hint("ls-all", asset=asset)
        raise NotFound(f"there is no file '{path}' in {asset}", hint=hint)
    return files


def require_named(path: str, trees: tuple[tuple[bytes, ReadTree], ...]) -> None:
    """Check that a path names a file, or a directory, in one of some trees.

    Raises:
        NotFound: It names nothing; the hint has suggestions.
    """
    if all(look_up(tree, path, read) is None for tree, read in trees):
        near = _near(path, trees)
        hint = Hint("did-you-mean", names=tuple(near)) if near else Hint("paths-from-top")
        raise NotFound(f"no asset that is compared has {shown(path)}", hint=hint)


MOST_NEAR = 20_000
"""The most paths to look through for one that may be meant."""


def _near(path: str, trees: tuple[tuple[bytes, ReadTree], ...]) -> list[str]:
    """Return suggestions for an unknown path; none from a tree that can't be listed."""
    return nearest(path, dict.fromkeys(found for each in trees for found in _paths(path, *each)))


def _paths(path: str, tree: bytes, read: ReadTree) -> Iterator[str]:
    """Yield paths of files: first those beside an unknown path, then others."""
    with suppress(AmaError):
        beside, directory = _nearest_directory(path, tree, read)
        near = walk_at(beside, directory, read) if beside else ()
        yield from [item.path for item in islice(chain(near, walk(tree, read)), MOST_NEAR)]


def _nearest_directory(path: str, tree: bytes, read: ReadTree) -> tuple[str, TreeEntry]:
    """Return the lowest directory above an unknown path that there is, and its own path."""
    while path:
        path = path.rpartition("/")[0]
        found = look_up(tree, path, read)
        if found is not None and found.kind is EntryKind.TREE:
            return path, found
    return "", top_of(tree)


def no_file_named(asset: str) -> InvalidInput:
    """Return the error for an asset's name without a file, where a file is needed."""
    name = shown(asset)
    return InvalidInput(
        f"{name} is an asset, and none of its files is named",
        hint=Hint("name-path", asset=name),
    )
