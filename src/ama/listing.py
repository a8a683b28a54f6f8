"""Files of an asset as people see them, and finding one by its path."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from ama.errors import AmaError, InvalidInput, NotFound, shown
from ama.format.names import nearest
from ama.format.objects import EntryKind
from ama.system.encoding import path_text
from ama.values import File
from ama.worktree.snapshot import Listed, ReadTree, look_up, walk, walk_at
from ama.worktree.status import KIND_NAMES


def as_file(item: Listed) -> File:
    """Return a listed file as a value."""
    return File(item.path, KIND_NAMES[item.kind], item.id.hex(), item.size)


def find_file(tree: bytes, path: str, asset: str, read: ReadTree) -> Listed:
    """Return the file at a path of an asset; only the directories on the way are read.

    Args:
        tree: the asset's tree.
        path: POSIX, relative to the asset's root.
        asset: its name, for the error.
        read: returns the entries of a tree.

    Raises:
        NotFound: there is none; the hint has the nearest.
        InvalidInput: it is a directory, or no path.
    """
    path = path_text("a file's name", path).strip("/")
    if not path:
        raise no_file_named(asset)
    found = look_up(tree, path, read)
    if found is None:
        near = _near(path, ((tree, read),))
        hint = f"did you mean {' or '.join(near)}?" if near else f"see what is: ama ls {asset}"
        raise NotFound(f"{asset} has no file {shown(path)}", hint=hint)
    if found.kind is EntryKind.TREE:
        raise InvalidInput(
            f"{shown(path)} is a directory in {asset}", hint=f"list it: ama ls {asset} {path}"
        )
    return Listed(path, found.kind, found.id, found.size)


def files_at(tree: bytes, path: str, asset: str, read: ReadTree) -> tuple[File, ...]:
    """Return the file at a path of an asset, or the files below it; see `find_file`.

    Raises:
        NotFound: there is none; the hint has the nearest.
        InvalidInput: there are too many to list.
    """
    path = path_text("a file's or a directory's name", path).strip("/")
    found = look_up(tree, path, read)
    files = () if found is None else tuple(map(as_file, walk_at(path, found, read)))
    if path and not files:
        near = _near(path, ((tree, read),))
        hint = f"did you mean {' or '.join(near)}?" if near else f"`ama ls {asset}` lists all"
        raise NotFound(f"there is no file '{path}' in {asset}", hint=hint)
    return files


def require_named(path: str, trees: tuple[tuple[bytes, ReadTree], ...]) -> None:
    """Check that a path names a file, or a directory, in one of some trees.

    Raises:
        NotFound: it names nothing; the hint has the nearest.
    """
    if all(look_up(tree, path, read) is None for tree, read in trees):
        near = _near(path, trees)
        hint = f"did you mean {' or '.join(near)}?" if near else "paths are relative to the top"
        raise NotFound(f"no asset that is compared has {shown(path)}", hint=hint)


def _near(path: str, trees: tuple[tuple[bytes, ReadTree], ...]) -> list[str]:
    """Return the paths nearest to one that is in no tree; none of a tree that can't be listed."""
    return nearest(path, dict.fromkeys(path for each in trees for path in _paths(*each)))


def _paths(tree: bytes, read: ReadTree) -> Iterator[str]:
    with suppress(AmaError):
        yield from [item.path for item in walk(tree, read)]


def no_file_named(asset: str) -> InvalidInput:
    """Return the error where a file must be named, and only its asset is."""
    name = shown(asset)
    return InvalidInput(
        f"{name} is an asset, and none of its files is named",
        hint=f"name one: {name}:PATH; see what there is: ama ls {name}",
    )
