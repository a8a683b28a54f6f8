"""Errors of a log, and the way back from each."""

from __future__ import annotations

from collections.abc import Iterable

from ama.errors import UPGRADE, FormatError, Hint, Hints, IntegrityError
from ama.format.compression import BYTE_PLANES
from ama.format.notes import NOTES
from ama.format.references import REFERENCES

Features = tuple[tuple[str, ...], tuple[str, ...]]
"""Features that readers must know, and features that writers must know."""

FEATURES: tuple[Features, ...] = (
    ((), ()),
    ((BYTE_PLANES,), ()),
    ((BYTE_PLANES,), (NOTES,)),
    ((BYTE_PLANES, REFERENCES), (NOTES,)),
)
"""The features of new stores, of the first version of ama to this one."""

KNOWN_FEATURES = frozenset({BYTE_PLANES, NOTES, REFERENCES})


def check_features(features: Iterable[str], url: str, verb: str) -> None:
    """Refuse a store whose readers ("read") or writers ("write to") need unknown features."""
    unknown = sorted(set(features) - KNOWN_FEATURES)
    if unknown:
        raise FormatError(
            f"{url} has features that this version of ama does not know: {', '.join(unknown)};"
            f" it can't {verb} this store",
            hint=UPGRADE,
        )


def way_back(url: str, *, known: bool) -> Hint | Hints:
    """Return hints for a file of a store's log that is lost or damaged.

    Args:
        url: The store's URL.
        known: Whether this machine remembers it.

    Example:
        >>> way_back("/srv/models", known=True).code
        'repair-log'
    """
    if known:
        return Hint("repair-log", store=url)
    return Hint("repair-log-elsewhere", store=url), "restore it from a backup"


def another_history(number: int, url: str) -> IntegrityError:
    """Return the error for a log that is not the one this machine saw; its hint accepts the log."""
    # The store may be sound: then this machine remembers another one.
    return rewritten(number, url, Hint("accept-store", store=url))


def lost(number: int, url: str, hint: Hint | Hints) -> IntegrityError:
    """Return the error for an entry that was there and is gone."""
    return IntegrityError(
        f"log entry {number} of {url} is missing, though it was there before", hint=hint
    )


def rewritten(number: int, url: str, hint: Hint | Hints) -> IntegrityError:
    """Return the error for an entry that is another one than it was."""
    return IntegrityError(
        f"log entry {number} of {url} is not the one that was there before: its history"
        " was changed",
        hint=hint,
    )


def hole(number: int, later: int, url: str, hint: Hint | Hints) -> IntegrityError:
    """Return the error for an entry that is missing before one that is there."""
    return IntegrityError(
        f"the log of {url} has a hole: entry {number} is missing, but entry {later} is there",
        hint=hint,
    )
