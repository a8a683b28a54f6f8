"""Objects into the packs of one storage: packed in memory, stored whole, then indexed.

Packs are about 32 MiB; content and metadata (trees, assets, recipes) go to packs of their own.
One pack is filled while the one before is hashed and stored, so what a writer holds in memory is
bounded by PACKS_IN_FLIGHT packs of each sort, whatever passes through.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from ama.compression import compress
from ama.hashing import Buffer, blob_id
from ama.objects import Kind
from ama.objectstore import index_name, pack_name
from ama.pack import PackBuilder, Record, read_trailer
from ama.packindex import Location, PackIndex, encode_index
from ama.storage.protocol import Storage

if TYPE_CHECKING:
    from concurrent.futures import Future

PACK_SIZE = 32 * 1024 * 1024
INDEX_EVERY = 1024 * 1024 * 1024
PACKS_IN_FLIGHT = 2
BATCH_SIZE = 1024 * 1024
BATCHES_IN_FLIGHT = 3

Compressed = tuple[Kind, bytes, int, Buffer, int]
Sealed = tuple[bytes, int, tuple[Record, ...]]


class PackWriter:
    """Writes objects to a storage. Nothing counts before `finish` returned.

    Use it as a context manager: leaving it by an exception stops the background work, and what
    was stored by then is orphaned, but never wrong.

    Args:
        storage: where packs and indexes go.
        advance: called with the number of bytes stored after each pack and index.
        pack_size: a pack is closed once it holds this many bytes.
        index_every: an index is written after this many bytes of packs, so that an interrupted
            writer loses little.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        advance: Callable[[int], None] | None = None,
        pack_size: int = PACK_SIZE,
        index_every: int = INDEX_EVERY,
    ) -> None:
        # It is slow to import, and most commands only read.
        from concurrent.futures import ThreadPoolExecutor

        self._storage = storage
        self._advance = advance
        self._pack_size = pack_size
        self._index_every = index_every
        self._content: PackBuilder | None = None
        self._metadata: PackBuilder | None = None
        self._seen: set[bytes] = set()
        self._batch: list[tuple[Kind, bytes, bytes]] = []
        self._batch_size = 0
        self._compressor = ThreadPoolExecutor(1, thread_name_prefix="ama-compress")
        self._compressing: deque[Future[list[Compressed]]] = deque()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ama-pack")
        self._waiting: deque[Future[Sealed]] = deque()
        self._locations: list[Location] = []
        self._sizes: dict[bytes, int] = {}
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
        self._compressor.shutdown(wait=True, cancel_futures=True)
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __contains__(self, object_id: bytes) -> bool:
        return object_id in self._seen

    def add(self, kind: Kind, object_id: bytes, data: Buffer) -> None:
        """Write one object, unless this writer has it already.

        Args:
            kind: what it is; a recipe is filed under the id of what it makes.
            object_id: its id, which the caller has computed from `data`.
            data: its bytes, which are copied.
        """
        if object_id in self._seen:
            return
        self._seen.add(object_id)
        # The caller may use its buffer again before this is compressed.
        self._batch.append((kind, object_id, bytes(data)))
        self._batch_size += len(data)
        if self._batch_size >= BATCH_SIZE:
            self._compress_batch()

    def add_compressed(
        self, kind: Kind, object_id: bytes, codec: int, stored: Buffer, full: int
    ) -> None:
        """Write one object that the caller has compressed, unless this writer has it already."""
        if object_id not in self._seen:
            self._seen.add(object_id)
            builder = self._builder(kind)
            builder.add(kind, object_id, codec, stored, full)
            self._close_full(builder)

    def copy(self, record: Record, raw: Buffer) -> None:
        """Write a verified record as it lies in another pack, header and all."""
        if record.id in self._seen:
            return
        self._seen.add(record.id)
        builder = self._builder(record.kind)
        builder.add_raw(record, raw)
        self._close_full(builder)

    def adopt(self, pack: bytes, data: bytes) -> None:
        """Store a whole verified pack of another storage as it is.

        Args:
            pack: its id, which the caller has checked.
            data: its bytes.
        """
        records = read_trailer(data, pack_name(pack))
        self._seen.update(record.id for record in records)
        self._submit(lambda: (pack, data, records))

    def finish(self) -> tuple[PackIndex, ...]:
        """Store what is left and its index, and return every index that was written."""
        self._compress_batch()
        self._pack_compressed(0)
        for builder in (self._content, self._metadata):
            if builder is not None and builder.count:
                self._submit_builder(builder)
        self._content = self._metadata = None
        self._drain(0)
        self._write_index()
        return tuple(self._indexes)

    def _builder(self, kind: Kind) -> PackBuilder:
        if kind is Kind.DATA:
            self._content = self._content or PackBuilder()
            return self._content
        self._metadata = self._metadata or PackBuilder()
        return self._metadata

    def _compress_batch(self) -> None:
        """Compress what was added on another thread, while the caller reads on."""
        if self._batch:
            self._compressing.append(self._compressor.submit(_compressed, self._batch))
            self._batch, self._batch_size = [], 0
        self._pack_compressed(BATCHES_IN_FLIGHT - 1)

    def _pack_compressed(self, left: int) -> None:
        """Put into packs what is compressed, until at most `left` batches are on their way."""
        while len(self._compressing) > left:
            for kind, object_id, codec, stored, full in self._compressing.popleft().result():
                builder = self._builder(kind)
                builder.add(kind, object_id, codec, stored, full)
                self._close_full(builder)

    def _close_full(self, builder: PackBuilder) -> None:
        if len(builder) >= self._pack_size:
            if builder is self._content:
                self._content = None
            else:
                self._metadata = None
            self._submit_builder(builder)

    def _submit_builder(self, builder: PackBuilder) -> None:
        def sealed() -> tuple[bytes, Buffer, tuple[Record, ...]]:
            pack = builder.seal()
            return pack.id, pack.data, pack.records

        self._submit(sealed)

    def _submit(self, sealed: Callable[[], tuple[bytes, Buffer, tuple[Record, ...]]]) -> None:
        self._drain(PACKS_IN_FLIGHT - 1)
        if sum(self._sizes.values()) >= self._index_every:
            self._drain(0)
            self._write_index()

        def store() -> Sealed:
            pack, data, records = sealed()
            self._storage.put(pack_name(pack), data)
            return pack, len(data), records

        self._waiting.append(self._pool.submit(store))

    def _drain(self, left: int) -> None:
        """Wait until at most `left` packs are on their way."""
        while len(self._waiting) > left:
            pack, size, records = self._waiting.popleft().result()
            self._locations += [Location(pack, record) for record in records]
            self._sizes[pack] = size
            self._count(size)

    def _write_index(self) -> None:
        if not self._locations:
            return
        data = encode_index(self._locations, self._sizes)
        self._storage.put(index_name(blob_id(data)), data)
        self._indexes.append(PackIndex(data))
        self._count(len(data))
        self._locations, self._sizes = [], {}

    def _count(self, size: int) -> None:
        self.bytes_written += size
        if self._advance:
            self._advance(size)


def _compressed(batch: list[tuple[Kind, bytes, bytes]]) -> list[Compressed]:
    return [(kind, key, *compress(data), len(data)) for kind, key, data in batch]
