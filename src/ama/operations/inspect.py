"""status, diff and log of a worktree. They change nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import islice
from typing import TYPE_CHECKING

from ama.errors import AmaError, Hint, InvalidInput, NotFound, StorageError, shown
from ama.format.objects import EntryKind
from ama.lineage import ancestry
from ama.operations.session import Session
from ama.storage.urls import is_read_only
from ama.stores.class_view import ClassView
from ama.stores.log_view import When
from ama.stores.revisions import Describer
from ama.stores.sources import Sources
from ama.system import disk
from ama.system.encoding import to_system
from ama.values import AssetInfo, Change, Status
from ama.worktree.head import Head
from ama.worktree.layout import Worktree
from ama.worktree.reader import opened
from ama.worktree.scan import look
from ama.worktree.staging import Index
from ama.worktree.status import as_it_is, change_of, compare_listings, compare_worktree
from ama.worktree.trees import (
    Listed,
    differing_at,
    look_up,
    staged_differences,
    staged_files,
    top_of,
    walk,
)

if TYPE_CHECKING:
    from ama.contents.comparison import ContentDiff, FileDiff


def head_info(session: Session, head: Head) -> AssetInfo | None:
    """Return HEAD's asset as this machine knows it, without a request."""
    if head.asset is None:
        return None
    return session.content.info(head.asset, session.stores.describer(head, When.LAST_SEEN))


def is_tracked(session: Session, path: str | os.PathLike[str]) -> bool:
    """Tell whether a file is staged under exactly this name, or HEAD's asset has it."""
    tree = session.tree
    try:
        relative = tree.relative(path)
    except InvalidInput:
        return False
    head = tree.head.read().head
    if relative in tree.index.read().entries:
        return True
    return head.asset is not None and relative in session.content.files(head.asset)


def _brief(session: Session, head: Head, state: ClassView | None) -> AssetInfo | None:
    """Return HEAD's asset as last seen in a store, else as HEAD knows it."""
    if head.asset is None:
        return None
    info = session.content.info(head.asset, Describer(None))
    number = state.number(head.asset) if state else None
    record = state.record(number) if state and number else None
    if record is None:
        return replace(info, number=head.number)
    return replace(info, number=number, status=record.status, status_reason=record.reason)


def _origin(head: Head, remote: str | None, state: ClassView | None) -> str | None:
    """Return the store that has HEAD's asset, if the next upload goes to another store."""
    is_there = state is not None and head.asset is not None and state.number(head.asset)
    stays = is_there or head.number is None or head.origin == remote
    stays = stays or remote is None or is_read_only(remote)
    return None if stays else head.origin


def status(session: Session) -> Status:
    """Compare the worktree, the staging area and HEAD, without a request."""
    tree = session.tree
    head = tree.head.read().head
    index = tree.index.read()
    found = compare_worktree(tree, index)
    notes = index.notes_for(head)
    refs = session.stores.describer(head, When.LAST_SEEN).refs(notes.refs) if notes.refs else ()
    remote = session.stores.known_url(head)
    state = session.stores.known_class(remote, head.class_name) if head.number and remote else None
    return Status(
        root=tree.root,
        class_name=head.class_name,
        head=_brief(session, head, state),
        follows=head.alias,
        remote=remote,
        staged=staged_changes(session, head, index),
        changed=found.changed,
        untracked=found.untracked,
        aliases=notes.aliases,
        message=notes.message,
        metadata=dict(notes.metadata),
        refs=refs,
        unpublished=tuple(_waiting(session, head)),
        files=len(index.entries),
        size=index.entries.size,
        by_reference=_by_reference(session, head, index),
        skipped=index.entries.skipped,
        unreadable=found.unreadable,
        interrupted=tuple(tree.interrupted()),
        origin=_origin(head, remote, state),
        left_behind=_left_behind(session, head, state),
    )


def _left_behind(session: Session, head: Head, state: ClassView | None) -> int | None:
    """Return the number of the asset at HEAD's alias, if HEAD is known to be ahead of it."""
    target = state.target(head.alias) if state and head.alias else None
    if state is None or target is None or state.number(head.asset or b"") is None:
        return None
    with suppress(AmaError):  # read only local objects; an asset may be missing
        near = Sources(session.tree.objects.store)
        return state.number(target) if is_ahead(near, state, head, target) else None
    return None


def _waiting(session: Session, head: Head) -> Iterator[AssetInfo]:
    for commit in head.unpublished:
        info = session.content.info(commit.asset, Describer(None), sized=False)
        yield replace(info, aliases=commit.aliases)


def _by_reference(session: Session, head: Head, index: Index) -> int:
    """Count the staged files whose content is neither stored here nor published."""
    if index.tree_of == head.asset is not None:
        return 0
    stored = cache(lambda: set(session.content.stored(head).values()))
    return sum(e.id not in stored() for e in session.content.unstored(head, index.entries))


def staged_changes(session: Session, head: Head, index: Index) -> tuple[Change, ...]:
    """Return the changes that the next commit or upload would make."""
    if head.asset is not None and index.tree_of == head.asset:
        return ()
    sources = session.content.sources()
    tree = None if head.asset is None else sources.asset(head.asset).tree
    differing = staged_differences(tree, sources.tree, index.entries)
    changes = [change for old, new in differing if (change := change_of(old, new)) is not None]
    return tuple(sorted(changes, key=lambda change: change.path))


def diff(
    session: Session,
    old: str | None,
    new: str | None,
    *,
    staged: bool,
    paths: Iterable[str | os.PathLike[str]],
) -> tuple[Change, ...]:
    """Return the files that differ between two of: assets, the staging area and the worktree."""
    tree = session.tree
    wanted = [tree.relative(path) for path in paths]
    if new is not None and old is not None:
        return _between(session, old, new, wanted)
    head = tree.head.read().head
    index = tree.index.read()
    before = {} if old is None else session.names.contents(old)
    if staged and old is None:
        changes = staged_changes(session, head, index)
    elif staged:
        changes = compare_listings(before, staged_files(index))
    elif old is None:
        changes = _since_add(tree, index)
    else:
        changes = _against_worktree(tree, before, index)
    return _chosen(tree, changes, wanted, before.keys() | index.entries.keys())


def _between(session: Session, old: str, new: str, wanted: Sequence[str]) -> tuple[Change, ...]:
    """Return the files that differ between two assets; equal directories take no time."""
    trees = (
        session.content.live_tree(session.names.resolve(old)),
        session.content.live_tree(session.names.resolve(new)),
    )
    read = session.content.sources().tree
    pairs = {
        path: (look_up(trees[0], path, read), look_up(trees[1], path, read))
        for path in wanted or [""]
    }
    if all(map(any, pairs.values())):
        return compare_listings(*differing_at(pairs, read, read))
    # Something is no path of theirs: a glob, or a mistake.
    whole = {"": (top_of(trees[0]), top_of(trees[1]))}
    known = set(session.tree.index.read().entries)
    for tree in trees:
        known.update(item.path for item in walk(tree, read))
    changes = compare_listings(*differing_at(whole, read, read))
    return _chosen(session.tree, changes, wanted, known)


def _chosen(
    tree: Worktree, changes: tuple[Change, ...], wanted: Sequence[str], known: Set[str]
) -> tuple[Change, ...]:
    """Return the changes of the wanted files and directories; all if none are wanted."""
    if not wanted:
        return changes
    known = {change.path for change in changes} | known
    chosen: set[str] = set()
    for path in wanted:
        found = tree.named(path, known)
        if path and not found and not os.path.lexists(tree.root / to_system(path)):
            raise NotFound(
                f"{shown(tree.near(path))} is neither here nor in what is compared",
                hint=Hint("diff-all"),
            )
        chosen.update(found)
    return tuple(change for change in changes if change.path in chosen)


def _against_worktree(
    tree: Worktree, old: Mapping[str, Listed], index: Index
) -> tuple[Change, ...]:
    now: dict[str, Listed] = dict(staged_files(index))
    for change in _since_add(tree, index):
        item = now.pop(change.path)
        if change.kind != "removed":
            now[change.path] = as_it_is(tree, item.path)
    return compare_listings(old, now)


def _since_add(tree: Worktree, index: Index) -> tuple[Change, ...]:
    found = compare_worktree(tree, index)
    if found.unreadable:
        raise StorageError(
            f"no permission to read {shown(tree.root / to_system(found.unreadable[0]))}",
            hint=Hint("check-permissions-of-file"),
        )
    return found.changed


def log(session: Session, name: str, limit: int | None) -> list[AssetInfo]:
    """Return an asset and its ancestors, newest first."""
    head = session.tree.head.read().head
    asset = session.names.resolve(name)
    describer = session.stores.describer(head, When.NOW_ELSE_LAST_SEEN)

    def info(each: bytes) -> AssetInfo:
        return session.content.info(each, describer, sized=False)

    def parents(found: AssetInfo) -> Iterator[AssetInfo]:
        return (info(bytes.fromhex(parent)) for parent in found.parents)

    return list(islice(ancestry(info(asset), parents), limit))


_PIECE = 1024 * 1024
_NOT_STORED = "as it was added, its content is stored nowhere"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two sides of a comparison."""

    read: Callable[[str], Iterable[bytes] | None]
    """Returns the bytes of the file at a path; None if they are stored nowhere any more."""
    files: Callable[[], Mapping[str, Listed]]
    """Lists the files to search for renamed content; called only if a rename is possible."""


def diff_contents(
    session: Session,
    old: str | None,
    new: str | None,
    *,
    staged: bool,
    paths: Iterable[str | os.PathLike[str]],
) -> Iterator[FileDiff]:
    """Yield the differences within the files that `diff` returns for the same arguments."""
    changes = diff(session, old, new, staged=staged, paths=paths)
    if old is not None:
        before = _asset_side(session, session.names.resolve(old))
    elif staged:
        before = _asset_side(session, session.tree.head.read().head.asset)
    else:
        before = _staged_side(session)
    if new is not None:
        after = _asset_side(session, session.names.resolve(new))
    else:
        after = _staged_side(session) if staged else _worktree_side(session.tree)
    return compare_changes(changes, before, after)


def compare_changes(changes: Sequence[Change], old: Side, new: Side) -> Iterator[FileDiff]:
    """Yield the differences within changed files, one file at a time."""
    from ama.contents.comparison import FileDiff

    in_old = _by_content(old) if any(change.kind == "added" for change in changes) else {}
    in_new = _by_content(new) if any(change.kind == "removed" for change in changes) else {}
    for change in changes:
        if change.kind == "mode":
            yield FileDiff(change, None)
            continue
        same = in_old.get(change.new_id) if change.kind == "added" else None
        same = in_new.get(change.old_id) if change.kind == "removed" else same
        if same:
            yield FileDiff(change, None, tuple(same))
        else:
            yield FileDiff(change, _comparison(change, old, new))


def _by_content(side: Side) -> dict[str | None, list[str]]:
    """Return the paths of each content. Leave out empty files: they are equal by chance."""
    found: dict[str | None, list[str]] = {}
    for path, item in side.files().items():
        if item.size:
            found.setdefault(item.id.hex(), []).append(path)
    return found


def _comparison(change: Change, old: Side, new: Side) -> ContentDiff:
    from ama.contents.comparison import ContentDiff, compare_contents

    before = None if change.kind == "added" else old.read(change.path)
    after = None if change.kind == "removed" else new.read(change.path)
    if (before is None and change.kind != "added") or (after is None and change.kind != "removed"):
        return ContentDiff("binary", note=_NOT_STORED)
    return compare_contents(before, after)


def _asset_side(session: Session, asset: bytes | None) -> Side:
    files = cache(lambda: session.content.listing(asset))

    def read(path: str) -> Iterable[bytes]:
        return session.content.read(session.content.find(asset, path))

    return Side(read, files)


def _staged_side(session: Session) -> Side:
    index = session.tree.index.read()
    files = staged_files(index)

    def read(path: str) -> Iterable[bytes] | None:
        item = files[path]
        if not index.entries[path].stored and _is_here(session.tree, item):
            return _read_here(session.tree, path)
        return session.content.read(item) if item.id in session.content.sources() else None

    return Side(read, lambda: files)


def _is_here(tree: Worktree, item: Listed) -> bool:
    """Tell whether a worktree file is still as it was added, and so the nearest copy."""
    found = look(tree.root, item.path)
    return found is not None and found.size == item.size and as_it_is(tree, item.path).id == item.id


def _worktree_side(tree: Worktree) -> Side:
    # No files: a rename in the worktree is found from its new name, once that is staged.
    return Side(partial(_read_here, tree), dict)


def _read_here(tree: Worktree, path: str) -> Iterator[bytes]:
    found = look(tree.root, path)
    if found is not None and found.kind is EntryKind.SYMLINK:
        yield os.fsencode(disk.read_symlink(tree.root / to_system(path)))
        return
    with opened(tree.root, path) as file:
        while piece := file.read(_PIECE):
            yield piece


def is_ahead(sources: Sources, state: ClassView, head: Head, target: bytes) -> bool:
    """Tell whether HEAD comes from the asset at its alias, and the alias was never at HEAD.

    Args:
        sources: The sources of the assets in between.
        state: HEAD's class in the store.
        head: HEAD.
        target: The published asset at the alias.

    Raises:
        NotFound: An asset in between is in no source.
    """
    asset = head.asset
    if asset == target or (asset and state.was_on(head.alias or "", asset)):
        return False
    # Parents are published before their children: stop at the first asset that is not newer.
    number = state.number(target) or 0
    ancestors = ancestry(asset, sources.parents)
    return next((each for each in ancestors if (state.number(each) or 0) <= number), None) == target
