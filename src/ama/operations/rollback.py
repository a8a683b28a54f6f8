"""A store whose log is another than this machine saw: it is taken as it is, if the user says so.

What only this worktree has still counts as published nowhere from then on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from ama.errors import AmaError, Conflict, IntegrityError, NotFound
from ama.operations.session import Session
from ama.results import AliasChange
from ama.stores.log_view import LogView, When
from ama.stores.remote import Remote
from ama.stores.revisions import Describer
from ama.transfer import publish
from ama.transfer.pending import numbered, resume
from ama.values import Ref
from ama.worktree.head import Head, Unpublished
from ama.worktree.layout import PUBLISH


@dataclass(frozen=True, slots=True)
class Accepted:
    """A store's log as it is, and what this machine saw there that isn't there any more.

    Of an alias that is elsewhere now, `new` is where.
    """

    view: LogView
    assets: tuple[Ref, ...] = ()
    aliases: tuple[AliasChange, ...] = ()


def accept(store: Remote) -> Accepted:
    """Take a store's log as it is, and forget what this machine saw of it where that is no more.

    Raises:
        IntegrityError: The log is damaged, whatever was seen of it: nothing is forgotten.
    """
    view = store.view()
    if view.damage is None:
        return Accepted(view)
    before = store.log.view(When.LAST_SEEN)
    view = store.log.accept()
    if before is None:
        return Accepted(view)
    return Accepted(view, tuple(_lost_assets(before, view)), tuple(_lost_aliases(before, view)))


def _lost_assets(before: LogView, view: LogView) -> Iterator[Ref]:
    describer, now = Describer(before), Describer(view)
    for name, state in before.class_states().items():
        for record in state.assets:
            if now.number(name, record.id) is None:
                yield describer.ref(record.id, name, "")


def _lost_aliases(before: LogView, view: LogView) -> Iterator[AliasChange]:
    describer, describer_now = Describer(before), Describer(view)
    for name, state in before.class_states().items():
        state_now = view.class_state(name)
        for alias in sorted(state.aliases):
            old, new = state.target(alias), state_now.target(alias)
            if old is not None and old != new:
                yield AliasChange(
                    name,
                    alias,
                    old.hex(),
                    None if new is None else new.hex(),
                    describer.number(name, old),
                    None if new is None else describer_now.number(name, new),
                )


def keep_lost_commits(session: Session, url: str, view: LogView) -> None:
    """Let HEAD say that what a store has lost of it is published nowhere.

    Whatever is remembered of the store later, or forgotten: it isn't taken for published.

    Args:
        session: The worktree.
        url: The store's URL.
        view: Its log, which was just taken as it is.
    """
    session.stores.saw(url, view)
    session.content.forget()
    with suppress(Conflict):
        resume(session.tree, session.stores.open)
    if session.tree.noted(PUBLISH) is not None:
        return  # it publishes on top of what the store has, or is given up
    generation, head = session.tree.head.read()
    if head.origin != url:
        return
    noted = {commit.asset: commit for commit in head.unpublished}
    lost = [
        replace(noted.pop(asset, Unpublished(asset)), made=True)
        for asset in reversed(list(lost_commits(session, head)))
    ]
    moved = replace(numbered(head, view), unpublished=(*noted.values(), *lost))
    if moved != head:
        session.tree.head.write(generation, moved)
    keep_lost_files(session, moved)


def keep_lost_files(session: Session, head: Head) -> None:
    """Store what HEAD's asset has in files alone, and no store any more, as a commit does.

    What was changed since is passed over: it isn't here any more.
    """
    tree, index = session.tree, session.tree.index.read()
    waiting = publish.by_reference(tree, index)
    if not waiting:
        return
    wanted: set[bytes] = set()
    with suppress(NotFound, IntegrityError):
        wanted = {item.id for item in session.content.listing(head.asset).values()}
    wanted -= set(session.content.stored(head).values())
    for entry in waiting:
        if entry.id in wanted:
            alone = replace(index, entries={entry.path: entry})
            with suppress(Conflict):
                publish.store_staged(tree, alone, session.progress)


def lost_commits(session: Session, head: Head) -> Iterator[bytes]:
    """Yield HEAD's asset and those before it that no store is known to have or to have had."""
    is_published = session.content.known_as_published(head, or_deleted=True)
    with suppress(AmaError):
        for asset in session.content.history(head.asset):
            if is_published(asset):
                return
            yield asset
