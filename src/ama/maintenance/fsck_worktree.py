"""The check of a worktree: HEAD, the index, its packs, and the commits that wait for a push."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from ama.errors import AmaError, NotFound, shown
from ama.format.hashing import seal, short
from ama.format.objects import Asset, Kind, TreeEntry, decode_tree
from ama.lineage import ancestry
from ama.maintenance.fsck_closure import Closure, by_lost, read_assets
from ama.maintenance.fsck_packs import Fault, PackCheck, give_up, read_indexes
from ama.results import FsckReport, Problem
from ama.stores.object_reader import ObjectStore, index_name, pack_name
from ama.system.encoding import from_system
from ama.system.progress import Progress
from ama.values import display_name
from ama.worktree.blocks import DIRECTORY as BLOCKS
from ama.worktree.blocks import Block
from ama.worktree.entries import Entries, IndexEntry, Reader
from ama.worktree.head import Head
from ama.worktree.layout import CONTROL, PUBLISH, Worktree
from ama.worktree.staging import Index
from ama.worktree.trees import Listed, walk

OBJECTS = f"{CONTROL}/objects"
LISTED = 50

_INDEX = re.compile(r"index/([0-9a-f]{64})\.idx").fullmatch


def check_worktree(tree: Worktree, progress: Progress) -> FsckReport:
    """Verify everything that a worktree itself holds, without asking a store.

    Content that is not here is promised, and checked, in the store that HEAD names. What must be
    here is staged content, unless it is by reference, and all of every commit that is not published
    yet.

    Args:
        tree: The worktree.
        progress: The progress of the bytes read.

    Returns:
        A report of the damage, the assets that it touches, and interrupted work.

    Raises:
        StorageError: The worktree can't be read.
    """
    check = _Check(tree, progress)
    check.run()
    return FsckReport(
        from_system(tree.root),
        check.packs.objects,
        check.packs.size,
        len(check.records),
        tuple(check.problems),
        check.orphans,
        tuple(tree.interrupted()),
    )


class _Check:
    def __init__(self, tree: Worktree, progress: Progress) -> None:
        self._tree = tree
        self.problems: list[Problem] = []
        self.orphans = 0
        self._head = self._read_head()
        self._index = self._read_index()
        storage = tree.objects.storage
        there = [name for name, _ in storage.list("index/")]
        named = {name: bytes.fromhex(m[1]) for name in there if (m := _INDEX(name))}
        self._faults = [
            Fault(name, "it is not named as an index is") for name in there if name not in named
        ]
        indexes, faults = read_indexes(storage, named.values())
        self._faults += faults
        self._store = ObjectStore(storage, indexes)
        self.packs = PackCheck(storage, indexes, progress)
        self._closure = Closure(self._store, self.packs, progress)
        self.records: dict[bytes, Asset] = {}
        self._touched: dict[bytes, set[bytes]] = {}
        self._reported: set[bytes] = set()

    def run(self) -> None:
        """Check everything; each step relies on the ones before."""
        self._check_note()
        self.packs.run()
        self._faults += self.packs.faults
        self._closure.check_recipes()
        self._read_history()
        trees = (record.tree for record in self.records.values())
        self._closure.trees(trees)
        self._touched = by_lost((asset, self._lost_by(asset)) for asset in self._known())
        for fault in self._faults:
            self._add(f"{OBJECTS}/{fault.where}", fault)
        for fault in self._closure.faults:
            self._add(fault.where, fault)
        self._check_commits()
        self._check_staged()
        known = {index_name(index.id) for index in self._store.indexes}
        known |= {pack_name(p) for index in self._store.indexes for p in index.pack_sizes}
        known |= {fault.where for fault in self._faults}
        there = [name for name, _ in self._tree.objects.storage.list("")]
        self.orphans = sum(name not in known for name in there)

    def _problem(self, where: str, what: str, assets: Iterable[bytes] = ()) -> None:
        names = sorted(
            display_name(self.records[i].class_name, None, i.hex())
            if i in self.records
            else f"asset {short(i)}"
            for i in assets
        )
        self.problems.append(Problem(where, what, tuple(names)))

    def _add(self, where: str, fault: Fault) -> None:
        assets = {asset for lost in fault.objects for asset in self._touched.get(lost, ())}
        self._problem(where, fault.what, assets)

    # HEAD, the index, and what was interrupted

    def _read_head(self) -> Head | None:
        try:
            return self._tree.head.read().head
        except AmaError as error:
            give_up(error)
            self._problem(f"{CONTROL}/HEAD", error.message)
            return None

    def _read_index(self) -> Index:
        try:
            index = self._tree.index.read()
        except AmaError as error:
            give_up(error)
            self._problem(f"{CONTROL}/index", error.message)
            return Index()
        entries = index.entries
        sound = tuple(block for block in entries.blocks if self._is_sound(entries.reader, block))
        return replace(index, entries=Entries(sound, entries.reader))

    def _is_sound(self, reader: Reader, block: Block) -> bool:
        try:
            reader.read(block)
        except AmaError as error:
            give_up(error)
            self._problem(f"{CONTROL}/{BLOCKS}/{block.id.hex()}", error.message)
            return False
        return True

    def _check_note(self) -> None:
        note = self._tree.noted(PUBLISH)
        if note is not None and seal(note[:-32]) != note[-32:]:
            what = "its checksum does not match: the log of the store has that upload, or hasn't"
            self._problem(f"{CONTROL}/pending/{PUBLISH}", what)

    # Assets: HEAD, what waits for a push, and their sources

    def _known(self) -> list[bytes]:
        """Return the assets that HEAD names."""
        if self._head is None:
            return []
        named = [commit.asset for commit in self._head.unpublished]
        if self._head.asset is not None:
            named.append(self._head.asset)
        return list(dict.fromkeys([*named, *self.records]))

    def _read_history(self) -> None:
        waiting = set(self._known())
        while waiting:
            found = read_assets(self._closure, waiting)
            self.records.update(found)
            parents = {parent for record in found.values() for parent in record.parents}
            waiting = parents - self.records.keys()

    def _lost_by(self, asset: bytes) -> Iterable[bytes]:
        record = self.records.get(asset)
        return [asset] if record is None else self._closure.tree(record.tree).lost

    def _waiting(self) -> list[bytes]:
        """Return the commits that no store has yet."""
        return [] if self._head is None else [c.asset for c in self._head.unpublished if c.made]

    def _check_commits(self) -> None:
        """Check that each commit which waits for a push is here, or was published before."""
        promised = self._promised()
        for asset in self._waiting():
            record = self.records.get(asset)
            if record is None:
                self._problem(f"commit {short(asset)}", "it can't be read", [asset])
                continue
            try:
                listed = list(walk(record.tree, self._tree_entries, wanted=True))
            except AmaError as error:
                give_up(error)
                self._problem(f"commit {short(asset)}", error.message, [asset])
                continue
            items = [item for item in listed if self._is_lost(item, promised)]
            self._reported.update(item.id for item in items)
            lost = [item.path for item in items]
            for path in lost[:LISTED]:
                what = f"its content in commit {short(asset)} is neither here nor published"
                self._problem(shown(path), what, [asset])
            self._count_rest(lost)

    def _promised(self) -> set[bytes] | None:
        """Return the files of the published asset under all commits; None: not known."""
        waiting = set(self._waiting())
        history = ancestry(self._head.asset if self._head else None, self._parents)
        at = next((asset for asset in history if asset not in waiting), None)
        if at is None:
            return set()
        record = self.records.get(at)
        try:
            if record is None:
                return None
            return {item.id for item in walk(record.tree, self._tree_entries, wanted=True)}
        except AmaError as error:
            give_up(error)
            return None

    def _parents(self, asset: bytes) -> tuple[bytes, ...]:
        record = self.records.get(asset)
        return record.parents if record else ()

    def _tree_entries(self, tree: bytes) -> tuple[TreeEntry, ...]:
        for _, data in self._closure.read([tree], Kind.TREE):
            return decode_tree(data)
        raise NotFound(f"its tree {short(tree)} can't be read")

    def _is_lost(self, item: Listed | IndexEntry, promised: set[bytes] | None) -> bool:
        if promised is None or item.id in promised:
            return False
        return bool(self._closure.file(item.id, item.size, shown(item.path)).lost)

    # What is staged

    def _check_staged(self) -> None:
        """Check that staged content is here, unless it is by reference."""
        lost = [
            entry.path
            for entry in self._index.entries.values()
            if entry.stored and not entry.skipped and self._is_lost(entry, self._reported)
        ]
        for path in lost[:LISTED]:
            what = f"it is staged, and its content is not in {OBJECTS} or damaged there"
            self._problem(shown(path), what)
        self._count_rest(lost)

    def _count_rest(self, lost: list[str]) -> None:
        if len(lost) > LISTED:
            self._problem("other files", f"the same is true of {len(lost) - LISTED:,} more")
