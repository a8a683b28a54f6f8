"""Trees out of the staging area, and listings out of trees."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from ama.errors import IntegrityError, InvalidInput, shown
from ama.hashing import tree_id
from ama.objects import EntryKind, TreeEntry, encode_tree
from ama.staging import Index, IndexEntry

MAX_DEPTH = 512

MOST_FILES = 1 << 22
"""An asset of more files is not listed: it would take some 2 GB, and 20 seconds."""

MOST_TEXT = 1 << 28
"""Nor one whose paths together have more characters."""

Key = TypeVar("Key")
Directory = tuple[list[str], list[tuple[str, Key]]]
"""What is in a directory: the names of files, and directories by their names."""

ReadTree = Callable[[bytes], tuple[TreeEntry, ...]]


class Listed(NamedTuple):
    """One file of an asset, by its path."""

    path: str
    kind: EntryKind
    id: bytes
    size: int


def build_trees(entries: Iterable[IndexEntry]) -> tuple[bytes, dict[bytes, bytes]]:
    """Return the root tree's id, and the bytes of every tree by id, each after those below it.

    Raises:
        InvalidInput: directories that are nested too deeply, or have too many entries; or more than
            could be listed of the asset.
    """
    directories: dict[str, list[TreeEntry]] = {"": []}
    files = text = 0
    for entry in entries:
        files, text = files + 1, text + len(entry.path)
        parent, _, name = entry.path.rpartition("/")
        if parent not in directories:
            if parent.count("/") >= MAX_DEPTH:
                raise InvalidInput(f"{shown(parent)} is nested deeper than {MAX_DEPTH}")
            _add_directory(directories, parent)
        directories[parent].append(TreeEntry(name, entry.kind, entry.id, entry.size))
    _require_few(files, text, "put files into archives, or into several assets that are linked")
    trees: dict[bytes, bytes] = {}
    root = b""
    # Deepest first: a directory's id is needed in the one above it.
    for path in sorted(directories, key=lambda p: (-p.count("/") if p else 1, p)):
        listed = directories[path]
        data = encode_tree(listed)
        object_id = tree_id(data)
        trees[object_id] = data
        if not path:
            root = object_id
            continue
        parent, _, name = path.rpartition("/")
        size = sum(entry.size for entry in listed)
        directories[parent].append(TreeEntry(name, EntryKind.TREE, object_id, size))
    return root, trees


def _add_directory(directories: dict[str, list[TreeEntry]], path: str) -> None:
    while path not in directories:
        directories[path] = []
        path = path.rpartition("/")[0]


def walk(tree: bytes, read: ReadTree) -> Iterator[Listed]:
    """Yield every file below a tree, in the order of their paths.

    Args:
        tree: the root's id.
        read: returns the entries of a tree.

    Raises:
        IntegrityError: directories that are nested deeper than any file system allows.
        InvalidInput: there are too many; see `require_listable`.
    """
    trees = dict(trees_below(tree, read))
    require_listable(tree, lambda at: _directory(trees[at]))
    waiting = [("", 0, iter(trees[tree]))]
    while waiting:
        prefix, depth, entries = waiting[-1]
        entry = next(entries, None)
        if entry is None:
            waiting.pop()
        elif entry.kind is EntryKind.TREE:
            if depth >= MAX_DEPTH:
                raise IntegrityError(f"{shown(prefix)} is nested deeper than {MAX_DEPTH}")
            waiting.append((f"{prefix}{entry.name}/", depth + 1, iter(trees[entry.id])))
        else:
            yield Listed(f"{prefix}{entry.name}", entry.kind, entry.id, entry.size)


def _directory(entries: tuple[TreeEntry, ...]) -> Directory[bytes]:
    return (
        [entry.name for entry in entries if entry.kind is not EntryKind.TREE],
        [(entry.name, entry.id) for entry in entries if entry.kind is EntryKind.TREE],
    )


def require_listable(top: Key, read: Callable[[Key], Directory[Key]]) -> None:
    """Check that what is below a directory can be listed, before it is.

    A hostile store may claim directories in directories that multiply: a few dozen small ones stand
    for more files than there are atoms. Each that differs is looked at once.

    Args:
        top: the directory.
        read: returns what is in a directory.

    Raises:
        InvalidInput: it holds too many files, or their paths have too many characters.
    """
    known: dict[Key, tuple[int, int]] = {}
    listed: dict[Key, Directory[Key]] = {}
    waiting = [top]
    while waiting:
        at = waiting[-1]
        if at not in listed and at not in known:
            listed[at] = read(at)
            waiting += [inner for _, inner in listed[at][1]]
            continue
        waiting.pop()
        if at in known:
            continue
        names, directories = listed.pop(at)
        files, text = len(names), sum(map(len, names))
        for name, inner in directories:
            files += known[inner][0]
            text += known[inner][1] + known[inner][0] * (len(name) + 1)
        _require_few(files, text)
        known[at] = files, text


def _require_few(files: int, text: int, hint: str | None = None) -> None:
    """Check how many files an asset has, and how many characters their paths have together."""
    if files > MOST_FILES or text > MOST_TEXT:
        raise InvalidInput(
            f"an asset of more than {MOST_FILES:,} files, or with paths of more than"
            f" {MOST_TEXT:,} characters together, is more than can be listed",
            hint=hint,
        )


def trees_below(tree: bytes, read: ReadTree) -> Iterator[tuple[bytes, tuple[TreeEntry, ...]]]:
    """Yield each distinct tree below (and with) a root once, with its entries."""
    seen: set[bytes] = set()
    waiting = [tree]
    while waiting:
        at = waiting.pop()
        if at in seen:
            continue
        seen.add(at)
        entries = read(at)
        yield at, entries
        waiting.extend(entry.id for entry in entries if entry.kind is EntryKind.TREE)


def staged_files(index: Index) -> dict[str, Listed]:
    """Return what is staged, as a listing."""
    return {
        path: Listed(path, entry.kind, entry.id, entry.size)
        for path, entry in index.entries.items()
    }
