"""The index, or staging area: the files of the next asset, with a stat cache of the worktree.

It also keeps the notes of `set` and `link`. They are bound to the HEAD at that time: once HEAD has
moved on (a commit used them), they no longer count, so that a crash between the two writes can't
use them twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgpack

from ama.errors import FormatError, Hint, IntegrityError, shown
from ama.format.objects import EntryKind, RefLink
from ama.values import Scalar
from ama.worktree.blocks import DIRECTORY as BLOCKS
from ama.worktree.blocks import Block, BlockFiles
from ama.worktree.entries import WINDOW, Entries, IndexEntry, Reader
from ama.worktree.generations import Generations
from ama.worktree.head import Head, HeadFile

FINE_STEP = 50_000_000
COARSE_STEP = 2_000_000_000
COARSE_TIME = 10_000_000
"""A time that is a multiple of so many nanoseconds likely comes from a coarse file system."""

VERSION = 2
NAME = "index"
READ_S = 6 * 60 * 60
"""The seconds for which a block that no root names any more may still be read."""

MOST_DROPPED = 1024
READ_AT_LEAST_S = 10 * 60
"""The seconds for which more such blocks than that stay: a pipeline may stage a file a second."""

RACY = -1
"""The modification time of an entry whose file must be read again to be known as unchanged."""


@dataclass(frozen=True, slots=True)
class Notes:
    """The notes of `set` and `link` for the next asset."""

    aliases: tuple[str, ...] = ()
    message: str | None = None
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    refs: tuple[RefLink, ...] = ()

    def __eq__(self, other: object) -> bool:
        # Not as a dataclass does: after two reads there are two NaNs, which differ for Python.
        if not isinstance(other, Notes):
            return NotImplemented
        mine, others = self.metadata, other.metadata
        return (
            (self.aliases, self.message, self.refs) == (other.aliases, other.message, other.refs)
            and mine.keys() == others.keys()
            and all(is_same(value, others[key]) for key, value in mine.items())
        )

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        return bool(self.aliases or self.message is not None or self.metadata or self.refs)

    def without(self, used: Notes) -> Notes:
        """Return the notes that others don't have, or have differently."""
        metadata = {
            key: value
            for key, value in self.metadata.items()
            if key not in used.metadata or not is_same(used.metadata[key], value)
        }
        return Notes(
            tuple(alias for alias in self.aliases if alias not in used.aliases),
            None if self.message == used.message else self.message,
            metadata,
            tuple(ref for ref in self.refs if ref not in used.refs),
        )


def is_same(one: Scalar | None, other: Scalar) -> bool:
    """Whether two metadata values are equal: 1 is not True, and NaN equals itself.

    Example:
        >>> is_same(float("nan"), float("nan")), is_same(1, True)
        (True, False)
    """
    return type(one) is type(other) and (one == other or (one != one and other != other))


@dataclass(frozen=True, slots=True)
class Index:
    """The staging area.

    `include` and `exclude` are a partial worktree's patterns. `tree_of` is an asset with exactly
    these files, if one is known: it spares a comparison, and any change drops it.
    """

    entries: Entries = field(default_factory=Entries)
    notes: Notes = Notes()
    noted_on: tuple[str, bytes | None] = ("", None)
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    metadata_only: bool = False
    tree_of: bytes | None = None
    written_at: int = 0

    def notes_for(self, head: Head) -> Notes:
        """Return the notes for this HEAD; none, if they were made at another."""
        return self.notes if self.noted_on == (head.class_name, head.asset) else Notes()

    def with_notes(self, head: Head, notes: Notes) -> Index:
        """Return the index with these notes, for this HEAD."""
        return replace(self, notes=notes, noted_on=(head.class_name, head.asset))

    def carried_over(self, used: Notes, head: Head, moved: Head) -> Index:
        """Return the index after notes have taken effect, and HEAD has moved with them.

        Notes made meanwhile are for the next asset: they are bound to the new HEAD.
        """
        if not self.notes_for(head):
            return self
        return self.with_notes(moved, self.notes.without(used))

    def with_entries(self, changed: Iterable[IndexEntry], removed: Iterable[str] = ()) -> Index:
        """Return the index with some entries set and some paths removed.

        A file replaces everything below a directory of its name, and the reverse.
        """
        entries = self.entries.changed(changed, removed)
        return self if entries is self.entries else replace(self, entries=entries, tree_of=None)

    def followed(self, before: Entries, after: Entries) -> Index:
        """Return the index with the changes from some entries to others.

        Args:
            before: What somebody changed; the index may have more changes since.
            after: What they made of it.
        """
        if after is before:
            return self
        if self.entries.blocks == before.blocks:
            return replace(self, entries=after, tree_of=None)
        removed = (path for path, new, _ in after.difference(before) if new is None)
        changed = (new for _, new, _ in after.difference(before) if new is not None)
        return self.with_entries(changed, removed)

    def known_as(self, asset: bytes, entries: Entries) -> Index:
        """Return the index with `asset` as `tree_of`, if it still has these files.

        Args:
            asset: The asset.
            entries: Its files, with the trees that they make.
        """
        is_known = self.tree_of == asset and self.entries.tree == entries.tree
        return (
            self
            if is_known or self.entries != entries
            else replace(self, tree_of=asset, entries=entries)
        )


def fields_of(notes: Notes) -> tuple[object, ...]:
    """Return notes in the form for encoding.

    Example:
        >>> notes_of(fields_of(Notes(message="wider"))).message
        'wider'
    """
    refs = [(ref.asset, ref.class_name, ref.label) for ref in notes.refs]
    return (notes.aliases, notes.message, dict(notes.metadata), refs)


def notes_of(fields: Iterable[Any]) -> Notes:
    """Return notes from their encoded form.

    Raises:
        ValueError, TypeError: The form is wrong.
    """
    aliases, message, metadata, refs = fields
    return Notes(tuple(aliases), message, metadata, tuple(RefLink(*ref) for ref in refs))


@dataclass(frozen=True, slots=True)
class IndexRoot:
    """A generation of the index: what names its blocks, and those that older ones named."""

    index: Index
    dropped: tuple[tuple[bytes, int], ...] = ()
    """Blocks that no root names any more, and since when, in seconds: others may be reading them.
    """

    def followed_by(
        self, index: Index, now: int, also: Iterable[Block] = ()
    ) -> tuple[IndexRoot, list[bytes]]:
        """Return the next generation, and the blocks that nobody reads any more.

        Args:
            index: The index of the next generation.
            now: The time in seconds.
            also: Blocks that no root may have named, and that are read nevertheless.
        """
        listed = {block.id for block in index.entries.blocks}
        # A time that is to come is of a clock that was ahead, and says nothing: they begin anew.
        known = [(block, min(at, now)) for block, at in self.dropped]
        fresh = [(block.id, now) for block in (*self.index.entries.blocks, *also)]
        dropped = {block: at for block, at in (*fresh, *known) if block not in listed}
        newest_first = sorted(dropped.items(), key=itemgetter(1), reverse=True)
        kept = tuple(
            (block, at)
            for place, (block, at) in enumerate(newest_first)
            if at > now - (READ_S if place < MOST_DROPPED else READ_AT_LEAST_S)
        )
        gone = [block for block, _ in newest_first[len(kept) :]]
        return IndexRoot(index, kept), gone


def encode_index(root: IndexRoot) -> bytes:
    """Return the bytes of a root: its blocks must be in files."""
    index = root.index
    packed: bytes = msgpack.packb(
        (
            VERSION,
            fields_of(index.notes),
            index.noted_on,
            (index.include, index.exclude, index.metadata_only, index.tree_of),
            index.entries.tree,
            [
                (b.directory, b.name, b.id, b.files, b.size, b.skipped, b.unstored, b.text)
                for b in index.entries.blocks
            ],
            root.dropped,
        ),
        use_bin_type=True,
    )
    return packed


_KINDS = {int(kind): kind for kind in EntryKind}


def decode_index(data: bytes, reader: Reader, written_at: int = 0) -> IndexRoot:
    """Decode a root, or an index of version 1, which has all entries in it.

    Args:
        data: The bytes, with a verified checksum.
        reader: The source of its blocks.
        written_at: The index file's own modification time in nanoseconds.

    Raises:
        IntegrityError: The bytes are damaged.
        FormatError: A newer version of ama has written them.
    """
    try:
        value = msgpack.unpackb(data, raw=False, use_list=False)
        if value[0] > VERSION:
            raise FormatError("the index is of a newer version of ama: upgrade ama to use it")
        dropped: tuple[tuple[bytes, int], ...] = ()
        if value[0] == 1:
            _, noted, noted_on, partial, rows = value
            entries = Entries(reader=reader).changed(map(_entry_of_version_1, rows))
        else:
            _, noted, noted_on, partial, tree, blocks, dropped = value
            entries = Entries(tuple(Block(*fields) for fields in blocks), reader, tree)
        notes = notes_of(noted)
        include, exclude, metadata_only, tree_of = partial
        index = Index(
            entries, notes, noted_on, include, exclude, metadata_only, tree_of, written_at
        )
        return IndexRoot(index, dropped)
    except (ValueError, TypeError, LookupError, msgpack.UnpackException) as error:
        raise IntegrityError(f"the index is damaged: {error}") from error


def _entry_of_version_1(row: tuple[Any, ...]) -> IndexEntry:
    path, kind, *rest = row
    return IndexEntry(path, _KINDS[kind], *rest)


class IndexFile:
    """The index in a worktree's control directory; several commands may change it at once.

    A small root, numbered as `Generations` says, names the blocks that hold the entries. A command
    reads the blocks that it needs, and a change writes the blocks that it touches.

    Args:
        control: The `.ama` directory.
    """

    def __init__(self, control: Path) -> None:
        self._file = Generations(control, NAME)
        self._control = control
        self.blocks = BlockFiles(control / BLOCKS)

    def read(self, *, anew: bool = False) -> Index:
        """Return the index; an empty one if there is no worktree yet.

        Args:
            anew: Whether to return it without entries if they, or all of it, can't be read.

        Raises:
            IntegrityError: It is damaged, or missing beside a HEAD.
        """
        found = self._file.read()
        if found is None:
            self._require_new(anew)
            return Index(Entries(reader=self.blocks))
        status = self._file.stat(found[0])
        root = decode_index(found[1], self.blocks, status.st_mtime_ns if status else 0)
        return self._readable(root.index) if anew else root.index

    def is_lost(self) -> bool:
        """Whether there is none at all, so that nobody knows which files a worktree leaves out."""
        return not self._file.generation()

    def update(
        self,
        change: Callable[[Index], Index],
        *,
        anew: bool = False,
        still_read: Entries | None = None,
    ) -> Index:
        """Change the index; `change` is called again after a lost race.

        If it returns the very same index, nothing is written.

        Args:
            change: A function that returns the new index.
            anew: See `read`.
            still_read: Kept entries that the caller goes on to read, also if they lose the race.
        """
        also = still_read.blocks if still_read is not None else ()
        gone: list[bytes] = []
        following = IndexRoot(Index())

        def changed(data: bytes | None) -> bytes:
            nonlocal gone, following
            if data is None:
                self._require_new(anew)
                root = IndexRoot(Index(Entries(reader=self.blocks)))
            else:
                root = decode_index(data, self.blocks)
            new = change(self._readable(root.index) if anew else root.index)
            if new is root.index and data is not None:
                following, gone = root, []
                return data
            new = replace(new, entries=self.keep(new.entries))
            self.blocks.require_kept(new.entries.blocks)
            following, gone = root.followed_by(new, int(time.time()), also)
            return encode_index(following)

        self._file.update(changed)
        listed = {block.id for block in following.index.entries.blocks}
        self.blocks.settle(listed | {block for block, _ in following.dropped}, gone)
        return following.index

    def keep(self, entries: Entries) -> Entries:
        """Return entries whose blocks are all in files: they count once `update` names them."""
        return Entries(self.blocks.keep(entries.blocks), self.blocks, entries.tree)

    def build(self, before: Entries, entries: Iterable[IndexEntry]) -> Entries:
        """Return `before` with more entries, however many, in blocks as `keep` makes them.

        Args:
            before: The entries to begin with.
            entries: The entries to set, best directory by directory.
        """
        source = iter(entries)
        while window := tuple(islice(source, WINDOW)):
            before = self.keep(before.changed(window))
        return before

    def _readable(self, index: Index) -> Index:
        """Return an index, without entries if some can't be read; all else of it stays."""
        try:
            for block in index.entries.blocks:
                self.blocks.read(block)
        except IntegrityError:
            return replace(index, entries=Entries(reader=self.blocks), tree_of=None)
        return index

    def _require_new(self, anew: bool) -> None:
        """Check that there was no index before: `init` and `download` write it before HEAD."""
        if not anew and HeadFile(self._control).exists():
            raise IntegrityError(
                f"the index is missing in {shown(self._control)}, and with it what was staged",
                hint=Hint("begin-from-head"),
            )


def is_settled(changed_at: int, seen_at: int) -> bool:
    """Whether a change after `seen_at` gets another time than one at `changed_at`, in nanoseconds.

    Some file systems have times in steps of 10 milliseconds, of one or of two seconds.

    Example:
        >>> is_settled(1_000_000_001, 1_060_000_001), is_settled(1_000_000_000, 1_060_000_000)
        (True, False)
    """
    return seen_at - changed_at >= _step(changed_at)


def settles_in(changed_at: int, now: int) -> int:
    """Return for how many nanoseconds another change may get the same time; see `is_settled`.

    A time ahead of this machine's clock is a server's, and counts as now.

    Example:
        >>> settles_in(1_000_000_001, 1_010_000_001), settles_in(1_000_000_001, 2_000_000_000)
        (40000000, 0)
    """
    return max(_step(changed_at) - max(now - changed_at, 0), 0)


def _step(changed_at: int) -> int:
    return COARSE_STEP if changed_at % COARSE_TIME == 0 else FINE_STEP
