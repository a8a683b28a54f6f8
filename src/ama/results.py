"""What operations report: frozen values without behaviour of their own.

They stand apart from `values` so that a command loads only what it reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ama.errors import Hint
from ama.values import AssetInfo, AssetStatus, Change, Ref


@dataclass(frozen=True, slots=True)
class AddResult:
    """What `add` did. `size` is the bytes of all paths it was asked to add."""

    changes: tuple[Change, ...]
    unchanged: int
    size: int
    by_reference: int


@dataclass(frozen=True, slots=True)
class RemoveResult:
    """What `rm` did: the paths that left the staging area, and whether files were deleted."""

    removed: tuple[str, ...]
    files_deleted: bool


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What `restore` did: the paths written to, and those deleted from, the worktree or index.

    `left_out` are those that a partial worktree doesn't have, and that weren't named themselves.
    """

    restored: tuple[str, ...]
    deleted: tuple[str, ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NoCode:
    """Why an asset doesn't say at which commit of a git repository it was made.

    `reason` is "no_repository", "no_git", "not_owned" (of another user: git won't read it),
    "no_commit" or "no_answer"; `directory` is where the code was looked for.
    """

    reason: str
    directory: str


@dataclass(frozen=True, slots=True)
class CommitResult:
    """What `commit` made; `created` is False where there was nothing to commit.

    `not_added` are the asset's files that are no longer as they were added, `aliases` those that
    wait for a push. `same` are other assets of the class that have the very same files, newest
    first: of the store's, as far as this machine has seen them. `unlinked` is what the version
    before was made from, where this one was made from nothing. `no_code` says why the asset that
    was made records no code, if so. `untracked` are files here that were never added, a directory
    of such named once, with a `/` at its end.
    """

    asset: AssetInfo
    created: bool
    aliases: tuple[str, ...] = ()
    not_added: tuple[str, ...] = ()
    same: tuple[AssetInfo, ...] = ()
    unlinked: tuple[Ref, ...] = ()
    no_code: NoCode | None = None
    untracked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AliasChange:
    """An alias that was set: from which asset (None: it is new) to which (None: removed)."""

    class_name: str
    alias: str
    old: str | None
    new: str | None
    old_number: int | None = None
    new_number: int | None = None


@dataclass(frozen=True, slots=True)
class StatusChange:
    """What `deprecate` or `delete` did: the asset as it is now, and its status before.

    `asset.aliases` are those that point to it still. `bytes_freed` is the space that is free in the
    store by that: none, for the content of a deleted asset stays there. `recoverable` says of a
    deleted one that all of it is there still, so that whoever has its id can bring it back.
    """

    asset: AssetInfo
    old: AssetStatus
    bytes_freed: int = 0
    recoverable: bool = False


@dataclass(frozen=True, slots=True)
class PutBack:
    """A file of a store's log that a repair has put back, byte for byte as it was.

    `where` is its name in the store, `was` how it was found: "missing" or "damaged". `source` is
    where it was had from: "cache" (what this machine remembers), "log" (the entries: it is derived
    from them), "id" (the store's id: a format.json says no more), or the URL of another store.
    """

    where: str
    was: str
    source: str


@dataclass(frozen=True, slots=True)
class UploadResult:
    """What `upload` or `push` did.

    `published` are the assets that this call published, oldest first (none where there was
    nothing new); `bytes_sent` is what went to the remote, `bytes_reused` the content that was
    there before. `local_default` says that no remote is configured and the store on this machine
    was used, `store_created` that this call made the store. `follows` is the alias that `pull`
    follows now, and `followed` the one before. `not_added` are the asset's files that are no longer
    as they were added (an upload looks, a push doesn't). `repaired` is how many objects were sent
    again because of damage there, and `put_back` are the files of its log that were lost or
    damaged and are there again. `same` are other assets of the class that have the very same files,
    newest first: of its 1,000 newest all that this machine has seen, or if that are none, all.
    `unlinked` is what the version before was made from, where an upload made one that was made from
    nothing. `elsewhere` says of refs that the remote has not, by their ids, which store was seen to
    have them. `left_behind` are the versions before whose aliases stayed there.
    `no_code` says why an asset that an upload made records no code, if so. `untracked` are files
    here that were never added (see `CommitResult`), where an upload looked. `again` says that
    `once` has found `asset` in the store, so that none was published.
    """

    asset: AssetInfo | None
    published: tuple[AssetInfo, ...]
    aliases: tuple[AliasChange, ...]
    remote: str
    bytes_sent: int
    bytes_reused: int
    store_created: bool
    local_default: bool
    follows: str | None = None
    followed: str | None = None
    not_added: tuple[str, ...] = ()
    repaired: int = 0
    same: tuple[AssetInfo, ...] = ()
    unlinked: tuple[Ref, ...] = ()
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    left_behind: tuple[Ref, ...] = ()
    no_code: NoCode | None = None
    untracked: tuple[str, ...] = ()
    again: bool = False
    put_back: tuple[PutBack, ...] = ()


@dataclass(frozen=True, slots=True)
class CopyResult:
    """What `copy` did: the assets that it published, oldest first, and the aliases that it moved.

    `bytes_sent` is what went to the target, `bytes_reused` the content that was there before, and
    `store_created` says whether this made the target.
    """

    asset: AssetInfo
    published: tuple[AssetInfo, ...]
    aliases: tuple[AliasChange, ...]
    source: str
    target: str
    bytes_sent: int
    bytes_reused: int
    store_created: bool = False


@dataclass(frozen=True, slots=True)
class DownloadResult:
    """What `download` wrote: one directory, and one for each asset of the closure of its refs.

    `size` is that of its files, and `bytes_received` what came of the store's packs for it in this
    call: files as they lie there, compressed or in part, and what the asset says of them.
    `missing_refs` are those whose content is not in this store (only with `partial`). `already`
    says that all of it was there before, and `changed` are the files that were changed there since
    and stay so. `instead` is, where the asset is deprecated, the newest of its class that is not.
    """

    asset: AssetInfo
    directory: Path
    files: int
    size: int
    bytes_received: int
    skipped: int
    refs: tuple[DownloadResult, ...] = ()
    missing_refs: tuple[Ref, ...] = ()
    already: bool = False
    changed: tuple[str, ...] = ()
    instead: AssetInfo | None = None


@dataclass(frozen=True, slots=True)
class SwitchResult:
    """What `switch` or `pull` did: where HEAD was, where it is, and what that changed.

    `ahead_of` is where the alias points that `pull` follows, if HEAD comes from there, so that
    nothing was to be done. `overwritten` are the files whose content was stored nowhere, and
    `dropped` names what was set for the next asset: with `force`, both are gone. `instead` is,
    where the new asset is deprecated, the newest of its class that is not.
    """

    old: AssetInfo | None
    new: AssetInfo
    changes: tuple[Change, ...]
    ahead_of: AssetInfo | None = None
    overwritten: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    instead: AssetInfo | None = None


@dataclass(frozen=True, slots=True)
class FetchResult:
    """What `fetch` saw: assets of this class that were not known before, oldest first.

    With `force`, `lost_assets` are those that this machine saw in the store and that aren't there
    any more, of any class, with their numbers and aliases of then; and `lost_aliases` the aliases
    that are gone, or elsewhere now.
    """

    remote: str
    new_assets: tuple[AssetInfo, ...]
    lost_assets: tuple[Ref, ...] = ()
    lost_aliases: tuple[AliasChange, ...] = ()


@dataclass(frozen=True, slots=True)
class RemoteInfo:
    """A configured remote: `url` says which store it is, `options` are ama's own for it."""

    name: str
    url: str
    default: bool
    options: Mapping[str, str | int | float | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that `fsck` found: what is damaged, how, and the assets that it touches."""

    where: str
    what: str
    assets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FsckReport:
    """The result of `fsck` over one store or worktree.

    `orphans` are packs and indexes that nothing names, which interrupted work leaves behind, and
    `interrupted` says what such work there is and how to finish it. Neither is damage.
    """

    where: str
    objects: int
    size: int
    assets: int
    problems: tuple[Problem, ...]
    orphans: int = 0
    interrupted: tuple[Hint, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is damaged."""
        return not self.problems
