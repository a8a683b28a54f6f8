"""What differs within files: between assets, the staging area and the worktree."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

from ama.contents.comparison import ContentDiff, FileDiff, compare_contents
from ama.format.objects import EntryKind
from ama.operations import inspecting
from ama.operations.session import Session
from ama.system import fs
from ama.system.encoding import to_system
from ama.values import Change
from ama.worktree.layout import Worktree
from ama.worktree.reader import opened
from ama.worktree.scan import look
from ama.worktree.staging import Index
from ama.worktree.status import as_it_is
from ama.worktree.trees import Listed, staged_files

_PIECE = 1024 * 1024
_NOT_STORED = "as it was added, its content is stored nowhere"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two that are compared.

    `read` returns the bytes of the file at a path, or None if they are nowhere any more. `files`
    lists what is looked through for content that has another name on the other side, where that is
    asked for.
    """

    read: Callable[[str], Iterable[bytes] | None]
    files: Callable[[], Mapping[str, Listed]]


def diff_contents(
    session: Session,
    old: str | None,
    new: str | None,
    *,
    staged: bool,
    paths: Iterable[str | os.PathLike[str]],
) -> Iterator[FileDiff]:
    """Return what differs within the files that `inspecting.diff` returns for the same."""
    changes = inspecting.diff(session, old, new, staged=staged, paths=paths)
    _, head = session.tree.head.read()
    index = session.tree.index.read()
    if old is not None:
        before = _asset_side(session, session.resolve(old))
    else:
        before = _asset_side(session, head.asset) if staged else _staged_side(session, index)
    if new is not None:
        after = _asset_side(session, session.resolve(new))
    else:
        after = _staged_side(session, index) if staged else _worktree_side(session.tree)
    return compare_changes(changes, before, after)


def compare_changes(changes: Sequence[Change], old: Side, new: Side) -> Iterator[FileDiff]:
    """Yield what differs within changed files, one at a time."""
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
    """Return the paths that each content has, but that of empty files, which says nothing."""
    found: dict[str | None, list[str]] = {}
    for path, item in side.files().items():
        if item.size:
            found.setdefault(item.id.hex(), []).append(path)
    return found


def _comparison(change: Change, old: Side, new: Side) -> ContentDiff:
    before = None if change.kind == "added" else old.read(change.path)
    after = None if change.kind == "removed" else new.read(change.path)
    if (before is None and change.kind != "added") or (after is None and change.kind != "removed"):
        return ContentDiff("binary", note=_NOT_STORED)
    return compare_contents(before, after)


def _asset_side(session: Session, asset: bytes | None) -> Side:
    files = cache(lambda: session.listing(asset))

    def read(path: str) -> Iterable[bytes]:
        return session.read(session.find(asset, path))

    return Side(read, files)


def _staged_side(session: Session, index: Index) -> Side:
    files = staged_files(index)

    def read(path: str) -> Iterable[bytes] | None:
        item = files[path]
        if not index.entries[path].stored and _is_here(session.tree, item):
            return _read_here(session.tree, path)
        return session.read(item) if item.id in session.sources() else None

    return Side(read, lambda: files)


def _is_here(tree: Worktree, item: Listed) -> bool:
    """Whether a file of the worktree is as it was added, which is then the nearest copy."""
    found = look(tree.root, item.path)
    return found is not None and found.size == item.size and as_it_is(tree, item.path).id == item.id


def _worktree_side(tree: Worktree) -> Side:
    # What was renamed here is found from its new name, once that is staged.
    return Side(partial(_read_here, tree), dict)


def _read_here(tree: Worktree, path: str) -> Iterator[bytes]:
    found = look(tree.root, path)
    if found is not None and found.kind is EntryKind.SYMLINK:
        yield os.fsencode(fs.read_symlink(tree.root / to_system(path)))
        return
    with opened(tree.root, path) as file:
        while piece := file.read(_PIECE):
            yield piece
