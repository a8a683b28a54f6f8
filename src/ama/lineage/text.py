"""Lineage in a terminal: a tree of what an asset was made from, and one of what was made from it.

An asset's own links are shown where it comes first; elsewhere it is marked as repeated. So there
are no more lines than links, and a cycle is shown where it closes. A branch that is very deep goes
on below, at the margin: otherwise a chain of n assets would be n² characters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ama.lineage.graph import Graph, Lineage, LineageNode, Link
from ama.lineage.lettering import aliases_text, author_text, clipped, marks_text

_DEEPEST = 40
_LABEL = 60


@dataclass(frozen=True, slots=True)
class TreeLine:
    """A line of a tree. `node` is the asset that it shows, if it shows one.

    `repeated` says that the asset's own links are shown elsewhere.
    """

    text: str
    node: LineageNode | None = None
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Branches:
    """What branches are drawn with: before an item, before the last, and below each of these."""

    item: str
    last: str
    below_item: str
    below_last: str


BOX_DRAWING = Branches("├── ", "└── ", "│   ", "    ")
ASCII = Branches("|-- ", "`-- ", "|   ", "    ")


def tree_lines(
    lineage: Lineage, *, up: bool = True, down: bool = True, branches: Branches = BOX_DRAWING
) -> Iterator[TreeLine]:
    """Yield the lines that show a lineage.

    Args:
        lineage: what is shown.
        up: whether to show what the asset was made from.
        down: whether to show what was made from it.
        branches: `BOX_DRAWING`, or `ASCII` where the terminal can't draw boxes.

    Example:
        >>> from ama.lineage.graph import LineageEdge
        >>> data = LineageNode("d" * 64, "data", 1, (), "Ann", None)
        >>> model = LineageNode("e" * 64, "models", 1, ("best",), "Ann", None)
        >>> edge = LineageEdge(model.id, data.id, "ref", "training data")
        >>> for line in tree_lines(Lineage(model.id, (model, data), (edge,)), branches=ASCII):
        ...     print(line.text)
        models/1 (eeeeeeeeee) @best  Ann
        made from:
        `-- data/1 (dddddddddd) as training data  Ann
        nothing was made from it
    """
    graph = lineage.graph()
    root = graph.nodes[lineage.root]
    yield TreeLine(_asset_text(root), root)
    for upward, wanted in ((True, up), (False, down)):
        tree = _Tree(graph, branches, up=upward)
        # Where more was cut off, that nothing is shown doesn't say that there is nothing.
        if wanted and (tree.links[root.id] or not lineage.cut):
            yield from _section(tree, root.id)
    if lineage.cut:
        yield TreeLine("there is more: not all of the lineage is shown")


def _section(tree: _Tree, root: str) -> Iterator[TreeLine]:
    if not tree.links[root]:
        yield TreeLine("made from nothing else" if tree.up else "nothing was made from it")
        return
    yield TreeLine("made from:" if tree.up else "made into:")
    yield from tree.below(root)
    while tree.continued:
        asset = tree.continued.pop(0)
        node = tree.graph.nodes[asset]
        yield TreeLine(f"{node.name}, continued:", node, repeated=True)
        yield from tree.below(asset)


class _Tree:
    """One direction of a lineage while it is shown."""

    def __init__(self, graph: Graph, branches: Branches, *, up: bool) -> None:
        self.graph = graph
        self.up = up
        self.links: Mapping[str, tuple[Link, ...]] = graph.sources if up else graph.products
        self.continued: list[str] = []
        self._other: Callable[[Link], str] = _source if up else _made
        self._branches = branches
        self._shown: set[str] = set()

    def below(self, asset: str) -> Iterator[TreeLine]:
        """Yield the lines of all that an asset's links lead to, deeper ones in between."""
        self._shown.add(asset)
        levels = [iter(self._items(asset))]
        indents = [""]
        while levels:
            link, last = next(levels[-1], (None, False))
            if link is None:
                levels.pop()
                indents.pop()
                continue
            other = self._other(link)
            deeper = other not in self._shown and bool(self.links[other])
            too_deep = deeper and len(levels) == _DEEPEST
            yield self._line(indents[-1], link, last, too_deep=too_deep)
            self._shown.add(other)
            if too_deep:
                self.continued.append(other)
            elif deeper:
                levels.append(iter(self._items(other)))
                below = self._branches.below_last if last else self._branches.below_item
                indents.append(indents[-1] + below)

    def _items(self, asset: str) -> Iterator[tuple[Link, bool]]:
        links = self.links[asset]
        for at, link in enumerate(links, 1):
            yield link, at == len(links)

    def _line(self, indent: str, link: Link, last: bool, *, too_deep: bool) -> TreeLine:
        node = self.graph.nodes[self._other(link)]
        branch = self._branches.last if last else self._branches.item
        repeated = node.id in self._shown
        notes = [
            *(["closes a cycle"] if link in self.graph.closing else []),
            *(["see above"] if repeated else []),
            *(["continued below"] if too_deep else []),
        ]
        note = f" ({', '.join(notes)})" if notes else ""
        roles = ", ".join(clipped(role, _LABEL) for role in link.roles[:3])
        said = f" as {roles}" if self.up else f", used it as {roles}"
        text = _asset_text(node, role=said if roles else "", full=not repeated)
        return TreeLine(indent + branch + text + note, node, repeated)


def _source(link: Link) -> str:
    return link.source


def _made(link: Link) -> str:
    return link.made


def _asset_text(node: LineageNode, *, role: str = "", full: bool = True) -> str:
    marks = marks_text(node)
    name = f"{clipped(node.name, 130)} [{marks}]" if marks else clipped(node.name, 130)
    if not full:
        return name + role
    aliases = aliases_text(node)
    made = [author_text(node), f"{node.created_at:%Y-%m-%d}" if node.created_at else ""]
    parts = [f"{name} {aliases}" if aliases else name, role]
    origin = ", ".join(filter(None, made))
    return "".join(parts) + (f"  {origin}" if origin else "")
