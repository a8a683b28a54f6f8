"""switch, pull and fetch: bring another asset into this worktree, or read news of the store."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial

from ama.errors import AmaError, Conflict, Hint, NotFound, StorageError, shown
from ama.format.hashing import ID_SIZE
from ama.lineage import ancestry
from ama.operations.edit import facts_of, named
from ama.operations.inspect import is_ahead
from ama.operations.rollback import Accepted, accept, keep_lost_commits, lost_commits
from ama.operations.session import Session
from ama.results import FetchResult, SwitchResult
from ama.stores.class_view import ClassView
from ama.stores.log_view import LogView, When
from ama.stores.remote import Remote
from ama.stores.revisions import Describer, class_state, require_live
from ama.stores.sources import Sources
from ama.transfer.download import Target, objects_of
from ama.transfer.metadata import keep_metadata
from ama.transfer.pending import resume
from ama.values import AssetInfo
from ama.worktree.add import summary
from ama.worktree.checkout import Checkout, is_staged_as, plan_checkout, staged_meanwhile
from ama.worktree.entries import Entries
from ama.worktree.head import At, Head, Unpublished
from ama.worktree.layout import Begun, Worktree, turn
from ama.worktree.nearby import near_here
from ama.worktree.neighbours import remember
from ama.worktree.staging import Index, Notes
from ama.worktree.status import compare_listings
from ama.worktree.trees import Listed, selector, staged_files

_FORCE = " --force"


def switch(session: Session, name: str, *, force: bool) -> SwitchResult:
    """Make the worktree hold another asset. Finish an interrupted switch to the same asset.

    If several processes switch at once, one does the work and the others wait.
    """
    session.tree.require_writable()
    command = f"switch {name}"
    with turn(session.tree, partial(_is_alike, command), session.progress):
        return _switch(session, name, force=force)


def _is_alike(command: str, begun: Begun) -> bool:
    return begun.command.removesuffix(_FORCE) == command


def _switch(session: Session, name: str, *, force: bool) -> SwitchResult:
    tree = session.tree
    _settle(tree, session)
    at = tree.head.read()
    begun, by = _begun(tree)
    # `HEAD~1` means another asset once HEAD has moved.
    again = begun is not None and by.removesuffix(_FORCE) == f"switch {name}"
    if begun and again:
        asset = begun
    else:
        asset = session.names.resolve(name, When.NOW)
        session.content.require_live(asset)
    alias = name.partition("@")[2].partition("~")[0] if "~" not in name else ""
    return _move(session, at, asset, alias or None, by=f"switch {name}", force=force)


def _settle(tree: Worktree, session: Session) -> None:
    """Settle what a crash left behind, except a checkout: `_move` continues that."""
    tree.require_started()
    resume(tree, session.stores.open)


def pull(session: Session, remote: str | None, *, force: bool) -> SwitchResult:
    """Switch to the asset that HEAD's alias points to now or, without one, to the class's newest.

    If several processes pull at once, one does the work and the others wait.
    """
    session.tree.require_writable()
    with turn(session.tree, partial(_is_alike, "pull"), session.progress):
        return _pull(session, remote, force=force)


def _pull(session: Session, remote: str | None, *, force: bool) -> SwitchResult:
    _settle(session.tree, session)
    at = session.tree.head.read()
    _, head = at
    store, view = _look(session, remote, head)
    view.require_whole()
    state = class_state(view, head.class_name, store.url)
    target = state.target(head.alias) if head.alias else None
    if head.alias and target is None:
        raise _alias_gone(state, head.alias, store.url)
    if target is None:
        newest = state.newest_live()
        if newest is None:
            raise NotFound(f"{head.class_name} has no asset in {store.url}")
        target = newest.id
    elif is_ahead(session.content.sources(), state, head, target):
        describer = Describer(view)
        here = session.content.info(head.asset or target, describer)
        return SwitchResult(here, here, (), session.content.info(target, describer))
    if target != head.asset:
        require_live(view, head.class_name, target, store.url)
    if head.unpublished and target != head.asset:
        ancestors = {commit.asset for commit in head.unpublished}
        if target not in ancestors and not _comes_from(session, head.asset, target):
            raise Conflict(
                f"HEAD has commits that are not published, and {head.class_name} has moved on",
                hint=Hint("push-them"),
            )
        describer = Describer(view)
        now = session.content.info(head.asset, describer) if head.asset else None
        if now is not None:
            return SwitchResult(now, now, (), session.content.info(target, describer))
    return _move(session, at, target, head.alias, by="pull", force=force, origin=store.url)


def _alias_gone(state: ClassView, alias: str, url: str) -> NotFound:
    """Return an error that says what became of a followed alias.

    Pulling the newest asset instead would be wrong: it may never have had the alias.
    """
    name = f"{state.name}@{alias}"
    last = state.last_move(alias)
    gone = f"was removed by {shown(last.author)}" if last else f"is not in {url}"
    return NotFound(
        f"{name}, which this directory follows, {gone}",
        hint=(
            Hint("follow-alias", class_name=state.name),
            Hint("take-newest", class_name=state.name),
        ),
    )


def fetch(session: Session, remote: str | None, *, force: bool) -> FetchResult:
    """Read the store's log, and return the new assets of this worktree's class.

    With `force`, accept a log that contradicts what this machine saw.
    """
    head = session.tree.head.read().head
    before = session.stores.default_view(head, When.LAST_SEEN)
    known = before.class_state(head.class_name) if before else None
    store, view = _look(session, remote, head)
    accepted = accept(store) if force and view.damage is not None else Accepted(view)
    view = accepted.view
    view.require_whole()
    if force:
        keep_lost_commits(session, store.url, view)
    describer = Describer(view)
    records = view.class_state(head.class_name).assets
    fresh = [(head.class_name, r.id) for r in records if not known or known.number(r.id) is None]
    assets = store.assets(view, [*fresh, *_listed(view, head.class_name)])
    new = tuple(describer.info(i, assets[i]) for _, i in fresh)
    return FetchResult(store.url, new, accepted.assets, accepted.aliases)


def _listed(view: LogView, own: str) -> Iterator[tuple[str, bytes]]:
    """Yield the assets that `list` and `log` show: all of one class, the newest of the others.

    Reading them caches them, for a time when the store can't be reached.
    """
    for name, state in view.class_states().items():
        if name == own:
            yield from ((name, record.id) for record in state.assets)
        elif newest := state.newest_live():
            yield name, newest.id


def _look(session: Session, remote: str | None, head: Head) -> tuple[Remote, LogView]:
    url = session.stores.url(remote or None, head)
    view = session.stores.view(url)
    return session.stores.open(url), view


def _comes_from(session: Session, asset: bytes | None, ancestor: bytes) -> bool:
    return ancestor in ancestry(asset, session.content.sources().parents)


def _move(
    session: Session,
    at: At,
    asset: bytes,
    alias: str | None,
    *,
    by: str,
    force: bool,
    origin: str | None = None,
) -> SwitchResult:
    tree = session.tree
    _, head = at
    sources, found = _sources_for(session, asset, origin or session.stores.url(None, head))
    session.content.use(sources)
    old_files = session.content.listing(head.asset)
    _check_kept(session, head, asset, force=force)
    target = sources.asset(asset)
    url, number = found or (head.origin, None)
    elsewhere = ("download", f"{target.class_name}/{number or asset.hex()[:12]}", "-o", "DIR")
    new_files = session.content.listing(
        asset,
        wanted=bool(tree.index.read().include),
        hint=Hint("download-a-part", command=elsewhere),
    )
    moved = Head(target.class_name, asset, url, _unpublished(session, head, asset), alias, number)
    near = near_here(session.settings, target.class_name, target.parents, but=tree.root)
    # Before HEAD moves: whoever repeats `switch HEAD~1` after a crash would go back twice.
    remember(session.settings.cache_dir, tree, target.class_name)
    with Checkout(tree, at, near) as checkout:
        begun, _ = _begun(tree)
        index = tree.index.read()
        if not force:
            _check_nothing_staged(index, head, old_files, new_files if begun else None)
        plan = plan_checkout(
            tree,
            index,
            new_files.values(),
            wanted=selector(index.include, index.exclude, metadata_only=index.metadata_only),
            stored=(session.content.stored(head), _arriving(session, begun) or {}),
            base=old_files,
            force=force,
            instead=elsewhere,
        )
        keep_metadata(tree, sources, asset)
        try:
            entries = checkout.place(
                plan,
                sources,
                begun=Begun(asset.hex(), by + (_FORCE if force else "")),
                unmoved=partial(is_staged_as, seen=index),
                progress=session.progress,
            )
        except StorageError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT) and not tree.begun() and head.asset:
                # Fetched content stays for the next try, and it fills the disk.
                error.hints += (Hint("give-up-switch"),)
            raise
        fresh = tree.index.build(Entries(), entries)

        def changed(latest: Index) -> Index:
            if not is_staged_as(latest, index):
                raise staged_meanwhile()
            # Drop the notes: when HEAD returns to the asset that they are for, they must not apply
            # a second time.
            return replace(latest, entries=fresh, tree_of=asset, notes=Notes())

        checkout.finish(changed, moved)
    describer = session.stores.describer(moved, When.LAST_SEEN)
    old = session.content.info(head.asset, describer) if head.asset else None
    return SwitchResult(
        old,
        session.content.info(asset, describer),
        compare_listings(old_files, new_files),
        overwritten=plan.lost,
        dropped=named(index.notes_for(head)),
        instead=_instead(session, asset, origin or session.stores.url(None, head)),
    )


def _instead(session: Session, asset: bytes, url: str) -> AssetInfo | None:
    describer = Describer(session.stores.known(url))
    class_name = session.content.sources().asset(asset).class_name
    newest = describer.instead_of(class_name, asset)
    return None if newest is None else session.content.info(newest, describer, sized=False)


def _begun(tree: Worktree) -> tuple[bytes | None, str]:
    """Return the asset of an interrupted checkout, and its command.

    For an interrupted download, which notes a name, return HEAD's asset.
    """
    begun = tree.begun()
    if begun is None:
        return None, ""
    with suppress(ValueError):
        if len(found := bytes.fromhex(begun.target)) == ID_SIZE:
            return found, begun.command
    return tree.head.read().head.asset, ""


def _arriving(session: Session, begun: bytes | None) -> dict[str, bytes]:
    """Return the files that an interrupted checkout may have placed: they can be fetched again."""
    with suppress(AmaError):
        return {path: item.id for path, item in session.content.listing(begun).items()}
    return {}


def _check_nothing_staged(
    index: Index,
    head: Head,
    old_files: Mapping[str, Listed],
    new_files: Mapping[str, Listed] | None,
) -> None:
    """Check that nothing is staged or set that HEAD's asset does not have.

    Args:
        index: The index.
        head: HEAD.
        old_files: The files of HEAD's asset.
        new_files: The files of an interrupted checkout, some of which are staged; else None.

    Raises:
        Conflict: Something staged or set would be lost.
    """
    staged = [change.path for change in compare_listings(old_files, staged_files(index))]
    if new_files is not None:
        coming = {change.path for change in compare_listings(new_files, staged_files(index))}
        staged = [path for path in staged if path in coming]
    if staged:
        # While a checkout isn't finished, nothing can be committed.
        keep = Hint("commit-first" if new_files is None else "keep-elsewhere")
        raise Conflict(
            f"{summary(staged)} {'is' if len(staged) == 1 else 'are'} staged, and would be lost",
            hint=(keep, Hint("drop")),
        )
    notes = index.notes_for(head)
    if notes:
        raise Conflict(
            f"what is set for the next asset would be lost: {', '.join(named(notes))}",
            hint=(Hint("take-back-what-is-set", **facts_of(notes)), Hint("drop")),
        )


def _unpublished(session: Session, head: Head, asset: bytes) -> tuple[Unpublished, ...]:
    """Return the unpublished commits from an asset backwards, and those with waiting aliases."""
    noted = {commit.asset: commit for commit in head.unpublished}
    is_published = session.content.known_as_published(head)
    found: list[Unpublished] = []
    published = False
    for at in session.content.history(asset):
        published = published or is_published(at)
        if not published:
            found.append(noted.pop(at, Unpublished(at)))
        elif not noted:
            break
        elif at in noted:
            found.append(replace(noted.pop(at), made=False))
    return tuple(commit for commit in reversed(found) if commit.made or commit.aliases)


def _check_kept(session: Session, head: Head, asset: bytes, *, force: bool) -> None:
    """Refuse to leave commits behind that no store has, or that their store has lost."""
    waiting = {commit.asset for commit in head.unpublished} | set(lost_commits(session, head))
    left = [commit for commit in waiting if not _comes_from(session, asset, commit)]
    if left and not force:
        raise Conflict(
            f"{len(left)} commit{'s' if len(left) > 1 else ''} here would be left behind, and"
            " published nowhere",
            hint=(Hint("push-first"), Hint("leave-behind-anyway")),
        )


def _sources_for(
    session: Session, asset: bytes, url: str
) -> tuple[Sources, tuple[str, int] | None]:
    """Return sources that read an asset in few requests, and where a store has it.

    The place is the store's URL and the asset's number there; None if it has no such asset.
    """
    store = session.tree.objects.store
    try:
        view = session.stores.view(url)
    except NotFound:
        return session.content.sources(), None
    remote = session.stores.open(url)
    for name, state in view.class_states().items():
        number = state.number(asset)
        if number is not None:
            of_asset = partial(objects_of, remote, view, Target(name, asset, number))
            return Sources(store, [of_asset, *session.stores.openers(url)]), (remote.url, number)
    return session.content.sources(), None
