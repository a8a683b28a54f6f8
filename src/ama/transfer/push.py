"""Publishing assets: send what a store lacks, then append one entry that makes it visible.

The order is packs, their indexes, the entry: a reader that sees the entry can read everything.
Content in the store counts only through current indexes, and is looked up again if a lost race
turns out to be a gc (design: "presence is as of the number that one wins").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ama.errors import Hint, IntegrityError, NotFound, StorageError
from ama.format.entries import MAX_NEEDS, Event, HeldRef, Publish, SetStatus
from ama.format.hashing import blob_id, short
from ama.format.objects import Asset, EntryKind, Kind, Recipe
from ama.format.packindex import PackIndex, encode_index
from ama.results import AliasChange
from ama.stores.index_choice import IndexChoice
from ama.stores.log_files import REFUSED
from ama.stores.log_view import LogView
from ama.stores.object_reader import ObjectStore, index_name, pack_name
from ama.stores.pack_writer import PACK_SIZE, PackWriter
from ama.stores.remote import Remote
from ama.stores.sources import Sources
from ama.system.progress import Progress
from ama.transfer.aliases import Job, alias_events
from ama.transfer.send import Lost, Presence, Sender, is_usable, may_be_purged, reads_back
from ama.worktree.staging import IndexEntry
from ama.worktree.trees import trees_below


@dataclass(slots=True)
class _Closure:
    """Everything below one asset."""

    asset: Asset
    metadata: dict[bytes, Kind] = field(default_factory=dict)
    """The kinds of trees, assets and the like, by id."""
    files: dict[bytes, int] = field(default_factory=dict)
    """The whole sizes of files, by id."""


class Push:
    """One publication: it sends content, and returns the events that make it visible.

    Args:
        remote: The store to publish to.
        sources: The sources of trees, assets and content.
        jobs: The assets, each after its parents.
        here: The files, by id, whose content is read from the worktree.
        root: The worktree.
        progress: The progress of the bytes sent.
        pack_size: See `PackWriter`.
    """

    def __init__(
        self,
        remote: Remote,
        sources: Sources,
        jobs: Sequence[Job],
        *,
        here: Mapping[bytes, IndexEntry],
        root: Path,
        progress: Progress,
        pack_size: int = PACK_SIZE,
    ) -> None:
        self.remote = remote
        self.aliases: list[AliasChange] = []
        self._sender = Sender(
            remote.storage, sources, here=here, root=root, progress=progress, pack_size=pack_size
        )
        self._choice = IndexChoice(remote)
        self._indexed = 0
        self._sources = sources
        self._jobs = jobs
        self._deleted = {job.asset for job in jobs if job.deleted is not None}
        self._progress = progress
        self._pack_size = pack_size
        self._own: ObjectStore | None = None
        self._sent_at = 0
        self._lost: set[bytes] = set()
        self._checked: set[bytes] = set()
        self._looked_up: set[bytes] = set()
        self._relied: set[bytes] = set()
        self._closures: dict[bytes, _Closure] = {}

    @property
    def recipes(self) -> Mapping[bytes, Recipe]:
        """Return the recipes of large files, as far as they are known."""
        return self._sender.recipes

    @property
    def own_indexes(self) -> Sequence[PackIndex]:
        """Return the indexes that this push has written."""
        return self._own.indexes if self._own else ()

    @property
    def changed(self) -> Sequence[str]:
        """Return the files that have changed since they were added."""
        return self._sender.changed

    @property
    def bytes_sent(self) -> int:
        """Return the bytes sent to the store."""
        return self._sender.bytes_sent + self._indexed

    @property
    def bytes_reused(self) -> int:
        """Return the bytes of content that the store already had."""
        return self._sender.bytes_reused

    def events(self, view: LogView) -> list[Event]:
        """Send what the store lacks; return the events that publish the jobs on the current log.

        Raises:
            Conflict: An alias has moved on, or a file staged by reference has changed.
        """
        new = [job for job in self._jobs if self._number(view, job.asset) is None]
        events, self.aliases = alias_events(view, self._jobs, self._asset)
        if not new:
            return events
        records = self._ref_records(view, new)
        while True:
            if self._own is None or not self._still_holds(view):
                self._send(view, new, records)
            try:
                return [*self._publish_events(view, new, records), *events]
            except Lost as found:
                # The content of these indexes counts as absent: send it again.
                self._lost |= found.indexes
                self._send(view, new, records)

    # Names

    def _number(self, view: LogView, asset: bytes) -> int | None:
        return view.class_state(self._asset(asset).class_name).number(asset)

    def _asset(self, asset: bytes) -> Asset:
        if asset not in self._closures:
            self._closures[asset] = _Closure(self._sources.asset(asset))
        return self._closures[asset].asset

    # Refs and parents: send their records too, if the store lacks them

    def _ref_records(self, view: LogView, new: Sequence[Job]) -> dict[bytes, dict[bytes, bool]]:
        """Return the sources of each new asset, and whether the store has their content.

        A source that is not published in the store brings its own sources along, transitively.
        """
        coming = {job.asset for job in new}
        records: dict[bytes, dict[bytes, bool]] = {}
        for job in new:
            held: dict[bytes, bool] = {}
            waiting = [ref.asset for ref in self._asset(job.asset).refs]
            while waiting:
                ref = waiting.pop()
                if ref in held:
                    continue
                held[ref] = ref in coming or self._number(view, ref) is not None
                if not held[ref]:
                    asset = self._asset(ref)
                    waiting += [*(link.asset for link in asset.refs), *asset.parents]
            records[job.asset] = held
        return records

    # Sending

    def _still_holds(self, view: LogView) -> bool:
        """Tell whether entries may still name everything counted on and everything sent."""
        usable = self._usable_own(view)
        return self._relied <= set(view.root.indexes) and len(usable) == len(self.own_indexes)

    def _send(
        self, view: LogView, new: Sequence[Job], records: Mapping[bytes, Mapping[bytes, bool]]
    ) -> None:
        """Send every object of the new assets that no current index names."""
        kept = self._usable_own(view)
        present = Presence([*kept, *self._current(view)], self._more)
        metadata: dict[bytes, Kind] = {}
        files: dict[bytes, int] = {}
        for job in new:
            closure = self._closure(job.asset)
            metadata.update(closure.metadata)
            files.update(closure.files)
            held = records[job.asset]
            metadata.update((ref, Kind.ASSET) for ref in held if not held[ref])
        # An index that names a recipe should name its chunks. An index of this push may have left
        # chunks to other indexes that a gc has dropped since. Do not copy an incomplete index.
        missing = {i: size for i, size in files.items() if not self._is_whole(i, present)}
        if sum(missing.values()) > self._pack_size:
            for index in self._orphans(view):
                present.add(index, partial(reads_back, self.remote.storage))
            missing = {i: size for i, size in missing.items() if not self._is_whole(i, present)}
        self._sender.bytes_reused = reused = sum(files.values()) - sum(missing.values())
        wanted = [i for i in metadata if not self._is_whole(i, present)]
        self._progress.start("Sending", sum(files.values()))
        try:
            self._progress.skip(reused)
            sent = self._write(view, present, wanted, list(missing))
        finally:
            self._progress.finish()
        current = set(view.root.indexes)
        used = [i for i in present.indexes if i.id in present.used and i.id not in current]
        ours = [index for index in used if index in kept]
        self._own = ObjectStore(self.remote.storage, [*ours, *sent])
        if orphans := [index for index in used if index not in kept]:
            # Orphans may name trees and recipes whose other parts nobody sent. So an index of this
            # push names the objects that it needs of them, and everything below these.
            ids = [*metadata, *files]
            ids += [
                c
                for i in ids
                if i in self._sender.recipes
                for c, _ in self._sender.recipes[i].chunks
            ]
            self._consolidate(ids, Presence(orphans), self._own, view.root.condemned_indexes)
        self._sent_at = view.number
        self._looked_up = present.used & current

    def _is_whole(self, object_id: bytes, present: Presence) -> bool:
        """Tell whether indexes name an object whole or with all its chunks, not only its recipe."""
        if object_id not in present:
            return False
        if not present.only_recipe(object_id):
            return True
        try:
            recipe = self._sender.recipe(object_id, present)
        except (IntegrityError, NotFound):
            return False
        # Don't stop at the first that is missing: each lookup counts as used.
        named = [chunk in present for chunk, _ in recipe.chunks]
        return all(named)

    def _usable_own(self, view: LogView) -> list[PackIndex]:
        """Return the indexes that this push has written and that no gc has taken since."""
        usable = [index for index in self.own_indexes if is_usable(view, index)]
        if not may_be_purged(view, self._sent_at):
            return usable
        return [index for index in usable if self._is_there(index)]

    def _current(self, view: LogView) -> list[PackIndex]:
        """Return the current indexes to search, without those that lack a pack."""
        classes = {self._asset(job.asset).class_name for job in self._jobs}
        return [i for i in self._choice.at(view, sorted(classes)) if i.id not in self._lost]

    def _more(self, object_id: bytes) -> list[PackIndex]:
        """Return further indexes that may name an object, without those that lack a pack."""
        return [i for i in self._choice.more(object_id) if i.id not in self._lost]

    def _is_there(self, index: PackIndex) -> bool:
        """Tell whether an index and all of its packs are in the storage."""
        sizes = {index_name(index.id): index.size}
        sizes.update((pack_name(pack), size) for pack, size in index.pack_sizes.items())
        return self.remote.storage.sizes(list(sizes)) == list(sizes.values())

    def _check(self, indexes: Sequence[PackIndex]) -> None:
        """Check once that the packs counted on are there: an index may outlive them."""
        new = [index for index in indexes if index.id not in self._checked]
        broken = ObjectStore(self.remote.storage, new).broken_packs()
        if broken:
            raise Lost({index.id for index in new if broken & index.pack_sizes.keys()})
        self._checked.update(index.id for index in new)

    def _write(
        self,
        view: LogView,
        present: Presence,
        metadata: Sequence[bytes],
        files: Sequence[bytes],
    ) -> tuple[PackIndex, ...]:
        condemned = view.root.condemned_packs.__contains__
        own = self._sender.send(present, metadata, files, condemned)
        if any(index.id in view.root.condemned_indexes for index in own):
            # The same packs give the same index, and a condemned name must not come back.
            own = self._sender.send(present, metadata, files, lambda pack: True)
        return own

    def _orphans(self, view: LogView) -> list[PackIndex]:
        """Return the indexes of interrupted pushes whose packs are all there, whole."""
        root = view.root
        known = {index_name(i) for i in (*root.indexes, *root.condemned_indexes, *root.replaced)}
        orphans = []
        for name, _ in self.remote.storage.list("index/"):
            if name in known:
                continue
            try:
                (index,) = self.remote.indexes([bytes.fromhex(name[len("index/") : -len(".idx")])])
                index.validate()
            except (IntegrityError, ValueError):
                continue
            except StorageError as error:
                if error.errno not in REFUSED:  # somebody else's file may be closed to us
                    raise
                continue
            if is_usable(view, index) and self._is_there(index):
                orphans.append(index)
        return orphans

    def _closure(self, asset: bytes) -> _Closure:
        self._asset(asset)
        closure = self._closures[asset]
        if not closure.metadata:
            closure.metadata[asset] = Kind.ASSET
            if asset in self._deleted:
                return closure
            for tree, entries in trees_below(closure.asset.tree, self._sources.tree):
                closure.metadata[tree] = Kind.TREE
                closure.files.update(
                    (entry.id, entry.size) for entry in entries if entry.kind is not EntryKind.TREE
                )
        return closure

    # Events

    def _publish_events(
        self,
        view: LogView,
        new: Sequence[Job],
        records: Mapping[bytes, Mapping[bytes, bool]],
    ) -> list[Event]:
        own = self._own
        assert own is not None
        current = self._current(view)
        condemned = view.root.condemned_indexes
        needs: dict[bytes, tuple[bytes, ...]] = {}
        for job in new:
            needs[job.asset] = self._needs(job.asset, own, current, condemned)
        added = tuple(index.id for index in own.indexes)
        self._relied = self._looked_up | {i for ids in needs.values() for i in ids} - set(added)
        events: list[Event] = []
        for job in new:
            held = records[job.asset]
            events.append(
                Publish(
                    job.asset,
                    self._asset(job.asset).class_name,
                    (),
                    added,
                    needs[job.asset],
                    tuple(HeldRef(ref, held[ref]) for ref in sorted(held)),
                )
            )
            if job.deleted is not None:
                name = self._asset(job.asset).class_name
                events.append(SetStatus(job.asset, name, "deleted", job.deleted))
            added = ()
        return events

    def _needs(
        self,
        asset: bytes,
        own: ObjectStore,
        current: Sequence[PackIndex],
        condemned: Set[bytes],
    ) -> tuple[bytes, ...]:
        """Return the indexes that together name all of an asset's content, at most 16."""
        present = Presence([*own.indexes, *current])
        closure = self._closure(asset)
        ids = [*closure.metadata, *closure.files]
        for object_id in tuple(ids):
            if present.only_recipe(object_id):
                ids += [chunk for chunk, _ in self._sender.recipe(object_id, present).chunks]
        lacking = [object_id for object_id in ids if object_id not in present]
        if lacking:
            raise IntegrityError(
                f"object {short(lacking[0])} is neither in {self.remote.url} nor was it sent",
                hint=Hint("fsck-what-is-damaged"),
            )
        self._check([i for i in current if i.id in present.used])
        if len(present.used) <= MAX_NEEDS:
            return tuple(sorted(present.used))
        return (self._consolidate(ids, present, own, condemned),)

    def _consolidate(
        self,
        ids: Sequence[bytes],
        present: Presence,
        own: ObjectStore,
        condemned: Set[bytes],
    ) -> bytes:
        """Write one index of all these objects where they are, and return its id."""
        locations = [at for object_id in dict.fromkeys(ids) for at in present.find(object_id)]
        sizes: dict[bytes, int] = {}
        for index in present.indexes:
            sizes.update(index.pack_sizes)
        data = encode_index(locations, sizes)
        if blob_id(data) in condemned:
            # A copy of the asset in a pack of its own makes this a different index.
            with PackWriter(self.remote.storage) as writer:
                writer.add(Kind.ASSET, ids[0], self._sources.read(ids[0], Kind.ASSET))
                (more,) = writer.finish()
            own.add_index(more)
            data = encode_index([*locations, *more], {**sizes, **more.pack_sizes})
        index = PackIndex(data)
        self.remote.storage.put(index_name(index.id), data)
        self._indexed += len(data)
        own.add_index(index)
        return index.id
