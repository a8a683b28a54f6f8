"""Which of a store's indexes name what: the question behind every push."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ama.errors import StorageError
from ama.format.entries import Purged
from ama.format.hashing import blob_id
from ama.format.packindex import Location, PackIndex
from ama.storage.protocol import Range, Storage
from ama.stores.log_files import REFUSED
from ama.stores.log_view import LogView
from ama.stores.object_reader import pack_name


class Lost(Exception):
    """Indexes that were counted on, and whose packs are not all there."""

    def __init__(self, indexes: set[bytes]) -> None:
        super().__init__(indexes)
        self.indexes = indexes


class Presence:
    """Which of some indexes names an object; the one that named the last is asked first."""

    def __init__(self, indexes: Iterable[PackIndex]) -> None:
        self.indexes = list(indexes)
        self.used: set[bytes] = set()
        self._doubted: dict[bytes, Callable[[PackIndex], bool]] = {}

    def add(self, index: PackIndex, believe: Callable[[PackIndex], bool]) -> None:
        """Ask one more index, last; once it names something, only if `believe` says so."""
        self.indexes.append(index)
        self._doubted[index.id] = believe

    def __contains__(self, object_id: bytes) -> bool:
        for at, index in enumerate(tuple(self.indexes)):
            if object_id in index:
                believe = self._doubted.pop(index.id, None)
                if believe is not None and not believe(index):
                    self.indexes.remove(index)
                    return object_id in self
                self.used.add(index.id)
                if at:
                    self.indexes.insert(0, self.indexes.pop(at))
                return True
        return False

    def only_recipe(self, object_id: bytes) -> bool:
        """Whether an object is named, and only in chunks."""
        return object_id in self and self.indexes[0].only_recipe(object_id)

    def find(self, object_id: bytes) -> list[Location]:
        """Return the places that the first index which names an object has for it."""
        for index in self.indexes:
            places = index.find(object_id)
            if places:
                return places
        return []


def reads_back(storage: Storage, index: PackIndex) -> bool:
    """Whether every pack of an index is sound, where no log entry vouches for it yet."""
    for pack in index.pack_sizes:
        try:
            (data,) = storage.read([Range(pack_name(pack))])
        except StorageError as error:
            if error.errno not in REFUSED:
                raise
            return False
        if data is None or blob_id(data) != pack:
            return False
    return True


def is_usable(view: LogView, index: PackIndex) -> bool:
    """Whether no gc has condemned an index or one of its packs."""
    root = view.root
    return index.id not in root.condemned_indexes and not (
        root.condemned_packs & index.pack_sizes.keys()
    )


def may_be_purged(view: LogView, number: int) -> bool:
    """Whether something was purged after entry `number`: it is gone, and not condemned any more."""
    if view.base.number > number:
        return True
    later = (entry for entry, _ in view.tail if entry.number > number)
    return any(isinstance(event, Purged) for entry in later for event in entry.events)
