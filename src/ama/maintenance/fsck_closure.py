"""The check of everything below each asset: trees, files, chunks, and what it was made from.

What many assets share is checked once. Of each tree two things are kept, the lost objects below it
and the indexes of the rest, so that an asset which shares it needs no walk.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ama.errors import AmaError, IntegrityError, NotFound, shown
from ama.format.hashing import short
from ama.format.objects import (
    Asset,
    EntryKind,
    Kind,
    Recipe,
    TreeEntry,
    decode_asset,
    decode_recipe,
    decode_tree,
)
from ama.format.packindex import Location
from ama.maintenance.fsck_packs import Fault, PackCheck, give_up, plural, several
from ama.stores.object_reader import ObjectStore
from ama.system.progress import Progress

NOTHING: frozenset[bytes] = frozenset()
LISTED = 50


@dataclass(frozen=True, slots=True)
class Below:
    """The facts of an object and all below it: its size, lost objects, and the indexes of the
    rest.
    """

    size: int | None
    lost: frozenset[bytes] = NOTHING
    used: frozenset[bytes] = NOTHING


@dataclass(slots=True)
class _Tree:
    """A tree that was read, before the facts below it are added up."""

    size: int = 0
    trees: list[TreeEntry] = field(default_factory=list)
    lost: set[bytes] = field(default_factory=set)
    used: set[bytes] = field(default_factory=set)


class Closure:
    """The objects in some indexes, checked downwards from any object.

    Args:
        objects: The objects.
        packs: The finished check of their packs.
        progress: The progress of the bytes of large files.

    Attributes:
        faults: The faults of readable objects.
        missing: Objects that something needs and no index names.
    """

    def __init__(self, objects: ObjectStore, packs: PackCheck, progress: Progress) -> None:
        self._objects = objects
        self._indexes = list(objects.indexes)
        self._packs = packs
        self._progress = progress
        self._recipes: dict[bytes, Below] = {}
        self._read: dict[bytes, _Tree] = {}
        self._trees: dict[bytes, Below] = {}
        self._strange: set[bytes] = set()
        self.faults: list[Fault] = []
        self.missing: set[bytes] = set()

    # Objects

    def place(self, wanted: bytes, kind: Kind) -> tuple[bytes, Location] | None:
        """Return an index that names a sound record of an object, and its location; None if none
        does.
        """
        for number, index in enumerate(self._indexes):
            for at in index.find(wanted):
                if at.record.kind.makes is kind and not self._packs.is_bad(at):
                    # The next object is often in the same index.
                    self._indexes.insert(0, self._indexes.pop(number))
                    return index.id, at
        return None

    def lacking(self, wanted: bytes) -> frozenset[bytes]:
        """Note that an object can't be read; return it as lost."""
        places = self._objects.find(wanted)
        if not places:
            self.missing.add(wanted)
        elif wanted not in self._strange and not any(self._packs.is_bad(at) for at in places):
            self._strange.add(wanted)
            kind = places[0].record.kind.name.lower()
            self._wrong(wanted, f"it is a {kind}, and is needed as something else")
        return frozenset([wanted])

    def read(self, ids: Iterable[bytes], kind: Kind) -> Iterator[tuple[bytes, bytes]]:
        """Yield (id, bytes) of the readable objects among these."""
        waiting = dict.fromkeys(i for i in ids if self.place(i, kind) is not None)
        try:
            for found, data in self._objects.read_records(list(waiting), kind):
                del waiting[found]
                yield found, data
        except AmaError as error:
            give_up(error)
            # It was sound when its pack was checked. One by one, the others may still be.
            for one in waiting:
                try:
                    yield from self._objects.read_records([one], kind)
                except (IntegrityError, NotFound):
                    continue

    # Large files

    def check_recipes(self) -> None:
        """Assemble every large object from its recipe, and compare its hash."""
        sizes = self._packs.recipes
        self._progress.start("Checking large files", sum(sizes.values()))
        try:
            for whole, data in self.read(sizes, Kind.RECIPE):
                self._recipes[whole] = self._check_recipe(whole, decode_recipe(data))
                self._progress.advance(sizes[whole])
        finally:
            self._progress.finish()

    def _check_recipe(self, whole: bytes, recipe: Recipe) -> Below:
        place = self.place(whole, Kind.RECIPE)
        used = {place[0]} if place else set()
        lost: set[bytes] = set()
        outside = False
        for chunk, size in dict.fromkeys(recipe.chunks):
            named = self.place(chunk, Kind.DATA)
            if named is None:
                lost |= self.lacking(chunk)
                continue
            outside = outside or named[1].record.kind is Kind.REFERENCE
            if named[1].record.full != size:
                what = f"its recipe says that chunk {short(chunk)} has {size:,} bytes"
                self._wrong(whole, f"{what}, and it has {named[1].record.full:,}")
                lost.add(whole)
            else:
                used.add(named[0])
        # What is outside isn't read for it: its chunks are verified, where that is asked for.
        if not lost and not outside and not self._makes(whole, recipe):
            self._wrong(whole, "its recipe makes something else")
            lost.add(whole)
        return Below(recipe.size, frozenset(lost), frozenset(used))

    def _makes(self, whole: bytes, recipe: Recipe) -> bool:
        try:
            for _ in self._objects.stream_recipe(whole, recipe):
                pass
        except AmaError as error:
            give_up(error)
            return False
        return True

    def _wrong(self, wanted: bytes, what: str) -> None:
        self.faults.append(Fault(f"object {short(wanted)}", what, frozenset([wanted])))

    def file(self, wanted: bytes, size: int, where: str) -> Below:
        """Return the facts of a file's content; `where` says what has it with this size."""
        named = self.place(wanted, Kind.DATA)
        if named is not None:
            found = Below(named[1].record.full, NOTHING, frozenset([named[0]]))
        elif wanted in self._recipes:
            found = self._recipes[wanted]
        else:
            return Below(None, self.lacking(wanted))
        if found.size != size:
            self._wrong(wanted, f"{where} says that it has {size:,} bytes, not {found.size:,}")
            return Below(found.size, found.lost | {wanted}, found.used)
        return found

    # Trees

    def trees(self, roots: Iterable[bytes]) -> None:
        """Check every tree below (and with) these, level by level."""
        level = dict.fromkeys(root for root in roots if root not in self._read)
        while level:
            below: dict[bytes, None] = {}
            for tree, data in self._tree_data(level):
                read = self._look(tree, decode_tree(data))
                self._read[tree] = read
                below.update(dict.fromkeys(entry.id for entry in read.trees))
            for tree in level:
                if tree not in self._read:
                    recipe = self._recipes.get(tree)
                    lost = recipe.lost if recipe and recipe.lost else self.lacking(tree)
                    self._read[tree] = _Tree(lost=set(lost))
            level = {tree: None for tree in below if tree not in self._read}

    def _tree_data(self, level: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
        in_chunks = [tree for tree in level if tree in self._recipes]
        yield from self.read((tree for tree in level if tree not in self._recipes), Kind.TREE)
        for tree in in_chunks:
            if not self._recipes[tree].lost or self.place(tree, Kind.TREE) is not None:
                try:
                    yield tree, self._objects.read(tree, Kind.TREE)
                except (IntegrityError, NotFound):
                    continue

    def _look(self, tree: bytes, entries: Sequence[TreeEntry]) -> _Tree:
        read = _Tree(sum(entry.size for entry in entries))
        named = self.place(tree, Kind.TREE)
        read.used |= {named[0]} if named else self._recipes[tree].used
        for entry in entries:
            if entry.kind is EntryKind.TREE:
                read.trees.append(entry)
                continue
            found = self.file(entry.id, entry.size, f"{shown(entry.name)} in tree {short(tree)}")
            read.lost |= found.lost
            read.used |= found.used
        return read

    def tree(self, root: bytes) -> Below:
        """Return the facts of a tree and all below it, after `trees` has checked it."""
        waiting = [root]
        while waiting:
            at = waiting[-1]
            # A tree's id is a hash of its entries, so none can be below itself.
            below = [e.id for e in self._read[at].trees if e.id not in self._trees]
            if below:
                waiting += below
                continue
            if at not in self._trees:
                self._trees[at] = self._add_up(at, self._read[at])
            waiting.pop()
        return self._trees[root]

    def _add_up(self, tree: bytes, read: _Tree) -> Below:
        lost, used = set(read.lost), set(read.used)
        for entry in read.trees:
            below = self._trees[entry.id]
            if below.size is not None and below.size != entry.size:
                what = f"{shown(entry.name)} in tree {short(tree)} says that it has"
                self._wrong(entry.id, f"{what} {entry.size:,} bytes, not {below.size:,}")
                lost.add(entry.id)
            lost |= below.lost
            used |= below.used
        size = None if tree in lost else read.size
        return Below(size, frozenset(lost), frozenset(used))

    def lacking_in(self, indexes: Collection[bytes], root: bytes) -> set[bytes]:
        """Return the objects of a whole tree that these indexes do not name."""
        within = [index for index in self._indexes if index.id in indexes]
        lacking: set[bytes] = set()
        seen = {root}
        level = [root]
        while level:
            below: list[bytes] = []
            for tree, data in self._tree_data(level):
                for entry in decode_tree(data):
                    wanted = [entry.id]
                    if entry.kind is EntryKind.TREE:
                        below.append(entry.id)
                    elif self.place(entry.id, Kind.DATA) is None and entry.id in self._recipes:
                        wanted += self._chunks(entry.id)
                    lacking.update(i for i in wanted if not any(i in index for index in within))
                if not any(tree in index for index in within):
                    lacking.add(tree)
            level = [tree for tree in dict.fromkeys(below) if tree not in seen]
            seen.update(level)
        return lacking

    def file_lacking_in(self, indexes: Collection[bytes], wanted: bytes) -> set[bytes]:
        """Return the objects of a file that these indexes do not name."""
        within = [index for index in self._indexes if index.id in indexes]
        ids = [wanted]
        if self.place(wanted, Kind.DATA) is None and wanted in self._recipes:
            ids += self._chunks(wanted)
        return {i for i in ids if not any(i in index for index in within)}

    def _chunks(self, whole: bytes) -> list[bytes]:
        found = [decode_recipe(data) for _, data in self.read([whole], Kind.RECIPE)]
        return [chunk for recipe in found for chunk, _ in recipe.chunks]


def read_assets(closure: Closure, ids: Iterable[bytes]) -> dict[bytes, Asset]:
    """Return the readable asset objects among these."""
    return {found: decode_asset(data) for found, data in closure.read(ids, Kind.ASSET)}


def missing_faults(lost: Iterable[bytes]) -> list[Fault]:
    """Return the faults of needed objects that no index names."""
    missing = sorted(lost)
    faults = [
        Fault(f"object {short(wanted)}", "it is missing: no index names it", frozenset([wanted]))
        for wanted in missing[:LISTED]
    ]
    rest = missing[LISTED:]
    if rest:
        what = f"{plural(len(rest), 'object')} more are missing: {several(rest)}"
        faults.append(Fault("other objects", what, frozenset(rest)))
    return faults


def by_lost(found: Iterable[tuple[bytes, Iterable[bytes]]]) -> dict[bytes, set[bytes]]:
    """Invert (asset, its lost objects): return the assets that each lost object touches."""
    touched: dict[bytes, set[bytes]] = defaultdict(set)
    for asset, lost in found:
        for wanted in lost:
            touched[wanted].add(asset)
    return touched
