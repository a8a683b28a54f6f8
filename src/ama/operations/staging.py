"""add and rm: stage files, and unstage them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from pathlib import Path

from ama.errors import Hint, NotFound, shown
from ama.operations.session import Session
from ama.results import AddResult, RemoveResult
from ama.system.encoding import given, to_system
from ama.worktree import add as adding
from ama.worktree.status import Changes

PathLike = str | os.PathLike[str]


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
    count = sum(done.kinds.values())
    return AddResult(
        changes=Changes(done.before, done.after, count) if count else (),
        kinds=done.kinds,
        staged_size=done.staged_size,
        unchanged=done.unchanged,
        size=done.size,
        by_reference=done.by_reference,
    )


def _expanded(session: Session, paths: Iterable[PathLike]) -> list[PathLike]:
    """Expand globs; a path with the name of a file, here or staged, is not a glob."""
    root = session.tree.root
    found: list[PathLike] = []
    for path in paths:
        text = given(path)
        if glob.has_magic(text) and not _is_name(session, path, text):
            matches = sorted(glob.glob(to_system(text), root_dir=root))
            if not matches:
                raise NotFound(f"{shown(text)} matches no file", hint=Hint("status"))
            found += map(Path, matches)
        else:
            found.append(path)
    return found


def _is_name(session: Session, path: PathLike, text: str) -> bool:
    from ama.operations.inspect import is_tracked

    here = session.tree.root / to_system(text)
    return os.path.lexists(here) or is_tracked(session, path)


def remove(
    session: Session, paths: Iterable[PathLike], *, keep_files: bool, force: bool
) -> RemoveResult:
    """Unstage files, and also delete them from the worktree unless `keep_files`."""
    tree = session.tree
    tree.require_settled()
    head = tree.head.read().head
    removed = adding.remove(
        tree,
        paths,
        keep_files=keep_files,
        head=session.content.files(head.asset) if head.asset else {},
        stored=session.content.stored(head),
        force=force,
    )
    return RemoveResult(removed, not keep_files)
