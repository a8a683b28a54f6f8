"""Imports by reference: sources are read once, and what is large in them stays where it is.

What is small, and documents that the catalog reads, are stored as ever: a reference to them would
save little, and cost a request to somebody else's bucket each time.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, cast

from ama.catalog.documents import syntax_of
from ama.errors import Conflict, Hint, InvalidInput, shown
from ama.format.hashing import blob_id, hash_file
from ama.format.objects import EntryKind
from ama.format.references import MAX_REFERENCE, Method, Reference
from ama.importing.archives import Archive, is_archive, open_archive, without_suffix
from ama.importing.incoming import Content, Contents, Origin, Refused, Source
from ama.importing.sources import (
    KINDS,
    DirectorySource,
    FileSource,
    Loose,
    PrefixSource,
    all_fetched,
    assets_of,
    batches,
    fetched,
    require_size,
)
from ama.storage.local import LocalStorage
from ama.storage.outside import Outside, url_of_path
from ama.storage.protocol import Detail, Range, Storage, details_of
from ama.storage.urls import parse_url, split_options
from ama.system.encoding import to_system
from ama.worktree.ignore import secret_within
from ama.worktree.located import Located, locate
from ama.worktree.reader import link_target, opened

MOST_INLINE = MAX_REFERENCE
"""The most bytes of a file that is stored nevertheless."""

MOST_DOCUMENT = 64 * 1024
"""The most bytes of a document that is stored nevertheless."""

_PIECE = 16 * 1024 * 1024
_SMALL = 1024 * 1024


def by_reference(sources: Iterable[Source], outside: Outside, *, force: bool) -> list[Source]:
    """Return sources whose content stays where it is.

    Args:
        sources: Sources that are files and directories.
        outside: What the store's readers may read.
        force: Whether to take files that look like secrets.

    Raises:
        InvalidInput: One is where references may not lead, or is reached in another way than
            readers of the store reach it.
    """
    found: list[Source] = []
    for source in sources:
        if isinstance(source, Refused):
            found.append(source)
            continue
        if not isinstance(source, FileSource | PrefixSource | DirectorySource):
            raise InvalidInput(f"{shown(source.origin.url)} can't be imported by reference")
        if not isinstance(source, DirectorySource):
            _require_reach(source.place.storage, source.origin.url, outside)
        found.append(ByReference(source, force))
    return found


def _require_reach(storage: Storage, url: str, outside: Outside) -> None:
    if isinstance(storage, LocalStorage):
        return
    outside.check(url)
    place = parse_url(storage.url)
    known, _ = split_options(outside.options_at(url))
    if dict(place.options) != known:
        raise InvalidInput(
            f"{shown(url)} is reached with options that readers of the store would not know",
            hint=Hint("configure-source", url=str(place)),
        )


@dataclass(frozen=True, slots=True)
class ByReference:
    """A source whose content stays where it is.

    Attributes:
        source: The source.
        force: Whether to take files that look like secrets.
    """

    source: FileSource | PrefixSource | DirectorySource
    force: bool

    @property
    def origin(self) -> Origin:
        """Return where it is."""
        return self.source.origin

    @property
    def file(self) -> FileSource | None:
        """Return the file that it is."""
        return self.source if isinstance(self.source, FileSource) else None

    def with_data(self, data: bytes) -> ByReference:
        """Return it with the bytes of its file."""
        assert isinstance(self.source, FileSource)
        return replace(self, source=self.source.with_data(data))

    def read(self, scratch: Path) -> Contents:
        """Read it; see `Source.read`."""
        if isinstance(self.source, DirectorySource):
            return self._directory(self.source)
        if isinstance(self.source, PrefixSource):
            return self._prefix(self.source)
        return self._file(self.source, scratch)

    def _file(self, source: FileSource, scratch: Path) -> Contents:
        base = source.name.rpartition("/")[2]
        detail = Detail(source.origin.size, source.origin.mark)
        url = _url(source.place.storage, source.name)
        if is_archive(base):
            with _whole(source, detail, scratch) as whole, open_archive(whole, base) as archive:
                members = _Archived(archive, _all(url, detail), base, force=self.force)
                made = assets_of(source, without_suffix(base), members)
                return Contents(made, _hash(whole))
        if _stays(base, detail.size):
            with _opened(source, detail) as stream:
                data = _located(stream, base, _all(url, detail), force=self.force)
            files = {base: Content(EntryKind.FILE, data)}
            return Contents(assets_of(source, base, Loose(files)), data.id)
        return source.read(scratch)

    def _prefix(self, source: PrefixSource) -> Contents:
        files: dict[str, Content] = {}
        small: dict[str, Detail] = {}
        for name, detail in source.names.items():
            path = name.removeprefix(source.prefix)
            if not _stays(path, detail.size):
                small[name] = detail
                continue
            with _streamed(source.place.storage, name, detail) as stream:
                where = _all(_url(source.place.storage, name), detail)
                data = _located(stream, path, where, force=self.force)
            files[path] = Content(EntryKind.FILE, data)
        for some in batches(small):
            for name, held in all_fetched(source.place.storage, {n: small[n] for n in some}, None):
                files[name.removeprefix(source.prefix)] = Content(EntryKind.FILE, held)
        base = source.prefix.rstrip("/").rpartition("/")[2]
        return Contents(assets_of(source, base, Loose(files)))

    def _directory(self, source: DirectorySource) -> Contents:
        source.listing.require_same()
        files: dict[str, Content] = {}
        for path, root, found in source.listing.on_disk:
            place = root.absolute() / to_system(found.path)
            data: bytes | Path | Located = place
            if found.kind is EntryKind.SYMLINK:
                data = link_target(root, found.path).encode()
            elif _stays(path, found.size):
                detail = Detail(found.size, str(found.mtime))
                with opened(root, found.path) as stream:
                    where = _all(url_of_path(place), detail)
                    data = _located(cast(IO[bytes], stream), path, where, force=self.force)
            files[path] = Content(found.kind, data)
        return Contents(assets_of(source, source.place.name, Loose(files)))


def _stays(path: str, size: int) -> bool:
    """Whether a file stays where it is."""
    is_document = syntax_of(path) is not None and size <= MOST_DOCUMENT
    return size > MOST_INLINE and not is_document


def _located(stream: IO[bytes], path: str, where: Reference, *, force: bool) -> Located:
    """Read content that lies as a whole in its source.

    Raises:
        InvalidInput: It looks like a secret.
        Conflict: It has another size.
    """
    return _located_as(stream, where.size, path, where, force=force)


def _located_as(
    stream: IO[bytes], size: int, path: str, where: Reference, *, force: bool
) -> Located:
    if size < _SMALL and not force:
        data = stream.read(size + 1)
        if secret := secret_within(path, data):
            raise InvalidInput(
                f"{shown(path)} ({secret}) looks like a secret", hint=Hint("leave-out-or-force")
            )
        stream = io.BytesIO(data)
    return locate(cast(Any, stream), size, where, path)


def _url(storage: Storage, name: str) -> str:
    if isinstance(storage, LocalStorage):
        return url_of_path(Path(to_system(storage.url)).absolute() / to_system(name))
    return f"{storage.url.partition('?')[0].rstrip('/')}/{name}"


def _all(url: str, detail: Detail) -> Reference:
    return Reference(url, detail.mark, detail.size, 0, detail.size)


# Reading


@contextmanager
def _whole(source: FileSource, detail: Detail, scratch: Path) -> Iterator[bytes | Path]:
    """Yield all bytes of a source, or a file of this machine that has them."""
    storage = source.place.storage
    if source.data is not None:
        yield require_size(source.name, source.data, detail.size)
    elif isinstance(storage, LocalStorage):
        yield Path(to_system(storage.url)) / to_system(source.name)
        _require_same(storage, source.name, detail)
    else:
        yield fetched(storage, source.name, detail, scratch / "source")


def _hash(whole: bytes | Path) -> bytes:
    return blob_id(whole) if isinstance(whole, bytes) else bytes.fromhex(hash_file(whole))


@contextmanager
def _opened(source: FileSource, detail: Detail) -> Iterator[IO[bytes]]:
    """Yield the bytes of a source, and check that it stays the same."""
    if source.data is not None:
        yield io.BytesIO(require_size(source.name, source.data, detail.size))
        return
    with _streamed(source.place.storage, source.name, detail) as stream:
        yield stream


@contextmanager
def _streamed(storage: Storage, name: str, detail: Detail) -> Iterator[IO[bytes]]:
    """Yield the bytes of a name, read by and by, and check that it stays the same."""
    yield io.BufferedReader(_Ranges(storage, name, detail.size), _PIECE)
    _require_same(storage, name, detail)


def _require_same(storage: Storage, name: str, detail: Detail) -> None:
    (now,) = details_of(storage, [name])
    if now is None or (now.size, now.mark) != (detail.size, detail.mark):
        raise Conflict(f"{shown(name)} was changed while it was read")


class _Ranges(io.RawIOBase):
    """The bytes of a name in a storage, in large ranges."""

    def __init__(self, storage: Storage, name: str, size: int) -> None:
        self._storage = storage
        self._name = name
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        length = min(len(buffer), self._size - self._at)
        if length <= 0:
            return 0
        (data,) = self._storage.read([Range(self._name, self._at, length)])
        if not data:
            raise Conflict(f"{shown(self._name)} was changed while it was read")
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class _Archived:
    """Members of an archive that stays where it is."""

    def __init__(self, archive: Archive, where: Reference, name: str, *, force: bool) -> None:
        self._archive = archive
        self._where = where
        self._name = name
        self._force = force
        self.sizes: Mapping[str, int] = {p: each.size for p, each in archive.members.items()}

    def value_text(self, path: str) -> bytes:
        for _, stream in self._archive.contents({path}):
            return stream.read()
        return b""

    def contents(self, wanted: set[str]) -> dict[str, Content]:
        found: dict[str, Content] = {}
        for paths, stream in self._archive.contents(wanted):
            member = self._archive.members[paths[0]]
            data: bytes | Located
            if member.kind == "symlink" or not _stays(paths[0], member.size):
                data = stream.read()
            else:
                where = self._place(paths[0])
                data = _located_as(stream, member.size, paths[0], where, force=self._force)
            for path in paths:
                found[path] = Content(KINDS[self._archive.members[path].kind], data)
        return found

    def _place(self, path: str) -> Reference:
        place = self._archive.place(path)
        if place is None:
            raise InvalidInput(
                f"{shown(path)} can't be read by itself from {shown(self._name)}",
                hint="import it without --by-reference",
            )
        whole = self._where
        method = Method.DEFLATE if place.deflated else Method.STORED
        return Reference(whole.url, whole.mark, whole.size, place.offset, place.length, method)
