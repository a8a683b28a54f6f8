"""What a check found, before it is known which assets that touches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ama.errors import AmaError, StorageError
from ama.format.hashing import short

NAMED = 5


@dataclass(frozen=True, slots=True)
class Fault:
    """Something damaged, and what tells the assets that it touches.

    That is: the objects and indexes that they need, the entries (from one to another) that publish
    them, or they themselves.
    """

    where: str
    what: str
    objects: frozenset[bytes] = frozenset()
    indexes: frozenset[bytes] = frozenset()
    entries: tuple[int, int] | None = None
    assets: frozenset[bytes] = frozenset()


def reason(error: AmaError) -> str:
    """Return why, without the "X is damaged:" before it: that stands beside it in the report.

    Example:
        >>> reason(AmaError("index 12 is damaged: it is too short"))
        'it is too short'
    """
    return error.message.partition(" is damaged: ")[2] or error.message


def give_up(error: AmaError) -> None:
    """Raise an error that says nothing about the file that was read: the storage is away."""
    if isinstance(error, StorageError) and error.retryable:
        raise error


def several(ids: Iterable[bytes]) -> str:
    """Name a few of many objects.

    Example:
        >>> several([bytes(32)])
        '0000000000'
    """
    ordered: Sequence[bytes] = sorted(ids)
    named = ", ".join(short(object_id) for object_id in ordered[:NAMED])
    more = len(ordered) - NAMED
    return f"{named} and {more} more" if more > 0 else named


def plural(number: int, noun: str) -> str:
    """Return a number with its noun.

    Example:
        >>> plural(1, "object"), plural(2, "object")
        ('1 object', '2 objects')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
