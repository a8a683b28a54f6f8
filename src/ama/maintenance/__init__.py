"""Check what a store or a worktree holds.

Whatever a check finds, the rest is checked all the same. Nothing is trusted that can be computed,
and nothing is taken from this machine's cache.

- **fsck**: read everything, verify everything, name what is damaged and the assets that it touches.
- **finding**: something wrong, before it is known which assets it touches.
- **closure**: everything below an asset: trees, files, chunks, and the assets it was made from.
"""
