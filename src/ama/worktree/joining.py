"""The tree of what an asset has and what is added to it: only directories that differ are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ama.errors import Hint, InvalidInput, NotFound, shown
from ama.format.hashing import tree_id
from ama.format.names import nearest, twins
from ama.format.objects import EntryKind, TreeEntry, encode_tree
from ama.worktree.trees import ReadTree

_TREE = EntryKind.TREE


@dataclass(frozen=True, slots=True)
class Joining:
    """How trees are read and kept.

    Attributes:
        read: A function that returns the entries of a tree.
        keep: A function that keeps a tree by its id.
        portable: Whether to refuse names that are one on some systems.
    """

    read: ReadTree
    keep: Callable[[bytes, bytes], None]
    portable: bool

    def joined(self, old: bytes, new: bytes, directory: str = "") -> TreeEntry:
        """Return the tree with the entries of two; a file of the new one takes the old one's place.

        Args:
            old: The id of a tree.
            new: The id of another.
            directory: Their path, for errors.

        Raises:
            InvalidInput: A path is a file in one and a directory in the other, or two names are one
                on some systems.
        """
        entries = {entry.name: entry for entry in self.read(old)}
        for entry in self.read(new):
            path = f"{directory}/{entry.name}" if directory else entry.name
            before = entries.get(entry.name)
            if before is not None and (before.kind is _TREE) != (entry.kind is _TREE):
                raise InvalidInput(
                    f"{shown(path)} is a {_name(before)} in the asset, and a {_name(entry)} is"
                    " given"
                )
            if before is not None and entry.kind is _TREE:
                inner = self.joined(before.id, entry.id, path)
                entry = TreeEntry(entry.name, _TREE, inner.id, inner.size)
            entries[entry.name] = entry
        if self.portable and (found := twins(dict.fromkeys(entries))) is not None:
            one, other = (shown(f"{directory}/{name}".lstrip("/")) for name in found)
            raise InvalidInput(
                f"'{one}' and '{other}' are one name on some systems",
                hint=Hint("rename-one-or-allow"),
            )
        return self._kept([*entries.values()])

    def without(self, tree: bytes, path: Sequence[str], above: int = 0) -> TreeEntry:
        """Return a tree without what is at a path; a directory that is empty then is gone, too.

        Args:
            tree: The id of the tree.
            path: The names on the way.
            above: How many of them lead to the tree.

        Raises:
            NotFound: There is nothing.
        """
        entries = {entry.name: entry for entry in self.read(tree)}
        found = entries.pop(path[above], None)
        is_last = above + 1 == len(path)
        if found is None or not (is_last or found.kind is _TREE):
            near = nearest(path[above], entries)
            names = tuple("/".join((*path[:above], each)) for each in near)
            hint = Hint("did-you-mean", names=names) if names else None
            raise NotFound(f"the asset has no {shown('/'.join(path))}", hint=hint)
        if not is_last:
            left = self.without(found.id, path, above + 1)
            if self.read(left.id):
                entries[found.name] = TreeEntry(found.name, _TREE, left.id, left.size)
        return self._kept([*entries.values()])

    def _kept(self, entries: list[TreeEntry]) -> TreeEntry:
        data = encode_tree(entries)
        self.keep(tree_id(data), data)
        return TreeEntry("", _TREE, tree_id(data), sum(entry.size for entry in entries))


def _name(entry: TreeEntry) -> str:
    return "directory" if entry.kind is _TREE else "file"
