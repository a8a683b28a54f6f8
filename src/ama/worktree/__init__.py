"""A directory of files and its `.ama`: scan, stage, compare, check out, restore.

- **worktree**: the directory; `.ama` in it makes it one.
- **index**, or staging area: the files of the next asset, with the stat data of each.
- **HEAD**: the class of the worktree's assets, and the asset that the next one follows.
- **generation**: one numbered version of HEAD or of the index. Only one of several commands can
  write the next.
- **pending**: a note of unfinished work, by which the next command finishes it or gives it up.
- **incoming**: verified content on its way into the worktree.
- **staged by reference**: by hash and stat data only; only the file itself has the content.
- **skipped**: in the asset, but left out of this partial worktree.
- **turn**: of several commands that bring files to one worktree, one works and the others wait.
"""
