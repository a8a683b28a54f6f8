"""Reads of a worktree's file, once, whole, and with a check that it didn't change meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from ama.errors import Conflict, Hint, InvalidInput, NotFound, StorageError, shown, storage_error
from ama.format.chunking import PROFILE, THRESHOLD, Source, chunks
from ama.format.hashing import HashingReader, blob_id, hash_stream
from ama.format.names import nearest
from ama.format.objects import EntryKind, Kind, Recipe, encode_recipe
from ama.stores.pack_writer import PackWriter
from ama.system import disk
from ama.system.encoding import from_system, to_system
from ama.worktree.entries import IndexEntry
from ama.worktree.scan import Found, look
from ama.worktree.staging import RACY, is_settled

Advance = Callable[[int], None]

_MOST_NAMES = 5000
"""The names of a directory that are looked at for suggestions."""


@contextmanager
def opened(root: Path, path: str) -> Iterator[BinaryIO]:
    """Open a worktree's file for one whole read, and check at the end that it is unchanged.

    Raises:
        NotFound: There's no such file.
        StorageError: It can't be read.
        Conflict: It changed during the read.
    """
    full = root / to_system(path)
    try:
        with disk.open_file(full) as file:
            before = os.fstat(file.fileno())
            yield file
            after = os.fstat(file.fileno())
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"{shown(path)}: no such file") from None
    except OSError as error:
        if type(error).__module__ != "builtins":
            raise
        raise storage_error(error, full, doing="read") from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise changed_meanwhile(path)


def read_small(root: Path, path: str) -> bytes:
    """Return a file's bytes: like `opened`, without a context's cost for each of many files.

    Raises:
        NotFound, StorageError, Conflict: See `opened`.
    """
    try:
        data = disk.read_steady(os.path.join(root, to_system(path)))
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"{shown(path)}: no such file") from None
    if data is None:
        raise changed_meanwhile(path)
    return data


def read_entry(root: Path, path: str, kind: EntryKind) -> bytes:
    """Return the content of a small file, or of a symlink: its target's text.

    Raises:
        InvalidInput: It is a symlink that leads out of the worktree.
        NotFound, StorageError, Conflict: See `opened`.
    """
    if kind is EntryKind.SYMLINK:
        return link_target(root, path).encode()
    return read_small(root, path)


def nothing_at(place: Path) -> NotFound:
    """Return the error for a path of this machine where nothing is, with what is near it there.

    Args:
        place: The path, as it was given.

    Example:
        >>> nothing_at(Path("no-such-directory/model.h5")).message
        'no-such-directory/model.h5: no such file'
    """
    names: list[str] = []
    with suppress(StorageError):
        names = disk.list_directory(place.parent)
    near = nearest(from_system(place.name), map(from_system, islice(names, _MOST_NAMES)))
    beside = tuple(from_system(os.fspath(place.parent / to_system(name))) for name in near)
    hint = Hint("did-you-mean", names=beside) if beside else None
    return NotFound(f"{shown(from_system(os.fspath(place)))}: no such file", hint=hint)


def changed_meanwhile(path: str) -> Conflict:
    """Return the error for a file that somebody writes to."""
    return Conflict(
        f"{shown(path)} was changed while it was read",
        hint="run the same command again when it is written",
    )


def link_target(root: Path, path: str) -> str:
    """Return the target of a symlink, after a check that it stays within the worktree.

    Raises:
        InvalidInput: It leads out of the worktree, or to a name that isn't UTF-8.
    """
    target = from_system(disk.read_symlink(root / to_system(path)))
    try:
        target.encode()
    except UnicodeEncodeError:
        raise InvalidInput(
            f"{shown(path)} is a symlink to {shown(target)}, which isn't valid UTF-8",
            hint="rename what it points to, or name it in .amaignore",
        ) from None
    if not stays_inside(path, target):
        raise InvalidInput(
            f"{shown(path)} is a symlink that leads out of the worktree, to {shown(target)}",
            hint="copy what it points to into the worktree, or name it in .amaignore",
        )
    return target.replace(os.sep, "/")


def stays_inside(path: str, target: str) -> bool:
    """Whether a symlink at `path` (relative to a root) leads to somewhere below that root.

    Example:
        >>> stays_inside("a/link", "../b"), stays_inside("a/link", "../../b")
        (True, False)
    """
    if not target or target.startswith(("/", "\\")) or "\0" in target or ":" in target[:2]:
        return False
    depth = path.count("/")
    for part in target.replace("\\", "/").split("/"):
        if part == "..":
            depth -= 1
        elif part not in ("", "."):
            depth += 1
        if depth < 0:
            return False
    return True


def hash_found(root: Path, found: Found, advance: Advance | None = None) -> bytes:
    """Return the id of the content at a path; of a symlink, that of its target's text."""
    if found.kind is EntryKind.SYMLINK:
        return blob_id(os.fsencode(disk.read_symlink(root / to_system(found.path))))
    with opened(root, found.path) as file:
        return hash_stream(file, advance)[0]


def store_entry(
    root: Path, entry: IndexEntry, writer: PackWriter, advance: Advance | None = None
) -> bytes:
    """Write the content of a staged file, and return its present id."""
    if entry.size >= THRESHOLD:
        return store_large(root, entry.path, writer, advance)
    data = read_entry(root, entry.path, entry.kind)
    found = blob_id(data)
    if found == entry.id:
        writer.add(Kind.DATA, found, data)
    if advance is not None:
        advance(len(data))
    return found


def store_large(root: Path, path: str, writer: PackWriter, advance: Advance | None = None) -> bytes:
    """Cut a large file into chunks, write those and its recipe, and return its id.

    The recipe is written last, once the whole file is known to be unchanged.
    """
    recipe, whole = cut(root, path, lambda chunk, data: writer.add(Kind.DATA, chunk, data), advance)
    writer.add(Kind.RECIPE, whole, encode_recipe(recipe))
    return whole


def cut(
    root: Path,
    path: str,
    write: Callable[[bytes, memoryview], None],
    advance: Advance | None = None,
) -> tuple[Recipe, bytes]:
    """Read a large file once: cut it, pass each chunk to `write`, and hash the whole.

    Returns:
        Its recipe and its id.

    Raises:
        Conflict: It changed during the read.
    """
    with opened(root, path) as file:
        reader = HashingReader(file, advance)
        recipe = cut_source(reader, write)
    if reader.size < THRESHOLD:
        raise changed_meanwhile(path)
    return recipe, reader.digest()


def cut_source(source: Source, write: Callable[[bytes, memoryview], None]) -> Recipe:
    """Cut the bytes of a source, pass each chunk to `write`, and return the recipe."""
    made: list[tuple[bytes, int]] = []
    for data in chunks(source):
        chunk = blob_id(data)
        write(chunk, data)
        made.append((chunk, len(data)))
    return Recipe(PROFILE, Kind.DATA, tuple(made))


def entry_of(
    found: Found, object_id: bytes, size: int, *, stored: bool, since: int, placed: bool = False
) -> IndexEntry:
    """Return the index's entry for a file with known content.

    Args:
        found: The file's stat data.
        object_id: Its content's id.
        size: Its content's size.
        stored: Whether the local packs have the content.
        since: A moment before its stat and read, in nanoseconds: a file that changed shortly before
            it may have changed again with the same times.
        placed: Whether ama put it there, as its ctime says.
    """
    path, kind, _, mtime, ctime, inode = found
    if not is_settled(mtime, since) or not (placed or is_settled(ctime, since)):
        mtime = RACY
    return IndexEntry(path, kind, object_id, size, mtime, ctime, inode, stored, False)


def look_again(root: Path, found: Found) -> None:
    """Check that a path still has the file that was found there.

    Raises:
        Conflict: It has changed since.
    """
    now = look(root, found.path)
    if now is None or now[1:4] != found[1:4]:
        raise changed_meanwhile(found.path)
