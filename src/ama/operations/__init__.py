"""What the verbs of `Repo` do: upload, switch, edit, inspect, compare, link.

- **session**: what an operation has at hand: the worktree, the settings, the stores in reach.
- **rollback**: a store's log is older or another than this machine saw; the user says if it counts.
"""
