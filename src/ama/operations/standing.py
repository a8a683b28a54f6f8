"""Where HEAD stands beside what an alias points to."""

from __future__ import annotations

from ama.format.state import ClassState
from ama.stores.sources import Sources
from ama.worktree.head import Head


def is_ahead(sources: Sources, state: ClassState, head: Head, target: bytes) -> bool:
    """Whether HEAD was made from what its alias points to, and the alias was never at HEAD.

    Args:
        sources: where the assets between are read.
        state: HEAD's class in the store.
        head: HEAD.
        target: what the alias points to there, published.

    Raises:
        NotFound: an asset between is in no source.
    """
    asset = head.asset
    if asset == target or any(m.asset == asset for m in state.aliases.get(head.alias or "", ())):
        return False
    # A parent is published before its children, so nothing is read where the target is newer.
    numbers = {record.id: at for at, record in enumerate(state.assets)}
    while asset is not None and numbers.get(asset, -1) > numbers[target]:
        parents = sources.asset(asset).parents
        asset = parents[0] if parents else None
    return asset == target
