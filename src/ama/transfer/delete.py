"""Deprecating and deleting assets, and undoing both, with nothing but entries of the log.

A deleted asset keeps its number and its record, because later versions name it in their history.
A later version doesn't prevent the deletion: its own content is whole. An asset made from it does,
because `download --refs` promises both; and so does an alias.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from ama.errors import AmaError, Conflict, Hint, InvalidInput, NotFound
from ama.format.entries import Event, SetStatus, StatusName
from ama.format.objects import EntryKind
from ama.format.state import AssetRecord
from ama.stores.log_view import LogView
from ama.stores.remote import Remote
from ama.stores.sources import Sources
from ama.transfer.download import Target
from ama.worktree.trees import trees_below

_NAMED = 5

Decide = Callable[[LogView, AssetRecord], AssetRecord]
"""Returns an asset's new record, given the log and the present one; or refuses."""


def change_status(
    remote: Remote, target: Target, decide: Decide, *, author: str, now: Callable[[], int]
) -> tuple[StatusName, LogView]:
    """Append an entry that changes the status of an asset, unless it already has that status.

    Read the entries of others first, and decide again after each.

    Args:
        remote: The store.
        target: The asset.
        decide: The decision about the new status.
        author: The author of the entry.
        now: The time in UTC microseconds.

    Returns:
        The asset's status before, and the log afterwards.
    """
    before: list[tuple[StatusName, LogView]] = []

    def events(latest: LogView) -> list[Event]:
        record = latest.class_state(target.class_name).record(target.number)
        if record is None or record.id != target.asset:
            raise NotFound(f"{target.name} is not in {remote.url}")
        wanted = decide(latest, record)
        before.append((record.status, latest))
        if wanted == record:
            return []
        return [SetStatus(target.asset, target.class_name, wanted.status, wanted.reason)]

    done = remote.log.append(events, author=author, now=now)
    status, seen = before[-1]
    return status, done.view if done else seen


def deprecating(target: Target, reason: str) -> Decide:
    """Return the decision to deprecate an asset; a deprecated one gets the new reason."""

    def decide(view: LogView, record: AssetRecord) -> AssetRecord:
        if record.status == "deleted":
            raise is_deleted(target)
        return replace(record, status="deprecated", reason=reason)

    return decide


def approving(target: Target) -> Decide:
    """Return the decision to lift an asset's deprecation."""

    def decide(view: LogView, record: AssetRecord) -> AssetRecord:
        if record.status == "deleted":
            raise is_deleted(target)
        return replace(record, status="active", reason="")

    return decide


def deleting(remote: Remote, target: Target, reason: str, *, force: bool) -> Decide:
    """Return the decision to delete an asset; unless forced, only if nothing live depends on it."""

    def decide(view: LogView, record: AssetRecord) -> AssetRecord:
        if record.status == "deleted":
            return replace(record, reason=reason or record.reason)
        if not force:
            _check_unused(remote, view, target)
        return replace(record, status="deleted", reason=reason)

    return decide


def undeleting(remote: Remote, target: Target) -> Decide:
    """Return the decision to undelete an asset, only if no gc has taken its content since."""

    def decide(view: LogView, record: AssetRecord) -> AssetRecord:
        if record.status == "deprecated":
            raise InvalidInput(
                f"{target.name} is deprecated, and not deleted",
                hint=Hint("undeprecate", asset=target.name),
            )
        if record.status == "deleted" and not _is_whole(remote, view, target, record):
            raise NotFound(
                f"the content of {target.name} is gone from {remote.url}: only its record is there",
                hint=Hint("show-entry", asset=target.name),
            )
        return replace(record, status="active", reason="")

    return decide


def is_recoverable(remote: Remote, view: LogView, target: Target, old: StatusName) -> bool:
    """Tell whether an asset is deleted and all of it is still there, as far as visible.

    Args:
        remote: The store.
        view: Its log.
        target: The asset.
        old: The asset's status before. If it was not deleted, no gc has taken its content.
    """
    record = view.class_state(target.class_name).record(target.number)
    if record is None or record.status != "deleted":
        return False
    with suppress(AmaError):  # the work is done, and this is only a remark
        return old != "deleted" or _is_whole(remote, view, target, record)
    return False


def assets_made_from(remote: Remote, view: LogView, asset: bytes) -> list[tuple[str, int]]:
    """Return the live assets of a store that link to one, as (class, number).

    Read the asset objects of all classes. Those that this machine has seen are cached.

    Args:
        remote: The store.
        view: Its log.
        asset: The id of the linked asset.
    """
    live = [
        (name, number, record.id)
        for name, state in sorted(view.class_states().items())
        for number, record in enumerate(state.assets, 1)
        if record.status != "deleted"
    ]
    found = remote.assets(view, [(name, i) for name, _, i in live])
    return [
        (name, number)
        for name, number, i in live
        if any(link.asset == asset for link in found[i].refs)
    ]


def _check_unused(remote: Remote, view: LogView, target: Target) -> None:
    name = target.name
    pointing = view.class_state(target.class_name).aliases_of(target.asset)
    if pointing:
        aliases = [f"{target.class_name}@{alias}" for alias in pointing]
        raise Conflict(
            f"{_listed(aliases)} {'points' if len(aliases) == 1 else 'point'} to {name}",
            hint=(Hint("move-alias", alias=aliases[0]), Hint("delete-anyway", asset=name)),
        )
    made = [f"{name}/{number}" for name, number in assets_made_from(remote, view, target.asset)]
    if made:
        raise Conflict(
            f"{_listed(made)} {'was' if len(made) == 1 else 'were'} made from {name}",
            hint=(Hint("deprecate-instead", asset=name), Hint("delete-anyway", asset=name)),
        )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def is_deleted(target: Target) -> Conflict:
    """Return the error for an asset that is deleted, and that something was to be said of."""
    return Conflict(f"{target.name} is deleted", hint=Hint("take-deletion-back", asset=target.name))


def _is_whole(remote: Remote, view: LogView, target: Target, record: AssetRecord) -> bool:
    """Tell whether the indexes that an asset needs are current and name all of its content."""
    needs = remote.needs(view, target.class_name, record)
    if not all(index in view.root.indexes for index in needs):
        return False
    objects = remote.objects(remote.indexes(needs))
    if not objects.holds(target.asset):
        return False
    objects.load_metadata()
    sources = Sources(objects)
    try:
        trees = trees_below(sources.asset(target.asset).tree, sources.tree)
        files = (e.id for _, entries in trees for e in entries if e.kind is not EntryKind.TREE)
        return all(map(objects.holds, files))
    except NotFound:
        return False
