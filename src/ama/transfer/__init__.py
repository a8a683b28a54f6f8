"""Transfers between a worktree and a store, or two stores: only what is missing moves.

- **presence**: the objects in the current indexes of a store.
- **push**: send what is missing, then append one entry that makes the assets visible.
- **base**: a published asset that a new one rests on: what both have is neither walked nor sent.
- **publication**: a push with its note in `pending`, by which the next command settles a crash.
- **orphan**: a pack or index of an interrupted push, which no entry names.
- **closure**: an asset with everything that it depends on.
- **repair**: put back what a store has lost, from a place that has it, verified.
"""
