"""How few indexes name all of an asset: at most 16, whatever it rests on.

Where there would be more, the smallest are merged, as a log-structured merge tree does it (O'Neil
and others, Acta Informatica 33, 1996). The large ones stay as they are. So a row is written again
only when those that are merged with it are about as many, and a version costs what is new in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ama.format.objects import Kind
from ama.format.packindex import PackIndex

KEPT = 8
"""The most indexes that a merge leaves as they are: then the next few versions need none."""

MERGED_ROWS = 1 << 20
"""The rows of a merged index that need not be more: it is put together in memory."""

NOTHING = 1 << 16
"""The number of rows of which nobody minds that they are of no use any more."""

_EVERY = 16


def groups(indexes: Iterable[PackIndex]) -> list[list[PackIndex]]:
    """Return the indexes in at most 16 groups, each of which is to become one.

    Args:
        indexes: More than 16 indexes.
    """
    ordered = sorted(indexes, key=len)
    merged, rows = 0, 0
    while merged < len(ordered) - KEPT or (merged < len(ordered) and len(ordered[merged]) <= rows):
        rows += len(ordered[merged])
        merged += 1
    most = max(MERGED_ROWS, sum(map(len, ordered)) // KEPT)
    found: list[list[PackIndex]] = [[]]
    filled = 0
    for index in ordered[:merged]:
        if filled >= most:
            found.append([])
            filled = 0
        found[-1].append(index)
        filled += len(index)
    return [*found, *([index] for index in ordered[merged:])]


def is_wasteful(indexes: Sequence[PackIndex], size: int) -> bool:
    """Tell whether most of what indexes name is of no use to an asset any more.

    Ids are spread evenly, so a part of the rows tells about all of them.

    Args:
        indexes: The indexes of earlier versions of the asset.
        size: The bytes of the asset's files.
    """
    if sum(map(len, indexes)) <= NOTHING:
        return False
    named = sum(
        full
        for index in indexes
        for first in range(0, 256, _EVERY)
        for _, _, kind, _, _, full in index.rows(first)
        if kind in (Kind.DATA, Kind.REFERENCE)
    )
    return named * _EVERY > 2 * size
