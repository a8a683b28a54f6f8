"""Lineage as a picture: an SVG that stands alone, in a report, on paper, in a browser.

Sources stand before what was made from them, from left to right; a long narrow lineage reads
downwards instead. Attributes say what programs without much CSS must get right; the style sheet
only turns the picture dark on a screen whose user wants that, never on paper. The picture has no
script, no font and no reference to anything outside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from ama.errors import shown
from ama.lineage.graph import Graph, Lineage, LineageNode, Link
from ama.lineage.layout import (
    Layout,
    Plan,
    Point,
    Size,
    aliases_text,
    arranged,
    author_text,
    clipped,
    marks_text,
    planned,
    shortened,
    width,
)

MOST_ASSETS = 500
_MOST_LINKS = 4 * MOST_ASSETS

_FONT = "'Segoe UI', 'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans', sans-serif"
_NAME, _SMALL, _LABEL = 12.5, 10.5, 10.0  # sizes of letters
_LINE = 15.0
_PADDING = 9.0
_STRIPE = 6.0
_NARROWEST, _WIDEST = 120.0, 262.0
_WIDEST_LABEL = 120.0
_MARGIN = 18.0
_LEGEND_LINE = 20.0
_PAGE = 1050.0, 700.0
_SMALLEST_SCALE = 0.7
_ARROW = 6.5
_LOOP = 15.0

# Okabe and Ito's colours (2008: "Color universal design"), which colour-blind people can tell
# apart, without the one for warnings; and a light tint of each.
_COLOURS = [
    ("#0072b2", "#eaf4fa"),
    ("#e69f00", "#fdf5e4"),
    ("#009e73", "#e6f5f0"),
    ("#cc79a7", "#faeff5"),
    ("#56b4e9", "#edf7fd"),
    ("#c9b600", "#fbf9e2"),
    ("#8c8c8c", "#f3f3f3"),
]
_INK, _GREY, _PALE, _WARNING = "#16191d", "#59636e", "#7b8590", "#b3261e"

_DARK = """
@media screen and (prefers-color-scheme: dark) {
.ama-ground { fill: #0f1318 }
.ama-box { fill: #1b2128; stroke: #5a6570 }
.ama-root { stroke: #f2f5f8 }
.ama-name, .ama-alias { fill: #edf1f5 }
.ama-small { fill: #a3adb8 }
.ama-line { stroke: #8f9aa5 }
.ama-head { fill: #8f9aa5 }
.ama-closing { stroke: #ff7a70 }
.ama-closing-head, .ama-mark { fill: #ff7a70 }
}
"""


def svg(
    lineage: Lineage,
    *,
    href: Callable[[LineageNode], str | None] | None = None,
    most_assets: int = MOST_ASSETS,
    style: bool = True,
) -> str:
    """Return a lineage as a picture.

    Args:
        lineage: The lineage.
        href: Where a click on an asset leads, if anywhere.
        most_assets: The most assets to draw: those nearest to the root. The picture says if there
            are more.
        style: Whether it brings the style sheet that turns it dark; if not, the surrounding page
            does so, by the same classes.

    Example:
        >>> node = LineageNode("e" * 64, "models", 1, ("best",), "Ann", None)
        >>> svg(Lineage(node.id, (node,), ())).startswith("<svg xmlns=")
        True
    """
    return _Picture(lineage.nearest(most_assets), href, len(lineage.nodes)).text(style=style)


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of text in a box. `beside` stands behind it, smaller."""

    text: str
    kind: str
    colour: str
    size: float = _SMALL
    bold: bool = False
    beside: str = ""

    @property
    def width(self) -> float:
        return width(self.text, self.size, bold=self.bold) + (
            width(f" {self.beside}", _SMALL) + 4 if self.beside else 0
        )


class _Picture:
    """A lineage while it is drawn."""

    def __init__(
        self,
        lineage: Lineage,
        href: Callable[[LineageNode], str | None] | None,
        assets: int,
    ) -> None:
        self.lineage = lineage
        self.graph = lineage.graph()
        self.href = href
        self.assets = assets
        self.colours = _colours(self.graph)
        self.links = self.graph.links[:_MOST_LINKS]
        self.loops = [link for link in self.links if link.made == link.source]
        self.ways = [link for link in self.links if link.made != link.source]
        self.lines = {asset: [*_lines(node)] for asset, node in self.graph.nodes.items()}
        widest = 1 + max(line.width for lines in self.lines.values() for line in lines)
        self.box_width = min(max(widest + 2 * _PADDING + _STRIPE, _NARROWEST), _WIDEST)
        self.labels = [_label(link) for link in self.ways]
        self.rightwards, self.layout = self._best()

    def _best(self) -> tuple[bool, Layout]:
        """Choose left to right, unless it hardly fits on a page and downwards is much larger."""
        plan = self._plan()
        right = self._arranged(plan, rightwards=True)
        scale = _scale(right.along, right.across)
        if scale >= _SMALLEST_SCALE:
            return True, right
        down = self._arranged(plan, rightwards=False)
        much_larger = scale < 0.8 * _scale(down.across, down.along)
        return (False, down) if much_larger else (True, right)

    def _plan(self) -> Plan:
        place = {asset: at for at, asset in enumerate(self.graph.nodes)}
        edges = [
            (place[link.made], place[link.source])
            if link in self.graph.closing
            else (place[link.source], place[link.made])
            for link in self.ways
        ]
        return planned(len(place), edges, [*map(bool, self.labels)])

    def _arranged(self, plan: Plan, *, rightwards: bool) -> Layout:
        boxes = [
            _turned(self.box_width, _height(lines), rightwards) for lines in self.lines.values()
        ]
        labels = [
            _turned(width(label, _LABEL) + 8, _LABEL + 4, rightwards) if label else None
            for label in self.labels
        ]
        return arranged(plan, boxes, labels)

    def _at(self, point: Point) -> Point:
        """Return the picture's point for a point of the layout."""
        along, across = point[0] + _MARGIN, point[1] + _MARGIN
        return (along, across) if self.rightwards else (across, along)

    def text(self, *, style: bool = True) -> str:
        """Return the picture as SVG."""
        wide, high = self._at((self.layout.along, self.layout.across))
        wide = max(wide + _MARGIN, 300.0)
        legend, below = self._legend(wide, high + _MARGIN)
        high = below + _MARGIN / 2
        root = self.graph.nodes[self.lineage.root]
        title = f"Lineage of {clipped(root.name, 130)}"
        flow = "left to right" if self.rightwards else "top to bottom"
        about = (
            f"{len(self.graph.nodes)} assets and {len(self.graph.links)} links, from {flow}: each "
            "asset stands after those that it was made from. The asset itself has a thick border."
        )
        role = "img" if self.href is None else "group"
        size = f'width="{_n(wide)}" height="{_n(high)}" viewBox="0 0 {_n(wide)} {_n(high)}"'
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="{role}" '
            f'aria-label="{_x(title)}" font-family="{_x(_FONT)}">',
            f"<title>{_x(title)}</title>",
            f"<desc>{_x(about)}</desc>",
            *([f"<style>{_DARK}</style>"] if style else []),
            f'<rect class="ama-ground" width="{_n(wide)}" height="{_n(high)}" fill="#ffffff"/>',
            *self._edges(),
            *self._boxes(),
            *legend,
            "</svg>",
        ]
        return "\n".join([*parts, ""])

    # Links

    def _edges(self) -> Iterator[str]:
        drawn = [*zip(self.ways, self.layout.routes, self.labels, strict=True)]
        for link, route, _ in drawn:
            closing = link in self.graph.closing
            points = route.points[::-1] if closing else route.points
            yield self._link(link, points, (-1, 0) if closing else (1, 0))
        middles = dict(zip(self.graph.nodes, self.layout.boxes, strict=True))
        for link in self.loops:
            yield self._loop(link, middles[link.made])
        for _, route, label in drawn:
            if label and route.label:
                yield self._role(label, self._at(route.label))

    def _path(self, points: Sequence[Point]) -> str:
        """Return a line through the points; it leaves and reaches them along the columns."""
        last = self._at(points[0])
        parts = [f"M{_p(last)}"]
        for before, after in pairwise(points):
            here = self._at(after)
            if before[0] != after[0] and before[1] != after[1]:
                half = (before[0] + after[0]) / 2
                bends = self._at((half, before[1])), self._at((half, after[1]))
                parts.append(f"C{_p(bends[0])} {_p(bends[1])} {_p(here)}")
            elif here != last:
                parts.append(f"L{_p(here)}")
            last = here
        return "".join(parts)

    def _loop(self, link: Link, middle: Point) -> str:
        """Return a small loop from an asset to itself, at the far side of its box."""
        high = _height(self.lines[link.made])
        edge = middle[1] + _turned(self.box_width, high, self.rightwards).across / 2
        begin, end = middle[0] - _LOOP, middle[0] + _LOOP
        points = [(begin, edge), (begin, edge + _LOOP), (end, edge + _LOOP), (end, edge)]
        return self._link(link, points, (0, -1))

    def _link(self, link: Link, points: Sequence[Point], ahead: Point) -> str:
        """Return a line through points of the layout, with an arrowhead that points ahead."""
        closing = link in self.graph.closing
        colour = _WARNING if closing else _GREY
        line, head = ("ama-closing", "ama-closing-head") if closing else ("ama-line", "ama-head")
        thick = 2.6 if link.parent else 1.3
        size = _ARROW + thick / 2
        dashes = ' stroke-dasharray="6 4"' if closing else ""
        tip = points[-1]
        back = tip[0] - ahead[0] * size, tip[1] - ahead[1] * size
        side = ahead[1] * size / 2, ahead[0] * size / 2
        corners = (back[0] + side[0], back[1] + side[1]), (back[0] - side[0], back[1] - side[1])
        triangle = "L".join(_p(self._at(corner)) for corner in (tip, *corners))
        return (
            f"<g><title>{_x(self._link_title(link))}</title>"
            f'<path class="{line}" d="{self._path([*points[:-1], back])}" fill="none" '
            f'stroke="{colour}" stroke-width="{thick}"{dashes}/>'
            f'<path class="{head}" d="M{triangle}Z" fill="{colour}"/></g>'
        )

    def _link_title(self, link: Link) -> str:
        made, source = self.graph.nodes[link.made], self.graph.nodes[link.source]
        roles = ", ".join(clipped(role, 200) for role in link.roles[:10])
        said = f" as {roles}" if roles else ""
        closes = "\ncloses a cycle" if link in self.graph.closing else ""
        return f"{clipped(made.name, 130)}\nmade from {clipped(source.name, 130)}{said}{closes}"

    def _role(self, label: str, middle: Point) -> str:
        wide = width(label, _LABEL) + 6
        x, y = middle
        return (
            f'<rect class="ama-ground" x="{_n(x - wide / 2)}" y="{_n(y - _LABEL / 2 - 2)}" '
            f'width="{_n(wide)}" height="{_n(_LABEL + 4)}" fill="#ffffff"/>'
            f'<text class="ama-small" x="{_n(x)}" y="{_n(y + _LABEL * 0.35)}" fill="{_GREY}" '
            f'font-size="{_LABEL}" text-anchor="middle">{_x(label)}</text>'
        )

    # Assets

    def _boxes(self) -> Iterator[str]:
        places = zip(self.graph.nodes.values(), self.layout.boxes, strict=True)
        for node, place in places:
            box = "\n".join(self._box(node, self._at(place)))
            target = self.href(node) if self.href else None
            yield f'<a href="{_x(target)}">\n{box}\n</a>' if target else box

    def _box(self, node: LineageNode, middle: Point) -> Iterator[str]:
        lines = self.lines[node.id]
        wide, high = self.box_width, _height(lines)
        x, y = middle[0] - wide / 2, middle[1] - high / 2
        strong, tint = self.colours[node.class_name]
        root = node.id == self.lineage.root
        kind = "ama-box ama-root" if root else "ama-box"
        gone = node.status == "deleted" or not node.here
        dashes = ' stroke-dasharray="5 3"' if gone else ""
        stroke = _INK if root else _PALE
        place = f'x="{_n(x)}" y="{_n(y)}" width="{_n(wide)}" height="{_n(high)}"'
        yield f"<g><title>{_x(_title(node))}</title>"
        yield (
            f'<rect class="{kind}" {place} rx="5" fill="{tint}" stroke="{stroke}" '
            f'stroke-width="{2.6 if root else 1}"{dashes}/>'
        )
        inset = 1.3 if root else 0.5
        yield (
            f'<rect x="{_n(x + inset)}" y="{_n(y + 5)}" width="{_n(_STRIPE)}" '
            f'height="{_n(high - 10)}" fill="{strong}"/>'
        )
        base = y + _PADDING - 3.5
        for line in lines:
            base += _LINE
            yield self._line(line, x + _STRIPE + _PADDING, base, node.status == "deleted")
        yield "</g>"

    def _line(self, line: _Line, x: float, y: float, struck: bool) -> str:
        room = self.box_width - 2 * _PADDING - _STRIPE
        beside = ""
        if line.beside:
            room -= width(f" {line.beside}", _SMALL) + 4
            beside = (
                f'<tspan class="ama-small" dx="6" font-size="{_SMALL}" font-weight="normal" '
                f'fill="{_GREY}">{_x(line.beside)}</tspan>'
            )
        head, slash, tail = line.text.rpartition("/") if line.bold else (line.text, "", "")
        if not slash:
            head, tail = line.text, ""
        text = shortened(head, room, line.size, bold=line.bold, tail=slash + tail)
        weight = ' font-weight="bold"' if line.bold else ""
        strike = ' text-decoration="line-through"' if struck and line.bold else ""
        return (
            f'<text class="{line.kind}" x="{_n(x)}" y="{_n(y)}" fill="{line.colour}" '
            f'font-size="{line.size}"{weight}><tspan{strike}>{_x(text)}</tspan>{beside}</text>'
        )

    # Below the picture

    def _legend(self, wide: float, y: float) -> tuple[list[str], float]:
        """Return what the colours and lines mean, in as many lines as needed, and where it ends."""
        parts: list[str] = []
        x, y = _MARGIN, y + _LABEL
        for mark, text in self._legend_entries():
            taken = 22 + width(text, _SMALL) + 16
            if x > _MARGIN and x + taken > wide:
                x, y = _MARGIN, y + _LEGEND_LINE
            parts.append(
                f'<g transform="translate({_n(x)} {_n(y)})">{mark}<text class="ama-small" x="22" '
                f'y="3.7" fill="{_GREY}" font-size="{_SMALL}">{_x(text)}</text></g>'
            )
            x += taken
        for note in self._notes():
            y += _LEGEND_LINE
            parts.append(
                f'<text class="ama-mark" x="{_n(_MARGIN)}" y="{_n(y + 3.7)}" fill="{_WARNING}" '
                f'font-size="{_SMALL}">{_x(note)}</text>'
            )
        return parts, y + _LEGEND_LINE / 2

    def _legend_entries(self) -> Iterable[tuple[str, str]]:
        for name, (strong, tint) in self.colours.items():
            mark = (
                f'<rect class="ama-box" y="-6" width="16" height="12" rx="3" fill="{tint}" '
                f'stroke="{_PALE}"/><rect y="-6" width="6" height="12" fill="{strong}"/>'
            )
            yield mark, shortened(clipped(name, 100), 160, _SMALL)
        plain = [link for link in self.links if link not in self.graph.closing]
        parents = any(link.parent for link in plain)
        if parents:
            if not all(link.parent for link in plain):
                yield _stroke("ama-line", _GREY, 1.3), "made from"
            yield _stroke("ama-line", _GREY, 2.6), "parent"
        if self.graph.closing:
            yield _stroke("ama-closing", _WARNING, 1.3, "5 3"), "closes a cycle"

    def _notes(self) -> Iterable[str]:
        hidden = self.assets - len(self.graph.nodes)
        if hidden > 0:
            yield f"{hidden:,} more assets are not shown"
        elif self.lineage.cut:
            yield "there is more: not all of the lineage is shown"
        if len(self.links) < len(self.graph.links):
            yield f"{len(self.graph.links) - len(self.links):,} more links are not shown"


def _lines(node: LineageNode) -> Iterator[_Line]:
    class_name = clipped(node.class_name, 100)
    name = class_name if node.number is None else f"{class_name}/{node.number}"
    yield _Line(name, "ama-name", _INK, _NAME, bold=True, beside=shown(node.id[:10]))
    if node.aliases:
        yield _Line(aliases_text(node), "ama-alias", _INK)
    date = f"{node.created_at:%Y-%m-%d}" if node.created_at else ""
    if origin := " · ".join(filter(None, [author_text(node), date])):
        yield _Line(origin, "ama-small", _GREY)
    if marks := marks_text(node):
        yield _Line(marks, "ama-mark", _WARNING)


def _turned(wide: float, high: float, rightwards: bool) -> Size:
    return Size(wide, high) if rightwards else Size(high, wide)


def _height(lines: Sequence[_Line]) -> float:
    return len(lines) * _LINE + 2 * _PADDING - 4


def _label(link: Link) -> str:
    """Return the text on a link; the line itself shows that it is a parent."""
    return shortened(", ".join(clipped(t, 60) for t in link.labels[:3]), _WIDEST_LABEL, _LABEL)


def _title(node: LineageNode) -> str:
    """Return the text that a pointer over an asset shows."""
    moment = f"Created At: {node.created_at:%Y-%m-%d %H:%M:%S} UTC" if node.created_at else ""
    texts = [
        clipped(node.name, 130),
        aliases_text(node, 20),
        f"Created By: {clipped(node.author, 200)}" if node.author else "",
        moment,
        clipped(node.message, 300),
        marks_text(node),
    ]
    return "\n".join(filter(None, texts))


def _colours(graph: Graph) -> Mapping[str, tuple[str, str]]:
    names = sorted({node.class_name for node in graph.nodes.values()})
    return {name: _COLOURS[at % len(_COLOURS)] for at, name in enumerate(names)}


def _stroke(kind: str, colour: str, thick: float, dashes: str = "") -> str:
    return (
        f'<path class="{kind}" d="M0 0H18" stroke="{colour}" stroke-width="{thick}"'
        + (f' stroke-dasharray="{dashes}"' if dashes else "")
        + "/>"
    )


def _scale(wide: float, high: float) -> float:
    """Return the picture's scale on a page, upright or across; 1 where it fits."""
    long, short = _PAGE
    return max(min(1, long / wide, short / high), min(1, short / wide, long / high))


def _n(number: float) -> str:
    """Return a number for SVG: one decimal at most."""
    return f"{round(number, 1) + 0.0:.1f}".removesuffix(".0")


def _p(point: Point) -> str:
    return f"{_n(point[0])} {_n(point[1])}"


def _x(text: str) -> str:
    return escape(text, quote=True)


@dataclass(frozen=True, slots=True)
class NotebookLineage(Lineage):
    """A lineage that a notebook shows as a picture.

    Example:
        >>> import ama
        >>> lineage = ama.Store.open("store").resolve("models").lineage()
        >>> lineage._repr_svg_()[:4]
        '<svg'
    """

    def _repr_svg_(self) -> str:
        return svg(self)
