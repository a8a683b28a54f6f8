"""The aliases that a publication moves, and the check that it may.

If an alias was on an ancestor of the asset and has moved on since, the upload is refused before it
sends anything, as git refuses a push that isn't a fast-forward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from ama.errors import Conflict, Hint, InvalidInput, shown
from ama.format.entries import ABSENT, Event, Expected, MoveAlias
from ama.lineage import ancestry
from ama.results import AliasChange
from ama.stores.class_view import ClassView
from ama.stores.log_view import LogView
from ama.stores.remote import Remote
from ama.stores.revisions import Describer, ReadAsset, require_live

MOST_ANCESTORS = 100
"""The most ancestors in which to look for an alias: each may take a request."""


@dataclass(frozen=True, slots=True)
class Job:
    """An asset to publish, unless it is published already, and the aliases that it gets."""

    asset: bytes
    aliases: tuple[str, ...] = ()
    deleted: str | None = None
    """The reason, if the source has deleted the asset. It is published as deleted: a history needs
    its number and its record, but no content."""
    free: bool = False
    """Whether the aliases move from wherever they are: nobody else is asked."""
    made: bytes | None = None
    """The new asset, if `asset` is an equal one of the store. Whether the aliases may move depends
    on the new asset's ancestors."""


def alias_events(
    view: LogView, jobs: Sequence[Job], read: ReadAsset
) -> tuple[list[Event], list[AliasChange]]:
    """Return the moves of the jobs' aliases, checked against moves by others.

    Raises:
        Conflict: An alias has moved on from an ancestor of the asset.
        InvalidInput: A class's or alias's name differs from another only in case.
        NotFound: An asset that should get an alias was deleted.
    """
    events: list[Event] = []
    changes: list[AliasChange] = []
    targets: dict[tuple[str, str], bytes | None] = {}
    fresh: dict[str, int] = {}
    numbers: dict[bytes, int] = {}
    for job in jobs:
        name = read(job.asset).class_name
        check_class_name(view, name)
        state = view.class_state(name)
        number = state.number(job.asset)
        if number is None:
            fresh[name] = fresh.get(name, 0) + 1
            number = state.count + fresh[name]
        elif job.aliases:
            require_live(view, name, job.asset, "the store")
        numbers[job.asset] = number
        for alias in job.aliases:
            check_alias_name(state, alias, [known for n, known in targets if n == name])
            key = (name, alias)
            old = targets.get(key, state.target(alias))
            if old == job.asset:
                continue
            if key not in targets and not job.free:
                _check_not_moved(view, state, alias, job.made or job.asset, read)
            targets[key] = job.asset
            expected: Expected = ABSENT if old is None else old
            events.append(MoveAlias(name, alias, job.asset, expected))
            old_number = None if old is None else numbers.get(old, state.number(old) or 0)
            old_id = None if old is None else old.hex()
            changes.append(AliasChange(name, alias, old_id, job.asset.hex(), old_number, number))
    return events, changes


def _check_not_moved(
    view: LogView, state: ClassView, alias: str, asset: bytes, read: ReadAsset
) -> None:
    """Refuse if the alias was on an ancestor of this asset, and has moved on since.

    Only the nearest ancestor that it ever was on counts: publications in between without the alias
    change nothing.
    """
    last = state.last_move(alias)
    if last is None:
        return
    # Ancestors have lower numbers: stop at the lowest that the alias was on.
    lowest = state.lowest(alias)
    base = _published_base(view, asset, read)
    near = islice(ancestry(base, lambda each: read(each).parents), MOST_ANCESTORS + 1)
    older = (i for i in near if state.was_on(alias, i) or (state.number(i) or 0) <= lowest)
    base = next(older, None)
    if base is None or not state.was_on(alias, base) or last.asset == base:
        return
    gone = (
        "was removed" if last.asset is None else f"is now {state.name}/{state.number(last.asset)}"
    )
    raise Conflict(
        f"{state.name}@{alias} {gone}, by {shown(last.author)}, {_when(last.at)}; what you"
        f" upload was made from {state.name}/{state.number(base)}",
        hint=(
            Hint("build-on-theirs", alias=f"{state.name}@{alias}"),
            Hint("publish-without-alias", label=f"alias:{alias}", alias=f"{state.name}@{alias}"),
        ),
    )


def _published_base(view: LogView, asset: bytes, read: ReadAsset) -> bytes | None:
    """Return the nearest ancestor (or the asset itself) that is published."""
    for each in ancestry(asset, lambda each: read(each).parents):
        if view.class_state(read(each).class_name).number(each) is not None:
            return each
    return None


def check_class_name(view: LogView, name: str) -> None:
    """Refuse a new class whose name differs from another's only in case.

    Raises:
        InvalidInput: There is such a class.
    """
    for other in view.class_names:
        if other != name and other.casefold() == name.casefold():
            raise InvalidInput(
                f"there is a class {other} already, which differs from {name} only in case",
                hint=Hint("use-class", class_name=other),
            )


def check_alias_name(state: ClassView, alias: str, coming: Iterable[str] = ()) -> None:
    """Refuse a new alias whose name differs from another's of the class only in case.

    Args:
        state: The class.
        alias: The alias.
        coming: The aliases that the class gets at the same time.

    Raises:
        InvalidInput: There is such an alias.
    """
    for other in (*sorted(state.alike(alias)), *coming):
        if other != alias and other.casefold() == alias.casefold():
            raise InvalidInput(
                f"{state.name} has an alias {other} already, which differs from {alias} only in"
                " case",
                hint=Hint("use-alias", alias=other),
            )


def _when(at: int) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(at / 1e6, UTC):%Y-%m-%d %H:%M:%S} UTC"


def set_alias(
    remote: Remote,
    view: LogView,
    class_name: str,
    alias: str,
    asset: bytes | None,
    *,
    author: str,
    now: Callable[[], int],
) -> AliasChange:
    """Move an alias to a published asset of its class, or remove it, by an entry of its own.

    Args:
        remote: The store.
        view: Its log, as the caller has read it.
        class_name: The class.
        alias: The alias.
        asset: The asset that it moves to; None: remove it.
        author: The author of the entry.
        now: The time in UTC microseconds.

    Raises:
        Conflict: Somebody else moved it at the same time, or deleted the asset.
    """
    old = view.class_state(class_name).target(alias)

    def events(latest: LogView) -> list[Event]:
        state = latest.class_state(class_name)
        if state.target(alias) != old:
            last = state.last_move(alias)
            raise Conflict(
                f"{class_name}@{alias} was moved by {last.author if last else 'somebody'} at the"
                " same time",
                hint=Hint("alias-history", alias=f"{class_name}@{alias}"),
            )
        if old == asset:
            return []
        if asset is not None:
            require_live(latest, class_name, asset, remote.url)
            check_alias_name(state, alias)
        return [MoveAlias(class_name, alias, asset, ABSENT if old is None else old)]

    remote.log.append(events, author=author, now=now)
    describer = Describer(view)
    return AliasChange(
        class_name,
        alias,
        old.hex() if old else None,
        asset.hex() if asset else None,
        describer.number(class_name, old) if old else None,
        describer.number(class_name, asset) if asset else None,
    )
