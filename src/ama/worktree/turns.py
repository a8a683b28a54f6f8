"""Turns of commands that bring files to one worktree: one works, the others wait.

They save duplicate work, and nothing relies on them: where a file system has no locks, everyone has
a turn, and only one of those can claim the worktree (see `checkout`).

A command with the turn holds the file `turn` in `.ama`, which the system releases when its process
dies, and touches it every few seconds. Waiting commands look at both: a turn that is held but no
longer touched belongs to a stopped process or a lost machine, and isn't waited for.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ama.errors import Conflict, StorageError, shown
from ama.system import fs
from ama.system.parallel import start
from ama.system.progress import Progress
from ama.worktree.layout import Begun, Worktree

TURN = "turn"
BEAT_S = 5.0
"""The seconds between touches of a turn."""

SILENCE_S = 90.0
"""The seconds after which an untouched turn isn't waited for."""

LOOK_S = 0.2
"""The seconds between a waiting command's looks."""


class Busy(Conflict):
    """Another command brings files to the same worktree."""


def busy() -> Busy:
    """Return the error of a command that found another one at work."""
    return Busy(
        "another command brings files here, or has moved HEAD, at the same time",
        hint="run the same command again when it is done",
    )


@contextmanager
def turn(tree: Worktree, is_alike: Callable[[Begun], bool], progress: Progress) -> Iterator[None]:
    """Have the worktree alone, among the commands that ask for a turn, once the others are done.

    Args:
        tree: The worktree.
        is_alike: Whether the other command's work is the same as the caller's. Otherwise the
            caller doesn't wait for it.
        progress: The progress of the waiting.

    Raises:
        Busy: Another command does something else here, or has the turn and shows no sign of life.
    """
    path = os.path.join(tree.control, TURN)
    held = fs.hold(path)
    if held is None:
        progress.start("Waiting for another process that brings the same files here", None)
        try:
            held = _wait(tree, path, is_alike)
        finally:
            progress.finish()
    over = threading.Event()
    beating = threading.Thread(target=_beat, args=(path, over), daemon=True)
    try:
        start(beating)
    except BaseException:
        fs.let_go(held)
        raise
    try:
        yield
    finally:
        over.set()
        beating.join()
        fs.let_go(held)


def _wait(tree: Worktree, path: str, is_alike: Callable[[Begun], bool]) -> int:
    touched, since = _touched(path), time.monotonic()
    while True:
        held = fs.hold(path)
        if held is not None:
            return held
        begun = tree.begun()
        if begun is not None and not is_alike(begun):
            raise busy()
        now = time.monotonic()
        latest = _touched(path)
        if latest != touched:
            touched, since = latest, now
        elif now - since > SILENCE_S:
            raise Busy(
                f"another process has begun to bring files to {shown(tree.root)}, and shows no sign"
                " of life any more",
                hint="end it where it is stopped or hangs, then run the same command again",
            )
        time.sleep(LOOK_S)


def settle(tree: Worktree, is_alike: Callable[[Begun], bool]) -> None:
    """Wait until another command's work is done, or isn't known to go on any more.

    This is for file systems without locks, where it turns out late that another is at work.

    Raises:
        Busy: It does something else than the caller.
    """
    seen, since = None, time.monotonic()
    while (begun := tree.begun()) is not None:
        if not is_alike(begun):
            raise busy()
        now = time.monotonic()
        latest = (begun, tree.head.generation(), _touched(os.path.join(tree.control, TURN)))
        if latest != seen:
            seen, since = latest, now
        elif now - since > SILENCE_S:
            return
        time.sleep(LOOK_S)


def _touched(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _beat(path: str, over: threading.Event) -> None:
    while True:
        with suppress(StorageError):
            fs.touch(path)
        if over.wait(BEAT_S):
            return
