"""Plans of changes to a worktree's files, and whether they would lose content."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from ama.errors import Conflict, Hint, shown
from ama.format.names import fold_name
from ama.system import disk, fs
from ama.system.encoding import from_system, to_system
from ama.worktree.add import read_again, summary
from ama.worktree.entries import IndexEntry
from ama.worktree.layout import CONTROL, Worktree
from ama.worktree.listing import Files, Listing, size_of
from ama.worktree.reader import entry_of, hash_found
from ama.worktree.scan import (
    Found,
    is_behind,
    look,
    obstacles,
    require_no_git,
    require_not_inside,
    require_possible,
    surely_unchanged,
    unchanged,
)
from ama.worktree.staging import RACY, Index
from ama.worktree.trees import Listed


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes of a checkout: files to write, paths to delete, entries that are right already.

    `edited` are those of the files that have changed here and stay so.
    """

    write: Files
    """Of a listing, those files that aren't chosen are skipped."""
    delete: tuple[str, ...]
    keep: tuple[IndexEntry, ...]
    skipped: tuple[IndexEntry, ...]
    seen: Mapping[str, Found | None]
    """The files at each path to be written or deleted, as the plan has seen them; nothing is at
    any other path."""

    edited: tuple[str, ...] = ()
    """Those of `keep` that have changed here, and stay so."""

    lost: tuple[str, ...] = ()
    """Those to be written or deleted whose content is stored nowhere."""

    @property
    def size(self) -> int:
        """Return the bytes of all files to write."""
        return size_of(self.write)


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of what a plan may take from the worktree.

    Attributes:
        is_kept: Whether content may leave a path that an item, if any, gets then.
        keep: Returns how to keep content that may not, for some paths as the user types them.
        force: Whether to take it all the same.
        stays: Whether a file stays that differs from the item for its path.
    """

    is_kept: Callable[[str, bytes, Listed | None], bool]
    keep: Callable[[tuple[str, ...]], Hint]
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
    """Return the plan that brings files to a worktree and removes others.

    Args:
        tree: The worktree.
        index: The present index.
        coming: The files that should be here.
        leaving: The paths that should not be here any more.
        policy: The rules of what may be taken.
        skipped: The index's entries for files that shouldn't be here.

    Raises:
        Conflict: The plan would lose content, or something is in the way.
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
            hint=(policy.keep(tree.typed(sorted(lost))), Hint("overwrite-anyway")),
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


def plan_fresh(tree: Worktree, files: Listing) -> Plan:
    """Return the plan that brings files to a worktree with nothing in it.

    Raises:
        InvalidInput: This system can't hold a name, or no file here may have it.
    """
    if files.odd:
        require_no_git(item.path for item in files)
        require_possible(tree.control, [item.path for item in files])
    return Plan(files, (), (), (), {})


def is_empty(tree: Worktree) -> bool:
    """Whether a worktree has nothing in it but its `.ama`."""
    return disk.list_directory(tree.root) == [CONTROL]


def look_at_leaving(
    tree: Worktree, leaving: Iterable[str], blocked: Collection[str]
) -> dict[str, Found]:
    """Return the files at the paths that should leave the worktree, without missing ones."""
    looked = {path: look(tree.root, path) for path in leaving if not is_behind(path, blocked)}
    return {path: found for path, found in looked.items() if found is not None}


def respellings(tree: Worktree, leaving: Iterable[str], arriving: Iterable[str]) -> dict[str, str]:
    """Return arriving paths that are the very file of a leaving one: by case, or Unicode's forms.

    If the file system takes both for one name, deleting one would delete the other.

    Returns:
        The leaving path for each of these arriving paths.
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
    """Check that nothing is in the way of paths' directories, before anything is touched.

    Raises:
        Conflict: A file or a symlink is.
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
    """Return the id of the content at a path, read only if the index doesn't know it.

    Args:
        tree: The worktree.
        index: The present index.
        entry: The entry of the path.
        found: The file at the path.
        leaving: The id that this has returned before, now that the content should leave the path:
            then the index needs more to be believed.
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
    """Whether content may leave a path: it is stored, or will be there again.

    Content stored here is read whole for that: an index promises nothing about its packs. And with
    the files of an asset as `base`, it must be that asset's: content that was only ever staged is
    in a pack too, and nobody would find it there.
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
    """Return the file at a path that another file should get; None if there is none.

    Raises:
        Conflict: A directory is there with more than what should leave it.
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
