"""Content that stays where it is, outside of any store: its id, and where its chunks lie."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from ama.errors import Conflict, shown
from ama.format.chunking import THRESHOLD
from ama.format.hashing import HashingReader, blob_id
from ama.format.objects import Recipe
from ama.format.references import MAX_REFERENCE, Method, Reference
from ama.worktree.reader import cut_source


@dataclass(frozen=True, slots=True)
class Located:
    """A file's content, and where it lies.

    Attributes:
        id: Its id.
        size: Its bytes.
        where: All of it.
        recipe: How it is cut, if it is large.
        small: The chunks that a reference would hardly be smaller than, by their ids.
        also: Other places where all of it lies.
    """

    id: bytes
    size: int
    where: Reference
    recipe: Recipe | None = None
    small: Mapping[bytes, bytes] = field(default_factory=dict)
    also: tuple[Reference, ...] = ()

    @property
    def places(self) -> tuple[Reference, ...]:
        """Return all places where it lies."""
        return (self.where, *self.also)

    def pieces(self, whole: Reference) -> Iterator[tuple[bytes, int, Reference]]:
        """Yield the chunks, or the whole if it is small: id, bytes, and where each lies.

        Args:
            whole: One of its places.
        """
        start = 0
        for chunk, size in [(self.id, self.size)] if self.recipe is None else self.recipe.chunks:
            if whole.method is Method.STORED:
                yield chunk, size, replace(whole, offset=whole.offset + start, length=size)
            else:
                yield chunk, size, replace(whole, start=start)
            start += size


def together(items: Iterable[Mapping[bytes, Located]]) -> dict[bytes, Located]:
    """Return where content lies by several accounts, by its id.

    Example:
        >>> one, two = (Reference(f"file:///{name}", "", 9, 0, 9) for name in "ab")
        >>> there = [{b"id": Located(b"id", 9, where)} for where in (one, two)]
        >>> together(there)[b"id"].places == (one, two)
        True
    """
    found: dict[bytes, Located] = {}
    for each in items:
        for content, located in each.items():
            known = found.setdefault(content, located)
            more = tuple(place for place in located.places if place not in known.places)
            if more:
                found[content] = replace(known, also=(*known.also, *more))
    return found


def locate(file: BinaryIO, size: int, where: Reference, name: str) -> Located:
    """Read content once, for its id and its chunks.

    Args:
        file: The content, from its beginning.
        size: The bytes that it should have.
        where: Where it lies.
        name: What it is called, for the error.

    Raises:
        Conflict: It has another size.

    Example:
        >>> import io
        >>> where = Reference("file:///srv/a.bin", "", 3, 0, 3)
        >>> [part for _, part, _ in locate(io.BytesIO(b"abc"), 3, where, "a").pieces(where)]
        [3]
    """
    if size < THRESHOLD:
        data = file.read(size + 1)
        found = Located(blob_id(data), len(data), where)
    else:
        small: dict[bytes, bytes] = {}

        def keep(chunk: bytes, data: memoryview) -> None:
            if len(data) <= MAX_REFERENCE:
                small[chunk] = bytes(data)

        reader = HashingReader(file)
        recipe = cut_source(reader, keep)
        found = Located(reader.digest(), reader.size, where, recipe, small)
    if found.size != size:
        raise Conflict(f"{shown(name)} was changed while it was read")
    return found
