"""Sources of an object's bytes: the local packs, or a store that promises them.

Damaged bytes come from the next source that has them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from ama.errors import AmaError, Hint, IntegrityError, NotFound
from ama.format.hashing import short
from ama.format.objects import Asset, Kind, Recipe, TreeEntry, decode_asset, decode_tree
from ama.format.packindex import Location
from ama.stores.object_reader import Bad, Have, ObjectStore

MOST_ENCODED = 96 * 1024 * 1024
"""The most bytes of directories that are held: those of two million files."""

Opener = Callable[[], ObjectStore]

ENTRIES_KEPT = 1 << 16
"""The most entries of trees in memory: some 20 MB. Who walks a large asset needs each tree once."""

ASSETS_KEPT = 1 << 12
"""The most assets in memory: a history is gone through several times."""


class Sources:
    """Object stores in the order in which they are asked.

    Args:
        near: The first one: on this machine.
        far: The others, opened only if something isn't near.
    """

    def __init__(self, near: ObjectStore, far: Sequence[Opener] = ()) -> None:
        self._stores = [near]
        self._far = list(far)
        self._trees: OrderedDict[bytes, tuple[TreeEntry, ...]] = OrderedDict()
        self._entries = 0
        self._assets: dict[bytes, Asset] = {}
        self._encoded: dict[bytes, bytes] = {}
        self._room_encoded = 0

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

    def place(self, object_id: bytes) -> tuple[ObjectStore, Location]:
        """Return a store that has an object whole, and where: a recipe only if there's no more.

        Raises:
            NotFound: No store has it whole.
            IntegrityError: Its recipe is damaged.
        """
        store, places = self._stores[0], self._stores[0].find(object_id)
        if all(at.record.kind is Kind.RECIPE for at in places):
            store = self.holding(object_id)
            places = store.find(object_id)
        return store, min(places, key=lambda at: max(at.record.kind, Kind.ASSET))

    def has_bytes_near(self, object_id: bytes) -> bool:
        """Whether the first store has all bytes of an object, and not only references."""
        near = self._stores[0]
        kinds = {at.record.kind for at in near.find(object_id)} - {Kind.REFERENCE}
        if kinds != {Kind.RECIPE}:
            return bool(kinds)
        recipe = near.recipe(object_id)
        chunks = [] if recipe is None else recipe.chunks
        return all(any(at.record.kind is Kind.DATA for at in near.find(c)) for c, _ in chunks)

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

    def read_chunks(self, object_id: bytes, chunks: Sequence[tuple[bytes, int]]) -> Iterator[bytes]:
        """Yield the verified bytes of some chunks of a large object, given with their sizes."""
        store = self.find(object_id)
        found = store.read_in_order(chunks, None, partial(self._elsewhere, store))
        return (data for _, data in found)

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
        """Return a directory's entries; those read last are at hand."""
        if tree in self._trees:
            self._trees.move_to_end(tree)
            return self._trees[tree]
        found = decode_tree(self.tree_bytes(tree), f"tree {short(tree)}")
        self._trees[tree] = found
        self._entries += len(found)
        while self._entries > ENTRIES_KEPT and len(self._trees) > 1:
            _, dropped = self._trees.popitem(last=False)
            self._entries -= len(dropped)
        return found

    def hold_trees(self) -> None:
        """Hold the bytes of directories from now on, within limits: each is needed again."""
        self._room_encoded = MOST_ENCODED

    def let_go_of_trees(self) -> None:
        """Let go of the bytes of directories: they are stored elsewhere by now."""
        self._encoded.clear()
        self._room_encoded = 0

    def tree_bytes(self, tree: bytes) -> bytes:
        """Return a directory's bytes."""
        held = self._encoded.get(tree)
        if held is not None:
            return held
        data = self.read(tree, Kind.TREE)
        if len(data) <= self._room_encoded:
            self._room_encoded -= len(data)
            self._encoded[tree] = data
        return data

    def tree_held(self, tree: bytes) -> tuple[TreeEntry, ...] | None:
        """Return a directory's entries if they are held; else None."""
        return self._trees.get(tree)

    def near_tree(self, tree: bytes) -> tuple[TreeEntry, ...] | None:
        """Return a directory's entries, or None if the first store can't supply them."""
        if tree in self._trees:
            return self._trees[tree]
        try:
            return self.tree(tree) if tree in self._stores[0] else None
        except (NotFound, IntegrityError):
            return None

    def asset(self, asset: bytes) -> Asset:
        """Return an asset object."""
        found = self._assets.get(asset)
        if found is None:
            found = decode_asset(self.read(asset, Kind.ASSET), f"asset {short(asset)}")
            self._assets[asset] = found
            if len(self._assets) > ASSETS_KEPT:
                self._assets.pop(next(iter(self._assets)), None)
        return found

    def parents(self, asset: bytes) -> tuple[bytes, ...]:
        """Return the ids of what an asset is the next version of."""
        return self.asset(asset).parents

    def each_file(
        self, ids: Iterable[bytes], work: Callable[[bytes, bytes], None]
    ) -> Iterator[list[bytes]]:
        """Call `work(id, bytes)` for small files; yield the ids that are done, some at a time."""
        for first, wanted in self._by_store(ids):
            bad: Bad = {}
            yield from first.each_file(wanted, work, bad)
            if bad:
                yield from self._each_elsewhere(first, bad, work)

    def _by_store(self, ids: Iterable[bytes]) -> Iterable[tuple[ObjectStore, Iterable[bytes]]]:
        """Return the stores to ask for objects; the only one is not asked for each beforehand."""
        if len(self._stores) == 1 and not self._far:
            return [(self._stores[0], ids)]
        by_store: dict[int, tuple[ObjectStore, list[bytes]]] = {}
        for object_id in ids:
            store = self.find(object_id)
            by_store.setdefault(id(store), (store, []))[1].append(object_id)
        return by_store.values()

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
