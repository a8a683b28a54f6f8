"""The index: where, in which pack, each object is.

    header (32)        magic, version, number of packs, number of rows
    fan-out (256 x 8)  how many rows have a first byte up to this one
    packs (40 each)    id, size in bytes
    rows (64 each)     id, pack, kind, offset, stored size, full size; sorted
    checksum (32)      BLAKE3 of all before it

Rows have one width and are sorted, so an index is searched in place, without parsing: in memory, in
a file or, a part at a time, in a bucket. An index's id is the BLAKE3 of the whole file.
docs/format.md is the specification.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import isqrt
from struct import Struct
from typing import NamedTuple, Protocol

from ama.errors import FormatError, IntegrityError
from ama.format.hashing import ID_SIZE, Buffer, Hasher, blob_id, short
from ama.format.objects import Kind
from ama.format.pack import FOOTER_SIZE, HEADER_SIZE, Record

MAGIC = b"ama-indx"
VERSION = 1

_HEADER = Struct("<8sIIQ8x")
_FANOUT = Struct("<256Q")
_PACK = Struct("<32sQ")
_ROW = Struct("<32sIB3xQQQ")
_KIND_OFFSET = 36
_KINDS = {int(kind): kind for kind in Kind}
_CONTENT = (Kind.DATA, Kind.REFERENCE)

BEGIN = _HEADER.size + _FANOUT.size
"""The bytes that tell how long an index is, and about where each row lies."""

GUESSES = 4
"""The tries to find a row by its value alone: ids of a hostile index need not be spread as hashes
are."""

FEW_ROWS = 128
"""The rows of one first byte that are searched as bytes, which few are fastest as."""

_SIGMAS = 6
"""How far from its expected place a row may lie, in standard deviations: one in a billion does."""

_LEAST_ROWS = 32
_SLAB = 16384
"""The rows that are read at once where all are."""


class Readable(Protocol):
    """The bytes of an index, wherever they lie."""

    @property
    def size(self) -> int:
        """Return how many bytes there are."""

    def read(self, start: int, length: int) -> bytes:
        """Return `length` bytes from `start` on.

        Raises:
            IntegrityError: They are not there, or not what they were.
        """


class _Held:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    def read(self, start: int, length: int) -> bytes:
        return self.data[start : start + length]


class Location(NamedTuple):
    """The place of an object: the pack's id and the record in it."""

    pack: bytes
    record: Record


def encode_index(locations: Iterable[Location], pack_sizes: Mapping[bytes, int]) -> bytes:
    """Return the bytes of an index of these locations.

    Args:
        locations: The index's rows, in any order; equal ones count once.
        pack_sizes: The size in bytes of each pack that a location names.

    Example:
        >>> record = Record(bytes(32), Kind.DATA, 32, 0, 0)
        >>> index = PackIndex(encode_index([Location(bytes(32), record)], {bytes(32): 224}))
        >>> len(index)
        1
    """
    keyed = {
        (loc.record.id, int(loc.record.kind), loc.pack, loc.record.offset): loc.record
        for loc in locations
    }
    packs = sorted({key[2] for key in keyed})
    number = {pack: at for at, pack in enumerate(packs)}
    rows = sorted(keyed)
    fanout = [0] * 256
    for row in rows:
        fanout[row[0][0]] += 1
    for at in range(1, 256):
        fanout[at] += fanout[at - 1]
    data = bytearray(_HEADER.pack(MAGIC, VERSION, len(packs), len(rows)))
    data += _FANOUT.pack(*fanout)
    for pack in packs:
        data += _PACK.pack(pack, pack_sizes[pack])
    for row in rows:
        object_id, kind, pack, offset = row
        record = keyed[row]
        data += _ROW.pack(object_id, number[pack], kind, offset, record.stored, record.full)
    data += blob_id(data)
    return bytes(data)


def encode_rows(
    packs: Sequence[tuple[bytes, int]], rows: Iterable[tuple[bytes, int, int, int, int, int]]
) -> bytes:
    """Return the bytes of an index whose packs and rows are in order already.

    Args:
        packs: The ids and sizes in bytes of the packs, in order, each named by a row.
        rows: Each row once, in order: id, place of its pack, kind, offset, stored and full size.
    """
    data = bytearray(_HEADER.size + _FANOUT.size)
    for pack in packs:
        data += _PACK.pack(*pack)
    fanout = [0] * 256
    for row in rows:
        data += _ROW.pack(*row)
        fanout[row[0][0]] += 1
    for at in range(1, 256):
        fanout[at] += fanout[at - 1]
    _HEADER.pack_into(data, 0, MAGIC, VERSION, len(packs), fanout[-1])
    _FANOUT.pack_into(data, _HEADER.size, *fanout)
    data += blob_id(data)
    return bytes(data)


class PackIndex:
    """An index, searched in its own bytes.

    Opening it verifies the checksum; `validate` checks every row too.

    Args:
        data: The index's bytes.
        what: The index's name, for errors.

    Attributes:
        id: The index's id.
        verified: Whether all its bytes are known to have that id; see `over`.

    Raises:
        IntegrityError: It is damaged.
        FormatError: A newer version of ama has written it.
    """

    def __init__(self, data: Buffer, what: str = "index") -> None:
        held = bytes(data)
        hasher = Hasher()
        hasher.update(memoryview(held)[:-ID_SIZE])
        checksum = hasher.digest()
        hasher.update(memoryview(held)[-ID_SIZE:])
        self.id = hasher.digest()
        self.verified = True
        self._open(_Held(held), what)
        self._require(checksum == held[-ID_SIZE:], "its checksum does not match")

    @classmethod
    def over(
        cls, source: Readable, index_id: bytes, what: str = "index", *, verified: bool = False
    ) -> PackIndex:
        """Return an index that reads what a search needs, when it needs it.

        Args:
            source: The index's bytes.
            index_id: The index's id.
            what: The index's name, for errors.
            verified: Whether the caller has seen that all bytes have that id. If not, an answer is
                a guess: what a row names must be verified, and what is absent may be there.

        Raises:
            IntegrityError: It does not begin as an index does, or is too short or too long.
            FormatError: A newer version of ama has written it.

        Example:
            >>> record = Record(bytes(32), Kind.DATA, 32, 0, 0)
            >>> index = PackIndex(encode_index([Location(bytes(32), record)], {bytes(32): 224}))
            >>> len(PackIndex.over(index.source, index.id))
            1
        """
        index = cls.__new__(cls)
        index.id = index_id
        index.verified = verified
        index._open(source, what)
        return index

    def _open(self, source: Readable, what: str) -> None:
        self.what = what
        self.source = source
        self._read: Callable[[int, int], bytes] = source.read
        self._require(source.size >= BEGIN + ID_SIZE, "it is too short")
        begin = source.read(0, BEGIN)
        magic, version, packs, rows = _HEADER.unpack_from(begin)
        self._require(magic == MAGIC, "it does not begin as an index does")
        if version != VERSION:
            raise FormatError(f"{what} has index version {version}: upgrade ama to read it")
        self._pack_count: int = packs
        self._rows = BEGIN + packs * _PACK.size
        self._count: int = rows
        self._end = self._rows + rows * _ROW.size
        self._require(self._end + ID_SIZE == source.size, "its length does not match its counts")
        self._fanout = _FANOUT.unpack_from(begin, _HEADER.size)
        self._require(self._fanout[255] == rows, "its fan-out table does not fit")
        self._pack_table: tuple[tuple[bytes, int], ...] | None = None

    def __len__(self) -> int:
        return self._count

    @property
    def _packs(self) -> tuple[tuple[bytes, int], ...]:
        if self._pack_table is None:
            table = self._read(BEGIN, self._rows - BEGIN)
            self._pack_table = tuple(_PACK.iter_unpack(table))
        return self._pack_table

    @property
    def pack_sizes(self) -> dict[bytes, int]:
        """Return the packs that the index names, with their sizes in bytes."""
        return dict(self._packs)

    @property
    def data(self) -> bytes:
        """Return the index's bytes."""
        return self._read(0, self.source.size)

    @property
    def size(self) -> int:
        """Return the index's own size in bytes."""
        return self.source.size

    def __contains__(self, object_id: bytes) -> bool:
        return self._row(object_id) is not None

    def find(self, object_id: bytes) -> list[Location]:
        """Return every location of an object; none if the index doesn't name it."""
        row = self._row(object_id)
        if row is None:
            return []
        found = [self._location(row)]
        row += 1
        while row < self._count and self._id_at(row) == object_id:
            found.append(self._location(row))
            row += 1
        return found

    def only_recipe(self, object_id: bytes) -> bool:
        """Whether the index names an object in chunks only."""
        return self.first_kind(object_id) == Kind.RECIPE

    def first_kind(self, object_id: bytes) -> int | None:
        """Return the lowest kind of an object's records, or None if the index doesn't name it.

        Those that hold all of its bytes come first, then a recipe, then references.
        """
        row = self._row(object_id)
        if row is None:
            return None
        # Rows of one id are in the order of their kinds.
        return self._read(self._rows + row * _ROW.size + _KIND_OFFSET, 1)[0]

    def has_kind(self, kind: int) -> bool:
        """Whether the index names a record of a kind; all rows are looked at."""
        return any(
            kind in self._slab(at)[_KIND_OFFSET :: _ROW.size] for at in range(0, self._count, _SLAB)
        )

    def starting_with(self, prefix: str) -> set[bytes]:
        """Return the ids whose hex digits begin with `prefix`."""
        low = bytes.fromhex(prefix.ljust(2 * ID_SIZE, "0"))
        found = set()
        at = self._first(low)
        while at < self._count and self._id_at(at).hex().startswith(prefix):
            found.add(self._id_at(at))
            at += 1
        return found

    def expected(self, object_id: bytes) -> tuple[int, int]:
        """Return the bytes, as start and length, in which an object's rows are, if there are some.

        Ids are hashes, so the place of one in sorted rows follows from its value: for *n* rows of
        one first byte it is off by at most half the root of *n*, times a few (the order statistics
        of uniform values; D. E. Knuth, The Art of Computer Programming, volume 3, 6.2.1).
        """
        low, high = self._bounds(object_id[0])
        here = low + ((high - low) * int.from_bytes(object_id[1:9]) >> 64)
        near = _LEAST_ROWS + _SIGMAS * isqrt(high - low) // 2
        first, last = max(low, here - near), min(high, here + near)
        return self._rows + first * _ROW.size, (last - first) * _ROW.size

    def rows_between(self, low: int, high: int) -> bytes:
        """Return the rows, 64 bytes each, of ids whose first byte is from `low` to `high` - 1."""
        first, last = self._bounds(low)[0], self._bounds(high - 1)[1]
        return self._read(self._rows + first * _ROW.size, (last - first) * _ROW.size)

    def first_ids(self, below: bytes) -> list[bytes]:
        """Return the ids that are smaller than one, in order."""
        return [self._id_at(row) for row in range(self._first(below))]

    def __iter__(self) -> Iterator[Location]:
        return (self._at(row, raw) for row, raw in self._slabs())

    def rows(self, first: int) -> Iterator[tuple[bytes, int, int, int, int, int]]:
        """Return the rows whose ids begin with a byte, in order, as `encode_rows` takes them."""
        return _ROW.iter_unpack(self.rows_between(first, first + 1))

    def pack_counts(self) -> dict[bytes, int]:
        """Return how many objects the index names in each pack."""
        counts = [0] * self._pack_count
        for fields in self._fields():
            self._require(fields[1] < len(counts), f"{short(fields[0])} is in no pack")
            counts[fields[1]] += 1
        return {pack: counts[at] for at, (pack, _) in enumerate(self._packs)}

    def rows_by_pack(self) -> dict[bytes, array[int]]:
        """Return the rows that name each pack's objects, in few bytes a row; see `locate`."""
        found = [array("Q") for _ in self._packs]
        for row, fields in enumerate(self._fields()):
            self._require(fields[1] < len(found), f"{short(fields[0])} is in no pack")
            found[fields[1]].append(row)
        return {pack: rows for (pack, _), rows in zip(self._packs, found, strict=True)}

    def locate(self, rows: Iterable[int]) -> Iterator[Location]:
        """Yield the locations of rows."""
        return (self._location(row) for row in rows)

    def metadata(self) -> Iterator[Location]:
        """Yield the locations of all trees, assets and recipes."""
        for at in range(0, self._count, _SLAB):
            rows = self._slab(at)
            for row, kind in enumerate(rows[_KIND_OFFSET :: _ROW.size]):
                if kind not in _CONTENT:
                    yield self._at(at + row, rows[row * _ROW.size : (row + 1) * _ROW.size])

    def validate(self) -> None:
        """Check every row: its order, its pack's bounds, its kind.

        Raises:
            IntegrityError: A row is impossible.
        """
        self._require(self._count > 0, "it is empty")
        names = [pack for pack, _ in self._packs]
        self._require(names == sorted(set(names)), "its packs are out of order")
        counts = [0] * 256
        used: set[bytes] = set()
        before: tuple[bytes, int, bytes, int] | None = None
        canonical = self._read(0, _HEADER.size) == _HEADER.pack(
            MAGIC, VERSION, self._pack_count, self._count
        )
        number = {pack: at for at, pack in enumerate(names)}
        for row, raw in self._slabs():
            pack, record = self._at(row, raw)
            key = (record.id, int(record.kind), pack, record.offset)
            self._require(before is None or before < key, "its rows are out of order")
            before = key
            counts[record.id[0]] += 1
            used.add(pack)
            canonical = canonical and raw == _packed(record, number[pack])
        for at in range(1, 256):
            counts[at] += counts[at - 1]
        self._require(tuple(counts) == self._fanout, "its fan-out table does not fit")
        self._require(len(used) == len(names), "it names a pack without an object in it")
        self._require(canonical, "it is not in canonical form")

    def _slab(self, row: int) -> bytes:
        count = min(_SLAB, self._count - row)
        return self._read(self._rows + row * _ROW.size, count * _ROW.size)

    def _slabs(self) -> Iterator[tuple[int, bytes]]:
        for at in range(0, self._count, _SLAB):
            rows = self._slab(at)
            for row in range(len(rows) // _ROW.size):
                yield at + row, rows[row * _ROW.size : (row + 1) * _ROW.size]

    def _fields(self) -> Iterator[tuple[bytes, int, int, int, int, int]]:
        for at in range(0, self._count, _SLAB):
            yield from _ROW.iter_unpack(self._slab(at))

    def _bounds(self, first: int) -> tuple[int, int]:
        """Return the rows of ids with a first byte: from one row up to, and without, another."""
        low = min(self._fanout[first - 1] if first else 0, self._count)
        return low, max(low, min(self._fanout[first], self._count))

    def _row(self, object_id: bytes) -> int | None:
        """Return the first row of an object, or None if there's none."""
        low, high = self._bounds(object_id[0])
        if high - low <= FEW_ROWS and isinstance(self.source, _Held):
            return self._found(self.source.data, object_id, low, high)
        row = self._first(object_id)
        return row if row < self._count and self._id_at(row) == object_id else None

    def _found(self, data: bytes, object_id: bytes, low: int, high: int) -> int | None:
        """Return the first row of an object among few: the bytes are searched for it."""
        start, end = self._rows + low * _ROW.size, self._rows + high * _ROW.size
        at = data.find(object_id, start, end)
        while at >= 0 and (at - self._rows) % _ROW.size:
            at = data.find(object_id, at + 1, end)
        return None if at < 0 else (at - self._rows) // _ROW.size

    def _first(self, object_id: bytes) -> int:
        """Return the first row whose id is not smaller.

        It is an interpolation search (W. W. Peterson, Addressing for Random-Access Storage, IBM
        Journal of Research and Development 1(2), 1957). Where a few guesses don't hit, it looks
        ever farther from the last one, and then halves what is left (J. L. Bentley and A. C. Yao,
        An Almost Optimal Algorithm for Unbounded Searching, Information Processing Letters 5,
        1976): so it reads near the expected place, and any ids are found in few steps.
        """
        low, high = self._bounds(object_id[0])
        wanted = int.from_bytes(object_id[1:9])
        below, above = 0, 1 << 64
        guesses, step, upwards = 0, 2, True
        while low < high:
            if guesses < GUESSES and below <= wanted < above:
                at = low + (high - low) * (wanted - below) // (above - below)
                guesses += 1
            else:
                step = min(2 * step, (high - low) // 2)
                at = low + step if upwards else high - 1 - step
            found = self._id_at(at)
            if found == object_id:
                while at > low and self._id_at(at - 1) == object_id:
                    at -= 1
                return at
            upwards = found < object_id
            if upwards:
                low, below = at + 1, int.from_bytes(found[1:9])
            else:
                high, above = at, int.from_bytes(found[1:9])
        return low

    def _id_at(self, row: int) -> bytes:
        return self._read(self._rows + row * _ROW.size, ID_SIZE)

    def _location(self, row: int) -> Location:
        return self._at(row, self._read(self._rows + row * _ROW.size, _ROW.size))

    def _pack(self, number: int) -> tuple[bytes, int]:
        if self._pack_table is not None:
            return self._pack_table[number]
        pack, size = _PACK.unpack(self._read(BEGIN + number * _PACK.size, _PACK.size))
        return pack, size

    def _at(self, row: int, raw: bytes) -> Location:
        object_id, pack, number, offset, stored, full = _ROW.unpack(raw)
        if pack >= self._pack_count:
            self._require(False, f"{short(object_id)} is in no pack")
        pack_id, pack_size = self._pack(pack)
        kind = _KINDS.get(number)
        if kind is None:
            raise FormatError(f"{self.what} names an object of kind {number}, which is not known")
        record = Record(object_id, kind, offset, stored, full)
        if offset < HEADER_SIZE or record.end + FOOTER_SIZE > pack_size:
            self._require(False, f"{short(object_id)} is outside its pack")
        if stored > full:
            self._require(False, f"{short(object_id)} is stored larger than it is")
        return Location(pack_id, record)

    def _require(self, holds: bool, why: str) -> None:
        if not holds:
            raise IntegrityError(f"{self.what} is damaged: {why}")


def size_of(begin: bytes) -> int:
    """Return the size in bytes that an index has, as its first 32 bytes tell; nothing is checked.

    Example:
        >>> record = Record(bytes(32), Kind.DATA, 32, 0, 0)
        >>> data = encode_index([Location(bytes(32), record)], {bytes(32): 224})
        >>> size_of(data[:32]) == len(data)
        True
    """
    _, _, packs, rows = _HEADER.unpack_from(begin)
    return int(BEGIN + packs * _PACK.size + rows * _ROW.size + ID_SIZE)


def _packed(record: Record, pack: int) -> bytes:
    object_id, kind, offset, stored, full = record
    return _ROW.pack(object_id, pack, kind, offset, stored, full)
