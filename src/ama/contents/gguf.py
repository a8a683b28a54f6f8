"""The header of GGUF files: a model's metadata, and how many tensors it has."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ama.contents.headers import Found, Header, HeaderEnds, Left, Plain

MAGIC = b"GGUF"
MOST_PAIRS = 10_000
MOST_LISTED = 64
"""The most values of a list to name; of a longer one, such as a vocabulary, only the length."""

MOST_KEY = 1 << 16
_MOST_LEVELS = 4

_FORMS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_FLOAT, _TEXT, _LIST = 6, 8, 9


def read_gguf(file: Header) -> Iterator[Found]:
    """Yield the version, the number of tensors, and the metadata under its own keys.

    Raises:
        HeaderEnds: It is broken, or too large.
    """
    if file.read(4) != MAGIC:
        raise HeaderEnds("broken")
    version = file.number("<I")
    order = "<"
    if version & 0xFFFF == 0:  # of a machine that writes the large end first
        version, order = struct.unpack(">I", struct.pack("<I", version))[0], ">"
    if version not in (1, 2, 3):
        raise HeaderEnds("broken")
    yield ("gguf", "version"), version
    reader = _Reader(file, order, "I" if version == 1 else "Q")
    tensors, pairs = reader.count(), reader.count()
    yield ("gguf", "tensors"), tensors
    if pairs > MOST_PAIRS:
        raise HeaderEnds("too_many")
    for _ in range(pairs):
        key = file.text(reader.count(MOST_KEY))
        if isinstance(key, Left):
            raise HeaderEnds("broken")
        yield from reader.value(tuple(key.split(".")))


class _Reader:
    def __init__(self, file: Header, order: str, count: str) -> None:
        self._file = file
        self._order = order
        self._count = order + count

    def count(self, most: int | None = None) -> int:
        found = self._file.number(self._count)
        if most is not None and found > most:
            raise HeaderEnds("broken")
        return found

    def value(self, key: tuple[str, ...]) -> Iterator[Found]:
        kind = self._kind()
        if kind != _LIST:
            yield key, self._scalar(kind)
            return
        kind, length = self._kind(), self.count()
        if kind == _LIST or length > MOST_LISTED:
            yield (*key, "length"), length
            self._skip(kind, length, 1)
            return
        found = [self._scalar(kind) for _ in range(length)]
        left = next((each for each in found if isinstance(each, Left)), None)
        yield key, left or [each for each in found if not isinstance(each, Left)]

    def _kind(self) -> int:
        return self._file.number(f"{self._order}I")

    def _scalar(self, kind: int) -> Plain | Left:
        if kind == _TEXT:
            return self._file.text(self.count())
        form = _FORMS.get(kind)
        if form is None:
            raise HeaderEnds("broken")
        found = self._file.number(self._order + form)
        return shortest(found) if kind == _FLOAT else found

    def _skip(self, kind: int, length: int, level: int) -> None:
        if kind in _FORMS:
            self._file.skip(length * struct.calcsize(_FORMS[kind]))
            return
        if kind == _TEXT:
            self._file.skip_counted(self._count, length)
            return
        if kind != _LIST or level > _MOST_LEVELS:
            raise HeaderEnds("broken")
        for _ in range(length):  # each takes steps, of which there are not so many
            self._skip(self._kind(), self.count(), level + 1)


def shortest(number: float) -> float:
    """Return a number of 32 bits as it was written: 1e-05, and not 9.999999747378752e-06.

    Example:
        >>> shortest(9.999999747378752e-06)
        1e-05
    """
    for digits in range(6, 9):
        try:
            found = float(f"{number:.{digits}g}")
            if struct.unpack("<f", struct.pack("<f", found))[0] == number:
                return found
        except OverflowError:
            break
    return number
