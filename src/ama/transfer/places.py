"""Sending where content lies, in place of the content."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from ama.errors import Hint, InvalidInput, shown
from ama.format.objects import Kind, Recipe, encode_recipe
from ama.format.pack import read_record
from ama.format.packindex import Location
from ama.format.references import REFERENCES, Reference
from ama.stores.object_reader import ObjectStore
from ama.stores.pack_writer import PackWriter
from ama.worktree.located import Located

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
            if (located.id, place.url) in known:
                reuse(located.size)
            else:
                _send(writer, kind_of, located, place, reuse)
        if located.recipe is not None:
            writer.add(Kind.RECIPE, located.id, encode_recipe(located.recipe))
            recipes[located.id] = located.recipe
    return recipes


def _known(
    there: ObjectStore, kind_of: KindOf, places: Sequence[Located]
) -> set[tuple[bytes, str]]:
    """Return the files of which the target says that they lie where they do, with the URL.

    All chunks of a file are sent together, so what is said of one of them tells.
    """
    waiting: dict[Location, None] = {}
    wanted: dict[bytes, list[tuple[bytes, Reference]]] = {}
    for located in places:
        if located.recipe is not None and kind_of(located.id) is None:
            continue
        for whole in located.places:
            for chunk, _, where in located.pieces(whole):
                if kind_of(chunk) == Kind.REFERENCE:
                    wanted.setdefault(chunk, []).append((located.id, where))
                    waiting.update(dict.fromkeys(there.find(chunk)))
                    break
    known: set[tuple[bytes, str]] = set()
    for at, raw in there.read_raw(waiting, {}):
        found = read_record(raw, at.record)
        for content, where in wanted[at.record.id]:
            if isinstance(found, Reference) and replace(found, mark=where.mark) == where:
                known.add((content, where.url))
    return known


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
