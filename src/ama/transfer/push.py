"""Publishing assets: send what a store lacks, then append one entry that makes it visible.

The order is packs, their indexes, the entry: a reader that sees the entry can read everything.
Content in the store counts only through current indexes, and is looked up again if a lost race
turns out to be a gc (design: "presence is as of the number that one wins").
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from ama.errors import Hint, IntegrityError, StorageError
from ama.format.entries import MAX_NEEDS, Event, HeldRef, Publish, SetStatus
from ama.format.hashing import short
from ama.format.indexrows import RowCollector, merge_indexes
from ama.format.objects import Asset, Kind, Recipe
from ama.format.packindex import PackIndex
from ama.results import AliasChange
from ama.stores.index_choice import IndexChoice
from ama.stores.log_files import REFUSED
from ama.stores.log_view import LogView
from ama.stores.object_reader import ObjectStore, index_name, pack_name
from ama.stores.pack_writer import PACK_SIZE, PackWriter
from ama.stores.remote import Remote
from ama.stores.sources import Sources
from ama.system.progress import Progress
from ama.transfer.ahead import Sent
from ama.transfer.aliases import Job, alias_events
from ama.transfer.bases import Base, Bases, is_live
from ama.transfer.difference import Difference, difference
from ama.transfer.needs import MERGED_ROWS, groups, is_wasteful
from ama.transfer.send import Lost, Presence, Sender, is_usable, may_be_purged, reads_back
from ama.worktree.entries import IndexEntry


@dataclass(frozen=True, slots=True)
class _Part:
    """The part of one asset that is looked up and sent, and the owners of the rest."""

    asset: bytes
    found: Difference
    bases: tuple[Base, ...] = ()
    """The published assets that it rests on."""
    inherited: tuple[bytes, ...] = ()
    """The current indexes that these need."""
    coming: tuple[bytes, ...] = ()
    """The assets of the same push that it rests on."""

    @property
    def shared_size(self) -> int:
        """Return the bytes of the files that only the bases name."""
        return sum(shared.size for shared in self.found.shared.values())

    def __iter__(self) -> Iterator[bytes]:
        """Yield the asset, and the trees and files to look up."""
        return chain((self.asset,), self.found.trees, self.found.files)


def _joined(
    parts: Sequence[_Part], assets: Iterable[bytes]
) -> tuple[Mapping[bytes, None], Mapping[bytes, int]]:
    """Return the metadata and the files of parts, without a copy of the files of a single one."""
    metadata: dict[bytes, None] = {}
    for part in parts:
        metadata[part.asset] = None
        metadata.update(part.found.trees)
    metadata.update(dict.fromkeys(assets))
    if len(parts) == 1:
        return metadata, parts[0].found.files
    return metadata, {i: size for part in parts for i, size in part.found.files.items()}


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
        bring: Whether to send the content of references, instead of these.

    Attributes:
        aliases: The moves of aliases.
        new_trees: The assets whose trees the store did not have.
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
        bring: bool = False,
    ) -> None:
        remote.log.require_own()  # before anything is sent
        self.remote = remote
        self.aliases: list[AliasChange] = []
        self.new_trees: set[bytes] = set()
        self._sender = Sender(
            remote.storage,
            sources,
            here=here,
            root=root,
            progress=progress,
            pack_size=pack_size,
            bring=bring,
        )
        self._choice = IndexChoice(remote)
        self._worth = 0  # the bytes of content that are sent if none is found
        self._indexed = 0
        self._sources = sources
        self._jobs = jobs
        self._deleted = {job.asset for job in jobs if job.deleted is not None}
        self._progress = progress
        self._pack_size = pack_size
        self._own = ObjectStore(remote.storage, ())
        self._sent_at = 0
        self._lost: set[bytes] = set()
        self._checked: set[bytes] = set()
        self._relied: set[bytes] = set()
        self._parts: dict[bytes, _Part] = {}
        self._records: tuple[bytes, ...] = ()
        self._needs: Mapping[bytes, Sequence[bytes]] | None = None

    @property
    def recipes(self) -> Mapping[bytes, Recipe]:
        """Return the recipes of large files, as far as they are known."""
        return self._sender.recipes

    @property
    def own_indexes(self) -> Sequence[PackIndex]:
        """Return the indexes that this push has written."""
        return self._own.indexes

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

    def rest_on(self, sent: Sent) -> None:
        """Count on what was sent ahead, before anything else is done."""
        self._own = ObjectStore(self.remote.storage, sent.indexes)
        self._sent_at = sent.number

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
        if self._needs is None or not self._still_holds(view):
            self._needs = self._send_all(view, new, records)
        return [*self._publish_events(new, records, self._needs), *events]

    def _send_all(
        self, view: LogView, new: Sequence[Job], records: Mapping[bytes, Mapping[bytes, bool]]
    ) -> Mapping[bytes, Sequence[bytes]]:
        """Send what the store lacks; return the needs of each new asset."""
        while True:
            self._send(view, new, records)
            try:
                return self._all_needs(view, new)
            except Lost as found:
                # The content of these indexes counts as absent: send it again.
                self._lost |= found.indexes

    # Names

    def _number(self, view: LogView, asset: bytes) -> int | None:
        return view.class_state(self._asset(asset).class_name).number(asset)

    def _asset(self, asset: bytes) -> Asset:
        return self._sources.asset(asset)

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

    # Assets to rest on

    def _part(self, asset: bytes, bases: Bases) -> _Part:
        """Return what of an asset is to be looked up, and the assets that have the rest."""
        if asset in self._deleted:
            return _Part(asset, Difference())
        value, sources = self._asset(asset), self._sources
        before = [i for i in value.parents if i in self._parts and i not in self._deleted]
        coming = {self._asset(parent).tree: parent for parent in before}
        published = bases.of(asset)
        while True:
            trees = [*coming, *(tree for tree in published if tree not in coming)]
            found = difference(value.tree, trees, sources.tree, sources.near_tree)
            used = [tree for tree in found.shared if tree not in coming]
            needs = {tree: bases.needs(published[tree]) for tree in used}
            inherited = dict.fromkeys(i for ids in needs.values() for i in ids or ())
            if None not in needs.values() and not self._is_wasteful(value.tree, inherited):
                return _Part(
                    asset,
                    found,
                    tuple(published[tree] for tree in used),
                    tuple(inherited),
                    tuple(coming[tree] for tree in found.shared if tree in coming),
                )
            unfit = [tree for tree, ids in needs.items() if ids is None]
            for tree in unfit or used:
                del published[tree]

    def _is_wasteful(self, tree: bytes, inherited: Collection[bytes]) -> bool:
        """Tell whether needs are to be merged, and of little use: then all is looked up again."""
        if len(inherited) < MAX_NEEDS:
            return False
        size = sum(entry.size for entry in self._sources.tree(tree))
        return is_wasteful(self.remote.indexes(inherited), size)

    # Sending

    def _still_holds(self, view: LogView) -> bool:
        """Tell whether entries may still name everything counted on and everything sent."""
        usable = self._usable_own(view)
        bases = {base for part in self._parts.values() for base in part.bases}
        return (
            self._relied <= set(view.root.indexes)
            and len(usable) == len(self.own_indexes)
            and all(is_live(view, base) for base in bases)
        )

    def _send(
        self, view: LogView, new: Sequence[Job], records: Mapping[bytes, Mapping[bytes, bool]]
    ) -> None:
        """Send every object of the new assets that neither a base has nor a current index names."""
        kept = self._usable_own(view)
        bases = Bases(self.remote, view, self._sources, self._lost)
        self._parts = {}
        for job in new:
            self._parts[job.asset] = self._part(job.asset, bases)
        self._records = tuple(ref for held in records.values() for ref in held if not held[ref])
        metadata, files = _joined(list(self._parts.values()), self._records)
        whole = sum(files.values())
        whole += sum(part.shared_size for part in self._parts.values() if part.bases)
        self._worth = sum(files.values())
        present = Presence([*kept, *self._current(view)], self._more)
        # An index that names a recipe should name its chunks. An index of this push may have left
        # chunks to other indexes that a gc has dropped since. Do not copy an incomplete index.
        missing = [i for i in files if not self._sender.is_whole(i, present)]
        if sum(files[i] for i in missing) > self._pack_size:
            for index in self._orphans(view):
                present.add(index, partial(reads_back, self.remote.storage))
            missing = [i for i in missing if not self._sender.is_whole(i, present)]
        self._sender.bytes_reused = reused = whole - sum(files[i] for i in missing)
        wanted = [i for i in metadata if not self._sender.is_whole(i, present)]
        lacking = set(wanted)
        self.new_trees = {part for part in self._parts if self._asset(part).tree in lacking}
        self._progress.start("Sending", whole)
        try:
            self._progress.skip(reused)
            sent = self._write(view, present, wanted, missing)
        finally:
            self._progress.finish()
        current = set(view.root.indexes)
        used = [i for i in present.indexes if i.id in present.used and i.id not in current]
        ours = [index for index in used if index in kept]
        self._own = self.remote.objects([*ours, *sent])
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
            self._write_index(self._rows_of(ids, orphans), new[0].asset, view)
        self._sent_at = view.number
        self._relied = present.used & current

    def _usable_own(self, view: LogView) -> list[PackIndex]:
        """Return the indexes that this push has written and that no gc has taken since."""
        usable = [index for index in self.own_indexes if is_usable(view, index)]
        if not may_be_purged(view, self._sent_at):
            return usable
        return [index for index in usable if self._is_there(index)]

    def _current(self, view: LogView) -> list[PackIndex]:
        """Return the current indexes to search, without those that lack a file."""
        classes = {self._asset(job.asset).class_name for job in self._jobs}
        inherited = {i for part in self._parts.values() for i in part.inherited}
        found = {index.id: index for index in self._choice.at(view, sorted(classes), self._worth)}
        found |= {index.id: index for index in self.remote.indexes(inherited - found.keys())}
        return [index for i, index in found.items() if i not in self._lost]

    def _more(self, object_id: bytes) -> list[PackIndex]:
        """Return further indexes that may name an object, without those that lack a file."""
        return [i for i in self._choice.more(object_id) if i.id not in self._lost]

    def _is_there(self, index: PackIndex) -> bool:
        """Tell whether an index and all of its packs are in the storage."""
        return not self._broken([index])

    def _count_on(self, ids: Set[bytes], counted: Mapping[bytes, PackIndex]) -> None:
        """Count on those indexes that are current. Check once that they are there: this machine's
        cache may outlive an index, and an index its packs.
        """
        relied = ids & counted.keys()
        new = relied - self._checked
        broken = self._broken([counted[i] for i in new])
        if broken:
            raise Lost(broken)
        self._checked |= new
        self._relied |= relied

    def _broken(self, indexes: Sequence[PackIndex]) -> set[bytes]:
        """Return the indexes that the storage lacks, or a pack of them, or that are cut off."""
        files = {
            index: {index_name(index.id): index.size}
            | {pack_name(pack): size for pack, size in index.pack_sizes.items()}
            for index in indexes
        }
        names = list(dict.fromkeys(chain.from_iterable(files.values())))
        there = dict(zip(names, self.remote.storage.sizes(names), strict=True)) if names else {}
        return {i.id for i, sizes in files.items() if any(there[n] != sizes[n] for n in sizes)}

    def _write(
        self,
        view: LogView,
        present: Presence,
        metadata: Sequence[bytes],
        files: Sequence[bytes],
    ) -> tuple[PackIndex, ...]:
        condemned = view.root.condemned_packs.__contains__
        features = view.root.read_features
        own = self._sender.send(present, metadata, files, condemned, features)
        if any(index.id in view.root.condemned_indexes for index in own):
            # The same packs give the same index, and a condemned name must not come back.
            own = self._sender.send(present, metadata, files, lambda pack: True, features)
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

    # Events

    def _publish_events(
        self,
        new: Sequence[Job],
        records: Mapping[bytes, Mapping[bytes, bool]],
        needs: Mapping[bytes, Sequence[bytes]],
    ) -> list[Event]:
        added = tuple(index.id for index in self.own_indexes)
        events: list[Event] = []
        for job in new:
            held = records[job.asset]
            events.append(
                Publish(
                    job.asset,
                    self._asset(job.asset).class_name,
                    (),
                    added,
                    tuple(sorted(needs[job.asset])),
                    tuple(HeldRef(ref, held[ref]) for ref in sorted(held)),
                )
            )
            if job.deleted is not None:
                name = self._asset(job.asset).class_name
                events.append(SetStatus(job.asset, name, "deleted", job.deleted))
            added = ()
        return events

    # Needs

    def _all_needs(self, view: LogView, new: Sequence[Job]) -> dict[bytes, Sequence[bytes]]:
        """Return for each new asset the indexes that together name all of its content."""
        own, current = self._own, self._current(view)
        counted = {index.id: index for index in current}
        # No asset needs the records of its sources, but the store must have them too.
        _, naming = self._named(self._records, [*own.indexes, *current])
        self._count_on(naming, counted)
        found: dict[bytes, Sequence[bytes]] = {}
        for job in new:
            part = self._parts[job.asset]
            rested = {*part.inherited, *(i for base in part.coming for i in found[base])}
            nearer = [*own.indexes, *(index for i, index in counted.items() if i in rested)]
            known = {index.id: index for index in (*nearer, *current)}
            ids, naming = self._named(part, known.values())
            used = {i: known[i] for i in sorted({*naming, *rested})}
            self._count_on(used.keys(), counted)
            found[job.asset] = tuple(used)
            if len(used) > MAX_NEEDS:
                found[job.asset] = self._few(ids, used, rested, job.asset, view)
        return found

    def _named(
        self, ids: Iterable[bytes], indexes: Iterable[PackIndex]
    ) -> tuple[Sequence[bytes], Set[bytes]]:
        """Return objects with their chunks, and the indexes that name all of these.

        Raises:
            IntegrityError: No index names one of them.
        """
        present = Presence(indexes)
        found = list(ids)
        left, in_chunks = present.gone_through(found)
        in_chunks += [object_id for object_id in left if present.only_recipe(object_id)]
        chunks = [
            chunk
            for object_id in in_chunks
            for chunk, _ in self._sender.recipe(object_id, present).chunks
        ]
        # Don't stop at the first that is missing: each lookup counts as used.
        lacking = [object_id for object_id in chain(left, chunks) if object_id not in present]
        if lacking:
            raise IntegrityError(
                f"object {short(lacking[0])} is neither in {self.remote.url} nor was it sent",
                hint=Hint("fsck-what-is-damaged"),
            )
        return [*found, *chunks], present.used

    def _few(
        self,
        ids: Sequence[bytes],
        used: Mapping[bytes, PackIndex],
        rested: Set[bytes],
        asset: bytes,
        view: LogView,
    ) -> tuple[bytes, ...]:
        """Write few indexes in place of many, and return the ids of at most 16.

        Args:
            ids: The objects of the asset, without those that only its bases name.
            used: The indexes that name the asset.
            rested: Those of them that its bases need.
            asset: The asset.
            view: The log.
        """
        written = {index.id for index in self.own_indexes} - rested
        picked = used.keys() - rested
        if picked <= written or sum(len(used[i]) for i in picked & written) > MERGED_ROWS:
            picked -= written
        left = [index for i, index in used.items() if i not in picked]
        if picked:
            # Of these, only the rows of the asset go on: the others are of no use to it.
            rows = self._rows_of(ids, [used[i] for i in sorted(picked)])
            left.append(self._write_index(rows, asset, view))
        if len(left) > MAX_NEEDS:
            left = [
                group[0]
                if len(group) == 1
                else self._write_index(merge_indexes(group), asset, view)
                for group in groups(left)
            ]
        return tuple(index.id for index in left)

    def _rows_of(self, ids: Iterable[bytes], indexes: Sequence[PackIndex]) -> bytes:
        """Return the bytes of an index of objects, where the first of some indexes names them."""
        rows, present = RowCollector(), Presence(indexes)
        sizes = {pack: size for index in indexes for pack, size in index.pack_sizes.items()}
        for object_id in ids:
            rows.add(present.find(object_id), sizes)
        return rows.encode()

    def _write_index(self, data: bytes, asset: bytes, view: LogView) -> PackIndex:
        """Write an index of this push, under a name that no gc has condemned."""
        index = PackIndex(data)
        if index.id in view.root.condemned_indexes:
            # A copy of the asset in a pack of its own makes this a different index.
            with PackWriter(self.remote.storage) as writer:
                writer.add(Kind.ASSET, asset, self._sources.read(asset, Kind.ASSET))
                (more,) = writer.finish()
            self._own.add_index(more)
            index = PackIndex(merge_indexes([index, more]))
        self.remote.storage.put(index_name(index.id), index.data)
        self._indexed += index.size
        self._own.add_index(index)
        return index
