"""What a sensor waits for: an alias that exists, or moves on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from ama.errors import InvalidInput, NotFound, shown
from ama.store import Store
from ama.stores.revisions import parse_revision


@dataclass(frozen=True, slots=True)
class Awaited:
    """An alias, and the state that is waited for.

    Attributes:
        class_name: The class.
        alias: The alias.
        from_asset: The id of the asset that it moves away from; None: any.
        moved_since: The earliest time of its last move, in ISO 8601; None: any.
    """

    class_name: str
    alias: str
    from_asset: str | None = None
    moved_since: str | None = None

    def met(self, opened: Callable[[], Store]) -> str | None:
        """Return the name of the asset that the alias is on; None: wait on.

        Args:
            opened: A function that opens the store. There may be none yet.

        Raises:
            AmaError: The store can't be read.
        """
        try:
            moves = opened().aliases(self.class_name)
        except NotFound:  # there is no store yet, or no class
            return None
        for move in moves:
            if move.alias == self.alias and move.asset not in {None, self.from_asset}:
                if self.moved_since is None or move.moved_at >= moment(self.moved_since):
                    return f"{move.class_name}/{move.number}"
        return None


def fixed_id(store: Store, name: str) -> str:
    """Return the id of an asset that is named so that it stays the same one.

    Raises:
        InvalidInput: The name may mean another asset tomorrow.
        NotFound: There is no such asset.
    """
    meant = parse_revision(name)
    if meant.alias is not None or meant.is_class or meant.head:
        raise InvalidInput(
            f"{shown(name)} may mean another asset at each look",
            hint="name the asset by its number, such as models/7, or by its id",
        )
    return store.resolve(name).info.id


def moment(text: str) -> datetime:
    """Return a time; one without a zone is in UTC.

    Raises:
        InvalidInput: It is no time in ISO 8601.

    Example:
        >>> moment("2026-05-01 12:00").isoformat()
        '2026-05-01T12:00:00+00:00'
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(
            f"{shown(text)} is no time in ISO 8601", hint="such as 2026-05-01T12:00:00Z"
        ) from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found
