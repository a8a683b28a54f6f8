"""Sending what a store lacks, from files of the worktree or from other packs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path

from ama.errors import (
    AmaError,
    Conflict,
    FormatError,
    Hint,
    IntegrityError,
    InvalidInput,
    NotFound,
    StorageError,
    shown,
)
from ama.format.chunking import THRESHOLD
from ama.format.entries import Purged
from ama.format.hashing import blob_id, short
from ama.format.objects import Kind, Recipe, encode_recipe
from ama.format.pack import FOOTER_SIZE, Record, count_records, read_trailer
from ama.format.packindex import Location, PackIndex
from ama.format.references import REFERENCES
from ama.storage.protocol import Range, Storage
from ama.stores.log_files import REFUSED
from ama.stores.log_view import LogView
from ama.stores.naming import Naming
from ama.stores.object_reader import ObjectStore, pack_name
from ama.stores.pack_writer import PackWriter
from ama.stores.places import FEW_INDEXES
from ama.stores.sources import Sources
from ama.system.progress import Progress
from ama.worktree.entries import IndexEntry
from ama.worktree.reader import cut, read_entry

MANY_LOOKUPS = 256
"""The number of lookups from which it may pay to go through an index instead."""

MOST_PLACES = 1 << 14
"""The most places of objects to read at a time: each takes some 400 bytes of memory."""

SEARCH = 4
"""The rows that are gone through in the time of a lookup."""


class Sender:
    """A sender of the objects of a push.

    Args:
        storage: The storage that gets them.
        sources: The sources of the objects.
        here: The files, by id, whose content is read from the worktree.
        root: The worktree.
        progress: The progress of content that is stored, or need not be.
        pack_size: See `PackWriter`.
        bring: Whether to send the content of references, instead of these.

    Attributes:
        recipes: The recipes of large files, as far as they are known.
        changed: The files that have changed since they were added.
        bytes_sent: The bytes sent to the storage.
        bytes_reused: The bytes of content that the storage already had.
    """

    def __init__(
        self,
        storage: Storage,
        sources: Sources,
        *,
        here: Mapping[bytes, IndexEntry],
        root: Path,
        progress: Progress,
        pack_size: int,
        bring: bool = False,
    ) -> None:
        self._bring = bring
        self.recipes: dict[bytes, Recipe] = {}
        self.changed: list[str] = []
        self.bytes_sent = 0
        self.bytes_reused = 0
        self._storage = storage
        self._sources = sources
        self._here = here
        self._root = root
        self._progress = progress
        self._pack_size = pack_size

    def recipe(self, object_id: bytes, present: Presence) -> Recipe:
        """Return the recipe of a large file.

        Raises:
            IntegrityError: Neither a source nor the storage has it.
        """
        recipe = self.recipes.get(object_id)
        if recipe is None and object_id in self._sources:
            recipe = self._sources.recipe(object_id)
        if recipe is None:
            recipe = ObjectStore(self._storage, present.indexes).recipe(object_id)
        if recipe is None:
            raise IntegrityError(f"object {short(object_id)} has no recipe in {self._storage.url}")
        self.recipes[object_id] = recipe
        return recipe

    def is_whole(self, object_id: bytes, present: Presence) -> bool:
        """Tell whether indexes name an object whole or with all its chunks, not only its recipe.

        What they name by references is sent all the same if its bytes are at hand.

        Args:
            object_id: The object.
            present: The indexes.
        """
        kinds = [present.kind(object_id)]
        if kinds[0] == Kind.RECIPE:
            try:
                recipe = self.recipe(object_id, present)
            except (IntegrityError, NotFound):
                return False
            # Don't stop at the first that is missing: each lookup counts as used.
            kinds = [present.kind(chunk) for chunk, _ in recipe.chunks]
        if None in kinds:
            return False
        return Kind.REFERENCE not in kinds or not self._brings(object_id)

    def _brings(self, object_id: bytes) -> bool:
        """Tell whether the bytes of a file are sent, rather than a reference to them."""
        return self._bring or object_id in self._here or self._sources.has_bytes_near(object_id)

    def send(
        self,
        present: Presence,
        metadata: Sequence[bytes],
        files: Sequence[bytes],
        condemned: Callable[[bytes], bool],
        features: Collection[str] = (),
    ) -> tuple[PackIndex, ...]:
        """Send objects, and return the indexes that name them.

        After an interruption, index the content stored so far: the next try continues from there.

        Args:
            present: The content that is there, perhaps only some chunks of a large file.
            metadata: The trees, assets and the like to send.
            files: The files to send.
            condemned: A function that tells whether a pack must not come back under its name.
            features: The features that readers of the storage know.

        Raises:
            Conflict: A file of the worktree is no longer what was added.
            IntegrityError: An object is lost.
        """
        if self._bring:
            features = [name for name in features if name != REFERENCES]
        writer = PackWriter(
            self._storage,
            features=features,
            advance=self._progress.advance,
            pack_size=self._pack_size,
        )
        with writer:
            try:
                for entry in (self._here[i] for i in files if i in self._here):
                    self._send_file(writer, present, entry)
                rest = (object_id for object_id in files if object_id not in self._here)
                self._copy(writer, present, chain(rest, metadata), condemned)
                own = writer.finish()
            except (KeyboardInterrupt, AmaError):
                writer.keep_stored()
                raise
            self.bytes_sent += writer.bytes_written
        return own

    def _send_file(self, writer: PackWriter, present: Presence, entry: IndexEntry) -> None:
        """Send a file of the worktree, if it is unchanged since `add`."""
        if entry.size < THRESHOLD:
            data = read_entry(self._root, entry.path, entry.kind)
            self._require_unchanged(entry, blob_id(data))
            writer.add(Kind.DATA, entry.id, data)
            return

        def write(chunk: bytes, data: memoryview) -> None:
            if present.has_bytes(chunk) or chunk in writer:
                self._reuse(len(data))
            else:
                writer.add(Kind.DATA, chunk, data)

        recipe, whole = cut(self._root, entry.path, write)
        self._require_unchanged(entry, whole)
        writer.add(Kind.RECIPE, entry.id, encode_recipe(recipe))
        self.recipes[entry.id] = recipe

    def _require_unchanged(self, entry: IndexEntry, found: bytes) -> None:
        if found != entry.id:
            self.changed.append(entry.path)
            raise Conflict(
                f"{shown(entry.path)} was changed since it was added, so nothing was published",
                hint=Hint("add-again", paths=(entry.path,)),
            )

    def _copy(
        self,
        writer: PackWriter,
        present: Presence,
        ids: Iterable[bytes],
        condemned: Callable[[bytes], bool],
    ) -> None:
        """Copy objects as they are in their packs; a pack that is wanted whole goes unchanged."""
        loads: dict[int, Load] = {}
        for object_id in ids:
            try:
                store, at = self._sources.place(object_id)
            except NotFound as error:
                raise IntegrityError(
                    f"object {short(object_id)} is lost: neither here nor in a remote seen before",
                    hint=Hint("fsck-or-begin-anew"),
                ) from error
            load = loads.setdefault(id(store), Load(store))
            if at.record.kind is Kind.RECIPE:
                recipe = store.recipe(object_id) or self.recipe(object_id, present)
                # A recipe after its chunks: it may be read as soon as it is there.
                for chunk, size in recipe.chunks:
                    if chunk in load.packs or self._is_there(chunk, store, present):
                        self._reuse(size)
                    else:
                        load.add(chunk, nearest_place(store.find(chunk)))
            load.add(object_id, at)
        for load in loads.values():
            adopt(writer, self._storage, load, condemned)
            # As many at a time as fit into memory as places.
            for group in load.groups(MOST_PLACES):
                outside = []
                for location, raw in load.store.read_raw(group):
                    if location.record.kind is Kind.REFERENCE and not writer.takes(raw):
                        self._require_bringing()
                        outside.append(location.record.id)
                    else:
                        writer.copy(location.record, raw)
                for object_id, data in load.store.read_records(outside, Kind.DATA):
                    writer.add(Kind.DATA, object_id, data)

    def _is_there(self, chunk: bytes, store: ObjectStore, present: Presence) -> bool:
        """Whether the target has a chunk, with its bytes if they can be sent."""
        kind = present.kind(chunk)
        if kind != Kind.REFERENCE:
            return kind is not None
        is_outside = nearest_place(store.find(chunk)).record.kind is Kind.REFERENCE
        return is_outside and not self._bring

    def _require_bringing(self) -> None:
        if not self._bring:
            raise InvalidInput(
                f"{shown(self._storage.url)} takes no content by reference",
                hint=(Hint("materialize"), Hint("upgrade-store", store=self._storage.url)),
            )

    def _reuse(self, size: int) -> None:
        self.bytes_reused += size
        self._progress.skip(size)


class Load:
    """The load to copy from one store: objects by their packs, in few bytes each."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self.packs: dict[bytes, bytes] = {}
        """The pack of each object."""
        self._ids: dict[bytes, bytes] = {}
        self._recipes: set[bytes] = set()

    def add(self, object_id: bytes, at: Location) -> None:
        """Add an object, to be copied from a place; its id is kept as it is given."""
        self.packs[object_id] = self._ids.setdefault(at.pack, at.pack)
        if at.record.kind is Kind.RECIPE:
            self._recipes.add(object_id)

    def counts(self) -> Counter[bytes]:
        """Return the number of objects from each pack."""
        return Counter(self.packs.values())

    def has(self, pack: bytes, record: Record) -> bool:
        """Tell whether a record of a pack is what is to be copied."""
        is_recipe = record.kind is Kind.RECIPE
        return self.packs.get(record.id) == pack and is_recipe == (record.id in self._recipes)

    def drop(self, records: Iterable[Record]) -> None:
        """Leave objects out: they have been sent."""
        for record in records:
            del self.packs[record.id]

    def groups(self, most: int) -> Iterator[list[Location]]:
        """Yield the places of what is left, at most some at a time."""
        waiting = iter(sorted(self.packs, key=self.packs.__getitem__))
        while ids := list(islice(waiting, most)):
            yield [self._place(object_id) for object_id in ids]

    def _place(self, object_id: bytes) -> Location:
        pack, is_recipe = self.packs[object_id], object_id in self._recipes
        return next(
            at
            for at in self.store.find(object_id)
            if at.pack == pack and (at.record.kind is Kind.RECIPE) == is_recipe
        )


def adopt(
    writer: PackWriter, target: Storage, load: Load, condemned: Callable[[bytes], bool]
) -> None:
    """Send unchanged the packs of which every object is wanted, and drop these objects.

    A condemned pack must not come back under its name: pack its objects again.

    Args:
        writer: The writer to the target.
        target: The storage that gets them.
        load: The objects to send.
        condemned: A function that tells whether a pack is condemned in the target.
    """
    counts = load.counts()
    likely = [pack for pack in _filled(load.store, counts) if not condemned(pack)]
    names = [] if load.store.fresh else [pack_name(pack) for pack in likely]
    there = target.sizes(names) if names else [None] * len(likely)
    for pack, size in zip(likely, there, strict=True):
        (data,) = load.store.storage.read([Range(pack_name(pack))])
        # Skip a pack of which the target has a truncated copy: a write would not replace that.
        if data is None or blob_id(data) != pack or size not in (None, len(data)):
            continue
        # Indexes may name less than the pack holds, and the rest would come along unnoticed.
        records = _listed(data)
        view = memoryview(data)
        if not all(writer.takes(view[record.offset :]) for record in records):
            continue
        if len(records) == counts[pack] and all(load.has(pack, record) for record in records):
            writer.adopt(pack, data, records)
            load.drop(records)


def _filled(source: ObjectStore, wanted: Mapping[bytes, int]) -> list[bytes]:
    """Return the packs that hold as many objects as are wanted, as their ends tell."""
    sizes = {p: size for i in source.indexes for p, size in i.pack_sizes.items() if p in wanted}
    large = {pack: size for pack, size in sizes.items() if size >= FOOTER_SIZE}
    ends = source.storage.read(
        [Range(pack_name(pack), size - FOOTER_SIZE, FOOTER_SIZE) for pack, size in large.items()]
    )
    held = dict(zip(large, map(count_records, (end or b"" for end in ends)), strict=True))
    return [pack for pack, count in wanted.items() if held.get(pack) == count]


def _listed(data: bytes) -> tuple[Record, ...]:
    try:
        return read_trailer(data, "pack")
    except (IntegrityError, FormatError):
        return ()  # of another form or a later version: it can't be sent unchanged


def nearest_place(places: Sequence[Location]) -> Location:
    """Return the place of an object with its bytes, rather than a reference to it."""
    return min(places, key=lambda at: max(at.record.kind, Kind.ASSET))


class Lost(Exception):
    """Indexes that were counted on, and that are not there, or not with all their packs."""

    def __init__(self, indexes: set[bytes]) -> None:
        super().__init__(indexes)
        self.indexes = indexes


class Presence:
    """A search of several indexes for an object; the index of the last hit comes first.

    Args:
        indexes: The indexes.
        more: A function that returns further indexes that may name an object, given its id; it is
            asked for each object that the others don't name.
    """

    def __init__(
        self,
        indexes: Iterable[PackIndex],
        more: Callable[[bytes], Iterable[PackIndex]] = lambda object_id: (),
    ) -> None:
        self.indexes = list(indexes)
        self.used: set[bytes] = set()
        self._more = more
        self._table: Naming | None = None
        self._doubted: dict[bytes, Callable[[PackIndex], bool]] = {}

    def add(self, index: PackIndex, believe: Callable[[PackIndex], bool]) -> None:
        """Add an index, to search last; its hits count only if `believe` accepts it."""
        self._add([index])
        self._doubted[index.id] = believe

    def _add(self, indexes: Iterable[PackIndex]) -> None:
        known = {index.id for index in self.indexes}
        self.indexes += [index for index in indexes if index.id not in known]
        self._table = None

    def __contains__(self, object_id: bytes) -> bool:
        return self.kind(object_id) is not None

    def has_bytes(self, object_id: bytes) -> bool:
        """Tell whether indexes name an object not only by references."""
        return self.kind(object_id) not in (None, Kind.REFERENCE)

    def kind(self, object_id: bytes) -> int | None:
        """Return the kind of an object's best record, or None if no index names it.

        That is one that has all of its bytes, else a recipe, else a reference.
        """
        kind = self._hit(self._candidates(object_id), object_id)
        if kind is not None:
            return kind
        more = list(self._more(object_id))
        if more:
            self._add(more)
        return self._hit(more, object_id)

    def _candidates(self, object_id: bytes) -> Sequence[PackIndex]:
        """Return the indexes that may name an object, of many only those."""
        if len(self.indexes) <= FEW_INDEXES:
            return tuple(self.indexes)
        if self._table is None:
            self._table = Naming(tuple(self.indexes))
        found = self._table.candidates(object_id)
        # What is used already first: an asset's needs are to be few.
        return sorted(found, key=self.indexes.index) if len(found) > 1 else found

    def _hit(self, indexes: Iterable[PackIndex], object_id: bytes) -> int | None:
        outside = None
        for index in indexes:
            kind = index.first_kind(object_id)
            if kind is None:
                continue
            believe = self._doubted.pop(index.id, None)
            if believe is not None and not believe(index):
                self.indexes.remove(index)
                self._table = None
            elif kind == Kind.REFERENCE:
                outside = outside or index
            else:
                return self._use(index, kind)
        return None if outside is None else self._use(outside, Kind.REFERENCE)

    def _use(self, index: PackIndex, kind: int) -> int:
        self.used.add(index.id)
        if self.indexes[0] is not index:
            self.indexes.remove(index)
            self.indexes.insert(0, index)
        return kind

    def only_recipe(self, object_id: bytes) -> bool:
        """Tell whether indexes name an object only by its chunks."""
        return self.kind(object_id) == Kind.RECIPE

    def gone_through(self, ids: Sequence[bytes]) -> tuple[Iterable[bytes], list[bytes]]:
        """Go through the indexes that are hardly larger than the search, instead of searching.

        Args:
            ids: The objects that are looked for.

        Returns:
            Those that were not found in this way, and the found ones that are named by their
            chunks only.
        """
        left: dict[bytes, None] | None = None
        in_chunks: list[bytes] = []
        for index in self.indexes:
            if len(index) > SEARCH * len(ids) or len(ids) < MANY_LOOKUPS:
                continue
            left = dict.fromkeys(ids) if left is None else left
            for row in chain.from_iterable(map(index.rows, range(256))):
                object_id, kind = row[0], row[2]
                # Rows of one id are in the order of their kinds, and a recipe's comes last.
                # What is outside may also be here, which another index says.
                if kind != Kind.REFERENCE and object_id in left:
                    del left[object_id]
                    self.used.add(index.id)
                    if kind == Kind.RECIPE:
                        in_chunks.append(object_id)
        return ids if left is None else left, in_chunks

    def find(self, object_id: bytes) -> list[Location]:
        """Return the locations of an object in the first index that names it with its bytes."""
        outside: list[Location] = []
        for index in self._candidates(object_id):
            places = index.find(object_id)
            if places and places[0].record.kind is not Kind.REFERENCE:
                return places
            outside = outside or places
        return outside


def reads_back(storage: Storage, index: PackIndex) -> bool:
    """Read back all packs of an index that no entry vouches for; tell whether they are sound."""
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
    """Tell whether no gc has condemned an index or one of its packs."""
    root = view.root
    return index.id not in root.condemned_indexes and not (
        root.condemned_packs & index.pack_sizes.keys()
    )


def may_be_purged(view: LogView, number: int) -> bool:
    """Tell whether something was purged after entry `number`, and so is gone but not condemned."""
    if view.base.number > number:
        return True
    later = (entry for entry, _ in view.tail if entry.number > number)
    return any(isinstance(event, Purged) for entry in later for event in entry.events)
