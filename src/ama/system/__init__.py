"""This machine: atomic changes to the disk, threads, git, text in UTF-8.

- **durable**: written and synced, so that it is there after the power fails.
- **atomic**: written under a temporary name, synced, then renamed into place.
- **text**: a `str` in UTF-8, whatever the locale of the process; `encoding` converts between it
  and what the system's calls take.
"""
