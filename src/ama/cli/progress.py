"""A progress bar on a terminal: bytes, rate and time left, drawn with rich.

Rich takes longer to import than most commands take, so the bar appears, and rich is imported, only
when a task has been running for a while.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

from ama.cli.output import colour_wanted, console, size

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from ama.system.progress import Progress

PATIENCE_S = 0.5
_REFRESH_S = 0.1


def terminal_progress() -> Progress:
    """The progress that fits this process: a bar on a terminal, none in a pipe or if `--quiet`."""
    from ama.system.progress import NO_PROGRESS

    if console.quiet or not sys.stderr.isatty():
        return NO_PROGRESS
    return TerminalProgress()


class TerminalProgress:
    """Draws one bar on stderr for the task that is running, and leaves nothing behind."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bars: Bars | None = None
        self._bar: TaskID | None = None
        self._task = ""
        self._total: int | None = None
        self._done = 0
        self._saved = 0
        self._started = 0.0
        self._drawn = 0.0

    def start(self, task: str, total_bytes: int | None) -> None:
        """Begin a task; `total_bytes` is None where it isn't known."""
        self.finish()
        with self._lock:
            self._task, self._total, self._done, self._saved = task, total_bytes, 0, 0
            self._started = self._drawn = time.monotonic()

    def advance(self, count: int) -> None:
        """Note that `count` more bytes are done. Cheap, and any thread may call it."""
        with self._lock:
            self._done += count
            now = time.monotonic()
            if now - self._started < PATIENCE_S or now - self._drawn < _REFRESH_S:
                return
            self._drawn = now
            self._draw()

    def skip(self, count: int) -> None:
        """Note that `count` bytes needn't be handled: rate and time left are of the others."""
        with self._lock:
            self._saved += count
            if self._total is not None:
                self._total -= count

    def finish(self) -> None:
        """End the task and remove its bar."""
        with self._lock:
            if self._bars is not None:
                self._bars.stop()
            self._bars = self._bar = None

    def _draw(self) -> None:
        if self._bars is None or self._bar is None:
            self._bars = _new_bars()
            self._bar = self._bars.add_task(self._task, total=self._total)
            self._bars.start()
        there = f" ({size(self._saved)} are there already)" if self._saved else ""
        self._bars.update(
            self._bar, completed=self._done, total=self._total, description=self._task + there
        )


def _new_bars() -> Bars:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True, no_color=not colour_wanted(sys.stderr)),
        transient=True,
    )
