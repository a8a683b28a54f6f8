"""What of a file could not be read, and why; and the nodes that a file is read into first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Plain = str | int | float | bool | None
"""A scalar."""

Node = Any
"""What a file holds: a dict by printed names, a list, a `Plain`, `Missing` or `Repeated`."""

Reason = Literal[
    "binary",
    "broken",
    "cyclic",
    "damaged",
    "elsewhere",
    "encoding",
    "object",
    "repeated",
    "surrogate",
    "too_deep",
    "too_large",
    "too_many",
]

REASONS: Mapping[Reason, str] = {
    "binary": "bytes, which are no value",
    "broken": "broken here",
    "cyclic": "a value inside itself",
    "damaged": "damaged, or away",
    "elsewhere": "its content is not in this store",
    "encoding": "not UTF-8",
    "object": "an object that only its own program can read",
    "repeated": "there more than once, of which the last is taken",
    "surrogate": "half a character",
    "too_deep": "too deep",
    "too_large": "too large a file",
    "too_many": "too many values",
}
"""What the codes mean. A file of which the rest is missing was read up to there."""

MAX_DEPTH = 32
"""So many levels of a file are read."""

MAX_NODES = 100_000
"""So many nodes of a file are read, with what is referred to counted wherever it is."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Something in a document that could not be read.

    `key` is what it stands under; None: the whole document, or the rest of it.
    """

    key: str | None
    reason: Reason

    @property
    def may_hide(self) -> bool:
        """Whether there may be values under keys that nobody knows.

        Example:
            >>> Gap(None, "broken").may_hide, Gap("weights", "binary").may_hide
            (True, False)
        """
        return self.key is None or self.reason not in ("binary", "encoding", "surrogate")


@dataclass(frozen=True, slots=True)
class Unread:
    """Something that could not be read, so that what it says is missing.

    Attributes:
        asset: Whose it is: `class/number`; the beginning of its id where it is not in this store;
            empty where it isn't published.
        file: The file's path; empty: the asset itself, or a part of it.
        key: What it stands under in the file; None: all of it, or the rest.
        reason: A code of `REASONS`, which says what each means.
        source: The ref that leads to it, as in `Fact`; empty: none.
        detail: What went wrong, where reading it failed.
    """

    asset: str
    file: str = ""
    key: str | None = None
    reason: Reason = "damaged"
    source: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Missing:
    """Stands where a value could not be read."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Repeated:
    """Stands for the last of several values under one name."""

    node: Node


def put(table: dict[str, Node], name: str, node: Node) -> None:
    """Put a node under a name in a table; one that was there already is noted.

    Example:
        >>> table = {"a": 1}
        >>> put(table, "a", 2)
        >>> table
        {'a': Repeated(node=2)}
    """
    if name in table:
        # It comes last, as it would in the order of the file.
        del table[name]
        node = Repeated(node)
    table[name] = node
