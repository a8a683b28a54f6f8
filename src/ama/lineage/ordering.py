"""The order of a picture's cells in their columns, with few crossings.

A walk from cell to neighbour gives the first order: a tree has no crossing then. After it, columns
are sorted by the mean place of each cell's neighbours (the barycentre method: Sugiyama, Tagawa,
Toda 1981), and neighbours in a column change places where that helps (Gansner et al. 1993). To find
the least is NP-hard even for two columns (Garey, Johnson 1983), so the best order that was seen is
taken. Crossings are counted as Barth, Jünger and Mutzel do (2002: "Simple and efficient bilayer
cross counting").
"""

from __future__ import annotations

from collections.abc import Sequence

from ama.lineage.layering import Columns

_ROUNDS = 24
_PATIENCE = 4
_EXCHANGES = 3

Order = list[list[int]]


def ordered(columns: Columns) -> tuple[Order, int]:
    """Return the cells of each column in order, and how many crossings that has.

    Example:
        >>> from ama.lineage.layering import columns
        >>> ordered(columns(4, [(0, 3), (1, 2)], [False, False]))
        ([[0, 1], [3, 2]], 0)
    """
    order = _walked(columns)
    best, least = [*map(list, order)], crossings(columns, order)
    tries = 0
    for turn in range(_ROUNDS):
        if not least or tries == _PATIENCE:
            break
        _sweep(columns, order, rightwards=turn % 2 == 0)
        _exchange(columns, order)
        number = crossings(columns, order)
        tries += 1
        if number < least:
            best, least, tries = [*map(list, order)], number, 0
    return best, least


def crossings(columns: Columns, order: Sequence[Sequence[int]]) -> int:
    """Return how often edges cross."""
    place = _places(order)
    total = 0
    for column in order:
        ends = [place[b] for a in column for b in sorted(columns.right[a], key=place.__getitem__)]
        total += _inversions(ends)
    return total


def _inversions(numbers: Sequence[int]) -> int:
    """Count the pairs that stand in the wrong order, with a Fenwick tree of those seen so far."""
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
    """Walk depth first, the cells with the fewest neighbours behind them first."""
    column_of = {cell: at for at, column in enumerate(columns.cells) for cell in column}
    order: Order = [[] for _ in columns.cells]
    seen: set[int] = set()
    starts = [cell for column in columns.cells for cell in column]
    for start in sorted(starts, key=lambda cell: len(columns.left[cell]) > 0):
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
    """Sort each column by the mean place of its cells' neighbours in the one before."""
    beside = columns.left if rightwards else columns.right
    place = _places(order)
    for at in range(1, len(order)) if rightwards else range(len(order) - 2, -1, -1):
        here = {
            cell: sum(place[other] for other in beside[cell]) / len(beside[cell])
            for cell in order[at]
            if beside[cell]
        }
        # A cell with no neighbour there keeps its place.
        moving = iter(sorted(here, key=here.__getitem__))
        order[at] = [next(moving) if cell in here else cell for cell in order[at]]
        place.update((cell, number) for number, cell in enumerate(order[at]))


def _exchange(columns: Columns, order: Order) -> None:
    """Let neighbours in a column change places while that spares crossings."""
    place = _places(order)
    for _ in range(_EXCHANGES):
        changed = False
        for column in order:
            beside = {
                cell: (
                    sorted(place[other] for other in columns.left[cell]),
                    sorted(place[other] for other in columns.right[cell]),
                )
                for cell in column
            }
            for at in range(len(column) - 1):
                upper, lower = column[at], column[at + 1]
                pairs = [*zip(beside[upper], beside[lower], strict=True)]
                now = sum(_crossed(a, b) for a, b in pairs)
                if now > sum(_crossed(b, a) for a, b in pairs):
                    column[at], column[at + 1] = lower, upper
                    place[upper], place[lower] = at + 1, at
                    changed = True
        if not changed:
            return


def _crossed(upper: Sequence[int], lower: Sequence[int]) -> int:
    """How many pairs of edges cross, given the sorted places where those of two cells end."""
    total = at = 0
    for place in upper:
        while at < len(lower) and lower[at] < place:
            at += 1
        total += at
    return total
