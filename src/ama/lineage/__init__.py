"""Ancestry of assets: a graph as a value, and drawings of it.

- **ancestry**: an asset and what it came from, by each one's first parent. Many look at it, and it
  stands here so that none of them loads a graph for it.
- **graph**: assets as nodes, refs and parents as edges; it has no circles.
- **layer**: a column of the picture; every edge leads to a later one.
- **cell**: a place in a layer: a box, or a point on the way of an edge.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
Parents = Callable[[T], Iterable[T]]
"""Returns the parents of an asset, or of its id: what it is the next version of."""


def ancestry(asset: T | None, parents: Parents[T]) -> Iterator[T]:
    """Yield an asset and what it came from, by each one's first parent.

    The parents of one are asked for when the next one is: whoever stops reads no further.

    Args:
        asset: The asset, or its id; nothing is yielded for None.
        parents: Returns its parents.

    Example:
        >>> merged = {"c": ("b", "x"), "b": ("a",), "a": ()}
        >>> list(ancestry("c", merged.__getitem__))
        ['c', 'b', 'a']
    """
    while asset is not None:
        yield asset
        asset = next(iter(parents(asset)), None)


def all_ancestors(asset: T, parents: Parents[T]) -> Iterator[T]:
    """Yield an asset and what it came from, by all parents: the nearest first, each one once.

    Example:
        >>> merged = {"c": ("b", "x"), "b": ("a",), "x": ("a",), "a": ()}
        >>> list(all_ancestors("c", merged.__getitem__))
        ['c', 'b', 'x', 'a']
    """
    seen = {asset}
    waiting = deque([asset])
    while waiting:
        found = waiting.popleft()
        yield found
        for parent in parents(found):
            if parent not in seen:
                seen.add(parent)
                waiting.append(parent)
