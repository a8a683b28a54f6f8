"""What it takes to change the files of a worktree, and whether that would lose content."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from ama.errors import Conflict, Hint, shown
from ama.format.names import fold_name
from ama.system import fs
from ama.system.encoding import from_system, to_system
from ama.worktree.add import read_again, summary
from ama.worktree.layout import CONTROL, Worktree
from ama.worktree.reader import entry_of, hash_found
from ama.worktree.scan import (
    Found,
    is_behind,
    look,
    obstacles,
    require_not_inside,
    surely_unchanged,
    unchanged,
)
from ama.worktree.staging import RACY, Index, IndexEntry
from ama.worktree.trees import Listed


@dataclass(frozen=True, slots=True)
class Plan:
    """What a checkout does: files to write, paths to delete, entries that are right already.

    `edited` are those of the files that were changed here and stay so.
    """

    write: tuple[Listed, ...]
    delete: tuple[str, ...]
    keep: tuple[IndexEntry, ...]
    skipped: tuple[IndexEntry, ...]
    seen: Mapping[str, Found | None]
    """What was at each path to be written or deleted when that was decided."""

    edited: tuple[str, ...] = ()
    """Those of `keep` that were changed here, and stay so."""

    lost: tuple[str, ...] = ()
    """Those to be written or deleted whose content is stored nowhere."""

    @property
    def size(self) -> int:
        """The bytes of all files to write."""
        return sum(item.size for item in self.write)


@dataclass(frozen=True, slots=True)
class Policy:
    """What a plan may take from the worktree.

    Attributes:
        is_kept: Whether content may leave a path where an item, if any, is to be then.
        keep: What would keep content that may not.
        force: Whether it is taken all the same.
        stays: Whether a file that differs from the item that is to be there stays as it is.
    """

    is_kept: Callable[[str, bytes, Listed | None], bool]
    keep: Hint
    force: bool = False
    stays: Callable[[Listed], bool] = lambda item: False


def plan_changes(
    tree: Worktree,
    index: Index,
    coming: Iterable[Listed],
    leaving: Collection[str],
    policy: Policy,
    skipped: Iterable[IndexEntry] = (),
) -> Plan:
    """Return what it takes to bring files to a worktree and take others from it.

    Args:
        tree: The worktree.
        index: What is staged there now.
        coming: The files that are to be here.
        leaving: The paths that are not to be here any more.
        policy: What may be taken for that.
        skipped: The index's entries for files that aren't to be here.

    Raises:
        Conflict: That would lose content, or something is in the way.
    """
    since = time.time_ns()
    entries, items = index.entries, {item.path: item for item in coming}
    nothing_here = not entries and is_empty(tree)
    blocked = frozenset() if nothing_here else obstacles(tree.root, [*items, *leaving])
    require_clear(items, blocked - set(leaving))
    respelled = respellings(tree, leaving, items)
    write, keep, lost, edited = [], [], [], []
    seen: dict[str, Found | None] = {}
    for path, item in items.items():
        entry = entries.get(path)
        if path in respelled:
            write.append(item)
            continue
        found = None if nothing_here else look_for_room(tree, path, blocked, leaving)
        if found is None:
            seen[path] = None
            write.append(item)
            continue
        content = content_of(tree, index, entry, found)
        if content == item.id and found.kind is item.kind:
            stored = entry is not None and entry.id == content and entry.stored
            keep.append(entry_of(found, content, item.size, stored=stored, since=since))
            continue
        if entry is not None and policy.stays(item):
            keep.append(entry._replace(mtime=RACY))
            edited.append(path)
            continue
        seen[path] = found
        write.append(item)
        content = content_of(tree, index, entry, found, content)
        if not policy.is_kept(path, content, item):
            lost.append(path)
    gone = look_at_leaving(tree, [path for path in entries if path in leaving], blocked)
    again = {old: items[path] for path, old in respelled.items()}
    for path, found in gone.items():
        content = content_of(tree, index, entries[path], found)
        content = content_of(tree, index, entries[path], found, content)
        if not policy.is_kept(path, content, again.get(path)):
            lost.append(path)
    fresh = [path for path in items if path not in entries]
    require_not_inside(tree.root, [*fresh, *(item.path for item in write), *gone])
    if lost and not policy.force:
        read_again(tree, lost)
        raise Conflict(
            f"the content of {summary(sorted(lost))} is stored nowhere else, and would be lost",
            hint=(policy.keep, Hint("overwrite-anyway")),
        )
    return Plan(
        tuple(write),
        tuple(gone),
        tuple(keep),
        tuple(skipped),
        {**seen, **gone},
        tuple(edited),
        tuple(sorted(lost)),
    )


def is_empty(tree: Worktree) -> bool:
    """Whether a worktree has nothing in it but its `.ama`."""
    return fs.list_directory(tree.root) == [CONTROL]


def look_at_leaving(
    tree: Worktree, leaving: Iterable[str], blocked: Collection[str]
) -> dict[str, Found]:
    """Return what is at the paths that are to leave the worktree, of those where anything is."""
    looked = {path: look(tree.root, path) for path in leaving if not is_behind(path, blocked)}
    return {path: found for path, found in looked.items() if found is not None}


def respellings(tree: Worktree, leaving: Iterable[str], arriving: Iterable[str]) -> dict[str, str]:
    """Return which arriving paths are the very file of a leaving one: by case, or Unicode's forms.

    Where the file system takes both for one name, deleting the one would delete the other.

    Returns:
        For each of these arriving paths the leaving one.
    """
    folded = {fold_name(path): path for path in leaving}
    if not folded or not (fs.is_case_blind(tree.control) or fs.normalizes_names(tree.control)):
        return {}
    pairs = {path: folded.get(fold_name(path)) for path in arriving}
    return {p: old for p, old in pairs.items() if old is not None and _is_one(tree, p, old)}


def _is_one(tree: Worktree, path: str, other: str) -> bool:
    one, two = look(tree.root, path), look(tree.root, other)
    return one is not None and two is not None and one[1:] == two[1:]


def require_clear(paths: Iterable[str], blocked: Collection[str]) -> None:
    """Check that nothing stands where paths need a directory, before anything is touched.

    Raises:
        Conflict: A file or a symlink does.
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


def content_of(
    tree: Worktree,
    index: Index,
    entry: IndexEntry | None,
    found: Found,
    leaving: bytes | None = None,
) -> bytes:
    """Return the id of what is at a path, read only if the staging area doesn't know it.

    Args:
        tree: The worktree.
        index: What is staged.
        entry: What is staged at the path.
        found: What is there.
        leaving: The id as this has returned it before, now that the content is to leave the path:
            then it takes more to believe the staging area.
    """
    if entry is not None and unchanged(entry, found, index.written_at):
        if leaving is None or surely_unchanged(entry, found, index.written_at):
            return entry.id
    elif leaving is not None:
        return leaving
    return hash_found(tree.root, found)


def is_safe(
    tree: Worktree,
    path: str,
    content: bytes,
    item: Listed | None,
    *stored: Mapping[str, bytes],
    base: Mapping[str, Listed] | None = None,
) -> bool:
    """Whether content may leave a path: it is stored, or is what will be there again.

    What is stored here is read for that, whole: an index promises nothing of its packs. And with
    the files of an asset as `base`, it must be that asset's: what was only ever staged lies in a
    pack as well, and nobody would find it there.
    """
    if item is not None and item.id == content:
        return True
    if any(known.get(path) == content for known in stored):
        return True
    if base is not None and (path not in base or base[path].id != content):
        return False
    return tree.objects.is_sound(content)


def look_for_room(
    tree: Worktree, path: str, blocked: Collection[str], leaving: Collection[str]
) -> Found | None:
    """Return what is at a path that a file is to have; None if there is nothing.

    Raises:
        Conflict: A directory is there that holds more than what is to leave it.
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
    top = os.path.join(tree.root, to_system(path))
    if os.path.islink(top):
        return False
    for directory, directories, names in os.walk(top):
        links = [name for name in directories if os.path.islink(os.path.join(directory, name))]
        for name in (*names, *links):
            below = os.path.relpath(os.path.join(directory, name), tree.root).replace(os.sep, "/")
            if from_system(below) not in leaving and not fs.is_temp(name):
                return True
    return False


def as_skipped(item: Listed) -> IndexEntry:
    """Return the index's entry for a file that a partial worktree doesn't have."""
    return IndexEntry(item.path, item.kind, item.id, item.size, 0, 0, 0, False, True)
