"""Trees from the index, and listings from trees."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple, TypeVar

from ama.errors import Hint, IntegrityError, InvalidInput, shown
from ama.format.hashing import tree_id
from ama.format.objects import EntryKind, TreeEntry, encode_tree
from ama.worktree.blocks import NOTHING, Row
from ama.worktree.entries import Entries, IndexEntry
from ama.worktree.staging import Index

MAX_DEPTH = 512

MOST_FILES = 50_000_000
"""The most files of an asset."""

MOST_TEXT = 1 << 28
"""The most characters in all their paths together, unless `TEXT_EACH` for each file is more."""

TEXT_EACH = 256

FREELY = 1 << 18
"""The files that are always listed: that takes a second, and some 100 MB."""

MOST_TEXT_FREELY = 1 << 25

SHARING = 16
"""Beyond these, the average number of places for each directory entry is limited, so that a
listing's cost is in proportion to what a store really holds."""

ONE_DIRECTORY = Hint("ls-one-directory")
A_PART = Hint("take-a-part")

Key = TypeVar("Key")
Directory = tuple[list[str], list[tuple[str, Key]]]
"""The content of a directory: the names of files, and directories by their names."""

ReadTree = Callable[[bytes], tuple[TreeEntry, ...]]


class Listed(NamedTuple):
    """One file of an asset, by its path."""

    path: str
    kind: EntryKind
    id: bytes
    size: int


def build_trees(
    entries: Entries, is_kept: Callable[[bytes], bool], keep: Callable[[bytes, bytes], None]
) -> Entries:
    """Return the entries with the trees of all directories; trees that didn't change aren't made.

    Args:
        entries: The staged files.
        is_kept: Whether a tree is stored here already.
        keep: A function that stores a tree by its id, called after those for the trees below it.

    Raises:
        InvalidInput: Directories are nested too deeply, or have too many entries, or the asset is
            too large to list.
    """
    hint = "put files into archives, or into several assets that are linked"
    require_few(len(entries), entries.text, hint)
    if entries.tree is not None and is_kept(entries.tree):
        return entries
    made: list[tuple[str, bytes, int]] = []
    root, _ = _build_tree(entries, "", is_kept, keep, made)
    return entries.with_trees(made, root)


def _build_tree(
    entries: Entries,
    directory: str,
    is_kept: Callable[[bytes], bool],
    keep: Callable[[bytes, bytes], None],
    made: list[tuple[str, bytes, int]],
) -> tuple[bytes, int]:
    if directory.count("/") >= MAX_DEPTH:
        raise InvalidInput(f"{shown(directory)} is nested deeper than {MAX_DEPTH}")
    listed = []
    for name, row in entries.rows(directory):
        object_id, size = row.id, row.size
        if row.kind is EntryKind.TREE and not (object_id != NOTHING and is_kept(object_id)):
            path = f"{directory}/{name}" if directory else name
            object_id, size = _build_tree(entries, path, is_kept, keep, made)
            made.append((path, object_id, size))
        listed.append(TreeEntry(name, row.kind, object_id, size))
    data = encode_tree(listed)
    object_id = tree_id(data)
    if not is_kept(object_id):
        keep(object_id, data)
    return object_id, sum(entry.size for entry in listed)


def staged_differences(
    tree: bytes | None, read: ReadTree, entries: Entries
) -> Iterator[tuple[Listed | None, IndexEntry | None]]:
    """Yield the files that differ between an asset and what is staged, each with None for none.

    Directories with the same tree are not read.

    Args:
        tree: The asset's tree; None: no asset.
        read: A function that returns the entries of a tree.
        entries: What is staged.

    Raises:
        InvalidInput: The asset has too many files that aren't staged; see `require_listable`.
    """
    if tree is None:
        yield from ((None, entry) for entry in entries.values())
        return
    if tree == entries.tree:
        return
    waiting = [("", tree)]
    while waiting:
        directory, at = waiting.pop()
        prefix = f"{directory}/" if directory else ""
        old = {entry.name: entry for entry in read(at)}
        for name, row in entries.rows(directory):
            path, before = prefix + name, old.pop(name, None)
            if row.kind is EntryKind.TREE and before is not None and before.kind is row.kind:
                if before.id != row.id:
                    waiting.append((path, before.id))
                continue
            yield from _differing_files(path, before, row, read, entries)
        for name, entry in old.items():
            yield from ((item, None) for item in walk_at(prefix + name, entry, read))


def _differing_files(
    path: str, before: TreeEntry | None, row: Row, read: ReadTree, entries: Entries
) -> Iterator[tuple[Listed | None, IndexEntry | None]]:
    """Yield the files at a path that isn't a directory on both sides."""
    if row.kind is EntryKind.TREE:
        yield from ((None, entry) for entry in entries.below(path))
    elif before is not None and before.kind is not EntryKind.TREE:
        if (before.kind, before.id) != (row.kind, row.id):
            yield Listed(path, before.kind, before.id, before.size), IndexEntry(path, *row)
        return
    else:
        yield None, IndexEntry(path, *row)
    if before is not None:
        yield from ((item, None) for item in walk_at(path, before, read))


def walk(
    tree: bytes, read: ReadTree, *, wanted: bool = False, hint: Hint = ONE_DIRECTORY
) -> Iterator[Listed]:
    """Yield every file below a tree, in the order of their paths.

    Args:
        tree: The root's id.
        read: A function that returns the entries of a tree.
        wanted: Whether the caller wants these very files, or has them here already: then few
            directories may stand for many. See `require_listable`.
        hint: The hint for too many files.

    Raises:
        IntegrityError: Directories are nested deeper than any file system allows.
        InvalidInput: There are too many files; see `require_listable`.
    """
    seen: set[bytes] = set()
    empty: set[bytes] = set()
    files = text = held = 0
    allowed = False
    waiting = [_Level("", tree, _in_path_order(read(tree)), 0)]
    while waiting:
        level = waiting[-1]
        if level.tree not in seen:
            seen.add(level.tree)
            held += len(level.entries)
        entry = level.entries.pop() if level.entries else None
        if entry is None:
            waiting.pop()
            if files == level.files_before:
                empty.add(level.tree)
        elif entry.kind is not EntryKind.TREE:
            path = f"{level.prefix}{entry.name}"
            files, text = files + 1, text + len(path)
            if files > SHARING * held and not allowed:
                # Few directories stand for many: look at all of them before going on.
                require_listable(tree, lambda at: _directory(read(at)), wanted=wanted, hint=hint)
                allowed = True
            require_few(files, text, hint)
            yield Listed(path, entry.kind, entry.id, entry.size)
        elif entry.id not in empty:  # ways without a file may be more than anybody can walk
            if len(waiting) > MAX_DEPTH:
                raise IntegrityError(f"{shown(level.prefix)} is nested deeper than {MAX_DEPTH}")
            inner = _in_path_order(read(entry.id))
            waiting.append(_Level(f"{level.prefix}{entry.name}/", entry.id, inner, files))


class _Level(NamedTuple):
    """A directory on the way to the file that `walk` is at."""

    prefix: str
    tree: bytes
    entries: list[TreeEntry]
    """The entries that are left, the next one last."""
    files_before: int


def _in_path_order(entries: tuple[TreeEntry, ...]) -> list[TreeEntry]:
    """Return a directory's entries in the order of the paths below them, the last one first."""
    return sorted(entries, key=_path_key, reverse=True)


def _path_key(entry: TreeEntry) -> str:
    return f"{entry.name}/" if entry.kind is EntryKind.TREE else entry.name


def _directory(entries: tuple[TreeEntry, ...]) -> Directory[bytes]:
    return (
        [entry.name for entry in entries if entry.kind is not EntryKind.TREE],
        [(entry.name, entry.id) for entry in entries if entry.kind is EntryKind.TREE],
    )


def require_listable(
    top: Key,
    read: Callable[[Key], Directory[Key]],
    *,
    wanted: bool = False,
    hint: Hint = ONE_DIRECTORY,
) -> dict[Key, int]:
    """Check that everything below a directory can be listed, before it is.

    A hostile store may claim directories in directories that multiply: a few dozen small ones stand
    for more files than there are atoms. Each distinct one is read once.

    Args:
        top: The directory.
        read: A function that returns the content of a directory.
        wanted: Whether the caller wants these files, however few entries stand for them.
        hint: The hint for too many files.

    Returns:
        The number of files below each directory.

    Raises:
        InvalidInput: It has too many files, or their paths have too many characters; or few
            directory entries stand for many files, and these are not `wanted`.
    """
    known: dict[Key, tuple[int, int]] = {}
    listed: dict[Key, Directory[Key]] = {}
    waiting = [top]
    held = 0
    while waiting:
        at = waiting[-1]
        if at not in listed and at not in known:
            listed[at] = read(at)
            waiting += [inner for _, inner in listed[at][1]]
            continue
        waiting.pop()
        if at in known:
            continue
        names, directories = listed.pop(at)
        held += len(names) + len(directories)
        require_few(held // 2, 0, hint)  # in two assets, pairs of directories multiply too
        files, text = len(names), sum(map(len, names))
        for name, inner in directories:
            files += known[inner][0]
            text += known[inner][1] + known[inner][0] * (len(name) + 1)
        require_few(files, text, hint)
        known[at] = files, text
    files, text = known[top]
    if not wanted and is_many(files, text):
        require_held(files, held, hint)
    return {at: count for at, (count, _) in known.items()}


def is_many(files: int, text: int) -> bool:
    """Whether so many files, or characters in their paths, are listed only if they are held."""
    return files > FREELY or text > MOST_TEXT_FREELY


def require_held(files: int, held: int, hint: Hint = ONE_DIRECTORY) -> None:
    """Check that files are not many more than the entries of directories that stand for them."""
    if files > SHARING * held:
        raise InvalidInput(
            f"this stands for {files:,} files, out of {held:,} entries of directories, and that is"
            " more than can be listed",
            hint=hint,
        )


def require_few(files: int, text: int, hint: Hint | str = ONE_DIRECTORY) -> None:
    """Check the number of an asset's files, and of the characters in all their paths."""
    most = max(MOST_TEXT, TEXT_EACH * files)
    if files > MOST_FILES or text > most:
        raise InvalidInput(
            f"an asset of more than {MOST_FILES:,} files, or with paths of more than"
            f" {most:,} characters together, is more than can be listed",
            hint=hint,
        )


def top_of(tree: bytes) -> TreeEntry:
    """Return a whole tree as the entry at the empty path."""
    return TreeEntry("", EntryKind.TREE, tree, 0)


def look_up(tree: bytes, path: str, read: ReadTree) -> TreeEntry | None:
    """Return the entry at a path, or None; only the directories on the way are read.

    Args:
        tree: The root's id.
        path: The path of a file or directory; empty for the root itself.
        read: A function that returns the entries of a tree.
    """
    found = top_of(tree)
    for name in path.split("/") if path else ():
        if found.kind is not EntryKind.TREE:
            return None
        key = name.encode("utf-8", "surrogatepass")
        entries = read(found.id)
        at = bisect_left(entries, key, key=lambda entry: entry.name.encode())
        if at == len(entries) or entries[at].name != name:
            return None
        found = entries[at]
    return found


def walk_at(
    path: str, entry: TreeEntry, read: ReadTree, *, hint: Hint = ONE_DIRECTORY
) -> Iterator[Listed]:
    """Yield the file that `look_up` has found at a path, or every file below the directory."""
    if entry.kind is not EntryKind.TREE:
        yield Listed(path, entry.kind, entry.id, entry.size)
        return
    for item in walk(entry.id, read, hint=hint):
        yield item._replace(path=f"{path}/{item.path}") if path else item


Pair = tuple[TreeEntry | None, TreeEntry | None]
Two = tuple[bytes | None, bytes | None]


def differing(
    path: str, pair: Pair, read_old: ReadTree, read_new: ReadTree
) -> tuple[dict[str, Listed], dict[str, Listed]]:
    """Return the files that differ below a path in two assets, of both, by path.

    Equal directories are not read.

    Args:
        path: The path.
        pair: The entries there in the old and in the new asset, as `look_up` returns them.
        read_old: A function that returns the entries of a tree of the old one.
        read_new: The same for the new one.

    Raises:
        InvalidInput: Too many differ; see `require_listable`.
    """

    @cache
    def below(two: Two) -> list[Pair]:
        olds, news = (
            {entry.name: entry for entry in (read(tree) if tree is not None else ())}
            for read, tree in ((read_old, two[0]), (read_new, two[1]))
        )
        pairs = ((olds.get(name), news.get(name)) for name in sorted(olds.keys() | news.keys()))
        return [each for each in pairs if not _is_same(each)]

    def directory(two: Two) -> Directory[Two]:
        names = [_name_of(each) for each in below(two) for entry in each if _is_file(entry)]
        return names, [(_name_of(each), _trees_of(each)) for each in below(two) if _inner(each)]

    before: dict[str, Listed] = {}
    after: dict[str, Listed] = {}
    if _is_same(pair):
        return before, after
    counts = (
        require_listable(_trees_of(pair), directory, hint=ONE_DIRECTORY) if _inner(pair) else {}
    )
    waiting = [(path, pair)]
    while waiting:
        at, each = waiting.pop()
        for entry, found in zip(each, (before, after), strict=True):
            if entry is not None and _is_file(entry):
                found[at] = Listed(at, entry.kind, entry.id, entry.size)
        if _inner(each) and counts[_trees_of(each)]:
            if at.count("/") > MAX_DEPTH:
                raise IntegrityError(f"{shown(at)} is nested deeper than {MAX_DEPTH}")
            prefix = f"{at}/" if at else ""
            waiting += [(prefix + _name_of(inner), inner) for inner in below(_trees_of(each))]
    return before, after


def differing_at(
    pairs: Mapping[str, Pair], read_old: ReadTree, read_new: ReadTree
) -> tuple[dict[str, Listed], dict[str, Listed]]:
    """Return the files that differ at or below some paths in two assets; see `differing`."""
    before: dict[str, Listed] = {}
    after: dict[str, Listed] = {}
    for path, pair in pairs.items():
        olds, news = differing(path, pair, read_old, read_new)
        before |= olds
        after |= news
    return before, after


def _is_same(pair: Pair) -> bool:
    old, new = pair
    return old is not None and new is not None and (old.kind, old.id) == (new.kind, new.id)


def _is_file(entry: TreeEntry | None) -> bool:
    return entry is not None and entry.kind is not EntryKind.TREE


def _name_of(pair: Pair) -> str:
    old, new = pair
    found = old or new
    assert found is not None
    return found.name


def _trees_of(pair: Pair) -> Two:
    old, new = (
        entry.id if entry is not None and entry.kind is EntryKind.TREE else None for entry in pair
    )
    return old, new


def _inner(pair: Pair) -> bool:
    """Whether there is a directory on either side."""
    return _trees_of(pair) != (None, None)


def trees_below(tree: bytes, read: ReadTree) -> Iterator[tuple[bytes, tuple[TreeEntry, ...]]]:
    """Yield each distinct tree below (and with) a root once, with its entries."""
    seen: set[bytes] = set()
    waiting = [tree]
    while waiting:
        at = waiting.pop()
        if at in seen:
            continue
        seen.add(at)
        entries = read(at)
        yield at, entries
        waiting.extend(entry.id for entry in entries if entry.kind is EntryKind.TREE)


def staged_files(index: Index) -> dict[str, Listed]:
    """Return the index's files as a listing."""
    return {
        path: Listed(path, entry.kind, entry.id, entry.size)
        for path, entry in index.entries.items()
    }


def selector(
    include: Sequence[str], exclude: Sequence[str], *, metadata_only: bool = False
) -> Callable[[str], bool]:
    """Return a test whether a path is wanted.

    Globs are gitignore's: `*.yml` anywhere, `/data` at the top, `logs/` a directory, `**` across
    directories. A path is wanted if an include matches it (or there's none) and no exclude does.

    Args:
        include: Globs of wanted paths; empty: everything.
        exclude: Globs of unwanted paths.
        metadata_only: Whether no file is wanted.

    Example:
        >>> wanted = selector(["*.yml"], ["secret.yml"])
        >>> wanted("a/model.yml"), wanted("secret.yml"), wanted("model.h5")
        (True, False, False)
    """
    if metadata_only:
        return lambda path: False
    if not include and not exclude:
        return lambda path: True
    from pathspec import GitIgnoreSpec

    included = GitIgnoreSpec.from_lines(include)
    excluded = GitIgnoreSpec.from_lines(exclude)
    return lambda path: (not include or included.match_file(path)) and not excluded.match_file(path)
