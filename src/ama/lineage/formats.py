"""Lineage for other programs: Mermaid's flowcharts, Graphviz's DOT, and a mapping for JSON.

In both languages a text can hold markup, entities and escapes. So Mermaid gets a number for every
character that isn't plainly a letter, a digit or harmless; DOT gets escapes for its three special
characters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC

from ama.lineage.graph import Graph, Lineage, LineageNode, Link
from ama.lineage.layout import aliases_text, author_text, clipped, marks_text

_LABEL = 60
_MORE = "there is more"
_HARMLESS = frozenset(" /@_-.,+()…")


def as_mapping(lineage: Lineage) -> dict[str, object]:
    """Return a lineage as a mapping for JSON: objects, arrays and texts, with whole ids.

    Example:
        >>> node = LineageNode("e" * 64, "models", 1, ("best",), "Ann", None)
        >>> sorted(as_mapping(Lineage(node.id, (node,), ())))
        ['cut', 'edges', 'nodes', 'root']
    """
    graph = lineage.graph()
    edges = {
        (edge.source, edge.made, edge.kind, edge.label): edge
        for edge in lineage.edges
        if edge.source in graph.nodes and edge.made in graph.nodes
    }
    return {
        "root": lineage.root,
        "nodes": [_node_mapping(node) for node in graph.nodes.values()],
        "edges": [
            {"made": edge.made, "source": edge.source, "kind": edge.kind, "label": edge.label}
            for _, edge in sorted(edges.items())
        ],
        "cut": lineage.cut,
    }


def _node_mapping(node: LineageNode) -> dict[str, object]:
    moment = node.created_at.astimezone(UTC) if node.created_at else None
    return {
        "id": node.id,
        "name": node.name,
        "class_name": node.class_name,
        "number": node.number,
        "aliases": list(node.aliases),
        "author": node.author,
        "created_at": f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}" if moment else None,
        "status": node.status,
        "message": node.message,
        "here": node.here,
    }


def mermaid(lineage: Lineage) -> str:
    """Return a lineage as a flowchart in Mermaid.

    Example:
        >>> node = LineageNode("e" * 64, "models", 1, ("best",), "Ann", None)
        >>> print(mermaid(Lineage(node.id, (node,), ())).splitlines()[1])
          n0["models/1 (eeeeeeeeee)<br/>@best<br/>Ann"]
    """
    graph = lineage.graph()
    names = _names(graph)
    lines = ["flowchart LR"]
    for asset, node in graph.nodes.items():
        text = "<br/>".join(map(_in_mermaid, _texts(node)))
        lines.append(f'  {names[asset]}["{text}"]')
        lines += [f"  class {names[asset]} {kind}" for kind in _styles(node)]
    for link in graph.links:
        arrow = "-.->" if link in graph.closing else "==>" if link.parent else "-->"
        label = _in_mermaid(_role(link, graph))
        said = f'|"{label}"|' if label else ""
        lines.append(f"  {names[link.source]} {arrow}{said} {names[link.made]}")
    if lineage.cut:
        lines.append(f'  more["{_MORE}"]:::absent')
    lines += [
        f"  class {names[lineage.root]} root",
        "  classDef root stroke-width:3px",
        "  classDef deprecated stroke:#b35900,stroke-width:2px",
        "  classDef deleted stroke:#b00020,stroke-width:2px,stroke-dasharray:6 3",
        "  classDef absent stroke-dasharray:3 3",
    ]
    return "\n".join([*lines, ""])


def dot(lineage: Lineage) -> str:
    r"""Return a lineage as a graph in DOT, Graphviz's language.

    Example:
        >>> node = LineageNode("e" * 64, "models", 1, ("best",), "Ann", None)
        >>> print(dot(Lineage(node.id, (node,), ())).splitlines()[3])
          n0 [label="models/1 (eeeeeeeeee)\n@best\nAnn", penwidth=2.5];
    """
    graph = lineage.graph()
    names = _names(graph)
    lines = [
        "digraph lineage {",
        "  rankdir=LR;",
        '  node [shape=box, style=rounded, fontname="Helvetica"]; edge [fontname="Helvetica"];',
    ]
    for asset, node in graph.nodes.items():
        text = "\\n".join(map(_in_dot, _texts(node)))
        attributes = [f'label="{text}"', *(_DOT_STYLES[kind] for kind in _styles(node))]
        if asset == lineage.root:
            attributes.append("penwidth=2.5")
        lines.append(f"  {names[asset]} [{', '.join(attributes)}];")
    for link in graph.links:
        attributes = [f'label="{_in_dot(role)}"'] if (role := _role(link, graph)) else []
        if link in graph.closing:
            attributes += ["style=dashed", 'color="#b00020"']
        elif link.parent:
            attributes.append("penwidth=2")
        said = f" [{', '.join(attributes)}]" if attributes else ""
        lines.append(f"  {names[link.source]} -> {names[link.made]}{said};")
    if lineage.cut:
        lines.append(f'  more [label="{_MORE}", style=dashed];')
    return "\n".join([*lines, "}", ""])


_DOT_STYLES = {
    "deprecated": 'color="#b35900"',
    "deleted": 'color="#b00020"',
    "absent": 'style="rounded,dashed"',
}


def _names(graph: Graph) -> dict[str, str]:
    return {asset: f"n{at}" for at, asset in enumerate(graph.nodes)}


def _styles(node: LineageNode) -> list[str]:
    if node.status != "active":
        return [node.status]
    return [] if node.here else ["absent"]


def _texts(node: LineageNode) -> list[str]:
    date = f"{node.created_at:%Y-%m-%d}" if node.created_at else ""
    origin = ", ".join(filter(None, [author_text(node), date]))
    texts = [clipped(node.name, 130), aliases_text(node), origin, marks_text(node)]
    return [text for text in texts if text]


def _role(link: Link, graph: Graph) -> str:
    closes = ["closes a cycle"] if link in graph.closing else []
    return ", ".join(clipped(role, _LABEL) for role in [*link.roles[:3], *closes])


def _in_mermaid(text: str) -> str:
    return "".join(c if c.isalnum() or c in _HARMLESS else f"#{ord(c)};" for c in text)


def _in_dot(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")


_DEEPEST = 40
_ROLE = 60


@dataclass(frozen=True, slots=True)
class TreeLine:
    """A line of a tree. `node` is its asset, if it shows one.

    `repeated` says that another line shows the asset's own links.
    """

    text: str
    node: LineageNode | None = None
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Branches:
    """The strings that draw branches: before an item, before the last, and below each of these."""

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
        lineage: The lineage.
        up: Whether to show what the asset was made from.
        down: Whether to show what was made from it.
        branches: `BOX_DRAWING`, or `ASCII` for a terminal that can't draw boxes.

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
        # If parts are cut off, an empty section doesn't say that there is nothing.
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
    """One direction of a lineage while it is written."""

    def __init__(self, graph: Graph, branches: Branches, *, up: bool) -> None:
        self.graph = graph
        self.up = up
        self.links: Mapping[str, tuple[Link, ...]] = graph.sources if up else graph.products
        self.continued: list[str] = []
        self._other: Callable[[Link], str] = _source if up else _made
        self._branches = branches
        self._shown: set[str] = set()

    def below(self, asset: str) -> Iterator[TreeLine]:
        """Yield the lines of all assets below an asset, with deeper ones in between."""
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
        roles = ", ".join(clipped(role, _ROLE) for role in link.roles[:3])
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
