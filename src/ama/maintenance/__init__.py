"""Checks of a store or a worktree.

Whatever a check finds, it goes on. It trusts nothing that it can compute, and takes nothing from
this machine's cache.

- **fsck**: read everything, verify everything, name what is damaged and the assets that it touches.
- **finding**: something wrong, before its assets are known.
- **closure**: everything below an asset: trees, files, chunks, and the assets it was made from.
"""
