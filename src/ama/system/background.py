"""Work beside the caller: one item at a time on a thread, and only the newest waits."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

from ama.system.parallel import start

Item = TypeVar("Item")


class Newest(Generic[Item]):
    """Works on one item at a time; one that comes meanwhile replaces the one that waits.

    The thread ends when nothing waits, so nobody has to stop it. Python waits for it at its end. A
    forked process has no part in what its parent works on.

    Args:
        work: A function of an item. What it raises is lost.
        name: The name of the thread.

    Example:
        >>> done = []
        >>> queue = Newest(done.append, "example")
        >>> queue.submit(1) is None
        True
        >>> queue.wait()
        >>> done
        [1]
    """

    def __init__(self, work: Callable[[Item], None], name: str) -> None:
        self._work = work
        self._name = name
        self._registered = False
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._changed = threading.Condition()
        self._waiting: Item | None = None
        self._thread: threading.Thread | None = None

    def _require_own(self) -> None:
        # The thread, and whoever held the lock, stayed in the process that was forked.
        if self._process != os.getpid():
            self._begin()

    def submit(self, item: Item) -> Item | None:
        """Give an item; return the one that it replaces.

        Raises:
            StorageError: The system starts no more threads.
        """
        self._require_own()
        with self._changed:
            if self._thread is None:
                self._at_exit()
                self._thread = threading.Thread(target=self._run, name=self._name)
                try:
                    start(self._thread)
                except BaseException:
                    self._thread = None
                    raise
            replaced, self._waiting = self._waiting, item
        return replaced

    def wait(self) -> None:
        """Wait until there is nothing to work on."""
        self._require_own()
        with self._changed:
            self._changed.wait_for(lambda: self._thread is None)

    def _at_exit(self) -> None:
        """Let Python wait, at its end, for what nobody has waited for."""
        # It waits for the thread anyway, but only once it lets nobody start another one: so too
        # late for work that does. The public `atexit` is later still.
        register = None if self._registered else getattr(threading, "_register_atexit", None)
        self._registered = True
        me = weakref.ref(self)

        def wait() -> None:
            if (found := me()) is not None:
                found.wait()

        with suppress(RuntimeError):  # the main thread has ended already
            import concurrent.futures.thread  # noqa: F401 - the last one registered is first called

            if register is not None:
                register(wait)

    def _run(self) -> None:
        try:
            while (item := self._next()) is not None:
                self._work(item)
                del item  # what it holds is let go of before the next one comes
        finally:
            with self._changed:
                if self._thread is threading.current_thread():
                    self._thread = None
                    self._changed.notify_all()

    def _next(self) -> Item | None:
        with self._changed:
            item, self._waiting = self._waiting, None
            if item is None:
                self._thread = None
                self._changed.notify_all()
            return item
