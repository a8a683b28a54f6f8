"""What this machine remembers of a log: its state, its entries, and where it ended.

It is kept in the cache of a store. Entries are found by their hashes, which are computed from what
is read: so one that was changed there is found by nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from ama.cache import Cache
from ama.errors import AmaError, IntegrityError
from ama.format import canonical
from ama.format.entries import NUMBER_DIGITS, decode_entry, entry_hash
from ama.format.hashing import ID_SIZE, seal
from ama.format.state import Root, decode_root, encode_root
from ama.logfiles import decode_hint, encode_hint

VIEW = "view"
"""The log as it was seen last: a folded state, and the entries after it."""

END = "end"
"""The number and hash of its last entry, apart from the entries: what these must lead up to."""

_FOLDED = "entries"
_RANGE = re.compile(rf"{_FOLDED}/([0-9]{{{NUMBER_DIGITS}}})-([0-9]{{{NUMBER_DIGITS}}})").fullmatch


def keep_view(cache: Cache, base: Root, entries: Sequence[bytes], end: tuple[int, bytes]) -> None:
    """Remember a log.

    Args:
        cache: the store's.
        base: a folded state.
        entries: the bytes of those after it.
        end: the number and the hash of the last one.
    """
    body = canonical.encode((encode_root(base), list(entries)))
    cache.put(VIEW, body + seal(body))
    cache.put(END, encode_hint(*end))


def decode_view(data: bytes) -> tuple[Root, tuple[bytes, ...]]:
    """Return a remembered log: a folded state, and the bytes of the entries after it.

    Raises:
        IntegrityError: the bytes are damaged.
    """
    try:
        root, entries = _unsealed(data)
        return decode_root(root), tuple(bytes(entry) for entry in entries)
    except (ValueError, TypeError) as error:
        raise IntegrityError(f"what is remembered of a log is damaged: {error}") from error


def keep_folded(cache: Cache, first: int, entries: Sequence[bytes]) -> None:
    """Remember entries that the remembered state holds from now on only added up.

    Args:
        cache: the store's.
        first: the number of the first of them.
        entries: their bytes.
    """
    body = canonical.encode(list(entries))
    last = first + len(entries) - 1
    cache.put(f"{_FOLDED}/{first:0{NUMBER_DIGITS}}-{last:0{NUMBER_DIGITS}}", body + seal(body))


def remembers(cache: Cache, number: int) -> bool:
    """Whether an entry with a number is remembered."""
    with suppress(IntegrityError):
        base, entries = decode_view(cache.get(VIEW) or b"")
        if base.number < number <= base.number + len(entries):
            return True
    ranges = [found for name in cache.names(_FOLDED) if (found := _RANGE(name))]
    return any(int(found[1]) <= number <= int(found[2]) for found in ranges)


class LogMemory:
    """The entries that some caches hold, by their hashes.

    Args:
        caches: of one store, or of what may be it.

    Example:
        >>> LogMemory([Cache(None)]).entry(bytes(32)) is None
        True
    """

    def __init__(self, caches: Iterable[Cache]) -> None:
        self._entries: dict[bytes, bytes] = {}
        for cache in caches:
            for data in _remembered(cache):
                self._entries.setdefault(entry_hash(data), data)

    def entry(self, digest: bytes) -> bytes | None:
        """Return the bytes that have a hash; None if they aren't remembered."""
        return self._entries.get(digest)

    def hashes(self, end: tuple[int, bytes]) -> dict[int, bytes]:
        """Return the hashes of entries by number: of the last one, and of what leads up to it.

        Args:
            end: the number and the hash of the last one.
        """
        number, digest = end
        found: dict[int, bytes] = {}
        while number > 0:
            found[number] = digest
            data = self.entry(digest)
            if data is None:
                break
            try:
                entry = decode_entry(data)
            except AmaError:
                break
            if entry.number != number:
                break
            number, digest = number - 1, entry.previous
        return found


def remembered_end(cache: Cache) -> tuple[int, bytes]:
    """Return the number and hash of the last entry that was seen; (0, b"") if none was."""
    return decode_hint(cache.get(END) or b"")


def _remembered(cache: Cache) -> Iterator[bytes]:
    with suppress(IntegrityError):
        yield from decode_view(cache.get(VIEW) or b"")[1]
    for name in cache.names(_FOLDED):
        with suppress(IntegrityError, ValueError, TypeError):
            yield from (bytes(entry) for entry in _unsealed(cache.get(name) or b""))


def _unsealed(data: bytes) -> tuple[bytes, ...]:
    body, checksum = data[:-ID_SIZE], data[-ID_SIZE:]
    if seal(body) != checksum:
        raise IntegrityError("what is remembered of a log is damaged: its checksum does not match")
    found: tuple[bytes, ...] = canonical.decode(body, "cache")
    return found
