"""What this machine has of an asset that comes: in its content cache, and in other worktrees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ama.settings import Settings
from ama.worktree.content_cache import ContentCache
from ama.worktree.near import Near, Several
from ama.worktree.near_cache import InCache
from ama.worktree.neighbours import InWorktrees


def near_here(
    settings: Settings, class_name: str, parents: Sequence[bytes], *, but: Path | None = None
) -> Near:
    """Return what this machine has of an asset.

    Args:
        settings: The settings: where the cache is, and the notes of worktrees.
        class_name: The asset's class.
        parents: The assets that it follows.
        but: The worktree that gets it.
    """
    cache = ContentCache.of(settings)
    worktrees = InWorktrees(settings.cache_dir, class_name, but)
    if cache is None:
        return worktrees
    return Several(InCache(cache, class_name, parents), worktrees)
