"""Downloads of an asset into a directory of its own: whole, verified, and resumable."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ama.errors import (
    AlreadyExists,
    Conflict,
    Hint,
    Hints,
    IntegrityError,
    InvalidInput,
    NotFound,
    shown,
)
from ama.format.objects import Asset
from ama.settings import Settings
from ama.stores.log_view import LogView
from ama.stores.object_reader import LOOK_UP_BATCH, METADATA_BATCH, ObjectStore
from ama.stores.remote import Remote
from ama.stores.revisions import require_live
from ama.stores.sources import Sources
from ama.system import disk, fs
from ama.system.encoding import from_system
from ama.system.progress import Progress
from ama.transfer.metadata import keep_metadata
from ama.worktree.checkout import (
    Checkout,
    is_staged_as,
    plan_checkout,
    staged_meanwhile,
)
from ama.worktree.entries import Entries
from ama.worktree.head import Head
from ama.worktree.layout import CHECKOUT, CONTROL, Begun, Busy, Worktree, has_locks, settle, turn
from ama.worktree.listing import Listing, survey
from ama.worktree.near import Near
from ama.worktree.nearby import near_here
from ama.worktree.neighbours import remember
from ama.worktree.plan import Plan, is_empty
from ama.worktree.scan import require_no_git
from ama.worktree.staging import Index
from ama.worktree.status import compare_listings
from ama.worktree.trees import A_PART, selector


@dataclass(frozen=True, slots=True)
class Selection:
    """The files of an asset to download."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    metadata_only: bool = False

    def beside(self, other: Selection) -> Selection:
        """Return the selection of a directory with this one after a download of another."""
        if other.metadata_only or self == Selection():
            return self
        if self.metadata_only or not (self.include and other.include):
            return other
        return Selection(
            tuple(dict.fromkeys((*self.include, *other.include))),
            tuple(dict.fromkeys((*self.exclude, *other.exclude))),
        )


@dataclass(frozen=True, slots=True)
class Downloaded:
    """The result of a download into one directory."""

    asset: Asset
    whole: int
    """The bytes of all files of the asset."""
    directory: Path
    files: int
    """The number of the asset's files in the directory."""
    size: int
    """The bytes of these files."""
    received: int
    """The bytes of the store's packs that this call read."""
    skipped: int
    """The number of the asset's files that were left out."""
    already: bool
    """Whether there was nothing to do."""
    changed: tuple[str, ...]
    """The files that differ from the asset's, and stay so."""


@dataclass(frozen=True, slots=True)
class Target:
    """A published asset."""

    class_name: str
    asset: bytes
    number: int

    @property
    def name(self) -> str:
        """Return `class/number`."""
        return f"{self.class_name}/{self.number}"


@dataclass(frozen=True, slots=True)
class Order:
    """A request to deliver an asset."""

    target: Target
    place: Path
    """The directory for the asset."""
    alias: str | None
    """The alias by which the user named the asset; the directory will follow it."""
    selection: Selection
    """The files to deliver."""
    refs: bool
    """Whether to deliver everything that the asset was made from, each asset beside it."""
    partial: bool
    """Whether to leave out refs that the store lacks, instead of an error."""


def objects_of(remote: Remote, view: LogView, target: Target, *, whole: bool = True) -> ObjectStore:
    """Return the objects of one asset, with its metadata read in as few requests as possible.

    Args:
        remote: The store.
        view: The store's log.
        target: The asset.
        whole: Whether most of it is wanted; if not, only small metadata is read beforehand.

    Raises:
        NotFound: It is not in the store, or was deleted.
        IntegrityError: The log is damaged.
    """
    record = view.class_state(target.class_name).record(target.number)
    if record is None or record.id != target.asset:
        raise NotFound(f"{target.name} is not in {remote.url}")
    require_live(view, target.class_name, target.asset, remote.url)
    objects = remote.objects_of(view, target.class_name, record, whole=whole)
    objects.load_metadata(METADATA_BATCH if whole else LOOK_UP_BATCH)
    return objects


def require_match(
    remote: Remote, view: LogView, targets: Sequence[Target], selection: Selection
) -> dict[bytes, Sources]:
    """Check that the selection matches some file of some asset, before making a directory.

    Returns:
        The opened sources by asset; empty if everything is selected.

    Raises:
        NotFound: No file matches, though there are some.
    """
    if not (selection.include or selection.exclude):
        return {}
    opened = {target.asset: Sources(objects_of(remote, view, target)) for target in targets}
    wanted = selector(selection.include, selection.exclude)
    paths = [
        item.path
        for asset, sources in opened.items()
        for item in listing_of(sources, asset, selection)
    ]
    if paths and not any(map(wanted, paths)):
        raise none_chosen(targets, selection, Hint("metadata-only"))
    return opened


def none_chosen(targets: Sequence[Target], selection: Selection, *instead: Hint) -> NotFound:
    """Return the error of a selection that chooses no file of some assets."""
    names = " or ".join(target.name for target in targets)
    globs = [*(("--include", glob) for glob in selection.include)]
    globs += [("--exclude", glob) for glob in selection.exclude]
    return NotFound(
        f"no file of {names} is chosen by {shown(shlex.join(w for g in globs for w in g))}",
        hint=(Hint("ls", asset=targets[0].name), *instead),
    )


_TRIES = 5
"""So often a download begins again where no locks keep another from the same turn."""


def download(
    remote: Remote,
    view: LogView,
    order: Order,
    settings: Settings,
    *,
    progress: Progress,
    sources: Sources | None = None,
) -> Downloaded:
    """Write an asset's files into a directory, with a worktree's `.ama`.

    Complete a directory that already has this asset; its files stay. `sources` are the asset's, if
    already open. If several processes do this at once, one does the work and the others wait.

    Raises:
        AlreadyExists: The directory holds something else.
        Conflict: Another command brings other files there, or makes no progress.
        IntegrityError: Content is damaged; no file of the directory is.
        InvalidInput: The name of a file is not allowed on this system, or in a worktree.
    """
    target, directory, selection, alias = order.target, order.place, order.selection, order.alias
    sources = sources or Sources(objects_of(remote, view, target))
    sources.hold_trees()
    listing = chosen_of(listing_of(sources, target.asset, selection), selection)
    if listing.odd:
        require_no_git(item.path for item in listing)
    begun = Begun(target.name, _command(remote, target, directory, selection))

    def is_alike(other: Begun) -> bool:
        return _what(other) == _what(begun)

    head = Head(target.class_name, target.asset, remote.url, (), alias, target.number)
    tries = _TRIES
    while True:
        tree = _prepare(directory, target, begun)
        stood = (tree.noted(CHECKOUT), tree.head.generation())
        was_here = _is_here(tree, target.asset)
        try:
            with turn(tree, is_alike, progress):
                _prepare(directory, target, begun)  # another process may have gone first
                parents = sources.asset(target.asset).parents
                near = near_here(settings, target.class_name, parents, but=tree.root)
                remember(settings.cache_dir, tree, target.class_name)
                return _bring(
                    tree, head, sources, listing, selection, begun, near=near, progress=progress
                )
        except (Conflict, IntegrityError) as error:
            moved = stood != (tree.noted(CHECKOUT), tree.head.generation())
            is_late = isinstance(error, Busy) and moved
            # Without locks, another process may have had the same turn, and placed the files first.
            is_ours = was_here and not isinstance(error, Busy)
            if not is_late and (is_ours or not tries or has_locks(tree)):
                raise
            tries -= not is_late
            settle(tree, is_alike)


def _is_here(tree: Worktree, asset: bytes) -> bool:
    """Whether a worktree is at an asset, with nothing left to be done."""
    at_rest = tree.begun() is None and tree.head.exists()
    return at_rest and tree.head.read().head.asset == asset


def listing_of(sources: Sources, asset: bytes, selection: Selection) -> Listing:
    """Return an asset's files; refuse very many in few trees unless globs select some."""
    wanted = bool(selection.include)
    return survey(sources.asset(asset).tree, sources.tree, wanted=wanted, hint=A_PART)


def chosen_of(listing: Listing, selection: Selection) -> Listing:
    """Return those of an asset's files that are selected."""
    if selection == Selection():
        return listing
    return listing.only(
        selector(selection.include, selection.exclude, metadata_only=selection.metadata_only)
    )


def _what(begun: Begun) -> tuple[str, str]:
    """Return the asset and options of a download, without its source or directory."""
    return begun.target, begun.command.partition(" --remote ")[0]


def _bring(
    tree: Worktree,
    head: Head,
    sources: Sources,
    chosen: Listing,
    selection: Selection,
    begun: Begun,
    *,
    near: Near,
    progress: Progress,
) -> Downloaded:
    """Bring the files of an asset; HEAD becomes `head`, unless it has the asset already."""
    asset = head.asset or b""
    keep_metadata(tree, sources, asset)
    chosen = chosen.read_by(lambda below: sources.tree_held(below) or tree.objects.tree(below))
    at = tree.head.read() if tree.head.exists() else (0, None)
    began = at[1] is not None
    with Checkout(tree, at, near) as checkout:
        index = tree.index.read()
        if index.entries:
            selection = Selection(index.include, index.exclude, index.metadata_only).beside(
                selection
            )
        plan = _plan(tree, index, chosen)
        entries = checkout.place(
            plan,
            sources,
            begun=begun,
            unmoved=partial(is_staged_as, seen=index),
            progress=progress,
        )
        fresh = Index(
            tree.index.build(Entries(), entries),
            include=selection.include,
            exclude=selection.exclude,
            metadata_only=selection.metadata_only,
            tree_of=asset,
            notes=index.notes,
            noted_on=index.noted_on,
        )

        def changed(latest: Index) -> Index:
            if not is_staged_as(latest, index):
                raise staged_meanwhile()
            return fresh

        old = at[1]
        if old is not None and old.asset == asset:
            head = replace(old, alias=head.alias) if head.alias else old
        checkout.finish(changed, head)
    files = len(plan.write) + len(plan.keep)
    return Downloaded(
        sources.asset(asset),
        chosen.everything.size,
        tree.root,
        files,
        plan.size + sum(entry.size for entry in plan.keep),
        sources.bytes_read,
        len(chosen.everything) - files,
        began and not len(plan.write),
        plan.edited,
    )


def _plan(tree: Worktree, index: Index, chosen: Listing) -> Plan:
    """Return the plan that brings the chosen files of an asset."""
    fresh = not index.entries and is_empty(tree)
    listed = {} if fresh else {item.path: item for item in chosen.everything}
    if index.entries and compare_listings(listed, index.entries):
        raise Conflict(
            f"{shown(tree.root)} has staged changes",
            hint=Hint("commit-there", directory=from_system(tree.root)),
        )
    wanted = set() if fresh else {item.path for item in chosen}
    return plan_checkout(
        tree,
        index,
        chosen if fresh else listed.values(),
        wanted=wanted.__contains__,
        stored=({path: item.id for path, item in listed.items()},),
        base=listed if index.entries else {},
        force=False,
    )


def _command(remote: Remote, target: Target, directory: Path, selection: Selection) -> str:
    """Return the command that finishes an interrupted download, from any directory."""
    words = ["download", target.name]
    for option, globs in (("--include", selection.include), ("--exclude", selection.exclude)):
        words += [word for glob in globs for word in (option, glob)]
    if selection.metadata_only:
        words.append("--metadata-only")
    return shlex.join(
        [*words, "--remote", remote.url, "-o", from_system(os.path.abspath(directory))]
    )


def _prepare(directory: Path, target: Target, begun: Begun) -> Worktree:
    """Return the worktree to write into: new, with this asset, or of an interrupted try."""
    tree = check_place(directory, target)
    if tree is None:
        directory = Path(os.path.abspath(directory))
        fs.make_directories(directory)
        tree = Worktree.make(directory)
    if not tree.head.exists() and tree.begun() is None:
        _begin(tree, begun)
    return tree


def check_place(
    directory: Path, target: Target, elsewhere: Hints = (Hint("choose-directory"),)
) -> Worktree | None:
    """Check that an asset can be written into a directory, without changing anything.

    Args:
        directory: The directory.
        target: The asset.
        elsewhere: The hint of the error.

    Returns:
        The worktree that is there, with this asset or of an interrupted try; else None.

    Raises:
        AlreadyExists: The directory holds something else.
        InvalidInput: The directory is inside another worktree.
    """
    directory = Path(os.path.abspath(directory))
    in_the_way = AlreadyExists(
        f"{shown(directory)} exists already, and is not this asset", hint=elsewhere
    )
    if disk.is_directory(directory / CONTROL):
        tree = Worktree(directory)
        begun = tree.begun()
        if tree.head.exists():
            _check_asset(tree, target, elsewhere)
            if begun is not None and begun.target != target.name:
                tree.require_settled()
        elif begun is None:
            alone = disk.list_directory(directory) == [CONTROL] and not tree.index.read().entries
            if not alone and tree.begun() is None and not tree.head.exists():
                raise in_the_way
        elif begun.target != target.name:
            raise in_the_way
        return tree
    if os.path.lexists(directory) and (
        not disk.is_directory(directory) or disk.list_directory(directory)
    ):
        if disk.is_directory(directory / CONTROL):  # another process has just made it
            return check_place(directory, target, elsewhere)
        raise in_the_way
    for parent in directory.parents:
        if disk.is_directory(parent / CONTROL):
            raise InvalidInput(
                f"{shown(directory)} would be inside another ama worktree, {shown(parent)}",
                hint=Hint("choose-directory-outside"),
            )
    return None


def _check_asset(tree: Worktree, target: Target, elsewhere: Hints) -> None:
    head = tree.head.read().head
    if head.asset == target.asset:
        return
    if head.class_name == target.class_name:
        switch = Hint("switch-it", directory=from_system(tree.root), asset=target.name)
        elsewhere = (switch, *elsewhere)
    raise AlreadyExists(
        f"{shown(tree.root)} is a worktree of another asset of {head.class_name}", hint=elsewhere
    )


def _begin(tree: Worktree, begun: Begun) -> None:
    """Note the download in a new directory, unless another command was faster."""
    try:
        tree.note(CHECKOUT, begun.encode(), new=True)
    except FileExistsError:
        other = tree.begun()
        if other is not None and other.target != begun.target:
            raise AlreadyExists(
                f"{shown(tree.root)} is where {shown(other.target)} is downloaded to just now",
                hint=Hint("choose-directory"),
            ) from None
