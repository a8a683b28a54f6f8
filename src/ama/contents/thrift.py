"""Values of Thrift's compact protocol, read from a file one after another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ama.contents.headers import Header, HeaderEnds, Left

TRUE: Final = 1
FALSE: Final = 2
BYTE: Final = 3
INTEGERS: Final = (4, 5, 6)
BYTES: Final = 8
LIST: Final = 9
STRUCT: Final = 12
_DOUBLE, _SET, _MAP = 7, 10, 11
_WIDTHS = {TRUE: 1, FALSE: 1, BYTE: 1, _DOUBLE: 8}
"""The bytes of an element, where that is known; a boolean's field has none."""

_MOST_LEVELS = 16


class Thrift:
    r"""A reader of values.

    Args:
        file: The file, at the first of them.

    Example:
        >>> data = b"\x15\x0e\x18\x02hi\x00"
        >>> values = Thrift(Header(lambda at, size: data[at : at + size], len(data), most=1 << 16))
        >>> [values.integer() if kind in INTEGERS else values.text() for _, kind in values.fields()]
        [7, 'hi']
    """

    def __init__(self, file: Header) -> None:
        self._file = file

    def fields(self) -> Iterator[tuple[int, int]]:
        """Yield the fields of a struct: the number and the kind. Read or skip each value.

        Raises:
            HeaderEnds: It is broken.
        """
        number = 0
        while True:
            (head,) = self._file.read(1)
            if head == 0:
                return
            number = number + (head >> 4) if head >> 4 else self.integer()
            yield number, head & 15

    def integer(self) -> int:
        """Return an integer."""
        found = self._file.varint()
        return (found >> 1) ^ -(found & 1)

    def byte(self) -> int:
        """Return a number of one byte."""
        return self._file.number("b")

    def text(self, most: int | None = None) -> str | Left:
        """Return a text; one of more bytes is skipped."""
        size = self._file.varint()
        return self._file.text(size) if most is None else self._file.text(size, most)

    def elements(self) -> tuple[int, int]:
        """Return the kind of a list's elements, and how many they are. Read or skip each."""
        (head,) = self._file.read(1)
        size = head >> 4
        return head & 15, self._file.varint() if size == 15 else size

    def skip(self, kind: int, level: int = 0) -> None:
        """Go on behind the value of a field.

        Args:
            kind: Its kind.
            level: In how many others it is.
        """
        if level > _MOST_LEVELS:
            raise HeaderEnds("too_deep")
        if kind in INTEGERS:
            self._file.varint()
        elif kind == BYTES:
            self._file.skip(self._file.varint())
        elif kind in (LIST, _SET):
            inner, size = self.elements()
            self.skip_elements(size, inner, level=level + 1)
        elif kind == _MAP:
            if size := self._file.varint():
                (kinds,) = self._file.read(1)
                self.skip_elements(size, kinds >> 4, kinds & 15, level=level + 1)
        elif kind == STRUCT:
            for _, inner in self.fields():
                self.skip(inner, level + 1)
        elif kind not in (TRUE, FALSE):
            self._file.skip(_width(kind))

    def skip_elements(self, size: int, *kinds: int, level: int = 1) -> None:
        """Go on behind so many elements of a list, or pairs of a map."""
        if all(kind in _WIDTHS for kind in kinds):  # without a step for each
            self._file.skip(size * sum(map(_width, kinds)))
            return
        for _ in range(size):
            for kind in kinds:
                if kind in _WIDTHS:
                    self._file.skip(_WIDTHS[kind])
                else:
                    self.skip(kind, level)


def _width(kind: int) -> int:
    if kind not in _WIDTHS:
        raise HeaderEnds("broken")
    return _WIDTHS[kind]
