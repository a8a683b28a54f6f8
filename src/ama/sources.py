"""Where an object's bytes come from: the local packs, or a store that promises them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

from ama.errors import AmaError, IntegrityError, NotFound
from ama.hashing import short
from ama.objects import Asset, Kind, Recipe, TreeEntry, decode_asset, decode_tree
from ama.objectstore import Have, ObjectStore

Opener = Callable[[], ObjectStore]


class Sources:
    """Object stores in the order in which they are asked.

    Args:
        near: the first one: what is on this machine.
        far: those that are opened only if something isn't near.
    """

    def __init__(self, near: ObjectStore, far: Sequence[Opener] = ()) -> None:
        self._stores = [near]
        self._far = list(far)
        self._trees: dict[bytes, tuple[TreeEntry, ...]] = {}

    def find(self, object_id: bytes) -> ObjectStore:
        """Return a store that has an object.

        Raises:
            NotFound: none has.
        """
        for store in self._stores:
            if object_id in store:
                return store
        near = self._stores[0]
        if near.look_again() and object_id in near:
            return near
        while self._far:
            store = self._far.pop(0)()
            self._stores.append(store)
            if object_id in store:
                return store
        raise self._lacking(object_id)

    def _lacking(self, object_id: bytes) -> AmaError:
        for store in self._stores:
            if store.damage is not None:
                return store.damage
        return NotFound(
            f"object {short(object_id)} is neither here nor in a remote that was seen",
            hint="get what the remote has: ama fetch",
        )

    def holding(self, object_id: bytes) -> ObjectStore:
        """Return a store that has an object with all its bytes, not only a large one's recipe.

        Raises:
            NotFound: none has.
            IntegrityError: its recipe is damaged.
        """
        first = self.find(object_id)
        if first.holds(object_id):
            return first
        for store in self._others(object_id):
            if store.holds(object_id):
                return store
        first.recipe(object_id)  # which says so if it is damaged
        raise self._lacking(object_id)

    def __contains__(self, object_id: bytes) -> bool:
        try:
            self.find(object_id)
        except (NotFound, IntegrityError):
            return False
        return True

    def read(self, object_id: bytes, kind: Kind) -> bytes:
        """Return an object's verified bytes, from the first store that has it sound."""
        try:
            return self.find(object_id).read(object_id, kind)
        except IntegrityError:
            for store in self._others(object_id):
                return store.read(object_id, kind)
            raise

    def _others(self, object_id: bytes) -> Iterator[ObjectStore]:
        first = self.find(object_id)
        while self._far:
            self._stores.append(self._far.pop(0)())
        return (store for store in self._stores if store is not first and object_id in store)

    def stream(self, object_id: bytes, kind: Kind, have: Have | None = None) -> Iterator[bytes]:
        """Yield an object's bytes in verified pieces (see `ObjectStore.stream`)."""
        try:
            return self.holding(object_id).stream(object_id, kind, have)
        except (NotFound, IntegrityError):
            # Its chunks may be in one store, and a good recipe in another.
            recipe = self._good_recipe(object_id)
            if recipe is not None and recipe.kind is kind:
                for store in self._stores:
                    if all(chunk in store for chunk, _ in recipe.chunks):
                        return store.stream_recipe(object_id, recipe, have)
            raise

    def _good_recipe(self, object_id: bytes) -> Recipe | None:
        for store in self._stores:
            if object_id in store:
                with suppress(IntegrityError):
                    return store.recipe(object_id)
        return None

    def recipe(self, object_id: bytes) -> Recipe | None:
        """Return how a large object is put together, or None if it isn't known in chunks."""
        return self.find(object_id).recipe(object_id)

    def tree(self, tree: bytes) -> tuple[TreeEntry, ...]:
        """Return a directory's entries."""
        if tree not in self._trees:
            data = self.read(tree, Kind.TREE)
            self._trees[tree] = decode_tree(data, f"tree {short(tree)}")
        return self._trees[tree]

    def asset(self, asset: bytes) -> Asset:
        """Return an asset object."""
        return decode_asset(self.read(asset, Kind.ASSET), f"asset {short(asset)}")

    def each_file(
        self, ids: Iterable[bytes], work: Callable[[bytes, bytes], None]
    ) -> Iterator[list[bytes]]:
        """Call `work(id, bytes)` for small files, on a few threads; yield the ids that are done."""
        by_store: dict[int, tuple[ObjectStore, list[bytes]]] = {}
        for object_id in ids:
            store = self.find(object_id)
            by_store.setdefault(id(store), (store, []))[1].append(object_id)
        for store, wanted in by_store.values():
            yield from store.each_file(wanted, work)
