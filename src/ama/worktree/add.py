"""`add` and `rm`: from the worktree into the staging area."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from ama.errors import Conflict, Hint, InvalidInput, NotFound, shown
from ama.format.chunking import THRESHOLD
from ama.format.compression import compress
from ama.format.hashing import Buffer, blob_id, hash_stream
from ama.format.names import check_name, fold_name, is_git_directory, nearest, unportable_reason
from ama.format.objects import EntryKind, Kind
from ama.stores.pack_writer import PackWriter
from ama.system import disk, fs
from ama.system.encoding import to_system
from ama.system.parallel import in_chunks
from ama.system.progress import Progress
from ama.worktree.ignore import IGNORE_FILE, never_meant, secret_names, secret_within
from ama.worktree.layout import CONTROL, Worktree
from ama.worktree.reader import (
    entry_of,
    hash_found,
    link_target,
    look_again,
    opened,
    read_small,
    store_large,
)
from ama.worktree.scan import (
    Found,
    directories_of,
    is_behind,
    look,
    obstacles,
    scan,
    surely_unchanged,
    unchanged,
)
from ama.worktree.staging import RACY, Index, IndexEntry

_Read = tuple[Found, bytes, int, tuple[int, Buffer] | None, str | None]
_NAMED = 10


@dataclass(frozen=True, slots=True)
class Selection:
    """The meaning of paths given to a command: files here, and staged paths that are gone."""

    found: tuple[Found, ...]
    gone: tuple[str, ...]


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
        InvalidInput: A path is outside the worktree, ignored, or in another worktree; or a
            directory with staged files has become another worktree.
    """
    found: dict[str, Found] = {}
    gone: dict[str, None] = {}
    own = {""}
    for given in paths:
        path = tree.relative(given)
        _require_not_git(path.split("/"))
        full = tree.root / to_system(path)
        if disk.is_directory(full) and not os.path.islink(full):
            _require_own(tree, path, own)
            below = scan(tree.root, tree.ignore, path, tracked=index.entries)
            here = {item.path: item for item in below}
            found.update(here)
            prefix = f"{path}/" if path else ""
            staged = [known for known in index.entries if known.startswith(prefix)]
            if not (here or staged) and _is_ruled_out(tree, path):
                raise _ignored(tree, path, is_dir=True)
            gone.update(dict.fromkeys(known for known in staged if known not in here))
            continue
        item = look(tree.root, path)
        if item is not None:
            _require_own(tree, path.rpartition("/")[0], own)
            if not force and path not in index.entries and tree.ignore.ignores(path, False):
                raise _ignored(tree, path)
            found[path] = item
        elif os.path.exists(full):
            raise InvalidInput(f"{shown(path)} is neither a file, a directory nor a symlink")
        elif staged := [p for p in index.entries if p == path or p.startswith(f"{path}/")]:
            gone.update(dict.fromkeys(staged))
        else:
            raise _no_such(tree, path)
    skipped = {path for path, entry in index.entries.items() if entry.skipped}
    leaving = tuple(path for path in gone if path not in skipped)
    _require_entered(tree, leaving)
    return Selection(tuple(found.values()), leaving)


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


def _is_ruled_out(tree: Worktree, path: str) -> bool:
    """Whether a directory that is named is ignored, by what somebody has written down."""
    return tree.ignore.ignores(path, True) and _litter(path, is_dir=True) is None


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


def _require_entered(tree: Worktree, gone: Collection[str]) -> None:
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


def _require_not_git(parts: Iterable[str]) -> None:
    for part in filter(is_git_directory, parts):
        raise InvalidInput(
            f"'{shown(part)}' can't be in an asset: git would run what is in it, wherever that is"
            " downloaded",
            hint="to say which code it was made with, add nothing: git's commit is recorded",
        )


def _no_such(tree: Worktree, path: str) -> NotFound:
    here = [item.path for item in islice(scan(tree.root, tree.ignore, unreadable=[]), 5000)]
    near = nearest(path, here)
    hint = Hint("did-you-mean-file", names=tuple(near)) if near else Hint("status-here")
    return NotFound(f"{shown(path)}: no such file", hint=hint)


def check_names(
    index: Index, added: Sequence[str], gone: Collection[str] = (), *, portable: bool
) -> None:
    """Check that all new paths can be in one asset; with `portable`, on any system.

    Args:
        index: The present index.
        added: The new paths.
        gone: The paths that are unstaged together with them.
        portable: Whether to refuse names that some system can't hold.

    Raises:
        InvalidInput: A name is unsafe, or git's own, or (if `portable`) some system can't hold it.
    """
    parts = {part for path in added for part in path.split("/")}
    for part in parts:
        check_name(part)
    _require_not_git(parts)
    if not portable:
        return
    for part in sorted(parts):
        reason = unportable_reason(part)
        if reason is not None:
            raise InvalidInput(
                f"'{shown(part)}' can't be held by every system: {reason}",
                hint=Hint("rename-or-allow"),
            )
    folded: dict[str, str] = {}
    leaving = frozenset(gone)
    paths = dict.fromkeys((*(path for path in index.entries if path not in leaving), *added))
    parents = {path.rpartition("/")[0] for path in paths}
    for path in (*parents, *paths):
        for name in _with_parents(path) if path in parents else (path,):
            other = folded.setdefault(fold_name(name), name)
            if other != name:
                raise InvalidInput(
                    f"'{shown(other)}' and '{shown(name)}' are one name on some systems",
                    hint=Hint("rename-one-or-allow"),
                )


def _with_parents(path: str) -> Iterable[str]:
    at = path.find("/")
    while at >= 0:
        yield path[:at]
        at = path.find("/", at + 1)
    yield path


@dataclass(frozen=True, slots=True)
class Added:
    """The result of `add`: new and changed entries, and the paths that are gone."""

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
    force: bool = False,
    progress: Progress,
) -> Added:
    """Stage files in their present state. Nothing is staged unless everything can be.

    Args:
        tree: The worktree.
        paths: Files and directories; staged paths below them that are gone are unstaged.
        copy: Whether to store large files here now, instead of only their hashes.
        portable: Whether to refuse names that some system can't hold.
        force: Whether to stage files that look like secrets, and ignored files named directly.
        progress: The progress of the bytes read.

    Raises:
        NotFound: A path names nothing.
        InvalidInput: A file can't be in an asset, or looks like a secret.
        Conflict: A file changed while it was read.
    """
    index = tree.index.read()
    since = time.time_ns()
    selection = select(tree, index, paths, force=force)
    new = [item.path for item in selection.found if item.path not in index.entries]
    if new:
        check_names(index, new, selection.gone, portable=portable)
    secrets = {} if force else secret_names(new)
    damaged = bool(tree.objects.store.broken_packs())
    work = [
        item
        for item in selection.found
        if _needs_reading(item, index, copy=copy)
        or (damaged and _is_lost(tree, index.entries[item.path]))
    ]
    seen = None if force else secrets
    progress.start("Adding", sum(item.size for item in work))
    try:
        entries = _stage(tree, index, work, since, seen, copy=copy, progress=progress)
    finally:
        progress.finish()
    if secrets:
        raise _secret(tree, secrets)
    gone: tuple[str, ...] = ()

    def staged(latest: Index) -> Index:
        nonlocal gone
        new = latest.with_entries(entries, selection.gone)
        # Also those replaced by a directory, or below a path that is a file now.
        gone = () if new is latest else tuple(p for p in latest.entries if p not in new.entries)
        return new

    tree.index.update(staged)
    changed = [entry for entry in entries if _differs(entry, index.entries.get(entry.path))]
    return Added(
        index,
        tuple(changed),
        gone,
        len(selection.found) - len(changed),
        sum(item.size for item in selection.found),
        sum(not entry.stored for entry in entries),
    )


def _secret(tree: Worktree, found: Mapping[str, str]) -> InvalidInput:
    paths = sorted(found)
    named = ", ".join(f"{shown(path)} ({found[path]})" for path in paths[:_NAMED])
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    look, them = ("looks", "it") if len(paths) == 1 else ("look", "them")
    return InvalidInput(
        f"{named}{more} {look} like a secret, and everybody would have {them}, for good",
        hint=Hint(
            "ignore-or-add-secret" if len(paths) == 1 else "ignore-or-add-secrets",
            paths=tree.typed(paths[:_NAMED]),
        ),
    )


def _needs_reading(item: Found, index: Index, *, copy: bool) -> bool:
    entry = index.entries.get(item.path)
    if entry is None or not unchanged(entry, item, index.written_at):
        return True
    return copy and not entry.stored


def _is_lost(tree: Worktree, entry: IndexEntry) -> bool:
    """Whether content that `add` has stored is gone from here."""
    return entry.stored and entry.id not in tree.objects


def _differs(entry: IndexEntry, before: IndexEntry | None) -> bool:
    return before is None or (entry.kind, entry.id) != (before.kind, before.id)


def _stage(
    tree: Worktree,
    index: Index,
    work: Sequence[Found],
    since: int,
    secrets: dict[str, str] | None,
    *,
    copy: bool,
    progress: Progress,
) -> list[IndexEntry]:
    entries: list[IndexEntry] = []
    if not work:
        return entries

    def read(items: list[Found]) -> list[_Read]:
        return [
            _read(tree, item, index.entries.get(item.path), secrets is not None) for item in items
        ]

    small = [item for item in work if item.kind is EntryKind.SYMLINK or item.size < THRESHOLD]
    large = [item for item in work if item.kind is not EntryKind.SYMLINK and item.size >= THRESHOLD]
    with tree.objects.writing() as writer:
        for done in in_chunks(read, small):
            for item, object_id, size, compressed, secret in done:
                if secret is not None and secrets is not None:
                    secrets.setdefault(item.path, secret)
                if secrets:
                    continue  # nothing is staged any more
                if compressed is not None:
                    writer.add_compressed(Kind.DATA, object_id, *compressed, size)
                entries.append(entry_of(item, object_id, size, stored=True, since=since))
            progress.advance(sum(item.size for item, *_ in done))
        for item in () if secrets else large:
            entries.append(_stage_large(tree, item, writer, since, copy=copy, progress=progress))
    tree.objects.merge_small()
    return entries


def _read(tree: Worktree, item: Found, before: IndexEntry | None, searched: bool) -> _Read:
    """Read a small file or a symlink's target; compress it unless it is stored already.

    If it is `searched`, report the kind of secret in it.

    A file to read again that is the same may have damaged stored content, and is stored again.
    """
    if item.kind is EntryKind.SYMLINK:
        data = link_target(tree.root, item.path).encode()
    else:
        data = read_small(tree.root, item.path)
        if len(data) != item.size:
            look_again(tree.root, item)
    if searched and item.kind is not EntryKind.SYMLINK:
        secret = secret_within(item.path, data)
        if secret is not None:
            return item, b"", len(data), None, secret
    object_id = blob_id(data)
    same = before is not None and before.id == object_id
    kept = tree.objects.is_sound(object_id) if same else object_id in tree.objects
    return item, object_id, len(data), None if kept else compress(data, planes=True), None


def _stage_large(
    tree: Worktree,
    item: Found,
    writer: PackWriter,
    since: int,
    *,
    copy: bool,
    progress: Progress,
) -> IndexEntry:
    """Hash a large file. Store it if `copy` asks for that, or if its stored content is damaged."""
    stored = copy
    if not copy:
        with opened(tree.root, item.path) as file:
            object_id, _ = hash_stream(file, progress.advance)
        stored = tree.objects.store.holds(object_id)
        if stored and not tree.objects.is_sound(object_id):
            copy = True
    if copy:
        object_id = store_large(tree.root, item.path, writer, progress.advance)
    look_again(tree.root, item)
    return entry_of(item, object_id, item.size, stored=stored, since=since)


def remove(
    tree: Worktree,
    paths: Iterable[str | os.PathLike[str]],
    *,
    keep_files: bool,
    head: Mapping[str, bytes],
    stored: Mapping[str, bytes],
    force: bool,
) -> tuple[str, ...]:
    """Unstage files, and delete them from the worktree unless `keep_files`.

    Args:
        tree: The worktree.
        paths: Staged files, directories of them, or globs.
        keep_files: Whether the files themselves stay.
        head: The paths and ids of HEAD's files. Other content in the local packs has no name once
            it is unstaged, and nobody finds it again.
        stored: Paths and ids whose content is stored elsewhere (the published HEAD's).
        force: Whether to delete files whose content is stored nowhere.

    Returns:
        The unstaged paths.

    Raises:
        NotFound: A path is not staged.
        Conflict: A file's content is stored nowhere.
    """
    index = tree.index.read()
    chosen: dict[str, IndexEntry] = {}
    for given in paths:
        path = tree.relative(given)
        below = tree.named(path, index.entries)
        if not below:
            what = shown(tree.near(path))
            raise NotFound(f"{what} is not staged", hint=Hint("ls-and-status"))
        chosen.update((p, index.entries[p]) for p in below)
    blocked = obstacles(tree.root, chosen)
    here = [p for p in chosen if not is_behind(p, blocked) and look(tree.root, p) is not None]
    if not keep_files and not force:
        lost = [path for path in here if not is_kept(tree, index, chosen[path], head, stored)]
        if lost:
            read_again(tree, lost)
            raise Conflict(
                f"the content of {summary(lost)} is in no asset here, and would be lost",
                hint=(Hint("keep-file", paths=tree.typed(lost)), Hint("delete-file-anyway")),
            )
    # Files first: after a crash they are still staged, and the same command deletes the rest.
    if not keep_files:
        for path in here:
            fs.remove(tree.root / to_system(path))
        remove_empty_parents(tree, here)
    tree.index.update(lambda latest: latest.with_entries((), chosen))
    return tuple(chosen)


def is_kept(
    tree: Worktree,
    index: Index,
    entry: IndexEntry,
    head: Mapping[str, bytes],
    stored: Mapping[str, bytes],
) -> bool:
    """Whether deleting a staged file of the worktree would lose nothing.

    Times may lie, and an index's word is not enough: both contents are read.
    """
    found = look(tree.root, entry.path)
    if found is None:
        return True
    if surely_unchanged(entry, found, index.written_at):
        content = entry.id
    else:
        content = hash_found(tree.root, found)
    if stored.get(entry.path) == content:
        return True
    return head.get(entry.path) == content and tree.objects.is_sound(content)


def read_again(tree: Worktree, paths: Iterable[str]) -> None:
    """Make the next `add` read these files whatever their times say: they aren't as staged."""
    named = tuple(paths)

    def doubt(latest: Index) -> Index:
        known = latest.entries
        doubted = [known[path]._replace(mtime=RACY) for path in named if path in known]
        return latest.with_entries(doubted)

    tree.index.update(doubt)


def remove_empty_parents(tree: Worktree, paths: Iterable[str]) -> None:
    """Delete directories that the removal of these paths left empty, except the user's own."""
    parents = directories_of(paths) - {tree.start}
    for parent in sorted(parents, key=len, reverse=True):
        fs.remove_empty_directory(tree.root / to_system(parent))


def summary(paths: Sequence[str]) -> str:
    """Name a few of many paths.

    Example:
        >>> summary(["a", "b", "c", "d"])
        'a, b, c and 1 more'
    """
    named = ", ".join(shown(path) for path in paths[:3])
    return named if len(paths) <= 3 else f"{named} and {len(paths) - 3} more"
