"""The check of a whole store."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ama.format.entries import entry_name
from ama.format.hashing import short
from ama.format.objects import Asset, Kind
from ama.format.packindex import PackIndex
from ama.maintenance.fsck_closure import Closure, by_lost, missing_faults, read_assets
from ama.maintenance.fsck_history import History, Published
from ama.maintenance.fsck_log import read_history
from ama.maintenance.fsck_packs import Fault, PackCheck, plural, read_indexes, several
from ama.maintenance.fsck_sources import SourceCheck
from ama.results import FsckReport, Problem
from ama.stores.object_reader import index_name, pack_name
from ama.stores.remote import Remote
from ama.stores.revisions import moment
from ama.system.progress import Progress


def check_store(
    remote: Remote, progress: Progress, *, sources: bool = False, read_data: bool = False
) -> FsckReport:
    """Verify everything in a store.

    That is its format.json, every entry of its log, HINT and the checkpoints, every current index,
    every pack in those with every record, all trees, files and chunks of each asset, and the
    records of everything that it was made from.

    Args:
        remote: The store. Its cache on this machine is not used.
        progress: The progress of the bytes read.
        sources: Whether to ask if what references lead to is as it was.
        read_data: Whether to read it.

    Returns:
        A report of the damage and the assets that it touches.

    Raises:
        FormatError: The store needs a newer version of ama.
        StorageError: The storage is away.
    """
    storage = remote.storage
    history = read_history(remote)
    current = _indexes_of(history)
    indexes, index_faults = read_indexes(storage, current)
    packs = PackCheck(storage, indexes, progress)
    packs.run()
    objects = remote.objects(indexes)
    outside = SourceCheck(objects, packs, progress)
    if read_data:
        outside.read_all()
    elif sources:
        outside.ask()
    closure = Closure(objects, packs, progress)
    closure.check_recipes()
    assets = _Assets(history, closure, indexes)
    assets.check()
    broken = frozenset(i for fault in index_faults for i in fault.indexes)
    faults = [
        *history.faults,
        *index_faults,
        *_condemned(history, indexes),
        *packs.faults,
        *outside.faults,
        *closure.faults,
        *assets.faults,
        *missing_faults(assets.unexplained(broken)),
    ]
    return FsckReport(
        remote.url,
        packs.objects,
        packs.size,
        len(history.live()),
        tuple(assets.problem(fault) for fault in faults),
        _orphans(remote, set(current), indexes),
        references=packs.references,
        referenced=packs.referenced,
        sources=len(packs.sources),
        checked_sources=read_data or sources,
    )


def _indexes_of(history: History) -> tuple[bytes, ...]:
    """Return the current indexes; if the log is incomplete, also those that assets need."""
    current = dict.fromkeys(history.root.indexes)
    if history.unknown_from is not None:
        needed = [index for asset in history.live() for index in asset.needs or ()]
        current.update(dict.fromkeys(history.root.current(needed)))
    return tuple(current)


class _Assets:
    """The check of every published asset, downwards."""

    def __init__(self, history: History, closure: Closure, indexes: Sequence[PackIndex]) -> None:
        self._history = history
        self._closure = closure
        self._sound = {index.id for index in indexes}
        self._indexes = indexes
        self._records: dict[bytes, Asset] = {}
        self._lost: dict[bytes, set[bytes]] = {}
        self._by_lost: dict[bytes, set[bytes]] = {}
        self._needing: dict[bytes, set[bytes]] = defaultdict(set)
        self.faults: list[Fault] = []

    def check(self) -> None:
        """Check everything that the log publishes."""
        live = self._history.live()
        wanted = {asset.asset for asset in live}
        self._records = read_assets(self._closure, wanted)
        self._closure.trees(self._all_trees())
        self._closure.trees(record.tree for record in self._records.values())
        for asset in live:
            record = self._records.get(asset.asset)
            self._check_needs(asset)
            if record is None:
                self._lost[asset.asset] = set(self._closure.lacking(asset.asset))
                continue
            below = self._closure.tree(record.tree)
            self._lost[asset.asset] = set(below.lost)
            if record.class_name != asset.class_name:
                what = f"it publishes {short(asset.asset)} in another class than it is of"
                self._fault(asset, what)
            self._check_named(asset, record, below.lost, below.used)
        self._check_notes(wanted)
        self._check_lineage(live)
        self._by_lost = by_lost(self._lost.items())

    def problem(self, fault: Fault) -> Problem:
        """Return a fault with the assets that it touches: those that can't be read whole.

        A reader of an asset searches its own indexes, and for damaged objects all others.
        """
        touched = {asset for lost in fault.objects for asset in self._by_lost.get(lost, ())}
        touched |= fault.assets | self._history.touched_by(fault)
        needing = {asset for index in fault.indexes for asset in self._needing.get(index, ())}
        unread = not fault.indexes & self._sound
        served = {asset for asset in needing if unread and not self._lost.get(asset)}
        touched |= needing - served
        what = fault.what
        if not touched and (served or self._is_spare(fault)):
            what += "; what assets need of it is sound elsewhere in the store, and read from there"
        return Problem(fault.where, what, self._history.names(touched))

    def _is_spare(self, fault: Fault) -> bool:
        """Whether each object of a fault has a sound record in another place."""
        return bool(fault.objects) and all(
            any(self._closure.place(wanted, kind) for kind in Kind) for wanted in fault.objects
        )

    def unexplained(self, broken: frozenset[bytes]) -> set[bytes]:
        """Return the missing objects that more than a damaged index names."""
        if not broken:
            return self._closure.missing
        suffering = {asset for index in broken for asset in self._needing.get(index, ())}
        return {i for i in self._closure.missing if self._by_lost.get(i, set()) - suffering}

    def _fault(self, asset: Published, what: str) -> None:
        where = entry_name(asset.entry)
        self.faults.append(Fault(where, what, assets=frozenset([asset.asset])))

    def _all_trees(self) -> Iterable[bytes]:
        """Return every tree in an index: an index names a tree only with everything below it."""
        for index in self._indexes:
            for at in index.metadata():
                if at.record.kind is Kind.TREE:
                    yield at.record.id

    # Through its own indexes alone

    def _check_needs(self, asset: Published) -> None:
        root = self._history.root
        for index in root.current(asset.needs or ()):
            self._needing[index].add(asset.asset)
            if index not in root.indexes and self._history.unknown_from is None:
                what = f"{short(asset.asset)} needs {index_name(index)}, which is not current"
                self._fault(asset, what)

    def _check_named(
        self,
        asset: Published,
        record: Asset,
        lost: frozenset[bytes],
        used: frozenset[bytes],
    ) -> None:
        """Check that the indexes in an entry suffice to read its asset."""
        if asset.needs is None:
            return
        needs = set(self._history.root.current(asset.needs))
        if not needs <= self._sound:
            return
        lacking = set()
        if not any(asset.asset in index for index in self._indexes if index.id in needs):
            lacking.add(asset.asset)
        if not used <= needs:
            lacking |= self._closure.lacking_in(needs, record.tree)
        if lacking - lost:
            what = f"the indexes that it names for {short(asset.asset)} lack"
            self._fault(asset, f"{what} {plural(len(lacking), 'object')}: {several(lacking)}")

    # What was noted of it

    def _check_notes(self, live: Collection[bytes]) -> None:
        """Check the files of notes; those of deleted assets may be gone."""
        root = self._history.root
        for record in self._history.notes:
            note, where = record.note, entry_name(record.entry)
            if note.file is None or not (note.asset is None or note.asset in live):
                continue
            below = self._closure.file(note.file.id, note.file.size, f"a note in {where}")
            about = frozenset([note.asset]) if note.asset else frozenset()
            for asset in about:
                self._lost.setdefault(asset, set()).update(below.lost)
            needs = set(root.current(note.needs))
            if not needs <= set(root.indexes) and self._history.unknown_from is None:
                what = "the file of its note needs an index that is not current"
                self.faults.append(Fault(where, what, assets=about))
            elif needs <= self._sound and not below.used <= needs:
                lacking = self._closure.file_lacking_in(needs, note.file.id) - below.lost
                if lacking:
                    what = f"the indexes that it names for its note lack {several(lacking)}"
                    self.faults.append(Fault(where, what, assets=about))

    # What it was made from

    def _check_lineage(self, live: Iterable[Published]) -> None:
        """Check that the records of all parents and refs are here, transitively."""
        linked: dict[bytes, set[bytes]] = defaultdict(set)
        known = dict(self._records)
        waiting = set()
        for asset in live:
            if asset.asset in known:
                waiting |= self._links(asset, known[asset.asset], linked)
        while waiting := {i for i in waiting if i not in known}:
            found = read_assets(self._closure, waiting)
            for lost in waiting - found.keys():
                for asset_id in linked[lost]:
                    self._lost.setdefault(asset_id, set()).update(self._closure.lacking(lost))
            following: set[bytes] = set()
            for asset_id, record in found.items():
                for other in (*record.parents, *(ref.asset for ref in record.refs)):
                    linked[other] |= linked[asset_id]
                    following.add(other)
            known.update(found)
            waiting = following - waiting

    def _links(
        self, asset: Published, record: Asset, linked: Mapping[bytes, set[bytes]]
    ) -> set[bytes]:
        refs = {ref.asset for ref in record.refs}
        others = {*record.parents, *refs, *(ref.asset for ref in asset.refs)}
        for other in others:
            linked[other].add(asset.asset)
        if asset.needs is None:
            return others
        published = self._history.published
        unsaid = refs - {ref.asset for ref in asset.refs}
        absent = {ref.asset for ref in asset.refs if ref.held and ref.asset not in published}
        absent |= {parent for parent in record.parents if parent not in published}
        if unsaid:
            what = f"it does not name what {short(asset.asset)} was made from"
            self._fault(asset, f"{what}: {several(unsaid)}")
        if absent and self._history.unknown_from is None:
            what = f"it says that the log publishes what {short(asset.asset)} was made from"
            self._fault(asset, f"{what}, and it does not: {several(absent)}")
        return others


def _condemned(history: History, indexes: Iterable[PackIndex]) -> list[Fault]:
    faults = []
    for index in indexes:
        for pack in history.root.condemned_packs & index.pack_sizes.keys():
            what = f"it names {pack_name(pack)}, which a gc has condemned"
            faults.append(Fault(index_name(index.id), what, indexes=frozenset([index.id])))
    return faults


def _orphans(remote: Remote, current: set[bytes], indexes: Iterable[PackIndex]) -> int:
    """Return how many packs and indexes nothing names: interrupted uploads leave them."""
    known = {index_name(index) for index in current}
    known |= {pack_name(pack) for index in indexes for pack in index.pack_sizes}
    there = [name for below in ("index/", "packs/") for name, _ in remote.storage.list(below)]
    return sum(name not in known for name in there)


_FILE = "fsck"


@dataclass(frozen=True, slots=True)
class LastFsck:
    """A check of a whole store from this machine: its time, and how many problems it found."""

    at: datetime
    problems: int


def remember(remote: Remote, at: int, problems: int) -> None:
    """Note that a store was verified.

    Args:
        remote: The store.
        at: The time, in UTC microseconds.
        problems: How many problems were found.
    """
    remote.cache.put(_FILE, json.dumps({"at": at, "problems": problems}).encode())


def last_fsck(remote: Remote) -> LastFsck | None:
    """Return the last check of a store from this machine; None: none is remembered."""
    try:
        found = json.loads(remote.cache.get(_FILE) or b"null")
        at, problems = int(found["at"]), int(found["problems"])
    except (ValueError, TypeError, KeyError, OverflowError):
        return None
    when = moment(at)
    return LastFsck(when, problems) if when <= datetime.now(UTC) else None
