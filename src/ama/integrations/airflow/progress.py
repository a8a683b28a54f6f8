"""Progress of long work as lines of a task's log, few of them."""

from __future__ import annotations

import time
from collections.abc import Callable

from ama.errors import sized

EVERY_S = 10.0
"""The seconds between two lines about the same work."""


class LogProgress:
    """Writes a line when long work goes on, and one when work on bytes is done.

    Args:
        write: A function that writes a line.
        clock: A function that returns seconds.

    Example:
        >>> lines = []
        >>> progress = LogProgress(lines.append, clock=iter([0.0, 3.0, 12.0, 14.0]).__next__)
        >>> progress.start("Sending", 2_000_000)
        >>> progress.advance(500_000)
        >>> progress.advance(1_000_000)
        >>> progress.finish()
        >>> lines
        ['Sending: 1.5 MB of 2.0 MB', 'Sending: 1.5 MB in 14 s']
    """

    def __init__(
        self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write = write
        self._clock = clock
        self._task = ""
        self._total: int | None = None
        self._done = self._there = 0
        self._started = self._said = 0.0

    def start(self, task: str, total_bytes: int | None) -> None:
        """Begin a piece of work."""
        self._task, self._total, self._done, self._there = task, total_bytes, 0, 0
        self._started = self._said = self._clock()

    def advance(self, count: int) -> None:
        """Count bytes as done, and write a line if the last one is long ago."""
        self._done += count
        now = self._clock()
        if now - self._said >= EVERY_S:
            self._said = now
            of = "" if self._total is None else f" of {sized(self._total)}"
            self._write(f"{self._task}: {sized(self._done)}{of}{self._aside()}")

    def skip(self, count: int) -> None:
        """Take bytes off the total, which are in place already."""
        self._there += count
        if self._total is not None:
            self._total -= count

    def finish(self) -> None:
        """End the work; if it was on bytes, say how many."""
        if self._task and (self._done or self._there):
            seconds = self._clock() - self._started
            done = f"{sized(self._done)} in {seconds:.0f} s" if self._done else "nothing"
            self._write(f"{self._task}: {done}{self._aside()}")
        self._task = ""

    def _aside(self) -> str:
        return f" ({sized(self._there)} are there already)" if self._there else ""
