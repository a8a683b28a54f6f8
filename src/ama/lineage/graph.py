"""Lineage as a value: assets, and which of them was made from which.

Nothing here is trusted: a forged store may claim cycles, the same link a thousand times, an asset
made from itself, or a hundred thousand assets. So drawings use `graph`, in which each asset and
each linked pair stands once, in a fixed order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from ama.values import AssetStatus, display_name

LinkKind = Literal["ref", "parent"]


@dataclass(frozen=True, slots=True)
class LineageNode:
    """An asset of a lineage."""

    id: str
    class_name: str
    number: int | None
    aliases: tuple[str, ...]
    author: str
    created_at: datetime | None
    """The time of creation; None if only the id is known."""
    status: AssetStatus = "active"
    message: str = ""
    here: bool = True
    """Whether the store has the asset, or only its id."""

    @property
    def name(self) -> str:
        """Return `class/number (shortid)`, or the class and the short id if it has no number."""
        return display_name(self.class_name, self.number, self.id)


@dataclass(frozen=True, slots=True)
class LineageEdge:
    """A link: one asset was made from another."""

    made: str
    """The asset that was made."""
    source: str
    """The asset that it was made from."""
    kind: LinkKind
    label: str = ""
    """The label of a ref; a parent has none."""


@dataclass(frozen=True, slots=True)
class Link:
    """All links between two assets, as one."""

    made: str
    """The asset that was made."""
    source: str
    """The asset that it was made from."""
    parent: bool
    """Whether `source` is a parent of `made`."""
    labels: tuple[str, ...]
    """The labels of the refs."""

    @property
    def roles(self) -> tuple[str, ...]:
        """Return what the source was used for, in words; empty for a ref without a label."""
        return ("parent", *self.labels) if self.parent else self.labels


@dataclass(frozen=True, slots=True)
class Graph:
    """A lineage with each asset and each linked pair of assets once, older assets first."""

    nodes: Mapping[str, LineageNode]
    """The assets by id."""
    links: tuple[Link, ...]
    sources: Mapping[str, tuple[Link, ...]]
    """The links from each asset to the assets that it was made from."""
    products: Mapping[str, tuple[Link, ...]]
    """The links from each asset to the assets made from it."""
    closing: frozenset[Link]
    """The links that close a cycle; no honest store has any."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """The assets that an asset was made from, and those made from it.

    Raises:
        ValueError: The root is not among the nodes.

    Example:
        >>> data = LineageNode("d" * 64, "data", 1, (), "Ann", None)
        >>> model = LineageNode("e" * 64, "models", 1, ("best",), "Ann", None)
        >>> edge = LineageEdge(model.id, data.id, "ref", "training data")
        >>> lineage = Lineage(model.id, (model, data), (edge,), cut=False)
        >>> [link.labels for link in lineage.graph().sources[model.id]]
        [('training data',)]
    """

    root: str
    """The id of the asset whose lineage it is."""
    nodes: tuple[LineageNode, ...]
    """The assets, `root` among them."""
    edges: tuple[LineageEdge, ...]
    """The links; one to an asset that is not among the nodes is not drawn."""
    cut: bool = False
    """Whether assets are left out, or may be because an asset of the store can't be read."""

    def __post_init__(self) -> None:
        if not any(node.id == self.root for node in self.nodes):
            raise ValueError(f"{self.root} is not among the nodes of its lineage")

    def graph(self) -> Graph:
        """Return the graph: each asset and each linked pair once, in a fixed order."""
        nodes = {node.id: node for node in sorted(self.nodes, key=_age)}
        place = {asset: at for at, asset in enumerate(nodes)}
        links = sorted(
            _merged(edge for edge in self.edges if edge.made in nodes and edge.source in nodes),
            key=lambda link: (place[link.source], place[link.made]),
        )
        by_made: dict[str, list[Link]] = {asset: [] for asset in nodes}
        by_source: dict[str, list[Link]] = {asset: [] for asset in nodes}
        for link in links:
            by_made[link.made].append(link)
            by_source[link.source].append(link)
        sources, products = _frozen(by_made), _frozen(by_source)
        return Graph(nodes, tuple(links), sources, products, _closing(sources, products))

    def nearest(self, limit: int) -> Lineage:
        """Return the part of the lineage nearest to the root.

        Args:
            limit: The most assets, the root included.

        Returns:
            This lineage if it is small enough; else a smaller one, which is `cut`.
        """
        if len(self.nodes) <= limit:
            return self
        graph = self.graph()
        kept = {self.root}
        queue = deque([self.root])
        while queue and len(kept) < limit:
            asset = queue.popleft()
            near = [link.source for link in graph.sources[asset]]
            near += [link.made for link in graph.products[asset]]
            for other in near:
                if other not in kept and len(kept) < limit:
                    kept.add(other)
                    queue.append(other)
        return Lineage(
            self.root,
            tuple(node for asset, node in graph.nodes.items() if asset in kept),
            tuple(edge for edge in self.edges if edge.made in kept and edge.source in kept),
            cut=self.cut or len(kept) < len(graph.nodes),
        )


def _age(node: LineageNode) -> tuple[datetime, str, int, str]:
    unknown = datetime.max.replace(tzinfo=UTC)
    return node.created_at or unknown, node.class_name, node.number or 0, node.id


def _merged(edges: Iterable[LineageEdge]) -> Iterable[Link]:
    pairs: dict[tuple[str, str], set[str]] = {}
    parents: set[tuple[str, str]] = set()
    for edge in edges:
        pair = edge.made, edge.source
        labels = pairs.setdefault(pair, set())
        if edge.kind == "parent":
            parents.add(pair)
        if edge.label:
            labels.add(edge.label)
    for (made, source), labels in pairs.items():
        yield Link(made, source, (made, source) in parents, tuple(sorted(labels)))


def _closing(
    sources: Mapping[str, tuple[Link, ...]], products: Mapping[str, tuple[Link, ...]]
) -> frozenset[Link]:
    """Find the links that lead back to an asset on the path from the oldest one."""
    closing: list[Link] = []
    seen: set[str] = set()
    for start in sorted(products, key=lambda asset: bool(sources[asset])):
        if start in seen:
            continue
        seen.add(start)
        path, under_way = [start], {start}
        left = [iter(products[start])]
        while path:
            link = next(left[-1], None)
            if link is None:
                left.pop()
                under_way.remove(path.pop())
            elif link.made in under_way:
                closing.append(link)
            elif link.made not in seen:
                seen.add(link.made)
                path.append(link.made)
                under_way.add(link.made)
                left.append(iter(products[link.made]))
    return frozenset(closing)


def _frozen(links: Mapping[str, list[Link]]) -> Mapping[str, tuple[Link, ...]]:
    return {asset: tuple(found) for asset, found in links.items()}
