"""From one store to another, without a worktree: an asset with all that it rests on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ama.logview import LogView
from ama.progress import Progress
from ama.remote import Remote
from ama.results import AliasChange
from ama.sources import Sources
from ama.transfer.aliasing import Job
from ama.transfer.publishing import BATCH, is_published
from ama.transfer.push import Push


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy did: the assets that it published, and the target's log after it."""

    assets: tuple[bytes, ...]
    aliases: tuple[AliasChange, ...]
    view: LogView
    bytes_sent: int
    bytes_reused: int


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
    """Publish an asset of one store in another, with its ancestors and all that it was made from.

    Only what the target lacks is moved. Done again after an interruption, it goes on.

    Args:
        source: the store that has it.
        target: the store that it comes to.
        asset: its id.
        aliases: the aliases that it gets there.
        author: who copies; who made an asset is part of the asset.
        now: the time in UTC microseconds.
        progress: is told of the bytes sent.

    Raises:
        NotFound: the source lacks something of it.
        IntegrityError: something of it is damaged in the source.
        Conflict: an alias has moved on in the target.
    """
    sources = Sources(source.current(source.view()))
    view = target.view()
    view.require_whole()
    wanted = [found for found in _closure(sources, asset) if not is_published(view, sources, found)]
    jobs = [Job(found, tuple(aliases) if found == asset else ()) for found in wanted]
    if aliases and asset not in wanted:
        jobs.append(Job(asset, tuple(aliases)))
    published: list[bytes] = []
    changes: list[AliasChange] = []
    sent = reused = 0
    for start in range(0, len(jobs), BATCH):
        batch = jobs[start : start + BATCH]
        push = Push(target, sources, batch, here={}, root=Path(), progress=progress)
        appended = target.log.append(push.events, author=author, now=now)
        if appended is not None:
            view = appended.view
            published += [job.asset for job in batch if job.asset in set(wanted)]
            changes += push.aliases
        sent, reused = sent + push.bytes_sent, reused + push.bytes_reused
    return Copied(tuple(published), tuple(changes), view, sent, reused)


def _closure(sources: Sources, asset: bytes) -> list[bytes]:
    """Return an asset after all that it comes from: parents and refs, transitively."""
    order: dict[bytes, None] = {}
    waiting = [(asset, False)]
    while waiting:
        found, done = waiting.pop()
        if found in order:
            continue
        if done:
            order[found] = None
            continue
        waiting.append((found, True))
        value = sources.asset(found)
        below = [*value.parents, *(ref.asset for ref in value.refs)]
        waiting += [(other, False) for other in below if other not in order]
    return list(order)
