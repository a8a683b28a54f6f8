"""What an operation needs at hand: the worktree, what is configured, and the stores in reach."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from ama.errors import InvalidInput, shown
from ama.operations.connections import Connections
from ama.operations.content import Content
from ama.operations.resolution import Names
from ama.settings import Settings
from ama.system.encoding import path_text, system_path
from ama.system.progress import Progress
from ama.worktree.layout import Worktree

T = TypeVar("T", bound=str | os.PathLike[str])


class Session:
    """One worktree and the stores that it knows.

    Args:
        tree: The worktree.
        settings: What is configured.
        progress: Is told of long work.

    Attributes:
        stores: Which stores are in reach, and what their logs say.
        content: What assets hold, and which of it is kept where.
        names: Which asset a name means.
    """

    def __init__(self, tree: Worktree, settings: Settings, progress: Progress) -> None:
        self.tree = tree
        self.settings = settings
        self.progress = progress
        self.stores = Connections(tree, settings)
        self.content = Content(tree, self.stores)
        self.names = Names(tree, self.stores, self.content)


def now() -> int:
    """Return the time in UTC microseconds."""
    return time.time_ns() // 1000


def several(given: T | Iterable[T]) -> tuple[T, ...]:
    """Return what was given where one or several may be: a text is one, and not its letters.

    Example:
        >>> several("model.h5"), several(["model.h5", "model.yml"])
        (('model.h5',), ('model.h5', 'model.yml'))
    """
    if isinstance(given, (str, os.PathLike)):
        return (given,)
    said: object = given
    found = () if isinstance(said, bytes) or not isinstance(said, Iterable) else tuple(given)
    wrong = [each for each in found if not isinstance(each, (str, os.PathLike))]
    if wrong or (not found and not isinstance(said, Iterable)) or isinstance(said, bytes):
        bad = wrong[0] if wrong else said
        raise InvalidInput(f"{shown(repr(bad))} is neither a text nor a path")
    return found


def at_least_one(limit: int | None) -> int | None:
    """Refuse a limit that leaves nothing.

    Raises:
        InvalidInput: It is below 1.
    """
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int)):
        raise InvalidInput(f"the limit is a number, not of type {type(limit).__name__}")
    if limit is not None and limit < 1:
        raise InvalidInput(f"a limit of {limit} leaves nothing", hint="give 1 or more, or None")
    return limit


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return a path that stays valid whatever the working directory becomes."""
    path_text("the directory", path)
    return Path(system_path(path)).absolute()
