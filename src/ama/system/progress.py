"""The progress of long work, for its caller. The library only reports; it shows nothing."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A listener that a caller passes in to follow long work.

    The calls come from one thread at a time, and `finish` follows every `start`, also when the
    work fails.

    Example:
        >>> class Percent:
        ...     def start(self, task: str, total_bytes: int | None) -> None:
        ...         self.total, self.done = total_bytes or 1, 0
        ...
        ...     def advance(self, count: int) -> None:
        ...         self.done += count
        ...
        ...     def skip(self, count: int) -> None:
        ...         self.total -= count
        ...
        ...     def finish(self) -> None:
        ...         print(f"{100 * self.done // self.total} %")
    """

    def start(self, task: str, total_bytes: int | None) -> None:
        """Begin a piece of work.

        Args:
            task: The work, as a present participle: "hashing".
            total_bytes: How many bytes it will handle; None: not known.
        """

    def advance(self, count: int) -> None:
        """Count `count` more bytes as done."""

    def skip(self, count: int) -> None:
        """Take `count` bytes off the total: they are in place already."""

    def finish(self) -> None:
        """End the piece of work that started last."""


class _NoProgress:
    """Progress that nobody follows."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "NO_PROGRESS"

    def start(self, task: str, total_bytes: int | None) -> None:
        pass

    def advance(self, count: int) -> None:
        pass

    def skip(self, count: int) -> None:
        pass

    def finish(self) -> None:
        pass


NO_PROGRESS: Progress = _NoProgress()
"""Progress for callers that don't follow it."""
