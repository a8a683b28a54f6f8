"""Sketches: which indexes hold a sample of objects, so that a writer finds those worth reading.

All indexes of a store of 10 TB are 5 GB. A sketch of them has one object of 1,024, by the value of
its id, so that every sketch samples the same objects: who has ten thousand chunks of an old file
has about ten in the sample, and finds the indexes of the others (as Xet finds its shards by sampled
hashes, and before it M. Lillibridge and others, Sparse Indexing, FAST 2009).

A sketch is derived from the log and the indexes, and written beside a checkpoint. The one at entry
*n* is about the entries since *n* - 64^k, the greatest power of 64 that divides *n*. So few files
tell of all entries, and each index is written about again only once for each power (P. Fenwick, A
New Data Structure for Cumulative Frequency Tables, 1994). Lost or damaged, it costs duplicates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from ama.errors import AmaError, IntegrityError
from ama.format import canonical
from ama.format.entries import NUMBER_DIGITS, Entry, Gc, Publish
from ama.format.hashing import ID_SIZE
from ama.format.packindex import PackIndex
from ama.storage.protocol import Storage
from ama.stores.cache import Cache
from ama.stores.indexes import Indexes
from ama.stores.log_files import read_readable
from ama.stores.log_view import LogView

EVERY = 64
"""The entries after which a sketch is written."""

BELOW = b"\x00\x40" + bytes(ID_SIZE - 2)
"""The bound below which an id is in the sample: one of 1,024 is."""

PREFIX = 8
"""The bytes of an id in a sketch: 10 bits of them are 0, and 54 tell 80,000 ids apart, which a
store of 10 TB has: one lookup of 10^11 finds an index for nothing, which costs reading it."""

MAGIC = b"ama-skch"
VERSION = 1
BATCH = 64


class Sketch(NamedTuple):
    """The sketch of an index: the entry that added it, its size in bytes, the sampled ids."""

    index_id: bytes
    entry: int
    size: int
    ids: tuple[bytes, ...]


def is_sampled(object_id: bytes) -> bool:
    """Whether an object is in the sample.

    Example:
        >>> is_sampled(bytes(32)), is_sampled(b"a" * 32)
        (True, False)
    """
    return object_id < BELOW


def sketch_name(number: int) -> str:
    """Return the name of the sketch at an entry.

    Example:
        >>> sketch_name(64)
        'checkpoint/sketch/000000000064'
    """
    return f"checkpoint/sketch/{number:0{NUMBER_DIGITS}d}"


def reach(number: int) -> int:
    """Return of how many entries the sketch at an entry tells.

    Example:
        >>> reach(64), reach(128), reach(4096)
        (64, 64, 4096)
    """
    found = EVERY
    while number % (found * EVERY) == 0:
        found *= EVERY
    return found


def places(number: int, after: int = 0) -> Iterator[int]:
    """Yield the entries whose sketches tell of all entries up to one, the last first.

    Args:
        number: The entry.
        after: The entry after which they begin.

    Example:
        >>> list(places(4096 + 200))
        [4288, 4224, 4160, 4096]
    """
    at = number // EVERY * EVERY
    while at > after:
        yield at
        at -= reach(at)


def encode_sketches(sketches: Iterable[Sketch]) -> bytes:
    """Return the bytes of a file of sketches.

    Example:
        >>> decode_sketches(encode_sketches([]))
        ()
    """
    rows = [(s.index_id, s.entry, s.size, b"".join(s.ids)) for s in sketches]
    return canonical.encode_sealed(MAGIC, (VERSION, rows))


def decode_sketches(data: bytes) -> tuple[Sketch, ...]:
    """Decode a file of sketches.

    Raises:
        IntegrityError: It is damaged, or of a later version.
    """
    try:
        version, rows = canonical.decode_sealed(MAGIC, data, "sketch")
        if version != VERSION:
            raise ValueError("it is of a later version")
        return tuple(_sketch(*row) for row in rows)
    except (ValueError, TypeError) as error:
        raise IntegrityError(f"a sketch is damaged: {error}") from error


def _sketch(index: bytes, entry: int, size: int, ids: bytes) -> Sketch:
    for value, kind in ((index, bytes), (entry, int), (size, int), (ids, bytes)):
        if type(value) is not kind:
            raise ValueError("a field is of another type")
    return Sketch(
        index, entry, size, tuple(ids[at : at + PREFIX] for at in range(0, len(ids), PREFIX))
    )


def sketch_of(index: PackIndex, entry: int) -> Sketch:
    """Return the sketch of an index, whose first rows are the sample."""
    ids = dict.fromkeys(each[:PREFIX] for each in index.first_ids(BELOW))
    return Sketch(index.id, entry, index.size, tuple(ids))


def added_by(entry: Entry) -> Iterator[bytes]:
    """Yield the indexes that an entry adds to the current ones."""
    for event in entry.events:
        if isinstance(event, Publish):
            yield from event.indexes
        elif isinstance(event, Gc):
            yield from (new for _, several in event.replaced for new in several)


def read_sketches(storage: Storage, cache: Cache, numbers: Iterable[int]) -> list[Sketch]:
    """Return the sketches at some entries; a lost or damaged file tells nothing.

    Args:
        storage: The store's storage.
        cache: The store's cache on this machine.
        numbers: The entries.
    """
    names = [sketch_name(number) for number in numbers]
    found = {name: _decoded(cache.get(name)) for name in names}
    missing = [name for name in names if found[name] is None]
    for at in range(0, len(missing), BATCH):
        batch = missing[at : at + BATCH]
        for name, data in zip(batch, read_readable(storage, batch), strict=True):
            found[name] = _decoded(data)
            if data is not None and found[name] is not None:
                cache.put(name, data)
    return [sketch for name in names for sketch in found[name] or ()]


def _decoded(data: bytes | None) -> tuple[Sketch, ...] | None:
    if data is not None:
        with suppress(AmaError):
            return decode_sketches(data)
    return None


def write_sketches(
    storage: Storage,
    cache: Cache,
    view: LogView,
    entries: Callable[[Sequence[int]], Iterable[Entry]],
) -> None:
    """Write the sketch that is due at the last entry of a log.

    Args:
        storage: The store's storage.
        cache: The store's cache on this machine.
        view: The log.
        entries: Returns entries by number.

    Raises:
        StorageError: It can't be written.
        IntegrityError: An entry or an index can't be read.
    """
    number = view.number
    current = set(view.root.indexes)
    told = read_sketches(storage, cache, places(number - EVERY, number - reach(number)))
    numbers = range(number - EVERY + 1, number + 1)
    known = {n: entry for n in numbers if (entry := view.entry(n)) is not None}
    known.update((e.number, e) for e in entries([n for n in numbers if n not in known]))
    origin = {index: n for n in numbers for index in added_by(known[n]) if index in current}
    opened = Indexes(storage, cache).parts(origin, [])
    fresh = [sketch_of(index, origin[index.id]) for index in opened]
    data = encode_sketches([*(s for s in told if s.index_id in current), *fresh])
    storage.replace(sketch_name(number), data)
    cache.put(sketch_name(number), data)
