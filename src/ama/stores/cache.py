"""The cache of a store on this machine: immutable files by name, none of them trusted.

Readers check every file (by its id or its seal). So a cache that is damaged, deleted under a reader
or written by many at once costs only time. A cache that can't be written is no error.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from ama.errors import AmaError, IntegrityError, StorageError
from ama.format import canonical
from ama.format.checkpoint import Checkpoint, decode_checkpoint, encode_checkpoint
from ama.format.entries import NUMBER_DIGITS, decode_entry, entry_hash
from ama.format.hashing import ID_SIZE, Buffer, blob_id, seal
from ama.format.state import ROOT_MAGIC, Root, decode_root
from ama.stores.log_files import decode_hint, encode_hint
from ama.system import disk, fs

_STORES = "stores"


class Cache:
    """A directory of this machine with files of one store.

    Args:
        directory: The directory; None: remember nothing.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    @classmethod
    def of_store(cls, cache_dir: Path | None, store_id: str, url: str) -> Cache:
        """Return the cache of one store at one URL: a copy elsewhere may have a different log."""
        if cache_dir is None:
            return cls(None)
        return cls(cache_dir / _STORES / f"{store_id}-{_place(url)}")

    @classmethod
    def of_copies(cls, cache_dir: Path | None, store_id: str) -> list[Cache]:
        """Return the caches of one store at every URL where this machine has seen it."""
        return [
            cls(cache_dir / _STORES / name)
            for name in _names(cache_dir and cache_dir / _STORES)
            if cache_dir is not None and name.startswith(f"{store_id}-")
        ]

    @staticmethod
    def ids_at(cache_dir: Path | None, url: str) -> list[str]:
        """Return the ids of the stores that this machine has seen at a URL."""
        names = _names(cache_dir and cache_dir / _STORES)
        return [name.partition("-")[0] for name in names if name.endswith(f"-{_place(url)}")]

    @classmethod
    def of_urls(cls, cache_dir: Path | None) -> Cache:
        """Return the cache that says which store lies at which URL."""
        return cls(None if cache_dir is None else cache_dir / "urls")

    @property
    def keeps(self) -> bool:
        """Whether it remembers anything."""
        return self._directory is not None

    def path(self, name: str) -> Path | None:
        """Return the path of a file, there or not; None: nothing is remembered."""
        return None if self._directory is None else self._directory / name

    def names(self, directory: str) -> list[str]:
        """Return the names of the files below a directory of the cache, in order."""
        return [f"{directory}/{name}" for name in _names(self.path(directory))]

    def get(self, name: str) -> bytes | None:
        """Return a file's bytes, or None if the cache doesn't have it."""
        if self._directory is None:
            return None
        try:
            return disk.read_file(self._directory / name)
        except StorageError:
            return None

    def put(self, name: str, data: Buffer) -> None:
        """Keep a file, if possible."""
        if self._directory is None:
            return
        path = self._directory / name
        with contextlib.suppress(AmaError, OSError):
            fs.make_directories(path.parent, sync=False)
            fs.write_replace(path, data)

    def drop(self, name: str) -> None:
        """Forget a file."""
        if self._directory is not None:
            with contextlib.suppress(AmaError, OSError):
                fs.remove(self._directory / name)


def _place(url: str) -> str:
    return blob_id(url.encode()).hex()[:16]


def _names(directory: Path | None) -> list[str]:
    if directory is None:
        return []
    try:
        return sorted(disk.list_directory(directory))
    except StorageError:
        return []


VIEW = "view"
"""The log as last seen: a checkpoint, and the entries after it."""

END = "end"
"""The number and hash of its last entry, apart from the entries, which must lead up to it."""

_FOLDED = "entries"
_RANGE = re.compile(rf"{_FOLDED}/([0-9]{{{NUMBER_DIGITS}}})-([0-9]{{{NUMBER_DIGITS}}})").fullmatch


def keep_view(
    cache: Cache, base: Checkpoint, entries: Sequence[bytes], end: tuple[int, bytes]
) -> None:
    """Keep a log.

    Args:
        cache: The store's cache.
        base: A checkpoint.
        entries: The bytes of the entries after it.
        end: The number and the hash of the last entry.
    """
    body = canonical.encode((encode_checkpoint(base), list(entries)))
    cache.put(VIEW, body + seal(body))
    cache.put(END, encode_hint(*end))


def decode_view(data: bytes) -> tuple[Checkpoint | Root, tuple[bytes, ...]]:
    """Decode a kept log: a checkpoint, and the bytes of the entries after it.

    An earlier version of ama has kept a checkpoint of the first form.

    Raises:
        IntegrityError: The bytes are damaged.
    """
    try:
        root, entries = _unsealed(data)
        decode = decode_root if root.startswith(ROOT_MAGIC) else decode_checkpoint
        return decode(root), tuple(bytes(entry) for entry in entries)
    except (ValueError, TypeError) as error:
        raise IntegrityError(f"what is remembered of a log is damaged: {error}") from error


def keep_folded(cache: Cache, first: int, entries: Sequence[bytes]) -> None:
    """Keep entries that the kept state will only contain folded.

    Args:
        cache: The store's cache.
        first: The number of the first entry.
        entries: The bytes of the entries.
    """
    body = canonical.encode(list(entries))
    last = first + len(entries) - 1
    cache.put(f"{_FOLDED}/{first:0{NUMBER_DIGITS}}-{last:0{NUMBER_DIGITS}}", body + seal(body))


def remembers(cache: Cache, number: int) -> bool:
    """Whether the cache has the entry with a number."""
    with suppress(IntegrityError):
        base, entries = decode_view(cache.get(VIEW) or b"")
        if base.number < number <= base.number + len(entries):
            return True
    ranges = [found for name in cache.names(_FOLDED) if (found := _RANGE(name))]
    return any(int(found[1]) <= number <= int(found[2]) for found in ranges)


class LogMemory:
    """The entries in some caches, by their hashes.

    Args:
        caches: The caches of one store, or of what may be that store.

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
        """Return the bytes with a hash; None if no cache has them."""
        return self._entries.get(digest)

    def hashes(self, end: tuple[int, bytes]) -> dict[int, bytes]:
        """Return the hashes of entries by number: of the last one and all before it.

        Args:
            end: The number and the hash of the last entry.
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
    """Return the number and hash of the last entry seen; (0, b"") if none was."""
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
