"""This machine: changes to the disk that are done or not, threads, git, text in UTF-8.

- **durable**: written and synced, so that it is there after the power fails.
- **whole or not at all**: written under a temporary name, synced, then renamed into place.
- **text**: a `str` in UTF-8, whatever the locale of the process; `encoding` turns what the system
  says into it, and back.
"""
