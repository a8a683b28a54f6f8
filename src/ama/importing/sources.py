"""Sources that are files and directories, at a path or a URL, and the assets in them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Protocol, runtime_checkable

from ama.catalog.documents import Value, read_document, syntax_of
from ama.errors import Conflict, InvalidInput, shown
from ama.format.hashing import blob_id, hash_file
from ama.format.objects import EntryKind
from ama.importing.archives import Archive, is_archive, open_archive, without_suffix
from ama.importing.incoming import Content, Contents, Incoming, Origin, Source
from ama.importing.rules import Planned, Rules, name_groups, plan
from ama.settings import Settings
from ama.storage.protocol import Detail, Range, Storage, details_of
from ama.storage.urls import open_storage
from ama.system import disk, fs
from ama.worktree.given import Listing
from ama.worktree.located import Located
from ama.worktree.reader import link_target

IN_MEMORY = 8 * 1024 * 1024
"""The most bytes of a source, or of what it expands to, that are held in memory."""

MOST_DOCUMENT = 1024 * 1024
"""The most bytes of a member that rules read values from."""

_PIECE = 16 * 1024 * 1024
KINDS = {
    "file": EntryKind.FILE,
    "executable": EntryKind.EXECUTABLE,
    "symlink": EntryKind.SYMLINK,
}


class Place:
    """A storage with sources. To other processes it travels as its URL, and is opened when used.

    Args:
        url: Its URL.
        storage: The storage, if it is open.
    """

    def __init__(self, url: str, storage: Storage | None = None) -> None:
        self._url = url
        self._storage = storage
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Place, (self._url,)

    @property
    def storage(self) -> Storage:
        """Return the storage."""
        with self._lock:
            if self._storage is None:
                options = Settings.load(None).options_at(self._url)
                self._storage = open_storage(self._url, options)
            return self._storage


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file in a storage: an archive becomes what is in it.

    Attributes:
        place: The storage.
        name: The file's name there.
        origin: Where it is.
        rules: What becomes which asset.
        data: Its bytes, if they were read already.
    """

    place: Place
    name: str
    origin: Origin
    rules: Rules
    data: bytes | None = None

    @property
    def file(self) -> FileSource:
        """Return it: it is a file."""
        return self

    def with_data(self, data: bytes) -> FileSource:
        """Return it with its bytes."""
        return replace(self, data=data)

    def read(self, scratch: Path) -> Contents:
        """Read it; see `Source.read`."""
        base = self.name.rpartition("/")[2]
        data: bytes | Path
        if self.data is not None:
            data = require_size(self.name, self.data, self.origin.size)
        else:
            detail = Detail(self.origin.size, self.origin.mark)
            place = None if detail.size <= IN_MEMORY else scratch / "source"
            data = fetched(self.place.storage, self.name, detail, place)
        digest = blob_id(data) if isinstance(data, bytes) else bytes.fromhex(hash_file(data))
        if not is_archive(base):
            content = Content(EntryKind.FILE, data)
            return Contents(assets_of(self, base, Loose({base: content})), digest)
        with open_archive(data, base) as archive:
            members = _Unpacked(archive, scratch)
            return Contents(assets_of(self, without_suffix(base), members), digest)


@dataclass(frozen=True, slots=True)
class PrefixSource:
    """What a storage has below a name.

    Attributes:
        place: The storage.
        prefix: The name, with a slash.
        names: The names below it, with their details.
        origin: Where it is.
        rules: What becomes which asset.
    """

    place: Place
    prefix: str
    names: Mapping[str, Detail]
    origin: Origin
    rules: Rules

    def read(self, scratch: Path) -> Contents:
        """Read it; see `Source.read`."""
        files: dict[str, Content] = {}
        held = 0
        for number, some in enumerate(batches(self.names)):
            held += sum(self.names[name].size for name in some)
            spill = None if held <= IN_MEMORY else scratch
            wanted = {name: self.names[name] for name in some}
            read = all_fetched(self.place.storage, wanted, spill)
            for at, (name, data) in enumerate(read):
                if spill is not None and isinstance(data, bytes):
                    data = _spilled(spill / f"file-{number}-{at}", [data])
                files[name.removeprefix(self.prefix)] = Content(EntryKind.FILE, data)
        base = self.prefix.rstrip("/").rpartition("/")[2]
        return Contents(assets_of(self, base, Loose(files)))


@dataclass(frozen=True, slots=True)
class DirectorySource:
    """A directory of this machine, with what it does not ignore.

    Attributes:
        place: The directory.
        listing: Its files.
        origin: Where it is.
        rules: What becomes which asset.
    """

    place: Path
    listing: Listing
    origin: Origin
    rules: Rules

    def read(self, scratch: Path) -> Contents:
        """Look at it; see `Source.read`. Its files are read when they are sent."""
        self.listing.require_same()
        files: dict[str, Content] = {}
        for path, root, found in self.listing.on_disk:
            data: bytes | Path = root.absolute() / found.path
            if found.kind is EntryKind.SYMLINK:
                data = link_target(root, found.path).encode()
            files[path] = Content(found.kind, data)
        return Contents(assets_of(self, self.place.name, Loose(files)))


# Reading from a storage


@runtime_checkable
class IsFile(Source, Protocol):
    """A source that may be one file, whose bytes can be read beforehand."""

    @property
    def file(self) -> FileSource | None:
        """Return the file, if it is one."""

    def with_data(self, data: bytes) -> Source:
        """Return the source with the bytes of its file."""


def prefetched(sources: Sequence[Source]) -> list[Source]:
    """Return sources with the bytes of those that are small files, which are read in one batch.

    Raises:
        StorageError: They can't be read.
    """
    done = list(sources)
    small: dict[int, list[tuple[int, IsFile, FileSource]]] = {}
    for at, source in enumerate(sources):
        file = source.file if isinstance(source, IsFile) else None
        if isinstance(source, IsFile) and file and file.origin.size <= IN_MEMORY:
            small.setdefault(id(file.place.storage), []).append((at, source, file))
    for some in small.values():
        storage = some[0][2].place.storage
        read = storage.read([Range(file.name) for _, _, file in some])
        for (at, source, _), data in zip(some, read, strict=True):
            if data is not None:  # else its turn comes, and with it the error
                done[at] = source.with_data(data)
    return done


def fetched(storage: Storage, name: str, detail: Detail, place: Path | None) -> bytes | Path:
    """Return the bytes of a name, or the file that they are written to.

    Args:
        storage: The storage.
        name: The name.
        detail: What was listed of it.
        place: The file to write; None: the bytes are held in memory.

    Raises:
        Conflict: It is no longer what was listed.
    """
    if place is None:
        (data,) = storage.read([Range(name)])
        return require_size(name, data, detail.size)
    starts = range(0, detail.size, _PIECE)
    parts = (storage.read([Range(name, start, _PIECE)])[0] or b"" for start in starts)
    _spilled(place, parts)
    # They came one after the other.
    (now,) = details_of(storage, [name])
    if now is None or now.mark != detail.mark or place.stat().st_size != detail.size:
        raise _changed(name)
    return place


def all_fetched(
    storage: Storage, names: Mapping[str, Detail], place: Path | None
) -> Iterator[tuple[str, bytes | Path]]:
    """Yield names with their bytes, read in one batch; a large one alone, with its file.

    Args:
        storage: The storage.
        names: The names, and what was listed of them.
        place: A directory for the file of a large one; None: the bytes are held in memory.
    """
    if place is not None and len(names) == 1:
        ((name, detail),) = names.items()
        yield name, fetched(storage, name, detail, place / f"large-{blob_id(name.encode()).hex()}")
        return
    for (name, detail), data in zip(
        names.items(), storage.read([Range(name) for name in names]), strict=True
    ):
        yield name, require_size(name, data, detail.size)


def batches(names: Mapping[str, Detail]) -> Iterator[list[str]]:
    """Yield names of which few bytes are read at a time."""
    some: list[str] = []
    size = 0
    for name, detail in names.items():
        if some and size + detail.size > _PIECE:
            yield some
            some, size = [], 0
        some.append(name)
        size += detail.size
    if some:
        yield some


def require_size(name: str, data: bytes | None, size: int) -> bytes:
    """Return the bytes of a name, checked.

    Raises:
        Conflict: They are others than were listed.
    """
    if data is None or len(data) != size:
        raise _changed(name)
    return data


def _changed(name: str) -> Conflict:
    return Conflict(f"{shown(name)} was changed while it was read")


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    while piece := stream.read(fs.PIECE):
        yield piece


# Members


class Members(Protocol):
    """The members of a source, of which assets are made."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """Return their sizes by their paths."""

    def value_text(self, path: str) -> bytes:
        """Return the content of one of which rules read values."""

    def contents(self, wanted: set[str]) -> dict[str, Content]:
        """Return some of them, by their paths."""


class Loose:
    """Files that are there as they are.

    Args:
        files: The files by their paths.
    """

    def __init__(self, files: Mapping[str, Content]) -> None:
        self._files = files
        self.sizes = {path: _size(content.data) for path, content in files.items()}

    def value_text(self, path: str) -> bytes:
        """See `Members.value_text`."""
        data = self._files[path].data
        assert not isinstance(data, Located)
        return data if isinstance(data, bytes) else disk.read_file(data) or b""

    def contents(self, wanted: set[str]) -> dict[str, Content]:
        """See `Members.contents`."""
        return {path: self._files[path] for path in wanted}


class _Unpacked:
    """Members of an archive."""

    def __init__(self, archive: Archive, scratch: Path) -> None:
        self._archive = archive
        self._scratch = scratch
        self.sizes = {path: member.size for path, member in archive.members.items()}

    def value_text(self, path: str) -> bytes:
        for _, stream in self._archive.contents({path}):
            return stream.read()
        return b""

    def contents(self, wanted: set[str]) -> dict[str, Content]:
        found: dict[str, Content] = {}
        held = 0
        for paths, stream in self._archive.contents(wanted):
            member = self._archive.members[paths[0]]
            small = member.size <= IN_MEMORY - held
            held += member.size if small else 0
            place = self._scratch / f"member-{len(found)}"
            data = stream.read() if small else _spilled(place, _pieces(stream))
            for path in paths:
                found[path] = Content(KINDS[self._archive.members[path].kind], data)
        return found


def _spilled(place: Path, pieces: Iterable[bytes]) -> Path:
    """Write bytes to a new file, and return it."""
    fs.write_private(place, pieces, new=True)
    return place


def _size(data: bytes | Path | Located) -> int:
    if isinstance(data, Located):
        return data.size
    if isinstance(data, bytes):
        return len(data)
    with disk.explained(data, doing="read"):
        return data.lstat().st_size


def assets_of(
    source: FileSource | PrefixSource | DirectorySource, name: str, members: Members
) -> tuple[Incoming, ...]:
    """Return the assets that rules make of members.

    Args:
        source: The source.
        name: Its name, without the suffix of an archive.
        members: Its members.

    Raises:
        InvalidInput: They make none, or ask for what is not there.
    """
    groups = name_groups(source.rules, name)
    if groups is None:
        raise InvalidInput("its name does not fit the rules")
    facts = {**groups, "source": source.origin.url}
    if source.origin.modified is not None:
        facts["date"] = f"{source.origin.modified:%Y-%m-%d}"
    planned = plan(source.rules, members.sizes, facts, _values(members))
    if not planned:
        raise InvalidInput("the rules make no asset of it" if members.sizes else "it is empty")
    wanted = {path for each in planned for path in each.members.values()}
    contents = members.contents(wanted)
    return tuple(_incoming(each, contents) for each in planned)


def _values(members: Members) -> Callable[[str, str], Value | None]:
    """Return a function that reads the value under a key in a member."""
    read: dict[str, Mapping[str, Value]] = {}

    def value(path: str, key: str) -> Value | None:
        if path not in read:
            syntax = syntax_of(path)
            known = syntax is not None and members.sizes[path] <= MOST_DOCUMENT
            values = read_document(members.value_text(path), syntax).values if known else {}  # type: ignore[arg-type]
            read[path] = dict(values)
        return read[path].get(key)

    return value


def _incoming(planned: Planned, contents: Mapping[str, Content]) -> Incoming:
    return Incoming(
        planned.class_name,
        {path: contents[member] for path, member in planned.members.items()},
        () if planned.alias is None else (planned.alias,),
        planned.author,
        planned.created_at,
        planned.message,
        planned.metadata,
        planned.refs,
        absent=planned.absent,
    )
