"""The segments of checkpoints: from memory, from this machine's cache, else from the store.

Each is checked against its digest. One that is missing or damaged is made again from the log.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set

from ama.errors import Hint, IntegrityError
from ama.format.hashing import seal
from ama.format.tables import Rows, decode_rows
from ama.storage.protocol import Storage
from ama.stores.cache import Cache
from ama.stores.log_files import read_readable, segment_name

MOST_DECODED = 256
"""The most segments in memory as rows: a segment has at most some thousand rows."""


class Segments:
    """The segments of a store's checkpoints.

    Args:
        storage: The store's storage.
        cache: Its cache on this machine.
    """

    def __init__(self, storage: Storage, cache: Cache) -> None:
        self._storage = storage
        self._cache = cache
        self._decoded: OrderedDict[bytes, Rows] = OrderedDict()
        self.made: dict[bytes, bytes] = {}
        """The bytes of those that this process has made: the store may not have them."""

    def make(self, data: bytes) -> bytes:
        """Keep a new segment in memory; return its digest."""
        digest = seal(data)
        self.made[digest] = data
        return digest

    def remember(self, digests: Iterable[bytes]) -> None:
        """Move segments from memory into the cache."""
        for digest in digests:
            if digest in self.made:
                self._cache.put(segment_name(digest), self.made[digest])
                if self._cache.keeps:
                    del self.made[digest]

    def forget_all_but(self, digests: Set[bytes]) -> None:
        """Take segments out of memory that were made and are no longer of use."""
        for digest in self.made.keys() - digests:
            del self.made[digest]

    def find(self, digests: Iterable[bytes]) -> dict[bytes, Rows]:
        """Return the segments that can be read, of some; the store is asked in one batch."""
        found: dict[bytes, Rows] = {}
        missing = []
        for digest in dict.fromkeys(digests):
            rows = self._decoded.get(digest)
            if rows is None:
                data = self.made.get(digest) or self._cache.get(segment_name(digest))
                rows = self._decode(digest, data)
            if rows is None:
                missing.append(digest)
            else:
                found[digest] = rows
        if missing:
            answers = read_readable(self._storage, [segment_name(digest) for digest in missing])
            for digest, data in zip(missing, answers, strict=True):
                rows = self._decode(digest, data)
                if rows is not None:
                    self._cache.put(segment_name(digest), data or b"")
                    found[digest] = rows
        return found

    def _decode(self, digest: bytes, data: bytes | None) -> Rows | None:
        if data is None or seal(data) != digest:
            return None
        try:
            rows = decode_rows(data)
        except IntegrityError:
            return None
        self._decoded[digest] = rows
        if len(self._decoded) > MOST_DECODED:
            self._decoded.popitem(last=False)
        return rows


class CheckpointSegments:
    """The segments of one checkpoint; what can't be read is made again from the log.

    Args:
        segments: The store's segments.
        refold: A function that makes all of this checkpoint's segments again, in memory.
        url: The store's URL, for errors.
    """

    def __init__(self, segments: Segments, refold: Callable[[], object], url: str) -> None:
        self._segments = segments
        self._refold = refold
        self._url = url

    def read(self, digests: Sequence[bytes]) -> list[Rows]:
        """Return the rows of some segments, in one round trip if all are sound.

        Raises:
            IntegrityError: The log doesn't add up to them.
        """
        found: Mapping[bytes, Rows] = self._segments.find(digests)
        if lost := [digest for digest in digests if digest not in found]:
            self._refold()
            found = {**found, **self._segments.find(lost)}
        if any(digest not in found for digest in lost):
            raise IntegrityError(
                f"a checkpoint of {self._url} is not what its log adds up to",
                hint=Hint("repair-log", store=self._url),
            )
        return [found[digest] for digest in digests]
