"""The indexes in which a writer looks for what a store has: all of a small one, few of a large one.

What a writer doesn't find it sends again, which is legal. So it need not read every index: up to a
budget it reads those of the class's recent assets, and then each that a sketch names for an object
that is about to be sent, with the others of the same entry. Who sends little searches few of many:
to read them would cost more than to send it again. See decision 0023.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice

from ama.errors import AmaError
from ama.format.packindex import PackIndex
from ama.stores.log_view import LogView
from ama.stores.remote import Remote
from ama.stores.sketches import (
    PREFIX,
    Sketch,
    added_by,
    is_sampled,
    places,
    read_sketches,
    sketch_of,
)

BUDGET = 256 * 1024 * 1024
"""The bytes of indexes that a push searches: 4 million objects, some 500 GB of large files."""

UNKNOWN, KNOWN = 16 * 1024, 1024
"""The bytes that might as well be sent while an index is asked for, or is opened in the cache."""

LEAST_WORTH = 1024 * 1024
"""The bytes that a search may cost however little is sent."""

NEAREST = 8
"""The newest assets of a class whose indexes are searched even if not all can be."""

MOST_UNTOLD = 4096
"""The indexes without a sketch whose beginnings are read; the oldest of more are passed over."""


class IndexChoice:
    """The indexes that one push searches.

    Args:
        remote: The store.
        budget: The most bytes of indexes.

    Attributes:
        complete: Whether all current indexes are searched, so that what they don't name is absent.
    """

    def __init__(self, remote: Remote, budget: int | None = None) -> None:
        self.complete = False
        self._remote = remote
        self._budget = BUDGET if budget is None else budget
        self._view: LogView | None = None
        self._chosen: dict[bytes, int] = {}
        self._by_entry: dict[int, list[Sketch]] = {}
        self._by_id: dict[bytes, list[Sketch]] = {}

    def at(
        self, view: LogView, classes: Iterable[str], worth: int | None = None
    ) -> list[PackIndex]:
        """Return the indexes to search, with all that were found before and are still current.

        Args:
            view: The log.
            classes: The classes of the assets that are published.
            worth: The bytes that are sent if nothing is found; None: all is worth it.

        Raises:
            IntegrityError: One of them is lost or damaged.
            StorageError: The store can't be read.
        """
        if self._view is None or self._view.entry_hash != view.entry_hash:
            self._look(view, classes, worth)
        return self._remote.indexes(self._chosen)

    def more(self, object_id: bytes) -> list[PackIndex]:
        """Return further indexes, if a sketch says that one of them names an absent object.

        A sketch proves nothing, so one that can't be read is no error here.
        """
        if self.complete or not is_sampled(object_id):
            return []
        hits = {sketch.entry for sketch in self._by_id.get(object_id[:PREFIX], ())}
        found = [index for entry in sorted(hits, reverse=True) for index in self._take(entry, 1)]
        return self._remote.indexes(found, [])

    def _look(self, view: LogView, classes: Iterable[str], worth: int | None) -> None:
        current = view.root.indexes
        if worth is not None and self._cost(current) > max(worth, LEAST_WORTH):
            self._look_near(view, classes)
            return
        told = self._told(view)
        untold = [index for index in current if index not in told][-MOST_UNTOLD:]
        damage: list[AmaError] = []
        opened = self._remote.index_parts(untold, damage)
        if damage:
            raise damage[0]
        sizes = {index: sketch.size for index, sketch in told.items()}
        sizes.update((index.id, index.size) for index in opened)
        self._view = view
        self.complete = len(sizes) == len(current) and sum(sizes.values()) <= self._budget
        if self.complete:
            self._chosen = {index: sizes[index] for index in current}
            return
        self._chosen = {i: sizes.get(i, 0) for i in self._chosen if i in set(current)}
        origin = {index: entry.number for entry, _ in view.tail for index in added_by(entry)}
        made = [sketch_of(index, origin.get(index.id, 0)) for index in opened]
        self._note([*told.values(), *made])
        self._take_recent(view, classes)

    def _cost(self, indexes: Collection[bytes]) -> int:
        unknown = self._remote.unknown_indexes(indexes)
        return UNKNOWN * unknown + KNOWN * (len(indexes) - unknown)

    def _look_near(self, view: LogView, classes: Iterable[str]) -> None:
        """Choose only what the classes' newest assets need."""
        self._view, self.complete = view, False
        current = set(view.root.indexes)
        self._chosen = {i: size for i, size in self._chosen.items() if i in current}
        self._note([])
        needs: dict[bytes, None] = {}
        for name in classes:
            for _, record in islice(view.class_state(name).newest(), NEAREST):
                needs.update(dict.fromkeys(self._remote.needs(view, name, record)))
        for index in self._remote.index_parts((i for i in needs if i in current), []):
            if self._spent() + index.size <= self._budget * 0.5:
                self._chosen[index.id] = index.size

    def _told(self, view: LogView) -> dict[bytes, Sketch]:
        """Return the sketches that the store has of its current indexes."""
        found = read_sketches(self._remote.storage, self._remote.cache, places(view.number))
        current = set(view.root.indexes)
        return {sketch.index_id: sketch for sketch in found if sketch.index_id in current}

    def _note(self, sketches: Iterable[Sketch]) -> None:
        self._by_entry, self._by_id = {}, {}
        for sketch in sketches:
            self._by_entry.setdefault(sketch.entry, []).append(sketch)
            for each in sketch.ids:
                self._by_id.setdefault(each, []).append(sketch)

    def _take_recent(self, view: LogView, classes: Iterable[str]) -> None:
        """Choose the indexes that the classes' newest assets have added: half of the budget."""
        for name in classes:
            for record in reversed(view.class_state(name).assets):
                self._take(record.entry, 0.5)
                if self._spent() > self._budget * 0.4:
                    break

    def _spent(self) -> int:
        return sum(self._chosen.values())

    def _take(self, entry: int, share: float) -> list[bytes]:
        """Choose the indexes that an entry has added, as far as a share of the budget allows."""
        taken = []
        left = self._budget * share - self._spent()
        for sketch in self._by_entry.get(entry, ()):
            if sketch.index_id not in self._chosen and sketch.size <= left:
                left -= sketch.size
                self._chosen[sketch.index_id] = sketch.size
                taken.append(sketch.index_id)
        return taken
