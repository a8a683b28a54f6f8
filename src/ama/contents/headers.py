"""Headers of large files: read at any place, within limits of bytes and steps.

A reader of a form yields values as it finds them. Where a file is broken or asks for too much, the
values before that count.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Reason = Literal["binary", "broken", "encoding", "too_deep", "too_large", "too_many"]

ReadAt = Callable[[int, int], bytes]
"""Returns the bytes of a file from a place on, so many or fewer at its end."""

Plain = str | int | float | bool

WINDOW = 64 * 1024
"""The bytes to read at once; of what follows, each time twice as many."""

LARGEST_WINDOW = 1024 * 1024

MOST_STEPS = 2_000_000
"""The most reads of a file: numbers, texts, fields."""

MOST_TEXT = 64 * 1024
"""The most bytes of a text."""


class HeaderEnds(Exception):
    """The rest of a header is not read."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


@dataclass(frozen=True, slots=True)
class Left:
    """A placeholder for a value that is not read."""

    reason: Reason


Found = tuple[tuple[str, ...], "Plain | list[Plain] | Left"]
"""A value, and the parts of its key."""


class Header:
    r"""A file of which little is read, forwards or at any place.

    Args:
        read_at: Returns its bytes.
        size: Its size in bytes.
        most: The most bytes to read of it; each place that is read counts as a window.

    Example:
        >>> data = b"\x01\x00\x02"
        >>> header = Header(lambda at, size: data[at : at + size], len(data), most=WINDOW)
        >>> header.number("<H"), header.position
        (1, 2)
    """

    def __init__(self, read_at: ReadAt, size: int, most: int) -> None:
        self._read_at = read_at
        self.size = size
        self.position = 0
        self._left = most
        self._steps = MOST_STEPS
        self._held = b""
        self._start = 0
        self._window = WINDOW

    def read(self, size: int) -> bytes:
        """Return the next bytes.

        Raises:
            HeaderEnds: There are fewer, or they are too many.
        """
        self._steps -= 1
        if self._steps <= 0:
            raise HeaderEnds("too_many")
        at = self.position - self._start
        if not 0 <= at <= len(self._held) - size:
            self._fill(size)
            at = 0
        self.position += size
        return self._held[at : at + size]

    def skip(self, size: int) -> None:
        """Go on behind the next bytes, which need not be read.

        Raises:
            HeaderEnds: There are fewer.
        """
        self.seek(self.position + size)

    def seek(self, position: int) -> None:
        """Go to a place.

        Raises:
            HeaderEnds: The file has no such place.
        """
        if not 0 <= position <= self.size:
            raise HeaderEnds("broken")
        self.position = position

    def number(self, form: str) -> int:
        """Return the next number, given its form in the words of `struct`."""
        found: int = struct.unpack(form, self.read(struct.calcsize(form)))[0]
        return found

    def varint(self) -> int:
        """Return the next number in groups of seven bits, the lowest first, of 64 bits at most.

        Raises:
            HeaderEnds: It is longer.
        """
        first = self.read(1)[0]
        if first < 0x80:
            return first
        found, at = first & 0x7F, self.position - self._start
        for shift in range(7, 70, 7):
            if at == len(self._held):
                self._fill(1)
                at = 0
            byte = self._held[at]
            at += 1
            self.position += 1
            found |= (byte & 0x7F) << shift
            if byte < 0x80:
                return found & 0xFFFF_FFFF_FFFF_FFFF
        raise HeaderEnds("broken")

    def skip_counted(self, form: str, times: int) -> None:
        """Skip so many texts that stand behind their lengths, which have a form of `struct`.

        Raises:
            HeaderEnds: There are fewer, or too many.
        """
        width, unpack = struct.calcsize(form), struct.Struct(form).unpack_from
        while times:
            if not 0 <= self.position - self._start <= len(self._held) - width:
                self._fill(width)
            held, at = self._held, self.position - self._start
            before, last = times, len(held) - width
            while times and at <= last:
                at += width + unpack(held, at)[0]
                times -= 1
            self._steps -= before - times
            if self._steps <= 0:
                raise HeaderEnds("too_many")
            self.seek(self._start + at)

    def text(self, size: int, most: int = MOST_TEXT) -> str | Left:
        """Return the next bytes as a text; one that is too long is skipped."""
        if size > most:
            self.skip(size)
            return Left("too_large")
        try:
            return self.read(size).decode()
        except UnicodeDecodeError:
            return Left("encoding")

    def _fill(self, size: int) -> None:
        end = self._start + len(self._held)
        follows = bool(self._held) and self._start <= self.position <= end
        self._window = min(2 * self._window, LARGEST_WINDOW) if follows else WINDOW
        if self.position + size > self.size:
            raise HeaderEnds("broken")
        wanted = min(max(size, self._window), self.size - self.position)
        self._left -= max(wanted, WINDOW)
        if self._left < 0:
            raise HeaderEnds("too_large")
        self._held = self._read_at(self.position, wanted)
        self._start = self.position
        if len(self._held) < size:
            raise HeaderEnds("broken")
