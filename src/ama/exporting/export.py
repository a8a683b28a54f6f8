"""The export of an asset, and if they are wanted, of those that it was made from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from ama.errors import InvalidInput, shown
from ama.exporting.described import describe
from ama.exporting.members import Taken, take
from ama.exporting.places import ArchiveFile, Files, Opener, Work, find_place
from ama.results import ExportResult
from ama.settings import Settings
from ama.storage.urls import open_storage
from ama.stores.log_view import LogView
from ama.stores.remote import Remote
from ama.system.encoding import from_system, to_system
from ama.system.progress import Progress
from ama.transfer.deliver import closure, lacks_refs
from ama.transfer.download import Target
from ama.values import Ref
from ama.worktree.nearby import near_here


@dataclass(frozen=True, slots=True)
class Order:
    """A request to take an asset out.

    Attributes:
        target: The asset.
        to: A path or a URL, see `find_place`.
        refs: Whether everything that it was made from comes too, each asset in a directory.
        partial: Whether to leave out refs that the store lacks, instead of an error.
        force: Whether what is there may be overwritten.
    """

    target: Target
    to: str
    refs: bool = False
    partial: bool = False
    force: bool = False


def opener(settings: Settings) -> Opener:
    """Return a function that opens the storage at a URL, with the options configured for it."""
    return lambda url: open_storage(url, settings.options_at(url))


def export(
    remote: Remote, view: LogView, order: Order, settings: Settings, progress: Progress
) -> ExportResult:
    """Write an asset's files, and what describes them, to a place.

    Raises:
        AlreadyExists: Something is there.
        NotFound: The asset was deleted, or (unless `partial`) a ref is missing.
        InvalidInput: The place is none, or can't hold a name.
        IntegrityError: Content is damaged; no file that is damaged is at the place.
        StorageError: The store or the place can't be reached.
    """
    place = find_place(order.to, opener(settings), force=order.force)
    others: Sequence[Target] = ()
    missing: tuple[Ref, ...] = ()
    if order.refs:
        others, missing = closure(remote, view, order.target)
        if missing and not order.partial:
            raise lacks_refs(remote, order.target, missing)
    if isinstance(place, ArchiveFile | Files):
        require_outside(place.path, remote)
    place.require_free()
    taken = [
        take(remote, view, each, f"{each.class_name}-{each.number}/" if order.refs else "")
        for each in (order.target, *others)
    ]
    total = sum(each.listing.size for each in taken)
    near = [near_here(settings, each.info.class_name, each.asset.parents) for each in taken]
    progress.start("Exporting", total)
    try:
        place.write(Work(taken, lambda each: describe(each, remote), near, progress))
    finally:
        progress.finish()
    return _result(order, taken, missing)


def require_outside(path: str, remote: Remote) -> None:
    """Refuse a path in the store's own directory.

    Raises:
        InvalidInput: It is one.
    """
    if "://" in remote.url:
        return
    store, real = os.path.realpath(to_system(remote.url)), os.path.realpath(path)
    if real == store or real.startswith(store + os.sep):
        raise InvalidInput(
            f"{shown(from_system(path))} is in the store {shown(remote.url)}, which keeps its own"
            " files only",
            hint="export elsewhere",
        )


def _result(order: Order, taken: Sequence[Taken], missing: tuple[Ref, ...]) -> ExportResult:
    first, *others = taken
    return ExportResult(
        first.info,
        order.to,
        sum(len(each.listing) for each in taken),
        sum(each.listing.size for each in taken),
        tuple(each.directory + each.description for each in taken),
        sum(each.sources.bytes_read for each in taken),
        tuple(each.info for each in others),
        missing,
    )
