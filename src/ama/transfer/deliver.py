"""Deliveries: an asset into its directory and, if it is wanted, what it was made from."""

from __future__ import annotations

from dataclasses import replace

from ama.errors import Hint, NotFound
from ama.results import DownloadResult
from ama.settings import Settings
from ama.stores.log_view import LogView
from ama.stores.remote import Remote
from ama.stores.revisions import Describer
from ama.system.progress import Progress
from ama.transfer.download import Downloaded, Order, Target, check_place, download, require_match
from ama.values import AssetInfo, Ref


def deliver(
    remote: Remote, view: LogView, order: Order, settings: Settings, progress: Progress
) -> DownloadResult:
    """Deliver an order, after a check of every place.

    Raises:
        NotFound: No file matches the globs, or (unless `partial`) a ref is missing.
        AlreadyExists: One of the directories holds something else.
        IntegrityError: Content is damaged; no damaged file was written.
    """
    target = order.target
    others, missing = closure(remote, view, target) if order.refs else ([], ())
    if missing and not order.partial:
        raise lacks_refs(remote, target, missing)
    opened = require_match(remote, view, (target, *others), order.selection)
    beside = [order.place.parent / f"{other.class_name}-{other.number}" for other in others]
    if others:
        check_place(order.place, target)
        parent = (Hint("choose-parent", name=order.place.name),)
        for there, other in zip(beside, others, strict=True):
            check_place(there, other, parent)
    found = []
    for there, each in zip((order.place, *beside), (target, *others), strict=True):
        done = download(
            remote,
            view,
            replace(order, target=each, place=there, alias=order.alias if each is target else None),
            settings,
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
        instead_of(remote, view, target),
    )


def instead_of(remote: Remote, view: LogView, target: Target) -> AssetInfo | None:
    """Return the newest asset of a class that is not deprecated, if a given one of it is."""
    describer = Describer(view)
    newest = describer.instead_of(target.class_name, target.asset)
    if newest is None:
        return None
    return describer.info(newest, remote.assets(view, [(target.class_name, newest)])[newest])


def lacks_refs(remote: Remote, target: Target, missing: tuple[Ref, ...]) -> NotFound:
    """Return the error of an asset whose refs are wanted, and some are not in the store."""
    named = ", ".join(ref.name for ref in missing)
    deleted = next((ref for ref in missing if ref.status == "deleted"), None)
    otherwise = (
        Hint("download-elsewhere")
        if deleted is None
        else Hint("undelete", asset=f"{deleted.class_name}/{deleted.number}")
    )
    return NotFound(
        f"{target.name} was made from {named}, whose content is not in {remote.url}",
        hint=(Hint("partial"), otherwise),
    )


def closure(remote: Remote, view: LogView, target: Target) -> tuple[list[Target], tuple[Ref, ...]]:
    """Return the assets that an asset was made from, transitively, and refs not in the store."""
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
