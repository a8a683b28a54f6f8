"""Sources of an object's bytes: the local packs, or a store that promises them.

Damaged bytes come from the next source that has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from ama.errors import AmaError, Hint, IntegrityError, NotFound
from ama.format.hashing import short
from ama.format.objects import Asset, Kind, Recipe, TreeEntry, decode_asset, decode_tree
from ama.stores.object_reader import Bad, Have, ObjectStore

Opener = Callable[[], ObjectStore]


class Sources:
    """Object stores in the order in which they are asked.

    Args:
        near: The first one: on this machine.
        far: The others, opened only if something isn't near.
    """

    def __init__(self, near: ObjectStore, far: Sequence[Opener] = ()) -> None:
        self._stores = [near]
        self._far = list(far)
        self._trees: dict[bytes, tuple[TreeEntry, ...]] = {}

    @property
    def bytes_read(self) -> int:
        """Return the bytes of packs read so far, from all stores."""
        return sum(store.bytes_read for store in self._stores)

    def find(self, object_id: bytes) -> ObjectStore:
        """Return a store that has an object.

        Raises:
            NotFound: No store has the object.
        """
        for store in self._stores:
            if object_id in store:
                return store
        near = self._stores[0]
        while near.look_again():
            if object_id in near:
                return near
        for store in self._all():
            if object_id in store:
                return store
        raise self._lacking(object_id)

    def _all(self) -> Iterator[ObjectStore]:
        """Yield every store; far ones are opened one after another."""
        at = 0
        while at < len(self._stores) or self._far:
            if at == len(self._stores):
                self._stores.append(self._far.pop(0)())
            yield self._stores[at]
            at += 1

    def _others(self, object_id: bytes, first: ObjectStore) -> Iterator[ObjectStore]:
        """Yield the other stores that have an object."""
        return (store for store in self._all() if store is not first and object_id in store)

    def _lacking(self, object_id: bytes) -> AmaError:
        for store in self._stores:
            if store.damage is not None:
                return store.damage
        return NotFound(
            f"object {short(object_id)} is neither here nor in a remote that was seen",
            hint=Hint("fetch"),
        )

    def holding(self, object_id: bytes) -> ObjectStore:
        """Return a store that has an object with all its bytes, not only a large one's recipe.

        Raises:
            NotFound: No store has it whole.
            IntegrityError: Its recipe is damaged.
        """
        first = self.find(object_id)
        if first.holds(object_id):
            return first
        for store in self._others(object_id, first):
            if store.holds(object_id):
                return store
        first.recipe(object_id)  # it reports damage
        raise self._lacking(object_id)

    def __contains__(self, object_id: bytes) -> bool:
        try:
            self.find(object_id)
        except (NotFound, IntegrityError):
            return False
        return True

    def read(self, object_id: bytes, kind: Kind) -> bytes:
        """Return an object's verified bytes, from the first store that has a sound copy."""
        return b"".join(self.stream(object_id, kind))

    def stream(self, object_id: bytes, kind: Kind, have: Have | None = None) -> Iterator[bytes]:
        """Yield an object's bytes in verified pieces (see `ObjectStore.stream`).

        If a store's copy is damaged or lacks chunks, the others supply them.
        """
        lacking: AmaError | None = None
        try:
            first = self.holding(object_id)
        except (NotFound, IntegrityError) as error:
            first, lacking = self.find(object_id), error
        return self._stream(object_id, kind, have, first, lacking)

    def _stream(
        self,
        object_id: bytes,
        kind: Kind,
        have: Have | None,
        first: ObjectStore,
        failed: AmaError | None,
    ) -> Iterator[bytes]:
        store, others = first, self._others(object_id, first)
        while True:
            pieces = store.stream(object_id, kind, have, partial(self._elsewhere, store))
            try:
                piece = next(pieces)
                break
            except (NotFound, IntegrityError) as error:
                failed = failed or error
            following = next(others, None)
            if following is None:
                raise failed
            store = following
        # Yielded bytes can't be taken back: from here on, another recipe would be too late.
        yield piece
        yield from pieces

    def _elsewhere(
        self, store: ObjectStore, chunks: Iterable[bytes]
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield (id, bytes) of the chunks that one store can't read and another can."""
        waiting = dict.fromkeys(chunks)
        for other in self._all():
            if not waiting:
                return
            if other is not store:
                there = [chunk for chunk in waiting if chunk in other]
                for chunk, data in other.read_records(there, Kind.DATA, {}):
                    del waiting[chunk]
                    yield chunk, data

    def recipe(self, object_id: bytes) -> Recipe | None:
        """Return the recipe of a large object, or None if it isn't known in chunks."""
        first = self.find(object_id)
        try:
            return first.recipe(object_id)
        except IntegrityError:
            for store in self._others(object_id, first):
                try:
                    return store.recipe(object_id)
                except IntegrityError:
                    continue
            raise

    def tree(self, tree: bytes) -> tuple[TreeEntry, ...]:
        """Return a directory's entries."""
        if tree not in self._trees:
            data = self.read(tree, Kind.TREE)
            self._trees[tree] = decode_tree(data, f"tree {short(tree)}")
        return self._trees[tree]

    def asset(self, asset: bytes) -> Asset:
        """Return an asset object."""
        return decode_asset(self.read(asset, Kind.ASSET), f"asset {short(asset)}")

    def parents(self, asset: bytes) -> tuple[bytes, ...]:
        """Return the ids of what an asset is the next version of."""
        return self.asset(asset).parents

    def each_file(
        self, ids: Iterable[bytes], work: Callable[[bytes, bytes], None]
    ) -> Iterator[list[bytes]]:
        """Call `work(id, bytes)` for small files, on a few threads; yield the ids that are done."""
        by_store: dict[int, tuple[ObjectStore, list[bytes]]] = {}
        for object_id in ids:
            store = self.find(object_id)
            by_store.setdefault(id(store), (store, []))[1].append(object_id)
        for first, wanted in by_store.values():
            bad: Bad = {}
            yield from first.each_file(wanted, work, bad)
            if bad:
                yield from self._each_elsewhere(first, bad, work)

    def _each_elsewhere(
        self, first: ObjectStore, bad: Bad, work: Callable[[bytes, bytes], None]
    ) -> Iterator[list[bytes]]:
        for store in self._all():
            if store is not first:
                there = [object_id for object_id in bad if object_id in store]
                for done in store.each_file(there, work, {}):
                    for object_id in done:
                        del bad[object_id]
                    yield done
        for error in bad.values():
            raise error
