"""What is set for the next asset, in the words of messages and hints."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from ama.format.hashing import short
from ama.worktree.staging import Notes


def named(notes: Notes) -> tuple[str, ...]:
    """Name all that is set.

    Example:
        >>> named(Notes(aliases=("best",), message="wider", metadata={"lr": 0.1}))
        ('alias best', 'the message', 'metadata lr')
    """
    parts = [f"alias {alias}" for alias in notes.aliases]
    parts += ["the message"] if notes.message is not None else []
    parts += [f"metadata {key}" for key in notes.metadata]
    parts += [f"the link to {short(ref.asset)}" for ref in notes.refs]
    return tuple(parts)


def taking_back(notes: Notes) -> Iterator[str]:
    """Yield the commands that take back all that is set.

    Example:
        >>> list(taking_back(Notes(aliases=("best",), message="wider")))
        ['ama set --unset alias:best --unset message']
    """
    keys = [f"alias:{alias}" for alias in notes.aliases]
    keys += ["message"] if notes.message is not None else []
    keys += notes.metadata
    if keys:
        yield shlex.join(["ama", "set", *(word for key in keys for word in ("--unset", key))])
    for ref in notes.refs:
        yield f"ama ref remove {short(ref.asset)}"
