"""Writing objects to the packs of one storage: packed in memory, stored whole, then indexed.

Packs are about 32 MiB, less if the objects in them are tiny; content and metadata (trees, assets,
recipes) go to separate packs. Three threads share the work: the caller's reads and hashes, a second
compresses and fills packs, a third hashes and stores the full ones. A writer's memory is bounded,
however large the objects are: BATCHES_IN_FLIGHT batches, PACKS_IN_FLIGHT packs on their way, one of
each sort being filled, the rows of one index; and some 50 bytes for each object, its id, and as
many again if the indexes that are written are held in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from ama.errors import AmaError
from ama.format.compression import BYTE_PLANES, PLANES, compress
from ama.format.hashing import Buffer, blob_id
from ama.format.idset import IdSet
from ama.format.indexrows import RowCollector, packed
from ama.format.objects import Kind
from ama.format.pack import (
    PackBuilder,
    Record,
    codec_of,
    open_record,
    row_fields,
    trailer_row,
)
from ama.format.packindex import PackIndex
from ama.format.references import REFERENCE, REFERENCES, Reference, encode_reference
from ama.storage.protocol import Storage
from ama.stores.object_reader import index_name, pack_name
from ama.system.parallel import pool, submit

if TYPE_CHECKING:
    from concurrent.futures import Future

PACK_SIZE = 32 * 1024 * 1024
INDEX_EVERY = 1024 * 1024 * 1024
INDEX_ROWS = 1 << 17
"""The number of rows after which an index is written: more would take memory, not only disk."""

PACK_RECORDS = 1 << 16
"""The number of objects after which a pack is closed: the rows of tiny ones take memory too."""

PACKS_IN_FLIGHT = 2
BATCH_SIZE = 1024 * 1024
BATCHES_IN_FLIGHT = 3

Job = tuple[Kind, Callable[[PackBuilder], Record]]


class Stored(NamedTuple):
    """A stored pack."""

    pack: bytes
    size: int
    rows: bytes
    """Its records, for an index."""
    content: int
    """The bytes of the content in it."""


def _stored(pack: bytes, size: int, rows: bytes) -> Stored:
    """Return the note of a pack, given the rows of its trailer."""
    content = sum(full for _, kind, _, _, full in row_fields(rows) if kind in _CONTENT)
    return Stored(pack, size, packed(row_fields(rows)), content)


_CONTENT = (Kind.DATA, Kind.REFERENCE)


class PackWriter:
    """A writer of objects to a storage. Nothing counts before `finish` returns.

    Use it as a context manager: an exception stops the background work, and packs stored by then
    are orphaned, but never wrong.

    Args:
        storage: The storage for packs and indexes.
        features: The features that its readers know. Records that others bring are encoded anew
            if these readers don't know how.
        advance: A function called after each pack is stored, with the bytes of content in it.
        pack_size: The bytes after which a pack is closed.
        index_every: The bytes of packs after which an index is written, so that an interruption
            loses little.
        opened: A function that opens an index that is stored, given its bytes.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        features: Collection[str] = (),
        advance: Callable[[int], None] | None = None,
        pack_size: int = PACK_SIZE,
        index_every: int = INDEX_EVERY,
        opened: Callable[[bytes], PackIndex] = PackIndex,
    ) -> None:
        self._storage = storage
        self._planes = BYTE_PLANES in features
        self._references = REFERENCES in features
        self._advance = advance
        self._pack_size = pack_size
        self._index_every = index_every
        self._opened = opened
        # Only the packer has these, and the memory of stored packs, for reuse.
        self._filling: dict[bool, PackBuilder] = {}
        self._free: deque[PackBuilder] = deque()
        self._seen = IdSet()
        self._batch: deque[Job] = deque()
        self._batch_size = 0
        self._packer = pool(1, "ama-pack")
        self._packing: deque[Future[list[PackBuilder]]] = deque()
        self._pool = pool(PACKS_IN_FLIGHT, "ama-store")
        self._waiting: deque[Future[Stored]] = deque()
        self._rows = RowCollector()
        self._indexes: list[PackIndex] = []
        self.bytes_written = 0

    def __enter__(self) -> PackWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._packer.shutdown(wait=True, cancel_futures=True)
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __contains__(self, object_id: bytes) -> bool:
        return object_id in self._seen

    def add(self, kind: Kind, object_id: bytes, data: Buffer) -> None:
        """Write one object, unless this writer has it already.

        Args:
            kind: The object's kind; a recipe goes under the id of its object.
            object_id: Its id, which the caller has computed from `data`.
            data: Its bytes, which are copied.
        """
        if not self._seen.add(object_id):
            return
        # The caller may reuse its buffer before this is compressed.
        kept = bytes(data)
        size = len(kept)
        self._later(kind, size, lambda pack: self._encode(pack, kind, object_id, kept))

    def add_compressed(
        self, kind: Kind, object_id: bytes, codec: int, stored: Buffer, full: int
    ) -> None:
        """Write one object that the caller has compressed, unless this writer has it already."""
        if self._seen.add(object_id):
            self._later(
                kind, len(stored), lambda pack: pack.add(kind, object_id, codec, stored, full)
            )

    def add_reference(self, object_id: bytes, reference: Reference, full: int) -> None:
        """Write where the content of a file or chunk lies.

        It may lie in several places, and each serves if the others are gone.

        Args:
            object_id: Its id, which the caller has computed from the content.
            reference: Where it lies.
            full: The bytes of the content.

        Raises:
            InvalidInput: Its URL can't be kept.
        """
        stored = encode_reference(reference)
        kind = Kind.REFERENCE
        self._later(
            kind, len(stored), lambda pack: pack.add(kind, object_id, REFERENCE, stored, full)
        )

    def copy(self, record: Record, raw: Buffer) -> None:
        """Write a verified record of another pack, with its header.

        It is one that it `takes`, or no reference.
        """
        if record.kind is Kind.REFERENCE or self._seen.add(record.id):
            self._later(record.kind, len(raw), lambda pack: self._copy(pack, record, raw))

    def takes(self, raw: Buffer) -> bool:
        """Return whether readers of this storage know the codec of a record."""
        codec = codec_of(raw)
        if codec == REFERENCE:
            return self._references
        return self._planes or codec != PLANES

    def adopt(self, pack: bytes, data: bytes, records: tuple[Record, ...]) -> None:
        """Store a whole verified pack of another storage unchanged, and index everything in it.

        Args:
            pack: The pack's id, which the caller has checked.
            data: The pack's bytes.
            records: The records in its trailer, all of which the caller wants, and `takes`.
        """
        for record in records:
            self._seen.add(record.id)
        stored = _stored(pack, len(data), b"".join(map(trailer_row, records)))
        self._submit(lambda: self._store(stored, data))

    def finish(self) -> tuple[PackIndex, ...]:
        """Store what is left and its index, and return every index written."""
        self._pack_batch()
        self._take_full(0)
        for builder in self._filling.values():
            self._submit_builder(builder)
        self._filling = {}
        self._drain(0)
        self._write_index()
        return tuple(self._indexes)

    def keep_stored(self) -> None:
        """Index the packs stored by now, if that is possible at once, and write no more.

        After an interruption, the next try finds them and sends the rest.
        """
        self._storage.cancel()
        self._packer.shutdown(wait=True, cancel_futures=True)
        self._pool.shutdown(wait=True, cancel_futures=True)
        for future in self._waiting:
            if not future.cancelled() and future.exception() is None:
                self._note(future.result())
        self._waiting.clear()
        with suppress(AmaError):
            self._write_index()

    def _later(self, kind: Kind, size: int, job: Callable[[PackBuilder], Record]) -> None:
        """Make the packer do something to the pack for objects of a kind."""
        self._batch.append((kind, job))
        self._batch_size += size
        if self._batch_size >= BATCH_SIZE:
            self._pack_batch()

    def _encode(self, pack: PackBuilder, kind: Kind, object_id: bytes, data: bytes) -> Record:
        codec, stored = compress(data, planes=self._planes and kind is Kind.DATA)
        return pack.add(kind, object_id, codec, stored, len(data))

    def _copy(self, pack: PackBuilder, record: Record, raw: Buffer) -> Record:
        if self.takes(raw):
            return pack.add_raw(record, raw)
        return self._encode(pack, record.kind, record.id, open_record(raw, record))

    def _pack_batch(self) -> None:
        if self._batch:
            self._packing.append(submit(self._packer, self._pack, self._batch))
            self._batch, self._batch_size = deque(), 0
        self._take_full(BATCHES_IN_FLIGHT - 1)

    def _pack(self, batch: deque[Job]) -> list[PackBuilder]:
        """Fill packs, on the packer's thread, and return the full ones."""
        full = []
        while batch:
            # What is packed is freed at once: a batch is never in memory twice.
            kind, job = batch.popleft()
            is_content = kind in _CONTENT
            builder = self._filling.get(is_content)
            if builder is None:
                builder = self._filling[is_content] = self._empty_builder()
            job(builder)
            del job
            if len(builder) >= self._pack_size or builder.count >= PACK_RECORDS:
                full.append(self._filling.pop(is_content))
        return full

    def _empty_builder(self) -> PackBuilder:
        try:
            builder = self._free.pop()
        except IndexError:
            # Room for the object that fills a pack, and for the trailer.
            return PackBuilder(expected=self._pack_size * 17 // 16)
        builder.begin()
        return builder

    def _take_full(self, left: int) -> None:
        """Store the full packs, until at most `left` batches are on their way."""
        while len(self._packing) > left:
            for builder in self._packing.popleft().result():
                self._submit_builder(builder)

    def _submit_builder(self, builder: PackBuilder) -> None:
        def store() -> Stored:
            pack = builder.seal()
            stored = _stored(pack.id, len(pack.data), pack.rows)
            if self._storage.across_network:
                # The request holds its own bytes, so this memory is free before it ends.
                data = bytes(pack.data)
                self._reuse(builder)
                return self._store(stored, data)
            self._store(stored, pack.data)
            self._reuse(builder)
            return stored

        self._submit(store)

    def _reuse(self, builder: PackBuilder) -> None:
        # More than are stored at once would be the memory of one bad moment, kept for good.
        if len(self._free) < PACKS_IN_FLIGHT:
            self._free.append(builder)

    def _store(self, stored: Stored, data: Buffer) -> Stored:
        self._storage.put(pack_name(stored.pack), data)
        return stored

    def _submit(self, store: Callable[[], Stored]) -> None:
        self._drain(PACKS_IN_FLIGHT - 1)
        if self._rows.packs_size >= self._index_every or len(self._rows) >= INDEX_ROWS:
            self._drain(0)
            self._write_index()
        self._waiting.append(submit(self._pool, lambda _: store(), None))

    def _drain(self, left: int) -> None:
        """Wait until at most `left` packs are on their way."""
        while len(self._waiting) > left:
            self._note(self._waiting.popleft().result())

    def _note(self, stored: Stored) -> None:
        """Note that a pack is stored."""
        self._rows.add_rows(stored.pack, stored.size, stored.rows)
        self.bytes_written += stored.size
        if self._advance:
            self._advance(stored.content)

    def _write_index(self) -> None:
        if not len(self._rows):
            return
        data = self._rows.encode()
        self._storage.put(index_name(blob_id(data)), data)
        self._indexes.append(self._opened(data))
        self.bytes_written += len(data)
        self._rows = RowCollector()
