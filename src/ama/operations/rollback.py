"""Accepting a store's log that contradicts what this machine saw, on the user's word.

From then on, assets that only this worktree still has count as unpublished.
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
    """An accepted log, and the parts that it has lost since this machine saw it."""

    view: LogView
    """The log as it is now."""
    assets: tuple[Ref, ...] = ()
    """The assets that the store has lost."""
    aliases: tuple[AliasChange, ...] = ()
    """The aliases that the store has lost or points elsewhere; `new` is where."""


def accept(store: Remote) -> Accepted:
    """Accept a store's log as it is, and forget what this machine saw of lost parts.

    Raises:
        IntegrityError: The log itself is damaged: nothing is forgotten.
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
        for alias, last in state.last_moves().items():
            old, new = last.asset, state_now.target(alias)
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
    """Note in HEAD that the commits which a store has lost are unpublished.

    They stay unpublished, whatever this machine remembers of the store or forgets later.

    Args:
        session: The worktree's session.
        url: The store's URL.
        view: The store's log, just accepted.
    """
    session.stores.saw(url, view)
    session.content.forget()
    with suppress(Conflict):
        resume(session.tree, session.stores.open)
    if session.tree.noted(PUBLISH) is not None:
        return  # the interrupted publication adds to the store as it is, or is given up
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
    """Store content of HEAD's asset that only worktree files still have, as a commit does.

    Skip files that have changed since: the content is gone.
    """
    tree, index = session.tree, session.tree.index.read()
    waiting = list(session.content.unstored(head, index.entries))
    if not waiting or head.asset is None:
        return
    wanted: set[bytes] = set()
    with suppress(NotFound, IntegrityError):
        wanted = {item.id for item in session.content.files(head.asset).values()}
    wanted -= set(session.content.stored(head).values())
    for entry in waiting:
        if entry.id in wanted:
            with suppress(Conflict):
                publish.store_staged(tree, [entry], session.progress)


def lost_commits(session: Session, head: Head) -> Iterator[bytes]:
    """Yield HEAD's asset and its ancestors that no store is known to have or to have deleted."""
    is_published = session.content.known_as_published(head, or_deleted=True)
    with suppress(AmaError):
        for asset in session.content.history(head.asset):
            if is_published(asset):
                return
            yield asset
