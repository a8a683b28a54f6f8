"""The part of a tree that is not below other trees, of assets that a store has.

Both are read side by side, along their paths. What is the same in both is not read: the store has
it, by the closure of the assets that it has (docs/format.md, W8). So the walk costs what differs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ama.format.objects import EntryKind, TreeEntry
from ama.worktree.trees import ReadTree, top_of

FEW = 256
"""The objects that are looked up one by one even if the store must have them: that takes
milliseconds, says exactly which indexes name them, and finds and fills a gap."""

MANY = 1 << 16
"""The most objects to keep in mind for that, however much changed."""

MEAN_CHUNK = 128 * 1024

ReadBase = Callable[[bytes], tuple[TreeEntry, ...] | None]
"""Returns the entries of a tree, or None where they can't be had at little cost."""


@dataclass(slots=True)
class Shared:
    """The part of a tree that a base has too."""

    size: int = 0
    """The bytes of its files."""
    weight: int = 0
    """About the number of its objects, as far as they have been seen; at least that."""
    entries: dict[bytes, TreeEntry] = field(default_factory=dict)
    """Its topmost entries by id; none once they are more than MANY."""

    def add(self, entry: TreeEntry) -> None:
        """Note an entry that the base has."""
        if entry.id not in self.entries:
            self.size += entry.size
            self.weight += weight(entry)
            self.entries[entry.id] = entry
        if len(self.entries) > MANY:
            self.entries.clear()


@dataclass(slots=True)
class Difference:
    """The objects of a tree that must be looked up, and the bases that have the rest."""

    trees: dict[bytes, None] = field(default_factory=dict)
    files: dict[bytes, int] = field(default_factory=dict)
    """The whole sizes of files, by id."""
    shared: dict[bytes, Shared] = field(default_factory=dict)
    """The parts that the bases have, by the ids of their trees."""

    def share(self, base: bytes, entry: TreeEntry) -> None:
        """Note an entry that a base has."""
        self.shared.setdefault(base, Shared()).add(entry)


def weight(entry: TreeEntry) -> int:
    """Return about how many objects an entry stands for, seen from outside; at least that."""
    return 1 + entry.size // MEAN_CHUNK


def difference(tree: bytes, bases: Sequence[bytes], read: ReadTree, near: ReadBase) -> Difference:
    """Return what a tree has that none of some others has, as far as reading them shows it.

    What only seems new, because it lies elsewhere in a base, is among what must be looked up.

    Args:
        tree: The root of the tree.
        bases: The roots of trees that the store has, the likeliest first.
        read: A function that returns the entries of a tree of this asset.
        near: A function that returns those of a base's tree, if they are at hand.
    """
    found = Difference()
    owners = {base: base for base in bases}
    if tree in owners:
        size = sum(entry.size for entry in near(tree) or ())
        found.share(tree, top_of(tree)._replace(size=size))
        return _looked_up(found, near)
    waiting = deque([(tree, tuple((base, base) for base in bases))])
    while waiting:
        at, beside = waiting.popleft()
        if at in found.trees:
            continue
        found.trees[at] = None
        files: dict[bytes, bytes] = {}
        inner: dict[str, tuple[tuple[bytes, bytes], ...]] = {}
        for base, other in beside:
            for entry in near(other) or ():
                if entry.kind is EntryKind.TREE:
                    owners.setdefault(entry.id, base)
                    inner[entry.name] = (*inner.get(entry.name, ()), (base, entry.id))
                else:
                    files.setdefault(entry.id, base)
        for entry in read(at):
            is_tree = entry.kind is EntryKind.TREE
            owner = (owners if is_tree else files).get(entry.id)
            if owner is not None:
                found.share(owner, entry)
            elif is_tree:
                waiting.append((entry.id, inner.get(entry.name, ())))
            else:
                found.files[entry.id] = entry.size
    return _looked_up(found, near)


def _looked_up(found: Difference, near: ReadBase) -> Difference:
    """Move what a base has to what is looked up, where that is little beside what is new."""
    new = len(found.trees) + sum(1 + size // MEAN_CHUNK for size in found.files.values())
    for base, shared in list(found.shared.items()):
        below = _below(shared, near, min(max(FEW, new), MANY))
        if below is not None:
            trees, files = below
            found.trees.update(trees)
            found.files.update(files)
            del found.shared[base]
    return found


def _below(
    shared: Shared, near: ReadBase, most: int
) -> tuple[dict[bytes, None], dict[bytes, int]] | None:
    """Return the trees and files of a shared part; None if they are many, or not at hand."""
    left = most - shared.weight
    trees: dict[bytes, None] = {}
    files: dict[bytes, int] = {}
    waiting = list(shared.entries.values())
    while waiting and left >= 0:
        entry = waiting.pop()
        if entry.kind is not EntryKind.TREE:
            files[entry.id] = entry.size
        elif entry.id not in trees:
            entries = near(entry.id)
            if entries is None:
                return None
            trees[entry.id] = None
            left -= sum(map(weight, entries)) - (weight(entry) - 1)
            waiting += entries
    return (trees, files) if left >= 0 else None
