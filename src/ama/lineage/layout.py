"""The places of a picture's boxes and edges: a layered drawing of a graph without cycles.

It knows boxes only by their numbers and sizes. `along` is the direction of the columns and of most
edges; `across` is the other. A picture that reads from left to right has `along` as its x, one that
reads downwards as its y.

`ordering` gives the columns and the order in them. Here each cell gets its place across: as near to
its neighbours as the cells beside it allow. For one column that is isotonic regression, solved
exactly by pooling adjacent violators (Ayer, Brunk, Ewing, Reid, Silverman 1955; Best, Chakravarti
1990); sweeps over the columns do it for all of them. Long edges weigh more, which keeps them
straight (the weights of Gansner et al. 1993).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from unicodedata import combining, east_asian_width

from ama.errors import shown
from ama.lineage.graph import LineageNode
from ama.lineage.ordering import MOST_CELLS, Columns, Edge, columns, ordered

_BETWEEN_BOXES = 26.0
_BETWEEN_EDGES = 12.0
_BETWEEN_LABELS = 7.0
_NARROWEST_GAP = 36.0
_WIDEST_GAP = 100.0
_STEEPNESS = 0.14
_STRAIGHT = 9.0  # before and behind a box, for an arrowhead
_ROUNDS = 16
_SPREADING = 4
_INERTIA = 0.01
_PORT_DISTANCE = 11.0
_PORTS_SHARE = 0.6

Point = tuple[float, float]
"""A place: (along, across)."""


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a box or a label."""

    along: float
    across: float


@dataclass(frozen=True, slots=True)
class Route:
    """The way of an edge from its first box to its second, and the middle of its label.

    It bends only in the gap between two columns, and leaves and reaches its boxes along. An edge
    without a way of its own (`direct`) may go behind other boxes.
    """

    points: tuple[Point, ...]
    label: Point | None
    direct: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """A picture: the middle of each box, the way of each edge, and the total size."""

    boxes: tuple[Point, ...]
    routes: tuple[Route, ...]
    along: float
    across: float
    crossings: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The cells of a picture and their order: all that doesn't depend on sizes."""

    edges: tuple[Edge, ...]
    cells: Columns
    order: tuple[tuple[int, ...], ...]
    crossings: int


def planned(
    boxes: int, edges: Sequence[Edge], labelled: Sequence[bool], most_cells: int = MOST_CELLS
) -> Plan:
    """Plan a picture.

    Args:
        boxes: The number of boxes.
        edges: The linked boxes, without a cycle.
        labelled: For each edge, whether it has a label.
        most_cells: The most cells that edges may have: see `columns`.

    Raises:
        ValueError: There is a cycle.

    Example:
        >>> planned(3, [(0, 1), (0, 2)], [False, False]).crossings
        0
    """
    cells = columns(boxes, edges, labelled, most_cells)
    order, crossings = ordered(cells)
    return Plan(tuple(edges), cells, tuple(map(tuple, order)), crossings)


def arranged(plan: Plan, boxes: Sequence[Size], labels: Sequence[Size | None]) -> Layout:
    """Arrange boxes and edges.

    Args:
        plan: The cells and their order.
        boxes: The size of each box.
        labels: The size of each edge's label; None: it has none.

    Example:
        >>> layout = arranged(planned(2, [(0, 1)], [False]), [Size(50, 20), Size(50, 20)], [None])
        >>> layout.boxes, layout.along
        (((25.0, 10.0), (111.0, 10.0)), 136.0)
    """
    sizes = [*boxes, *([Size(0.0, 0.0)] * (len(plan.cells.left) - len(boxes)))]
    for cell, label in zip(plan.cells.labels, labels, strict=True):
        if cell is not None and label is not None:
            sizes[cell] = label
    across = _across(plan, sizes, len(boxes))
    spans = _along(plan, sizes, across)
    places = [((begin + end) / 2, at) for (begin, end), at in zip(spans, across, strict=True)]
    return Layout(
        tuple(places[: len(boxes)]),
        tuple(_routes(plan, boxes, places, spans)),
        max((end for _, end in spans), default=0.0),
        max((at + size.across / 2 for at, size in zip(across, sizes, strict=True)), default=0.0),
        plan.crossings,
    )


def _routes(
    plan: Plan,
    boxes: Sequence[Size],
    places: Sequence[Point],
    spans: Sequence[tuple[float, float]],
) -> Iterator[Route]:
    starts, ends = _ports(plan, boxes, places)
    for (a, b), path, label, start, end in zip(
        plan.edges, plan.cells.paths, plan.cells.labels, starts, ends, strict=True
    ):
        between = path[1:-1] if path else ()
        points = (
            (places[a][0] + boxes[a].along / 2, start),
            (spans[a][1] + _STRAIGHT, start),
            *((edge, places[cell][1]) for cell in between for edge in spans[cell]),
            (spans[b][0] - _STRAIGHT, end),
            (places[b][0] - boxes[b].along / 2, end),
        )
        yield Route(points, None if label is None else places[label], path is None)


def _across(plan: Plan, sizes: Sequence[Size], boxes: int) -> list[float]:
    """Return the place of each cell: near to its neighbours, from 0 on."""
    order = plan.order
    across = [0.0] * len(sizes)
    offsets = [_offsets(column, sizes, boxes) for column in order]
    for column, offset in zip(order, offsets, strict=True):
        for cell, at in zip(column, offset, strict=True):
            across[cell] = at - offset[-1] / 2
    pulls = _pulls(plan.cells, boxes)
    for turn in range(_ROUNDS):
        for at in range(len(order))[:: -1 if turn % 2 else 1]:
            wanted = []
            for cell in order[at]:
                total, weights = across[cell] * _INERTIA, _INERTIA
                # The first sweeps spread the columns, later ones weigh both sides.
                for side in pulls if turn >= _SPREADING else [pulls[turn % 2]]:
                    for other, weight in side[cell]:
                        total += weight * across[other]
                        weights += weight
                wanted.append((total / weights, weights))
            placed = _pooled(offsets[at], wanted)
            for cell, value in zip(order[at], placed, strict=True):
                across[cell] = value
    top = min((across[cell] - size.across / 2 for cell, size in enumerate(sizes)), default=0.0)
    return [value - top for value in across]


def _offsets(column: Sequence[int], sizes: Sequence[Size], boxes: int) -> list[float]:
    """Return the closest allowed places of a column's cells."""
    offsets = [0.0]
    for upper, lower in pairwise(column):
        if upper < boxes or lower < boxes:
            gap = _BETWEEN_BOXES
        else:
            labels = sizes[upper].across or sizes[lower].across
            gap = _BETWEEN_LABELS if labels else _BETWEEN_EDGES
        offsets.append(offsets[-1] + (sizes[upper].across + sizes[lower].across) / 2 + gap)
    return offsets[: len(column)]


def _pulls(cells: Columns, boxes: int) -> list[list[list[tuple[int, float]]]]:
    """Return for the left and the right: each cell's neighbours, and the pull of each.

    Long edges pull most, which keeps them straight. A label lies in line with that of its boxes
    which has fewer edges there.
    """
    left: list[list[tuple[int, float]]] = [[] for _ in cells.left]
    right: list[list[tuple[int, float]]] = [[] for _ in cells.left]
    for a, others in enumerate(cells.right):
        for b in others:
            if a < boxes and b < boxes:
                weight = 1.0
            elif a < boxes:
                weight = 2.0 / len(others) ** 2
            else:
                weight = 2.0 / len(cells.left[b]) ** 2 if b < boxes else 8.0
            right[a].append((b, weight))
            left[b].append((a, weight))
    return [left, right]


def _pooled(offsets: Sequence[float], wanted: Sequence[tuple[float, float]]) -> list[float]:
    """Return the places nearest to the wanted ones, by weighted squares, in this order.

    Cells that would come too close form a block, placed at the mean of what they want.
    """
    blocks: list[tuple[float, float, int]] = []  # mean, weight, cells
    for offset, (value, weight) in zip(offsets, wanted, strict=True):
        mean, number = value - offset, 1
        while blocks and blocks[-1][0] >= mean:
            other, heavy, more = blocks.pop()
            mean = (mean * weight + other * heavy) / (weight + heavy)
            weight, number = weight + heavy, number + more
        blocks.append((mean, weight, number))
    bases = [mean for mean, _, number in blocks for _ in range(number)]
    return [base + offset for base, offset in zip(bases, offsets, strict=True)]


def _along(plan: Plan, sizes: Sequence[Size], across: Sequence[float]) -> list[tuple[float, float]]:
    """Return where each cell's column begins and ends: steeper edges need a wider gap."""
    spans = [(0.0, 0.0)] * len(sizes)
    begin = 0.0
    for column in plan.order:
        end = begin + max(sizes[cell].along for cell in column)
        rise = 0.0
        for a in column:
            spans[a] = begin, end
            rise = max([rise, *(abs(across[a] - across[b]) for b in plan.cells.right[a])])
        begin = end + min(max(_NARROWEST_GAP, rise * _STEEPNESS), _WIDEST_GAP)
    return spans


def _ports(
    plan: Plan, boxes: Sequence[Size], places: Sequence[Point]
) -> tuple[list[float], list[float]]:
    """Return where across each edge leaves its first box and reaches its second, side by side."""
    starts, ends = [0.0] * len(plan.edges), [0.0] * len(plan.edges)
    leaving: list[list[tuple[float, int]]] = [[] for _ in boxes]
    coming: list[list[tuple[float, int]]] = [[] for _ in boxes]
    for at, ((a, b), path) in enumerate(zip(plan.edges, plan.cells.paths, strict=True)):
        leaving[a].append((places[path[1] if path else b][1], at))
        coming[b].append((places[path[-2] if path else a][1], at))
    for box, size in enumerate(boxes):
        for found, ports in ((leaving[box], starts), (coming[box], ends)):
            for (_, at), shift in zip(sorted(found), _spread(len(found), size), strict=True):
                ports[at] = places[box][1] + shift
    return starts, ends


def _spread(count: int, size: Size) -> Iterable[float]:
    step = min(_PORT_DISTANCE, _PORTS_SHARE * size.across / max(count - 1, 1))
    return (step * (at - (count - 1) / 2) for at in range(count))


ELLIPSIS = "…"
_SOME = 3

_WIDTHS = {
    character: width
    for characters, width in [
        ("ijl'|", 0.29),
        (" .,:;!`fIJ/\\", 0.36),
        ("()[]rt-", 0.42),
        ('csxyzkv_*?"', 0.56),
        ("aeghnopqbdu0123456789$", 0.635),
        ("ABCEFKLPRSTVXYZ", 0.68),
        ("DGHNOQU&+=<>~#", 0.83),
        ("mwMW%@", 1.0),
    ]
    for character in characters
}


def width(text: str, size: float, *, bold: bool = False) -> float:
    """Return the approximate width of a text.

    Args:
        text: The text, on one line.
        size: The font's size; the width is in the same unit.
        bold: Whether the font is bold.

    Example:
        >>> width("model", 10) < width("MODEL", 10) < width("MODEL", 10, bold=True)
        True
    """
    return sum(map(_advance, text)) * size * (1.1 if bold else 1.0)


def _advance(character: str) -> float:
    known = _WIDTHS.get(character)
    if known is not None:
        return known
    if combining(character):
        return 0.0
    return 1.05 if east_asian_width(character) in "WF" else 0.75


def shortened(text: str, room: float, size: float, *, bold: bool = False, tail: str = "") -> str:
    """Return a text that fits, with an ellipsis where it is cut.

    Args:
        text: The text, on one line.
        room: Its largest width.
        size: The font's size.
        bold: Whether the font is bold.
        tail: The end of the text, which is never cut.

    Example:
        >>> shortened("sequence_models", 60, 10, tail="/7")
        'sequen…/7'
    """
    left = room / (1.1 if bold else 1.0) / size - sum(map(_advance, tail))
    fits = 0
    used = 0.0
    for at, character in enumerate(text):
        used += _advance(character)
        if used > left:
            return text[:fits].rstrip() + ELLIPSIS + tail
        if used + _advance(ELLIPSIS) <= left:
            fits = at + 1
    return text + tail


def clipped(text: str, most: int) -> str:
    r"""Return at most `most` characters of a text's first line, safe to print anywhere.

    Example:
        >>> clipped("First training\nof many", 10)
        'First tra…'
    """
    line = text[: most * 4].strip().partition("\n")[0].rstrip()
    plain = shown(line[: most + 1])
    return plain if len(plain) <= most else plain[: most - 1] + ELLIPSIS


def aliases_text(node: LineageNode, most: int = _SOME) -> str:
    """Return an asset's aliases; count those beyond `most`.

    Example:
        >>> node = LineageNode("e" * 64, "models", 1, ("a", "b", "c"), "Ann", None)
        >>> aliases_text(node, 3), aliases_text(node, 1)
        ('@a @b @c', '@a and 2 more')
    """
    named = " ".join(f"@{clipped(alias, 100)}" for alias in node.aliases[:most])
    rest = len(node.aliases) - most
    return f"{named} and {rest:,} more" if rest > 0 else named


def author_text(node: LineageNode) -> str:
    """Return an asset's author, without the address.

    Example:
        >>> author_text(LineageNode("e" * 64, "models", 1, (), "Ann Lee <ann@example.com>", None))
        'Ann Lee'
    """
    return clipped(node.author.partition(" <")[0], 40)


def marks_text(node: LineageNode) -> str:
    """Return what is special about an asset; empty for most.

    Example:
        >>> marks_text(LineageNode("e" * 64, "models", 1, (), "", None, "deleted", here=False))
        'deleted, not in this store'
    """
    marks = [node.status] if node.status != "active" else []
    return ", ".join([*marks, *([] if node.here else ["not in this store"])])
