"""Pieces of an import: some sources that are read, and whose content is sent, one after the other.

A piece is read on this machine, or by a worker elsewhere. What its sources become is published by
whoever cut the pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import datetime
from errno import EDQUOT, ENOSPC
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from ama.errors import AmaError, Conflict, StorageError
from ama.format.names import check_alias
from ama.format.objects import check_metadata, check_text
from ama.format.packindex import PackIndex
from ama.format.recorded import HASH, MARK, SIZE, SOURCE
from ama.importing.incoming import Incoming, Link, Origin, Source
from ama.importing.rules import in_order
from ama.importing.sources import prefetched
from ama.operations.session import now
from ama.store import Store
from ama.stores.remote import Remote
from ama.system.parallel import in_chunks, some_ahead
from ama.system.scratch import Scratch
from ama.transfer.ahead import NOTHING, Ahead, Sent
from ama.transfer.publish_many import Item
from ama.values import Scalar
from ama.worktree.given import GivenFiles, of_contents

BATCH = 1024 * 1024
"""The bytes of small sources that are fetched together."""

BATCH_SOURCES = 16
"""The most sources that are fetched together."""

FETCHES = 6
"""The batches that are fetched at a time."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Sources to read.

    Attributes:
        sources: The sources.
        url: The URL of the store that gets their content; None: nothing is sent.
        author: The author of assets of which nothing else says it.
        portable: Whether to refuse names that some system can't hold.
        force: Whether to take files that look like secrets.
        known: The hashes of what was imported before, by URL and class: that is not sent again.
    """

    sources: tuple[Source, ...]
    url: str | None
    author: str
    portable: bool
    force: bool
    known: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Return the bytes of its sources."""
        return sum(source.origin.size for source in self.sources)


class Read(NamedTuple):
    """A source that was read: its assets as items, or why it has none."""

    origin: Origin
    items: tuple[Item, ...]
    digest: str = ""
    error: AmaError | None = None
    links: tuple[tuple[Mapping[Link, str], Link | None], ...] = ()
    """Of each item what other sources became: what it is made from, and the version before it."""
    absent: tuple[tuple[str, ...], ...] = ()
    """Of each item what rules asked for and the source does not say."""


class PieceRead(NamedTuple):
    """What was read of a piece, and what was sent of it."""

    reads: tuple[Read, ...]
    sent: Sent = NOTHING


def is_known(read: Read, known: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether all that a source becomes was imported before, though it was written again.

    Args:
        read: What was read.
        known: The hashes of what was imported before, by URL and class.
    """
    before = known.get(read.origin.url, {})
    return bool(read.digest and read.items) and all(
        before.get(item.class_name) == read.digest for item in read.items
    )


def read_by_worker(piece: Piece) -> PieceRead:
    """Read a piece in a process that has nothing but it; see `read_piece`."""
    return read_piece(piece, None if piece.url is None else Store.open(piece.url).remote)


def read_piece(
    piece: Piece,
    remote: Remote | None,
    near: Sequence[PackIndex] = (),
    advance: Callable[[int], None] = lambda size: None,
) -> PieceRead:
    """Read the sources of a piece, and send what the store lacks of their content.

    Args:
        piece: The piece.
        remote: The store at its URL.
        near: The indexes of what others have sent, and that are about to be published.
        advance: A function that is told the bytes of each source that is done.

    Raises:
        StorageError: The store or the sources can't be reached.
    """
    with ExitStack() as stack:
        ahead: Ahead | None = None

        def taken(opened: _Opened) -> Read:
            nonlocal ahead
            with opened as (read, contents):
                if remote is not None and contents and not is_known(read, piece.known):
                    if ahead is None:
                        classes = {item.class_name for item in read.items}
                        ahead = Ahead(remote, classes, piece.size, near)
                        stack.enter_context(ahead)
                    read = _sent(read, contents, ahead)
                return read

        reads: list[Read] = []
        for opened in _opened(piece):
            reads.append(taken(opened))
            advance(reads[-1].origin.size)
        for at, source in enumerate(piece.sources):
            if _had_no_room(reads[at]):
                reads[at] = taken(_Opened(piece, source))  # by itself it may have
        return PieceRead(tuple(reads), NOTHING if ahead is None else ahead.finish())


def _had_no_room(read: Read) -> bool:
    """Whether the disk for temporary files was full."""
    return isinstance(read.error, StorageError) and read.error.errno in (ENOSPC, EDQUOT)


class _Opened:
    """A source that was read, with the content of its assets, until the end of the context."""

    def __init__(self, piece: Piece, source: Source) -> None:
        self._scratch = Scratch("ama-import-")
        self._read, self._contents = _read(piece, source, self._scratch.path)
        if self._read.error is not None:
            self._scratch.remove()  # others may need the room before its turn comes

    def __enter__(self) -> tuple[Read, tuple[GivenFiles, ...]]:
        return self._read, self._contents

    def __exit__(self, *error: object) -> None:
        self._scratch.remove()


def _opened(piece: Piece) -> Iterator[_Opened]:
    """Yield the sources in order; some are read ahead, and some more are fetched."""
    with closing(some_ahead(prefetched, _batches(piece.sources), FETCHES)) as batches:
        sources = chain.from_iterable(batches)
        yield from in_chunks(lambda some: _Opened(piece, some[0]), sources, chunk=1)


def _batches(sources: Iterable[Source]) -> Iterator[list[Source]]:
    some: list[Source] = []
    size = 0
    for source in sources:
        if some and (size + source.origin.size > BATCH or len(some) >= BATCH_SOURCES):
            yield some
            some, size = [], 0
        some.append(source)
        size += source.origin.size
    if some:
        yield some


def _sent(read: Read, contents: Iterable[GivenFiles], ahead: Ahead) -> Read:
    """Send the content of what a source becomes; return the error instead if that can't be."""
    try:
        for files in contents:
            ahead.send(files)
    except Conflict as error:
        return Read(read.origin, (), error=error)
    return read


def _read(piece: Piece, source: Source, scratch: Path) -> tuple[Read, tuple[GivenFiles, ...]]:
    origin = source.origin
    try:
        contents = source.read(scratch)
        assets = list(_in_order(contents.assets))
        made = [_item(piece, origin, asset, refs, contents.digest) for asset, refs in assets]
    except AmaError as error:
        if isinstance(error, StorageError) and error.retryable:
            raise  # the others would fail as well, and each after a long wait
        return Read(origin, (), error=error), ()
    digest = "" if contents.digest is None else contents.digest.hex()
    links = tuple((asset.links, asset.follows) for asset, _ in assets)
    items, files = zip(*made, strict=True) if made else ((), ())
    absent = tuple(asset.absent for asset, _ in assets)
    return Read(origin, items, digest, links=links, absent=absent), files


def _in_order(assets: Sequence[Incoming]) -> Iterator[tuple[Incoming, Mapping[int, str]]]:
    """Yield assets, each after those that it is made from, with the places of these."""
    order = list(in_order([asset.refs.keys() for asset in assets]))
    places = {at: place for place, at in enumerate(order)}
    for at in order:
        yield assets[at], {places[ref]: label for ref, label in assets[at].refs.items()}


def _item(
    piece: Piece, origin: Origin, asset: Incoming, refs: Mapping[int, str], digest: bytes | None
) -> tuple[Item, GivenFiles]:
    """Return an asset, checked, and its files with their content."""
    made = asset.created_at or origin.modified
    for alias in asset.aliases:
        check_alias(alias)
    check_text("message", asset.message)
    for key, value in asset.metadata.items():
        check_metadata(key, value)
    contents = {path: (each.kind, each.data) for path, each in asset.files.items()}
    files = of_contents(contents, portable=piece.portable, force=piece.force)
    noted: dict[str, Scalar] = {SOURCE: origin.url, SIZE: origin.size, MARK: origin.mark}
    if digest is not None:
        noted[HASH] = digest.hex()
    item = Item(
        asset.class_name,
        files.entries,
        asset.author or piece.author,
        now() if made is None else _micros(made),
        asset.created_at is not None,
        asset.message or origin.url.rpartition("/")[2],
        asset.metadata,
        asset.aliases,
        origin.says_aliases,
        refs,
        noted=noted,
    )
    return item, files


def _micros(moment: datetime) -> int:
    return max(0, round(moment.timestamp() * 1_000_000))
