"""The order of a picture's cells in their columns, with few crossings.

A walk from cell to neighbour gives the first order: a tree has no crossing then. After it, columns
are sorted by the mean place of each cell's neighbours (the barycentre method: Sugiyama, Tagawa,
Toda 1981), and neighbours in a column change places where that helps (Gansner et al. 1993). The
optimum is NP-hard even for two columns (Garey, Johnson 1983), so the best order seen is used.
Crossings are counted as Barth, Jünger and Mutzel do (2002: "Simple and efficient bilayer cross
counting").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

_PATIENCE = 6
_TURNS = 72
_EFFORT = 60_000  # cells to sort, in all turns together
_EXCHANGES = 2

Order = list[list[int]]


def ordered(columns: Columns) -> tuple[Order, int]:
    """Return the cells of each column in order, and the number of crossings.

    Example:
        >>> from ama.lineage.ordering import columns
        >>> ordered(columns(4, [(0, 3), (1, 2)], [False, False]))
        ([[0, 1], [3, 2]], 0)
    """
    first = _walked(columns)
    best, least = first, crossings(columns, first)
    left = max(_PATIENCE, min(_TURNS, _EFFORT // max(len(columns.left), 1)))
    # Each way to start ends in an order of its own, and for few cells trying is cheap.
    for start, rightwards in [(first, True), (first, False), (_mirrored(first), True)]:
        order, tries = [*map(list, start)], 0
        while least and left and tries < _PATIENCE:
            _sweep(columns, order, rightwards=rightwards)
            _exchange(columns, order, also_equal=tries % 2 == 1)
            number = crossings(columns, order)
            rightwards, tries, left = not rightwards, tries + 1, left - 1
            if number < least:
                best, least, tries = [*map(list, order)], number, 0
    return best, least


def _mirrored(order: Order) -> Order:
    return [column[::-1] for column in order]


def crossings(columns: Columns, order: Sequence[Sequence[int]]) -> int:
    """Return the number of crossings."""
    place = _places(order)
    total = 0
    for column in order:
        ends = [place[b] for a in column for b in sorted(columns.right[a], key=place.__getitem__)]
        total += _inversions(ends)
    return total


def _inversions(numbers: Sequence[int]) -> int:
    """Count the pairs in the wrong order, with a Fenwick tree of the numbers seen so far."""
    size = max(numbers, default=0) + 1
    tree = [0] * (size + 1)
    total = 0
    for seen, number in enumerate(numbers):
        at, not_greater = number + 1, 0
        while at:
            not_greater += tree[at]
            at &= at - 1
        total += seen - not_greater
        at = number + 1
        while at <= size:
            tree[at] += 1
            at += at & -at
    return total


def _places(order: Sequence[Sequence[int]]) -> dict[int, int]:
    return {cell: at for column in order for at, cell in enumerate(column)}


def _walked(columns: Columns) -> Order:
    """Walk depth first from the sources, and from each cell to the left before the right.

    So the cells beyond a cell of a tree stay together.
    """
    column_of = {cell: at for at, column in enumerate(columns.cells) for cell in column}
    order: Order = [[] for _ in columns.cells]
    seen: set[int] = set()
    starts = [cell for column in columns.cells for cell in column]
    for start in sorted(starts, key=lambda cell: bool(columns.left[cell])):
        stack = [start]
        while stack:
            cell = stack.pop()
            if cell in seen:
                continue
            seen.add(cell)
            order[column_of[cell]].append(cell)
            stack += reversed(columns.right[cell])
            stack += reversed(columns.left[cell])
    return order


def _sweep(columns: Columns, order: Order, *, rightwards: bool) -> None:
    """Sort each column by the mean place of its cells' neighbours in the column before.

    A cell without neighbours there goes by those on its other side.
    """
    before, behind = columns.left, columns.right
    if not rightwards:
        before, behind = behind, before
    # Relative to their columns, which have different lengths.
    place = {cell: (at + 0.5) / len(column) for column in order for at, cell in enumerate(column)}

    def mean(cell: int) -> float:
        beside = before[cell] or behind[cell] or (cell,)
        return sum(place[other] for other in beside) / len(beside)

    for at in range(len(order)) if rightwards else range(len(order) - 1, -1, -1):
        order[at].sort(key=mean)
        length = len(order[at])
        place.update((cell, (number + 0.5) / length) for number, cell in enumerate(order[at]))


def _exchange(columns: Columns, order: Order, *, also_equal: bool) -> None:
    """Swap neighbours in a column while that spares crossings.

    Args:
        columns: The columns of the cells.
        order: The order to change.
        also_equal: Whether to swap also where it makes no difference: it may open a way.
    """
    place = _places(order)
    for _ in range(_EXCHANGES):
        changed = False
        for column in order:
            ends = [
                (
                    sorted([place[other] for other in columns.left[cell]]),
                    sorted([place[other] for other in columns.right[cell]]),
                )
                for cell in column
            ]
            for at in range(len(column) - 1):
                upper, lower = ends[at], ends[at + 1]
                spared = _spared(upper[0], lower[0]) + _spared(upper[1], lower[1])
                if spared > 0 or (spared == 0 and also_equal):
                    column[at], column[at + 1] = column[at + 1], column[at]
                    ends[at], ends[at + 1] = lower, upper
                    changed = changed or spared > 0
            place.update((cell, at) for at, cell in enumerate(column))
        if not changed:
            return


def _spared(upper: Sequence[int], lower: Sequence[int]) -> int:
    """Return the crossings that a swap of two cells spares, given where their edges end."""
    if len(upper) == len(lower) == 1:
        return (upper[0] > lower[0]) - (upper[0] < lower[0])
    return _crossed(upper, lower) - _crossed(lower, upper)


def _crossed(upper: Sequence[int], lower: Sequence[int]) -> int:
    """Count the crossing pairs of edges, given the sorted places where those of two cells end."""
    total = at = 0
    for place in upper:
        while at < len(lower) and lower[at] < place:
            at += 1
        total += at
    return total


Edge = tuple[int, int]
"""An edge: from one box to another, by their numbers. Edges must not form a cycle."""

MOST_CELLS = 10_000


@dataclass(frozen=True, slots=True)
class Columns:
    """Cells in columns; the first cells, by number, are the boxes.

    `paths` has each edge's cells from box to box, in neighbouring columns; None for an edge
    without cells. `labels` has the cell among them that is its label's. `left` and `right` have
    each cell's neighbours in the columns beside its own.
    """

    cells: tuple[tuple[int, ...], ...]
    paths: tuple[tuple[int, ...] | None, ...]
    labels: tuple[int | None, ...]
    left: tuple[tuple[int, ...], ...]
    right: tuple[tuple[int, ...], ...]


def ranks(boxes: int, edges: Sequence[Edge]) -> list[int]:
    """Return a rank for each box: higher than those of all boxes with an edge to it.

    A box's first rank is the longest path to it, so that there are as few ranks as possible. Then
    every box moves to where its edges are shorter, if it may (a cheap form of the network simplex
    of Gansner, Koutsofios, North, Vo 1993: "A technique for drawing directed graphs").

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
        boxes: The number of boxes.
        edges: The linked boxes, without a cycle.
        labelled: For each edge, whether it has a label, which stands just before its second box.
        most_cells: The most cells that all edges together may have.

    Example:
        >>> columns(3, [(0, 1), (1, 2), (0, 2)], [True, False, False]).cells
        ((0,), (3, 4), (1, 5), (2,))
    """
    rank = ranks(boxes, edges)
    routed = _affordable([rank[b] - rank[a] for a, b in edges], most_cells)
    # Before the column of each rank's boxes comes one for their labels, if there are any.
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
    """Return for each edge whether it gets cells: the shortest do, two a rank at most."""
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
