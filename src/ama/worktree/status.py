"""The differences between the worktree, the index and HEAD."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice

from ama.errors import AmaError, Hint, InvalidInput, NotFound, StorageError, shown
from ama.format.names import nearest
from ama.format.objects import EntryKind, TreeEntry
from ama.system.encoding import path_text
from ama.values import Change, File, FileKind
from ama.worktree.layout import Worktree
from ama.worktree.reader import hash_found
from ama.worktree.scan import Found, directories_of, is_behind, look, scan, unchanged
from ama.worktree.staging import Index, IndexEntry
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


def compare_worktree(tree: Worktree, index: Index) -> WorktreeChanges:
    """Compare the worktree with the index, reading only files whose stat data differ.

    A file that can't be read, or is in such a directory, doesn't count as changed.
    """
    changes = []
    untracked = []
    unreadable: list[str] = []
    entries = index.entries
    written_at = index.written_at
    seen = set()
    for found in scan(tree.root, tree.ignore, tracked=entries, unreadable=unreadable):
        path = found[0]
        entry = entries.get(path)
        if entry is None:
            untracked.append(path)
            continue
        seen.add(path)
        if not unchanged(entry, found, written_at):
            try:
                change = _changed(tree, entry, found)
            except StorageError:
                unreadable.append(path)
                continue
            if change is not None:
                changes.append(change)
    hidden = frozenset(unreadable)
    for path in entries.keys() - seen if len(seen) < len(entries) else ():
        entry = entries[path]
        if not (entry.skipped or path in hidden or is_behind(path, hidden)):
            changes.append(Change(path, "removed", entry.size, None, entry.id.hex(), None))
    changes.sort(key=lambda change: change.path)
    named = _collapsed(untracked, entries)
    return WorktreeChanges(tuple(changes), named, tuple(sorted(unreadable)))


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


def _collapsed(untracked: Iterable[str], tracked: Iterable[str]) -> tuple[str, ...]:
    """Name a directory without staged files once, instead of everything in it."""
    paths = sorted(untracked)
    if not any("/" in path for path in paths):
        return tuple(paths)
    known = directories_of(tracked)
    named: dict[str, None] = {}
    for path in paths:
        at = path.find("/")
        while at >= 0 and path[:at] in known:
            at = path.find("/", at + 1)
        named[path if at < 0 else path[: at + 1]] = None
    return tuple(named)


def compare_listings(
    old: Mapping[str, Listed | IndexEntry], new: Mapping[str, Listed | IndexEntry]
) -> tuple[Change, ...]:
    """Return the differences between two listings of files, in the order of their paths."""
    changes = []
    for path in sorted(old.keys() | new.keys()):
        before, after = old.get(path), new.get(path)
        if before is None and after is not None:
            changes.append(Change(path, "added", None, after.size, None, after.id.hex()))
        elif after is None and before is not None:
            changes.append(Change(path, "removed", before.size, None, before.id.hex(), None))
        elif before is not None and after is not None:
            if before.id == after.id and before.kind is after.kind:
                continue
            link = EntryKind.SYMLINK in (before.kind, after.kind)
            mode = before.id == after.id and not link
            changes.append(
                Change(
                    path,
                    "mode" if mode else "modified",
                    before.size,
                    after.size,
                    before.id.hex(),
                    after.id.hex(),
                )
            )
    return tuple(changes)


def as_file(item: Listed) -> File:
    """Return a listed file as a value."""
    return File(item.path, KIND_NAMES[item.kind], item.id.hex(), item.size)


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
    found = look_up(tree, path, read)
    if found is None:
        near = _near(path, ((tree, read),))
        hint = Hint("did-you-mean", names=tuple(near)) if near else Hint("ls-of", asset=asset)
        raise NotFound(f"{asset} has no file {shown(path)}", hint=hint)
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
