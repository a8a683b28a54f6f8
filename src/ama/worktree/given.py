"""Files given for an asset without a worktree: where they are, and what they are in the asset."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ama.errors import Hint, InvalidInput, NotFound, shown
from ama.format.chunking import THRESHOLD
from ama.format.hashing import blob_id, hash_stream
from ama.format.objects import EntryKind
from ama.system import disk, fs
from ama.system.encoding import from_system, given, path_text, system_path, to_system
from ama.system.parallel import in_chunks
from ama.system.progress import Progress
from ama.worktree.add import secrets_found
from ama.worktree.entries import Entries, IndexEntry
from ama.worktree.ignore import Ignore, secret_names, secret_within
from ama.worktree.located import Located, together
from ama.worktree.reader import changed_meanwhile, link_target, nothing_at, opened, read_small
from ama.worktree.scan import Found, Scanned, directories_of, look, scan
from ama.worktree.selection import NameCheck, require_not_git
from ama.worktree.staging import settles_in

PathLike = str | os.PathLike[str]
Source = PathLike | bytes
"""A path on this machine, or content."""


_AT_A_TIME = 1 << 20

_LONGEST_PATH = 4096
_LEAVE_OUT = Hint("leave-out-or-force")


class _File(NamedTuple):
    """A file on this machine: its path in the asset, and the file below a directory."""

    path: str
    root: Path
    found: Found


@dataclass(frozen=True, slots=True)
class Listing:
    """Files that were looked at, but not read.

    Attributes:
        on_disk: Those on this machine.
        held: The content of the others, by their paths in the asset.
        links: The texts of symlinks, as far as they are read, likewise.
    """

    on_disk: Sequence[_File]
    held: Mapping[str, bytes]
    links: Mapping[str, bytes] = field(default_factory=dict)

    def copied(self, directory: Path) -> Listing:
        """Copy the files into an empty directory that nobody else changes; list the copies.

        Raises:
            Conflict: A file changed while it was copied.
            StorageError: A file can't be read, or the directory's disk is full.
        """
        links: dict[str, bytes] = {}
        copies: list[_File] = []
        for path, root, found in self.on_disk:
            if found.kind is EntryKind.SYMLINK:
                links[path] = link_target(root, found.path).encode()
                continue
            name = str(len(copies))
            executable = found.kind is EntryKind.EXECUTABLE
            with opened(root, found.path) as source:
                pieces = _pieces(source)
                fs.write_private(directory / name, pieces, executable=executable, new=True)
            copy = look(directory, name)
            assert copy is not None
            copies.append(_File(path, directory, copy))
        return Listing(copies, self.held, links)

    def settle(self) -> None:
        """Wait until a change of a file would give it other times than those that it has.

        On most systems that is within a twentieth of a second after it was written.

        Raises:
            Conflict: One has changed since it was looked at.
        """
        now = time.time_ns()
        times = {max(file.found.mtime, file.found.ctime) for file in self.on_disk}
        if waits := max((settles_in(at, now) for at in times), default=0):
            time.sleep(waits / 1e9)
            self.require_same()

    def require_same(self) -> None:
        """Check, without reading them, that the files are those that were looked at.

        Raises:
            Conflict: One has changed since.
        """
        for _, root, found in self.on_disk:
            if look(root, found.path) != found:
                raise changed_meanwhile(found.path)


@dataclass(frozen=True, slots=True)
class GivenFiles:
    """The files for an asset.

    Attributes:
        entries: Their entries, by their paths in the asset.
        here: The files whose content is on this machine, by id; their paths are absolute.
        held: The content of the others, by id.
        located: Where content lies that stays where it is, by id.
    """

    entries: Entries
    here: Mapping[bytes, IndexEntry]
    held: Mapping[bytes, bytes]
    located: Mapping[bytes, Located] = field(default_factory=dict)


def listed(
    files: Iterable[PathLike] | Mapping[str, Source],
    *,
    store: Path | None,
    portable: bool,
    force: bool,
) -> Listing:
    """Look at files, without reading them.

    A file is named as it is called; a directory stands for what is in it, by its own ignore rules.
    A symlink that is given stands for what it leads to; one in a directory stays a symlink.

    Args:
        files: Paths; or by their paths in the asset, paths or contents.
        store: The store's own directory: it is no part of one that is given.
        portable: Whether to refuse names that some system can't hold.
        force: Whether to take files that look like secrets.

    Raises:
        NotFound: There is no such file.
        InvalidInput: A name can't be in an asset, is given twice, or looks like a secret.
    """
    on_disk, held = _sorted_out(files, store)
    _check_names([*(file.path for file in on_disk), *held], portable=portable)
    secrets = {} if force else secret_names([*(file.path for file in on_disk), *held])
    if not force:
        small = ((path, data) for path, data in held.items())
        secrets |= {path: what for path, data in small if (what := secret_within(path, data))}
    if secrets:
        raise secrets_found(secrets, _LEAVE_OUT)
    return Listing(on_disk, held)


def read_all(listing: Listing, *, force: bool, progress: Progress) -> GivenFiles:
    """Read each file once, for its id.

    Args:
        listing: The files.
        force: Whether to take files that look like secrets.
        progress: The progress of the bytes read.

    Raises:
        NotFound: There is no such file any more.
        InvalidInput: A file looks like a secret.
        Conflict: A file changed while it was read.
        StorageError: A file can't be read.
    """
    entries: list[IndexEntry] = []
    here: dict[bytes, IndexEntry] = {}
    contents: dict[bytes, bytes] = {}
    texts = (*((EntryKind.FILE, *each) for each in listing.held.items()),)
    texts += (*((EntryKind.SYMLINK, *each) for each in listing.links.items()),)
    for kind, path, data in texts:
        entries.append(_entry(path, kind, blob_id(data), len(data)))
        contents[entries[-1].id] = data
    progress.start("Reading", sum(file.found.size for file in listing.on_disk))
    try:
        read = in_chunks(lambda some: [_read(one, force=force) for one in some], listing.on_disk)
        for done in read:
            for file, entry, text, secret in done:
                if secret is not None:
                    raise secrets_found({file.path: secret}, _LEAVE_OUT)
                entries.append(entry)
                if text is not None:
                    contents[entry.id] = text
                else:
                    here[entry.id] = entry._replace(path=_absolute(file))
                progress.advance(file.found.size)
    finally:
        progress.finish()
    return GivenFiles(Entries.of(entries), here, contents)


def of_contents(
    files: Mapping[str, tuple[EntryKind, bytes | Path | Located]], *, portable: bool, force: bool
) -> GivenFiles:
    """Return files of known kinds; each that is on this machine is read once, for its id.

    Args:
        files: By their paths in the asset: the kind, and the content, the file that has it, or
            where it stays.
        portable: Whether to refuse names that some system can't hold.
        force: Whether to take files that look like secrets.

    Raises:
        InvalidInput: A name can't be in an asset, or a file looks like a secret.
        Conflict: A file changed while it was read.
        StorageError: A file can't be read.
    """
    _check_names(files, portable=portable)
    _require_apart(files.keys())
    secrets = {} if force else secret_names(files)
    entries: list[IndexEntry] = []
    here: dict[bytes, IndexEntry] = {}
    held: dict[bytes, bytes] = {}
    located: list[dict[bytes, Located]] = []
    for path, (kind, data) in files.items():
        secret = None
        if isinstance(data, Located):
            entries.append(_entry(path, kind, data.id, data.size))
            located.append({data.id: data})
        elif isinstance(data, bytes):
            secret = None if force or len(data) >= THRESHOLD else secret_within(path, data)
            entries.append(_entry(path, kind, blob_id(data), len(data)))
            held[entries[-1].id] = data
        else:
            found = look(data.parent, from_system(data.name))
            if found is None:
                raise changed_meanwhile(path)
            file, entry, _, secret = _read(_File(path, data.parent, found), force=force)
            entries.append(entry._replace(kind=kind))
            here[entry.id] = entry._replace(path=_absolute(file))
        if secret is not None:
            secrets[path] = secret
    if secrets:
        raise secrets_found(secrets, _LEAVE_OUT)
    return GivenFiles(Entries.of(entries), here, held, together(located))


def _sorted_out(
    files: Iterable[PathLike] | Mapping[str, Source], store: Path | None
) -> tuple[list[_File], dict[str, bytes]]:
    """Return the files on this machine, and the contents by their paths in the asset."""
    on_disk: list[_File] = []
    held: dict[str, bytes] = {}
    places: list[Path] = []
    for name, source in _named(files):
        path = None if name is None else inside(name)
        if path is None or not isinstance(source, (bytes, bytearray, memoryview)):
            places.append(_place(source) if path is None else _place_for(path, source))
            on_disk += _below(places[-1], path, store)
        elif path in held:
            raise InvalidInput(f"{shown(path)} is given twice")
        else:
            held[path] = bytes(source)
    seen = dict.fromkeys(held, "")
    for file in on_disk:
        if file.path in seen:
            raise InvalidInput(f"{shown(file.path)} is given twice")
        seen[file.path] = ""
    if not seen and places:
        raise InvalidInput(f"no file is in {shown(given(places[0]))}, or all are ignored")
    if not seen:
        raise InvalidInput("no file is given")
    _require_apart(seen)
    return on_disk, held


def _require_apart(paths: Collection[str]) -> None:
    """Check that nothing is a file and a directory: a tree has one entry of a name."""
    for directory in sorted(directories_of(paths) & set(paths)):
        raise InvalidInput(f"{shown(directory)} is given as a file and as a directory")


def _named(
    files: Iterable[PathLike] | Mapping[str, Source],
) -> Iterable[tuple[str | None, Source]]:
    if isinstance(files, Mapping):
        return files.items()
    if isinstance(files, (str, os.PathLike)):
        files = [files]
    if isinstance(files, (bytes, bytearray, memoryview)) or not isinstance(files, Iterable):
        raise InvalidInput(f"files are paths, not of type {type(files).__name__}")
    return ((None, path) for path in files)


def _place(source: object) -> Path:
    # An empty one would be the present directory: a variable of a script that is not set.
    if not path_text("a file", source):
        raise InvalidInput("a path is empty", hint="for the present directory, give .")
    assert isinstance(source, (str, os.PathLike))
    return Path(system_path(source))


def _place_for(path: str, source: object) -> Path:
    """Return the place of what a mapping has for a path in the asset.

    Raises:
        InvalidInput: It is content, but no bytes.
    """
    if not isinstance(source, (str, os.PathLike)):
        kind = type(source).__name__
        raise InvalidInput(f"{shown(path)} is the path of a file or bytes, not of type {kind}")
    if isinstance(source, str) and (len(source) > _LONGEST_PATH or "\n" in source):
        raise InvalidInput(
            f"{shown(path)} is a text, which would be the path of a file: content is bytes",
            hint="encode it: TEXT.encode()",
        )
    return _place(source)


def _below(place: Path, name: str | None, store: Path | None) -> Iterator[_File]:
    """Yield the file at a place, or what is in the directory there, with paths in the asset.

    A symlink that is given itself stands for what it leads to: alone in an asset, it would lead
    nowhere.
    """
    if disk.is_directory(place):
        above = f"{name}/" if name else ""
        own = None if store is None else _inner(place, store)
        for part in scan(place, Ignore.load(place)):
            if own is None or not f"{part.directory}/".startswith(own):
                yield from (_File(above + item.path, place, item) for item in part.new)
        return
    real = Path(os.path.realpath(place)) if os.path.islink(place) else place
    found = look(real.parent, from_system(real.name))
    if found is None or found.kind is EntryKind.SYMLINK:
        if found is None and os.path.lexists(real):
            raise InvalidInput(f"{shown(given(place))} is neither a file nor a directory")
        error = nothing_at(place)
        if name is not None:  # of a mapping
            raise NotFound(f"{error.message}, and content is bytes", hint=error.hints)
        raise error
    yield _File(name or from_system(place.name), real.parent, found)


def _inner(place: Path, store: Path) -> str | None:
    """Return the path of a store in a directory, with a slash; None if it is not in there."""
    try:
        found = Path(os.path.realpath(store)).relative_to(os.path.realpath(place))
    except ValueError:
        return None
    return f"{from_system(found.as_posix())}/" if found.parts else ""


def inside(name: str) -> str:
    """Return a path in an asset, checked.

    Raises:
        InvalidInput: It leads out of it, or nowhere.
    """
    path_text("a file's name in the asset", name)
    parts = given(name).replace("\\", "/").split("/")
    if not all(part not in ("", ".", "..") for part in parts):
        raise InvalidInput(f"{shown(given(name))} is no path in an asset")
    return "/".join(parts)


def _check_names(paths: Iterable[str], *, portable: bool) -> None:
    check = NameCheck(Entries(), (), portable=portable)
    by_directory: dict[str, list[Found]] = {}
    for path in paths:
        require_not_git(path.split("/"))
        item = Found(path, EntryKind.FILE, 0, 0, 0, 0)
        by_directory.setdefault(path.rpartition("/")[0], []).append(item)
    for directory in sorted(by_directory, key=lambda each: each.replace("/", "\0")):
        check.check(Scanned(directory, by_directory[directory], [], [], [], 0, 0))


def _read(file: _File, *, force: bool) -> tuple[_File, IndexEntry, bytes | None, str | None]:
    """Return a file's entry; of a symlink its text; and what kind of secret it holds."""
    path, root, found = file
    if found.kind is EntryKind.SYMLINK:
        text = link_target(root, found.path).encode()
        return file, _entry(path, found.kind, blob_id(text), len(text)), text, None
    if found.size >= THRESHOLD:
        with opened(root, found.path) as opened_file:
            # It may have grown since it was found: the size is that of what was hashed.
            content, size = hash_stream(opened_file)
        return file, _entry(path, found.kind, content, size), None, None
    data = read_small(root, found.path)
    secret = None if force else secret_within(path, data)
    return file, _entry(path, found.kind, blob_id(data), len(data)), None, secret


def _entry(path: str, kind: EntryKind, content: bytes, size: int) -> IndexEntry:
    return IndexEntry(path, kind, content, size, 0, 0, 0, True, False)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_AT_A_TIME):
        yield piece


def _absolute(file: _File) -> str:
    # Not abspath: it takes "link/.." away, which is above what the link leads to.
    return from_system(os.path.join(file.root.absolute(), to_system(file.found.path)))
