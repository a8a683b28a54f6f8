"""Rows of indexes to come, in few bytes each: collected one by one, or merged from other indexes.

A row as an object takes some 400 bytes, and an asset may have millions. Here one takes the 64 bytes
that it has in an index. docs/format.md, section 7, specifies the order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from struct import Struct

from ama.format.packindex import Location, PackIndex, encode_rows

Row = tuple[bytes, int, int, int, int, int]
"""A row as `encode_rows` takes it."""

_ROW = Struct(">32sBQ16s")
"""A row without its pack: id, kind, offset, sizes."""

_SORTED = Struct(">32sBIQ16s")
"""A row whose bytes sort as rows do: id, kind, place of its pack, offset; then its sizes."""

_SIZES = Struct("<QQ")


def packed(records: Iterable[tuple[bytes, int, int, int, int]]) -> bytes:
    """Return rows for records of one pack, as `RowCollector.add_rows` takes them."""
    return b"".join(
        [
            _ROW.pack(i, kind, offset, _SIZES.pack(stored, full))
            for i, kind, offset, stored, full in records
        ]
    )


class RowCollector:
    """The rows of one index to come.

    Example:
        >>> from ama.format.objects import Kind
        >>> rows = RowCollector()
        >>> rows.add_rows(bytes(32), 224, packed([(bytes(32), Kind.DATA, 32, 0, 0)]))
        >>> len(rows), len(PackIndex(rows.encode()))
        (1, 1)
    """

    def __init__(self) -> None:
        self._rows: dict[bytes, list[bytes]] = {}
        self._sizes: dict[bytes, int] = {}
        self._count = 0

    def __len__(self) -> int:
        """Return the number of rows; equal ones count each time."""
        return self._count

    @property
    def packs_size(self) -> int:
        """Return the sizes in bytes of all packs together."""
        return sum(self._sizes.values())

    def add_rows(self, pack: bytes, size: int, rows: bytes) -> None:
        """Add rows of a pack.

        Args:
            pack: The pack's id.
            size: The size in bytes of its file.
            rows: Some or all of its records, `packed`.
        """
        self._rows.setdefault(pack, []).append(rows)
        self._sizes[pack] = size
        self._count += len(rows) // _ROW.size

    def add(self, locations: Iterable[Location], sizes: Mapping[bytes, int]) -> None:
        """Add locations, given the size in bytes of each pack that they name."""
        for pack, record in locations:
            self.add_rows(pack, sizes[pack], packed((record,)))

    def encode(self) -> bytes:
        """Return the bytes of the index of these rows; equal ones count once.

        Of all rows only those whose ids begin with the same byte are objects at a time.
        """
        packs = sorted(self._sizes.items())
        beginning_with = [bytearray() for _ in range(256)]
        for place, (pack, _) in enumerate(packs):
            for part in self._rows[pack]:
                for i, kind, offset, sizes in _ROW.iter_unpack(part):
                    beginning_with[i[0]] += _SORTED.pack(i, kind, place, offset, sizes)
        return encode_rows(packs, chain.from_iterable(map(_in_order, map(_split, beginning_with))))


def merge_indexes(indexes: Sequence[PackIndex]) -> bytes:
    """Return the bytes of one index with all rows of others.

    Besides these bytes, only the rows whose ids begin with the same byte are in memory.

    Args:
        indexes: The indexes, at least one.

    Example:
        >>> from ama.format.objects import Kind
        >>> rows = RowCollector()
        >>> rows.add_rows(bytes(32), 224, packed([(bytes(32), Kind.DATA, 32, 0, 0)]))
        >>> merge_indexes([PackIndex(rows.encode())] * 2) == rows.encode()
        True
    """
    found = {pack: size for index in indexes for pack, size in index.pack_sizes.items()}
    packs = sorted(found.items())
    places = {pack: at for at, (pack, _) in enumerate(packs)}
    moved = [[places[pack] for pack in index.pack_sizes] for index in indexes]

    def beginning_with(first: int) -> Iterator[Row]:
        return _in_order(
            [
                _SORTED.pack(i, kind, numbers[pack], offset, _SIZES.pack(stored, full))
                for index, numbers in zip(indexes, moved, strict=True)
                for i, pack, kind, offset, stored, full in index.rows(first)
            ]
        )

    return encode_rows(packs, (row for first in range(256) for row in beginning_with(first)))


def _split(rows: bytearray) -> list[bytes]:
    return [bytes(rows[at : at + _SORTED.size]) for at in range(0, len(rows), _SORTED.size)]


def _in_order(rows: list[bytes]) -> Iterator[Row]:
    """Yield rows in order, each once: those that differ only in their sizes are one place."""
    rows.sort()
    before = b""
    for row in rows:
        place = row[: -_SIZES.size]
        if place != before:
            i, kind, pack, offset, sizes = _SORTED.unpack(row)
            yield i, pack, kind, offset, *_SIZES.unpack(sizes)
        before = place
