"""The entries of the index: a map of paths in blocks, of which a reader decodes what it needs.

Rows are in the order of trees: directory by directory, each before those in it. A directory has a
row in the one above it, with the id and size of its tree; a change below clears them, up to the
top (as git's cache-tree does). So what did not change is not encoded or hashed again.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import ItemsView, Iterable, Iterator, Mapping, ValuesView
from heapq import merge
from itertools import groupby, islice
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

from ama.format.objects import EntryKind
from ama.worktree.blocks import (
    NOTHING,
    Block,
    Part,
    Parts,
    Row,
    Stats,
    decode_block,
    key_of,
    make_block,
    path_of,
)

MOST_ROWS = 4096
"""The most rows of a block."""

FEW_ROWS = 512
"""Blocks with fewer are joined with a neighbour when either changes."""

WINDOW = 20_000
"""The rows that are changed at once: what a change of very many holds in memory."""


class IndexEntry(NamedTuple):
    """One path. It is a tuple, because there may be millions; times are nanoseconds, sizes bytes.

    `stored` says that the local packs have the content (else it is staged by reference, or a
    remote promises it), `skipped` that a partial worktree does not have the file here.
    """

    path: str
    kind: EntryKind
    id: bytes
    size: int
    mtime: int
    ctime: int
    inode: int
    stored: bool
    skipped: bool


class Reader(Protocol):
    """A source of decoded blocks."""

    def read(self, block: Block) -> Parts:
        """Return a block, decoded."""


class _InMemory:
    def read(self, block: Block) -> Parts:
        assert block.data is not None
        return decode_block(block.data)


Difference = tuple[str, IndexEntry | None, IndexEntry | None]
"""A path with its entries in two indexes."""

_Placed = tuple[tuple[str, str], Row]
"""A row with the key of its directory and its name."""


class Entries(Mapping[str, IndexEntry]):
    """The entries of an index, by path. It never changes: `changed` returns another one.

    Args:
        blocks: The blocks, in order.
        reader: The source of their content.
        tree: The id of the tree of all of it, if it is known.

    Example:
        >>> file = IndexEntry("a/b", EntryKind.FILE, bytes(32), 5, 0, 0, 0, True, False)
        >>> entries = Entries.of([file])
        >>> len(entries), entries["a/b"].size, list(entries.changed([], ["a/b"]))
        (1, 5, [])
    """

    def __init__(
        self,
        blocks: tuple[Block, ...] = (),
        reader: Reader = _InMemory(),
        tree: bytes | None = None,
    ) -> None:
        self.blocks = blocks
        self.reader = reader
        self.tree = tree
        self._starts = [(block.directory, block.name) for block in blocks]

    @classmethod
    def of(cls, entries: Iterable[IndexEntry]) -> Entries:
        """Return some entries, in any order."""
        return cls().changed(entries)

    # One path

    def __getitem__(self, path: str) -> IndexEntry:
        found = self.entry(path)
        if found is None:
            raise KeyError(path)
        return found

    def entry(self, path: str) -> IndexEntry | None:
        """Return the entry at a path, or None: without the cost of an exception, as `get` has."""
        row = self.row(path)
        return None if row is None or row.kind is EntryKind.TREE else IndexEntry(path, *row)

    def __contains__(self, path: object) -> bool:
        row = self.row(path) if isinstance(path, str) else None
        return row is not None and row.kind is not EntryKind.TREE

    def row(self, path: str) -> Row | None:
        """Return the row at a path, of a file or a directory; None if there is none."""
        if not self.blocks:
            return None
        directory, _, name = path.rpartition("/")
        key = key_of(directory)
        at = bisect_right(self._starts, (key, name)) - 1
        part = self.reader.read(self.blocks[at]).get(key) if at >= 0 else None
        if part is None:
            return None
        place = bisect_left(part.names, name)
        found = place < len(part.names) and part.names[place] == name
        return part.row(place) if found else None

    def has_directory(self, path: str) -> bool:
        """Whether something is staged below a directory; the root always counts."""
        row = self.row(path) if path else None
        return not path or (row is not None and row.kind is EntryKind.TREE)

    # Directories

    def parts(self, directory: str) -> Iterator[Part]:
        """Yield the names in a directory with their rows, block by block."""
        key = key_of(directory)
        first = max(bisect_right(self._starts, (key, "")) - 1, 0)
        for block in self.blocks[first:]:
            if block.directory > key:
                return
            part = self.reader.read(block).get(key)
            if part is not None:
                yield part

    def rows(self, directory: str) -> Iterator[tuple[str, Row]]:
        """Yield each name in a directory with its row, in order."""
        for part in self.parts(directory):
            yield from part.rows()

    def stats(self, directory: str) -> dict[str, Stats]:
        """Return the stat data of each name in a directory."""
        found: dict[str, Stats] = {}
        for part in self.parts(directory):
            found.update(part.stat_data())
        return found

    def below(self, directory: str) -> Iterator[IndexEntry]:
        """Yield the files below a directory, directory by directory."""
        low, high = _range_below(key_of(directory))
        first = max(bisect_right(self._starts, (low, "")) - 1, 0)
        for block in self.blocks[first:] if directory else self.blocks:
            if directory and block.directory >= high:
                return
            for key, part in self.reader.read(block).items():
                if not directory or low <= key < high:
                    yield from _entries(key, part)

    def under(self, path: str) -> Iterator[IndexEntry]:
        """Yield the file at a path, or the files below it; "" stands for all."""
        row = self.row(path) if path else None
        if row is not None and row.kind is not EntryKind.TREE:
            yield IndexEntry(path, *row)
        elif row is not None or not path:
            yield from self.below(path)

    # All of them

    def __iter__(self) -> Iterator[str]:
        return (entry[0] for entry in self.below(""))

    def values(self) -> ValuesView[IndexEntry]:
        """Return all entries; each block is decoded when its turn comes."""
        return _Values(self)

    def items(self) -> ItemsView[str, IndexEntry]:
        """Return all paths with their entries."""
        return _Items(self)

    def unstored(self) -> Iterator[IndexEntry]:
        """Yield the files that are neither stored here nor skipped; other blocks aren't read."""
        for block in self.blocks:
            for key, part in self.reader.read(block).items() if block.unstored else ():
                yield from (e for e in _entries(key, part) if not (e.stored or e.skipped))

    def __len__(self) -> int:
        return sum(block.files for block in self.blocks)

    @property
    def size(self) -> int:
        """Return the bytes of all files."""
        return sum(block.size for block in self.blocks)

    @property
    def skipped(self) -> int:
        """Return the number of files that a partial worktree does not have."""
        return sum(block.skipped for block in self.blocks)

    @property
    def text(self) -> int:
        """Return the number of characters in all paths."""
        return sum(block.text for block in self.blocks)

    # Two of them

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Entries):
            return isinstance(other, Mapping) and dict(self.items()) == dict(other.items())
        return len(self) == len(other) and next(self.difference(other), None) is None

    __hash__ = None  # type: ignore[assignment]

    def difference(self, other: Entries) -> Iterator[Difference]:
        """Yield the files that others have differently, with their entries here and there.

        Blocks that both have are not read.
        """
        shared = {block.id for block in self.blocks} & {block.id for block in other.blocks}
        sides = [_on_side(n, each.placed(shared)) for n, each in enumerate((self, other))]
        for (key, name), group in groupby(merge(*sides, key=itemgetter(0, 1)), itemgetter(0)):
            found: list[Row | None] = [None, None]
            for _, side, row in group:
                found[side] = row if row.kind is not EntryKind.TREE else None
            here, there = found
            if here != there:
                path = f"{path_of(key)}/{name}" if key else name
                yield path, here and IndexEntry(path, *here), there and IndexEntry(path, *there)

    def placed(self, but: frozenset[bytes] | set[bytes] = frozenset()) -> Iterator[_Placed]:
        """Yield each row, of files and directories, in order; of all blocks but some."""
        for block in self.blocks:
            for key, part in self.reader.read(block).items() if block.id not in but else ():
                yield from (((key, name), row) for name, row in part.rows())

    # Changes

    def changed(self, entries: Iterable[IndexEntry] = (), removed: Iterable[str] = ()) -> Entries:
        """Return these entries with some set, and some paths removed before.

        A file replaces everything below a directory of its name, and the reverse.
        """
        found = self
        for paths in _windows(removed):
            found = _Change(found).remove(paths)
        for window in _windows(entries):
            found = _Change(found).set(window)
        return found

    def with_trees(self, trees: Iterable[tuple[str, bytes, int]], tree: bytes) -> Entries:
        """Return these entries with the ids and sizes of the trees of some directories.

        Args:
            trees: Directories, each with the id of its tree and the bytes below it.
            tree: The id of the tree of all of it.
        """
        found = self
        for window in _windows(trees):
            found = _Change(found).know(window)
        return Entries(found.blocks, found.reader, tree)


class _Values(ValuesView[IndexEntry]):
    def __init__(self, entries: Entries) -> None:
        super().__init__(entries)
        self._entries = entries

    def __iter__(self) -> Iterator[IndexEntry]:
        return self._entries.below("")


class _Items(ItemsView[str, IndexEntry]):
    def __init__(self, entries: Entries) -> None:
        super().__init__(entries)
        self._entries = entries

    def __iter__(self) -> Iterator[tuple[str, IndexEntry]]:
        return ((entry[0], entry) for entry in self._entries.below(""))


def _entries(key: str, part: Part) -> Iterator[IndexEntry]:
    prefix = f"{path_of(key)}/" if key else ""
    make = tuple.__new__
    for name, row in part.rows():
        if row[0] is not EntryKind.TREE:
            yield make(IndexEntry, (prefix + name, *row))


def _on_side(side: int, rows: Iterable[_Placed]) -> Iterator[tuple[tuple[str, str], int, Row]]:
    return ((place, side, row) for place, row in rows)


def _range_below(key: str) -> tuple[str, str]:
    """Return the first key of a directory and those below it, and the first one beyond."""
    return key, key + "\1"


def _windows(items: Iterable[Any]) -> Iterator[list[Any]]:
    source = iter(items)
    while window := list(islice(source, WINDOW)):
        yield window


class _Change:
    """One change of entries: the blocks that it touches are opened, and made again."""

    def __init__(self, entries: Entries) -> None:
        self._blocks = entries.blocks
        self._reader = entries.reader
        self._starts = entries._starts or [("", "")]
        self._tree = entries.tree
        self._open: dict[int, dict[str, dict[str, Row]]] = {} if entries.blocks else {0: {}}

    def remove(self, paths: Iterable[str]) -> Entries:
        """Remove files, and the directories that this leaves empty."""
        for path in paths:
            key, name = _place_of(path)
            row = self._get(key, name)
            if row is not None and row.kind is not EntryKind.TREE:
                del self._names(key, name)[name]
                self._shrink(key)
        return self._made()

    def set(self, entries: Iterable[IndexEntry]) -> Entries:
        """Set files."""
        for entry in entries:
            key, name = _place_of(entry[0])
            names = self._names(key, name)
            before, row = names.get(name), Row(*entry[1:])
            if before is not None and before.kind is EntryKind.TREE:
                self._drop_below(f"{key}\0{name}" if key else name)
            names[name] = row
            if before is None or before[:3] != row[:3]:
                self._touch(key)
        return self._made()

    def know(self, trees: Iterable[tuple[str, bytes, int]]) -> Entries:
        """Set the ids and sizes of directories."""
        for path, tree, size in trees:
            key, name = _place_of(path)
            self._names(key, name)[name] = Row(EntryKind.TREE, tree, size)
        return self._made()

    def _touch(self, key: str) -> None:
        """Clear the ids of the trees that hold a directory; give each directory its row."""
        self._tree = None
        while key:
            above, _, name = key.rpartition("\0")
            names = self._names(above, name)
            row = names.get(name)
            if row is not None and row.kind is EntryKind.TREE and row.id == NOTHING:
                return
            names[name] = Row(EntryKind.TREE, NOTHING, 0)
            key = above

    def _shrink(self, key: str) -> None:
        """Remove a directory's row if nothing is left in it, and so on upwards."""
        while key and not self._has_names(key):
            above, _, name = key.rpartition("\0")
            del self._names(above, name)[name]
            key = above
        self._touch(key)
        self._tree = None

    # Blocks

    def _index(self, key: str, name: str) -> int:
        return max(bisect_right(self._starts, (key, name)) - 1, 0)

    def _opened(self, at: int) -> dict[str, dict[str, Row]]:
        if at not in self._open:
            parts = self._read(at)
            self._open[at] = {key: dict(part.rows()) for key, part in parts.items()}
        return self._open[at]

    def _names(self, key: str, name: str) -> dict[str, Row]:
        """Return the rows of the block and the directory in which a name belongs, to be changed."""
        return self._opened(self._index(key, name)).setdefault(key, {})

    def _get(self, key: str, name: str) -> Row | None:
        at = self._index(key, name)
        if at in self._open:
            return self._open[at].get(key, {}).get(name)
        part = self._read(at).get(key)
        place = bisect_left(part.names, name) if part else 0
        return part.row(place) if part and part.names[place : place + 1] == (name,) else None

    def _has_names(self, key: str) -> bool:
        for at in self._blocks_in(key, key + "\0"):
            if self._open[at].get(key) if at in self._open else key in self._read(at):
                return True
        return False

    def _read(self, at: int) -> Parts:
        return self._reader.read(self._blocks[at])

    def _blocks_in(self, low: str, high: str) -> range:
        """Return the places of the blocks that may have directories from `low` up to `high`."""
        return range(self._index(low, ""), max(bisect_left(self._starts, (high, "")), 1))

    def _drop_below(self, key: str) -> None:
        low, high = _range_below(key)
        for at in self._blocks_in(low, high):
            opened = self._opened(at)
            for each in [each for each in opened if low <= each < high]:
                del opened[each]

    def _made(self) -> Entries:
        made: list[Block] = []
        for is_open, run in groupby(self._runs(), lambda at: at in self._open):
            if not is_open:
                made += (self._blocks[at] for at in run)
                continue
            rows: list[_Placed] = []
            for at in run:
                opened = self._open.pop(at)
                rows += (
                    ((key, name), names[name])
                    for key in sorted(opened)
                    for names in (opened[key],)
                    for name in sorted(names)
                )
            made += map(_block, _cut(rows))
        return Entries(tuple(made), self._reader, self._tree)

    def _runs(self) -> Iterable[int]:
        """Open neighbours of what has become small, and return the places of all blocks."""
        last = max(len(self._blocks), 1) - 1
        for at in sorted(self._open):
            if sum(map(len, self._open[at].values())) < FEW_ROWS:
                near = [each for each in (at - 1, at + 1) if 0 <= each <= last]
                if near and not any(each in self._open for each in near):
                    self._opened(near[0])
        return range(last + 1)


def _place_of(path: str) -> tuple[str, str]:
    directory, _, name = path.rpartition("/")
    return key_of(directory), name


def _cut(rows: list[_Placed]) -> Iterator[list[_Placed]]:
    """Yield the rows of one block after another: alike in size, cut between directories if any."""
    start, left = 0, -(-len(rows) // MOST_ROWS)
    while left > 1:
        even = start + -(-(len(rows) - start) // left)
        ends = range(even, even - MOST_ROWS // 4, -1)
        end = next((at for at in ends if rows[at][0][0] != rows[at - 1][0][0]), even)
        yield rows[start:end]
        start = end
        left = -(-(len(rows) - start) // MOST_ROWS)
    if rows[start:]:
        yield rows[start:]


def _block(rows: list[_Placed]) -> Block:
    return make_block(
        (key, ((name, row) for (_, name), row in group))
        for key, group in groupby(rows, lambda placed: placed[0][0])
    )
