"""The context of an operation: the worktree, the settings, and the stores it can reach."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

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
        settings: The settings.
        progress: Receives the progress of long work.

    Attributes:
        stores: The stores that the worktree can reach, and their logs.
        content: The content of assets, and where copies of it are kept.
        names: The names of assets.
    """

    def __init__(self, tree: Worktree, settings: Settings, progress: Progress) -> None:
        self.tree = tree
        self.settings = settings
        self.progress = progress
        self.stores = Connections(tree, settings)
        self.content = Content(tree, self.stores)
        self.names = Names(tree, self.stores, self.content)


def settle(session: Session, *, publishes: bool = False, starting: str | None = None) -> None:
    """Settle what a crash left behind; refuse a worktree between two assets.

    Args:
        session: The worktree's session.
        publishes: Whether to finish an interrupted upload if possible.
        starting: The class of the asset that the caller starts, if it starts one.
    """
    from ama.transfer.pending import resume

    session.tree.require_writable()
    resume(session.tree, session.stores.open, publishes=publishes)
    session.tree.require_settled(starting)


def now() -> int:
    """Return the time in UTC microseconds."""
    return time.time_ns() // 1000


def several(given: T | Iterable[T]) -> tuple[T, ...]:
    """Return one or several values as a tuple; a text is one value, not several letters.

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
    """Check that a limit is at least 1, and return it.

    Raises:
        InvalidInput: The limit is below 1.
    """
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int)):
        raise InvalidInput(f"the limit is a number, not of type {type(limit).__name__}")
    if limit is not None and limit < 1:
        raise InvalidInput(f"a limit of {limit} leaves nothing", hint="give 1 or more, or None")
    return limit


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return a path that stays valid when the working directory changes."""
    path_text("the directory", path)
    return Path(system_path(path)).absolute()


def plain(value: Any) -> Any:
    """Convert a single number of numpy, or of a similar library, to its Python value."""
    # Metrics often are such numbers: numpy.float64 is a float, but is written differently.
    is_single = getattr(value, "shape", None) == () and callable(getattr(value, "item", None))
    return value.item() if is_single else value
