"""Where a page leads that isn't there: to what may have been meant, and to what holds that."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from ama.errors import AmaError
from ama.format.names import nearest
from ama.format.state import ClassState
from ama.store import Store


@dataclass(frozen=True, slots=True)
class Way:
    """A link: what it says, and the parts of the path that it leads to."""

    text: str
    parts: tuple[str | int, ...]


def ways_from(
    store: Store, name: str, *, number: int | None = None, path: str = "", alias: str = ""
) -> tuple[Way, ...]:
    """Return where to go from a page that can't be shown, the nearest to it first.

    Args:
        store: the store.
        name: the class that was asked for.
        number: the asset of it.
        path: the file of that.
        alias: the alias of the class.

    Example:
        >>> import ama
        >>> [way.text for way in ways_from(ama.Store.open("store"), "model", number=99)]
        ['models']
    """
    view = store.remote.view()
    if name not in view.class_names:
        near = nearest(name, view.class_names)
        found = [Way(each, ("classes", each)) for each in near]
    else:
        state = view.class_state(name)
        found = [
            *(_alias_ways(state, alias) if alias else ()),
            *(_asset_ways(store, state, number, path) if number else ()),
            *_class_ways(state),
        ]
    return tuple(found)


def _alias_ways(state: ClassState, alias: str) -> list[Way]:
    known = [each for each in state.aliases if state.target(each) is not None]
    return [
        Way(f"{state.name}@{each}", ("classes", state.name, "aliases", each))
        for each in nearest(alias, known)
    ]


def _asset_ways(store: Store, state: ClassState, number: int, path: str) -> list[Way]:
    record = state.record(number)
    if record is None:
        return []
    here = "assets", state.name, number
    files = []
    if path and record.status != "deleted":
        with suppress(AmaError):  # one that can't be listed has no way to offer
            files = [file.path for file in store.resolve(f"{state.name}/{number}").files()]
    return [
        *(Way(each, (*here, "files", each)) for each in nearest(path, files)),
        Way(f"{state.name}/{number}", here),
    ]


def _class_ways(state: ClassState) -> list[Way]:
    newest = state.newest_active()
    number = state.number(newest.id) if newest else None
    ways = [Way(f"all assets of {state.name}", ("classes", state.name))]
    if number is not None:
        ways.insert(0, Way(f"the newest: {state.name}/{number}", ("assets", state.name, number)))
    return ways
