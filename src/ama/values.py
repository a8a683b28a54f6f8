"""Values that ama's public calls return: frozen, without behaviour of their own.

Ids are shown as 64 hex digits, sizes are bytes, times are timezone-aware UTC datetimes, and
paths inside an asset are POSIX, relative to its root.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from ama.errors import Hint

Scalar = str | int | float | bool
"""A metadata value."""

FileKind = Literal["file", "executable", "symlink"]
ChangeKind = Literal["added", "removed", "modified", "mode"]
AssetStatus = Literal["active", "deprecated", "deleted"]


@dataclass(frozen=True, slots=True)
class File:
    """One file of an asset."""

    path: str
    """The path in the asset."""
    kind: FileKind
    """One of "file", "executable" or "symlink"."""
    id: str
    """The id of the content. For a symlink, that of its target's text."""
    size: int
    """The bytes of the content. For a symlink, those of its target's text."""


@dataclass(frozen=True, slots=True)
class Directory:
    """One directory of an asset."""

    path: str
    """The path in the asset; empty for its root."""
    id: str
    """The id of its tree."""
    size: int
    """The bytes of all files below it."""


@dataclass(frozen=True, slots=True)
class Ref:
    """A link from an asset to one that it was made from, and what became of that one."""

    asset: str
    """The id of the asset that it links to."""
    class_name: str
    """Its class."""
    label: str
    """Its use."""
    number: int | None = None
    """Its number in the store, where it is known."""
    aliases: tuple[str, ...] = ()
    """The aliases that point to it now."""
    status: AssetStatus = "active"
    """Its status now."""

    @property
    def name(self) -> str:
        """`class/number (shortid)`, or the class and the short id where no number is known."""
        return display_name(self.class_name, self.number, self.asset)


@dataclass(frozen=True, slots=True)
class AssetInfo:
    """Everything that ama knows about one asset, except its files."""

    id: str
    """The asset's id."""
    class_name: str
    """Its class."""
    tree: str
    """The id of its tree, which names its files."""
    author: str
    """Its author, as `name <email>`."""
    created_at: datetime
    """When it was made."""
    message: str
    """Why it was made, in its author's words."""
    size: int | None = None
    """The bytes of its files; None where that is not known."""
    number: int | None = None
    """Its number in the store; None: it is not published."""
    aliases: tuple[str, ...] = ()
    """The aliases that point to it now. Empty where the log is damaged: they are not known then."""
    parents: tuple[str, ...] = ()
    """The ids of the versions that it follows."""
    refs: tuple[Ref, ...] = ()
    """The assets that it was made from."""
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    """Its metadata."""
    status: AssetStatus = "active"
    """One of "active", "deprecated" or "deleted"."""
    status_reason: str = ""
    """Why it is deprecated or deleted."""
    run: Mapping[str, str] = field(default_factory=dict)
    """The run that made it, as far as it was recorded: "command" (or "notebook"), "directory",
    "host", "python" and "platform"."""

    @property
    def name(self) -> str:
        """`class/number (shortid)`, or the class and the short id where it has no number."""
        return display_name(self.class_name, self.number, self.id)


@dataclass(frozen=True, slots=True)
class AliasMove:
    """One line of an alias's history."""

    class_name: str
    """The alias's class."""
    alias: str
    """The alias's name."""
    asset: str | None
    """The id of the asset that it was moved to; None: it was removed."""
    number: int | None
    """That asset's number."""
    moved_by: str
    """The author of the move."""
    moved_at: datetime
    """When it was moved."""
    status: AssetStatus = "active"
    """The present status of that asset."""


@dataclass(frozen=True, slots=True)
class ClassInfo:
    """A class of a store."""

    name: str
    """Its name."""
    assets: int
    """How many assets it has."""
    newest: AssetInfo | None
    """Its newest asset; None: it has none."""


@dataclass(frozen=True, slots=True)
class Note:
    """What was said later of an asset, or of a class: one entry of the store's log."""

    class_name: str
    """The class."""
    asset: str | None
    """The id of the asset; None: the note is about the class itself."""
    number: int | None
    """That asset's number."""
    entry: int
    """The number of the entry."""
    author: str
    """Its author, as `name <email>`."""
    at: datetime
    """When it was made."""
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    """The values that it sets."""
    tags: tuple[str, ...] = ()
    """The tags that it adds."""
    removed: tuple[str, ...] = ()
    """The keys whose noted values it takes back."""
    untagged: tuple[str, ...] = ()
    """The tags that it takes away."""
    message: str = ""
    """Its words; of a class the description, in Markdown."""
    file: File | None = None
    """The file that it comes with; its `path` is its name. See `Store.note_file`."""


@dataclass(frozen=True, slots=True)
class Noted:
    """What the notes of an asset, or of a class, add up to."""

    metadata: Mapping[str, Scalar]
    """The newest value under each key."""
    tags: tuple[str, ...]
    """The tags, in order."""
    message: str
    """The newest message; of a class its description, in Markdown."""
    notes: tuple[Note, ...]
    """The notes, oldest first."""


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs."""

    path: str
    """The path in the asset."""
    kind: ChangeKind
    """One of "added", "removed", "modified" or "mode" (only its permissions differ)."""
    old_size: int | None = None
    """The bytes of the old content; None: the path was added."""
    new_size: int | None = None
    """The bytes of the new content; None: the path was removed."""
    old_id: str | None = None
    """The id of the old content; None: the path was added."""
    new_id: str | None = None
    """The id of the new content; None: the path was removed."""


@dataclass(frozen=True, slots=True)
class Status:
    """A worktree against its staging area and its HEAD. No store is asked."""

    root: Path
    """The worktree's directory."""
    class_name: str
    """Its class."""
    head: AssetInfo | None
    """The asset at HEAD, without aliases; None before the first one.

    Its number and status are those of `remote`, as this machine saw it last.
    """
    follows: str | None
    """The alias that `pull` follows."""
    remote: str | None
    """The URL of the remote; None where none is configured."""
    staged: tuple[Change, ...]
    """The changes of the next commit or upload."""
    changed: tuple[Change, ...]
    """The changes in the worktree since `add`."""
    untracked: tuple[str, ...]
    """Paths that were never added; a directory ends in `/`."""
    aliases: tuple[str, ...]
    """The aliases that the next commit or upload sets."""
    message: str | None
    """The message of the next commit or upload."""
    metadata: Mapping[str, Scalar]
    """The metadata of the next commit or upload."""
    refs: tuple[Ref, ...]
    """The refs of the next commit or upload."""
    unpublished: tuple[AssetInfo, ...]
    """The commits that are not published yet, oldest first, each with its waiting aliases."""
    files: int
    """How many files are staged."""
    size: int
    """Their bytes."""
    by_reference: int
    """How many of them are staged by reference."""
    skipped: int
    """How many files a partial worktree leaves out."""
    unreadable: tuple[str, ...] = ()
    """Paths that may not be read here: their content is not known."""
    interrupted: tuple[Hint, ...] = ()
    """Interrupted work, and how to finish it."""
    origin: str | None = None
    """The store that has `head` and gave it its number, if `remote` isn't known to have it."""
    left_behind: int | None = None
    """The number of what the followed alias points to, if `head` is a later version of that."""

    @property
    def clean(self) -> bool:
        """Whether nothing is staged, changed or waiting to be pushed (untracked files aside)."""
        return not (
            self.staged
            or self.changed
            or self.aliases
            or self.message
            or self.metadata
            or self.refs
            or self.unpublished
        )


@dataclass(frozen=True, slots=True)
class Staged:
    """The notes of `set` for the next commit or upload."""

    aliases: tuple[str, ...]
    """The aliases that it sets."""
    message: str | None
    """Its message; None: none is set."""
    metadata: Mapping[str, Scalar]
    """Its metadata."""
    refs: tuple[Ref, ...]
    """Its refs."""


def display_name(class_name: str, number: int | None, asset_id: str) -> str:
    """Return an asset's name as it is printed: `class/number (shortid)`.

    Each store has its own numbers, so the id always stands beside one.

    Example:
        >>> display_name("models", 7, "3f9a2c41d0" + "0" * 54)
        'models/7 (3f9a2c41d0)'
    """
    short = asset_id[:10]
    return f"{class_name} ({short})" if number is None else f"{class_name}/{number} ({short})"
