"""Which of many indexes may name an object: a compact table of the beginnings of their ids.

Each publication adds an index, so a store may have thousands, and asking each of them for each
object takes milliseconds. The table has 8 bytes a row: 5 of the id, and 3 that say which index it
is in. It is made of the indexes' own bytes, by slices, and a part at a time: the part for some
first bytes is made when the first such object is looked up. So it takes little memory and time for
what is never asked.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Sequence

from ama.format.packindex import PackIndex

__all__ = ["Naming"]

KEY_SIZE = 5
"""Bytes of an id that select its possible indexes: of a million objects, one in a million."""

PART = 1 << 18
"""About how many rows are sorted at once: they take some 10 MB for a moment. Fewer would be read in
smaller pieces of each index."""

_ROW = 64
_NUMBER = 8 * (8 - KEY_SIZE)
_MOST_PARTS = 256


class Naming:
    """A table of the objects in some indexes.

    Args:
        indexes: The indexes; at most 16 million.

    Example:
        >>> list(Naming(()).candidates(bytes(32)))
        []
    """

    def __init__(self, indexes: Sequence[PackIndex]) -> None:
        self._indexes = indexes
        parts = 1
        while parts < _MOST_PARTS and sum(map(len, indexes)) > parts * PART:
            parts *= 2
        self._width = _MOST_PARTS // parts
        self._parts: list[array[int] | None] = [None] * parts

    def candidates(self, object_id: bytes) -> list[PackIndex]:
        """Return the indexes that may name an object: all that do, seldom another."""
        number = object_id[0] // self._width
        part = self._parts[number]
        if part is None:
            part = self._parts[number] = self._made(number)
        low = int.from_bytes(object_id[:KEY_SIZE]) << _NUMBER
        at = bisect_left(part, low)
        high = low + (1 << _NUMBER)
        found: dict[int, None] = {}
        while at < len(part) and part[at] < high:
            found[part[at] - low] = None
            at += 1
        return [self._indexes[each] for each in found]

    def _made(self, part: int) -> array[int]:
        low = part * self._width
        keys: array[int] = array("Q")
        for number, index in enumerate(self._indexes):
            keys.frombytes(_keys(index.rows_between(low, low + self._width), number))
        if sys.byteorder == "big":
            keys.byteswap()
        return array("Q", sorted(keys))


def _keys(rows: bytes, number: int) -> bytes:
    """Return 8 bytes for each row, as little-endian numbers: of its id, then its index."""
    count = len(rows) // _ROW
    keys = bytearray(8 * count)
    for at in range(KEY_SIZE):
        keys[7 - at :: 8] = rows[at::_ROW]
    for at, byte in enumerate(number.to_bytes(8 - KEY_SIZE, "little")):
        keys[at::8] = bytes([byte]) * count
    return bytes(keys)
