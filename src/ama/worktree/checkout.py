"""Making a worktree hold another asset: all content is fetched and verified first, then placed.

1. compare: which files are to be written and deleted;
2. guard: refuse if that would lose content that is stored nowhere;
3. fetch: every new file, verified, into `.ama/incoming`, where a second try finds it again;
4. place: note the target durably, then delete, rename into place, and write the index.

A crash before 4 changes nothing; a crash within 4 is finished by the same command.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ama import fs
from ama.errors import Conflict, InvalidInput, StorageError, shown, storage_error
from ama.names import fold_name, unportable_reason
from ama.objects import EntryKind
from ama.parallel import in_chunks
from ama.progress import Progress
from ama.sources import Sources
from ama.staging import RACY, Index, IndexEntry
from ama.worktree.adding import remove_empty_parents, summary
from ama.worktree.incoming import drop_incoming, fetch
from ama.worktree.layout import CONTROL, Worktree
from ama.worktree.reading import entry_of, hash_found
from ama.worktree.scan import Found, is_behind, look, obstacles, unchanged
from ama.worktree.snapshot import Listed


@dataclass(frozen=True, slots=True)
class Plan:
    """What a checkout does: files to write, paths to delete, entries that are right already.

    `edited` are those of the files that were changed here and stay so.
    """

    write: tuple[Listed, ...]
    delete: tuple[str, ...]
    keep: tuple[IndexEntry, ...]
    skipped: tuple[IndexEntry, ...]
    edited: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """The bytes of all files to write."""
        return sum(item.size for item in self.write)


def plan_checkout(
    tree: Worktree,
    index: Index,
    target: Iterable[Listed],
    *,
    wanted: Callable[[str], bool],
    stored: Mapping[str, bytes],
    base: Mapping[str, Listed],
    force: bool,
    arriving: Mapping[str, bytes] | None = None,
) -> Plan:
    """Return what it takes to make the worktree hold `target`.

    Args:
        tree: the worktree.
        index: what is staged there now.
        target: the files it is to hold.
        wanted: whether a path is to be here; others are noted as skipped.
        stored: paths and ids whose content is stored elsewhere.
        base: the files of the asset that the worktree is at: a file that was changed here but
            is the same in both assets stays as it is.
        force: whether files whose content is stored nowhere are overwritten.
        arriving: paths and ids of the asset that a checkout which was interrupted was placing.

    Raises:
        Conflict: that would lose content.
        InvalidInput: this system can't hold a name.
    """
    listed = {item.path: item for item in target}
    _check_names(tree.control, [path for path in listed if wanted(path)])
    nothing_here = not index.entries and os.listdir(tree.root) == [CONTROL]
    blocked = frozenset() if nothing_here else obstacles(tree.root, [*listed, *index.entries])
    leaving = {p for p, entry in index.entries.items() if p not in listed and not entry.skipped}
    require_clear([path for path in listed if wanted(path)], blocked - leaving)
    known = (stored, arriving or {})
    write, keep, skipped, lost, edited = [], [], [], [], []
    for path, item in listed.items():
        entry = index.entries.get(path)
        if not wanted(path):
            skipped.append(_skipped(item))
            continue
        found = None if nothing_here else look_for_room(tree, path, blocked, leaving)
        if found is None:
            write.append(item)
            continue
        content = content_of(tree, index, entry, found)
        if content == item.id and found.kind is item.kind:
            stays = entry is not None and entry.id == content and entry.stored
            keep.append(entry_of(found, content, item.size, stored=stays))
            continue
        if base.get(path) == item and not force and entry is not None:
            keep.append(entry._replace(mtime=RACY))
            edited.append(path)
            continue
        write.append(item)
        if not is_safe(tree, path, content, item, *known):
            lost.append(path)
    delete = []
    for path, entry in index.entries.items():
        if path in listed or entry.skipped or is_behind(path, blocked):
            continue
        found = look(tree.root, path)
        if found is not None:
            delete.append(path)
            if not is_safe(tree, path, content_of(tree, index, entry, found), None, *known):
                lost.append(path)
    if lost and not force:
        raise Conflict(
            f"the content of {summary(sorted(lost))} is stored nowhere else, and would be lost",
            hint="keep it: ama add and ama commit; or overwrite it all the same: --force",
        )
    return Plan(tuple(write), tuple(delete), tuple(keep), tuple(skipped), tuple(edited))


def require_clear(paths: Iterable[str], blocked: Collection[str]) -> None:
    """Check that nothing stands where paths need a directory, before anything is touched.

    Raises:
        Conflict: a file or a symlink does.
    """
    for path in paths if blocked else ():
        parent = path.rpartition("/")[0]
        while parent:
            if parent in blocked:
                raise Conflict(
                    f"{shown(parent)} is in the way: a directory is to be there",
                    hint="move it elsewhere and run the same command again",
                )
            parent = parent.rpartition("/")[0]


def content_of(tree: Worktree, index: Index, entry: IndexEntry | None, found: Found) -> bytes:
    """Return the id of what is at a path, read only if the staging area doesn't know it."""
    if entry is not None and unchanged(entry, found, index.written_at):
        return entry.id
    return hash_found(tree.root, found)


def is_safe(
    tree: Worktree, path: str, content: bytes, item: Listed | None, *stored: Mapping[str, bytes]
) -> bool:
    """Whether content may leave a path: it is stored, or is what will be there again."""
    if item is not None and item.id == content:
        return True
    return any(known.get(path) == content for known in stored) or content in tree.objects


def look_for_room(
    tree: Worktree, path: str, blocked: Collection[str], leaving: Collection[str]
) -> Found | None:
    """Return what is at a path that a file is to have; None if there is nothing.

    Raises:
        Conflict: a directory is there that holds more than what is to leave it.
    """
    if is_behind(path, blocked):
        return None
    found = look(tree.root, path)
    if found is None and _holds_files(tree, path, leaving):
        raise Conflict(
            f"{shown(path)} is in the way: a file is to be there, and the directory holds others",
            hint="move it elsewhere and run the same command again",
        )
    return found


def _holds_files(tree: Worktree, path: str, leaving: Collection[str]) -> bool:
    top = os.path.join(tree.root, path)
    if os.path.islink(top):
        return False
    for directory, directories, names in os.walk(top):
        links = [name for name in directories if os.path.islink(os.path.join(directory, name))]
        for name in (*names, *links):
            below = os.path.relpath(os.path.join(directory, name), tree.root).replace(os.sep, "/")
            if below not in leaving:
                return True
    return False


def _skipped(item: Listed) -> IndexEntry:
    return IndexEntry(item.path, item.kind, item.id, item.size, 0, 0, 0, False, True)


def _check_names(control: Path, paths: Sequence[str]) -> None:
    """Check that this system can hold all paths, before anything is written."""
    if os.name == "nt":
        for path in paths:
            for part in path.split("/"):
                reason = unportable_reason(part)
                if reason is not None:
                    raise InvalidInput(
                        f"'{shown(path)}' can't be held by this system: {reason}",
                        hint=f"leave it out: --exclude '{shown(path)}'",
                    )
    folded: dict[str, str] = {}
    for path in paths:
        other = folded.setdefault(fold_name(path), path)
        if other != path and (fs.is_case_blind(control) or fs.normalizes_names(control)):
            raise InvalidInput(
                f"'{shown(other)}' and '{shown(path)}' are one name on this file system",
                hint=f"leave one out: --exclude '{shown(path)}'",
            )


def check_out(
    tree: Worktree,
    plan: Plan,
    sources: Sources,
    *,
    target: str | None,
    progress: Progress,
) -> list[IndexEntry]:
    """Fetch what a plan writes, then place it.

    Args:
        tree: the worktree.
        plan: what to write and delete.
        sources: where content comes from.
        target: the asset's name, for who finds an interrupted checkout; None where one that is
            interrupted leaves nothing to be finished.
        progress: is told of the bytes written.

    Returns:
        The index's entries, all of them.
    """
    progress.start("Fetching", plan.size)
    try:
        staged = fetch(tree, plan.write, sources, progress)
    finally:
        progress.finish()
    if target is not None:
        tree.note("checkout", target.encode())
    for path in plan.delete:
        fs.remove(tree.root / path)
    remove_empty_parents(tree, plan.delete)
    return [*plan.keep, *plan.skipped, *_place(tree, plan.write, staged)]


def finish(tree: Worktree) -> None:
    """Forget an interrupted checkout and what it fetched: index and HEAD are written."""
    drop_incoming(tree)
    tree.forget("checkout")


def _place(
    tree: Worktree, wanted: Sequence[Listed], staged: Mapping[str, str]
) -> Iterator[IndexEntry]:
    made: set[str] = {""}
    for item in wanted:
        parent = item.path.rpartition("/")[0]
        if parent not in made:
            _make_parents(tree, parent, made)
    root = os.fspath(tree.root)
    local = tree.objects

    def place(items: list[Listed]) -> list[IndexEntry]:
        return [_placed(root, item, staged[item.path], item.id in local) for item in items]

    for entries in in_chunks(place, wanted):
        yield from entries


def _placed(root: str, item: Listed, staged: str, stored: bool) -> IndexEntry:
    target = f"{root}{os.sep}{item.path}"
    try:
        _place_one(item, staged, target)
    except StorageError:
        # An empty directory stands where a file is to be; what was in it is gone by now.
        if not os.path.isdir(target) or os.path.islink(target):
            raise
        remove_directories(target)
        _place_one(item, staged, target)
    found = look(root, item.path)
    if found is None:
        raise Conflict(f"{shown(item.path)} disappeared right after it was written")
    return entry_of(found._replace(kind=item.kind), item.id, item.size, stored=stored)


def _place_one(item: Listed, staged: str, target: str) -> None:
    if item.kind is EntryKind.SYMLINK:
        with open(staged, "rb") as file:
            text = file.read().decode()
        fs.make_symlink(text, target, sync=False, temp_in=os.path.dirname(staged))
    else:
        fs.place(staged, target, sync=False, keep=True)


def remove_directories(path: str) -> None:
    """Delete a directory that has nothing but empty directories in it."""
    for directory, _, _ in os.walk(path, topdown=False):
        fs.remove_empty_directory(directory)


def _make_parents(tree: Worktree, path: str, made: set[str]) -> None:
    """Make the directories above a file, never through a symlink."""
    at = ""
    for part in path.split("/"):
        at = f"{at}/{part}" if at else part
        if at in made:
            continue
        full = tree.root / at
        if full.is_symlink() or full.is_file():
            raise Conflict(
                f"{shown(at)} is in the way: a directory is to be there",
                hint="move it elsewhere and run the same command again",
            )
        try:
            fs.make_directories(full, sync=False)
        except OSError as error:
            raise storage_error(error, full) from error
        made.add(at)
