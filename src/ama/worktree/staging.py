"""The index, or staging area: the files of the next asset, with a stat cache of the worktree.

It also keeps the notes of `set` and `link`. They are bound to the HEAD at that time: once HEAD has
moved on (a commit used them), they no longer count, so that a crash between the two writes can't
use them twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import msgpack

from ama.errors import FormatError, Hint, IntegrityError, shown
from ama.format.objects import EntryKind, RefLink
from ama.values import Scalar
from ama.worktree.generations import Generations
from ama.worktree.head import Head, HeadFile

FINE_STEP = 50_000_000
COARSE_STEP = 2_000_000_000
COARSE_TIME = 10_000_000
"""A time that is a multiple of so many nanoseconds likely comes from a coarse file system."""

VERSION = 1
NAME = "index"
RACY = -1
"""The modification time of an entry whose file must be read again to be known as unchanged."""


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

    entries: Mapping[str, IndexEntry] = field(default_factory=dict)
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
        changed, removed = tuple(changed), tuple(removed)
        if not changed and not removed:
            return self
        entries = dict(self.entries)
        for path in removed:
            entries.pop(path, None)
        added = {entry.path: entry for entry in changed}
        parents = {parent for path in added for parent in _parents(path)}
        shadowed = [path for path in parents if path in entries and path not in added]
        for path in shadowed:
            del entries[path]
        fresh = [path for path in added if path not in entries]
        if fresh and len(entries) > 0:
            gone = set(fresh)
            below = [path for path in entries if any(up in gone for up in _parents(path))]
            for path in below:
                del entries[path]
        entries.update(added)
        return replace(self, entries=entries, tree_of=None)

    def known_as(self, asset: bytes, entries: Mapping[str, IndexEntry]) -> Index:
        """Return the index with `asset` as `tree_of`, if it still has these files."""
        return replace(self, tree_of=asset) if self.entries == entries else self


def _parents(path: str) -> Iterable[str]:
    at = path.find("/")
    while at >= 0:
        yield path[:at]
        at = path.find("/", at + 1)


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


def encode_index(index: Index) -> bytes:
    """Return the index's bytes.

    Example:
        >>> decode_index(encode_index(Index())).entries
        {}
    """
    packed: bytes = msgpack.packb(
        (
            VERSION,
            fields_of(index.notes),
            index.noted_on,
            (index.include, index.exclude, index.metadata_only, index.tree_of),
            list(index.entries.values()),
        ),
        use_bin_type=True,
    )
    return packed


_KINDS = {int(kind): kind for kind in EntryKind}


def decode_index(data: bytes, written_at: int = 0) -> Index:
    """Decode the index.

    Args:
        data: The bytes, with a verified checksum.
        written_at: The index file's own modification time in nanoseconds.

    Raises:
        IntegrityError: The bytes are damaged.
        FormatError: A newer version of ama has written them.
    """
    try:
        value = msgpack.unpackb(data, raw=False, use_list=False)
        if value[0] > VERSION:
            raise FormatError("the index is of a newer version of ama: upgrade ama to use it")
        _, noted, noted_on, partial, rows = value
        notes = notes_of(noted)
        # There may be 100,000 rows, and a named tuple's own constructor takes twice as long.
        make = tuple.__new__
        entries = {
            path: make(IndexEntry, (path, _KINDS[kind], i, size, m, c, inode, stored, skipped))
            for path, kind, i, size, m, c, inode, stored, skipped in rows
        }
        include, exclude, metadata_only, tree_of = partial
        return Index(entries, notes, noted_on, include, exclude, metadata_only, tree_of, written_at)
    except (ValueError, TypeError, LookupError, msgpack.UnpackException) as error:
        raise IntegrityError(f"the index is damaged: {error}") from error


class IndexFile:
    """The index in a worktree's control directory; several commands may change it at once.

    Args:
        control: The `.ama` directory.
    """

    def __init__(self, control: Path) -> None:
        self._file = Generations(control, NAME)
        self._control = control

    def read(self, *, anew: bool = False) -> Index:
        """Return the index; an empty one if there is no worktree yet.

        Args:
            anew: Whether to return an empty one also if it is lost.

        Raises:
            IntegrityError: It is damaged, or missing beside a HEAD.
        """
        found = self._file.read()
        if found is None:
            self._require_new(anew)
            return Index()
        status = self._file.stat(found[0])
        return decode_index(found[1], status.st_mtime_ns if status else 0)

    def update(self, change: Callable[[Index], Index], *, anew: bool = False) -> Index:
        """Change the index; `change` is called again after a lost race.

        If it returns the very same index, nothing is written.

        Args:
            change: A function that returns the new index.
            anew: See `read`.
        """

        def changed(data: bytes | None) -> bytes:
            if data is None:
                self._require_new(anew)
            index = Index() if data is None else decode_index(data)
            new = change(index)
            return data if new is index and data is not None else encode_index(new)

        return decode_index(self._file.update(changed))

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
    step = COARSE_STEP if changed_at % COARSE_TIME == 0 else FINE_STEP
    return seen_at - changed_at >= step
