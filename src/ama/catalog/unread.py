"""Gaps: what of a file could not be read, and why; and the nodes of files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

Plain = str | int | float | bool | None
"""A scalar."""

Node = Any
"""A file's content: a dict by printed names, a list, a `Plain`, `Missing`, `Repeated`, `Keyed`."""

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
    "broken": "not valid from some place on",
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
"""The meanings of the codes. If the rest is missing, the file was read up to there."""

MAX_DEPTH = 32
"""The most levels of a file."""

MAX_NODES = 100_000
"""The most nodes of a file; a node with several references counts at each."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A part of a document that could not be read.

    `key` is its key; None: the whole document, or the rest of it.
    """

    key: str | None
    reason: Reason

    @property
    def may_hide(self) -> bool:
        """Whether it may hide values under unknown keys.

        Example:
            >>> Gap(None, "broken").may_hide, Gap("weights", "binary").may_hide
            (True, False)
        """
        return self.key is None or self.reason not in ("binary", "encoding", "surrogate")


@dataclass(frozen=True, slots=True)
class Unread:
    """Something that could not be read, so that its facts are missing.

    Attributes:
        asset: The asset: `class/number`; the beginning of its id if this store doesn't have it;
            empty if it isn't published.
        file: The file's path; empty: the asset itself, or a part of it.
        key: The key in the file; None: the whole file, or the rest of it.
        reason: A code of `REASONS`.
        source: The ref to it, as in `Fact`; empty: none.
        detail: The error, if reading failed.
    """

    asset: str
    file: str = ""
    key: str | None = None
    reason: Reason = "damaged"
    source: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Missing:
    """A placeholder for a value that could not be read."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Repeated:
    """A placeholder for the last of several values under one name."""

    node: Node


Name = tuple[str, ...]
"""The parts of a key."""


@dataclass(frozen=True, slots=True)
class Keyed:
    """A table by whole keys: one may be the beginning of another."""

    nodes: Mapping[Name, Node]


Key = TypeVar("Key", str, Name)


def put(table: dict[Key, Node], name: Key, node: Node) -> None:
    """Put a node under a name in a table; note if one was there already.

    Example:
        >>> table = {"a": 1}
        >>> put(table, "a", 2)
        >>> table
        {'a': Repeated(node=2)}
    """
    if name in table:
        # It comes last, as it does in the file.
        del table[name]
        node = Repeated(node)
    table[name] = node
