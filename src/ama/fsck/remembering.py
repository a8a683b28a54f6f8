"""When this machine last verified a store, and what it found: remembered beside its cache."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from ama.stores.description import moment
from ama.stores.remote import Remote

_FILE = "fsck"


@dataclass(frozen=True, slots=True)
class LastFsck:
    """A check of a whole store, from this machine: when, and how many problems it found."""

    at: datetime
    problems: int


def remember(remote: Remote, at: int, problems: int) -> None:
    """Note that a store was verified.

    Args:
        remote: the store.
        at: when, in UTC microseconds.
        problems: how many were found.
    """
    remote.cache.put(_FILE, json.dumps({"at": at, "problems": problems}).encode())


def last_fsck(remote: Remote) -> LastFsck | None:
    """Return the last check of a store from this machine; None where none is remembered."""
    try:
        found = json.loads(remote.cache.get(_FILE) or b"null")
        at, problems = int(found["at"]), int(found["problems"])
    except (ValueError, TypeError, KeyError, OverflowError):
        return None
    when = moment(at)
    return LastFsck(when, problems) if when <= datetime.now(UTC) else None
