"""The state of a store beside its classes, at one moment: a checkpoint and the entries after it.

It is read where it is asked about: whether an index is current takes a page and a segment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, KeysView, Mapping, Sequence
from typing import Any

from ama.errors import UPGRADE, FormatError
from ama.format.checkpoint import BY_ID, Checkpoint, id_key
from ama.format.entries import Entry, Event, Feature, Gc, Publish, Purged, Unknown
from ama.format.tables import Source, Table, TableReader


class Ids(Mapping[bytes, Any]):
    """Ids with a value each, in the order in which they got it: a table and later changes.

    Args:
        table: The table.
        source: What returns its segments.
    """

    def __init__(self, table: Table, source: Source) -> None:
        self._table = TableReader(table, BY_ID, source)
        self._said: dict[bytes, Any] = {}
        self._ended: set[bytes] = set()

    def put(self, each: bytes, value: Any) -> None:
        """Give an id a value; one that it has by a later change stays."""
        if self._said.get(each) is None:
            self._said.pop(each, None)
            self._said[each] = value

    def end(self, each: bytes) -> None:
        """Take an id's value away."""
        self._said[each] = None
        self._ended.add(each)

    def load(self, ids: Iterable[bytes]) -> None:
        """Read what some ids have, in one batch, as it will be asked for."""
        self._table.find(id_key(each) for each in ids if each not in self._said)

    def get(self, each: object, default: Any = None) -> Any:
        """Return an id's value; `default` if it has none."""
        if not isinstance(each, bytes):
            return default
        found = self._said[each] if each in self._said else self._in_table(each)
        return default if found is None else found

    def __getitem__(self, each: bytes) -> Any:
        found = self.get(each)
        if found is None:
            raise KeyError(each)
        return found

    def __contains__(self, each: object) -> bool:
        return self.get(each) is not None

    def __iter__(self) -> Iterator[bytes]:
        for row in self._table.between(0, self._table.count):
            if row[1] is not None and row[0] not in self._ended:
                yield row[0]
        yield from self._later()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def keys(self) -> IdsView:
        """Return the ids: a set, in order."""
        return IdsView(self)

    def newest(self) -> Iterator[bytes]:
        """Yield the ids, the last first: few segments are read if few are taken."""
        yield from reversed(self._later())
        for _, row in self._table.newest():
            if row[1] is not None and row[0] not in self._ended:
                yield row[0]

    def _later(self) -> list[bytes]:
        """Return the ids with a value that come after those of the table."""
        later = [each for each, value in self._said.items() if value is not None]
        self._table.find(map(id_key, later))
        return [each for each in later if each in self._ended or self._in_table(each) is None]

    def _in_table(self, each: bytes) -> Any:
        for place, _ in reversed(self._table.find([id_key(each)])[id_key(each)]):
            row = self._table.row(place)
            if row[0] == each and row[1] is not None:
                return row[1]
        return None


class IdsView(KeysView[bytes]):
    """The ids of `Ids`: a set that knows its order; what is taken out of it are plain sets."""

    def __init__(self, ids: Ids) -> None:
        super().__init__(ids)
        self._ids = ids

    @classmethod
    def _from_iterable(cls, found: Iterable[bytes]) -> set[bytes]:  # type: ignore[override]
        return set(found)

    def __reversed__(self) -> Iterator[bytes]:
        return self._ids.newest()


class RootView:
    """The state of a store after some entry, except that of its classes.

    Attributes:
        number: The number of the last entry; 0 if there is none.
        entry_hash: The hash of its bytes.
        indexes: The current indexes, in the order in which they became current.
        replaced: What took the place of the indexes that gc has replaced.
        condemned_packs: The packs that nobody may name.
        condemned_indexes: The indexes that nobody may name.
        read_features: The features that readers must know.
        write_features: The features that writers must know.

    Args:
        base: A checkpoint.
        tail: The entries after it, each with the hash of its bytes.
        source: What returns the checkpoint's segments.

    Raises:
        FormatError: An entry holds a critical event of a later version of ama.
    """

    def __init__(
        self, base: Checkpoint, tail: Sequence[tuple[Entry, bytes]], source: Source
    ) -> None:
        last = tail[-1] if tail else None
        self.number = last[0].number if last else base.number
        self.entry_hash = last[1] if last else base.entry_hash
        self._indexes = Ids(base.indexes, source)
        self._packs = Ids(base.condemned_packs, source)
        self._gone = Ids(base.condemned_indexes, source)
        self._read = {*base.read_features}
        self._write = {*base.write_features}
        self.replaced = Ids(base.replaced, source)
        for entry, _ in tail:
            for event in entry.events:
                self._fold(event, entry.number)
        self.indexes = self._indexes.keys()
        self.condemned_packs = self._packs.keys()
        self.condemned_indexes = self._gone.keys()
        self.read_features = tuple(sorted(self._read))
        self.write_features = tuple(sorted(self._write))

    def current(self, indexes: Iterable[bytes]) -> tuple[bytes, ...]:
        """Return the current indexes for these, which gc may have replaced."""
        found: dict[bytes, None] = {}
        waiting = list(indexes)
        seen: set[bytes] = set()
        while waiting:
            self.replaced.load(waiting)
            following: list[bytes] = []
            for index in waiting:
                if index not in seen:
                    seen.add(index)
                    instead = self.replaced.get(index)
                    if instead is None:
                        found[index] = None
                    else:
                        following += instead
            waiting = following
        return tuple(found)

    def _fold(self, event: Event, number: int) -> None:
        match event:
            case Publish():
                self._make_current(event.indexes)
            case Gc():
                self._collect(event)
            case Purged():
                for pack in event.packs:
                    self._packs.end(pack)
                for index in event.indexes:
                    self._gone.end(index)
            case Feature():
                self._read.update(event.read)
                self._write.update(event.write)
            case Unknown(critical=True):
                raise FormatError(
                    f"log entry {number} holds a {event.name!r} event, which this version of ama"
                    " does not know and must not pass over",
                    hint=UPGRADE,
                )

    def _make_current(self, indexes: Iterable[bytes]) -> None:
        for index in indexes:
            self._indexes.put(index, True)
            self.replaced.end(index)

    def _collect(self, event: Gc) -> None:
        for index in (*(index for old, _ in event.replaced for index in old), *event.indexes):
            self._indexes.end(index)
            self._gone.put(index, True)
        for old, new in event.replaced:
            for index in old:
                self.replaced.end(index)
                self.replaced.put(index, new)
        for _, new in event.replaced:
            self._make_current(new)
        for pack in event.packs:
            self._packs.put(pack, True)
