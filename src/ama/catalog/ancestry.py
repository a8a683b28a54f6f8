"""Lineage in a catalog: everything that an asset was made from, and everything made from it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from ama.format.objects import decode_asset
from ama.lineage.graph import Lineage, LineageEdge, LineageNode
from ama.lineage.svg import NotebookLineage
from ama.stores.log_view import LogView
from ama.stores.revisions import Describer

MOST_NODES = 1_000
"""The most assets to follow by default: nobody reads a larger tree."""

_Edge = tuple[bytes, bytes, str, str]
"""The product, the source, whether it is a ref or a parent, and the label."""


def trace(
    db: sqlite3.Connection,
    view: LogView,
    asset: bytes,
    *,
    up: bool = True,
    down: bool = True,
    limit: int = MOST_NODES,
) -> Lineage:
    """Return the lineage of an asset.

    Args:
        db: A catalog.
        view: The log that the catalog was filled from.
        asset: Its id.
        up: Whether to include everything that it was made from, transitively.
        down: Whether to include everything made from it, transitively, except deleted assets.
        limit: The most assets.
    """
    found: dict[bytes, None] = {asset: None}
    edges: dict[_Edge, None] = {}
    cut = down and _some_unread(db)
    for wanted, follow in ((up, _made_from), (down, _makes)):
        waiting = [asset] if wanted else []
        seen = {asset}
        while waiting:
            following: list[bytes] = []
            for each in waiting:
                for edge, other in follow(db, each):
                    if other not in found and len(found) >= limit:
                        cut = True
                        continue
                    edges[edge] = None
                    found[other] = None
                    if other not in seen:
                        seen.add(other)
                        following.append(other)
            waiting = following
    return NotebookLineage(asset.hex(), _nodes(db, view, found), tuple(map(_edge, edges)), cut)


def _some_unread(db: sqlite3.Connection) -> bool:
    """Whether there is an asset whose sources aren't known."""
    found = db.execute(
        "SELECT 1 FROM assets WHERE unread IS NOT NULL AND data IS NULL AND status != 'deleted'"
    )
    return found.fetchone() is not None


def _made_from(db: sqlite3.Connection, asset: bytes) -> Iterable[tuple[_Edge, bytes]]:
    rows = db.execute(
        "SELECT target, kind, label FROM links JOIN assets ON assets.id = links.asset"
        " WHERE hash = ? ORDER BY links.rowid",
        (asset,),
    )
    return [((asset, target, kind, label), target) for target, kind, label in rows]


def _makes(db: sqlite3.Connection, asset: bytes) -> Iterable[tuple[_Edge, bytes]]:
    rows = db.execute(
        "SELECT hash, kind, label FROM links JOIN assets ON assets.id = links.asset"
        " WHERE target = ? AND status != 'deleted' ORDER BY assets.class, number",
        (asset,),
    )
    return [((made, asset, kind, label), made) for made, kind, label in rows]


def _edge(edge: _Edge) -> LineageEdge:
    made, source, kind, label = edge
    return LineageEdge(made.hex(), source.hex(), "parent" if kind == "parent" else "ref", label)


def _nodes(
    db: sqlite3.Connection, view: LogView, assets: Iterable[bytes]
) -> tuple[LineageNode, ...]:
    describer = Describer(view)
    nodes = []
    for asset in assets:
        row = db.execute("SELECT class, data FROM assets WHERE hash = ?", (asset,)).fetchone()
        if row is None or row[1] is None:
            named = db.execute("SELECT class FROM links WHERE target = ?", (asset,)).fetchone()
            class_name = row[0] if row else named[0]
            ref = describer.ref(asset, class_name, "")
            nodes.append(
                LineageNode(asset.hex(), class_name, ref.number, ref.aliases, "", None, here=False)
            )
            continue
        info = describer.info(asset, decode_asset(row[1]))
        nodes.append(
            LineageNode(
                info.id,
                info.class_name,
                info.number,
                info.aliases,
                info.author,
                info.created_at,
                info.status,
                info.message,
                here=info.number is not None and info.status != "deleted",
            )
        )
    return tuple(nodes)


def around(db: sqlite3.Connection, view: LogView, asset: bytes, *, most: int) -> Lineage:
    """Return the nearest part of an asset's lineage: as much above it as below.

    Args:
        db: A catalog.
        view: The log that the catalog was filled from.
        asset: Its id.
        most: The most assets in either direction, itself included.
    """
    up = trace(db, view, asset, down=False, limit=most)
    down = trace(db, view, asset, up=False, limit=most)
    nodes = {node.id: node for node in (*up.nodes, *down.nodes)}
    edges = dict.fromkeys((*up.edges, *down.edges))
    return Lineage(up.root, tuple(nodes.values()), tuple(edges), up.cut or down.cut)
