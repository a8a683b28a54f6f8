"""The indexes of one store as this machine has them: in memory, in its cache, or in the store.

A short index is held in memory. A long one is read whole once, verified, and then searched in the
cache's file; or it is read in parts, for somebody who asks for few objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from ama.errors import AmaError, FormatError, Hint, IntegrityError, StorageError
from ama.format.hashing import blob_id, pieces_id
from ama.format.packindex import PackIndex, Readable, size_of
from ama.storage.protocol import Range, Storage
from ama.stores.cache import Cache
from ama.stores.index_parts import RemoteParts, of_file
from ama.stores.object_reader import index_name
from ama.system.disk import SteadyFile

MAKE_AGAIN = Hint("repair-index")

SHORT = 64 * 1024
"""The size in bytes up to which an index is held in memory: a thousand rows."""

BEGINNING = 256 * 1024
"""The first bytes to read of an index, which is all of it for most: 4,000 rows."""

BEGINNINGS = 512 * 1024
"""The most bytes to read of the beginnings of all indexes of an asset."""

LEAST = 4096
"""The fewest first bytes to read of an index, even if there are many."""

FEW = 16
"""The indexes that are read whole at once, however long they are: what one asset may need."""

BATCH = 24 * 1024 * 1024
"""The bytes of indexes that are read at once of more than these."""

_PIECE = 1024 * 1024


class _Kept:
    """An index in a file that was verified; if that is gone or changed, its bytes from elsewhere.

    Args:
        source: The file.
        again: Returns the index's verified bytes, if anything can.
    """

    def __init__(self, source: Readable, again: Callable[[], bytes] | None) -> None:
        self.size = source.size
        self._source = source
        self._again = again
        self._data: bytes | None = None

    def read(self, start: int, length: int) -> bytes:
        if self._data is None:
            try:
                return self._source.read(start, length)
            except (StorageError, IntegrityError):
                if self._again is None:
                    raise
                self._data = self._again()
        return self._data[start : start + length]


def in_file(file: SteadyFile, what: str, again: Callable[[], bytes] | None = None) -> PackIndex:
    """Return the index in a file, which is read once and then searched there.

    Args:
        file: The file.
        what: The index's name, for errors.
        again: Returns the index's verified bytes, should the file be gone by then.

    Raises:
        IntegrityError: It is no index.
        FormatError: A newer version of ama has written it.
        StorageError: The file can't be read, or is changed at this moment.
    """
    found = pieces_id(file.pieces(_PIECE))
    return PackIndex.over(_Kept(of_file(file, what), again), found, what, verified=True)


class Indexes:
    """The indexes of a store, each read once.

    Args:
        storage: The store's storage.
        cache: The store's cache on this machine.
    """

    def __init__(self, storage: Storage, cache: Cache) -> None:
        self._storage = storage
        self._cache = cache
        self._whole: dict[bytes, PackIndex] = {}
        self._parts: dict[bytes, PackIndex] = {}

    def whole(self, ids: Iterable[bytes], damage: list[AmaError] | None = None) -> list[PackIndex]:
        """Return verified indexes by id: from the cache, the others in few batches.

        Args:
            ids: The indexes.
            damage: A list for the errors of lost or damaged indexes, which are left out.

        Raises:
            IntegrityError: One is lost or damaged, and there is no `damage`.
        """
        wanted = list(dict.fromkeys(ids))
        missing = [each for each in wanted if each not in self._whole and not self._cached(each)]
        sizes: dict[bytes, int] = {}
        if len(missing) > FEW:
            most = max(LEAST, min(BEGINNING, BATCH // len(missing)))
            sizes = {index: size_of(data) for index, data in self._begin(missing, most, damage)}
            missing = list(sizes)
        for batch in _batches(missing, sizes):
            answers = self._storage.read([Range(index_name(index)) for index in batch])
            for index, data in zip(batch, answers, strict=True):
                self._try_keep(index, data, damage)
        return [self._whole[index] for index in wanted if index in self._whole]

    def parts(self, ids: Iterable[bytes], damage: list[AmaError] | None = None) -> list[PackIndex]:
        """Return indexes for somebody who looks up few objects; long ones are not verified.

        Args:
            ids: The indexes.
            damage: A list for the errors of lost or damaged indexes, which are left out.

        Raises:
            IntegrityError: One is lost or damaged, and there is no `damage`.
        """
        wanted = list(dict.fromkeys(ids))
        missing = [each for each in wanted if not self._known(each)]
        if missing:
            most = max(LEAST, min(BEGINNING, BEGINNINGS // len(missing)))
            for index, begin in self._begin(missing, most, damage):
                self._take(index, begin, damage)
        known = ({**self._parts, **self._whole}.get(each) for each in wanted)
        return [index for index in known if index is not None]

    def unknown(self, ids: Iterable[bytes]) -> int:
        """Return how many of some indexes are neither open nor in the cache."""
        kept = set(self._cache.names("index"))
        return sum(i not in self._whole and index_name(i) not in kept for i in ids)

    def remember(self, index: PackIndex) -> None:
        """Keep a written index, so that it needn't be read."""
        self._cache.put(index_name(index.id), index.data)
        self._whole[index.id] = index
        if index.size > SHORT:
            self._cached(index.id)

    def _known(self, index: bytes) -> bool:
        """Whether an index is open, or this machine has it in a file."""
        if index in self._whole or index in self._parts:
            return True
        file = self._file(index)
        if file is None:
            return False
        if file.size <= SHORT:
            return self._cached(index)
        try:
            source = _Kept(of_file(file, index_name(index)), lambda: self._again(index))
            self._parts[index] = PackIndex.over(source, index, self._what(index))
        except (IntegrityError, FormatError, StorageError):
            return False
        return True

    def _cached(self, index: bytes) -> bool:
        """Open an index in the cache, if it is there and sound; return whether it is."""
        file = self._file(index)
        if file is None:
            return False
        try:
            if file.size <= SHORT:
                data = self._sound(index, file.read(0, file.size))
                self._whole[index] = PackIndex(data, self._what(index))
                return True
            opened = in_file(file, self._what(index), lambda: self._again(index))
        except (IntegrityError, FormatError, StorageError):
            return False
        if opened.id == index:
            self._whole[index] = opened
        return opened.id == index

    def _again(self, index: bytes) -> bytes:
        """Return the bytes of an index whose file in the cache is gone."""
        (data,) = self._storage.read([Range(index_name(index))])
        return self._sound(index, data)

    def _begin(
        self, missing: Sequence[bytes], most: int, damage: list[AmaError] | None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Read the first bytes of indexes; keep those that have no more, and yield the others."""
        for batch in _batches(missing, dict.fromkeys(missing, most)):
            answers = self._storage.read([Range(index_name(index), 0, most) for index in batch])
            for index, data in zip(batch, answers, strict=True):
                if data is None or len(data) < most:
                    self._try_keep(index, data, damage)
                else:
                    yield index, data

    def _take(self, index: bytes, begin: bytes, damage: list[AmaError] | None) -> None:
        """Open an index that begins like this, to read what is asked for."""
        name, what = index_name(index), self._what(index)
        source = RemoteParts(self._storage, name, size_of(begin), what, begin)
        try:
            self._parts[index] = PackIndex.over(source, index, what)
        except (IntegrityError, FormatError):
            # What is wrong with it the whole says: a damaged index's version means nothing.
            self.whole([index], damage)

    def _try_keep(self, index: bytes, data: bytes | None, damage: list[AmaError] | None) -> None:
        try:
            self._keep_read(index, self._sound(index, data))
        except (IntegrityError, FormatError) as error:
            if damage is None:
                raise
            damage.append(error)

    def _keep_read(self, index: bytes, data: bytes) -> None:
        self._cache.put(index_name(index), data)
        if len(data) <= SHORT or not self._cached(index):
            self._whole[index] = PackIndex(data, self._what(index))

    def _sound(self, index: bytes, data: bytes | None) -> bytes:
        """Return an index's bytes after a check of their hash.

        Its id comes first: a damaged index's version means nothing.
        """
        if data is None:
            raise IntegrityError(f"{self._what(index)} is missing", hint=MAKE_AGAIN)
        if blob_id(data) != index:
            raise IntegrityError(
                f"{self._what(index)} is damaged: its bytes have another hash", hint=MAKE_AGAIN
            )
        return data

    def _file(self, index: bytes) -> SteadyFile | None:
        path = self._cache.path(index_name(index))
        if path is None:
            return None
        try:
            return SteadyFile(path)
        except (FileNotFoundError, NotADirectoryError, StorageError):
            return None

    def _what(self, index: bytes) -> str:
        return f"{index_name(index)} of {self._storage.url}"


def _batches(indexes: Sequence[bytes], sizes: Mapping[bytes, int]) -> Iterator[list[bytes]]:
    """Yield groups of indexes to read at once, by their sizes in bytes where these are known."""
    batch: list[bytes] = []
    size = 0
    for index in indexes:
        if batch and size + sizes.get(index, 0) > BATCH:
            yield batch
            batch, size = [], 0
        batch.append(index)
        size += sizes.get(index, 0)
    if batch:
        yield batch
