"""How long work tells its caller how far it is. The library only reports; it shows nothing."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """What a caller passes in to follow long work.

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
        """A piece of work begins.

        Args:
            task: What is done, as a present participle: "hashing".
            total_bytes: How many bytes it will handle; None where that isn't known.
        """

    def advance(self, count: int) -> None:
        """Another `count` bytes are done."""

    def skip(self, count: int) -> None:
        """Of the bytes to handle, `count` needn't be: they are where they belong already."""

    def finish(self) -> None:
        """The piece of work that was started last has ended."""


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
"""For a caller who doesn't want to know."""
