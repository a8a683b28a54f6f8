"""What the verbs of `Repo` do: upload, switch, edit, inspect, compare, link.

- **session**: what an operation has at hand: the worktree, the settings, the stores in reach, what
  their assets hold, and what names mean.
- **known**: said of a store without asking it: as this session read it, or this machine saw it.
- **rollback**: a store's log is older or another than this machine saw; the user says if it counts.
"""
