"""Lineage for other programs: Mermaid's flowcharts, Graphviz's DOT, and a mapping for JSON.

In both languages a text can hold markup, entities and escapes. So of Mermaid's every character that
isn't plainly a letter, a digit or harmless becomes a number, and of DOT's the three that mean
something are escaped.
"""

from __future__ import annotations

from datetime import UTC

from ama.lineage.graph import Graph, Lineage, LineageNode, Link
from ama.lineage.lettering import aliases_text, author_text, clipped, marks_text

_LABEL = 60
_MORE = "there is more"
_HARMLESS = frozenset(" /@_-.,+()…")


def as_mapping(lineage: Lineage) -> dict[str, object]:
    """Return a lineage as what JSON holds: objects, arrays and texts; ids are whole.

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
    """Return a lineage as a flowchart in the language of Mermaid.

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
    r"""Return a lineage as a graph in the language of Graphviz.

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
