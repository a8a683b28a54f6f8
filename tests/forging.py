"""Stores that assets are published to by hand, past all that `add` refuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ama.format.entries import Publish
from ama.format.hashing import asset_id, blob_id, tree_id
from ama.format.objects import (
    MAX_SIZE,
    Asset,
    EntryKind,
    Kind,
    TreeEntry,
    encode_asset,
    encode_tree,
)
from ama.storage.local import LocalStorage
from ama.stores.pack_writer import PackWriter
from ama.stores.remote import Remote

Files = Mapping[str, "bytes | Files"]

Objects = dict[bytes, tuple[Kind, bytes]]


class Forge:
    """A store that assets are published to by hand, past all that `add` refuses."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._remote, _ = Remote.create(LocalStorage(directory), directory.parent / "forge-cache")

    def publish(self, files: Files) -> None:
        objects: Objects = {}
        self.publish_trees(self._tree(files, objects).id, objects)

    def publish_trees(self, root: bytes, objects: Objects) -> None:
        asset = encode_asset(Asset("models", root, (), (), "Eve", 1))
        with PackWriter(self._remote.storage) as writer:
            for object_id, (kind, data) in objects.items():
                writer.add(kind, object_id, data)
            writer.add(Kind.ASSET, asset_id(asset), asset)
            (index,) = writer.finish()
        event = Publish(asset_id(asset), "models", (), (index.id,), (index.id,))
        self._remote.log.append(lambda _: [event], author="Eve", now=lambda: 0)

    def _tree(self, files: Files, objects: Objects) -> TreeEntry:
        entries = []
        for name, found in sorted(files.items()):
            if isinstance(found, bytes):
                entries.append(file_entry(name, found, objects))
            else:
                entries.append(self._tree(found, objects)._replace(name=name))
        return listed(entries, objects)


def listed(entries: Sequence[TreeEntry], objects: Objects) -> TreeEntry:
    data = encode_tree(entries)
    objects[tree_id(data)] = (Kind.TREE, data)
    size = min(sum(entry.size for entry in entries), MAX_SIZE)
    return TreeEntry("", EntryKind.TREE, tree_id(data), size)


def file_entry(
    name: str, data: bytes, objects: Objects, kind: EntryKind = EntryKind.FILE
) -> TreeEntry:
    objects[blob_id(data)] = (Kind.DATA, data)
    return TreeEntry(name, kind, blob_id(data), len(data))


def multiplied(levels: int, names: str, files: Mapping[str, bytes], objects: Objects) -> TreeEntry:
    """Directories in directories of these names, so many levels, all the same; then the files."""
    entries = [file_entry(name, data, objects) for name, data in files.items()]
    for _ in range(levels):
        tree = listed(entries, objects)
        entries = [tree._replace(name=name) for name in names]
    return listed(entries, objects)
