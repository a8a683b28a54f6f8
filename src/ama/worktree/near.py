"""Content that this machine has already: files that may hold what a store would be asked for.

None of them is trusted: who takes content from one verifies it, and asks the store if it is other.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from ama.format.chunking import THRESHOLD
from ama.format.hashing import HashingReader, blob_id
from ama.format.objects import Kind, Recipe
from ama.stores.object_reader import Have
from ama.stores.sources import Sources
from ama.system import disk
from ama.system.encoding import to_system
from ama.worktree.entries import IndexEntry
from ama.worktree.layout import Worktree
from ama.worktree.trees import Listed

PIECE = 4 << 20

Part = tuple[str, Recipe]
"""A file that may have chunks, and the recipe by which they would lie in it."""


class Near(Protocol):
    """A source of files on this machine that may hold content."""

    def whole(self, item: Listed) -> Iterable[str]:
        """Yield the paths of files that may be a file, the likely ones first."""

    def parts(self, item: Listed, sources: Sources) -> Iterable[Part]:
        """Yield files that may have chunks of a large file.

        Args:
            item: The file.
            sources: The sources of the asset's objects.
        """

    def reject(self, path: str) -> None:
        """Note that a file of `whole` is another."""


class Nothing:
    """What a machine has that has nothing."""

    def whole(self, item: Listed) -> Iterable[str]:
        """Yield nothing."""
        return ()

    def parts(self, item: Listed, sources: Sources) -> Iterable[Part]:
        """Yield nothing."""
        return ()

    def reject(self, path: str) -> None:
        """Do nothing."""


class InWorktree:
    """The present files of the worktree that gets new ones: the one at the same path.

    Args:
        tree: The worktree.
    """

    def __init__(self, tree: Worktree) -> None:
        self._tree = tree
        self._entries: Mapping[str, IndexEntry] | None = None

    def whole(self, item: Listed) -> Iterable[str]:
        """Yield nothing: what is there already needn't come."""
        return ()

    def parts(self, item: Listed, sources: Sources) -> Iterable[Part]:
        """Yield the file at the same path, as it was before."""
        if self._entries is None:
            self._entries = self._tree.index.read().entries
        entry = self._entries.get(item.path)
        if entry is not None and entry.size >= THRESHOLD and entry.id in sources:
            recipe = sources.recipe(entry.id)
            if recipe is not None:
                yield os.path.join(self._tree.root, to_system(item.path)), recipe

    def reject(self, path: str) -> None:
        """Do nothing."""


class Several:
    """Several sources, one after another."""

    def __init__(self, *sources: Near) -> None:
        self._sources = sources

    def whole(self, item: Listed) -> Iterable[str]:
        """Yield what each of them yields."""
        return (path for source in self._sources for path in source.whole(item))

    def parts(self, item: Listed, sources: Sources) -> Iterable[Part]:
        """Yield what each of them yields."""
        return (part for source in self._sources for part in source.parts(item, sources))

    def reject(self, path: str) -> None:
        """Tell each of them."""
        for source in self._sources:
            source.reject(path)


class OtherContentError(Exception):
    """A file near here is not what it should be, or can't be read."""


def small_content(path: str, item: Listed) -> bytes | None:
    """Return the content of a small file if it can be read and has its size; else None.

    Raises:
        OtherContentError: It is another content.
    """
    try:
        data = disk.read_steady(path, item.size)
    except OSError:
        return None
    if data is not None and blob_id(data) != item.id:
        raise OtherContentError
    return data


def verified_pieces(path: str, item: Listed) -> Iterator[bytes]:
    """Yield the content of a file near here.

    Raises:
        OtherContentError: It is another content, which is known only at the end; or unreadable.
    """
    buffer = memoryview(bytearray(PIECE))
    try:
        with disk.open_file(path) as file:
            if os.fstat(file.fileno()).st_size != item.size:
                raise OtherContentError
            reader = HashingReader(file)
            while count := reader.readinto(buffer):
                yield bytes(buffer[:count])
    except OSError as error:
        raise OtherContentError from error
    if reader.digest() != item.id:
        raise OtherContentError


def chunk_reader(parts: Iterable[Part]) -> Have | None:
    """Return a function that reads chunks where they may be, and verifies them; None: nowhere."""
    places: dict[bytes, tuple[str, int]] = {}
    for path, recipe in parts:
        offset = 0
        for chunk, size in recipe.chunks if recipe.kind is Kind.DATA else ():
            places.setdefault(chunk, (path, offset))
            offset += size

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

    return have if places else None
