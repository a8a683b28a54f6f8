"""Sending where content lies, in place of the content."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from ama.errors import Hint, InvalidInput, shown
from ama.format.objects import Kind, Recipe, encode_recipe
from ama.format.pack import read_record
from ama.format.references import REFERENCES, Reference
from ama.stores.object_reader import ObjectStore
from ama.stores.pack_writer import PackWriter
from ama.worktree.located import Located

MOST_PLACES = 1 << 14
"""The chunks of which is asked at once where they lie."""

KindOf = Callable[[bytes], int | None]
"""Returns the kind of the best record that the target has of an object, or None."""


def require_references(features: Collection[str], url: str) -> None:
    """Refuse a store that takes no content by reference.

    Raises:
        InvalidInput: Its readers need not know references.
    """
    if REFERENCES not in features:
        raise InvalidInput(
            f"{shown(url)} takes no content by reference yet",
            hint=Hint("upgrade-store", store=url),
        )


def send_places(
    writer: PackWriter,
    there: ObjectStore,
    kind_of: KindOf,
    places: Sequence[Located],
    reuse: Callable[[int], None],
) -> dict[bytes, Recipe]:
    """Send where the content of files lies, unless the target says the same already.

    What it says may lead to another source, or to where it lay before: then both are kept.

    Args:
        writer: The writer to the target.
        there: The objects of the target.
        kind_of: See `KindOf`.
        places: The files.
        reuse: A function called with the bytes of content that need no sending.

    Returns:
        The recipes of those that are large.
    """
    known = _known(there, kind_of, places)
    recipes: dict[bytes, Recipe] = {}
    for located in places:
        for place in located.places:
            if (located.id, place) in known:
                reuse(located.size)
            else:
                _send(writer, kind_of, located, place, reuse)
        if located.recipe is not None:
            writer.add(Kind.RECIPE, located.id, encode_recipe(located.recipe))
            recipes[located.id] = located.recipe
    return recipes


def _known(
    there: ObjectStore, kind_of: KindOf, places: Sequence[Located]
) -> set[tuple[bytes, Reference]]:
    """Return the files of which the target says that they lie where they do, with the place.

    A source may have been written again since, so what is said of one chunk does not tell of the
    others.
    """
    unknown: set[tuple[bytes, Reference]] = set()
    asked = _asked(kind_of, places, unknown)
    while some := list(islice(asked, MOST_PLACES)):
        said = _said(there, dict.fromkeys(chunk for _, chunk, _ in some))
        unknown.update(file for file, chunk, where in some if (chunk, _unmarked(where)) not in said)
    return {(each.id, place) for each in places for place in each.places} - unknown


def _asked(
    kind_of: KindOf, places: Sequence[Located], unknown: set[tuple[bytes, Reference]]
) -> Iterator[tuple[tuple[bytes, Reference], bytes, Reference]]:
    """Yield files with their chunks that the target has by reference, and where these lie.

    Those of which it lacks anything are `unknown`.
    """
    for located in places:
        for whole in located.places:
            file = located.id, whole
            if located.recipe is not None and kind_of(located.id) is None:
                unknown.add(file)
            seen: set[bytes] = set()
            for chunk, _, where in located.pieces(whole):
                if file in unknown:
                    break
                if chunk in seen:
                    continue
                seen.add(chunk)
                kind = kind_of(chunk)
                if kind is None:
                    unknown.add(file)
                elif kind == Kind.REFERENCE:
                    yield file, chunk, where


def _said(there: ObjectStore, chunks: Iterable[bytes]) -> set[tuple[bytes, Reference]]:
    """Return where chunks lie, as the target says."""
    waiting = dict.fromkeys(at for chunk in chunks for at in there.find(chunk))
    records = ((at.record, raw) for at, raw in there.read_raw(waiting, {}))
    found = ((record.id, read_record(raw, record)) for record, raw in records)
    return {(chunk, _unmarked(each)) for chunk, each in found if isinstance(each, Reference)}


def _unmarked(where: Reference) -> Reference:
    return replace(where, mark="")


def _send(
    writer: PackWriter,
    kind_of: KindOf,
    located: Located,
    place: Reference,
    reuse: Callable[[int], None],
) -> None:
    sent: set[bytes] = set()
    for chunk, size, where in located.pieces(place):
        if chunk in sent or chunk in writer or kind_of(chunk) not in (None, Kind.REFERENCE):
            reuse(size)
        elif chunk in located.small:
            writer.add(Kind.DATA, chunk, located.small[chunk])
        else:
            writer.add_reference(chunk, where, size)
            sent.add(chunk)
