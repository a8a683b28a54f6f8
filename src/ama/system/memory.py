"""The memory of this process."""

from __future__ import annotations

_ARENAS = 2
_M_ARENA_MAX = -8


def share_arenas() -> None:
    """Let threads take memory from each other's share, in a process that is ama's own.

    The C library of Linux gives each thread a share, and what one has freed serves no other. Where
    many threads hold some megabytes at a time, that doubles what the process takes. Elsewhere this
    does nothing. See mallopt(3).

    Example:
        >>> share_arenas()
    """
    import ctypes

    try:
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)
    except (AttributeError, OSError, TypeError):
        return  # another C library
