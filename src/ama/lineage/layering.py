"""Into which column of a picture each box comes, and through which columns each edge goes.

The first half of a layered drawing (Sugiyama, Tagawa, Toda 1981: "Methods for visual understanding
of hierarchical system structures"). An edge that spans several columns has a cell of its own in
each of those between, and one for its label, so that all that follows knows only neighbouring
columns. Where edges would need more cells than there may be, as only a forged lineage's do, the
longest have none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

Edge = tuple[int, int]
"""From one box to another, each by its number. There must be no cycle among them."""

MOST_CELLS = 10_000


@dataclass(frozen=True, slots=True)
class Columns:
    """Cells in columns; the first cells, by number, are the boxes.

    `paths` has, for each edge, its cells from box to box, in neighbouring columns; None for an edge
    without cells. `labels` has the cell among them that is its label's. `left` and `right` have the
    neighbours of each cell in the columns beside its own.
    """

    cells: tuple[tuple[int, ...], ...]
    paths: tuple[tuple[int, ...] | None, ...]
    labels: tuple[int | None, ...]
    left: tuple[tuple[int, ...], ...]
    right: tuple[tuple[int, ...], ...]


def ranks(boxes: int, edges: Sequence[Edge]) -> list[int]:
    """Return a rank for each box: higher than those of all boxes with an edge to it.

    The longest path to each box at first, so that there are as few ranks as can be. Then every box
    goes to where its edges are shorter, if it may (a cheap form of the network simplex of Gansner,
    Koutsofios, North, Vo 1993: "A technique for drawing directed graphs").

    Example:
        >>> ranks(4, [(0, 1), (1, 2), (3, 2)])
        [0, 1, 2, 1]
    """
    before, after = _neighbours(boxes, edges)
    order = _topological(before, after)
    rank = [0] * boxes
    for box in order:
        rank[box] = max((rank[other] + 1 for other in before[box]), default=0)
    for _ in range(2):
        for box in reversed(order):
            if after[box] and len(after[box]) >= len(before[box]):
                rank[box] = min(rank[other] for other in after[box]) - 1
        for box in order:
            if before[box] and len(before[box]) >= len(after[box]):
                rank[box] = max(rank[other] for other in before[box]) + 1
    places = {value: place for place, value in enumerate(sorted(set(rank)))}
    return [places[value] for value in rank]


def columns(
    boxes: int, edges: Sequence[Edge], labelled: Sequence[bool], most_cells: int = MOST_CELLS
) -> Columns:
    """Return the columns of a picture.

    Args:
        boxes: how many there are.
        edges: which of them are linked, without a cycle.
        labelled: for each edge, whether it has a label, which stands just before its second box.
        most_cells: how many cells edges may have in all.

    Example:
        >>> columns(3, [(0, 1), (1, 2), (0, 2)], [True, False, False]).cells
        ((0,), (3, 4), (1, 5), (2,))
    """
    rank = ranks(boxes, edges)
    routed = _affordable([rank[b] - rank[a] for a, b in edges], most_cells)
    # Beside the column of each rank's boxes, one for the labels before it, if there are any.
    with_labels = {rank[b] for at, (_, b) in enumerate(edges) if routed[at] and labelled[at]}
    place: list[int] = []
    for value in range(max(rank, default=-1) + 1):
        place.append((place[-1] + 1 if place else 0) + (value in with_labels))
    cells: list[list[int]] = [[] for _ in range(place[-1] + 1 if place else 0)]
    for box in range(boxes):
        cells[place[rank[box]]].append(box)
    number = boxes
    paths: list[tuple[int, ...] | None] = []
    labels: list[int | None] = []
    for at, (a, b) in enumerate(edges):
        if not routed[at]:
            paths.append(None)
            labels.append(None)
            continue
        between = range(place[rank[a]] + 1, place[rank[b]])
        path = range(number, number + len(between))
        for column, cell in zip(between, path, strict=True):
            cells[column].append(cell)
        number += len(between)
        paths.append((a, *path, b))
        labels.append(path[-1] if labelled[at] else None)
    segments = [pair for path in paths if path for pair in pairwise(path)]
    left, right = _neighbours(number, segments)
    return Columns(
        tuple(map(tuple, cells)),
        tuple(paths),
        tuple(labels),
        tuple(map(tuple, left)),
        tuple(map(tuple, right)),
    )


def _affordable(spans: Sequence[int], most: int) -> list[bool]:
    """Say for each edge whether it gets cells: the shortest do, two a rank at most."""
    routed = [False] * len(spans)
    for at in sorted(range(len(spans)), key=spans.__getitem__):
        most -= 2 * spans[at] - 1
        routed[at] = most >= 0
    return routed


def _neighbours(count: int, edges: Sequence[Edge]) -> tuple[list[list[int]], list[list[int]]]:
    before: list[list[int]] = [[] for _ in range(count)]
    after: list[list[int]] = [[] for _ in range(count)]
    for a, b in edges:
        after[a].append(b)
        before[b].append(a)
    return before, after


def _topological(before: Sequence[Sequence[int]], after: Sequence[Sequence[int]]) -> list[int]:
    waiting = [len(others) for others in before]
    order = [box for box, number in enumerate(waiting) if not number]
    for box in order:
        for other in after[box]:
            waiting[other] -= 1
            if not waiting[other]:
                order.append(other)
    if len(order) < len(before):
        raise ValueError("there is a cycle among the edges")
    return order
