"""Repair of a store: send again the objects that assets need and that can't be read there.

Nothing visible changes. Good copies go to packs of their own, and one gc event replaces the indexes
that name the damage with indexes of these packs. So the assets' needs lead to sound content
(docs/format.md, section 16), for every reader. A damaged pack is emptied, even of its sound
content, and condemned once nothing needs it. A lost index is rebuilt from the packs, and replaced
in the same way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from ama.errors import (
    AmaError,
    Conflict,
    IntegrityError,
    InvalidInput,
    NotFound,
    StorageError,
    shown,
)
from ama.format.entries import Event, Gc
from ama.format.hashing import blob_id, short
from ama.format.notes import NoteRecord
from ama.format.objects import EntryKind, Kind, Recipe, encode_recipe
from ama.format.packindex import Location, PackIndex, encode_index
from ama.storage.protocol import Range
from ama.stores.log_view import LogView
from ama.stores.object_reader import ObjectStore, index_name, pack_name
from ama.stores.pack_writer import PackWriter
from ama.stores.remote import Remote
from ama.stores.sources import Sources
from ama.system import disk
from ama.system.encoding import to_system
from ama.system.progress import Progress
from ama.transfer.rebuild import Rebuilt, assets_needing, places_of, rebuild
from ama.transfer.send import is_usable, may_be_purged
from ama.worktree.reader import cut, link_target
from ama.worktree.trees import Listed, trees_below

_Object = tuple[Kind, bytes]


class WorktreeFiles:
    """Content in a worktree's files, or parts of it, each verified when it is read.

    Args:
        root: The worktree.
        listed: The files that should be there; of two with one content, the last one counts.
    """

    def __init__(self, root: Path, listed: Iterable[Listed]) -> None:
        self._root = root
        self._items = {item.id: item for item in listed}
        self._parts = {i: (item, 0, item.size) for i, item in self._items.items()}
        self._recipes: dict[bytes, Recipe | None] = {}

    def know(self, whole: bytes, recipe: Recipe) -> None:
        """Note a file's recipe: now its chunks are available too."""
        item = self._items.get(whole)
        offset = 0
        for chunk, size in recipe.chunks:
            if item is not None:
                self._parts.setdefault(chunk, (item, offset, size))
            offset += size

    def read(self, wanted: bytes) -> bytes | None:
        """Return the bytes of a file or a chunk, if they are here."""
        if wanted not in self._parts:
            return None
        item, offset, size = self._parts[wanted]
        try:
            if item.kind is EntryKind.SYMLINK:
                data = link_target(self._root, item.path).encode()
            else:
                with disk.open_file(self._root / to_system(item.path)) as file:
                    file.seek(offset)
                    data = file.read(size)
        except (OSError, InvalidInput):
            return None
        return data if blob_id(data) == wanted else None

    def recipe(self, whole: bytes) -> Recipe | None:
        """Return the recipe of a large file, if it is here, by cutting it again."""
        if whole not in self._recipes:
            self._recipes[whole] = self._cut(whole)
        return self._recipes[whole]

    def _cut(self, whole: bytes) -> Recipe | None:
        item = self._items.get(whole)
        if item is None or item.kind is EntryKind.SYMLINK:
            return None
        try:
            recipe, found = cut(self._root, item.path, lambda chunk, data: None)
        except (NotFound, StorageError, Conflict):
            return None
        return recipe if found == whole else None


@dataclass(slots=True)
class _Found:
    """The objects that assets need of a store, and the damage to them."""

    needed: dict[_Object, None] = field(default_factory=dict)
    """The objects, in order."""
    emptied: set[bytes] = field(default_factory=set)
    """The lost or damaged packs."""
    gaps: list[_Object] = field(default_factory=list)
    """The objects that no index names."""
    broken: set[bytes] = field(default_factory=set)
    """The lost or damaged indexes that this machine remembers."""
    carriers: set[bytes] = field(default_factory=set)
    """One index of each asset's needs, to name its gaps."""
    lost: frozenset[bytes] = frozenset()
    """The lost indexes that this machine does not remember."""
    needing: list[bytes] = field(default_factory=list)
    """All assets of the store that need one of the lost indexes."""


class Repair:
    """One repair. It reads back what published assets need, and sends damaged objects again.

    Args:
        remote: The store.
        sources: Sources of good copies: on this machine, or in stores.
        files: Files with good copies.
        assets: The assets as (class, id), the newest first.
        notes: What was noted of them: the files of notes are sent again, too.
        rebuilt: The content of the store's packs.
        progress: The progress of the bytes read.
        bring: Whether to send also what the store has only by reference.

    Attributes:
        lost: The objects that can be read neither there nor anywhere else.
        bytes_sent: The bytes sent to the store.
    """

    def __init__(
        self,
        remote: Remote,
        sources: Sources,
        files: WorktreeFiles,
        assets: Sequence[tuple[str, bytes]],
        notes: Iterable[NoteRecord],
        rebuilt: Rebuilt,
        progress: Progress,
        *,
        bring: bool = False,
    ) -> None:
        self._bring = bring
        self.lost: dict[str, None] = {}
        self.bytes_sent = 0
        self._remote = remote
        self._sources = sources
        self._files = files
        self._assets = assets
        self._notes = [each.note for each in notes if each.note.file]
        self._names = {note.file.id: note.file.name for note in self._notes if note.file}
        self._rebuilt = rebuilt
        self._progress = progress
        self._found = _Found()
        self._sent: set[_Object] = set()
        self._own: tuple[PackIndex, ...] = ()
        self._sent_at: int | None = None

    @property
    def objects(self) -> int:
        """Return how many objects were sent."""
        return len(self._sent)

    def events(self, view: LogView) -> list[Event]:
        """Return the events that make the repair visible on the current log; none if all is
        sound.
        """
        if self._sent_at is None or not self._still_holds(view, self._sent_at):
            if self._sent_at is not None:
                self._rebuilt = rebuild(self._remote, view, self._progress)
            objects = self._rebuilt.objects
            self.lost = {}
            self._found = self._read_back(view, objects)
            self._own = self._send(objects, view.root.read_features)
            self._sent_at = view.number
        return self._gc(view) if self._own or self._found.lost else []

    def _still_holds(self, view: LogView, sent_at: int) -> bool:
        """Tell whether entries may still name everything sent, and it is there."""
        usable = all(is_usable(view, index) for index in (*self._own, self._rebuilt.index))
        usable = usable and self._found.lost <= set(view.root.indexes)
        return usable and not may_be_purged(view, sent_at)

    # Reading back

    def _read_back(self, view: LogView, objects: ObjectStore) -> _Found:
        found = _Found(emptied=set(self._rebuilt.damaged), lost=self._rebuilt.lost)
        found.needing = assets_needing(self._remote, view, found.lost)
        for _, asset in self._assets:
            self._need(asset, objects, found)
        for file in self._names:
            self._need_object((Kind.DATA, file), objects, found)
        sizes = {p: size for index in objects.indexes for p, size in index.pack_sizes.items()}
        packs: dict[bytes, None] = {}
        own = self._named_for(view, objects) if self._bring else None
        for wanted in found.needed:
            places = objects.find(wanted[1])
            packs.update((at.pack, None) for at in places)
            if not places:
                found.gaps.append(wanted)
            elif own is not None:
                mine = own.find(wanted[1])
                if all(at.record.kind is Kind.REFERENCE for at in mine):
                    found.emptied.update(at.pack for at in mine)
        self._progress.start("Reading back", sum(sizes[pack] for pack in packs))
        try:
            for pack in packs:
                if pack not in found.emptied and not self._is_sound(pack_name(pack), pack):
                    found.emptied.add(pack)
                self._progress.advance(sizes[pack])
        finally:
            self._progress.finish()
        self._check_needs(view, objects, found)
        return found

    def _named_for(self, view: LogView, objects: ObjectStore) -> ObjectStore:
        """Return what the indexes name that the assets need: others may have content for others."""
        needs: set[bytes] = set()
        for class_name, asset in self._assets:
            record = self._remote.record(view, class_name, asset)
            if record is not None:
                needs.update(self._remote.needs(view, class_name, record))
        return self._remote.objects([index for index in objects.indexes if index.id in needs])

    def _is_sound(self, name: str, digest: bytes) -> bool:
        (data,) = self._remote.storage.read([Range(name)])
        return data is not None and blob_id(data) == digest

    def _need(self, asset: bytes, objects: ObjectStore, found: _Found) -> None:
        """Note an asset and everything readable below it."""
        found.needed[Kind.ASSET, asset] = None
        try:
            root = self._sources.asset(asset).tree
            for tree, entries in trees_below(root, self._sources.tree):
                self._need_object((Kind.TREE, tree), objects, found)
                for entry in entries:
                    if entry.kind is not EntryKind.TREE:
                        self._need_object((Kind.DATA, entry.id), objects, found)
        except (NotFound, IntegrityError) as error:
            self.lost[error.message] = None

    def _need_object(self, wanted: _Object, objects: ObjectStore, found: _Found) -> None:
        kind, object_id = wanted
        places = objects.find(object_id)
        whole = any(at.record.kind.makes is kind for at in places)
        recipe = None if whole else self._recipe(object_id)
        if recipe is not None:
            self._files.know(object_id, recipe)
            found.needed.update(((Kind.DATA, chunk), None) for chunk, _ in recipe.chunks)
        in_chunks = recipe is not None or (bool(places) and not whole)
        found.needed[Kind.RECIPE if in_chunks else kind, object_id] = None

    def _check_needs(self, view: LogView, objects: ObjectStore, found: _Found) -> None:
        """Check the files of the indexes that the assets need."""
        known = {index.id for index in objects.indexes} | found.lost
        checked: set[bytes] = set()
        of_all: list[Iterable[bytes]] = []
        for class_name, asset in self._assets:
            record = self._remote.record(view, class_name, asset)
            if record is not None:
                of_all.append(self._remote.needs(view, class_name, record))
        of_all += [view.root.current(note.needs) for note in self._notes]
        for needs in of_all:
            found.carriers.update([i for i in needs if i in known][:1])
            for index in set(needs) - checked - found.lost:
                if index not in known:
                    self.lost[f"{index_name(index)} can't be read, and isn't known here"] = None
                elif not self._is_sound(index_name(index), index):
                    found.broken.add(index)
            checked.update(needs)

    # Sending

    def _send(self, objects: ObjectStore, features: Collection[str]) -> tuple[PackIndex, ...]:
        """Write good copies of everything in damaged packs, and of the gaps."""
        emptied = self._found.emptied
        rows = {
            (at.record.kind, at.record.id): at
            for index in objects.indexes
            if emptied & index.pack_sizes.keys()
            for at in index
            if at.pack in emptied
        }
        named = set(rows.values())
        # Each reference may be the only one that leads somewhere.
        others = [
            at
            for index in objects.indexes
            for at in (index if emptied & index.pack_sizes.keys() else ())
            if at.pack in emptied and at.record.kind is Kind.REFERENCE and at not in named
        ]
        missing = dict.fromkeys(rows)
        with PackWriter(self._remote.storage, features=features) as writer:
            # Move the sound content of damaged packs too, so that the packs can go.
            outside: list[bytes] = []
            for at, raw in objects.read_raw([*rows.values(), *others], {}):
                if self._is_brought(at):
                    outside.append(at.record.id)
                    continue
                writer.copy(at.record, raw)
                missing.pop((at.record.kind, at.record.id), None)
            for content, data in objects.read_records(dict.fromkeys(outside), Kind.DATA, {}):
                writer.add(Kind.DATA, content, data)
                missing.pop((Kind.REFERENCE, content), None)
            if self._found.carriers:
                missing.update(dict.fromkeys(self._found.gaps))
            if (self._found.broken or self._found.lost) and not rows:
                # Another location of an object makes it a different index, see `_rest`.
                missing.update(dict.fromkeys(self._spare()))
            for wanted in missing:
                self._send_again(writer, wanted)
            own = writer.finish()
            self.bytes_sent += writer.bytes_written
        self._sent = {(at.record.kind, at.record.id) for index in own for at in index}
        return own

    def _is_brought(self, at: Location) -> bool:
        is_reference = at.record.kind is Kind.REFERENCE
        return self._bring and is_reference and (Kind.DATA, at.record.id) in self._found.needed

    def _spare(self) -> list[_Object]:
        """Return an object that can get another location; none if nothing is needed."""
        assets = [*(asset for _, asset in self._assets), *self._found.needing]
        anything = ((at.record.kind, at.record.id) for at in self._rebuilt.index)
        return [*((Kind.ASSET, asset) for asset in assets[:1]), *islice(anything, 1)][:1]

    def _send_again(self, writer: PackWriter, wanted: _Object) -> None:
        kind, object_id = wanted[0].makes, wanted[1]
        data = self._good(kind, object_id)
        if data is not None:
            writer.add(kind, object_id, data)
        elif (kind, object_id) in self._found.needed:
            what = f"object {short(object_id)}"
            if object_id in self._names:
                what = f"{shown(self._names[object_id])}, the file of a note,"
            self.lost[f"{what} can't be read in {self._remote.url}, nor here"] = None

    def _good(self, kind: Kind, wanted: bytes) -> bytes | None:
        """Return the verified bytes of an object, from any source."""
        if kind is Kind.RECIPE:
            recipe = self._recipe(wanted)
            return None if recipe is None else encode_recipe(recipe)
        try:
            return self._sources.read(wanted, kind)
        except (NotFound, IntegrityError):
            return self._files.read(wanted) if kind is Kind.DATA else None

    def _recipe(self, wanted: bytes) -> Recipe | None:
        try:
            return self._sources.recipe(wanted)
        except (NotFound, IntegrityError):
            return self._files.recipe(wanted)

    # Publication of the repair

    def _gc(self, view: LogView) -> list[Event]:
        """Replace the indexes that name the damage with indexes that don't."""
        damage: list[AmaError] = []
        again = self._found.broken | (self._found.carriers if self._found.gaps else set())
        own = [index.id for index in self._own]
        named: set[bytes] = set()
        replaced: list[tuple[tuple[bytes, ...], tuple[bytes, ...]]] = []
        for index in self._remote.indexes(view.root.indexes, damage):
            kept = [at for at in index if not self._is_sent(at)]
            named.update(at.pack for at in kept)
            if len(kept) < len(index) or index.id in again:
                new = self._rest(view, (index.id,), kept, index.pack_sizes)
                replaced.append(((index.id,), (*new, *own)))
        if self._found.lost:
            replaced.append((tuple(sorted(self._found.lost)), (*self._found_again(view), *own)))
        # The content of an unreadable index is unknown: condemn nothing that it may name.
        gone = () if damage else tuple(sorted(self._found.emptied - named))
        return [Gc(tuple(replaced), gone)] if replaced else []

    def _found_again(self, view: LogView) -> tuple[bytes, ...]:
        """Write an index that replaces all lost ones; none if they named nothing.

        Only the assets tell what it must name of packs that other indexes name too.
        """
        objects = self._rebuilt.objects
        places = [*self._rebuilt.index, *places_of(objects, self._found.needing)]
        kept = [at for at in places if at.pack not in self._found.emptied]
        sizes = {p: size for index in objects.indexes for p, size in index.pack_sizes.items()}
        return self._rest(view, tuple(self._found.lost), kept, sizes)

    def _is_sent(self, at: Location) -> bool:
        same = {(at.record.kind, at.record.id), (at.record.kind.makes, at.record.id)}
        return at.pack in self._found.emptied and not same.isdisjoint(self._sent)

    def _rest(
        self,
        view: LogView,
        gone: Sequence[bytes],
        kept: Sequence[Location],
        sizes: Mapping[bytes, int],
    ) -> tuple[bytes, ...]:
        """Write an index of what stays in place; none if nothing does."""
        if not kept:
            return ()
        data = encode_index(kept, sizes)
        if blob_id(data) in {*gone, *view.root.condemned_indexes}:
            # The names of the replaced indexes must not come back.
            more = [at for own in self._own for at in own]
            more_sizes = {p: size for own in self._own for p, size in own.pack_sizes.items()}
            data = encode_index([*kept, *more], {**sizes, **more_sizes})
        self._remote.storage.put(index_name(blob_id(data)), data)
        self.bytes_sent += len(data)
        return (blob_id(data),)
