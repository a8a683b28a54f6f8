"""What comes in: sources, what is in them, and the assets that they become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from ama.errors import AmaError
from ama.format.objects import EntryKind
from ama.values import Scalar
from ama.worktree.located import Located


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a source is, and how it was when it was listed.

    Attributes:
        url: Its URL or path, without options.
        size: Its bytes.
        mark: What changes when it does: an etag, a generation, a time.
        modified: When it was written, in UTC, if that is known.
        says_aliases: Whether it says where its aliases are now, whichever assets are newer.
    """

    url: str
    size: int
    mark: str
    modified: datetime | None = None
    says_aliases: bool = False


class Link(NamedTuple):
    """What another source became: its class, and the URL of that source."""

    class_name: str
    url: str


@dataclass(frozen=True, slots=True)
class Content:
    """A file for an asset: its kind, and its bytes, the file on this machine that has them, or
    where they stay.
    """

    kind: EntryKind
    data: bytes | Path | Located


@dataclass(frozen=True, slots=True)
class Incoming:
    """An asset that a source becomes.

    Attributes:
        class_name: Its class.
        files: Its files, by their paths.
        aliases: The aliases that it gets.
        author: Its author, if that is known.
        created_at: When it was made, in UTC; None: when its source was written.
        message: Its message.
        metadata: Its metadata.
        refs: What it is made from: labels by the places of assets of the same source.
        links: What else it is made from: labels by what other sources became.
        follows: The version before it, which another source became.
        absent: What rules asked for and its source does not say.
    """

    class_name: str
    files: Mapping[str, Content]
    aliases: tuple[str, ...] = ()
    author: str | None = None
    created_at: datetime | None = None
    message: str = ""
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    refs: Mapping[int, str] = field(default_factory=dict)
    links: Mapping[Link, str] = field(default_factory=dict)
    follows: Link | None = None
    absent: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Contents:
    """What was read of a source: its assets, and the BLAKE3 of its bytes, if it is one file."""

    assets: tuple[Incoming, ...]
    digest: bytes | None = None


def beside(
    files: Mapping[str, object], place: str, said: Mapping[str, bytes]
) -> dict[str, Content]:
    """Return files in a directory that nothing else is in.

    Args:
        files: What there is, by its paths.
        place: The directory; if there is something in it, another one.
        said: The files, by their names.

    Example:
        >>> list(beside({"notes/a": b""}, "notes", {"b": b"b"}))
        ['notes-run/b']
    """
    while any(path == place or path.startswith(f"{place}/") for path in files):
        place += "-run"
    return {f"{place}/{name}": Content(EntryKind.FILE, data) for name, data in said.items()}


class Source(Protocol):
    """Something that becomes assets."""

    @property
    def origin(self) -> Origin:
        """Return where it is."""

    def read(self, scratch: Path) -> Contents:
        """Read it.

        Args:
            scratch: An empty directory for what is too large for memory.

        Raises:
            InvalidInput: It is broken, or no asset can be made of it.
            Conflict: It changed meanwhile.
            StorageError: It can't be read.
        """


@dataclass(frozen=True, slots=True)
class Refused:
    """A source that can't be imported, as was seen when it was listed."""

    origin: Origin
    error: AmaError

    def read(self, scratch: Path) -> Contents:
        """Raise what is wrong with it."""
        raise self.error
