"""What ama's public calls return: frozen values without behaviour of their own.

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
    """One file of an asset. For a symlink, `id` and `size` are those of its target's text."""

    path: str
    kind: FileKind
    id: str
    size: int


@dataclass(frozen=True, slots=True)
class Ref:
    """A link from an asset to one that it was made from, and what became of that one."""

    asset: str
    class_name: str
    label: str
    number: int | None = None
    aliases: tuple[str, ...] = ()
    status: AssetStatus = "active"

    @property
    def name(self) -> str:
        """`class/number (shortid)`, or the class and the short id where no number is known."""
        return display_name(self.class_name, self.number, self.asset)


@dataclass(frozen=True, slots=True)
class AssetInfo:
    """Everything that ama knows about one asset, but its files.

    `number` is None for an asset that is not published. `aliases` are those that point to it now;
    none where the log is damaged, for then that is not known.
    """

    id: str
    class_name: str
    tree: str
    author: str
    created_at: datetime
    message: str
    size: int | None = None
    number: int | None = None
    aliases: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    refs: tuple[Ref, ...] = ()
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    status: AssetStatus = "active"
    status_reason: str = ""

    @property
    def name(self) -> str:
        """`class/number (shortid)`, or the class and the short id where it has no number."""
        return display_name(self.class_name, self.number, self.id)


@dataclass(frozen=True, slots=True)
class AliasMove:
    """One line of an alias's history; `asset` is None where the alias was removed.

    `status` is what the asset is now.
    """

    class_name: str
    alias: str
    asset: str | None
    number: int | None
    moved_by: str
    moved_at: datetime
    status: AssetStatus = "active"


@dataclass(frozen=True, slots=True)
class ClassInfo:
    """A class of a store: how many assets it has, and the newest."""

    name: str
    assets: int
    newest: AssetInfo | None


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs. The old side is None where it was added, the new where removed."""

    path: str
    kind: ChangeKind
    old_size: int | None = None
    new_size: int | None = None
    old_id: str | None = None
    new_id: str | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """A worktree against its staging area and its HEAD.

    No store is asked, so `head` has no aliases; its number and status are those of `remote`, as it
    was seen last. `origin` is the store that has it, and whose number it has, where `remote` isn't
    known to have it. `follows` is the alias that `pull` follows, and `left_behind` the number of
    what it points to, if `head` is known to be a later version of that.
    `staged` is what the next commit or upload changes, `changed` what differs in the worktree
    since `add`, `untracked` what was never added (a directory ends in `/`), `unpublished` the
    commits that no upload or push has published yet, oldest first, each with the aliases that it is
    to get, `skipped` how many files of a partial worktree are not here, `unreadable` what may not
    be read here, so that nothing is said of what is in it, and `interrupted` which work was
    interrupted here and how to finish it.
    """

    root: Path
    class_name: str
    head: AssetInfo | None
    follows: str | None
    remote: str | None
    staged: tuple[Change, ...]
    changed: tuple[Change, ...]
    untracked: tuple[str, ...]
    aliases: tuple[str, ...]
    message: str | None
    metadata: Mapping[str, Scalar]
    refs: tuple[Ref, ...]
    unpublished: tuple[AssetInfo, ...]
    files: int
    size: int
    by_reference: int
    skipped: int
    unreadable: tuple[str, ...] = ()
    interrupted: tuple[Hint, ...] = ()
    origin: str | None = None
    left_behind: int | None = None

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
    """What `set` has noted so far for the next commit or upload."""

    aliases: tuple[str, ...]
    message: str | None
    metadata: Mapping[str, Scalar]
    refs: tuple[Ref, ...]


def display_name(class_name: str, number: int | None, asset_id: str) -> str:
    """How an asset is printed: `class/number (shortid)`.

    A number is a store's own, so the id always stands beside it.

    Example:
        >>> display_name("models", 7, "3f9a2c41d0" + "0" * 54)
        'models/7 (3f9a2c41d0)'
    """
    short = asset_id[:10]
    return f"{class_name} ({short})" if number is None else f"{class_name}/{number} ({short})"
