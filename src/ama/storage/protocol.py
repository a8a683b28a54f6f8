"""The protocol of a storage: bytes under names, read in batches, and created atomically."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol, runtime_checkable

from ama.errors import InvalidInput, shown
from ama.system.fs import Buffer, is_temp

__all__ = [
    "Buffer",
    "Detail",
    "HasDetails",
    "HasDirectories",
    "HasHeads",
    "HasMembers",
    "HasParts",
    "Range",
    "Storage",
    "check_prefix",
    "check_storage_name",
]

_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*").fullmatch
_DRIVE = re.compile(r"[A-Za-z]:").match


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes to read: `length` of them (None: all that follow) from `start` on.

    Example:
        >>> Range("packs/3f/3f9a.pack", 100, 20)
        Range(name='packs/3f/3f9a.pack', start=100, length=20)
    """

    name: str
    start: int = 0
    length: int | None = None

    def __post_init__(self) -> None:
        if self.start < 0 or (self.length is not None and self.length < 0):
            raise InvalidInput(f"no range of {shown(self.name)}: {self.start}+{self.length}")


class Detail(NamedTuple):
    """What a listing says of a name.

    Attributes:
        size: Its bytes.
        mark: What changes when its content does: an etag, a generation, a time. It has no form.
        modified: When it was written, in UTC, if that is known.
    """

    size: int
    mark: str = ""
    modified: datetime | None = None


class Storage(Protocol):
    """A place where a store keeps its bytes: a directory, a bucket, a dictionary.

    Names are POSIX, relative, and checked by every storage: no `..`, nothing absolute. A name
    holds bytes, whole, or nothing. A caller may change the data as soon as a method is done, by
    returning or raising: the storage doesn't read it any more. Several threads may call all
    methods at once. Each raises `StorageError` if the storage fails, and `InvalidInput` for an
    unsafe name.
    """

    @property
    def url(self) -> str:
        """Return its URL, as a user would type it."""

    @property
    def can_create(self) -> bool | None:
        """Whether `create` is atomic here; if not, nobody can publish to a store in it.

        None: it claims to be, and must prove it before a store is made there (`check`).
        """

    @property
    def across_network(self) -> bool:
        """Whether requests cross a network: they take long, and keep their own data."""

    def read(self, ranges: Sequence[Range]) -> list[bytes | None]:
        """Read a batch of ranges, in one round trip.

        Returns:
            The bytes of each range: None if the name is absent, and fewer than asked for if there
            are fewer (none at all if it begins behind the end).
        """

    def put(self, name: str, data: Buffer) -> None:
        """Write bytes under a name that their content gives, durably; it may be there already."""

    def create(self, name: str, data: Buffer) -> None:
        """Write a name that must be absent; of many writers at once exactly one succeeds.

        Raises:
            AlreadyExists: The name is taken. It is untouched.
        """

    def replace(self, name: str, data: Buffer) -> None:
        """Write derived data: readers see the old or the new bytes, whole."""

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        """Return the size of each name in bytes, in one round trip; None for an absent name."""

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Return the names that begin with `prefix`, with their sizes in bytes, in any order."""

    def delete(self, name: str) -> None:
        """Delete a name; it may be absent."""

    def cancel(self) -> None:
        """Fail at once the requests that other threads wait for, if they may take long.

        Their writes may have happened or not. Later requests work as ever.
        """


@runtime_checkable
class HasDirectories(Protocol):
    """A storage whose names lie in directories, which a write makes and nothing deletes."""

    def missing_directories(self, name: str) -> list[str]:
        """Return the directories that a write of a name would make, the outermost first."""

    def remove_directories(self, paths: Sequence[str]) -> None:
        """Delete directories, the last first. One that isn't empty stays."""


@runtime_checkable
class HasDetails(Protocol):
    """A storage whose listing tells whether a name was written again."""

    def details(self, prefix: str) -> Iterator[tuple[str, Detail]]:
        """Return the names that begin with `prefix`, as `Storage.list` does, with their details."""


@runtime_checkable
class HasHeads(Protocol):
    """A storage that tells of single names what a listing tells of all."""

    def details_of(self, names: Sequence[str]) -> list[Detail | None]:
        """Return the details of each name, in one round trip; None for an absent name."""


@runtime_checkable
class HasParts(Protocol):
    """A storage that takes what is larger than memory."""

    def write_parts(self, name: str, pieces: Iterable[Buffer]) -> None:
        """Write bytes that come in pieces: a name has all of them, or what it had before.

        Args:
            name: The name; it may exist.
            pieces: The bytes in order. If taking the next piece raises, the name stays as it is,
                and the error passes through.
        """


@runtime_checkable
class HasMembers(Protocol):
    """A storage that several users of a machine may write to, each as himself."""

    def is_shared(self) -> bool:
        """Whether others than its owner should write there."""

    def check_members(self, name: str) -> str:
        """Check that others can read and write there, and return what the check saw.

        Args:
            name: An existing file, beside which to try.

        Raises:
            StorageError: Something is closed to them.
        """


def details_of(storage: Storage, names: Sequence[str]) -> list[Detail | None]:
    """Return the details of each name; None for an absent name.

    Raises:
        StorageError: The storage can't be reached.
    """
    if isinstance(storage, HasHeads):
        return storage.details_of(names)
    if isinstance(storage, HasDetails):
        return [dict(storage.details(name)).get(name) for name in names]
    return [None if size is None else Detail(size) for size in storage.sizes(names)]


def check_storage_name(name: str) -> None:
    """Refuse a name that could lead out of a storage.

    Args:
        name: The name to read or write.

    Raises:
        InvalidInput: It is empty, absolute, isn't Unicode, has `.`, `..` or an empty part, a
            backslash, NUL or drive in it, or is that of a temporary file.

    Example:
        >>> check_storage_name("log/000000000001")
    """
    if _PLAIN(name):
        return
    parts = name.split("/")
    if (
        any(part in ("", ".", "..") for part in parts)
        or "\\" in name
        or "\0" in name
        or _DRIVE(name)
        or any(is_temp(part) for part in parts)
        or not _is_unicode(name)
    ):
        raise InvalidInput(f"'{shown(name)}' can't be a name in a storage")


def check_prefix(prefix: str) -> None:
    """Refuse a prefix that no name in a storage can begin with.

    Args:
        prefix: The beginning of names; empty: all names.

    Raises:
        InvalidInput: As in `check_storage_name`.

    Example:
        >>> check_prefix("packs/")
    """
    if prefix:
        check_storage_name(prefix + "x")


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
