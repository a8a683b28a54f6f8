"""Whether a store answers: that may take minutes of asking again, for which no page can wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock, Thread
from typing import Generic, TypeVar

from ama.errors import StorageError
from ama.system.parallel import start

Answer = TypeVar("Answer")

PATIENCE = 3.0
"""Seconds that a page waits for a store."""


class Reaching(Generic[Answer]):
    """Asks a store something, and waits for the answer only so long.

    One question is under way at a time, for all who wait. It goes on behind them, so that who asks
    next learns what came of it.

    Args:
        ask: asks the store.
        url: where it is.

    Example:
        >>> Reaching(lambda: 7, "store").answer()
        7
    """

    def __init__(self, ask: Callable[[], Answer], url: str) -> None:
        self._ask = ask
        self._url = url
        self._starting = Lock()
        self._asked: Future[Answer] | None = None
        self._since = 0.0

    def answer(self) -> Answer:
        """Return what the store answers.

        Raises:
            StorageError: it can't be reached, or hasn't answered yet.
            IntegrityError: what it says is damaged.
        """
        with self._starting:
            if self._asked is None or self._asked.done():
                self._asked, self._since = Future(), time.monotonic()
                # One that never ends is no reason for the process not to.
                try:
                    start(Thread(target=self._settle, args=(self._asked,), daemon=True))
                except StorageError:
                    self._asked = None  # else it would be waited for
                    raise
            asked, since = self._asked, self._since
        try:
            return asked.result(max(0, since + PATIENCE - time.monotonic()))
        except TimeoutError:
            raise StorageError(
                f"{self._url} has not answered for {time.monotonic() - since:.0f} seconds",
                retryable=True,
            ) from None

    def _settle(self, asked: Future[Answer]) -> None:
        try:
            asked.set_result(self._ask())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            asked.set_exception(error)
