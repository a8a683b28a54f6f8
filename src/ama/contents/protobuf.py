"""Messages of protobuf, read from a file one field after another, without their definitions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ama.contents.headers import Header, HeaderEnds

NUMBER: Final = 0
BYTES: Final = 2
_EIGHT_BYTES, _FOUR_BYTES = 1, 5

Field = tuple[int, int]
"""The number of a field, and its form: `NUMBER` or `BYTES`."""


def fields(file: Header, size: int) -> Iterator[tuple[Field, int]]:
    r"""Yield the fields of the message that the next bytes are.

    Fields of four or eight bytes are left out.

    Args:
        file: The file. It may be read, or moved, between two fields.
        size: The bytes of the message.

    Yields:
        A field, and its number, without a sign; or how many bytes it has, with the file at them.

    Raises:
        HeaderEnds: It is broken.

    Example:
        >>> data = b"\x08\x96\x01\x12\x02hi"
        >>> file = Header(lambda at, size: data[at : at + size], len(data), most=1 << 16)
        >>> [(field, file.text(value) if field[1] == BYTES else value)
        ...  for field, value in fields(file, len(data))]
        [((1, 0), 150), ((2, 2), 'hi')]
    """
    end = file.position + size
    while file.position < end:
        tag = file.varint()
        number, form = tag >> 3, tag & 7
        if number == 0 or form not in (NUMBER, BYTES, _EIGHT_BYTES, _FOUR_BYTES):
            raise HeaderEnds("broken")
        value = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}.get(form) or file.varint()
        after = file.position + (0 if form == NUMBER else value)
        if after > end:
            raise HeaderEnds("broken")
        if form in (NUMBER, BYTES):
            yield (number, form), value
        file.seek(after)


def signed(number: int) -> int:
    """Return a number of 64 bits with its sign.

    Example:
        >>> signed(3), signed(0xFFFF_FFFF_FFFF_FFFF)
        (3, -1)
    """
    return number - (1 << 64) if number >> 63 else number
