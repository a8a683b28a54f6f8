"""The work behind the verbs of `Repo`: upload, switch, edit, inspect.

- **session**: the worktree, the settings, the connected stores, their content, and their names.
- **known**: read from a store earlier, by this session or this machine; no request is needed.
- **rollback**: a store's log became older or different; the user decides whether to accept it.
"""
