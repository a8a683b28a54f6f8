"""Trees out of the staging area, and listings out of trees."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from ama.errors import IntegrityError, InvalidInput, shown
from ama.hashing import tree_id
from ama.objects import EntryKind, TreeEntry, encode_tree
from ama.staging import Index, IndexEntry

MAX_DEPTH = 512

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
        InvalidInput: directories that are nested too deeply, or have too many entries.
    """
    directories: dict[str, list[TreeEntry]] = {"": []}
    for entry in entries:
        parent, _, name = entry.path.rpartition("/")
        if parent not in directories:
            if parent.count("/") >= MAX_DEPTH:
                raise InvalidInput(f"{shown(parent)} is nested deeper than {MAX_DEPTH}")
            _add_directory(directories, parent)
        directories[parent].append(TreeEntry(name, entry.kind, entry.id, entry.size))
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
    """
    waiting = [("", 0, iter(read(tree)))]
    while waiting:
        prefix, depth, entries = waiting[-1]
        entry = next(entries, None)
        if entry is None:
            waiting.pop()
        elif entry.kind is EntryKind.TREE:
            if depth >= MAX_DEPTH:
                raise IntegrityError(f"{shown(prefix)} is nested deeper than {MAX_DEPTH}")
            waiting.append((f"{prefix}{entry.name}/", depth + 1, iter(read(entry.id))))
        else:
            yield Listed(f"{prefix}{entry.name}", entry.kind, entry.id, entry.size)


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
