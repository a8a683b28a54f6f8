"""Bytes that come in pieces, cut into the parts of an upload: few, and each fits in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ama.system.fs import Buffer

FIRST_PART = 16 * 1024 * 1024
"""The size of the first parts. S3 takes none below 5 MiB, GCS multiples of 256 KiB."""

PARTS_OF_A_SIZE = 1_000
"""So many parts are of one size, the following ones of twice that: S3 takes 10,000 and 5 TiB."""

LARGEST_PART = 1024 * 1024 * 1024


class Part(NamedTuple):
    """A part of an upload.

    Attributes:
        number: Its number, from 1 on.
        offset: Where it begins.
        data: Its bytes.
        is_last: Whether no part follows.
    """

    number: int
    offset: int
    data: bytes
    is_last: bool


def parts_of(pieces: Iterable[Buffer]) -> Iterator[Part]:
    """Yield the parts of bytes that come in pieces; one is held back until the next is there.

    So the last part is known as such, and comes only if the pieces have ended without an error.

    Args:
        pieces: The bytes, in order.

    Example:
        >>> [(part.number, part.is_last) for part in parts_of([b"one ", b"part"])]
        [(1, True)]
    """
    number, offset = 0, 0
    held = bytearray()
    before: bytes | None = None

    def part(data: bytes, *, is_last: bool) -> Part:
        nonlocal number, offset
        number += 1
        offset += len(data)
        return Part(number, offset - len(data), data, is_last)

    def room() -> int:
        ready = number + (before is not None)
        return min(FIRST_PART << ready // PARTS_OF_A_SIZE, LARGEST_PART)

    for piece in pieces:
        view = memoryview(piece).cast("B")
        while len(held) + len(view) > room():
            cut = room() - len(held)
            held += view[:cut]
            view = view[cut:]
            if before is not None:
                yield part(before, is_last=False)
            before, held = bytes(held), bytearray()
        held += view
    if before is not None and held:
        yield part(before, is_last=False)
        before = None
    yield part(bytes(held) if before is None else before, is_last=True)
