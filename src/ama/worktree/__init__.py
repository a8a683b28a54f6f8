"""A worktree's files: scanning, staging, comparing and checking out."""
