"""An asset's metadata are kept in a worktree: its trees and recipes, for work without a store."""

from __future__ import annotations

from functools import partial

from ama.format.chunking import THRESHOLD
from ama.format.objects import EntryKind, Kind, TreeEntry, encode_asset, encode_recipe
from ama.stores.sources import Sources
from ama.worktree.layout import Worktree
from ama.worktree.trees import trees_below


def keep_metadata(tree: Worktree, sources: Sources, asset: bytes) -> None:
    """Store an asset, its trees and its recipes in a worktree, for work without the remote."""
    store = tree.objects
    found = sources.asset(asset)
    below = partial(trees_below, found.tree, sources.tree)
    if asset in store and all(tree_id in store for tree_id, _ in below()):
        return
    recipes: set[bytes] = set()
    with store.writing() as writer:
        for tree_id, entries in below():
            writer.add(Kind.TREE, tree_id, sources.tree_bytes(tree_id))
            large = {entry.id for entry in entries if _may_have_recipe(entry)} - recipes
            recipes |= large
            for object_id in large:
                recipe = sources.recipe(object_id)
                if recipe is not None:
                    writer.add(Kind.RECIPE, object_id, encode_recipe(recipe))
        writer.add(Kind.ASSET, asset, encode_asset(found))
    sources.let_go_of_trees()


def _may_have_recipe(entry: TreeEntry) -> bool:
    return entry.kind is not EntryKind.TREE and entry.size >= THRESHOLD
