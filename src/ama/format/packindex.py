"""The index: where, in which pack, each object is.

    header (32)        magic, version, number of packs, number of rows
    fan-out (256 x 8)  how many rows have a first byte up to this one
    packs (40 each)    id, size in bytes
    rows (64 each)     id, pack, kind, offset, stored size, full size; sorted
    checksum (32)      BLAKE3 of all before it

Rows have one width and are sorted, so an index is searched in place, without parsing. An index's
id is the BLAKE3 of the whole file. docs/format.md is the specification.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from struct import Struct
from typing import NamedTuple

from ama.errors import FormatError, IntegrityError
from ama.format.hashing import ID_SIZE, Buffer, blob_id, short
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

MANY_LOOKUPS = 256
"""The number of lookups in a small index after which a table of its ids pays."""

SMALL_INDEX = 300_000
"""The largest number of rows of a small index: its table takes about 40 MB."""


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

    Raises:
        IntegrityError: It is damaged.
        FormatError: A newer version of ama has written it.
    """

    def __init__(self, data: Buffer, what: str = "index") -> None:
        self.what = what
        self._data = bytes(data)
        self._table: dict[bytes, int] | None = None
        self._lookups = 0
        self.id = blob_id(data)
        size = len(self._data)
        self._require(size >= _HEADER.size + _FANOUT.size + ID_SIZE, "it is too short")
        magic, version, packs, rows = _HEADER.unpack(self._data[: _HEADER.size])
        self._require(magic == MAGIC, "it does not begin as an index does")
        if version != VERSION:
            raise FormatError(f"{what} has index version {version}: upgrade ama to read it")
        self._pack_table = _HEADER.size + _FANOUT.size
        self._rows = self._pack_table + packs * _PACK.size
        self._count: int = rows
        end = self._rows + rows * _ROW.size
        self._require(end + ID_SIZE == size, "its length does not match its counts")
        self._require(blob_id(self._data[:end]) == self._data[end:], "its checksum does not match")
        self._fanout = _FANOUT.unpack(self._data[_HEADER.size : self._pack_table])
        self._require(self._fanout[255] == rows, "its fan-out table does not fit")
        table = self._data[self._pack_table : self._rows]
        self._packs: tuple[tuple[bytes, int], ...] = tuple(_PACK.iter_unpack(table))

    def __len__(self) -> int:
        return self._count

    @property
    def pack_sizes(self) -> dict[bytes, int]:
        """Return the packs that the index names, with their sizes in bytes."""
        return dict(self._packs)

    @property
    def data(self) -> bytes:
        """Return the index's bytes."""
        return self._data

    @property
    def size(self) -> int:
        """Return the index's own size in bytes."""
        return len(self._data)

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
        row = self._row(object_id)
        if row is None:
            return False
        # Rows of one id are in the order of their kinds, and a recipe's comes last.
        return bool(self._data[self._rows + row * _ROW.size + _KIND_OFFSET] == Kind.RECIPE)

    def starting_with(self, prefix: str) -> set[bytes]:
        """Return the ids whose hex digits begin with `prefix`."""
        low = bytes.fromhex(prefix.ljust(2 * ID_SIZE, "0"))
        found = set()
        at = self._first(low)
        while at < self._count and self._id_at(at).hex().startswith(prefix):
            found.add(self._id_at(at))
            at += 1
        return found

    def keys(self, size: int) -> set[bytes]:
        """Return the first `size` bytes of each id."""
        rows = range(self._rows, self._rows + self._count * _ROW.size, _ROW.size)
        return {self._data[at : at + size] for at in rows}

    def __iter__(self) -> Iterator[Location]:
        return (self._location(at) for at in range(self._count))

    def rows(self, first: int) -> Iterator[tuple[bytes, int, int, int, int, int]]:
        """Return the rows whose ids begin with a byte, in order, as `encode_rows` takes them."""
        low = self._fanout[first - 1] if first else 0
        start, end = (self._rows + row * _ROW.size for row in (low, self._fanout[first]))
        return _ROW.iter_unpack(self._data[start:end])

    def pack_counts(self) -> dict[bytes, int]:
        """Return how many objects the index names in each pack."""
        end = self._rows + self._count * _ROW.size
        counts = dict.fromkeys(range(len(self._packs)), 0)
        for row in _ROW.iter_unpack(self._data[self._rows : end]):
            counts[row[1]] = counts.get(row[1], 0) + 1
        return {pack: counts[at] for at, (pack, _) in enumerate(self._packs)}

    def rows_by_pack(self) -> dict[bytes, array[int]]:
        """Return the rows that name each pack's objects, in few bytes a row; see `locate`."""
        end = self._rows + self._count * _ROW.size
        found = [array("Q") for _ in self._packs]
        for row, fields in enumerate(_ROW.iter_unpack(self._data[self._rows : end])):
            self._require(fields[1] < len(found), f"{short(fields[0])} is in no pack")
            found[fields[1]].append(row)
        return {pack: rows for (pack, _), rows in zip(self._packs, found, strict=True)}

    def locate(self, rows: Iterable[int]) -> Iterator[Location]:
        """Yield the locations of rows."""
        return (self._location(row) for row in rows)

    def metadata(self) -> Iterator[Location]:
        """Yield the locations of all trees, assets and recipes."""
        end = self._rows + self._count * _ROW.size
        kinds = bytes(self._data[self._rows + _KIND_OFFSET : end : _ROW.size])
        return (self._location(at) for at, kind in enumerate(kinds) if kind != Kind.DATA)

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
        for location in self:
            record = location.record
            key = (record.id, int(record.kind), location.pack, record.offset)
            self._require(before is None or before < key, "its rows are out of order")
            before = key
            counts[record.id[0]] += 1
            used.add(location.pack)
        for at in range(1, 256):
            counts[at] += counts[at - 1]
        self._require(tuple(counts) == self._fanout, "its fan-out table does not fit")
        self._require(len(used) == len(names), "it names a pack without an object in it")
        again = encode_index(self, self.pack_sizes)
        self._require(again == self._data, "it is not in canonical form")

    def _row(self, object_id: bytes) -> int | None:
        """Return the first row of an object, or None if there's none."""
        if self._table is not None:
            return self._table.get(object_id)
        self._lookups += 1
        if self._lookups > MANY_LOOKUPS and self._count <= SMALL_INDEX:
            # From the last row to the first, so that the first of equal ids stays.
            rows = range(self._count - 1, -1, -1)
            self._table = {self._id_at(row): row for row in rows}
        row = self._first(object_id)
        return row if row < self._count and self._id_at(row) == object_id else None

    def _first(self, object_id: bytes) -> int:
        first = object_id[0]
        low = self._fanout[first - 1] if first else 0
        high = min(self._fanout[first], self._count)
        return int(bisect_left(range(high), object_id, lo=min(low, high), key=self._id_at))

    def _id_at(self, row: int) -> bytes:
        at = self._rows + row * _ROW.size
        return self._data[at : at + ID_SIZE]

    def _location(self, row: int) -> Location:
        object_id, pack, number, offset, stored, full = _ROW.unpack_from(
            self._data, self._rows + row * _ROW.size
        )
        if pack >= len(self._packs):
            self._require(False, f"{short(object_id)} is in no pack")
        pack_id, pack_size = self._packs[pack]
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
