"""An asset's metadata are kept on this machine: trees and recipes, for work without a store."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from ama.format.chunking import THRESHOLD
from ama.format.objects import EntryKind, Kind, TreeEntry, encode_asset, encode_recipe
from ama.stores.sources import Sources
from ama.worktree.layout import Worktree
from ama.worktree.local_objects import LocalObjects
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


def keep_what_was_read(
    objects: LocalObjects,
    sources: Sources,
    asset: bytes,
    trees: Iterable[bytes],
    large: Iterable[bytes],
) -> None:
    """Store an asset, and some of its trees and recipes.

    Args:
        objects: Where to store them.
        sources: The sources of the asset's objects.
        asset: The asset.
        trees: The trees.
        large: The large files whose recipes are wanted.
    """
    store = objects.store
    new = [tree for tree in dict.fromkeys(trees) if tree not in store]
    cut = [each for each in dict.fromkeys(large) if each not in store]
    if asset in store and not (new or cut):
        return
    with objects.writing() as writer:
        for tree in new:
            writer.add(Kind.TREE, tree, sources.tree_bytes(tree))
        for object_id in cut:
            recipe = sources.recipe(object_id)
            if recipe is not None:
                writer.add(Kind.RECIPE, object_id, encode_recipe(recipe))
        writer.add(Kind.ASSET, asset, encode_asset(sources.asset(asset)))
    objects.merge_small()


def _may_have_recipe(entry: TreeEntry) -> bool:
    return entry.kind is not EntryKind.TREE and entry.size >= THRESHOLD
