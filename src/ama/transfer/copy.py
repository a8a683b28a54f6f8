"""Copies from one store to another, without a worktree: an asset with all that it depends on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ama.errors import Hint, IntegrityError
from ama.format.objects import Kind
from ama.format.references import REFERENCES
from ama.format.state import AssetRecord
from ama.results import AliasChange
from ama.stores.log_view import LogView
from ama.stores.remote import Remote
from ama.stores.revisions import Describer, require_live
from ama.stores.sources import Sources
from ama.system.progress import Progress
from ama.transfer.aliases import Job
from ama.transfer.publish import BATCH, is_published
from ama.transfer.push import Push
from ama.transfer.rebuild import rebuild
from ama.transfer.repair import Repair, WorktreeFiles


@dataclass(frozen=True, slots=True)
class Copied:
    """The result of a copy."""

    assets: tuple[bytes, ...]
    """The assets that the copy published."""
    aliases: tuple[AliasChange, ...]
    view: LogView
    """The target's log after the copy."""
    bytes_sent: int
    bytes_reused: int
    """The bytes of content that the target already had."""


def copy_asset(
    source: Remote,
    target: Remote,
    asset: bytes,
    aliases: Sequence[str] = (),
    *,
    author: str,
    now: Callable[[], int],
    progress: Progress,
) -> Copied:
    """Publish an asset of one store in another, with its ancestors and everything it was made from.

    Send only what the target lacks, and the content of references rather than these. After an
    interruption, another call continues.

    Args:
        source: The store with the asset.
        target: The store that gets it.
        asset: Its id.
        aliases: The aliases that it gets in the target.
        author: The author of the copy; the asset's own author is part of the asset.
        now: The time in UTC microseconds.
        progress: The progress of the bytes sent.

    Raises:
        NotFound: The source lacks a part of it, or one of the two has deleted it.
        IntegrityError: A part of it is damaged in the source.
        Conflict: An alias has moved on in the target.
    """
    given = source.view()
    sources = Sources(source.current(given))
    view = target.view()
    view.require_whole()
    class_name = sources.asset(asset).class_name
    require_live(given, class_name, asset, source.url)
    require_live(view, class_name, asset, target.url)
    closure = _closure(sources, Describer(given), asset)
    wanted = {i: why for i, why in closure.items() if not is_published(view, sources, i)}
    jobs = [Job(i, tuple(aliases) if i == asset else (), why) for i, why in wanted.items()]
    if aliases and asset not in wanted:
        jobs.append(Job(asset, tuple(aliases)))
    published: list[bytes] = []
    changes: list[AliasChange] = []
    # What is there by reference first: the others rest on it. Further back nothing rests.
    near = {asset, *(p for i in wanted for p in sources.asset(i).parents)} - wanted.keys()
    view, sent = _bring(target, view, sources, near, author=author, now=now, progress=progress)
    reused = 0
    for start in range(0, len(jobs), BATCH):
        batch = jobs[start : start + BATCH]
        push = Push(target, sources, batch, here={}, root=Path(), progress=progress, bring=True)
        appended = target.log.append(push.events, author=author, now=now)
        if appended is not None:
            view = appended.view
            published += [job.asset for job in batch if job.asset in wanted]
            changes += push.aliases
        sent, reused = sent + push.bytes_sent, reused + push.bytes_reused
    return Copied(tuple(published), tuple(changes), view, sent, reused)


def _bring(
    target: Remote,
    view: LogView,
    sources: Sources,
    assets: Iterable[bytes],
    *,
    author: str,
    now: Callable[[], int],
    progress: Progress,
) -> tuple[LogView, int]:
    """Send the content of assets that the target has by reference.

    Returns:
        The target's log, and the bytes sent.

    Raises:
        IntegrityError: Something can be read neither there, in the source, nor where it lies.
    """
    classes = {asset: sources.asset(asset).class_name for asset in assets}
    records = {a: target.record(view, name, a) for a, name in classes.items()}
    outside = [
        (classes[asset], asset)
        for asset, record in records.items()
        if record is not None and record.status != "deleted"
        if _is_outside(target, view, classes[asset], record)
    ]
    if not outside:
        return view, 0
    rebuilt = rebuild(target, view, progress)
    files = WorktreeFiles(Path(), ())
    repair = Repair(target, sources, files, outside, (), rebuilt, progress, bring=True)
    appended = target.log.append(repair.events, author=author, now=now, view=view)
    for lost in repair.lost:
        raise IntegrityError(lost, hint=Hint("fsck-after-repair", store=target.url))
    return (view if appended is None else appended.view), repair.bytes_sent


def _is_outside(target: Remote, view: LogView, class_name: str, record: AssetRecord) -> bool:
    """Whether an asset may have content in the target by reference."""
    if REFERENCES not in view.root.read_features:
        return False
    objects = target.objects_of(view, class_name, record)
    return any(index.has_kind(Kind.REFERENCE) for index in objects.indexes)


def _closure(sources: Sources, describer: Describer, asset: bytes) -> dict[bytes, str | None]:
    """Return an asset and everything that it comes from, transitively: parents, and live refs.

    The value of a deleted asset is the reason; that of a live one is None. The refs of a deleted
    asset are left out.
    """
    order: dict[bytes, str | None] = {}
    waiting = [(asset, False)]
    while waiting:
        found, done = waiting.pop()
        if found in order:
            continue
        value = sources.asset(found)
        record = describer.record(value.class_name, found)
        deleted = record is not None and record.status == "deleted"
        if done:
            order[found] = record.reason if record is not None and deleted else None
            continue
        waiting.append((found, True))
        below = list(value.parents)
        if not deleted:
            links = (r for r in value.refs if describer.status(r.class_name, r.asset) != "deleted")
            below += [link.asset for link in links]
        waiting += [(other, False) for other in below if other not in order]
    return order
