"""Parts of stored files: of many files at once, the first or last chunk; further ones if needed."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Literal

from ama.errors import AmaError, IntegrityError
from ama.format.hashing import short
from ama.format.objects import Kind, Recipe, decode_recipe
from ama.stores.object_reader import Bad, ObjectStore

AT_ONCE = 24
"""The files whose parts are fetched at once: their chunks are in memory together."""

MOST_HELD = 16 * 1024 * 1024
"""The most bytes of further chunks in memory. Versions of a file often share them."""

NEAR = 64 * 1024
"""The bytes at an end of a file that are surely read."""

Ends = Literal["first", "last", "both"]
"""Which chunks of a file are surely read."""

Part = tuple[bytes, int, Callable[[int, int], bytes]]
"""A file's id, its size, and a function that returns its bytes from a place on."""


def each_in_parts(objects: ObjectStore, wanted: Mapping[bytes, Ends], bad: Bad) -> Iterator[Part]:
    """Yield files of which only parts are read, each chunk verified by its id.

    Args:
        objects: The objects.
        wanted: The ids of the files, and what is surely read of each.
        bad: Receives the errors of unreadable files, which are left out.

    Raises:
        StorageError: The store can't be read. The yielded functions raise it too, and for damage
            `IntegrityError` or `NotFound`.
    """
    ids = list(wanted)
    shared: OrderedDict[bytes, bytes] = OrderedDict()
    for start in range(0, len(ids), AT_ONCE):
        some = ids[start : start + AT_ONCE]
        lacking: Bad = {}
        recipes = {}
        for object_id, data in objects.read_records(some, Kind.RECIPE, lacking):
            try:
                recipes[object_id] = decode_recipe(data, f"recipe of {short(object_id)}")
            except AmaError as error:
                bad[object_id] = error
        for object_id, data in objects.read_records(lacking, Kind.DATA, bad):
            yield object_id, len(data), _of_bytes(data)
        ends = {
            object_id: _ends(recipe, wanted[object_id]) for object_id, recipe in recipes.items()
        }
        first = dict(
            objects.read_records({c for some in ends.values() for c in some}, Kind.DATA, {})
        )
        for object_id, recipe in recipes.items():
            near = {chunk: first[chunk] for chunk in ends[object_id] if chunk in first}
            file = ChunkedFile(objects, object_id, recipe, near, shared)
            yield object_id, file.size, file.read_at


def _of_bytes(data: bytes) -> Callable[[int, int], bytes]:
    return lambda at, size: data[at : at + size]


def _ends(recipe: Recipe, ends: Ends) -> list[bytes]:
    first = [] if ends == "last" else _covering(recipe.chunks)
    return first if ends == "first" else [*first, *_covering(reversed(recipe.chunks))]


def _covering(chunks: Iterable[tuple[bytes, int]]) -> list[bytes]:
    """Return the first of some chunks, so many that a first read needs no more."""
    found = []
    size = 0
    for chunk, length in chunks:
        found.append(chunk)
        size += length
        if size >= NEAR:
            break
    return found


class ChunkedFile:
    """A large stored file, of which only the chunks that are read are fetched.

    Args:
        objects: The objects.
        object_id: The file's id.
        recipe: Its recipe.
        near: Chunks of it that are here.
        shared: Chunks that were read last, of any file.
    """

    def __init__(
        self,
        objects: ObjectStore,
        object_id: bytes,
        recipe: Recipe,
        near: Mapping[bytes, bytes],
        shared: OrderedDict[bytes, bytes],
    ) -> None:
        self._objects = objects
        self._id = object_id
        self._chunks = recipe.chunks
        *self._starts, self.size = accumulate((size for _, size in recipe.chunks), initial=0)
        self._near = near
        self._shared = shared

    def read_at(self, at: int, size: int) -> bytes:
        """Return bytes from a place on, fewer at the end.

        Raises:
            NotFound, IntegrityError: They are away or damaged.
        """
        end = min(at + size, self.size)
        if at >= end:
            return b""
        first, last = bisect_right(self._starts, at) - 1, bisect_right(self._starts, end - 1) - 1
        chunks = self._chunks[first : last + 1]
        found = {chunk: self._near.get(chunk) or self._shared.get(chunk) for chunk, _ in chunks}
        missing = [chunk for chunk, data in found.items() if data is None]
        found.update(self._objects.read_records(missing, Kind.DATA))
        for chunk, data in found.items():
            if chunk not in self._near and data is not None:
                self._shared[chunk] = data
                self._shared.move_to_end(chunk)
        while sum(map(len, self._shared.values())) > MOST_HELD:
            self._shared.popitem(last=False)
        parts = [found[chunk] or b"" for chunk, _ in chunks]
        if [len(part) for part in parts] != [length for _, length in chunks]:
            raise IntegrityError(f"object {short(self._id)} is damaged: a chunk has another size")
        return b"".join(parts)[at - self._starts[first] : end - self._starts[first]]
