"""Which of a store's indexes name what: the question behind every push."""

from __future__ import annotations

from collections.abc import Iterable

from ama.packindex import Location, PackIndex


class Presence:
    """Which of some indexes names an object; the one that named the last is asked first."""

    def __init__(self, indexes: Iterable[PackIndex]) -> None:
        self.indexes = list(indexes)
        self.used: set[bytes] = set()

    def add(self, index: PackIndex) -> None:
        """Ask one more index, last."""
        self.indexes.append(index)

    def __contains__(self, object_id: bytes) -> bool:
        for at, index in enumerate(self.indexes):
            if object_id in index:
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
