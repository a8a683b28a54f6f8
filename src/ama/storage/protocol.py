"""What a storage is: bytes under names, read in batches, and created atomically."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ama.errors import InvalidInput, shown
from ama.system.fs import Buffer, is_temp

__all__ = [
    "Buffer",
    "HasDirectories",
    "HasMembers",
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


class Storage(Protocol):
    """A directory, a bucket, a dictionary: where a store keeps its bytes.

    Names are POSIX, relative, and checked by every storage: no `..`, nothing absolute. A name
    holds bytes, whole, or nothing. What is written may be changed by the caller as soon as the
    method is done, by returning or by raising: none goes on reading it. All methods may be
    called from several threads at once, and each raises `StorageError` where the storage fails
    and `InvalidInput` for an unsafe name.
    """

    @property
    def url(self) -> str:
        """Where it is, as a user would type it."""

    @property
    def can_create(self) -> bool | None:
        """Whether `create` is atomic here; if not, a store in it can't be published to.

        None: it says that it is, and must prove it before a store is made there (`checking`).
        """

    @property
    def across_network(self) -> bool:
        """Whether requests cross a network: they take long, and hold what they carry themselves."""

    def read(self, ranges: Sequence[Range]) -> list[bytes | None]:
        """Read a batch of ranges, in one round trip.

        Returns:
            For each range its bytes: None if the name holds nothing, and fewer than asked for
            if there are fewer (none at all if it begins behind the end).
        """

    def put(self, name: str, data: Buffer) -> None:
        """Write what is named by its content: durable when this returns; fine if it is there."""

    def create(self, name: str, data: Buffer) -> None:
        """Write what must not be there yet; of many who try at once exactly one succeeds.

        Raises:
            AlreadyExists: The name holds something. It was not touched.
        """

    def replace(self, name: str, data: Buffer) -> None:
        """Write what may be there: readers see the old or the new, whole. For derived data."""

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        """Return, in one round trip, how many bytes each name holds; None where nothing."""

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Return the names that begin with `prefix`, with their sizes in bytes, in any order."""

    def delete(self, name: str) -> None:
        """Make the name hold nothing; fine if it does already."""

    def cancel(self) -> None:
        """Let the requests fail at once that other threads wait for, if they may take long.

        What they were to write may be there or not. Later requests are made as ever.
        """


@runtime_checkable
class HasDirectories(Protocol):
    """A storage whose names lie in directories, which are made along with them and stay."""

    def missing_directories(self, name: str) -> list[str]:
        """Return the directories that a write of a name would make, the outermost first."""

    def remove_directories(self, paths: Sequence[str]) -> None:
        """Delete directories, the last first. One that isn't empty stays."""


@runtime_checkable
class HasMembers(Protocol):
    """A storage that several users of a machine may write to, each as himself."""

    def is_shared(self) -> bool:
        """Whether others than its owner are meant to write there."""

    def check_members(self, name: str) -> str:
        """Check that others can read and write there, and say what was seen.

        Args:
            name: A file that is there, beside which it is tried.

        Raises:
            StorageError: Something is closed to them.
        """


def check_storage_name(name: str) -> None:
    """Refuse a name that could lead out of a storage.

    Args:
        name: What the caller wants to read or write.

    Raises:
        InvalidInput: It is empty, absolute, has `.`, `..` or an empty part, a backslash, NUL or
            drive in it, isn't Unicode, or is one of a temporary file.

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
    """Refuse a prefix of which no name in a storage can begin.

    Args:
        prefix: The beginning of names; empty for all.

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
