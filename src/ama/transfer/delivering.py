"""An asset, and all that it was made from if that is wanted, each into a directory of its own."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from ama.errors import NotFound
from ama.results import DownloadResult
from ama.stores.description import Describer
from ama.stores.log_view import LogView
from ama.stores.remote import Remote
from ama.system.progress import Progress
from ama.transfer.download import (
    Downloaded,
    Selection,
    Target,
    check_place,
    download,
    require_match,
)
from ama.values import AssetInfo, Ref


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be delivered, and where to.

    Attributes:
        target: the asset.
        place: its directory.
        alias: the alias that it was asked for by, which its directory will follow.
        selection: which of its files.
        refs: whether all that it was made from comes too, each asset beside it.
        partial: whether what isn't in the store of that is left out, not an error.
    """

    target: Target
    place: Path
    alias: str | None
    selection: Selection
    refs: bool
    partial: bool


def deliver(remote: Remote, view: LogView, order: Order, progress: Progress) -> DownloadResult:
    """Write what was ordered, having looked at every place first.

    Raises:
        NotFound: the globs leave none of the files, or (unless `partial`) a ref is missing.
        AlreadyExists: one of the directories holds something else.
        IntegrityError: content is damaged; no such file was written.
    """
    target = order.target
    others, missing = _closure(remote, view, target) if order.refs else ([], ())
    if missing and not order.partial:
        named = ", ".join(ref.name for ref in missing)
        deleted = next((ref for ref in missing if ref.status == "deleted"), None)
        otherwise = (
            "download it from the store that has it"
            if deleted is None
            else f"bring it back: ama delete --undo {deleted.class_name}/{deleted.number}"
        )
        raise NotFound(
            f"{target.name} was made from {named}, whose content is not in {remote.url}",
            hint=f"leave it out: --partial; or {otherwise}",
        )
    opened = require_match(remote, view, (target, *others), order.selection)
    beside = [order.place.parent / f"{other.class_name}-{other.number}" for other in others]
    if others:
        check_place(order.place, target)
        parent = f"choose another parent directory: -o DIR/{shlex.quote(order.place.name)}"
        for there, other in zip(beside, others, strict=True):
            check_place(there, other, parent)
    found = []
    for there, each in zip((order.place, *beside), (target, *others), strict=True):
        done = download(
            remote,
            view,
            each,
            there,
            order.selection,
            alias=order.alias if each is target else None,
            progress=progress,
            sources=opened.get(each.asset),
        )
        found.append(_result(remote, view, each, done, missing if each is target else ()))
    first, *rest = found
    return replace(first, refs=tuple(rest))


def _result(
    remote: Remote, view: LogView, target: Target, done: Downloaded, missing: tuple[Ref, ...]
) -> DownloadResult:
    return DownloadResult(
        Describer(view).info(target.asset, done.asset, done.whole),
        done.directory,
        done.files,
        done.size,
        done.received,
        done.skipped,
        (),
        missing,
        done.already,
        done.changed,
        _instead(remote, view, target),
    )


def _instead(remote: Remote, view: LogView, target: Target) -> AssetInfo | None:
    """Return what is to be used instead of an asset that is deprecated; None of another one."""
    describer = Describer(view)
    if describer.status(target.class_name, target.asset) != "deprecated":
        return None
    newest = view.class_state(target.class_name).newest_active()
    if newest is None:
        return None
    found = remote.assets(view, [(target.class_name, newest.id)])
    return describer.info(newest.id, found[newest.id])


def _closure(remote: Remote, view: LogView, target: Target) -> tuple[list[Target], tuple[Ref, ...]]:
    """Return all that an asset was made from, transitively, and what of it isn't here."""
    describer = Describer(view)
    found: dict[bytes, Target] = {}
    missing: dict[bytes, Ref] = {}
    waiting = [(target.class_name, target.asset)]
    while waiting:
        assets = remote.assets(view, waiting)
        links = [link for _, asset in waiting for link in assets[asset].refs]
        waiting = []
        for link in links:
            if link.asset in found or link.asset in missing or link.asset == target.asset:
                continue
            record = describer.record(link.class_name, link.asset)
            number = describer.number(link.class_name, link.asset)
            if record is None or number is None or record.status == "deleted":
                missing[link.asset] = describer.ref(link.asset, link.class_name, link.label)
            else:
                found[link.asset] = Target(link.class_name, link.asset, number)
            waiting.append((link.class_name, link.asset))
    return list(found.values()), tuple(missing.values())
