"""The objects of a worktree itself: packs and indexes below `.ama/objects`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ama.errors import IntegrityError, StorageError, shown
from ama.format.compression import BYTE_PLANES
from ama.format.hashing import blob_id, short
from ama.format.objects import Asset, Kind, TreeEntry, decode_asset, decode_tree
from ama.format.packindex import PackIndex
from ama.storage.local import LocalStorage
from ama.stores.indexes import in_file
from ama.stores.object_reader import ObjectStore, index_name, pack_name
from ama.stores.pack_writer import PackWriter
from ama.system import disk, fs
from ama.worktree.staging import is_settled

SMALL_PACK = 4 * 1024 * 1024
SWEEP_AFTER = 24 * 60 * 60
MOST_LOOKS = 10
_FEATURES = (BYTE_PLANES,)
MANY = 24
"""The number of small packs to merge into one in passing."""


class LocalObjects:
    """A worktree's own packs.

    Args:
        directory: `.ama/objects`.
        shared: Whether they get the rights of the directory, if others may use it.
    """

    def __init__(self, directory: Path, *, shared: bool = False) -> None:
        self.storage = LocalStorage(directory, shared=shared)
        self._directory = directory
        self._store: ObjectStore | None = None
        self._seen: int | None = None

    @property
    def store(self) -> ObjectStore:
        """Return all local objects; a miss looks for those that another command has added."""
        if self._store is None:
            self._store = ObjectStore(self.storage, self._load(), added=self._added)
        return self._store

    def _load(self) -> list[PackIndex]:
        now = time.time_ns()
        changed = self._changed_at()
        settled = changed is not None and is_settled(changed, now)
        self._seen = changed if settled else None
        loaded: dict[str, PackIndex] = {}
        for _ in range(MOST_LOOKS):
            names = [name for name, _ in sorted(self.storage.list("index/"))]
            fresh = {name: self._index(name) for name in names if name not in loaded}
            loaded.update((name, index) for name, index in fresh.items() if index is not None)
            if None not in fresh.values():
                break
            # Another command has merged some away since the listing: an index in the next listing
            # names their objects.
        return list(loaded.values())

    def _index(self, name: str) -> PackIndex | None:
        path = self._directory / name
        data = disk.read_file(path, SMALL_PACK)
        if data is None:
            return None
        if len(data) < SMALL_PACK:
            index = PackIndex(data, shown(path))
        else:  # it isn't merged away, so it stays, and need not be held in memory
            index = in_file(disk.SteadyFile(path), shown(path))
        if index_name(index.id) != name:
            raise IntegrityError(
                f"{shown(path)} is damaged: it is another index than its name says"
            )
        return index

    def _opened(self, data: bytes) -> PackIndex:
        """Open an index that is stored: a long one is searched in its file.

        Raises:
            StorageError: A pack that it names is gone: written more than a day ago, on a machine
                that slept meanwhile, it counted as litter.
        """
        index = self._index(index_name(blob_id(data))) if len(data) >= SMALL_PACK else None
        index = index or PackIndex(data)
        packs = index.pack_sizes
        if self.storage.sizes(list(map(pack_name, packs))) != list(packs.values()):
            raise StorageError(
                f"{shown(self._directory)} lacks what was written there a day ago",
                hint="run the same command again",
            )
        return index

    def _added(self) -> list[PackIndex]:
        """Return the indexes again, unless none can have been written since they were loaded."""
        changed = self._changed_at()
        return self._load() if changed is not None and changed != self._seen else []

    def _changed_at(self) -> int | None:
        return disk.changed_at(self._directory / "index")

    def reload(self) -> None:
        """Read the directory again at the next use."""
        self._store = None

    def __contains__(self, object_id: bytes) -> bool:
        return self.store.is_there(object_id)

    def is_sound(self, object_id: bytes) -> bool:
        """Whether a file's content can be read from here: read and verify all of it."""
        return self.store.is_sound(object_id)

    @contextmanager
    def writing(self, advance: Callable[[int], None] | None = None) -> Iterator[PackWriter]:
        """Write objects: they count once the block ends without an error."""
        with PackWriter(
            self.storage, features=_FEATURES, advance=advance, opened=self._opened
        ) as writer:
            yield writer
            for index in writer.finish():
                self.store.add_index(index)

    def asset(self, asset: bytes) -> Asset:
        """Return an asset object.

        Raises:
            NotFound: It isn't here.
            IntegrityError: It is damaged.
        """
        return decode_asset(self.store.read(asset, Kind.ASSET), f"asset {short(asset)}")

    def tree(self, tree: bytes) -> tuple[TreeEntry, ...]:
        """Return a directory's entries.

        Raises:
            NotFound: It isn't here.
            IntegrityError: It is damaged.
        """
        return decode_tree(self.store.read(tree, Kind.TREE), f"tree {short(tree)}")

    def merge_small(self) -> None:
        """Merge small packs into one, if there are many.

        The merged pack and its index are durable before the old indexes go. The old packs stay for
        a day, because another command may be reading them.
        """
        small = [
            index
            for index in self.store.indexes
            if sum(index.pack_sizes.values()) + index.size < SMALL_PACK
        ]
        if len(small) < MANY:
            return
        # Recipes first: a whole record replaces one whose chunks need not be here.
        places = sorted((at for i in small for at in i), key=lambda at: -at.record.kind)
        locations = {at.record.id: at for at in places}
        try:
            with PackWriter(self.storage, features=_FEATURES) as writer:
                for at, raw in self.store.read_raw(locations.values()):
                    writer.copy(at.record, raw)
                writer.finish()
        except IntegrityError:
            # A reader that needs the damaged object will report it; merging can wait.
            return
        for pack in {pack for index in small for pack in index.pack_sizes}:
            fs.touch(self._directory / pack_name(pack))
        for index in small:
            self.storage.delete(index_name(index.id))
        self._sweep()
        self.reload()

    def _sweep(self) -> None:
        """Delete packs that no index names, once nobody can be reading or writing them.

        Their age counts from when they were written, or merged.
        """
        named = {pack_name(pack) for index in self._load() for pack in index.pack_sizes}
        before = time.time_ns() - SWEEP_AFTER * 1_000_000_000
        for name, _ in list(self.storage.list("packs/")):
            if name in named:
                continue
            written = disk.changed_at(self._directory / name)
            if written is not None and written < before:
                self.storage.delete(name)
