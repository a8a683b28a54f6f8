"""A store: one log and the objects in its packs, seen from this machine with a cache.

- **store**: objects and one log in a storage; `format.json` has its format and its id.
- **remote**: a store as seen from this machine.
- **log**: the hash-chained sequence of entries. Only what it names is visible.
- **HINT**: a number that the log has reached, to find its end faster. It may be out of date.
- **checkpoint**: the folded state at every 64th entry: derived, replaceable, checked when used.
- **segment**: a part of checkpoints, named by its content. A reader takes those that it asks about.
- **view**: the log as it was at one moment: a checkpoint and the entries after it. That is now, or
  the moment at which this machine saw it last.
- **cache**: what this machine remembers of a store. Deleting it costs only time.
- **source**: where the bytes of an object come from: the packs of a worktree, or a store.
- **revision**: a way to name an asset: `models/7`, `models@best`, `HEAD~2`, a prefix of an id.
"""
