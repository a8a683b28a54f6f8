"""The paths in an asset, from the top down, through the directories that a catalog has.

A hostile store may claim directories in directories that multiply: what is in them is looked up
once for each that differs, and a walk ends at limits.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping
from typing import TypeVar

from ama.errors import InvalidInput
from ama.objects import EntryKind

MOST_FILES = 1_000_000
"""So many paths of an asset are listed."""

MOST_TEXT = 128 * 1024 * 1024
"""So many characters have the paths together that are listed."""

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
        InvalidInput: they are at too many paths.
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
    files = text = 0
    waiting = [
        (tree, "") for (tree,) in db.execute("SELECT tree FROM assets WHERE hash = ?", (asset,))
    ]
    while waiting:
        tree, prefix = waiting.pop()
        for name, item in items.get(tree, ()):
            files += 1
            text += len(prefix) + len(name)
            if files > MOST_FILES or text > MOST_TEXT:
                raise InvalidInput(
                    f"an asset of more than {MOST_FILES:,} files, or with paths of more than"
                    f" {MOST_TEXT:,} characters together, is more than can be listed"
                )
            yield prefix + name, item
        ways = ((child, f"{prefix}{name}/") for name, child in inner.get(tree, ()))
        waiting += [way for way in ways if way[0] in leading]
