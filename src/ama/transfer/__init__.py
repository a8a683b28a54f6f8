"""Between a worktree and a store, or two stores: what is missing goes or comes, and nothing else.

- **presence**: which objects the current indexes of a store name.
- **push**: send what is missing, then append one entry that makes the assets visible.
- **publication**: a push with its note in `pending`: the next command settles what a crash left.
- **orphan**: a pack or index that an interrupted push left, and that no entry names.
- **closure**: an asset with all that it rests on.
- **repair**: put back what a store has lost, from a place that has it, verified.
"""
