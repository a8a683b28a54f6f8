"""Results of operations: frozen values without behaviour of their own.

They stand apart from `values` so that a command loads only what it reports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ama.errors import Hint
from ama.values import AssetInfo, AssetStatus, Change, ChangeKind, Note, Ref, display_name


@dataclass(frozen=True, slots=True)
class AddResult:
    """The result of `add`."""

    changes: Sequence[Change]
    """The paths that `add` staged; if they are many, each use reads them again."""
    kinds: Mapping[ChangeKind, int]
    """How many of them were "added", "modified", "removed" or changed "mode"."""
    staged_size: int
    """The bytes of the files among them, as they are now."""
    unchanged: int
    """How many files were staged like this before."""
    size: int
    """The bytes of all files that `add` was asked for, changed or not."""
    by_reference: int
    """How many files are staged by reference: their content stays where it is."""


@dataclass(frozen=True, slots=True)
class RemoveResult:
    """The result of `rm`."""

    removed: tuple[str, ...]
    """The paths that left the staging area."""
    files_deleted: bool
    """Whether their files were deleted as well."""


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """The result of `restore`, in the worktree or the staging area."""

    restored: tuple[str, ...]
    """The paths written."""
    deleted: tuple[str, ...]
    """The paths deleted."""
    left_out: tuple[str, ...] = ()
    """The paths that a partial worktree doesn't have, and that weren't named themselves."""


@dataclass(frozen=True, slots=True)
class NoCode:
    """The reason why an asset records no commit of a git repository."""

    reason: str
    """One of "no_repository", "no_git", "not_owned" (another user's: git refuses to read it),
    "no_commit" or "no_answer"."""
    directory: str
    """The directory in which ama looked for the code."""


@dataclass(frozen=True, slots=True)
class CommitResult:
    """The result of `commit`."""

    asset: AssetInfo
    """The new asset, or HEAD if there was nothing to commit."""
    created: bool
    """Whether there was something to commit."""
    aliases: tuple[str, ...] = ()
    """The aliases that wait for a push."""
    not_added: tuple[str, ...] = ()
    """The asset's files that have changed since `add`."""
    same: tuple[AssetInfo, ...] = ()
    """Other assets of the class with exactly these files, newest first.

    They are those of the store, as far as this machine has seen it.
    """
    unlinked: tuple[Ref, ...] = ()
    """The refs of the previous version, if this one has none."""
    no_code: NoCode | None = None
    """Why the new asset records no code; None if it does."""
    untracked: tuple[str, ...] = ()
    """Files here that were never added. A directory of such is named once, and ends in `/`."""
    looked_at_all: bool = True
    """Whether all files here were looked at for `not_added` and `untracked`; very many aren't."""


@dataclass(frozen=True, slots=True)
class AliasChange:
    """An alias that was set, moved or removed."""

    class_name: str
    """The alias's class."""
    alias: str
    """The alias's name."""
    old: str | None
    """The id of the asset before; None: the alias is new."""
    new: str | None
    """The id of the asset now; None: the alias is removed."""
    old_number: int | None = None
    """The number of the asset before."""
    new_number: int | None = None
    """The number of the asset now."""


@dataclass(frozen=True, slots=True)
class StatusChange:
    """The result of `deprecate` or `delete`."""

    asset: AssetInfo
    """The asset as it is now. Its `aliases` still point to it."""
    old: AssetStatus
    """The status before."""
    bytes_freed: int = 0
    """The bytes freed in the store: 0, for a deleted asset's content stays there."""
    recoverable: bool = False
    """Whether all of a deleted asset is still there, so that its id can bring it back."""


@dataclass(frozen=True, slots=True)
class NoteResult:
    """The result of `note`."""

    note: Note
    """The note."""
    remote: str
    """The URL of the store that has it."""
    again: bool = False
    """Whether `once` found it in the store, so that this call added nothing."""
    bytes_sent: int = 0
    """The bytes sent for its file."""

    @property
    def name(self) -> str:
        """The name of the asset, or of the class, that it is about."""
        note = self.note
        if note.asset is None:
            return note.class_name
        return display_name(note.class_name, note.number, note.asset)


@dataclass(frozen=True, slots=True)
class PutBack:
    """A file of a store's log that a repair has put back, byte for byte as it was."""

    where: str
    """The file's name in the store."""
    was: str
    """How the repair found it: "missing" or "damaged"."""
    source: str
    """The source of the bytes.

    "cache" (what this machine remembers), "log" (derived from the log's entries), "id" (the
    store's id: a format.json says no more), or the URL of another store.
    """


@dataclass(frozen=True, slots=True)
class UploadResult:
    """The result of `upload` or `push`."""

    asset: AssetInfo | None
    """The asset at HEAD; None before the first one."""
    published: tuple[AssetInfo, ...]
    """The assets that this call published, oldest first."""
    aliases: tuple[AliasChange, ...]
    """The aliases that this call set, moved or removed."""
    remote: str
    """The remote's URL."""
    bytes_sent: int
    """The bytes sent to the remote."""
    bytes_reused: int
    """The bytes of content that the remote had before."""
    store_created: bool
    """Whether this call created the store."""
    local_default: bool
    """Whether the store on this machine was used because no remote is configured."""
    follows: str | None = None
    """The alias that `pull` follows now."""
    followed: str | None = None
    """The alias that `pull` followed before."""
    not_added: tuple[str, ...] = ()
    """The asset's files that have changed since `add`. Only an upload looks for them."""
    repaired: int = 0
    """How many objects were sent again because the remote's were damaged."""
    same: tuple[AssetInfo, ...] = ()
    """Other assets of the class with exactly these files, newest first.

    They are those that this machine has seen among the 1,000 newest, or if there are none, among
    all.
    """
    unlinked: tuple[Ref, ...] = ()
    """The refs of the previous version, if an upload made a version without refs."""
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """For refs that the remote doesn't have: their ids, and the store where they were seen."""
    left_behind: tuple[Ref, ...] = ()
    """The previous versions that kept their aliases."""
    no_code: NoCode | None = None
    """Why the asset that an upload made records no code; None if it does."""
    untracked: tuple[str, ...] = ()
    """Files here that were never added (see `CommitResult`). Only an upload looks for them."""
    looked_at_all: bool = True
    """Whether all files here were looked at (see `CommitResult`)."""
    again: bool = False
    """Whether `once` found `asset` in the store, so that this call published nothing."""
    put_back: tuple[PutBack, ...] = ()
    """The files of the remote's log that were lost or damaged, and are there again."""


@dataclass(frozen=True, slots=True)
class CopyResult:
    """The result of `copy`."""

    asset: AssetInfo
    """The asset, as the target has it."""
    published: tuple[AssetInfo, ...]
    """The assets that this call published in the target, oldest first."""
    aliases: tuple[AliasChange, ...]
    """The aliases that this call set or moved in the target."""
    source: str
    """The URL of the store copied from."""
    target: str
    """The URL of the store copied to."""
    bytes_sent: int
    """The bytes sent to the target."""
    bytes_reused: int
    """The bytes of content that the target had before."""
    store_created: bool = False
    """Whether this call created the target."""


@dataclass(frozen=True, slots=True)
class DownloadResult:
    """The result of `download`: one directory, and one for each ref of its closure."""

    asset: AssetInfo
    """The asset."""
    directory: Path
    """The directory of its files."""
    files: int
    """How many files it has there."""
    size: int
    """The bytes of these files."""
    bytes_received: int
    """The bytes that this call read from the store's packs.

    Packs hold content compressed, and what the asset says of its files; only parts of it may be
    needed. So this is rarely `size`.
    """
    skipped: int
    """How many files of the asset were not asked for."""
    refs: tuple[DownloadResult, ...] = ()
    """The assets of its closure of refs that were downloaded with it."""
    missing_refs: tuple[Ref, ...] = ()
    """The refs whose content is not in this store; only with `partial`."""
    already: bool = False
    """Whether everything was there before."""
    changed: tuple[str, ...] = ()
    """The files that have changed in the directory since they were downloaded; they stay so."""
    instead: AssetInfo | None = None
    """The newest asset of the class that is not deprecated, if this one is deprecated."""


@dataclass(frozen=True, slots=True)
class ExportResult:
    """The result of `export`."""

    asset: AssetInfo
    """The asset."""
    place: str
    """Where its files are now: a path or a URL, as it was given."""
    files: int
    """How many files of assets are there."""
    size: int
    """Their bytes."""
    descriptions: tuple[str, ...]
    """The files there that say what the assets are, one for each, the asset's own first."""
    bytes_received: int
    """The bytes read from the store's packs."""
    refs: tuple[AssetInfo, ...] = ()
    """The assets that it was made from, as far as they are there too."""
    missing_refs: tuple[Ref, ...] = ()
    """The assets that it was made from and whose content the store lacks."""


@dataclass(frozen=True, slots=True)
class NotExported:
    """An asset that could not be exported."""

    name: str
    """Its name: `class/number`."""
    reason: str
    """Why."""
    hints: tuple[Hint | str, ...] = ()
    """What would help."""


@dataclass(frozen=True, slots=True)
class StoreExportResult:
    """The result of `export_everything`."""

    store: str
    """The URL of the store."""
    directory: str
    """The directory."""
    new: tuple[AssetInfo, ...]
    """The assets that this call wrote, without deleted ones."""
    updated: int
    """How many assets that were there got another alias, status or note."""
    files: int
    """How many files the new assets have."""
    size: int
    """Their bytes."""
    linked: int
    """How many of them are names of files that were there."""
    failed: tuple[NotExported, ...]
    """The assets that could not be exported; the next call tries them again."""


@dataclass(frozen=True, slots=True)
class MirrorResult:
    """The result of `mirror`."""

    source: str
    """The URL of the store."""
    target: str
    """The URL of the mirror."""
    entries: int
    """How many entries of the log the mirror lacked."""
    assets: int
    """How many assets they publish."""
    packs: int = 0
    """How many packs were copied, each checked by its id."""
    indexes: int = 0
    """How many indexes were."""
    size: int = 0
    """The bytes of both."""
    left_out: tuple[str, ...] = ()
    """Packs that are lost or damaged in the store, and whose content is in others too."""
    target_created: bool = False
    """Whether there was no mirror."""
    dry_run: bool = False
    """Whether nothing was written: the numbers are what it would be."""


@dataclass(frozen=True, slots=True)
class LocalCopy:
    """Files of an asset in this machine's content cache."""

    asset: AssetInfo
    """The asset."""
    path: Path
    """What was asked for: a file, or a directory."""
    files: int
    """How many files there are."""
    size: int
    """The bytes of these files."""
    bytes_received: int
    """The bytes that this call read from the store's packs, as in `DownloadResult`."""
    instead: AssetInfo | None = None
    """The newest asset of the class that is not deprecated, if this one is deprecated."""


@dataclass(frozen=True, slots=True)
class SwitchResult:
    """The result of `switch` or `pull`."""

    old: AssetInfo | None
    """The former HEAD."""
    new: AssetInfo
    """The new HEAD."""
    changes: tuple[Change, ...]
    """The paths that changed in the worktree."""
    ahead_of: AssetInfo | None = None
    """The target of the followed alias, if HEAD is a later version of it: nothing to pull."""
    overwritten: tuple[str, ...] = ()
    """With `force`, the files that are lost: their content was stored nowhere."""
    dropped: tuple[str, ...] = ()
    """With `force`, what was set for the next asset and is lost, by name."""
    instead: AssetInfo | None = None
    """The newest asset of the class that is not deprecated, if `new` is deprecated."""


@dataclass(frozen=True, slots=True)
class FetchResult:
    """The result of `fetch`."""

    remote: str
    """The remote's URL."""
    new_assets: tuple[AssetInfo, ...]
    """The assets of this class that were not known before, oldest first."""
    lost_assets: tuple[Ref, ...] = ()
    """With `force`, the assets of any class that this machine saw in the store and that are gone.

    Their numbers and aliases are the last ones seen.
    """
    lost_aliases: tuple[AliasChange, ...] = ()
    """With `force`, the aliases that are gone or point elsewhere now."""


@dataclass(frozen=True, slots=True)
class RemoteInfo:
    """A configured remote."""

    name: str
    """Its name."""
    url: str
    """The URL of its store."""
    default: bool
    """Whether it is the default remote."""
    options: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    """Ama's own options for it."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that `fsck` found."""

    where: str
    """The damaged file of the store or the worktree."""
    what: str
    """How it is damaged."""
    assets: tuple[str, ...] = ()
    """The assets that the damage touches."""


@dataclass(frozen=True, slots=True)
class FsckReport:
    """The result of `fsck` over one store or worktree."""

    where: str
    """The store's URL, or the worktree's path."""
    objects: int
    """How many objects were checked."""
    size: int
    """The bytes of these objects."""
    assets: int
    """How many assets were checked."""
    problems: tuple[Problem, ...]
    """The damage found."""
    orphans: int = 0
    """How many packs and indexes nothing names. Interrupted work leaves them; it is no damage."""
    interrupted: tuple[Hint, ...] = ()
    """Interrupted work, and how to finish it. It is no damage."""
    references: int = 0
    """How many objects the store has by reference."""
    referenced: int = 0
    """The bytes that these have in their sources."""
    sources: int = 0
    """How many sources they are in."""
    checked_sources: bool = False
    """Whether these were asked for, or read."""

    @property
    def ok(self) -> bool:
        """Whether nothing is damaged."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class ImportedAsset:
    """An asset that a source has become, or would become.

    Attributes:
        source: The URL or path of the source.
        class_name: Its class.
        number: Its number; None: it was not published.
        id: Its id, likewise.
        alias: Its alias, if it got one.
        created_at: When it was made, in UTC.
        author: Its author.
        files: The number of its files.
        size: Their bytes.
    """

    source: str
    class_name: str
    number: int | None
    id: str | None
    alias: str | None
    created_at: datetime
    author: str
    files: int
    size: int

    @property
    def name(self) -> str:
        """Return its name in the store; without a number its class."""
        return self.class_name if self.number is None else f"{self.class_name}/{self.number}"


@dataclass(frozen=True, slots=True)
class NotImported:
    """A source of which nothing was published, and why.

    Attributes:
        source: Its URL or path.
        reason: What is wrong with it.
        hints: What to do about it.
    """

    source: str
    reason: str
    hints: tuple[Hint | str, ...] = ()


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import did.

    Attributes:
        assets: The assets, in the order of their time.
        unchanged: The sources that were imported before, and have not changed since.
        failed: The sources that were passed over.
        remote: The URL of the store.
        bytes_read: The bytes of the sources that were read.
        bytes_sent: The bytes sent to the store.
        dry_run: Whether nothing was published.
        store_created: Whether the store was made for it.
        local_default: Whether the store is this machine's own, as no remote is configured.
        never_found: What rules asked for, `MEMBER:KEY`, and no source says, with the class.
    """

    assets: tuple[ImportedAsset, ...]
    unchanged: tuple[str, ...]
    failed: tuple[NotImported, ...]
    remote: str
    bytes_read: int = 0
    bytes_sent: int = 0
    dry_run: bool = False
    store_created: bool = False
    local_default: bool = False
    never_found: tuple[tuple[str, str], ...] = ()
