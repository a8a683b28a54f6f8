"""fsck: verifying all that a store, or a worktree, holds; what is damaged, and what that touches.

Whatever it finds, the rest is checked all the same. Nothing is trusted that can be computed, and
nothing is taken from this machine's cache.
"""

from __future__ import annotations

from ama.fsck.stores import check_store
from ama.fsck.worktrees import check_worktree

__all__ = ["check_store", "check_worktree"]
