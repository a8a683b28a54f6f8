"""init, restore, set and link: change what the next asset will hold."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from ama.errors import AmaError, Conflict, Hint, InvalidInput, NotFound, shown
from ama.format.hashing import short
from ama.format.names import check_alias
from ama.format.objects import Kind, RefLink, check_metadata, encode_asset
from ama.operations.inspect import staged_changes
from ama.operations.session import Session, plain, settle
from ama.results import RestoreResult
from ama.stores.log_view import When
from ama.stores.revisions import find_alias
from ama.values import Ref, Scalar
from ama.worktree import restore as restoring
from ama.worktree.head import At, Head, Unpublished
from ama.worktree.layout import INIT, turn
from ama.worktree.neighbours import remember
from ama.worktree.staging import Index, Notes
from ama.worktree.trees import selector

PathLike = str | os.PathLike[str]
Change = Callable[[Notes], Notes]


def start(session: Session, class_name: str, *, force: bool = False) -> None:
    """Start an asset of a class, without a parent and with an empty staging area."""
    with turn(session.tree, lambda begun: False, session.progress):
        _start(session, class_name, force)
    remember(session.settings.cache_dir, session.tree, class_name)


def _start(session: Session, class_name: str, force: bool) -> None:
    tree = session.tree
    if not tree.head.exists():
        tree.require_begun()
        # Write the index first: a HEAD without an index means that the index was lost.
        tree.index.update(lambda latest: latest)
        tree.head.write(0, Head(class_name))
        return
    settle(session, starting=class_name)
    generation, head = tree.head.read()
    index = tree.index.read()
    try:
        if not force:
            _check_nothing_lost(session, head, index)
        # Empty the index first, so that the new class never gets old staged files. Note the init
        # before that, so that a crash does not leave the old class with an empty index.
        tree.note(INIT, class_name.encode())
        tree.index.update(lambda latest: _emptied(latest, index))
    except Conflict:
        tree.forget(INIT)
        raise
    tree.head.write(generation, Head(class_name, origin=head.origin))
    tree.forget(INIT)


def _check_nothing_lost(session: Session, head: Head, index: Index) -> None:
    if head.unpublished:
        raise Conflict(
            f"{head.class_name} has commits here that are not published, and would be lost",
            hint=(Hint("push-them"), Hint("leave-behind")),
        )
    # An empty index has nothing to lose: an interrupted init leaves one.
    if index.entries and staged_changes(session, head, index):
        raise Conflict(
            f"files are staged here for {head.class_name}, and would be lost",
            hint=(Hint("upload-them"), Hint("unstage-them")),
        )
    notes = index.notes_for(head)
    if notes:
        raise Conflict(
            f"what is set here for the next asset of {head.class_name} would be lost:"
            f" {', '.join(named(notes))}",
            hint=Hint("take-them-back", **facts_of(notes)),
        )


def _emptied(latest: Index, seen: Index) -> Index:
    if latest.entries != seen.entries or latest.notes != seen.notes:
        raise Conflict("files were staged here meanwhile", hint=Hint("status"))
    return Index()


def restore(
    session: Session,
    paths: Iterable[PathLike],
    *,
    staged: bool,
    source: str | None,
    force: bool,
) -> RestoreResult:
    """Restore files from the staging area, or the staging area from HEAD.

    If several processes restore files at once, one does the work and the others wait.
    """
    tree = session.tree
    tree.require_settled()
    if staged:
        return _restore(session, paths, staged=True, source=source, force=force)
    with turn(tree, lambda begun: False, session.progress):
        return _restore(session, paths, staged=False, source=source, force=force)


def _restore(
    session: Session,
    paths: Iterable[PathLike],
    *,
    staged: bool,
    source: str | None,
    force: bool,
) -> RestoreResult:
    tree = session.tree
    tree.require_settled()
    head = tree.head.read().head
    chosen = [tree.relative(path) for path in paths]
    named = session.names.contents(source) if source else None
    if staged:
        base = session.content.listing(head.asset) if named is None else named
        done = restoring.restore_staged(
            tree,
            chosen,
            base,
            session.content.sources(),
            wanted=_wanted,
            promised=set(session.content.stored(head).values()),
            in_asset=session.content.in_asset(head),
            force=force,
        )
    else:
        done = restoring.restore_files(
            tree,
            chosen,
            named,
            session.content.sources(),
            wanted=_wanted,
            base=session.content.listing(head.asset),
            kept=restoring.Kept(
                session.content.stored(head), session.content.in_asset(head), force
            ),
            progress=session.progress,
        )
    return RestoreResult(done.restored, done.deleted, done.left_out)


def _wanted(index: Index) -> Callable[[str], bool]:
    return selector(index.include, index.exclude, metadata_only=index.metadata_only)


def set_notes(
    session: Session,
    aliases: Iterable[str],
    message: str | None,
    metadata: Mapping[str, Scalar],
    unset: Iterable[str],
) -> None:
    """Note aliases, message and metadata of the next asset."""
    for alias in (aliases := tuple(aliases)):
        check_alias(alias)
    metadata = {key: plain(value) for key, value in metadata.items()}
    for key, value in metadata.items():
        check_metadata(key, value)
    drop = set(unset)
    generation, head = _settled_head(session)
    # Aliases also wait on commits that no push has published.
    waiting = _alias_keys(alias for commit in head.unpublished for alias in commit.aliases)

    def change(notes: Notes) -> Notes:
        known = {*notes.metadata, *_alias_keys(notes.aliases), *waiting, "message"}
        unknown = sorted(drop - known)
        if unknown:
            raise NotFound(f"{shown(unknown[0])} is not set", hint=Hint("status-of-what-is"))
        kept = [alias for alias in notes.aliases if f"alias:{alias}" not in drop]
        old = {key: value for key, value in notes.metadata.items() if key not in drop}
        text = None if "message" in drop else notes.message
        return replace(
            notes,
            aliases=tuple(dict.fromkeys((*kept, *aliases))),
            message=text if message is None else message or None,
            metadata={**old, **metadata},
        )

    _note_on(session, head, change)
    if drop & waiting:
        left = tuple(_without_aliases(head.unpublished, drop))
        session.tree.head.write(generation, replace(head, unpublished=left))


def _alias_keys(aliases: Iterable[str]) -> set[str]:
    """Return the keys by which `unset` names these aliases."""
    return {f"alias:{alias}" for alias in aliases}


def _without_aliases(commits: Iterable[Unpublished], drop: set[str]) -> Iterator[Unpublished]:
    """Yield commits without some of their aliases; leave out those with nothing left to publish."""
    for commit in commits:
        kept = tuple(alias for alias in commit.aliases if f"alias:{alias}" not in drop)
        if kept or commit.made:
            yield replace(commit, aliases=kept)


def note(session: Session, change: Change) -> None:
    """Change the notes of the next asset."""
    _, head = _settled_head(session)
    _note_on(session, head, change)


def _settled_head(session: Session) -> At:
    """Finish interrupted commands, which may move HEAD; then return HEAD and its generation."""
    settle(session)
    return session.tree.head.read()


def _note_on(session: Session, head: Head, change: Change) -> None:
    """Change the notes of the asset after HEAD, even if HEAD moves meanwhile."""
    tree = session.tree

    def noted(latest: Index) -> Index:
        return latest.with_notes(head, change(latest.notes_for(head)))

    tree.index.update(noted)
    while (now := tree.head.read().head).asset != head.asset or now.class_name != head.class_name:
        # An upload or a commit has moved HEAD, perhaps before it could read these notes.
        head = now
        tree.index.update(noted)


def link(
    session: Session, name: str, label: str, class_name: str | None, *, alias: bool
) -> RefLink:
    """Link the next asset to the asset that a name means; return the link."""
    session.tree.require_settled()
    asset = find(session, name, class_name, alias=alias)
    session.content.require_live(asset)
    made = take(session, asset, label)
    note(session, lambda notes: replace(notes, refs=with_ref(notes.refs, made)))
    return made


def take_back(session: Session, refs: Sequence[Ref], name: str) -> Ref:
    """Remove a noted link, and return it."""
    gone = find_noted(session, refs, name)

    def change(notes: Notes) -> Notes:
        return replace(notes, refs=tuple(r for r in notes.refs if r.asset.hex() != gone.asset))

    note(session, change)
    return gone


def find(session: Session, name: str, class_name: str | None, *, alias: bool) -> bytes:
    """Return the id of an asset to link, by any name of it, or by an alias of any class.

    Ask the store: the alias may have moved since this machine saw it last.

    Raises:
        NotFound: There is no such asset.
        InvalidInput: Several classes have the alias.
        StorageError: The store can't be reached.
    """
    _, head = session.tree.head.read()
    if name.startswith("@") and class_name is not None:
        name = class_name + name
    view = session.stores.default_view(head, When.NOW)
    url = session.stores.url(None, head)
    if view is not None and "@" not in name and (alias or class_name is not None):
        return find_alias(view, name, url, class_name)[1]
    plain = not any(mark in name for mark in "/@~") and name != "HEAD"
    if view is not None and plain and name not in view.class_names and not _is_id(name):
        return find_alias(view, name, url, or_class=True)[1]
    return session.names.resolve(name, When.NOW)


def _is_id(name: str) -> bool:
    return len(name) >= 7 and all(digit in "0123456789abcdefABCDEF" for digit in name)


def take(session: Session, asset: bytes, label: str) -> RefLink:
    """Return the link to an asset, and store the asset's record here: a push sends it along."""
    _, head = session.tree.head.read()
    if asset == head.asset:
        # HEAD's asset becomes the parent, and the history says so already.
        raise InvalidInput("the next asset comes from HEAD anyway, and needs no link to it")
    found = session.content.sources().asset(asset)
    with session.tree.objects.writing() as writer:
        waiting = [asset]
        while waiting:
            at = waiting.pop()
            if at in session.tree.objects or at in writer:
                continue
            try:
                record = session.content.sources().asset(at)
            except AmaError:
                if at == asset:
                    raise
                continue
            writer.add(Kind.ASSET, at, encode_asset(record))
            waiting += [*(ref.asset for ref in record.refs), *record.parents]
    return RefLink(asset, found.class_name, label)


def with_ref(refs: Sequence[RefLink], link: RefLink) -> tuple[RefLink, ...]:
    """Return the refs with a new link, which replaces an old one to the same asset.

    A new link without a label keeps the old label.
    """
    labels = [ref.label for ref in refs if ref.asset == link.asset] if not link.label else []
    made = replace(link, label=labels[0]) if labels else link
    return (*(ref for ref in refs if ref.asset != link.asset), made)


def find_noted(session: Session, refs: Sequence[Ref], name: str) -> Ref:
    """Return the noted link that a name means.

    Raises:
        NotFound: No link has the name.
        InvalidInput: Several links have the name.
    """
    named = [
        ref
        for ref in refs
        if name in (ref.class_name, f"{ref.class_name}/{ref.number}", *ref.aliases)
        or (len(name) >= 7 and ref.asset.startswith(name.lower()))
    ]
    if not named and "@" in name:
        asset = session.names.resolve(name).hex()
        named = [ref for ref in refs if ref.asset == asset]
    if not named:
        raise NotFound(f"{shown(name)} is not linked", hint=Hint("list-refs"))
    if len(named) > 1:
        raise InvalidInput(
            f"{shown(name)} names several links: {', '.join(ref.name for ref in named)}",
            hint="give its id",
        )
    return named[0]


def named(notes: Notes) -> tuple[str, ...]:
    """Return words for everything that is set, for messages.

    Example:
        >>> named(Notes(aliases=("best",), message="wider", metadata={"lr": 0.1}))
        ('alias best', 'the message', 'metadata lr')
    """
    parts = [f"alias {alias}" for alias in notes.aliases]
    parts += ["the message"] if notes.message is not None else []
    parts += [f"metadata {key}" for key in notes.metadata]
    parts += [f"the link to {short(ref.asset)}" for ref in notes.refs]
    return tuple(parts)


def facts_of(notes: Notes) -> dict[str, tuple[str, ...]]:
    """Return the facts of a hint to unset notes: their keys, and the linked assets.

    Example:
        >>> facts_of(Notes(aliases=("best",), message="wider"))
        {'keys': ('alias:best', 'message'), 'assets': ()}
    """
    keys = [f"alias:{alias}" for alias in notes.aliases]
    keys += ["message"] if notes.message is not None else []
    keys += notes.metadata
    return {"keys": tuple(keys), "assets": tuple(short(ref.asset) for ref in notes.refs)}
