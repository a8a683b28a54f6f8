"""Files outside of any store, which references lead to. They are only read.

Who writes a store says where its references lead, so a URL is hostile until it is checked: a
regular file of this machine and a bucket may be read, a server only where the user says so.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import PurePosixPath
from typing import NamedTuple, TypeVar
from urllib.parse import quote

from ama.config import Option
from ama.errors import AmaError, Hint, InvalidInput, NotFound, StorageError, shown
from ama.storage.local import detail_of, read_range
from ama.storage.protocol import Detail, Range, Storage, details_of
from ama.storage.urls import file_path, open_storage, parse_url
from ama.system import disk
from ama.system.encoding import to_system

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_ABSENT = (FileNotFoundError, NotADirectoryError)
_ALIKE = {"gcs": "gs", "ssh": "sftp", "abfs": "az", "abfss": "az"}
_SERVERS = frozenset({"sftp", "ssh", "http", "https"})


class Reach(NamedTuple):
    """What may be read outside of a store, and how.

    Attributes:
        storages: URLs of storages that the user has configured, each with ama's own options of it.
            What lies in the same bucket or on the same server is reached in the same way.
        allowed: Beginnings of URLs on servers that may be read.
    """

    storages: tuple[tuple[str, Mapping[str, Option]], ...] = ()
    allowed: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        remotes: Mapping[str, str],
        options: Mapping[str, Mapping[str, Option]],
        allowed: tuple[str, ...],
    ) -> Reach:
        """Return what may be read, given the URLs and ama's own options of remotes by their names.

        Example:
            >>> Reach.of({"team": "s3://models"}, {}, ()).storages
            (('s3://models', {}),)
        """
        known = ((url, options.get(name, {})) for name, url in remotes.items())
        return cls(tuple(each for each in known if "://" in each[0]), allowed)


class Part(NamedTuple):
    """Bytes to read: `length` of them, from `start` on, of the file at a URL."""

    url: str
    start: int
    length: int


class Outside:
    """Files at URLs, for a reader of a store's references.

    Args:
        reach: What may be read, and how.
        near: The URL of the store. A bucket of the same kind is reached as the store's own is.

    Example:
        >>> Outside().read([Part("file:///no/such/file", 0, 10)])[0]
        NotFound('/no/such/file is gone')
    """

    def __init__(self, reach: Reach = Reach(), near: str = "") -> None:
        self._reach = reach
        self._near = near
        self._lock = threading.Lock()
        self._storages: dict[str, Storage] = {}

    def read(self, parts: Sequence[Part]) -> list[bytes | AmaError]:
        """Read parts of files: of each storage in one batch.

        Returns:
            The bytes of each part, fewer where the file ends; or why it can't be read.
        """
        found: list[bytes | AmaError] = [NotFound("")] * len(parts)
        for numbers in _grouped(part.url for part in parts):
            some = [parts[number] for number in numbers]
            for number, answer in zip(numbers, self._read(some), strict=True):
                found[number] = answer
        return found

    def details(self, urls: Sequence[str]) -> list[Detail | AmaError]:
        """Return what is known of files without reading them, or why nothing is."""
        found: list[Detail | AmaError] = [NotFound("")] * len(urls)
        for numbers in _grouped(urls):
            some = [urls[number] for number in numbers]
            for number, answer in zip(numbers, self._details(some), strict=True):
                found[number] = answer
        return found

    def check(self, url: str) -> None:
        """Refuse a URL that may not be read.

        Raises:
            InvalidInput: It is of a server that the user doesn't allow, or can't be opened.
        """
        scheme = url.partition("://")[0]
        if scheme in _SERVERS and not any(map(partial(_is_below, url), self._reach.allowed)):
            raise InvalidInput(
                f"{shown(url)} is on a server that ama is not allowed to read by reference",
                hint=Hint("allow-references", prefix=_base(url) + "/"),
            )
        if scheme == "file":
            file_path(url)
        else:
            parse_url(_base(url))

    def options_at(self, url: str) -> dict[str, Option]:
        """Return the options with which the bucket or server of a URL is reached."""
        base = _base(url)
        kind, _, host = base.partition("://")
        kind = _ALIKE.get(kind, kind)
        alike: dict[str, Option] = {}
        for known, own in ((self._near, {}), *reversed(self._reach.storages)):
            scheme, _, rest = known.partition("://")
            scheme = _ALIKE.get(scheme, scheme)
            if scheme != kind:
                continue
            same = rest.partition("?")[0].partition("/")[0] == host
            if same or known == self._near:
                with suppress(InvalidInput):  # the user has written it
                    alike = {**parse_url(known).options, **own}
        return alike

    def _read(self, parts: Sequence[Part]) -> list[bytes | AmaError]:
        if parts[0].url.startswith("file://"):
            return _read_file(parts[0].url, [(part.start, part.length) for part in parts])
        try:
            storage, base = self._at(parts[0].url)
            ranges = [Range(p.url[len(base) + 1 :], p.start, p.length) for p in parts]
            answers = storage.read(ranges)
        except AmaError as error:
            return self._apart(parts, error, self._read)
        named = zip(parts, answers, strict=True)
        return [_gone(part.url) if data is None else data for part, data in named]

    def _details(self, urls: Sequence[str]) -> list[Detail | AmaError]:
        if urls[0].startswith("file://"):
            return [_look(urls[0])] * len(urls)
        try:
            storage, base = self._at(urls[0])
            names = [url[len(base) + 1 :] for url in urls]
            answers = details_of(storage, names)
        except AmaError as error:
            return self._apart(urls, error, self._details)
        return [
            _gone(url) if found is None else found for url, found in zip(urls, answers, strict=True)
        ]

    def _apart(
        self,
        items: Sequence[Item],
        error: AmaError,
        again: Callable[[Sequence[Item]], list[Answer | AmaError]],
    ) -> list[Answer | AmaError]:
        """Return what comes of each item by itself, if only some of them may be at fault."""
        is_away = isinstance(error, StorageError) and error.retryable
        if len(items) == 1 or is_away:
            return [error for _ in items]
        return [answer for item in items for answer in again([item])]

    def _at(self, url: str) -> tuple[Storage, str]:
        """Return the storage of a URL, and the URL of that."""
        self.check(url)
        base = _base(url)
        with self._lock:
            if base not in self._storages:
                self._storages[base] = open_storage(base, self.options_at(url))
            return self._storages[base], base


def url_of_path(path: str | os.PathLike[str]) -> str:
    """Return the URL of a file of this machine, given its absolute path.

    Example:
        >>> url_of_path("/mnt/our models/a.zip")
        'file:///mnt/our%20models/a.zip'
    """
    plain = os.fsencode(path)
    if os.name == "nt":
        plain = b"/" + plain.replace(b"\\", b"/")
    return f"file://{quote(plain, safe='/')}"


def shown_url(url: str) -> str:
    """Return the URL of a source for a message: of a file of this machine its path.

    Example:
        >>> shown_url("file:///mnt/our%20models/a.zip")
        '/mnt/our models/a.zip'
    """
    return shown(file_path(url) if url.startswith("file:///") else url)


def _base(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


def _is_below(url: str, prefix: str) -> bool:
    above = prefix.rstrip("/")
    return (
        bool(above) and f"{url}/".startswith(f"{above}/") and ".." not in PurePosixPath(url).parts
    )


def _grouped(urls: Iterable[str]) -> Iterable[list[int]]:
    """Return the places of URLs that are read together."""
    groups: dict[str, list[int]] = {}
    for number, url in enumerate(urls):
        groups.setdefault(url if url.startswith("file://") else _base(url), []).append(number)
    return groups.values()


def _gone(url: str) -> NotFound:
    return NotFound(f"{shown_url(url)} is gone")


def _read_file(url: str, ranges: Sequence[tuple[int, int]]) -> list[bytes | AmaError]:
    """Read parts of a file of this machine; what is no regular file isn't waited for."""
    try:
        with disk.reading(to_system(file_path(url))) as file:
            size = os.fstat(file.fileno()).st_size
            return [read_range(file.fileno(), size, Range("", *each)) for each in ranges]
    except _ABSENT:
        return [_gone(url)] * len(ranges)
    except AmaError as error:
        return [error] * len(ranges)


def _look(url: str) -> Detail | AmaError:
    try:
        with disk.reading(to_system(file_path(url))) as file:
            return detail_of(os.fstat(file.fileno()))
    except _ABSENT:
        return _gone(url)
    except AmaError as error:
        return error
