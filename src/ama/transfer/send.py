"""Sending what a store lacks, from files of the worktree or from other packs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ama.errors import (
    AmaError,
    Conflict,
    FormatError,
    Hint,
    IntegrityError,
    NotFound,
    StorageError,
    shown,
)
from ama.format.chunking import THRESHOLD
from ama.format.entries import Purged
from ama.format.hashing import blob_id, short
from ama.format.objects import Kind, Recipe, encode_recipe
from ama.format.pack import Record, read_trailer
from ama.format.packindex import Location, PackIndex
from ama.storage.protocol import Range, Storage
from ama.stores.log_files import REFUSED
from ama.stores.log_view import LogView
from ama.stores.naming import Naming
from ama.stores.object_reader import ObjectStore, pack_name
from ama.stores.pack_writer import PackWriter
from ama.stores.places import FEW_INDEXES
from ama.stores.sources import Sources
from ama.system.progress import Progress
from ama.worktree.reader import cut, read_entry
from ama.worktree.staging import IndexEntry


class Sender:
    """A sender of the objects of a push.

    Args:
        storage: The storage that gets them.
        sources: The sources of the objects.
        here: The files, by id, whose content is read from the worktree.
        root: The worktree.
        progress: The progress of content that is stored, or need not be.
        pack_size: See `PackWriter`.

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
    ) -> None:
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

    def send(
        self,
        present: Presence,
        metadata: Sequence[bytes],
        files: Sequence[bytes],
        condemned: Callable[[bytes], bool],
    ) -> tuple[PackIndex, ...]:
        """Send objects, and return the indexes that name them.

        After an interruption, index the content stored so far: the next try continues from there.

        Args:
            present: The content that is there, perhaps only some chunks of a large file.
            metadata: The trees, assets and the like to send.
            files: The files to send.
            condemned: A function that tells whether a pack must not come back under its name.

        Raises:
            Conflict: A file of the worktree is no longer what was added.
            IntegrityError: An object is lost.
        """
        writer = PackWriter(
            self._storage, advance=self._progress.advance, pack_size=self._pack_size
        )
        with writer:
            try:
                for entry in [self._here[i] for i in files if i in self._here]:
                    self._send_file(writer, present, entry)
                rest = [object_id for object_id in files if object_id not in self._here]
                self._copy(writer, present, [*rest, *metadata], condemned)
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
            if chunk in present or chunk in writer:
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
        ids: Sequence[bytes],
        condemned: Callable[[bytes], bool],
    ) -> None:
        """Copy objects as they are in their packs; a pack that is wanted whole goes unchanged."""
        by_store: dict[int, tuple[ObjectStore, dict[bytes, Location]]] = {}
        for object_id in dict.fromkeys(ids):
            try:
                store = self._sources.holding(object_id)
            except NotFound as error:
                raise IntegrityError(
                    f"object {short(object_id)} is lost: neither here nor in a remote seen before",
                    hint=Hint("fsck-or-begin-anew"),
                ) from error
            wanted = by_store.setdefault(id(store), (store, {}))[1]
            places = store.find(object_id)
            whole = [at for at in places if at.record.kind is not Kind.RECIPE]
            if whole:
                wanted[object_id] = whole[0]
                continue
            recipe = store.recipe(object_id) or self.recipe(object_id, present)
            # A recipe after its chunks: it may be read as soon as it is there.
            for chunk, size in recipe.chunks:
                if chunk in present or chunk in wanted:
                    self._reuse(size)
                else:
                    wanted[chunk] = store.find(chunk)[0]
            wanted[object_id] = places[0]
        for store, wanted in by_store.values():
            adopted = adopt(writer, self._storage, store, wanted.values(), condemned)
            rest = [at for at in wanted.values() if at.pack not in adopted]
            for location, raw in store.read_raw(rest):
                writer.copy(location.record, raw)

    def _reuse(self, size: int) -> None:
        self.bytes_reused += size
        self._progress.skip(size)


def adopt(
    writer: PackWriter,
    target: Storage,
    source: ObjectStore,
    wanted: Iterable[Location],
    condemned: Callable[[bytes], bool],
) -> set[bytes]:
    """Send unchanged the packs of which every object is wanted; return these packs.

    A condemned pack must not come back under its name: pack its objects again.

    Args:
        writer: The writer to the target.
        target: The storage that gets them.
        source: The objects of another storage.
        wanted: The objects to send, and their locations.
        condemned: A function that tells whether a pack is condemned in the target.
    """
    by_pack: dict[bytes, set[Record]] = defaultdict(set)
    for at in wanted:
        by_pack[at.pack].add(at.record)
    likely = [pack for pack in _filled(source, by_pack) if not condemned(pack)]
    there = target.sizes([pack_name(pack) for pack in likely]) if likely else []
    sent: set[bytes] = set()
    for pack, size in zip(likely, there, strict=True):
        (data,) = source.storage.read([Range(pack_name(pack))])
        # Skip a pack of which the target has a truncated copy: a write would not replace that.
        if data is None or blob_id(data) != pack or size not in (None, len(data)):
            continue
        # Indexes may name less than the pack holds, and the rest would come along unnoticed.
        records = _listed(data)
        if set(records) == by_pack[pack]:
            writer.adopt(pack, data, records)
            sent.add(pack)
    return sent


def _filled(source: ObjectStore, by_pack: dict[bytes, set[Record]]) -> Iterator[bytes]:
    """Yield the packs that hold only wanted objects, as far as indexes tell."""
    held: dict[bytes, int] = {}
    for index in source.indexes:
        for pack, count in index.pack_counts().items():
            held[pack] = max(count, held.get(pack, 0))
    return (pack for pack, records in by_pack.items() if held.get(pack) == len(records))


def _listed(data: bytes) -> tuple[Record, ...]:
    try:
        return read_trailer(data, "pack")
    except (IntegrityError, FormatError):
        return ()  # of another form or a later version: it can't be sent unchanged


class Lost(Exception):
    """Indexes that were counted on, and whose packs are not all there."""

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
        if self._hit(self._candidates(object_id), object_id):
            return True
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

    def _hit(self, indexes: Iterable[PackIndex], object_id: bytes) -> bool:
        for index in indexes:
            if object_id in index:
                believe = self._doubted.pop(index.id, None)
                if believe is not None and not believe(index):
                    self.indexes.remove(index)
                    self._table = None
                    continue
                self.used.add(index.id)
                if self.indexes[0] is not index:
                    self.indexes.remove(index)
                    self.indexes.insert(0, index)
                return True
        return False

    def only_recipe(self, object_id: bytes) -> bool:
        """Tell whether indexes name an object only by its chunks."""
        return object_id in self and self.indexes[0].only_recipe(object_id)

    def find(self, object_id: bytes) -> list[Location]:
        """Return the locations of an object in the first index that names it."""
        for index in self._candidates(object_id):
            places = index.find(object_id)
            if places:
                return places
        return []


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
