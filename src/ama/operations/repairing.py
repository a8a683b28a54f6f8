"""Repairs of a store, from what a worktree and other stores have."""

from __future__ import annotations

from functools import partial
from itertools import chain

from ama.errors import Hint, IntegrityError, NotFound
from ama.format.objects import EntryKind
from ama.operations.session import Session, now
from ama.stores.sources import Sources
from ama.transfer import publish
from ama.transfer.log_repair import Mended, mend
from ama.transfer.rebuild import rebuild
from ama.transfer.repair import Repair, WorktreeFiles
from ama.worktree.head import At, Head
from ama.worktree.trees import Listed


def mend_log(session: Session, url: str, head: Head) -> Mended:
    """Put back the lost files of a store's log, as far as copies exist.

    Args:
        session: The worktree's session.
        url: The store's URL.
        head: HEAD.

    Raises:
        IntegrityError, FormatError, StorageError: See `mend`.
    """
    others = [partial(session.stores.storage, place) for place in session.stores.urls(head)]
    cache_dir = session.settings.cache_dir
    mended = mend(session.stores.storage(url), cache_dir, others, session.progress)
    if mended.done:
        session.stores.forget(url)
    return mended


def repair_content(
    session: Session,
    remote: str | None,
    at: At,
    tip: bytes,
    *,
    lost_only: bool = False,
    bring: bool = False,
) -> tuple[int, int]:
    """Read back from a store all that HEAD's asset and its ancestors need; send bad parts again.

    Args:
        session: The worktree's session.
        remote: The store's name or URL.
        at: HEAD.
        tip: HEAD's asset.
        lost_only: Whether to do nothing unless an index of the store can't be read.
        bring: Whether to send also what the store has only by reference.

    Returns:
        The number of bytes sent, and the number of objects.

    Raises:
        IntegrityError: Something can be read neither there nor here.
    """
    try:
        store = session.stores.open(session.stores.url(remote or None, at.head))
    except NotFound:
        return 0, 0
    view = store.view()
    rebuilt = rebuild(store, view, session.progress)
    if lost_only and not rebuilt.lost:
        return 0, 0
    sources = session.content.sources()
    if rebuilt.lost:
        there = rebuilt.objects
        sources = Sources(session.tree.objects.store, [lambda: there, *session.stores.openers()])
        session.content.use(sources)
    assets = []
    for asset in publish.history(sources, tip):
        class_name = sources.asset(asset).class_name
        record = store.record(view, class_name, asset)
        if record is not None and record.status != "deleted":
            assets.append((class_name, asset))
    noted = store.log.notes.at(view)
    notes = [note for class_name, asset in assets for note in noted.of(class_name, asset)]
    # The file of a note is in no asset: it may still lie here under its name.
    files = [each.note.file for each in notes if each.note.file]
    named = [Listed(file.name, EntryKind.FILE, file.id, file.size) for file in files]
    repair = Repair(
        store,
        sources,
        WorktreeFiles(session.tree.root, chain(named, session.content.listing(tip).values())),
        assets,
        notes,
        rebuilt,
        session.progress,
        bring=bring,
    )
    store.log.append(repair.events, author=session.settings.author(), now=now, view=view)
    session.content.forget()
    if repair.lost:
        first, *more = repair.lost
        others = f" (and {len(more):,} more like it)" if more else ""
        raise IntegrityError(
            f"not all could be repaired: {first}{others}",
            hint=Hint("fsck-after-repair", store=store.url),
        )
    return repair.bytes_sent, repair.objects
