"""Archives: zip and tar files, whose members may be hostile or broken.

An archive is refused of which a member would be written outside of the place where it belongs, or
two members have one name and differ: nobody can say which of them is meant.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, Protocol

import zstandard

from ama.errors import InvalidInput, StorageError, shown, storage_error
from ama.format.names import check_name
from ama.system import disk, fs

MOST_MEMBERS = 5_000_000
"""The most members of an archive: their list takes some 2 GB then."""

MOST_BYTES = 1 << 40
"""The most bytes that the members of an archive have together, unless told otherwise."""

_SUFFIX = re.compile(r"\.(zip|tar|tgz|tbz2?|txz|tzst|tar\.(gz|bz2|xz|zst))$", re.IGNORECASE)
_LOCAL = struct.Struct("<4s22xHH")
_UNICODE_PATH = 0x7075
_UNIX_TIMES = 0x5455
_IS_ENCRYPTED = 0x1
_IS_UTF8 = 0x800
_UNIX = 3


@dataclass(frozen=True, slots=True)
class Member:
    """A file or symlink in an archive.

    Attributes:
        path: Its path, with `/` between the parts.
        size: Its bytes, as the archive says.
        kind: What it is.
        modified: When it was changed last, in UTC. A zip without more says it in the local time of
            its maker, which is taken for UTC. None: it does not say it.
    """

    path: str
    size: int
    kind: Literal["file", "executable", "symlink"]
    modified: datetime | None


class Place(NamedTuple):
    """Where in an archive the bytes of a member lie, as they are or deflated."""

    offset: int
    length: int
    deflated: bool


class Archive(Protocol):
    """An open archive."""

    def place(self, path: str) -> Place | None:
        """Return where a member's bytes lie in the archive; None: nowhere by themselves."""

    @property
    def members(self) -> Mapping[str, Member]:
        """Return the members by their paths, in the order in which they lie there."""

    def contents(self, wanted: Collection[str]) -> Iterator[tuple[tuple[str, ...], IO[bytes]]]:
        """Yield the content of some members, in the order in which they lie there.

        A symlink's content is what it leads to. Read each before the next one.

        Args:
            wanted: The paths of the members.

        Yields:
            The paths that have one content (of hard links several), and a stream of it.

        Raises:
            InvalidInput: The archive is broken.
        """


def is_archive(name: str) -> bool:
    """Whether a name is that of a zip or tar file.

    Only the name tells: many files that are no archives to their users are zip files, too.

    Example:
        >>> is_archive("model.zip"), is_archive("run.tar.zst"), is_archive("model.keras")
        (True, True, False)
    """
    return _SUFFIX.search(name) is not None


def without_suffix(name: str) -> str:
    """Return the name of an archive without what says that it is one.

    Example:
        >>> without_suffix("runs/best.tar.gz"), without_suffix("model.v2.zip")
        ('runs/best', 'model.v2')
    """
    return _SUFFIX.sub("", name)


@contextmanager
def open_archive(
    file: Path | bytes, name: str, *, most: int = MOST_BYTES, encoding: str = "cp437"
) -> Iterator[Archive]:
    """Open an archive and list its members.

    Args:
        file: The file, or its bytes.
        name: Its name, which tells the form, for errors too.
        most: The most bytes that its members may have together.
        encoding: That of a zip's names that are marked as of no other and are no UTF-8.

    Raises:
        InvalidInput: It is broken, or a member can't be in an asset.
        StorageError: It is gone, or can't be read.

    Example:
        >>> import zipfile
        >>> with zipfile.ZipFile("runs.zip", "w") as made:
        ...     made.writestr("out/model.yml", "layers: 3")
        >>> with open_archive(Path("runs.zip"), "runs.zip") as archive:
        ...     list(archive.members)
        ['out/model.yml']
    """
    with _readable(name, file):
        opened: AbstractContextManager[Archive]
        if name.lower().endswith(".zip"):
            opened = _opened_zip(file, most, encoding)
        else:
            opened = _opened_tar(file, name, most)
        with opened as archive:
            yield archive


# Zip


class _Zip:
    def __init__(self, file: zipfile.ZipFile, size: int, most: int, encoding: str) -> None:
        self._file = file
        infos = file.infolist()
        if sum(info.compress_size for info in infos) > size:
            raise InvalidInput("members overlap: it would expand without end")
        self._infos: dict[str, zipfile.ZipInfo] = {}
        found = _Members(most)
        for info in infos:
            mode = info.external_attr >> 16 if info.create_system == _UNIX else 0
            path = _checked_path(_zip_name(info, encoding))
            if path is None or info.is_dir() or stat.S_ISDIR(mode):
                continue
            if info.flag_bits & _IS_ENCRYPTED:
                raise InvalidInput(f"{shown(path)} is encrypted")
            member = Member(path, info.file_size, _kind(path, mode), _zip_time(info))
            if found.add(member, (info.CRC, info.file_size)):
                self._infos[path] = info
        self.members = found.all()

    def place(self, path: str) -> Place | None:
        info, raw = self._infos[path], self._file.fp
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or raw is None:
            return None
        raw.seek(info.header_offset)
        header = raw.read(_LOCAL.size)
        if len(header) < _LOCAL.size:
            return None
        *_, name, extra = _LOCAL.unpack(header)
        start = info.header_offset + _LOCAL.size + name + extra
        return Place(start, info.compress_size, info.compress_type == zipfile.ZIP_DEFLATED)

    def contents(self, wanted: Collection[str]) -> Iterator[tuple[tuple[str, ...], IO[bytes]]]:
        for path in (path for path in self.members if path in wanted):
            with self._file.open(self._infos[path]) as stream:
                yield (path,), _exact(stream, self.members[path])


@contextmanager
def _opened_zip(file: Path | bytes, most: int, encoding: str) -> Iterator[Archive]:
    with _raw(file) as raw, zipfile.ZipFile(raw) as opened:
        yield _Zip(opened, raw.seek(0, os.SEEK_END), most, encoding)


def _zip_name(info: zipfile.ZipInfo, encoding: str) -> str:
    """Return a member's name: in UTF-8 if it is said to be, or is."""
    said = _extra(info, _UNICODE_PATH)
    if info.flag_bits & _IS_UTF8:
        return info.orig_filename
    raw = info.orig_filename.encode("cp437")
    if said is not None and said[0:1] == b"\x01" and said[1:5] == _crc(raw):
        return said[5:].decode()
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode(encoding)


def _crc(data: bytes) -> bytes:
    return struct.pack("<I", zlib.crc32(data))


def _extra(info: zipfile.ZipInfo, wanted: int) -> bytes | None:
    """Return an extra field of a member; APPNOTE.TXT 4.5 of PKWARE has their form."""
    extra = info.extra
    while len(extra) >= 4:
        kind, size = struct.unpack("<HH", extra[:4])
        if kind == wanted:
            return extra[4 : 4 + size]
        extra = extra[4 + size :]
    return None


def _zip_time(info: zipfile.ZipInfo) -> datetime | None:
    times = _extra(info, _UNIX_TIMES)
    if times is not None and len(times) >= 5 and times[0] & 1:
        return _time(struct.unpack("<i", times[1:5])[0])
    try:
        return datetime(*info.date_time, tzinfo=UTC)
    except ValueError:
        return None


# Tar


class _Tar:
    def __init__(
        self,
        opened: Callable[[], AbstractContextManager[tarfile.TarFile]],
        most: int,
        *,
        plain: bool,
    ) -> None:
        self._opened = opened
        self._plain = plain
        self._same: dict[str, str] = {}
        """What hard links are to, by their paths."""
        self._starts: dict[str, int] = {}
        """Where what is neither packed nor in holes begins, by its path."""
        found = _Members(most)
        with opened() as file:
            for number, info in enumerate(file):
                path = _checked_path(info.name)
                if path is None or info.isdir():
                    continue
                found.add(self._member(path, info, found), (number, 0))
        self.members = found.all()

    def _member(self, path: str, info: tarfile.TarInfo, found: _Members) -> Member:
        if info.islnk():
            target = _checked_path(info.linkname)
            first = None if target is None else found.get(self._same.get(target, target))
            if first is None:
                raise InvalidInput(f"{shown(path)} is a hard link to nothing before it")
            self._same[path] = first.path
            return Member(path, first.size, first.kind, _time(info.mtime))
        if not (info.isfile() or info.issym()):
            raise InvalidInput(f"{shown(path)} is neither a file nor a directory")
        if info.issym():
            return Member(path, len(info.linkname.encode()), "symlink", _time(info.mtime))
        kind = _kind(path, info.mode & 0o777)
        if self._plain and not info.issparse():
            self._starts[path] = info.offset_data
        return Member(path, info.size, kind, _time(info.mtime))

    def place(self, path: str) -> Place | None:
        start = self._starts.get(self._same.get(path, path))
        return None if start is None else Place(start, self.members[path].size, deflated=False)

    def contents(self, wanted: Collection[str]) -> Iterator[tuple[tuple[str, ...], IO[bytes]]]:
        again: dict[str, list[str]] = {}
        for link in (link for link in self.members if link in wanted and link in self._same):
            again.setdefault(self._same[link], []).append(link)
        with self._opened() as file:
            for info in file:
                path = _checked_path(info.name)
                if path is None or info.isdir() or info.islnk():
                    continue
                paths = (*([path] if path in wanted else []), *again.get(path, []))
                if paths and info.issym():
                    yield paths, io.BytesIO(info.linkname.encode())
                elif paths:
                    stream = file.extractfile(info)
                    assert stream is not None
                    yield paths, _exact(stream, self.members[path])


@contextmanager
def _opened_tar(file: Path | bytes, name: str, most: int) -> Iterator[Archive]:
    @contextmanager
    def opened() -> Iterator[tarfile.TarFile]:
        with _raw(file) as raw, _expanded(raw, name) as stream:
            bounded: Any = _Bounded(stream, most)
            with tarfile.open(fileobj=bounded, mode="r|", encoding="utf-8") as archive:
                yield archive
            while bounded.read(fs.PIECE):  # sums over all of it stand at the very end
                pass

    yield _Tar(opened, most, plain=name.lower().endswith(".tar"))


def _expanded(raw: IO[bytes], name: str) -> AbstractContextManager[Any]:
    end = name.lower().rpartition(".")[2].removeprefix("t")
    match end:
        case "gz":
            return gzip.GzipFile(fileobj=raw)
        case "bz2" | "bz":
            return bz2.BZ2File(raw)
        case "xz":
            return lzma.LZMAFile(raw)
        case "zst":
            return zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
    return nullcontext(raw)


class _Bounded:
    """A stream that ends in an error once it has given more bytes than it may."""

    def __init__(self, raw: IO[bytes], most: int) -> None:
        self._raw = raw
        self._left = most

    def read(self, size: int = -1) -> bytes:
        data = self._raw.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise InvalidInput("it expands to more bytes than an archive may")
        return data


# Both


class _Members:
    """The members of an archive, as they are found."""

    def __init__(self, most: int) -> None:
        self._found: dict[str, Member] = {}
        self._marks: dict[str, tuple[int, int]] = {}
        self._left = most

    def get(self, path: str | None) -> Member | None:
        return self._found.get(path or "")

    def add(self, member: Member, mark: tuple[int, int]) -> bool:
        """Take a member; a second one of a name must have the same mark. Return whether it is new.

        Raises:
            InvalidInput: There is another one, or there are too many, or too large ones.
        """
        path = member.path
        if path in self._found:
            if self._marks[path] != mark:
                raise InvalidInput(f"{shown(path)} is in it twice")
            return False
        self._found[path], self._marks[path] = member, mark
        self._left -= member.size
        if self._left < 0 or len(self._found) > MOST_MEMBERS:
            raise InvalidInput("it expands to more than an archive may")
        return True

    def all(self) -> Mapping[str, Member]:
        """Return all members, by their paths.

        Raises:
            InvalidInput: One is a file and a directory.
        """
        for path in self._found:
            above = path
            while above := above.rpartition("/")[0]:
                if above in self._found:
                    raise InvalidInput(f"{shown(above)} is in it as a file and as a directory")
        return self._found


def _raw(file: Path | bytes) -> IO[bytes]:
    if isinstance(file, bytes):
        return io.BytesIO(file)
    return io.BufferedReader(disk.open_file(file))


class _Exact(io.RawIOBase):
    """A stream that has the bytes that its member says, no more and no less."""

    def __init__(self, stream: IO[bytes], member: Member) -> None:
        self._stream = stream
        self._member = member
        self._seen = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        self._seen += len(data)
        if self._seen > self._member.size or (not data and self._seen < self._member.size):
            size = f"{self._seen:,} bytes, not {self._member.size:,}"
            raise InvalidInput(f"{shown(self._member.path)} has {size}")
        buffer[: len(data)] = data
        return len(data)


def _exact(stream: IO[bytes], member: Member) -> IO[bytes]:
    return io.BufferedReader(_Exact(stream, member), fs.PIECE)


def _checked_path(name: str) -> str | None:
    """Return a member's path in an asset; None for the archive's own root.

    Raises:
        InvalidInput: It leads elsewhere, or can't be in an asset.
    """
    name = name.replace("\\", "/")
    if name.startswith("/"):
        raise InvalidInput(f"{shown(name)} is an absolute path")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    for part in parts:
        check_name(part)
    return "/".join(parts) or None


def _kind(path: str, mode: int) -> Literal["file", "executable", "symlink"]:
    if stat.S_ISLNK(mode):
        return "symlink"
    if stat.S_IFMT(mode) and not stat.S_ISREG(mode):
        raise InvalidInput(f"{shown(path)} is neither a file nor a directory")
    return "executable" if mode & stat.S_IXUSR else "file"


def _time(seconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC) if seconds > 0 else None
    except (ValueError, OverflowError, OSError):
        return None


_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zstandard.ZstdError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    struct.error,
    NotImplementedError,  # a compression that zipfile does not know
    ValueError,
    KeyError,
    RuntimeError,
)


@contextmanager
def _readable(name: str, file: Path | bytes) -> Iterator[None]:
    """Turn what is wrong with an archive into one error that names it."""
    try:
        yield
    except InvalidInput as error:
        raise InvalidInput(f"{shown(name)}: {error.message}", hint=error.hints) from error
    except StorageError:
        raise
    except OSError as error:
        if error.errno is not None:
            where = name if isinstance(file, bytes) else file
            raise storage_error(error, where, doing="read") from error
        raise InvalidInput(f"{shown(name)} is broken: {error}") from error  # bz2 says it so
    except _BROKEN as error:
        raise InvalidInput(f"{shown(name)} is broken: {error}") from error
