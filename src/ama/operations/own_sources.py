"""Files of a worktree that are themselves what a store's references lead to.

A store that has content only by reference to a file has no copy of it: to overwrite that file would
lose it. So such a file counts as stored nowhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

from ama.errors import AmaError
from ama.format.objects import Kind
from ama.format.pack import read_record
from ama.format.packindex import Location
from ama.format.references import REFERENCES, Reference
from ama.operations.connections import Connections
from ama.storage.urls import file_path
from ama.stores.object_reader import ObjectStore
from ama.system.encoding import to_system
from ama.worktree.head import Head


class CopiedFiles(Mapping[str, bytes]):
    """Files that a store has, without those that it has only in their own place.

    Args:
        files: The ids of the files by their paths.
        is_own: Whether a content is in the store only as a file of this worktree.
    """

    def __init__(self, files: Mapping[str, bytes], is_own: Callable[[bytes], bool]) -> None:
        self._files = files
        self._is_own = is_own

    def __getitem__(self, path: str) -> bytes:
        content = self._files[path]
        if self._is_own(content):
            raise KeyError(path)
        return content

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def only_in(
    root: Path, stores: Connections, head: Head, asset: bytes, class_name: str
) -> Callable[[bytes], bool]:
    """Return a test whether stores have a content of an asset only as a file below a directory.

    No log is asked anew for it. What can't be found out is taken for a copy, as without references.

    Args:
        root: The directory.
        stores: The stores.
        head: HEAD.
        asset: The asset.
        class_name: Its class.
    """

    @cache
    def known() -> list[ObjectStore]:
        found = []
        for url in stores.urls(head):
            with suppress(AmaError):
                objects = _objects(stores, url, asset, class_name)
                if objects is not None:
                    found.append(objects)
        return found

    @cache
    def is_own(content: bytes) -> bool:
        with suppress(AmaError):
            objects = known()
            return bool(objects) and all(_is_own(each, content, root) for each in objects)
        return False

    return is_own


def _objects(stores: Connections, url: str, asset: bytes, class_name: str) -> ObjectStore | None:
    """Return the objects of an asset in a store as it is known; None if it isn't known there."""
    view = stores.known(url)
    record = None if view is None else view.class_state(class_name).find(asset)
    if view is None or record is None:
        return None
    remote = stores.open_known(url)
    if remote is None:
        return None
    if REFERENCES not in view.root.read_features:
        return remote.objects(())  # what it has, it has itself
    return remote.objects_of(view, class_name, record)


def _is_own(objects: ObjectStore, content: bytes, root: Path) -> bool:
    places = objects.find(content)
    kinds = {at.record.kind for at in places}
    if kinds == {Kind.RECIPE}:
        recipe = objects.recipe(content)
        chunks = () if recipe is None else recipe.chunks
        return any(_is_own(objects, chunk, root) for chunk, _ in chunks)
    return kinds == {Kind.REFERENCE} and _lead_below(objects, places, root)


def _lead_below(objects: ObjectStore, places: list[Location], root: Path) -> bool:
    """Whether references lead to files below a directory, and nowhere else."""
    top = os.path.join(os.path.realpath(root), "")
    for at, raw in objects.read_raw(places):
        found = read_record(raw, at.record)
        if isinstance(found, Reference):
            if not found.url.startswith("file://"):
                return False
            if not os.path.realpath(to_system(file_path(found.url))).startswith(top):
                return False
    return True
