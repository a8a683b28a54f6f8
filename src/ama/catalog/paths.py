"""The paths in an asset, from the top down, through the directories that a catalog has.

What is in a directory is looked up once for each that differs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping
from typing import TypeVar

from ama.format.objects import EntryKind
from ama.worktree.trees import require_listable

Item = TypeVar("Item")

BELOW = f"""
WITH RECURSIVE below (tree) AS (
    SELECT tree FROM assets WHERE hash = ? AND tree IS NOT NULL AND status != 'deleted'
    UNION
    SELECT object FROM below JOIN children USING (tree) WHERE kind = {int(EntryKind.TREE)}
)"""
"""The directories of an asset, each once; none of a deleted one."""


def walk(
    db: sqlite3.Connection, asset: bytes, items: Mapping[int, Collection[tuple[str, Item]]]
) -> Iterator[tuple[str, Item]]:
    """Yield items of an asset with their paths.

    Args:
        db: a catalog.
        asset: its id.
        items: what is in each of its directories, with its name there.

    Raises:
        InvalidInput: they are at too many paths; see `require_listable`.
    """
    inner: dict[int, list[tuple[str, int]]] = {}
    outer: dict[int, list[int]] = {}
    for tree, name, child in db.execute(
        f"{BELOW} SELECT tree, name, object FROM below JOIN children USING (tree) WHERE kind = ?",
        (asset, int(EntryKind.TREE)),
    ):
        inner.setdefault(tree, []).append((name, child))
        outer.setdefault(child, []).append(tree)
    leading: set[int] = set()
    above = list(items)
    while above:
        tree = above.pop()
        if tree not in leading:
            leading.add(tree)
            above += outer.get(tree, ())
    ways = {tree: [way for way in below if way[1] in leading] for tree, below in inner.items()}
    waiting = [
        (tree, "") for (tree,) in db.execute("SELECT tree FROM assets WHERE hash = ?", (asset,))
    ]
    for top, _ in waiting:
        require_listable(
            top, lambda at: ([name for name, _ in items.get(at, ())], ways.get(at, []))
        )
    while waiting:
        tree, prefix = waiting.pop()
        for name, item in items.get(tree, ()):
            yield prefix + name, item
        waiting += [(child, f"{prefix}{name}/") for name, child in ways.get(tree, ())]
