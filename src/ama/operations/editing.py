"""init, add, rm, restore and set: changing what the next asset will be."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ama.errors import Conflict, NotFound, shown
from ama.format.names import check_alias
from ama.format.objects import check_metadata
from ama.operations.inspecting import is_tracked, staged_changes
from ama.operations.noted import named, taking_back
from ama.operations.session import Session
from ama.operations.uploading import settle
from ama.results import AddResult, RemoveResult, RestoreResult
from ama.system.encoding import given, to_system
from ama.values import Scalar
from ama.worktree import add as adding
from ama.worktree import restore as restoring
from ama.worktree.head import Head, Unpublished
from ama.worktree.layout import INIT
from ama.worktree.staging import Index, Notes
from ama.worktree.status import compare_listings
from ama.worktree.trees import selector
from ama.worktree.turns import turn

PathLike = str | os.PathLike[str]
Change = Callable[[Notes], Notes]


def start(session: Session, class_name: str, *, force: bool = False) -> None:
    """Start an asset of a class, without a parent, and with nothing staged."""
    with turn(session.tree, lambda begun: False, session.progress):
        _start(session, class_name, force)


def _start(session: Session, class_name: str, force: bool) -> None:
    tree = session.tree
    if not tree.head.exists():
        tree.require_begun()
        # The index first: where there's a HEAD and none, it was lost.
        tree.index.update(lambda latest: latest)
        tree.head.write(0, Head(class_name))
        return
    settle(session, starting=class_name)
    generation, head = tree.head.read()
    index = tree.index.read()
    try:
        if not force:
            _check_nothing_lost(session, head, index)
        # The index first: nothing that was staged may ever be taken for the new class's; and noted,
        # so that an empty one is never taken for the old class's.
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
            hint="publish them first: ama push; or leave them behind: ama init --force",
        )
    # An empty index holds nothing to lose: it is what an init that was interrupted leaves.
    if index.entries and staged_changes(session, head, index):
        raise Conflict(
            f"files are staged here for {head.class_name}, and would be lost",
            hint="publish them first: ama upload; or unstage them: ama restore --staged .",
        )
    notes = index.notes_for(head)
    if notes:
        raise Conflict(
            f"what is set here for the next asset of {head.class_name} would be lost:"
            f" {', '.join(named(notes))}",
            hint=f"take them back: {'; '.join(taking_back(notes))}",
        )


def _emptied(latest: Index, seen: Index) -> Index:
    if latest.entries != seen.entries or latest.notes != seen.notes:
        raise Conflict("files were staged here meanwhile", hint="see: ama status")
    return Index()


def add(session: Session, paths: Iterable[PathLike], *, copy: bool, force: bool) -> AddResult:
    """Stage files as they are now."""
    tree = session.tree
    tree.require_writable()
    tree.require_settled()
    done = adding.add(
        tree,
        _expanded(session, paths),
        copy=copy,
        portable=session.settings.portable_names,
        force=force,
        progress=session.progress,
    )
    before = done.before.entries
    after = {entry.path: entry for entry in done.entries}
    old = {path: before[path] for path in (*after, *done.gone) if path in before}
    return AddResult(compare_listings(old, after), done.unchanged, done.size, done.by_reference)


def _expanded(session: Session, paths: Iterable[PathLike]) -> list[PathLike]:
    """Expand globs that name no file of their own, here or staged."""
    root = session.tree.root
    found: list[PathLike] = []
    for path in paths:
        text = given(path)
        is_name = os.path.lexists(root / to_system(text))
        if glob.has_magic(text) and not (is_name or is_tracked(session, path)):
            matches = sorted(glob.glob(to_system(text), root_dir=root))
            if not matches:
                raise NotFound(f"{shown(text)} matches no file", hint="see: ama status")
            found += map(Path, matches)
        else:
            found.append(path)
    return found


def remove(
    session: Session, paths: Iterable[PathLike], *, keep_files: bool, force: bool
) -> RemoveResult:
    """Unstage files, and delete them here too unless `keep_files`."""
    tree = session.tree
    tree.require_settled()
    _, head = tree.head.read()
    removed = adding.remove(
        tree,
        paths,
        keep_files=keep_files,
        head={path: item.id for path, item in session.listing(head.asset).items()},
        stored=session.stored(head),
        force=force,
    )
    return RemoveResult(removed, not keep_files)


def restore(
    session: Session,
    paths: Iterable[PathLike],
    *,
    staged: bool,
    source: str | None,
    force: bool,
) -> RestoreResult:
    """Bring files back to what is staged, or what is staged back to HEAD.

    Of several processes that do this at once, one does the work, and the others wait for it.
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
    _, head = tree.head.read()
    chosen = [tree.relative(path) for path in paths]
    named = session.contents(source) if source else None
    if staged:
        base = session.listing(head.asset) if named is None else named
        done = restoring.restore_staged(
            tree,
            chosen,
            base,
            session.sources(),
            wanted=_wanted,
            promised=set(session.stored(head).values()),
            in_asset=session.in_asset(head),
            force=force,
        )
    else:
        done = restoring.restore_files(
            tree,
            chosen,
            named,
            session.sources(),
            wanted=_wanted,
            base=session.listing(head.asset),
            stored=session.stored(head),
            in_asset=session.in_asset(head),
            force=force,
            progress=session.progress,
        )
    return RestoreResult(done.restored, done.deleted, done.left_out)


def _wanted(index: Index) -> Callable[[str], bool]:
    return selector(index.include, index.exclude, metadata_only=index.metadata_only)


def _plain(value: Any) -> Any:
    """Return the Python value of a single number of numpy, or of a library like it."""
    # A metric is one more often than not: numpy.float64 is a float, but not what is written as one.
    is_single = getattr(value, "shape", None) == () and callable(getattr(value, "item", None))
    return value.item() if is_single else value


def set_notes(
    session: Session,
    aliases: Iterable[str],
    message: str | None,
    metadata: Mapping[str, Scalar],
    unset: Iterable[str],
) -> None:
    """Note what the next asset gets."""
    for alias in (aliases := tuple(aliases)):
        check_alias(alias)
    metadata = {key: _plain(value) for key, value in metadata.items()}
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
            raise NotFound(f"{shown(unknown[0])} is not set", hint="see what is: ama status")
        kept = [alias for alias in notes.aliases if f"alias:{alias}" not in drop]
        old = {key: value for key, value in notes.metadata.items() if key not in drop}
        text = None if "message" in drop else notes.message
        return replace(
            notes,
            aliases=tuple(dict.fromkeys((*kept, *aliases))),
            message=text if message is None else message,
            metadata={**old, **metadata},
        )

    _note_on(session, head, change)
    if drop & waiting:
        left = tuple(_without_aliases(head.unpublished, drop))
        session.tree.head.write(generation, replace(head, unpublished=left))


def _alias_keys(aliases: Iterable[str]) -> set[str]:
    """Return what `unset` takes for these aliases."""
    return {f"alias:{alias}" for alias in aliases}


def _without_aliases(commits: Iterable[Unpublished], drop: set[str]) -> Iterator[Unpublished]:
    """Yield commits without some of their aliases; one that waits for nothing more is left out."""
    for commit in commits:
        kept = tuple(alias for alias in commit.aliases if f"alias:{alias}" not in drop)
        if kept or commit.made:
            yield replace(commit, aliases=kept)


def note(session: Session, change: Change) -> None:
    """Change what is noted for the next asset."""
    _, head = _settled_head(session)
    _note_on(session, head, change)


def _settled_head(session: Session) -> tuple[int, Head]:
    """Return HEAD with its generation; notes are bound to it, and what was interrupted may yet
    move it.
    """
    settle(session)
    return session.tree.head.read()


def _note_on(session: Session, head: Head, change: Change) -> None:
    """Note something for the asset that comes after HEAD, wherever HEAD is by then."""
    tree = session.tree

    def noted(latest: Index) -> Index:
        return latest.with_notes(head, change(latest.notes_for(head)))

    tree.index.update(noted)
    while (now := tree.head.read()[1]).asset != head.asset or now.class_name != head.class_name:
        # An upload or a commit has moved it, perhaps before this was noted.
        head = now
        tree.index.update(noted)
