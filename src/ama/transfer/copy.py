"""Copies from one store to another, without a worktree: an asset with all that it depends on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ama.results import AliasChange
from ama.stores.log_view import LogView
from ama.stores.remote import Remote
from ama.stores.revisions import Describer, require_live
from ama.stores.sources import Sources
from ama.system.progress import Progress
from ama.transfer.aliases import Job
from ama.transfer.publish import BATCH, is_published
from ama.transfer.push import Push


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
    sent = reused = 0
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
