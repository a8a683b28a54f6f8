"""The files of a worktree, with their stat data; links are never followed."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ama.errors import Conflict, Hint, InvalidInput, shown, storage_error
from ama.format.names import fold_name, is_git_directory, unportable_reason
from ama.format.objects import EntryKind
from ama.system import fs
from ama.system.encoding import SAME, from_system, to_system
from ama.worktree.blocks import KIND, SKIPPED, key_of
from ama.worktree.entries import IndexEntry
from ama.worktree.ignore import Ignore, never_meant
from ama.worktree.layout import CONTROL
from ama.worktree.staging import RACY, Index

MAPPED_WINDOW = 60_000_000_000
"""The nanoseconds in which a system writes a dirty page: Linux takes up to 35 seconds."""


class Found(NamedTuple):
    """A file or symlink in the worktree. Times are nanoseconds, the size bytes."""

    path: str
    kind: EntryKind
    size: int
    mtime: int
    ctime: int
    inode: int


_FILE, _EXECUTABLE, _SYMLINK = EntryKind.FILE, EntryKind.EXECUTABLE, EntryKind.SYMLINK
_TREE = EntryKind.TREE


def look(root: str | os.PathLike[str], path: str) -> Found | None:
    """Return the file or symlink at a path, or None if there is none.

    Raises:
        StorageError: It can't be examined.
    """
    full = os.path.join(root, to_system(path))
    try:
        status = os.lstat(full)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        # Behind a symlink that leads to itself, or with a name that no file can have.
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
            return None
        raise storage_error(error, full, doing="read") from error
    kind = _kind(status.st_mode)
    if kind is None:
        return None
    return Found(path, kind, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


class Scanned(NamedTuple):
    """One directory of the worktree, compared with what is staged there, by stat data alone."""

    directory: str
    new: list[Found]
    """Files that aren't staged, and aren't ignored."""
    doubtful: list[Found]
    """Staged files that must be read to be known as unchanged."""
    missing: list[str]
    """Staged paths, of files, where none is; those that a partial worktree skips don't count."""
    gone: list[str]
    """Directories with staged files that aren't there, or are another worktree's."""
    unchanged: int
    size: int
    """The bytes of the files that are unchanged."""


def scan(
    root: str | os.PathLike[str],
    ignore: Ignore,
    below: str = "",
    *,
    staged: Index | None = None,
    unreadable: list[str] | None = None,
    thorough: bool = False,
) -> Iterator[Scanned]:
    """Yield every directory below one, each before those in it, compared with an index.

    A file or directory counts that is staged, or isn't ignored. A directory that is itself a
    worktree is not entered; anything else than a file, a directory or a symlink is passed over.

    Args:
        root: The worktree's directory.
        ignore: The ignore rules, for paths that aren't staged.
        below: The directory, relative to the root.
        staged: The index; None: nothing is staged.
        unreadable: A list for the paths that can't be read, which are passed over; without it they
            are an error, as the directory itself always is.
        thorough: Whether every staged file is doubtful.

    Raises:
        StorageError: A directory can't be read.
    """
    top = os.fspath(root)
    scanner = _Scanner(ignore, staged or Index(), unreadable, thorough)
    waiting = [below]
    while waiting:
        directory = waiting.pop()
        full = os.path.join(top, to_system(directory)) if directory else top
        try:
            with os.scandir(full) as found:
                listed = list(found)
            ruled = ignore.has_rules(directory)
        except OSError as error:
            if directory == below:
                raise storage_error(error, full, doing="read") from error
            if isinstance(error, FileNotFoundError):
                yield _passed_over(directory)
            else:
                scanner.pass_over(full, directory, error)
            continue
        if directory and any(entry.name == CONTROL for entry in listed):
            yield _passed_over(directory)
            continue
        scanned, inner = scanner.compare(directory, listed, ruled)
        yield scanned
        waiting += sorted(inner, key=key_of, reverse=True)


def _passed_over(directory: str) -> Scanned:
    return Scanned(directory, [], [], [], [directory], 0, 0)


class _Scanner:
    """The comparison of directories with an index."""

    def __init__(
        self, ignore: Ignore, index: Index, unreadable: list[str] | None, thorough: bool
    ) -> None:
        self._ignore = ignore
        self._entries = index.entries
        self._written_at = 0 if thorough else index.written_at
        self._unreadable = unreadable

    def compare(
        self, directory: str, listed: list[os.DirEntry[str]], ruled: bool
    ) -> tuple[Scanned, list[str]]:
        """Return a directory compared, and the directories in it that are to be entered.

        Args:
            directory: The directory.
            listed: What is in it.
            ruled: Whether a rule may exclude something in it.
        """
        prefix = f"{directory}/" if directory else ""
        new: list[Found] = []
        doubtful: list[Found] = []
        inner: list[str] = []
        unchanged = size = 0
        staged = self._entries.stats(directory)
        left = dict(staged)
        written_at = self._written_at
        # There may be millions of files, and what stands in this loop is done for each.
        for entry in listed:
            name = entry.name if SAME else from_system(entry.name)
            known = staged.get(name)
            is_staged_tree = known is not None and known[4] & KIND == _TREE
            try:
                is_directory = entry.is_dir(follow_symlinks=False)
                if known is None or is_staged_tree is not is_directory:
                    if self._is_ignored(prefix, name, is_directory, ruled):
                        continue
                    known = None
                if is_directory:
                    inner.append(prefix + name)
                    if known is not None:
                        del left[name]
                    continue
                status = entry.stat(follow_symlinks=False)
            except OSError as error:  # also on file systems whose listings tell no kinds
                if self.pass_over(entry.path, prefix + name, error):
                    left.pop(name, None)
                continue
            kind = _kind(status.st_mode)
            if kind is None:
                continue
            found = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
            if known is not None:
                del left[name]
                mtime = found[1]
                same = found == known[:4] and known[4] & KIND == kind
                if same and mtime < written_at and mtime != RACY:
                    unchanged += 1
                    size += found[0]
                    continue
            item = Found(prefix + name, kind, *found)
            (new if known is None else doubtful).append(item)
        new.sort()
        doubtful.sort()
        gone = [prefix + name for name, stats in left.items() if stats[4] & KIND == _TREE]
        missing = [
            prefix + name
            for name, stats in left.items()
            if stats[4] & KIND != _TREE and not stats[4] & SKIPPED
        ]
        return Scanned(directory, new, doubtful, missing, gone, unchanged, size), inner

    def _is_ignored(self, prefix: str, name: str, is_directory: bool, ruled: bool) -> bool:
        """Whether what isn't staged is left out; without a rule, few names need a look."""
        needs_look = ruled or name[0] == "." or never_meant(name)
        return bool(needs_look) and self._ignore.ignores(prefix + name, is_directory)

    def pass_over(self, full: str, path: str, error: OSError) -> bool:
        """Note an unreadable path; return False if it is only gone since the listing."""
        if isinstance(error, FileNotFoundError):
            return False
        if self._unreadable is None:
            raise storage_error(error, full, doing="read") from error
        self._unreadable.append(path)
        return True


def directories_of(paths: Iterable[str]) -> set[str]:
    """Return every directory above one of these paths, without the root.

    Example:
        >>> sorted(directories_of(["a/b/c", "d"]))
        ['a', 'a/b']
    """
    found = {""}
    for path in paths:
        parent = path.rpartition("/")[0]
        while parent not in found:
            found.add(parent)
            parent = parent.rpartition("/")[0]
    return found - {""}


def unchanged(entry: IndexEntry, found: Found, index_written_at: int) -> bool:
    """Whether a file is what was added, judged by its stat data alone.

    False may also mean "unknown without reading it". A file modified in the very moment in which
    the index was written may have changed since without a trace ("racily clean", as git's
    Documentation/technical/racy-git.txt describes it), so it counts as unknown.
    """
    _, kind, size, mtime, ctime, inode = found
    return (
        entry[4] == mtime
        and entry[3] == size
        and entry[6] == inode
        and entry[5] == ctime
        and entry[1] is kind
        and mtime < index_written_at
        and mtime != RACY
    )


def surely_unchanged(entry: IndexEntry, found: Found, index_written_at: int) -> bool:
    """Like `unchanged`, for a caller that is about to delete or overwrite the file.

    Writing through a memory map gives a file no new time as long as the page is dirty. So the times
    of a file that was modified shortly before the index was written say nothing.
    """
    modified = max(found.mtime, found.ctime)
    return unchanged(entry, found, index_written_at) and modified < index_written_at - MAPPED_WINDOW


def require_same(path: str, found: Found | None, now: Found | None) -> None:
    """Check that a path, which is changed next, still has what was found there.

    Raises:
        Conflict: It has not.
    """
    if (found is None) != (now is None) or (found and now and _lasting(found) != _lasting(now)):
        raise changed_meanwhile(path)


def _lasting(found: Found) -> tuple[object, ...]:
    """Return what stays when another name of the same file goes: each name may be a path here."""
    _, kind, size, mtime, _, inode = found
    return kind, size, mtime, inode


def changed_meanwhile(path: str) -> Conflict:
    """Return the error of a command that found a path changed since its decision."""
    return Conflict(f"{shown(path)} was changed meanwhile", hint=Hint("status-then-again"))


@lru_cache(64)
def _kind(mode: int) -> EntryKind | None:
    sort = stat.S_IFMT(mode)
    if sort == stat.S_IFREG:
        return _EXECUTABLE if mode & 0o100 and os.name != "nt" else _FILE
    return _SYMLINK if sort == stat.S_IFLNK else None


def obstacles(root: str | os.PathLike[str], paths: Iterable[str]) -> frozenset[str]:
    """Return files and symlinks that stand where paths need a directory.

    Whatever is behind a symlink isn't the worktree's: don't read, write or delete there.
    """
    top = os.fspath(root)
    found: set[str] = set()
    # The upper ones first: whatever is behind one of them doesn't count.
    for parent in sorted(directories_of(paths)):
        if not is_behind(parent, found) and _is_no_directory(os.path.join(top, to_system(parent))):
            found.add(parent)
    return frozenset(found)


def is_behind(path: str, obstacles: Collection[str]) -> bool:
    """Whether one of these stands above a path.

    Example:
        >>> is_behind("link/a/b", {"link"}), is_behind("link", {"link"})
        (True, False)
    """
    parent = path.rpartition("/")[0]
    while obstacles and parent:
        if parent in obstacles:
            return True
        parent = parent.rpartition("/")[0]
    return False


def _is_no_directory(full: str) -> bool:
    try:
        return not stat.S_ISDIR(os.lstat(full).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise storage_error(error, full, doing="read") from error


def require_no_git(paths: Iterable[str], instead: tuple[str, ...] = ()) -> None:
    """Check that no path is git's own: git runs commands that stand there.

    Args:
        paths: The paths to write.
        instead: The command that takes `--exclude`, if it is another one.

    Raises:
        InvalidInput: A path is git's own.
    """
    found = sorted({part for path in paths for part in path.split("/") if is_git_directory(part)})
    if found:
        # In a glob, `?` stands for each character that is special or can't be typed.
        globs = dict.fromkeys(re.sub("[^A-Za-z0-9.~]", "?", part) for part in found)
        raise InvalidInput(
            f"the asset has a '{shown(found[0])}', and git would run what is in it",
            hint=Hint("exclude-git", command=instead, globs=tuple(globs)),
        )


def require_possible(control: Path, paths: Sequence[str]) -> None:
    """Check that this system can hold all paths, before anything is written.

    Args:
        control: The worktree's `.ama`, on the same file system.
        paths: The paths.

    Raises:
        InvalidInput: It can't.
    """
    if os.name == "nt":
        for path in paths:
            for part in path.split("/"):
                reason = unportable_reason(part)
                if reason is not None:
                    raise InvalidInput(
                        f"'{shown(path)}' can't be held by this system: {reason}",
                        hint=Hint("exclude", glob=path),
                    )
    folded: dict[str, str] = {}
    for path in paths:
        other = folded.setdefault(fold_name(path), path)
        if other != path and (fs.is_case_blind(control) or fs.normalizes_names(control)):
            raise InvalidInput(
                f"'{shown(other)}' and '{shown(path)}' are one name on this file system",
                hint=Hint("exclude-one", glob=path),
            )


def require_not_inside(root: Path, paths: Iterable[str]) -> None:
    """Check that no path to write or delete is in a directory that is another worktree.

    Raises:
        Conflict: A path is.
    """
    for directory in sorted(directories_of(paths)):
        if os.path.isdir(root / to_system(directory) / CONTROL):
            raise Conflict(
                f"{shown(directory)} is another ama worktree, and this would change files in it",
                hint=f"move it elsewhere first, or its {CONTROL}",
            )
