"""The content cache, as a source of files that this machine has."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice

from ama.errors import AmaError
from ama.format.chunking import THRESHOLD
from ama.format.objects import EntryKind
from ama.stores.sources import Sources
from ama.worktree.content_cache import CachedAsset, ContentCache
from ama.worktree.near import Part
from ama.worktree.trees import Listed, look_up

MOST_ASSETS = 4
"""The assets of the class, beside the parents, whose files are looked at for chunks."""


class InCache:
    """The files of the content cache: by their content, and those of other versions by their path.

    Args:
        cache: The cache.
        class_name: The class of the asset that comes.
        parents: The assets that it follows.
    """

    def __init__(self, cache: ContentCache, class_name: str, parents: Sequence[bytes]) -> None:
        self._cache = cache
        self._class_name = class_name
        self._parents = parents
        self._is_there = cache.is_there()
        self._versions: list[CachedAsset] | None = None

    def whole(self, item: Listed) -> Iterable[str]:
        """Yield the files of this content."""
        if not self._is_there:
            return ()
        executable = item.kind is EntryKind.EXECUTABLE
        place_of = self._cache.pool.place_of
        return [place_of(item.id, executable=each) for each in (executable, not executable)]

    def parts(self, item: Listed, sources: Sources) -> Iterator[Part]:
        """Yield the files of other versions at the same path."""
        for version in self._others():
            with suppress(AmaError):
                tree = version.objects.asset(version.id).tree
                entry = look_up(tree, item.path, version.objects.tree)
                if entry is None or entry.kind is EntryKind.TREE or entry.size < THRESHOLD:
                    continue
                recipe = version.objects.store.recipe(entry.id)
                for path in self.whole(Listed(item.path, entry.kind, entry.id, entry.size)):
                    if recipe is not None and os.path.exists(path):
                        yield path, recipe
                        break

    def reject(self, path: str) -> None:
        """Note at a file that it is another."""
        self._cache.pool.doubt(path)

    def _others(self) -> list[CachedAsset]:
        if self._versions is None:
            self._versions = []
            if self._is_there:
                parents = (self._cache.asset(self._class_name, each) for each in self._parents)
                newest = islice(self._cache.assets(self._class_name), MOST_ASSETS)
                found = {each.id: each for each in chain(parents, newest)}
                self._versions = list(found.values())
        return self._versions
