"""A file that comes in pieces, read forward: content is verified as it streams by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


class Pieces:
    """What reads exact numbers of bytes from an iterator of pieces of any size.

    Args:
        pieces: the file's bytes in order, such as `Asset.open` yields them.

    Example:
        >>> file = Pieces([b"head", b"er and", b" rest"])
        >>> file.peek(6), file.read(6), b"".join(file.upto(5)), b"".join(file.rest())
        (b'header', b'header', b' and ', b'rest')
        >>> file.position
        15
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._next = b""
        self.position = 0
        """How many bytes were read."""

    def peek(self, size: int) -> bytes:
        """Return the next bytes without reading them; fewer only where the file ends."""
        parts, have = [self._next], len(self._next)
        while have < size and (piece := next(self._pieces, None)) is not None:
            parts.append(piece)
            have += len(piece)
        self._next = b"".join(parts)
        return self._next[:size]

    def read(self, size: int) -> bytes:
        """Return the next bytes; fewer only where the file ends."""
        return b"".join(self.upto(size))

    def upto(self, size: int) -> Iterator[bytes]:
        """Yield the next bytes in pieces; fewer only where the file ends."""
        while size:
            piece = self._next or next(self._pieces, None)
            if piece is None:
                return
            taken, self._next = piece[:size], piece[size:]
            size -= len(taken)
            self.position += len(taken)
            yield taken

    def rest(self) -> Iterator[bytes]:
        """Yield all that is left, in pieces."""
        if self._next:
            yield from self.upto(len(self._next))
        for piece in self._pieces:
            self.position += len(piece)
            yield piece

    def drain(self) -> int:
        """Read to the end, by which the whole is verified; return the file's size in bytes."""
        for _ in self.rest():
            pass
        return self.position
