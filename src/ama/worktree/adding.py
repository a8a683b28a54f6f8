"""`add` and `rm`: from the worktree into the staging area."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from ama import fs
from ama.chunking import THRESHOLD
from ama.compression import compress
from ama.errors import Conflict, InvalidInput, NotFound, shown
from ama.hashing import Buffer, blob_id, hash_stream
from ama.names import check_name, fold_name, nearest, unportable_reason
from ama.objects import EntryKind, Kind
from ama.objectstore import ObjectStore
from ama.packwriter import PackWriter
from ama.parallel import in_chunks
from ama.progress import Progress
from ama.staging import Index, IndexEntry
from ama.worktree.layout import CONTROL, Worktree
from ama.worktree.reading import (
    entry_of,
    link_target,
    look_again,
    opened,
    read_small,
    store_large,
)
from ama.worktree.scan import Found, directories_of, is_behind, look, obstacles, scan, unchanged

_Read = tuple[Found, bytes, int, tuple[int, Buffer] | None]


@dataclass(frozen=True, slots=True)
class Selection:
    """What paths given to a command stand for: files here, and staged paths that are gone."""

    found: tuple[Found, ...]
    gone: tuple[str, ...]


def select(tree: Worktree, index: Index, paths: Iterable[str | os.PathLike[str]]) -> Selection:
    """Return the files that some paths name: each file, and all below each directory.

    Raises:
        NotFound: a path names nothing here and nothing staged.
        InvalidInput: a path is outside the worktree, ignored, or another worktree.
    """
    found: dict[str, Found] = {}
    gone: dict[str, None] = {}
    for given in paths:
        path = tree.relative(given)
        full = tree.root / path
        # Unlike Path's methods, these are False for what may not be looked at.
        if os.path.isdir(full) and not os.path.islink(full):
            if path and os.path.exists(full / CONTROL):
                raise InvalidInput(
                    f"{shown(path)} is another ama worktree",
                    hint="link its asset instead: ama link CLASS/NUMBER",
                )
            below = scan(tree.root, tree.ignore, path, tracked=index.entries)
            here = {item.path: item for item in below}
            found.update(here)
            prefix = f"{path}/" if path else ""
            staged = [known for known in index.entries if known.startswith(prefix)]
            gone.update(dict.fromkeys(known for known in staged if known not in here))
            continue
        item = look(tree.root, path)
        if item is not None:
            if path not in index.entries and tree.ignore.ignores(path, False):
                raise InvalidInput(
                    f"{shown(path)} is ignored by .amaignore",
                    hint="change the line in .amaignore that names it",
                )
            found[path] = item
        elif os.path.exists(full):
            raise InvalidInput(f"{shown(path)} is neither a file, a directory nor a symlink")
        elif staged := [p for p in index.entries if p == path or p.startswith(f"{path}/")]:
            gone.update(dict.fromkeys(staged))
        else:
            raise _no_such(tree, path)
    skipped = {path for path, entry in index.entries.items() if entry.skipped}
    return Selection(tuple(found.values()), tuple(path for path in gone if path not in skipped))


def _no_such(tree: Worktree, path: str) -> NotFound:
    here = [item.path for item in islice(scan(tree.root, tree.ignore, unreadable=[]), 5000)]
    near = nearest(path, here)
    hint = f"did you mean {', '.join(near)}?" if near else "see what is here: ama status"
    return NotFound(f"{shown(path)}: no such file", hint=hint)


def check_names(index: Index, added: Sequence[str], *, portable: bool) -> None:
    """Check that all new paths can be in one asset, on any system if `portable`.

    Raises:
        InvalidInput: a name is unsafe, or (if `portable`) some system can't hold it.
    """
    parts = {part for path in added for part in path.split("/")}
    for part in parts:
        check_name(part)
    if not portable:
        return
    for part in sorted(parts):
        reason = unportable_reason(part)
        if reason is not None:
            raise InvalidInput(
                f"'{shown(part)}' can't be held by every system: {reason}",
                hint="rename it, or allow such names: ama config set add.portable_names false",
            )
    folded: dict[str, str] = {}
    paths = dict.fromkeys((*index.entries, *added))
    parents = {path.rpartition("/")[0] for path in paths}
    for path in (*parents, *paths):
        for name in _with_parents(path) if path in parents else (path,):
            other = folded.setdefault(fold_name(name), name)
            if other != name:
                raise InvalidInput(
                    f"'{shown(other)}' and '{shown(name)}' are one name on some systems",
                    hint="rename one, or allow such names: ama config set add.portable_names false",
                )


def _with_parents(path: str) -> Iterable[str]:
    at = path.find("/")
    while at >= 0:
        yield path[:at]
        at = path.find("/", at + 1)
    yield path


@dataclass(frozen=True, slots=True)
class Added:
    """What `add` staged: the entries that are new or other, and the paths that are gone."""

    before: Index
    entries: tuple[IndexEntry, ...]
    gone: tuple[str, ...]
    unchanged: int
    size: int
    by_reference: int


def add(
    tree: Worktree,
    paths: Iterable[str | os.PathLike[str]],
    *,
    copy: bool,
    portable: bool,
    progress: Progress,
) -> Added:
    """Stage files as they are now. Nothing is staged unless everything can be.

    Args:
        tree: the worktree.
        paths: files and directories; staged paths below them that are gone are unstaged.
        copy: whether large files are stored here now, not only noted.
        portable: whether names that some system can't hold are refused.
        progress: is told of the bytes read.
    """
    index = tree.index.read()
    selection = select(tree, index, paths)
    new = [item.path for item in selection.found if item.path not in index.entries]
    if new:
        check_names(index, new, portable=portable)
    work = [item for item in selection.found if _needs_reading(item, index, copy=copy)]
    progress.start("Adding", sum(item.size for item in work))
    try:
        entries = _stage(tree, work, copy=copy, progress=progress)
    finally:
        progress.finish()
    tree.index.update(lambda latest: latest.with_entries(entries, selection.gone))
    changed = [entry for entry in entries if _differs(entry, index.entries.get(entry.path))]
    return Added(
        index,
        tuple(changed),
        selection.gone,
        len(selection.found) - len(changed),
        sum(item.size for item in selection.found),
        sum(not entry.stored for entry in entries),
    )


def _needs_reading(item: Found, index: Index, *, copy: bool) -> bool:
    entry = index.entries.get(item.path)
    if entry is None or not unchanged(entry, item, index.written_at):
        return True
    return copy and not entry.stored


def _differs(entry: IndexEntry, before: IndexEntry | None) -> bool:
    return before is None or (entry.kind, entry.id) != (before.kind, before.id)


def _stage(
    tree: Worktree, work: Sequence[Found], *, copy: bool, progress: Progress
) -> list[IndexEntry]:
    entries: list[IndexEntry] = []
    if not work:
        return entries
    local = tree.objects.store

    def read(items: list[Found]) -> list[_Read]:
        return [_read(tree, item, local) for item in items]

    small = [item for item in work if item.kind is EntryKind.SYMLINK or item.size < THRESHOLD]
    large = [item for item in work if item.kind is not EntryKind.SYMLINK and item.size >= THRESHOLD]
    with tree.objects.writing() as writer:
        for done in in_chunks(read, small):
            for item, object_id, size, compressed in done:
                if compressed is not None:
                    writer.add_compressed(Kind.DATA, object_id, *compressed, size)
                entries.append(entry_of(item, object_id, size, stored=True))
            progress.advance(sum(item.size for item, _, _, _ in done))
        for item in large:
            entries.append(_stage_large(tree, item, writer, copy=copy, progress=progress))
    tree.objects.merge_small()
    return entries


def _read(tree: Worktree, item: Found, local: ObjectStore) -> _Read:
    """Read a small file or a symlink's target; compress it unless it is stored already."""
    if item.kind is EntryKind.SYMLINK:
        data = link_target(tree.root, item.path).encode()
    else:
        data = read_small(tree.root, item.path)
        if len(data) != item.size:
            look_again(tree.root, item)
    object_id = blob_id(data)
    return item, object_id, len(data), None if object_id in local else compress(data)


def _stage_large(
    tree: Worktree, item: Found, writer: PackWriter, *, copy: bool, progress: Progress
) -> IndexEntry:
    """Hash a large file, and store it if it is to be copied."""
    if copy:
        object_id = store_large(tree.root, item.path, writer, progress.advance)
    else:
        with opened(tree.root, item.path) as file:
            object_id, _ = hash_stream(file, progress.advance)
    look_again(tree.root, item)
    stored = copy or object_id in tree.objects
    return entry_of(item, object_id, item.size, stored=stored)


def remove(
    tree: Worktree,
    paths: Iterable[str | os.PathLike[str]],
    *,
    keep_files: bool,
    stored: dict[str, bytes],
    force: bool,
) -> tuple[str, ...]:
    """Unstage files, and delete them from the worktree unless `keep_files`.

    Args:
        tree: the worktree.
        paths: staged files, directories of them, or globs.
        keep_files: whether the files themselves stay.
        stored: paths and ids whose content is stored elsewhere (the published HEAD's).
        force: whether files whose content is stored nowhere are deleted too.

    Returns:
        The paths that are unstaged now.

    Raises:
        NotFound: a path is not staged.
        Conflict: a file's content is stored nowhere.
    """
    index = tree.index.read()
    chosen: dict[str, IndexEntry] = {}
    for given in paths:
        path = tree.relative(given)
        below = tree.named(path, index.entries)
        if not below:
            raise NotFound(f"{shown(path)} is not staged", hint="see what is: ama ls, ama status")
        chosen.update((p, index.entries[p]) for p in below)
    blocked = obstacles(tree.root, chosen)
    here = [p for p in chosen if not is_behind(p, blocked) and look(tree.root, p) is not None]
    if not keep_files and not force:
        lost = [path for path in here if not is_kept(tree, index, chosen[path], stored)]
        if lost:
            raise Conflict(
                f"the content of {summary(lost)} is stored nowhere else, and would be lost",
                hint="keep the files: ama rm --cached; or delete them all the same: --force",
            )
    # The files first: after a crash they are still known, and the same command deletes the rest.
    if not keep_files:
        for path in here:
            fs.remove(tree.root / path)
        remove_empty_parents(tree, here)
    tree.index.update(lambda latest: latest.with_entries((), chosen))
    return tuple(chosen)


def is_kept(tree: Worktree, index: Index, entry: IndexEntry, stored: dict[str, bytes]) -> bool:
    """Whether deleting a staged file of the worktree would lose nothing."""
    from ama.worktree.reading import hash_found

    found = look(tree.root, entry.path)
    if found is None:
        return True
    if unchanged(entry, found, index.written_at):
        content = entry.id
    else:
        content = hash_found(tree.root, found)
    return content in tree.objects or stored.get(entry.path) == content


def remove_empty_parents(tree: Worktree, paths: Iterable[str]) -> None:
    """Delete the directories that removing these paths left empty, but not where someone stands."""
    parents = directories_of(paths) - {tree.start}
    for parent in sorted(parents, key=len, reverse=True):
        fs.remove_empty_directory(tree.root / parent)


def summary(paths: Sequence[str]) -> str:
    """Name a few of many paths.

    Example:
        >>> summary(["a", "b", "c", "d"])
        'a, b, c and 1 more'
    """
    named = ", ".join(shown(path) for path in paths[:3])
    return named if len(paths) <= 3 else f"{named} and {len(paths) - 3} more"
