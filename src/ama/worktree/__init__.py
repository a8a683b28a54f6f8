"""A directory of files and its `.ama`: scan, stage, compare, check out, restore.

- **worktree**: the directory; `.ama` in it makes it one.
- **index**, or staging area: what the next asset will hold, with the stat data of each file.
- **HEAD**: the class that the worktree makes assets of, and the asset that the next one comes from.
- **generation**: one numbered version of HEAD or of the index. Only one of several commands can
  write the next.
- **pending**: a note of what was begun, by which the next command finishes it or gives it up.
- **incoming**: verified content on its way into the worktree.
- **staged by reference**: by hash and stat data only; the content still lies in the file alone.
- **skipped**: in the asset, but not wanted in this partial worktree.
- **turn**: of several commands that bring files to one worktree, one works and the others wait.
"""
