"""The files that paths given to `add` mean, directory by directory; and checks of their names."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, islice

from ama.errors import Hint, InvalidInput, NotFound, shown
from ama.format.names import check_name, is_git_directory, nearest, twins, unportable_reason
from ama.system import disk
from ama.system.encoding import to_system
from ama.worktree.blocks import key_of
from ama.worktree.entries import Entries
from ama.worktree.ignore import IGNORE_FILE, Ignore, never_meant
from ama.worktree.layout import CONTROL, Worktree
from ama.worktree.scan import (
    Found,
    Scanned,
    directories_of,
    is_behind,
    look,
    obstacles,
    scan,
)
from ama.worktree.staging import Index


@dataclass(frozen=True, slots=True)
class Selection:
    """The meaning of paths given to a command.

    Attributes:
        tree: The worktree.
        index: The index that its files are compared with.
        ignore: The ignore rules.
        directories: The directories to be scanned; none is in another.
        named: The files that are in none of them, or are ignored there.
        gone: Staged paths that were named themselves, and are not here.
    """

    tree: Worktree
    index: Index
    ignore: Ignore
    directories: tuple[str, ...]
    named: tuple[Found, ...]
    gone: tuple[str, ...]

    def scanned(self, *, thorough: bool = False) -> Iterator[Scanned]:
        """Yield the files, directory by directory; each call looks at the disk again.

        Args:
            thorough: See `scan`.
        """
        ordered = sorted(self.named, key=lambda item: key_of(_directory_of(item)))
        named = {key: list(group) for key, group in groupby(ordered, _directory_of)}
        for directory in self.directories:
            for part in scan(
                self.tree.root, self.ignore, directory, staged=self.index, thorough=thorough
            ):
                yield part._replace(new=part.new + named.pop(part.directory, []))
        entries = self.index.entries
        for directory, items in named.items():
            new = [item for item in items if item.path not in entries]
            known = [item for item in items if item.path in entries]
            yield Scanned(directory, new, known, [], [], 0, 0)


def _directory_of(item: Found) -> str:
    return item.path.rpartition("/")[0]


def select(
    tree: Worktree,
    index: Index,
    paths: Iterable[str | os.PathLike[str]],
    *,
    force: bool = False,
) -> Selection:
    """Return the files under some paths: each file, and all below each directory.

    With `force`, an ignored file counts if a path names it directly.

    Raises:
        NotFound: A path names nothing here and nothing staged.
        InvalidInput: A path is outside the worktree, ignored, or in another worktree.
    """
    directories: dict[str, None] = {}
    named: dict[str, Found] = {}
    gone: dict[str, None] = {}
    own = {""}
    ignore = tree.read_ignore()
    for given in paths:
        path = tree.relative(given)
        require_not_git(path.split("/"))
        full = tree.root / to_system(path)
        if disk.is_directory(full) and not os.path.islink(full):
            _require_own(tree, path, own)
            _require_something(tree, index, ignore, path)
            directories[path] = None
            continue
        item = look(tree.root, path)
        if item is not None:
            _require_own(tree, path.rpartition("/")[0], own)
            if not force and path not in index.entries and ignore.ignores(path, False):
                raise _ignored(tree, path)
            named[path] = item
        elif os.path.exists(full):
            raise InvalidInput(f"{shown(path)} is neither a file, a directory nor a symlink")
        elif index.entries.row(path) is not None:
            gone.update((entry.path, None) for entry in index.entries.under(path))
        else:
            raise _no_such(tree, path)
    outer = tuple(path for path in directories if not _is_within(path, directories))

    def is_scanned(path: str) -> bool:
        is_free = path in index.entries or not ignore.ignores(path, False)
        return is_free and _is_within(path, outer)

    alone = tuple(item for path, item in named.items() if not is_scanned(path))
    leaving = tuple(path for path in gone if not index.entries[path].skipped)
    return Selection(tree, index, ignore, outer, alone, leaving)


def _is_within(path: str, directories: Collection[str]) -> bool:
    """Whether one of these directories is above a path."""
    while path:
        path = path.rpartition("/")[0]
        if path in directories:
            return True
    return False


def _require_something(tree: Worktree, index: Index, ignore: Ignore, directory: str) -> None:
    """Check that a named directory is not ignored, with nothing in it that is not.

    Raises:
        InvalidInput: It is.
    """
    if not _is_ruled_out(ignore, directory) or index.entries.has_directory(directory):
        return
    if not any(part.new for part in scan(tree.root, ignore, directory)):
        raise _ignored(tree, directory, is_dir=True)


def _require_own(tree: Worktree, directory: str, own: set[str]) -> None:
    """Check that a directory is neither another worktree nor in one.

    Args:
        tree: the worktree.
        directory: the path, relative to the root.
        own: what is known to be no other's; it is added to.

    Raises:
        InvalidInput: it is.
    """
    passed = []
    while directory not in own:
        if os.path.exists(tree.root / to_system(directory) / CONTROL):
            raise InvalidInput(
                f"{shown(directory)} is another ama worktree",
                hint=Hint("link-instead"),
            )
        passed.append(directory)
        directory = directory.rpartition("/")[0]
    own.update(passed)


def _is_ruled_out(ignore: Ignore, path: str) -> bool:
    """Whether a directory that is named is ignored, by what somebody has written down."""
    return ignore.ignores(path, True) and _litter(path, is_dir=True) is None


def _litter(path: str, *, is_dir: bool) -> str | None:
    """Return the line of an ignore file by which a path that is nobody's result comes back.

    None if neither it nor a directory above it is such.
    """
    *above, name = path.split("/")
    for part, is_directory in (*((each, True) for each in above), (name, is_dir)):
        match = never_meant(part)
        if match is not None and is_directory == (match["directory"] is not None):
            return f"!{part}/" if is_directory else f"!{part}"
    return None


def _ignored(tree: Worktree, path: str, *, is_dir: bool = False) -> InvalidInput:
    force = Hint("add-anyway", paths=tree.typed([path]))
    litter = _litter(path, is_dir=is_dir)
    if litter is not None:
        return InvalidInput(
            f"{shown(path)} is of a kind that is nobody's result, and ignored",
            hint=(force, Hint("never-ignore", line=litter)),
        )
    either = () if is_dir else (force,)
    return InvalidInput(
        f"{shown(path)} is ignored by {IGNORE_FILE}",
        hint=(Hint("change-ignore-file"), *either),
    )


def require_entered(tree: Worktree, gone: Collection[str]) -> None:
    """Check that missing paths are gone, and not only in a directory that is passed over.

    Raises:
        InvalidInput: A path is in another worktree by now.
    """
    blocked = obstacles(tree.root, gone)
    for directory in sorted(directories_of(gone)):
        beyond = directory in blocked or is_behind(directory, blocked)
        if not beyond and os.path.lexists(tree.root / to_system(directory) / CONTROL):
            raise InvalidInput(
                f"{shown(directory)} is another ama worktree now, and files in it are staged here",
                hint=(
                    Hint("move-control-elsewhere"),
                    Hint("leave-out-from-now-on", paths=tree.typed([directory])),
                ),
            )


def require_not_git(parts: Iterable[str]) -> None:
    """Check that no part of a path is git's own directory.

    Raises:
        InvalidInput: One is.
    """
    for part in filter(is_git_directory, parts):
        raise InvalidInput(
            f"'{shown(part)}' can't be in an asset: git would run what is in it, wherever that is"
            " downloaded",
            hint="to say which code it was made with, add nothing: git's commit is recorded",
        )


def _no_such(tree: Worktree, path: str) -> NotFound:
    parts = scan(tree.root, tree.read_ignore(), unreadable=[])
    here = [item.path for item in islice((item for part in parts for item in part.new), 5000)]
    near = nearest(path, here)
    hint = Hint("did-you-mean-file", names=tuple(near)) if near else Hint("status-here")
    return NotFound(f"{shown(path)}: no such file", hint=hint)


class NameCheck:
    """The check that all new paths can be in one asset; if `portable`, on any system.

    Names that are one for some system stand in one directory, so directories are checked one after
    another, and nothing is kept of their files.

    Args:
        entries: What is staged.
        gone: Named paths that are unstaged together with the new ones.
        portable: Whether to refuse names that some system can't hold.
    """

    def __init__(self, entries: Entries, gone: Collection[str], *, portable: bool) -> None:
        self._entries = entries
        self._gone = set(gone)
        self._portable = portable
        self._new: dict[str, set[str]] = {}
        """The names of new directories, by the directories above them."""
        self._files: dict[str, list[str]] = {}
        """The names of new files in the directories above the present one, and in it."""

    def check(self, part: Scanned) -> None:
        """Check the new files of a directory.

        Raises:
            InvalidInput: A name is unsafe, or git's own, or (if portable) some system can't hold
                it.
        """
        self._gone.update((*part.missing, *part.gone))
        names = [item.path.rpartition("/")[2] for item in part.new]
        if not names:
            return
        directory = part.directory
        for name in names:
            _check_part(name, self._portable)
        outer = {at: named for at, named in self._files.items() if _is_within(directory, (at,))}
        self._files = {**outer, directory: [*self._files.get(directory, ()), *names]}
        self._require_apart(directory)
        while directory and not self._entries.has_directory(directory):
            above, _, name = directory.rpartition("/")
            known = self._new.setdefault(above, set())
            if name in known:
                return
            _check_part(name, self._portable)
            known.add(name)
            self._require_apart(above)
            directory = above

    def _require_apart(self, directory: str) -> None:
        if not self._portable:
            return
        prefix = f"{directory}/" if directory else ""
        staged = (name for name, _ in self._entries.rows(directory))
        kept = (name for name in staged if prefix + name not in self._gone)
        new = (*self._new.get(directory, ()), *self._files.get(directory, ()))
        found = twins(dict.fromkeys((*kept, *new)))
        if found is not None:
            one, other = (shown(prefix + name) for name in found)
            raise InvalidInput(
                f"'{one}' and '{other}' are one name on some systems",
                hint=Hint("rename-one-or-allow"),
            )


@lru_cache(1 << 16)
def _check_part(name: str, portable: bool) -> None:
    """Check one part of a path.

    Raises:
        InvalidInput: It is unsafe, or git's own, or (if `portable`) some system can't hold it.
    """
    check_name(name)
    require_not_git((name,))
    reason = unportable_reason(name) if portable else None
    if reason is not None:
        raise InvalidInput(
            f"'{shown(name)}' can't be held by every system: {reason}",
            hint=Hint("rename-or-allow"),
        )
