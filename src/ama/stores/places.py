"""The places of objects: a search of many indexes, some of which may be read in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Lock

from ama.errors import AmaError, FormatError, IntegrityError
from ama.format.packindex import Location, PackIndex
from ama.storage.protocol import Storage
from ama.stores.index_parts import read_rows
from ama.stores.naming import Naming

FEW_INDEXES = 16
"""The most indexes to search for each object; of more, a table tells which name it."""

ROWS_OF_A_SEARCH = 8
"""About how many rows are made into that table in the time in which one index is searched."""

Verify = Callable[[Iterable[bytes], list[AmaError]], Iterable[PackIndex]]
"""Returns verified indexes by id; the errors of those that are lost or damaged go into the list."""


class Places:
    """The places of objects in a set of indexes.

    Args:
        storage: The storage of the packs and indexes.
        indexes: The indexes.
        damage: Why some existing objects may not be found, if so.
        added: A function that returns more indexes, called once something is missing or damaged.
        verify: A function that returns indexes by id, read whole and verified. What was read of an
            index in parts is a guess: it is verified before anything is missing or damaged.
    """

    def __init__(
        self,
        storage: Storage,
        indexes: Iterable[PackIndex],
        damage: AmaError | None,
        added: Callable[[], Iterable[PackIndex]],
        verify: Verify,
    ) -> None:
        self.storage = storage
        self.damage = damage
        self._added = added
        self._verify = verify
        self._looking = Lock()
        self._set({index.id: index for index in indexes})
        self._naming: tuple[Mapping[bytes, PackIndex], Naming] | None = None
        self._lookups = 0

    @property
    def indexes(self) -> tuple[PackIndex, ...]:
        """Return the indexes to search."""
        return tuple(self._indexes.values())

    @property
    def verified(self) -> bool:
        """Whether all indexes are verified, and none of them is read in parts."""
        return not self._guesses

    def add_index(self, index: PackIndex) -> None:
        """Add an index to search."""
        self._add([index])

    def _add(self, indexes: Iterable[PackIndex]) -> None:
        # A new dictionary: other threads may be iterating over this one.
        self._set({**self._indexes, **{index.id: index for index in indexes}})
        self._lookups = 0

    def _set(self, indexes: Mapping[bytes, PackIndex]) -> None:
        self._indexes = indexes
        self._guesses = {each: index for each, index in indexes.items() if not index.verified}

    def look_again(self) -> bool:
        """Look for more indexes; return whether there are some.

        First those that were read in parts are read whole: call this until it returns False.
        """
        with self._looking:
            if self._guesses:
                self._read_whole(list(self._guesses))
                return True
            found = [index for index in self._added() if index.id not in self._indexes]
            self._add(found)
            return bool(found)

    def look_up(self, ids: Iterable[bytes]) -> None:
        """Read the rows of objects, in one batch, from indexes that are read in parts."""
        if self._guesses:
            dear = read_rows(self.storage, self._guesses.values(), list(ids))
            if dear:
                with self._looking:
                    self._read_whole([index.id for index in dear])

    def _read_whole(self, guessed: Sequence[bytes]) -> None:
        damage: list[AmaError] = []
        found = {index.id: index for index in self._verify(guessed, damage)}
        gone = set(guessed) - found.keys()
        left = [index for index in self._indexes.values() if index.id not in gone]
        self._set({index.id: found.get(index.id, index) for index in left})
        self.damage = self.damage or (damage[0] if damage else None)

    def find(self, object_id: bytes) -> list[Location]:
        """Return every location of an object; none if no index names it."""
        self.look_up([object_id])
        found: list[Location] = []
        for index in self._candidates(object_id):
            try:
                found += index.find(object_id)
            except (IntegrityError, FormatError):
                if index.verified:  # else it means nothing, and the whole is read
                    raise
        return found

    def __contains__(self, object_id: bytes) -> bool:
        if self._guesses:
            return bool(self.find(object_id))
        return any(object_id in index for index in self._candidates(object_id))

    def _candidates(self, object_id: bytes) -> Iterable[PackIndex]:
        """Return the indexes that may name an object."""
        indexes = self._indexes
        if len(indexes) <= FEW_INDEXES:
            return indexes.values()
        noted = self._naming
        if noted is None or noted[0] is not indexes:
            # Each publication adds an index: without this, each lookup would search thousands.
            self._lookups += len(indexes)
            if self._lookups * ROWS_OF_A_SEARCH <= sum(map(len, indexes.values())):
                return indexes.values()
            known = tuple(index for index in indexes.values() if index.verified)
            noted = self._naming = indexes, Naming(known)
        return [*noted[1].candidates(object_id), *self._guesses.values()]

    def starting_with(self, prefix: str) -> set[bytes]:
        """Return the ids whose hex digits begin with `prefix`."""
        return {i for index in self._indexes.values() for i in index.starting_with(prefix)}
